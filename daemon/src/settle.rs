//! At start: whatever an earlier daemon left half done is ended, one way or the other.
//!
//! The order matters: first the containers that stand still, then those that wait for a mount server, then the states that need nobody's answer, then what
//! needs containerd. One thing that cannot be settled does not keep the others from it; it is said and tried again
//! at the next start.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use snap_fs::traces::TraceFolder;
use snap_store::{
    ContainerRecord, Error as StoreError, MountRecord, Namespace, Result as StoreResult,
    SnapshotId, SnapshotState,
};
use tracing::{info, warn};

use crate::{
    blocking, clock, containers, error::Result, files, host::Host, memory, pause,
    restore::SNAPSHOT_LABEL, template, volume,
};

/// What is remembered of files is of no use once its source was not captured for so long.
const CACHE_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Thaws what was left paused, adopts mounts, fails what was Creating, finishes what was Deleting, gives up
/// what is Active without a manifest, undoes incomplete containers and changes of volumes, ends mounts that nobody uses, mounts again what restored containers stand on after a reboot, and clears drafts and orphans.
///
/// # Errors
/// When the catalogue cannot be read or written.
pub async fn settle(host: &Arc<Host>) -> Result<()> {
    let written = pause::thaw_leftovers(host).await?;
    tolerate("take over mounts", host.mounts.adopt(host).await);
    end_creating(host).await?;
    end_deleting(host).await?;
    tolerate(
        "clear the results of steps",
        template::clear_failed(host).await,
    );
    tolerate("look for lost snapshots", end_lost(host).await);
    undo_incomplete(host).await?;
    tolerate("settle volumes", volume::settle(host).await);
    adopt_orphans(host).await?;
    tolerate("sweep restored containers", containers::sweep(host).await);
    tolerate("end mounts", host.mounts.end_unused(host).await);
    stand_again(host).await?;
    forget_folders(host).await?;
    clear_state(host, written).await;
    Ok(())
}

/// A manifest is there only when everything it names is: such a snapshot is whole, and lacks but its state.
async fn end_creating(host: &Arc<Host>) -> Result<()> {
    let host = Arc::clone(host);
    let ending = move || -> StoreResult<()> {
        for record in host.catalogue.in_state(SnapshotState::Creating)? {
            match host.store.manifest(&record.id) {
                Ok(manifest) => {
                    host.catalogue.activate(&manifest)?;
                    info!(snapshot = %record.id, "A snapshot was whole already and is active now");
                }
                Err(error) => {
                    if !matches!(error, StoreError::NotFound { .. }) {
                        host.store.remove_manifest(&record.id)?;
                    }
                    let reason = "The daemon ended while the snapshot was being made";
                    host.catalogue.fail(&record.id, reason)?;
                    info!(snapshot = %record.id, "A snapshot was not finished and has failed");
                }
            }
        }
        Ok(())
    };
    blocking(ending).await
}

async fn end_deleting(host: &Arc<Host>) -> Result<()> {
    let host = Arc::clone(host);
    let ending = move || -> StoreResult<()> {
        for record in host.catalogue.in_state(SnapshotState::Deleting)? {
            host.store.remove_manifest(&record.id)?;
            host.catalogue.finish_removal(&record.id)?;
            info!(snapshot = %record.id, "The removal of a snapshot is finished");
        }
        Ok(())
    };
    blocking(ending).await
}

/// An Active snapshot without manifest was removed after the catalogue's copy was made that is in use now, or its
/// manifest is lost: nothing can be made of it, and it must not look as if.
async fn end_lost(host: &Arc<Host>) -> Result<()> {
    let host = Arc::clone(host);
    let ending = move || -> StoreResult<()> {
        let whole: HashSet<SnapshotId> = host.store.manifests()?.into_iter().collect();
        for record in host.catalogue.in_state(SnapshotState::Active)? {
            if !whole.contains(&record.id) {
                let reason = "Its manifest is gone: it was removed after the backup of the catalogue that was \
                              restored, or the file was lost";
                host.catalogue.lose(&record.id, reason)?;
                warn!(snapshot = %record.id, "The manifest of a snapshot is gone, and the snapshot has failed");
            }
        }
        for trashed in host.catalogue.trash(None, None, usize::MAX)? {
            let id = trashed.snapshot.id;
            if !whole.contains(&id) && !trashed.snapshot.is_used {
                host.catalogue.begin_purge(&[id], None)?;
                host.catalogue.finish_removal(&id)?;
                info!(snapshot = %id, "A snapshot in the trash was gone already");
            }
        }
        Ok(())
    };
    blocking(ending).await
}

async fn undo_incomplete(host: &Arc<Host>) -> Result<()> {
    let records = host.catalogue.containers()?;
    for record in records.iter().filter(|record| !record.is_complete) {
        info!(namespace = %record.namespace, container = record.id, "Undoing a restore that was not finished");
        containers::undo(host, record).await;
    }
    Ok(())
}

/// Folders without a record: after the catalogue was lost and rebuilt they may hold a living container's files.
async fn adopt_orphans(host: &Arc<Host>) -> Result<()> {
    for (namespace, id) in container_folders(&host.config.root.join("containers")) {
        match host.catalogue.container(&namespace, &id) {
            Err(StoreError::NotFound { .. }) => {
                tolerate(
                    "settle a container's folder",
                    adopt(host, &namespace, &id).await,
                );
            }
            other => drop(other?),
        }
    }
    Ok(())
}

/// Takes the folder's container back into the catalogue when containerd has it, and removes the folder when it has not.
async fn adopt(host: &Arc<Host>, namespace: &Namespace, id: &str) -> Result<()> {
    let found = host.containerd.find_container(namespace, id).await?;
    let found = found.filter(containers::is_ours);
    let label = found
        .as_ref()
        .and_then(|info| info.config.labels.get(SNAPSHOT_LABEL));
    let snapshot = label.and_then(|label| label.parse::<SnapshotId>().ok());
    let record = ContainerRecord {
        namespace: namespace.clone(),
        id: id.to_owned(),
        snapshot,
        folder: containers::folder(host, namespace, id),
        is_complete: false,
        created_at: clock::now(),
    };
    if found.is_none() {
        info!(%namespace, container = id, "Removing the folder of a container that is gone");
        return containers::discard(host, &record).await;
    }
    info!(%namespace, container = id, "Taking a restored container back into the catalogue");
    host.catalogue.insert_container(&record)?;
    Ok(host.catalogue.complete_containers(&[record])?)
}

/// Namespaces and ids of the folders below `all`.
fn container_folders(all: &Path) -> Vec<(Namespace, String)> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for namespace in names(all) {
        if let Ok(parsed) = namespace.parse::<Namespace>() {
            let ids = names(&all.join(&namespace)).into_iter();
            found.extend(ids.map(|id| (parsed.clone(), id)));
        }
    }
    found
}

/// After a reboot nothing is mounted; after a mere restart this adopts what is.
async fn stand_again(host: &Arc<Host>) -> Result<()> {
    let records = host.catalogue.containers()?;
    for record in records.iter().filter(|record| record.is_complete) {
        tolerate(
            "mount what a container stands on",
            containers::stand(host, record).await,
        );
    }
    Ok(())
}

/// Folders that are mounted no longer: a reboot ends such a mount, and what was written in it.
async fn forget_folders(host: &Arc<Host>) -> Result<()> {
    for record in host.catalogue.mounts()? {
        let MountRecord {
            path,
            snapshot,
            writable,
        } = record;
        if host.mounts.lingers_at(&path) {
            continue;
        }
        if snap_fs::mount::is_mounted(&path)? {
            tolerate(
                "serve a mounted folder",
                host.mounts.ensure(host, &snapshot).await.map(drop),
            );
            continue;
        }
        info!(path = %path.display(), "Forgetting a folder that is mounted no longer");
        if let Some(layer) = writable {
            blocking(move || remove_all(&layer)).await?;
        }
        host.catalogue.remove_mount(&path, clock::now())?;
        tolerate("end a mount", host.mounts.release(host, &snapshot).await);
    }
    Ok(())
}

/// Clears mounts of captures that were cut off, and caches of sources that are long gone; CRIU writes to the folders in `written`.
async fn clear_state(host: &Arc<Host>, written: Vec<PathBuf>) {
    let (captures, caches) = (
        host.config.state.join("captures"),
        host.config.root.join("cache").join("stat"),
    );
    let state = host.config.state.clone();
    tolerate("clear traces", clear_traces(host).await);
    let images = blocking(move || memory::clear(&state, &written)).await;
    tolerate("clear images of memory", images);
    let clearing = move || -> StoreResult<()> {
        for target in entries(&captures) {
            snap_fs::mount::unmount(&target)?;
            fs::remove_dir(&target).map_err(StoreError::io("remove", &target))?;
        }
        for cache in entries(&caches) {
            let modified = fs::metadata(&cache).and_then(|about| about.modified());
            let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            if age.is_ok_and(|age| age > CACHE_AGE) {
                remove_all(&cache)?;
            }
        }
        Ok(())
    };
    tolerate("clear what captures left", blocking(clearing).await);
}

/// Those of snapshots that are gone, and all of them when nothing is to be read ahead.
async fn clear_traces(host: &Arc<Host>) -> Result<()> {
    let host = Arc::clone(host);
    let clearing = move || -> StoreResult<()> {
        let there: HashSet<_> = host.store.manifests()?.into_iter().collect();
        let is_wanted = host.config.prefetch_bytes > 0;
        TraceFolder::of_store(&host.config.root).keep(|id| is_wanted && there.contains(id))
    };
    blocking(clearing).await
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn remove_all(path: &Path) -> StoreResult<()> {
    match path.is_dir() {
        true => files::remove_folder(path),
        false => files::remove_file(path),
    }
}

/// The rest is settled whatever becomes of this.
fn tolerate(what: &str, done: Result<()>) {
    if let Err(error) = done {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Cannot {what} now, the next start tries again");
    }
}

#[cfg(test)]
mod tests {
    use snap_store::Force;

    use super::*;
    use crate::fixture;

    /// **S3** A snapshot that was `creating` when the daemon ended is `failed` after the next start, with the reason,
    /// or `active` when everything of it was stored already; one that was `deleting` is gone.
    #[tokio::test]
    async fn what_was_under_way_is_settled_by_what_is_stored() {
        let (host, _folder) = fixture::host(|_| {});
        let deleting = fixture::snapshot(&host, "deleting", None);
        host.catalogue
            .begin_removal(&[deleting], Force::No, 0)
            .unwrap();
        let whole = fixture::committed(&host, "whole", None).id;
        let cut_short = fixture::committed(&host, "short", None).id;
        host.store.remove_manifest(&cut_short).unwrap();
        settle(&host).await.unwrap();
        assert_eq!(
            host.catalogue.get(&whole).unwrap().state,
            SnapshotState::Active
        );
        let failed = host.catalogue.get(&cut_short).unwrap();
        assert_eq!(failed.state, SnapshotState::Failed);
        assert!(failed.reason.is_some_and(|reason| reason.contains("ended")));
        assert!(host.catalogue.get(&deleting).is_err());
        assert_eq!(host.store.manifests().unwrap(), [whole]);
    }

    /// A snapshot in each state that a start has to settle: whole and broken ones being made, one being removed, one that lost
    /// its manifest.
    fn unsettled(host: &Host) -> [SnapshotId; 5] {
        let whole = fixture::committed(host, "whole", None).id;
        let broken = fixture::committed(host, "broken", None).id;
        let path = host
            .config
            .root
            .join(format!("manifests/{broken}.manifest"));
        fs::write(path, "no manifest").unwrap();
        let bare = fixture::committed(host, "bare", None).id;
        host.store.remove_manifest(&bare).unwrap();
        let deleting = fixture::snapshot(host, "deleting", None);
        host.catalogue
            .begin_removal(&[deleting], Force::No, 0)
            .unwrap();
        let lost = fixture::snapshot(host, "lost", None);
        host.store.remove_manifest(&lost).unwrap();
        [whole, broken, bare, deleting, lost]
    }

    /// What a start does to states are changes of the store and of the catalogue, each whole or not there. After any number of them
    /// the next start ends as one that was not cut off.
    #[tokio::test]
    async fn a_start_that_was_cut_off_is_ended_by_the_next() {
        type Change = fn(&Host, &[SnapshotId; 5]);
        let changes: [Change; 6] = [
            |host, [whole, ..]| {
                let manifest = host.store.manifest(whole).unwrap();
                host.catalogue.activate(&manifest).unwrap();
            },
            |host, [_, broken, ..]| host.store.remove_manifest(broken).unwrap(),
            |host, [_, broken, ..]| host.catalogue.fail(broken, "cut off").unwrap(),
            |host, [_, _, bare, ..]| host.catalogue.fail(bare, "cut off").unwrap(),
            |host, [_, _, _, deleting, _]| host.store.remove_manifest(deleting).unwrap(),
            |host, [_, _, _, deleting, _]| host.catalogue.finish_removal(deleting).unwrap(),
        ];
        for done in 0..=changes.len() {
            let (host, _folder) = fixture::host(|_| {});
            let ids = unsettled(&host);
            changes[..done]
                .iter()
                .for_each(|change| change(&host, &ids));
            for _ in 0..2 {
                settle(&host).await.unwrap();
                let states = ids.map(|id| host.catalogue.get(&id).ok().map(|found| found.state));
                let failed = Some(SnapshotState::Failed);
                let expected = [Some(SnapshotState::Active), failed, failed, None, failed];
                assert_eq!(states, expected, "after {done} changes");
                assert_eq!(host.store.manifests().unwrap(), [ids[0]]);
            }
        }
    }

    #[test]
    fn folders_of_containers_are_found_by_namespace_and_id() {
        let all = tempfile::tempdir().unwrap();
        for path in ["default/web", "k8s.io/a.b", "-bad/x"] {
            fs::create_dir_all(all.path().join(path)).unwrap();
        }
        let mut found = container_folders(all.path());
        found.sort();
        let expected = [("default", "web"), ("k8s.io", "a.b")];
        let expected = expected.map(|(namespace, id)| (namespace.parse().unwrap(), id.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(container_folders(Path::new("/no/such")), []);
    }
}
