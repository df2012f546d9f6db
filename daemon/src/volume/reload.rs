//! Reload: a container gets the newest version of a volume as its ground, with an empty layer over it.
//!
//! The new ground is mounted beside the old one first. Then the container stands still while it is looked for changes that are not
//! committed, and what it sees is exchanged. A record of the new mount is kept until all of it is done: when a daemon is killed between,
//! the next one asks the kernel which of both the container sees, and that one counts.

use std::sync::Arc;

use snap_api::{ErrorCode, ErrorReport};
use snap_fs::mount;
use snap_store::{AttachedRecord, Error as StoreError, MountRecord};
use tracing::warn;

use super::{
    Done, Volume,
    commit::{attached, is_clean, is_running},
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
    exchange(host, volume, old, discards, job).await?;
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
    let old = attached(host, volume, container).await?;
    exchange(host, volume, old, false, job).await
}

async fn exchange(
    host: &Arc<Host>,
    volume: &Volume,
    old: AttachedRecord,
    discards: bool,
    job: &JobHandle,
) -> Result<()> {
    let _turn = attached::turn(host, &old.namespace, &old.container).await;
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
    new.generation += 1;
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
    let options = PauseOptions::default();
    let guard = PauseGuard::pause(host, &old.namespace, &old.container, &options).await?;
    // A pause within the pause leaves the container as it stands.
    let is_clean = match looks {
        true => is_clean(host, volume, old, job).await,
        false => Ok(true),
    };
    let swapped = match is_clean {
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
    let Ok(task) = host.containerd.task(&old.namespace, &old.container).await else {
        return Ok(false);
    };
    let generation = hold
        .path
        .parent()
        .and_then(|layers| layers.file_name()?.to_str()?.parse().ok());
    let (Some(task), Some(generation)) = (task, generation) else {
        return Ok(true);
    };
    let path = hold.path.clone();
    let is_seen = blocking(move || match mount::is_mounted(&path)? {
        true => Ok(!mount::seen_at(task.pid, &path)?.is_empty()),
        false => Ok::<_, StoreError>(false),
    })
    .await?;
    if !is_seen {
        return Ok(true);
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

fn in_use(error: StoreError, record: &AttachedRecord) -> Error {
    if !matches!(error, StoreError::Busy { .. }) {
        return error.into();
    }
    let message = format!(
        "A process of container {} has a file or its working folder in {}",
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
