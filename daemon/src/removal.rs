//! Removal: to the trash, or Deleting in the catalogue, then the manifest, then gone.

use std::sync::Arc;

use snap_fs::traces::TraceFolder;
use snap_store::{
    Begun, Catalogue, Error as StoreError, Force, Removal, Result as StoreResult, SnapshotId,
    SnapshotRecord, Stay, TrashCause,
};
use tracing::warn;

use crate::{ballast, blocking, clock, error::Result, events::Event, host::Host, trash};

/// Removes snapshots, all or none: to the trash when there is one, and otherwise Deleting in the catalogue, then the manifests, then gone.
///
/// Once the first step is done the others cannot be refused; what they leave when the system fails is finished by
/// the next look for expired snapshots, or by the next start.
pub async fn remove(host: &Arc<Host>, ids: &[SnapshotId]) -> Result<()> {
    let stay = trash::stay(&host.config, TrashCause::Remove);
    remove_by(host, ids, Force::No, stay).await.map(drop)
}

/// The same, by force also those that bear immutable names, and to the trash as `stay` says. Returns whether something is there now.
pub async fn remove_by(
    host: &Arc<Host>,
    ids: &[SnapshotId],
    force: Force,
    stay: Option<Stay>,
) -> Result<bool> {
    let begun = ids.to_vec();
    remove_chosen_by(host, ids, "remove", move |catalogue| {
        let now = clock::now();
        let begun = catalogue.remove_to(&begun, &Removal { force, now, stay })?;
        let is_in_trash = !begun.trashed.is_empty();
        Ok((begun, is_in_trash))
    })
    .await
}

/// Removes those of `ids` with which `begin` has begun in the catalogue, and returns what it says beside. Each that
/// is gone is told as an event of that action, and each that is in the trash as `trash`.
pub(crate) async fn remove_chosen_by<T: Send + 'static>(
    host: &Arc<Host>,
    ids: &[SnapshotId],
    action: &'static str,
    begin: impl Fn(&Catalogue) -> StoreResult<(Begun, T)> + Send + 'static,
) -> Result<T> {
    for id in ids {
        // A mount whose last user has just left may still be held elsewhere: that has to be in the catalogue first.
        host.mounts.release(host, id).await?;
    }
    let begin_host = Arc::clone(host);
    let (begun, said) = blocking(move || begin_with_room(&begin_host, begin)).await?;
    for id in begun.trashed {
        let catalogue = Arc::clone(&host.catalogue);
        let record = blocking(move || catalogue.get(&id)).await?;
        tell(host, "trash", &record);
    }
    for id in begun.deleting {
        finish(host, id, action).await?;
    }
    Ok(said)
}

/// The first step; on a disk that is full to the last byte it takes the space that is kept for it.
fn begin_with_room<T>(host: &Host, begin: impl Fn(&Catalogue) -> StoreResult<T>) -> Result<T> {
    match begin(&host.catalogue) {
        Err(error) if error.is_full() && ballast::release(&host.config)? => {
            Ok(begin(&host.catalogue)?)
        }
        begun => Ok(begun?),
    }
}

/// The steps of a removal that has begun, told as an event of that action; doing them twice does no harm.
pub(crate) async fn finish(host: &Arc<Host>, id: SnapshotId, action: &'static str) -> Result<()> {
    if let Some(record) = end(host, id).await? {
        tell(host, action, &record);
    }
    Ok(())
}

fn tell(host: &Host, action: &'static str, record: &SnapshotRecord) {
    let event = Event::new(action, record.id.to_string()).of(&record.namespace);
    host.events.tell(event.about(Some(record.id)));
}

/// Returns what is gone by this.
async fn end(host: &Arc<Host>, id: SnapshotId) -> Result<Option<SnapshotRecord>> {
    let host = Arc::clone(host);
    blocking(move || {
        host.store.remove_manifest(&id)?;
        if let Err(error) = TraceFolder::of_store(&host.config.root).forget(&id) {
            warn!(%error, "What mounts of a removed snapshot needed stays written down until the next start");
        }
        let record = host.catalogue.get(&id);
        match host.catalogue.finish_removal(&id).and(record) {
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(record) => {
                host.past.removed(&record);
                Ok(Some(record))
            }
        }
    })
    .await
}
