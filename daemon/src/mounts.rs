//! Snapshots served now: one mount and one mount server each, shared by everything that uses the snapshot.
//!
//! Each snapshot has a lock of its own, so that a hundred restores of it start one server and nobody ends a mount
//! while somebody else begins to use it. Starting and ending run in tasks of their own: a caller that goes away
//! leaves nothing half done. Who uses what is the catalogue's to say.
//!
//! A mount whose server has died stays while somebody stands on it: its device is kept, so that requests wait
//! instead of failing, and another server is started on it. So does a mount that nobody here uses any more and that
//! another mount namespace still holds.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use futures::future::join_all;
use snap_api::{ErrorCode, ErrorReport, MountStatus, RequestInFlight};
use snap_fs::serve::InFlight;
use snap_store::{SnapshotId, Store};
use tracing::warn;

use crate::{
    blocking,
    config::Config,
    error::{Error, Result},
    host::Host,
    turns::Turns,
};

mod folders;
mod holding;
mod keeper;
mod lingering;
mod places;
mod pulse;
mod record;
mod served;
mod server;
mod setbacks;
mod slots;
mod upgrade;
mod users;
mod watch;

pub use folders::{mount_folder, unmount_folder};
pub use keeper::keep;
use keeper::{Death, Deaths};
use places::{Place, Places};
use pulse::Sign;
use served::{Left, Served};
pub(crate) use server::start_server;
use slots::SlotGuard;
pub use upgrade::upgrade;
use users::Users;
pub use watch::watch;

/// How long somebody who asks for the status waits for a mount server.
const STATUS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// The mounts of this daemon; knows who uses which, through the catalogue's attachments.
#[derive(Debug)]
pub struct Mounts {
    places: Arc<Places>,
    /// Servers that died; taken by the one who looks after them.
    deaths: Mutex<Option<Deaths>>,
    /// Folders that somebody is mounting at or unmounting, without symbolic links: an unmount that came between the record of a mount
    /// and the mount itself would leave a mounted folder that nobody knows.
    turns: Turns<PathBuf>,
}

impl Mounts {
    /// No mounts yet; [`Mounts::adopt`] takes over what an earlier daemon left.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let (notice, deaths) = tokio::sync::mpsc::unbounded_channel();
        Self {
            places: Arc::new(Places::new(config, notice)),
            deaths: Mutex::new(Some(deaths)),
            turns: Turns::default(),
        }
    }

    /// The mount point of the snapshot, mounted and served; started when it is not.
    ///
    /// # Errors
    /// What the store says of the manifest; `Unavailable` when the server does not start, or has died under
    /// somebody who still stands on the mount.
    pub async fn ensure(&self, host: &Host, snapshot: &SnapshotId) -> Result<PathBuf> {
        self.ensure_for(host, snapshot, async { Ok(()) }).await
    }

    /// The same for somebody who becomes a user by `noted`, which is done beside the start of a server when one has to be started: the disk
    /// takes its time for both. Nobody ends the mount before it is noted. Whoever has noted it and meets an error takes it back.
    ///
    /// # Errors
    /// Those of [`Mounts::ensure`], and that of `noted`.
    pub async fn ensure_for(
        &self,
        host: &Host,
        snapshot: &SnapshotId,
        noted: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<PathBuf> {
        let place = Place::of(*snapshot);
        let slot = self.places.slots.lock(place).await;
        let places = self.places.clone();
        let asked = Asked {
            place,
            store: host.store.clone(),
            users: Users::of(host, snapshot),
            noted,
        };
        in_task(async move { ensure(&places, slot, asked).await }).await
    }

    /// Ends the mount unless somebody still uses it. One that is held elsewhere is served until it is let go.
    ///
    /// # Errors
    /// When the catalogue cannot be read or the kernel does not unmount.
    pub async fn release(&self, host: &Host, snapshot: &SnapshotId) -> Result<()> {
        let place = Place::of(*snapshot);
        let mut slot = self.places.slots.lock(place).await;
        let (places, users) = (self.places.clone(), Users::of(host, snapshot));
        let released = in_task(async move {
            if users.count(&places).await? == 0 {
                adopt(&places, &users, place, &mut slot).await?;
                end(&places, &users, place, &mut slot).await?;
            }
            Ok(())
        });
        released.await?;
        self.places.slots.forget(place);
        Ok(())
    }

    /// Takes over what an earlier daemon left, and starts servers again that died meanwhile. To be called once,
    /// early at start: whoever reads from such a mount waits.
    ///
    /// # Errors
    /// When the state folder cannot be read; a single mount that makes trouble is logged.
    pub async fn adopt(&self, host: &Host) -> Result<()> {
        let places = self.places.clone();
        for place in blocking(move || places.all()).await? {
            let slot = self.places.slots.lock(place).await;
            let (places, users) = (self.places.clone(), Users::of(host, &place.snapshot));
            let adopted =
                in_task(async move { adopt_and_revive(&places, &users, place, slot).await });
            if let Err(error) = adopted.await {
                warn!(mount = %place, %error, "Cannot take over a mount");
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
        let all = blocking(move || places.all()).await?;
        for place in all.into_iter().filter(|place| !place.lingers()) {
            if let Err(error) = self.release(host, &place.snapshot).await {
                warn!(mount = %place, %error, "Cannot end a mount that nobody uses");
            }
        }
        self.forget_ended(host).await?;
        holding::forget_strangers(&self.places).await;
        Ok(())
    }

    /// True when the path stands for a mount that lingers: it is no folder that somebody mounted.
    #[must_use]
    pub fn lingers_at(&self, path: &std::path::Path) -> bool {
        self.places.lingering_at(path).is_some()
    }

    /// What is served now, for `status`. A mount without a server has lost it.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn status(&self, host: &Host) -> Result<Vec<MountStatus>> {
        let places = self.places.slots.places().into_iter();
        let looks = join_all(places.map(|place| self.status_of(host, place))).await;
        let found: Result<Vec<_>> = looks.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }

    async fn status_of(&self, host: &Host, place: Place) -> Result<Option<MountStatus>> {
        let users = Users::of(host, &place.snapshot);
        let mut status = MountStatus {
            snapshot: place.snapshot.to_string(),
            server_pid: None,
            users: match place.lingers() {
                true => 0,
                false => users.count(&self.places).await? as u64,
            },
            restarts: 0,
            failure: None,
            lingers: place.lingers(),
            in_flight: 0,
            refused: 0,
            lost_threads: 0,
            foreseen_bytes: 0,
            met_bytes: 0,
            late_bytes: 0,
            requests: Vec::new(),
        };
        // One that is starting or ending just now has no server to show.
        if let Some(slot) = self.places.slots.try_lock(place) {
            let Some(served) = &*slot else {
                return Ok(None);
            };
            status.server_pid = served.live_pid();
            status.restarts = served.restarts;
            status.failure = served.failure.clone();
        }
        if status.server_pid.is_some() {
            let sign = pulse::ask(&self.places.pulse(place), STATUS_PATIENCE).await;
            show(&mut status, sign);
        }
        Ok(Some(status))
    }

    fn take_deaths(&self) -> Option<Deaths> {
        let mut deaths = self.deaths.lock();
        deaths.as_mut().ok()?.take()
    }
}

fn show(status: &mut MountStatus, sign: Sign) {
    match sign {
        Sign::Pulse(pulse) => {
            status.in_flight = pulse.in_flight;
            status.refused = pulse.refused;
            status.lost_threads = pulse.lost_threads;
            status.foreseen_bytes = pulse.foreseen_bytes;
            status.met_bytes = pulse.met_bytes;
            status.late_bytes = pulse.late_bytes;
            status.requests = pulse.requests.into_iter().map(request).collect();
        }
        Sign::Silence => status.failure = Some("The mount server does not answer".to_owned()),
        Sign::Nobody => {}
    }
}

fn request(request: InFlight) -> RequestInFlight {
    let InFlight {
        kind,
        node,
        path,
        offset,
        size,
        age_ms,
        refused,
    } = request;
    RequestInFlight {
        kind,
        node,
        path,
        offset,
        size,
        age_ms,
        refused,
    }
}

/// What somebody wants a mount for.
struct Asked<F> {
    place: Place,
    store: Store,
    users: Users,
    /// Makes them a user.
    noted: F,
}

async fn ensure(
    places: &Arc<Places>,
    mut slot: SlotGuard,
    asked: Asked<impl Future<Output = Result<()>> + Send>,
) -> Result<PathBuf> {
    let Asked {
        place,
        store,
        users,
        noted,
    } = asked;
    adopt(places, &users, place, &mut slot).await?;
    if slot.is_none() {
        blocking(move || store.manifest(&place.snapshot)).await?;
        return begin(places, &users, place, slot, noted).await;
    }
    noted.await?;
    if let Some(served) = slot.as_mut() {
        let point = places.point(place);
        if is_mounted(point.clone()).await? && serves(places, place, served).await {
            return Ok(point);
        }
        // The one who asks is a user already. Where no server ever answered, nobody else can stand.
        if served.server().is_some() && users.count(places).await? > 1 {
            return Err(server_is_dead(&place.snapshot));
        }
        end(places, &users, place, &mut slot).await?;
    }
    blocking(move || store.manifest(&place.snapshot)).await?;
    *slot = Some(served::begin(places, place).await?);
    Ok(places.point(place))
}

/// Fills an empty slot, and has its user noted meanwhile.
async fn begin(
    places: &Arc<Places>,
    users: &Users,
    place: Place,
    mut slot: SlotGuard,
    noted: impl Future<Output = Result<()>> + Send,
) -> Result<PathBuf> {
    let (begun, noted) = tokio::join!(served::begin(places, place), noted);
    *slot = Some(begun?);
    if let Err(error) = noted {
        if users.count(places).await? == 0 {
            end(places, users, place, &mut slot).await?;
        }
        return Err(error);
    }
    Ok(places.point(place))
}

/// Fills an empty slot with what is mounted, or clears away what is left of it.
async fn adopt(
    places: &Arc<Places>,
    users: &Users,
    place: Place,
    slot: &mut SlotGuard,
) -> Result<()> {
    if slot.is_some() {
        return Ok(());
    }
    match served::adopt(places, place).await? {
        Left::Nothing => {}
        Left::Served(served) => **slot = Some(served),
        Left::Lingering(served) => lingering::keep(places, users, place, served).await?,
    }
    Ok(())
}

/// Empties the slot. What somebody else still holds goes on in a place of its own.
async fn end(
    places: &Arc<Places>,
    users: &Users,
    place: Place,
    slot: &mut SlotGuard,
) -> Result<()> {
    match slot.take() {
        None => served::let_go(places, place, None).await,
        Some(served) => match served::end(places, place, served).await? {
            None => Ok(()),
            Some(served) => lingering::keep(places, users, place, served).await,
        },
    }
}

/// Takes over, and starts a server where it has died; one that does not start is tried again later.
async fn adopt_and_revive(
    places: &Arc<Places>,
    users: &Users,
    place: Place,
    mut slot: SlotGuard,
) -> Result<()> {
    adopt(places, users, place, &mut slot).await?;
    let Some(served) = slot.as_mut() else {
        return Ok(());
    };
    if place.lingers() {
        users.add_lingering(places, place).await?;
    }
    if let Some(server) = served.server()
        && !serves(places, place, served).await
    {
        let _ = places.deaths.send(Death { place, server });
    }
    Ok(())
}

/// True when the mount has a living server, which it is given when the last one has died.
async fn serves(places: &Arc<Places>, place: Place, served: &mut Served) -> bool {
    if served.live_pid().is_some() {
        return true;
    }
    if served.server().is_none() {
        return false;
    }
    match served::revive(places, place, served).await {
        Ok(()) => true,
        Err(error) => {
            warn!(mount = %place, %error, "Cannot start a mount server again");
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
