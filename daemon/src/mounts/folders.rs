//! Snapshots mounted at folders of the host, for people.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, CWD, FileType, StatxFlags, statx},
    io::Errno,
};
use snap_api::{ErrorCode, ErrorReport, MountView};
use snap_fs::mount::{mount_bind_read_only, mount_overlay_restricted, unmount_idle};
use snap_store::{Error as StoreError, Meta, MountRecord, Result as StoreResult, SnapshotId};
use tracing::{info, warn};

use crate::{
    blocking::blocking,
    clock,
    error::{Error, Result},
    files,
    host::Host,
    restore::folders::{UPPER, WORK, make},
};

/// Mounts a snapshot at a folder of the host. `path` is absolute, a folder, and nothing of ours is mounted there.
///
/// # Errors
/// `Usage` for a path that cannot be a mount point, `NotFound` when it is not there, `Conflict` when a snapshot is
/// mounted there already; nothing is changed then.
pub async fn mount_folder(
    host: &Host,
    snapshot: &SnapshotId,
    path: &Path,
    writable: bool,
) -> Result<MountView> {
    let (asked, ours) = (
        path.to_owned(),
        [host.config.root.clone(), host.config.state.clone()],
    );
    let path = blocking(move || check(&asked, &ours)).await?;
    let _turn = host.mounts.turns.wait(&path).await;
    let record = MountRecord {
        path,
        snapshot: *snapshot,
        writable: writable.then(|| layers_folder(host)),
    };
    let is_noted = Arc::new(AtomicBool::new(false));
    match mount(host, &record, note(host, &record, &is_noted)).await {
        Ok(()) => {
            info!(%snapshot, path = %record.path.display(), writable, "Mounted a snapshot");
            Ok(view(&record))
        }
        // Somebody else's mount may be there.
        Err(error) if !is_noted.load(Ordering::Acquire) => Err(error),
        Err(error) => {
            if let Err(left) = forget(host, &record).await {
                warn!(%snapshot, error = %left, "Cannot undo a mount that failed");
            }
            Err(error)
        }
    }
}

/// Unmounts such a folder; what was written to a writable one is gone with it.
///
/// # Errors
/// `NotFound` when no snapshot is mounted there, `Conflict` when a process uses it.
pub async fn unmount_folder(host: &Host, path: &Path) -> Result<MountView> {
    let (asked, catalogue) = (path.to_owned(), host.catalogue.clone());
    let lingers = host.mounts.lingers_at(path);
    let path = blocking(move || Ok::<_, Error>(real(&asked).unwrap_or(asked))).await?;
    let _turn = host.mounts.turns.wait(&path).await;
    let record = blocking(move || {
        let mounts = catalogue.mounts()?;
        let found = mounts.into_iter().find(|record| record.path == path);
        found
            .filter(|_| !lingers)
            .ok_or_else(|| StoreError::NotFound {
                what: "Mount",
                name: path.display().to_string(),
            })
    })
    .await?;
    let point = record.path.clone();
    blocking(move || unmount_idle(&point)).await?;
    forget(host, &record).await?;
    info!(snapshot = %record.snapshot, path = %record.path.display(), "Unmounted a snapshot");
    Ok(view(&record))
}

/// Writes down who uses the snapshot, and says so.
fn note(
    host: &Host,
    record: &MountRecord,
    is_noted: &Arc<AtomicBool>,
) -> impl Future<Output = Result<()>> + Send + 'static {
    let (catalogue, record) = (host.catalogue.clone(), record.clone());
    let is_noted = is_noted.clone();
    async move {
        blocking(move || catalogue.begin_mount(&record, clock::now())).await?;
        is_noted.store(true, Ordering::Release);
        Ok(())
    }
}

async fn mount(
    host: &Host,
    record: &MountRecord,
    noted: impl Future<Output = Result<()>> + Send + 'static,
) -> Result<()> {
    let source = host
        .mounts
        .ensure_for(host, &record.snapshot, noted)
        .await?;
    let (store, record) = (host.store.clone(), record.clone());
    blocking(move || match &record.writable {
        None => mount_bind_read_only(&source, &record.path),
        Some(layers) => {
            let meta = store.manifest(&record.snapshot)?.root_meta;
            mount_writable(&source, layers, &record.path, &meta)
        }
    })
    .await
}

fn mount_writable(source: &Path, layers: &Path, point: &Path, meta: &Meta) -> StoreResult<()> {
    make(layers, meta)?;
    mount_overlay_restricted(point, &[source], &layers.join(UPPER), &layers.join(WORK))
}

/// Lets go of what an unmounted folder had.
async fn forget(host: &Host, record: &MountRecord) -> Result<()> {
    let (catalogue, kept) = (host.catalogue.clone(), record.clone());
    blocking(move || {
        if let Some(layers) = &kept.writable {
            files::remove_folder(layers)?;
        }
        catalogue.remove_mount(&kept.path, clock::now())
    })
    .await?;
    host.mounts.release(host, &record.snapshot).await
}

fn layers_folder(host: &Host) -> PathBuf {
    let name = SnapshotId::random().to_string();
    host.config.root.join("writable").join(name)
}

/// The path without symbolic links, if a snapshot may be mounted there.
fn check(asked: &Path, ours: &[PathBuf]) -> Result<PathBuf, Error> {
    let unusable = |why: &str| {
        let message = format!("{} {why}", asked.display());
        ErrorReport::new(ErrorCode::Usage, "unusable-folder", message)
            .hint("Give an existing folder of your own, for instance a new one")
    };
    if !asked.is_absolute() || asked.file_name().is_none() {
        return Err(unusable("is not the absolute path of a folder").into());
    }
    let path = real(asked)?;
    // Asks no server: one that is dead would never answer.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let about = statx(CWD, &path, flags, StatxFlags::TYPE).map_err(|error| match error {
        Errno::NOENT => no_folder(&path),
        _ => StoreError::io("look at", &path)(error),
    })?;
    if FileType::from_raw_mode(about.stx_mode.into()) != FileType::Directory {
        return Err(unusable("is no folder").into());
    }
    for folder in ours {
        let folder = fs::canonicalize(folder).map_err(StoreError::io("look at", folder))?;
        if path.starts_with(&folder) || folder.starts_with(&path) {
            return Err(unusable("holds the daemon's own files, or lies among them").into());
        }
    }
    Ok(path)
}

/// The path without symbolic links above its last component; that one is not looked at, because a mount may stand
/// there whose server does not answer.
fn real(path: &Path) -> StoreResult<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path.to_owned());
    };
    let parent = fs::canonicalize(parent).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_folder(parent),
        _ => StoreError::io("look at", parent)(error),
    })?;
    Ok(parent.join(name))
}

fn no_folder(path: &Path) -> StoreError {
    StoreError::NotFound {
        what: "Folder",
        name: path.display().to_string(),
    }
}

fn view(record: &MountRecord) -> MountView {
    MountView {
        path: snap_api::WirePath::from(record.path.as_path()),
        snapshot: record.snapshot.to_string(),
        writable: record.writable.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{fixture, mounts::places::Place};

    /// Asked for while the mount is under way, an unmount would find its record and nothing mounted, and forget the record; the
    /// folder was mounted a moment later and belonged to nobody.
    #[tokio::test]
    async fn an_unmount_waits_for_the_mount_of_its_folder() {
        let (host, folder) = fixture::host(|_| {});
        fs::create_dir_all(&host.config.state).unwrap();
        let path = folder.path().join("mounted");
        fs::create_dir(&path).unwrap();
        let id = fixture::snapshot(&host, "one", None);
        let slot = host.mounts.places.slots.lock(Place::of(id)).await;
        let (mounter, point) = (Arc::clone(&host), path.clone());
        let mounting =
            tokio::spawn(async move { mount_folder(&mounter, &id, &point, false).await });
        while host.mounts.turns.is_free(&path) {
            tokio::task::yield_now().await;
        }
        let (unmounter, point) = (Arc::clone(&host), path.clone());
        let unmounting = tokio::spawn(async move { unmount_folder(&unmounter, &point).await });
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(!unmounting.is_finished());
        }
        drop(slot);
        let failed = mounting.await.unwrap();
        assert!(failed.is_err(), "there is no mount server here");
        let ended = unmounting.await.unwrap();
        assert!(matches!(
            ended,
            Err(Error::Store(StoreError::NotFound { .. }))
        ));
        assert!(host.catalogue.mounts().unwrap().is_empty());
    }
}
