//! Who uses a snapshot, out of the catalogue.

use std::{path::Path, sync::Arc};

use snap_store::{Attachment, Catalogue, Error as StoreError, MountRecord, SnapshotId};

use super::places::{Place, Places};
use crate::{blocking, clock, error::Result, host::Host};

/// The users of one snapshot.
#[derive(Clone, Debug)]
pub(super) struct Users {
    catalogue: Arc<Catalogue>,
    snapshot: SnapshotId,
}

impl Users {
    pub(super) fn of(host: &Host, snapshot: &SnapshotId) -> Self {
        Self {
            catalogue: host.catalogue.clone(),
            snapshot: *snapshot,
        }
    }

    /// Containers and folders; mounts that linger have users of whom nothing is known, and to be a version of a volume takes no mount.
    pub(super) async fn count(&self, places: &Arc<Places>) -> Result<usize> {
        let (catalogue, snapshot) = (self.catalogue.clone(), self.snapshot);
        let users = blocking(move || catalogue.attachments(&snapshot)).await?;
        let known = |user: &&Attachment| match user {
            Attachment::Container(..) => true,
            Attachment::Folder(path) => places.lingering_at(path).is_none(),
            Attachment::Volume(..) => false,
        };
        Ok(users.iter().filter(known).count())
    }

    /// Notes that a lingering mount uses the snapshot, so that it is not removed.
    pub(super) async fn add_lingering(&self, places: &Places, place: Place) -> Result<()> {
        let record = MountRecord {
            path: places.point(place),
            snapshot: place.snapshot,
            writable: None,
        };
        let catalogue = self.catalogue.clone();
        blocking(move || match catalogue.insert_mount(&record) {
            Err(StoreError::Exists { .. }) => Ok(()),
            other => other,
        })
        .await
    }

    /// Forgets it.
    pub(super) async fn remove_lingering(&self, path: &Path) -> Result<()> {
        let (catalogue, path) = (self.catalogue.clone(), path.to_owned());
        blocking(move || match catalogue.remove_mount(&path, clock::now()) {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}
