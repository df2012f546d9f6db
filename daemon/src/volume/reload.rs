//! Reload: a container gets the newest version of a volume as its ground, with an empty layer over it.
//!
//! The new ground is mounted beside the old one first. Then the container stands still while it is looked for changes that are not
//! committed, and what it sees is exchanged. A record of the new mount is kept until all of it is done: when a daemon is killed between,
//! the next one asks the kernel which of both the container sees, and that one counts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use snap_api::{ErrorCode, ErrorReport};
use snap_fs::mount;
use snap_store::{AttachedRecord, Error as StoreError, MountRecord};
use tracing::warn;

use super::{
    Done, Volume,
    commit::{attached, is_clean, is_running, runs},
    found,
};
use crate::{
    attached::{self, Place},
    blocking, clock,
    error::{Error, Result, in_full},
    host::Host,
    jobs::JobHandle,
    pause::{PauseGuard, PauseOptions},
};

/// How long a container stands still for a reload at most, and how much of that may have passed when what it sees is exchanged.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_LOOK: Duration = Duration::from_secs(45);

pub(super) async fn reload(
    host: &Arc<Host>,
    volume: &Volume,
    container: &str,
    discards: bool,
    job: &JobHandle,
) -> Result<Done> {
    let old = attached(host, volume, container).await?;
    let head = found(host, volume).await?;
    if old.ground == head.snapshot.id && old.base == old.ground && !discards {
        return Ok(Done::default());
    }
    exchange(host, volume, container, discards, job).await?;
    Ok(Done {
        action: Some("reload"),
        reloaded: true,
        ..Done::default()
    })
}

/// Gives the container the newest version unless it has changes or uses what it has.
///
/// # Errors
/// A conflict then, and nothing is changed.
pub(super) async fn try_reload(
    host: &Arc<Host>,
    volume: &Volume,
    container: &str,
    job: &JobHandle,
) -> Result<()> {
    exchange(host, volume, container, false, job).await
}

async fn exchange(
    host: &Arc<Host>,
    volume: &Volume,
    container: &str,
    discards: bool,
    job: &JobHandle,
) -> Result<()> {
    let _turn = attached::turn(host, &volume.namespace, container).await;
    let old = attached(host, volume, container).await?;
    let looks = !discards && !old.is_read_only;
    // Without a pause first: most changes are seen by then, and the look within the pause has less to read.
    if looks && !is_clean(host, volume, &old, job).await? {
        return Err(uncommitted(volume, &old));
    }
    let head = found(host, volume).await?;
    let mut new = old.clone();
    new.ground = head.snapshot.id;
    new.base = head.snapshot.id;
    new.version = Some(head.head);
    new.generation = next_generation(host, &old).await?;
    let hold = MountRecord {
        path: Place::of(host, &new).merged(),
        snapshot: new.ground,
        writable: None,
    };
    let (catalogue, held) = (Arc::clone(&host.catalogue), hold.clone());
    blocking(move || catalogue.insert_mount(&held)).await?;
    let exchanged = match attached::ensure_layers(host, &new).await {
        Ok(()) => stand_still(host, volume, (&old, &new), looks, job).await,
        Err(error) => Err(error),
    };
    let gone = if exchanged.is_ok() { &old } else { &new };
    let (place, catalogue) = (Place::of(host, gone), Arc::clone(&host.catalogue));
    blocking(move || {
        attached::remove_layers(&place.layers())?;
        catalogue.remove_mount(&hold.path, clock::now())
    })
    .await?;
    host.mounts.release(host, &gone.ground).await?;
    exchanged
}

async fn next_generation(host: &Host, old: &AttachedRecord) -> Result<u64> {
    let place = Place::of(host, old);
    blocking(move || place.next_generation()).await
}

/// Exchanges what the container sees while it does not run.
async fn stand_still(
    host: &Arc<Host>,
    volume: &Volume,
    (old, new): (&AttachedRecord, &AttachedRecord),
    looks: bool,
    job: &JobHandle,
) -> Result<()> {
    if !is_running(host, old).await? {
        return swap(host, old, new).await;
    }
    let begun = Instant::now();
    let options = PauseOptions {
        longest: Some(LONGEST_PAUSE),
        ..PauseOptions::default()
    };
    let guard = PauseGuard::pause(host, &old.namespace, &old.container, &options).await?;
    // A pause within the pause leaves the container as it stands.
    let is_clean = match looks {
        true => is_clean(host, volume, old, job).await,
        false => Ok(true),
    };
    let in_time = is_clean.and_then(|is_clean| {
        require_in_time(old, begun.elapsed())?;
        Ok(is_clean)
    });
    let swapped = match in_time {
        Ok(true) => swap(host, old, new).await,
        Ok(false) => Err(uncommitted(volume, old)),
        Err(error) => Err(error),
    };
    if let Err(error) = guard.thaw().await {
        let error = in_full(&error);
        warn!(
            container = old.container,
            error, "A container stood still for too long"
        );
    }
    swapped
}

/// Whoever stands still for too long is thawed, and may have written since it was looked for changes.
fn require_in_time(record: &AttachedRecord, elapsed: Duration) -> Result<()> {
    if elapsed < LONGEST_LOOK {
        return Ok(());
    }
    let message = format!(
        "Looking for changes in {} of container {} took longer than it may stand still",
        record.destination, record.container
    );
    Err(
        ErrorReport::new(ErrorCode::TimedOut, "pause-too-long", message)
            .hint("Nothing was changed; stop the container first, or try again when the host is less busy")
            .into(),
    )
}

async fn swap(host: &Arc<Host>, old: &AttachedRecord, new: &AttachedRecord) -> Result<()> {
    let pid = match is_running(host, old).await? {
        true => host.containerd.task(&old.namespace, &old.container).await?,
        false => None,
    };
    let pid = pid.map(|task| task.pid);
    let (before, after) = (Place::of(host, old), Place::of(host, new));
    let (catalogue, record) = (Arc::clone(&host.catalogue), new.clone());
    blocking(move || -> Result<()> {
        if let Some(pid) = pid {
            mount::exchange(pid, &before.merged(), &after.merged())
                .map_err(|error| in_use(error, &record))?;
        }
        if let Err(error) = catalogue.reground(&record, clock::now()) {
            if let Some(pid) = pid {
                mount::exchange(pid, &after.merged(), &before.merged())?;
            }
            return Err(error.into());
        }
        // For tasks to come; should it fail, the next start of the container does it.
        if let Err(error) = attached::show(&after) {
            warn!(container = record.container, %error, "Cannot show a new ground yet");
        }
        Ok(())
    })
    .await
}

/// Ends what a daemon that was killed has begun: the container has the new ground when it sees it, or nothing runs in it and the catalogue says
/// so, and the old one otherwise. Returns false when that cannot be known now.
///
/// # Errors
/// When the catalogue or the kernel refuses.
pub(super) async fn settle(
    host: &Arc<Host>,
    hold: &MountRecord,
    old: &AttachedRecord,
) -> Result<bool> {
    let layers = hold.path.parent().map(Path::to_owned).unwrap_or_default();
    let generation = layers
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    let Some(generation) = generation else {
        return Ok(true);
    };
    match was_seen(host, hold, old, layers).await? {
        None => return Ok(false),
        Some(false) => {
            put_back(host, old).await?;
            return Ok(true);
        }
        Some(true) => {}
    }
    let (catalogue, ground) = (Arc::clone(&host.catalogue), hold.snapshot);
    let mut new = old.clone();
    blocking(move || -> Result<bool> {
        if let Some(name) = &new.volume {
            let head = catalogue.volume(&new.namespace, name)?;
            new.version = (head.snapshot.id == ground).then_some(head.head);
        }
        (new.ground, new.base, new.generation) = (ground, ground, generation);
        catalogue.reground(&new, clock::now())?;
        Ok(true)
    })
    .await
}

/// Whether the container has seen the new ground; none when that cannot be known now. It may have ended since, but what is written there it
/// has written.
async fn was_seen(
    host: &Host,
    hold: &MountRecord,
    old: &AttachedRecord,
    layers: PathBuf,
) -> Result<Option<bool>> {
    if blocking(move || attached::is_written(&layers)).await? {
        return Ok(Some(true));
    }
    let Ok(task) = host.containerd.task(&old.namespace, &old.container).await else {
        return Ok(None);
    };
    // The number of one that has ended may be another's.
    let Some(task) = task.filter(|task| runs(task.status)) else {
        return Ok(Some(false));
    };
    let path = hold.path.clone();
    let is_seen = blocking(move || match mount::is_mounted(&path)? {
        true => Ok(!mount::seen_at(task.pid, &path)?.is_empty()),
        false => Ok::<_, StoreError>(false),
    });
    Ok(Some(is_seen.await?))
}

/// A daemon that was killed in the middle of an exchange has left a container that sees neither the old ground nor the new one.
async fn put_back(host: &Host, old: &AttachedRecord) -> Result<()> {
    let task = host.containerd.task(&old.namespace, &old.container).await?;
    let Some(task) = task.filter(|task| runs(task.status)) else {
        return Ok(());
    };
    let (merged, point) = (
        Place::of(host, old).merged(),
        PathBuf::from(&old.destination),
    );
    blocking(move || -> Result<()> {
        if mount::is_mounted(&merged)? && mount::seen_at(task.pid, &merged)?.is_empty() {
            mount::attach_inside(task.pid, &merged, &point)?;
        }
        Ok(())
    })
    .await
}

fn in_use(error: StoreError, record: &AttachedRecord) -> Error {
    if !matches!(error, StoreError::Busy { .. }) {
        return error.into();
    }
    let message = format!(
        "A process of container {} has a file or its working folder in {}, or something is mounted in it",
        record.container, record.destination
    );
    ErrorReport::new(ErrorCode::Conflict, "volume-in-use", message)
        .hint("Close the files, or stop the container, and try again")
        .into()
}

fn uncommitted(volume: &Volume, record: &AttachedRecord) -> Error {
    let name = volume.name.name();
    let message = format!(
        "Container {} has changes in volume {name} that are not committed",
        record.container
    );
    ErrorReport::new(ErrorCode::Conflict, "uncommitted-changes", message)
        .hint(format!("Commit them with `snapctl volume commit {name} --container {}`, or let them go with --discard", record.container))
        .into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use snap_store::{Attaching, AttachingWhat, ContainerRecord};

    use super::*;
    use crate::{containers, fixture, volume};

    /// The daemon was killed when the container saw its new ground already. It wrote there, and ended before the next start: what it had
    /// written was removed with the new ground.
    #[tokio::test]
    async fn what_was_written_to_a_new_ground_is_kept_when_a_reload_was_cut_off() {
        let (host, _folder) = fixture::host(|_| {});
        let namespace = "default".parse().unwrap();
        let [before, after] = ["one", "two"].map(|name| fixture::snapshot(&host, name, None));
        let record = ContainerRecord {
            namespace,
            id: "web".to_owned(),
            snapshot: None,
            folder: containers::folder(&host, &"default".parse().unwrap(), "web"),
            is_complete: true,
            created_at: 1,
        };
        host.catalogue.insert_container(&record).unwrap();
        let attaching = Attaching {
            destination: "/data".to_owned(),
            what: AttachingWhat::Snapshot(before, Vec::new()),
            is_read_only: false,
        };
        let of = (&record.namespace, "web");
        let old = host.catalogue.attach(of, &[attaching]).unwrap().remove(0);
        let mut new = old.clone();
        (new.ground, new.generation) = (after, 1);
        let upper = Place::of(&host, &new).upper();
        fs::create_dir_all(&upper).unwrap();
        fs::write(upper.join("work"), "of hours").unwrap();
        let hold = MountRecord {
            path: Place::of(&host, &new).merged(),
            snapshot: after,
            writable: None,
        };
        host.catalogue.insert_mount(&hold).unwrap();
        volume::settle(&host).await.unwrap();
        let found = host.catalogue.all_attached().unwrap().remove(0);
        assert_eq!((found.generation, found.ground), (1, after));
        assert!(upper.join("work").exists() && host.catalogue.mounts().unwrap().is_empty());
    }

    /// A container is thawed after a minute whatever happens; a reload that went on after that took away what was written since.
    #[test]
    fn nothing_is_exchanged_when_the_pause_may_be_over() {
        let record = AttachedRecord {
            namespace: "default".parse().unwrap(),
            container: "web".to_owned(),
            destination: "/data".to_owned(),
            volume: None,
            version: None,
            ground: snap_store::SnapshotId::random(),
            base: snap_store::SnapshotId::random(),
            subfolder: Vec::new(),
            is_read_only: false,
            place: 0,
            generation: 0,
        };
        require_in_time(&record, Duration::from_secs(1)).unwrap();
        let error = require_in_time(&record, LONGEST_PAUSE).unwrap_err();
        assert_eq!(ErrorReport::from(error).reason, "pause-too-long");
    }
}
