//! Snapshots served now: one mount and one mount server each, shared by everything that uses the snapshot.
//!
//! Each snapshot has a lock of its own, so that a hundred restores of it start one server and nobody ends a mount
//! while somebody else begins to use it. Starting and ending run in tasks of their own: a caller that goes away
//! leaves nothing half done. Who uses what is the catalogue's to say.
//!
//! A mount whose server has died stays while somebody stands on it: its device is kept, so that requests wait
//! instead of failing, and another server is started on it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use snap_api::{ErrorCode, ErrorReport, MountStatus};
use snap_store::{Catalogue, SnapshotId, Store};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tracing::warn;

use crate::{
    blocking,
    config::Config,
    error::{Error, Result},
    host::Host,
};

mod folders;
mod holding;
mod keeper;
mod places;
mod served;
mod server;
mod setbacks;

pub use folders::{mount_folder, unmount_folder};
pub use keeper::keep;
use keeper::{Death, Deaths};
use places::Places;
use served::Served;

/// The mounts of this daemon; knows who uses which, through the catalogue's attachments.
#[derive(Debug)]
pub struct Mounts {
    places: Arc<Places>,
    slots: Mutex<HashMap<SnapshotId, Slot>>,
    /// Servers that died; taken by the one who looks after them.
    deaths: Mutex<Option<Deaths>>,
}

/// What is served of one snapshot, behind its lock.
type Slot = Arc<AsyncMutex<Option<Served>>>;
type SlotGuard = OwnedMutexGuard<Option<Served>>;

impl Mounts {
    /// No mounts yet; [`Mounts::adopt`] takes over what an earlier daemon left.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let (notice, deaths) = tokio::sync::mpsc::unbounded_channel();
        Self {
            places: Arc::new(Places::new(config, notice)),
            slots: Mutex::default(),
            deaths: Mutex::new(Some(deaths)),
        }
    }

    /// The mount point of the snapshot, mounted and served; started when it is not.
    ///
    /// # Errors
    /// What the store says of the manifest; `Unavailable` when the server does not start, or has died under
    /// somebody who still stands on the mount.
    pub async fn ensure(&self, host: &Host, snapshot: &SnapshotId) -> Result<PathBuf> {
        let slot = self.lock(snapshot).await;
        let users = Users::of(host, snapshot);
        let (places, store, id) = (self.places.clone(), host.store.clone(), *snapshot);
        in_task(async move { ensure(&places, store, users, id, slot).await }).await
    }

    /// Ends the mount unless somebody still uses it.
    ///
    /// # Errors
    /// When the catalogue cannot be read or the kernel does not unmount.
    pub async fn release(&self, host: &Host, snapshot: &SnapshotId) -> Result<()> {
        let mut slot = self.lock(snapshot).await;
        let users = Users::of(host, snapshot);
        let (places, id) = (self.places.clone(), *snapshot);
        let released = in_task(async move {
            if users.count().await? == 0 {
                adopt(&places, id, &mut slot).await?;
                served::end(&places, id, slot.take()).await?;
            }
            Ok(())
        });
        released.await?;
        self.forget(snapshot);
        Ok(())
    }

    /// Takes over what an earlier daemon left, and starts servers again that died meanwhile. To be called once,
    /// early at start: whoever reads from such a mount waits.
    ///
    /// # Errors
    /// When the state folder cannot be read; a single mount that makes trouble is logged.
    pub async fn adopt(&self) -> Result<()> {
        let places = self.places.clone();
        for snapshot in blocking(move || places.snapshots()).await? {
            let slot = self.lock(&snapshot).await;
            let places = self.places.clone();
            let adopted = in_task(async move { adopt_and_revive(&places, snapshot, slot).await });
            if let Err(error) = adopted.await {
                warn!(%snapshot, %error, "Cannot take over a mount");
            }
        }
        Ok(())
    }

    /// Ends what was taken over and nobody uses. To be called once, when it is known who uses what.
    ///
    /// # Errors
    /// When the state folder cannot be read; a single mount that makes trouble is logged.
    pub async fn end_unused(&self, host: &Host) -> Result<()> {
        let places = self.places.clone();
        for snapshot in blocking(move || places.snapshots()).await? {
            if let Err(error) = self.release(host, &snapshot).await {
                warn!(%snapshot, %error, "Cannot end a mount that nobody uses");
            }
        }
        holding::forget_strangers(&self.places).await;
        Ok(())
    }

    /// What is served now, for `status`. A mount without a server has lost it.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn status(&self, host: &Host) -> Result<Vec<MountStatus>> {
        let mut slots: Vec<_> = {
            let slots = self.slots();
            slots.iter().map(|(id, slot)| (*id, slot.clone())).collect()
        };
        slots.sort_by_key(|(id, _)| *id);
        let mut found = Vec::with_capacity(slots.len());
        for (id, slot) in slots {
            // One that is starting or ending just now has no server to show.
            let (server_pid, restarts, failure) = match slot.try_lock() {
                Ok(slot) => match &*slot {
                    Some(served) => (served.live_pid(), served.restarts, served.failure.clone()),
                    None => continue,
                },
                Err(_) => (None, 0, None),
            };
            found.push(MountStatus {
                snapshot: id.to_string(),
                server_pid,
                users: Users::of(host, &id).count().await? as u64,
                restarts,
                failure,
            });
        }
        Ok(found)
    }

    fn take_deaths(&self) -> Option<Deaths> {
        let mut deaths = self.deaths.lock();
        deaths.as_mut().ok()?.take()
    }

    async fn lock(&self, snapshot: &SnapshotId) -> SlotGuard {
        let slot = self.slots().entry(*snapshot).or_default().clone();
        slot.lock_owned().await
    }

    /// Forgets a slot that is empty and that nobody else waits for.
    fn forget(&self, snapshot: &SnapshotId) {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(snapshot)
            && Arc::strong_count(slot) == 1
            && slot.try_lock().is_ok_and(|served| served.is_none())
        {
            slots.remove(snapshot);
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<SnapshotId, Slot>> {
        self.slots
            .lock()
            .expect("nobody panics while holding the table of mounts")
    }
}

/// Who uses a snapshot.
struct Users {
    catalogue: Arc<Catalogue>,
    snapshot: SnapshotId,
}

impl Users {
    fn of(host: &Host, snapshot: &SnapshotId) -> Self {
        Self {
            catalogue: host.catalogue.clone(),
            snapshot: *snapshot,
        }
    }

    async fn count(&self) -> Result<usize> {
        let (catalogue, snapshot) = (self.catalogue.clone(), self.snapshot);
        let users = blocking(move || catalogue.attachments(&snapshot)).await?;
        Ok(users.len())
    }
}

async fn ensure(
    places: &Arc<Places>,
    store: Store,
    users: Users,
    id: SnapshotId,
    mut slot: SlotGuard,
) -> Result<PathBuf> {
    adopt(places, id, &mut slot).await?;
    if let Some(served) = slot.as_mut() {
        let point = places.point(&id);
        if is_mounted(point.clone()).await? && serves(places, id, served).await {
            return Ok(point);
        }
        // The one who asks is a user already. Where no server ever answered, nobody else can stand.
        if served.server().is_some() && users.count().await? > 1 {
            return Err(server_is_dead(&id));
        }
        served::end(places, id, slot.take()).await?;
    }
    blocking(move || store.manifest(&id)).await?;
    *slot = Some(served::begin(places, id).await?);
    Ok(places.point(&id))
}

/// Fills an empty slot with what is mounted, or clears away what is left of it.
async fn adopt(places: &Arc<Places>, id: SnapshotId, slot: &mut SlotGuard) -> Result<()> {
    if slot.is_none() {
        **slot = served::adopt(places, id).await?;
    }
    Ok(())
}

/// Takes over, and starts a server where it has died; one that does not start is tried again later.
async fn adopt_and_revive(places: &Arc<Places>, id: SnapshotId, mut slot: SlotGuard) -> Result<()> {
    adopt(places, id, &mut slot).await?;
    if let Some(served) = slot.as_mut()
        && let Some(server) = served.server()
        && !serves(places, id, served).await
    {
        let _ = places.deaths.send(Death {
            snapshot: id,
            server,
        });
    }
    Ok(())
}

/// True when the mount has a living server, which it is given when the last one has died.
async fn serves(places: &Arc<Places>, id: SnapshotId, served: &mut Served) -> bool {
    if served.live_pid().is_some() {
        return true;
    }
    if served.server().is_none() {
        return false;
    }
    match served::revive(places, id, served).await {
        Ok(()) => true,
        Err(error) => {
            warn!(snapshot = %id, %error, "Cannot start a mount server again");
            false
        }
    }
}

async fn is_mounted(point: PathBuf) -> Result<bool> {
    blocking(move || snap_fs::mount::is_mounted(&point)).await
}

fn server_is_dead(id: &SnapshotId) -> Error {
    let message =
        format!("The mount server of snapshot {id} has died while others stand on its mount");
    ErrorReport::new(ErrorCode::Unavailable, "mount-server-dead", message)
        .hint("Remove the containers and unmount the folders that use the snapshot, then try again")
        .into()
}

/// Runs a step that must not be left half done when its caller goes away.
async fn in_task<T: Send + 'static>(
    step: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(step).await {
        Ok(done) => done,
        Err(panic) => Err(crate::jobs::panicked(&panic).into()),
    }
}
