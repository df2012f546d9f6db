//! Mounts that were unmounted here and that somebody else still holds: another mount namespace (a container started with
//! a copy of the host's mounts, `unshare -m`), or a process with a file open below.
//!
//! They are served until the kernel says that the last holder has let go, in a place of their own, so that the snapshot
//! can be mounted here again meanwhile. Until then they count as a use of the snapshot.

use std::sync::Arc;

use tracing::{info, warn};

use super::{
    Mounts, in_task,
    places::{Place, Places},
    served::{self, Served},
    users::Users,
};
use crate::{blocking, error::Result, host::Host};

/// Moves what lingers out of the place where the snapshot is mounted for whoever uses it.
pub(super) async fn keep(
    places: &Arc<Places>,
    users: &Users,
    from: Place,
    served: Served,
) -> Result<()> {
    let Some(server) = served.server() else {
        return served::let_go(places, from, Some(served)).await;
    };
    let to = Place::lingering(from.snapshot, server.pid);
    let mut slot = places.slots.lock(to).await;
    if let Err(error) = users.add_lingering(places, to).await {
        warn!(mount = %to, %error, "A snapshot can be removed although a mount of it lingers");
    }
    let moved = served::move_to(places, from, to, &served).await;
    info!(mount = %to, server = server.pid, "A mount that was unmounted here is still held, and served until it is let go");
    *slot = Some(served);
    moved
}

impl Mounts {
    /// Ends what lingered when the kernel says that nobody holds it any more; true when it did.
    pub(super) async fn end_if_let_go(&self, host: &Host, place: Place) -> Result<bool> {
        let mut slot = self.places.slots.lock(place).await;
        if slot.as_ref().is_none_or(Served::is_connected) {
            return Ok(false);
        }
        let (places, users) = (self.places.clone(), Users::of(host, &place.snapshot));
        in_task(async move {
            served::let_go(&places, place, slot.take()).await?;
            users.remove_lingering(&places.point(place)).await
        })
        .await?;
        self.places.slots.forget(place);
        Ok(true)
    }

    /// Forgets uses of snapshots by mounts that have ended while no daemon ran.
    pub(super) async fn forget_ended(&self, host: &Host) -> Result<()> {
        let catalogue = host.catalogue.clone();
        for record in blocking(move || catalogue.mounts()).await? {
            let Some(place) = self.places.lingering_at(&record.path) else {
                continue;
            };
            if self.places.slots.lock(place).await.is_none() {
                let users = Users::of(host, &place.snapshot);
                users.remove_lingering(&record.path).await?;
            }
            self.places.slots.forget(place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use snap_store::Error as StoreError;

    use super::*;
    use crate::{error::Error, fixture, removal};

    #[tokio::test]
    async fn a_removal_waits_until_it_is_known_whether_a_mount_lingers() {
        let (host, _folder) = fixture::host(|_| {});
        let id = fixture::snapshot(&host, "held", None);
        let ending = host.mounts.places.slots.lock(Place::of(id)).await;
        let asking = Arc::clone(&host);
        let removal = tokio::spawn(async move { removal::remove(&asking, &[id]).await });
        let users = Users::of(&host, &id);
        let lingering = Place::lingering(id, 1);
        users
            .add_lingering(&host.mounts.places, lingering)
            .await
            .unwrap();
        drop(ending);
        let refused = removal.await.unwrap().unwrap_err();
        assert!(
            matches!(refused, Error::Store(StoreError::Busy { .. })),
            "{refused}"
        );
    }
}
