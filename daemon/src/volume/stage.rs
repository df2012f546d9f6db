//! A stage: a version of a volume, writable for one change, where nobody but the daemon sees it.
//!
//! It is in the catalogue as a mounted folder that lies among the daemon's own, so that its version cannot go away, and the next start
//! removes what a daemon that was killed has left.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use snap_store::{AttachedRecord, MountRecord, Result as StoreResult, SnapshotId};
use tracing::warn;

use super::reload;
use crate::{
    attached::Place,
    blocking, clock,
    error::{Result, in_full},
    files,
    host::Host,
    restore::folders::{self, ROOTFS, UPPER, WORK},
};

/// Folder of the store in which stages lie.
const FOLDER: &str = "staging";

/// One stage.
#[derive(Debug)]
pub(super) struct Stage {
    host: Arc<Host>,
    folder: PathBuf,
    ground: SnapshotId,
}

impl Stage {
    pub(super) async fn over(host: &Arc<Host>, ground: &SnapshotId) -> Result<Self> {
        let stage = Self {
            host: Arc::clone(host),
            folder: host
                .config
                .root
                .join(FOLDER)
                .join(SnapshotId::random().to_string()),
            ground: *ground,
        };
        let (catalogue, record) = (Arc::clone(&host.catalogue), stage.record());
        blocking(move || catalogue.insert_mount(&record)).await?;
        match stage.stand().await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.end().await;
                Err(error)
            }
        }
    }

    fn record(&self) -> MountRecord {
        MountRecord {
            path: self.rootfs(),
            snapshot: self.ground,
            writable: Some(self.folder.clone()),
        }
    }

    async fn stand(&self) -> Result<()> {
        let lower = self.host.mounts.ensure(&self.host, &self.ground).await?;
        let (store, ground, folder) = (self.host.store.clone(), self.ground, self.folder.clone());
        blocking(move || {
            folders::make(&folder, &store.manifest(&ground)?.root_meta)?;
            let (upper, work) = (folder.join(UPPER), folder.join(WORK));
            let rootfs = folder.join(ROOTFS);
            snap_fs::mount::mount_overlay_restricted(&rootfs, &[&lower], &upper, &work)
        })
        .await
    }

    /// Where the version can be changed.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.folder.join(ROOTFS)
    }

    /// What was changed.
    pub(super) fn upper(&self) -> PathBuf {
        self.folder.join(UPPER)
    }

    /// Undoes it. What cannot be undone now is undone by the next start.
    pub(super) async fn end(self) {
        if let Err(error) = end(&self.host, self.record()).await {
            warn!(
                stage = %self.folder.display(),
                error = in_full(&error),
                "Cannot undo a stage of a volume now, the next start will"
            );
        }
    }
}

async fn end(host: &Host, record: MountRecord) -> Result<()> {
    let (catalogue, snapshot) = (Arc::clone(&host.catalogue), record.snapshot);
    blocking(move || -> StoreResult<()> {
        snap_fs::mount::unmount(&record.path)?;
        if let Some(folder) = &record.writable {
            files::remove_folder(folder)?;
        }
        catalogue.remove_mount(&record.path, clock::now()).map(drop)
    })
    .await?;
    host.mounts.release(host, &snapshot).await
}

/// Ends what an earlier daemon has left: stages, and grounds that it was about to give containers.
pub(super) async fn end_leftovers(host: &Arc<Host>) -> Result<()> {
    let catalogue = Arc::clone(&host.catalogue);
    let own = [FOLDER, "containers"].map(|name| host.config.root.join(name));
    let mut left = blocking(move || catalogue.mounts()).await?;
    left.retain(|record| own.iter().any(|folder| record.path.starts_with(folder)));
    for record in left {
        if let Err(error) = end_leftover(host, record).await {
            warn!(
                error = in_full(&error),
                "Cannot undo what a change of a volume has left now"
            );
        }
    }
    end_unknown(host).await
}

/// Folders that the catalogue knows nothing of: those that new volumes are captured from are in none.
async fn end_unknown(host: &Arc<Host>) -> Result<()> {
    let (catalogue, staging) = (Arc::clone(&host.catalogue), host.config.root.join(FOLDER));
    blocking(move || -> StoreResult<()> {
        let mounts = catalogue.mounts()?;
        let is_known = |folder: &Path| mounts.iter().any(|one| one.path.starts_with(folder));
        for folder in files::entries(&staging)? {
            if !is_known(&folder) {
                snap_fs::mount::unmount(&folder.join(ROOTFS))?;
                files::remove_folder(&folder)?;
            }
        }
        Ok(())
    })
    .await
}

async fn end_leftover(host: &Arc<Host>, mut record: MountRecord) -> Result<()> {
    let Some(layers) = record.path.parent().map(Path::to_owned) else {
        return Ok(());
    };
    if record.writable.is_none() {
        let places = || -> StoreResult<Vec<AttachedRecord>> { host.catalogue.all_attached() };
        let of = |one: &&AttachedRecord| Place::of(host, one).layers().parent() == layers.parent();
        if let Some(old) = places()?.iter().find(of)
            && Place::of(host, old).merged() != record.path
            && !reload::settle(host, &record, old).await?
        {
            return Ok(());
        }
        // It may be the container's now, by what was just found or from before.
        let is_its_own = |one: &AttachedRecord| Place::of(host, one).merged() == record.path;
        if places()?.iter().any(is_its_own) {
            let catalogue = Arc::clone(&host.catalogue);
            return blocking(move || catalogue.remove_mount(&record.path, clock::now()).map(drop))
                .await;
        }
        record.writable = Some(layers);
    }
    end(host, record).await
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture;

    /// A daemon that was killed while a volume was made left the empty folder of its first version for ever.
    #[tokio::test]
    async fn what_the_catalogue_knows_nothing_of_is_removed() {
        let (host, _folder) = fixture::host(|_| {});
        let staging = host.config.root.join(FOLDER);
        let [left, known] = ["left", "known"].map(|name| staging.join(name));
        for folder in [&left, &known] {
            fs::create_dir_all(folder.join(ROOTFS)).unwrap();
        }
        let record = MountRecord {
            path: known.join(ROOTFS),
            snapshot: fixture::snapshot(&host, "one", None),
            writable: None,
        };
        host.catalogue.insert_mount(&record).unwrap();
        end_unknown(&host).await.unwrap();
        assert_eq!((left.exists(), known.exists()), (false, true));
    }
}
