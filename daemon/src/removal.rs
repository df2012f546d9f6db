//! Removal: Deleting in the catalogue, then the manifest, then gone.

use std::sync::Arc;

use snap_store::{
    Catalogue, Error as StoreError, Force, Result as StoreResult, SnapshotId, SnapshotRecord,
};

use crate::{ballast, blocking, clock, error::Result, events::Event, host::Host};

/// Removes snapshots, all or none: Deleting in the catalogue, then the manifests, then gone.
///
/// Once the first step is done the others cannot be refused; what they leave when the system fails is finished by
/// the next look for expired snapshots, or by the next start.
pub async fn remove(host: &Arc<Host>, ids: &[SnapshotId]) -> Result<()> {
    remove_by(host, ids, Force::No).await
}

/// The same, by force also those that bear immutable names.
pub async fn remove_by(host: &Arc<Host>, ids: &[SnapshotId], force: Force) -> Result<()> {
    let begun = ids.to_vec();
    remove_chosen_by(host, ids, "remove", move |catalogue| {
        catalogue.begin_removal(&begun, force, clock::now())?;
        Ok((begun.clone(), ()))
    })
    .await
}

/// Removes those of `ids` that `begin` has made Deleting in the catalogue, and returns what it says beside. Each that
/// is gone is told as an event of that action.
pub(crate) async fn remove_chosen_by<T: Send + 'static>(
    host: &Arc<Host>,
    ids: &[SnapshotId],
    action: &'static str,
    begin: impl Fn(&Catalogue) -> StoreResult<(Vec<SnapshotId>, T)> + Send + 'static,
) -> Result<T> {
    for id in ids {
        // A mount whose last user has just left may still be held elsewhere: that has to be in the catalogue first.
        host.mounts.release(host, id).await?;
    }
    let begin_host = Arc::clone(host);
    let (begun, said) = blocking(move || begin_with_room(&begin_host, begin)).await?;
    for id in begun {
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
        let event = Event::new(action, id.to_string()).of(&record.namespace);
        host.events.tell(event.about(Some(id)));
    }
    Ok(())
}

/// Returns what is gone by this.
async fn end(host: &Arc<Host>, id: SnapshotId) -> Result<Option<SnapshotRecord>> {
    let host = Arc::clone(host);
    blocking(move || {
        host.store.remove_manifest(&id)?;
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
