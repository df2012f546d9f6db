//! One snapshot that is served: begun, taken over from an earlier daemon, given a new server, ended.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::io::Errno;
use snap_api::{ErrorCode, ErrorReport};
use snap_fs::mount::{is_connected, is_mounted, mount_fuse, raise_read_ahead, unmount};
use snap_store::{Error as StoreError, Result as StoreResult, SnapshotId};
use tracing::{info, warn};

use super::{
    holding,
    places::{Place, Places},
    record::{self, Record},
    server::{self, Begin, ServerId},
    setbacks::Setbacks,
};
use crate::{
    blocking::blocking,
    error::{Error, Result},
    files,
};

/// How long a server may take to end after its mount is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long those who just let go may take: a container that has ended still takes its mounts down.
const HOLD_PATIENCE: Duration = Duration::from_secs(2);
/// How often the kernel is asked meanwhile.
const HOLD_POLL: Duration = Duration::from_millis(10);

/// A mount and its server.
#[derive(Debug)]
pub(super) struct Served {
    /// `None` when it is not known that a server has ever answered here.
    server: Option<ServerId>,
    /// Keeps the file system alive when the server dies, as the holder does when the daemon dies too.
    device: Option<OwnedFd>,
    is_ending: Arc<AtomicBool>,
    /// How often its server died and was started again.
    pub(super) restarts: u64,
    /// Why it cannot be started again at the moment.
    pub(super) failure: Option<String>,
    /// How many requests its server had refused when it was last asked.
    pub(super) refused: u64,
    pub(super) setbacks: Setbacks,
}

impl Served {
    /// The server, dead or alive.
    pub(super) fn server(&self) -> Option<ServerId> {
        self.server
    }

    /// The device, as long as somebody has kept it.
    pub(super) fn device(&self) -> Option<&OwnedFd> {
        self.device.as_ref()
    }

    /// True while the file system is mounted anywhere, or a file of it is open; true too when that is not known.
    pub(super) fn is_connected(&self) -> bool {
        self.device.as_ref().is_none_or(is_connected)
    }

    /// The server's process id, `None` when it has died.
    pub(super) fn live_pid(&self) -> Option<u32> {
        let alive = self.server.filter(|server| server.is_alive());
        alive.map(|server| server.pid)
    }
}

/// Mounts and starts a server; undoes what was done when a step fails.
pub(super) async fn begin(places: &Arc<Places>, place: Place) -> Result<Served> {
    match try_begin(places, place).await {
        Ok(served) => {
            info!(mount = %place, server = served.live_pid(), "Serving a snapshot");
            Ok(served)
        }
        Err(error) => {
            if let Err(left) = let_go(places, place, None).await {
                warn!(mount = %place, error = %left, "Cannot clear away a mount that failed");
            }
            Err(error)
        }
    }
}

async fn try_begin(places: &Arc<Places>, place: Place) -> Result<Served> {
    let point = places.point(place);
    let device = blocking(move || mount(&point, &place.snapshot)).await?;
    holding::put(places, place, &device).await;
    let is_ending = Arc::new(AtomicBool::new(false));
    let server = server::start(places, place, &device, Begin::Anew, is_ending.clone()).await?;
    let (point, path) = (places.point(place), places.record(place));
    let record = Record {
        snapshot: place.snapshot.to_string(),
        server,
        restarts: 0,
        predecessor: None,
    };
    blocking(move || {
        if let Err(error) = raise_read_ahead(&point) {
            warn!(%error, "The kernel reads ahead no further than usual");
        }
        record.write_to(&path)
    })
    .await?;
    let mut served = Served {
        server: Some(server),
        device: Some(device),
        is_ending,
        restarts: 0,
        failure: None,
        refused: 0,
        setbacks: Setbacks::default(),
    };
    served.setbacks.started(Instant::now());
    Ok(served)
}

/// Starts a server in the place of the one that died. Requests that wait are answered then.
pub(super) async fn revive(places: &Arc<Places>, place: Place, served: &mut Served) -> Result<()> {
    let restarts = served.restarts + 1;
    match replace(places, place, served, restarts).await {
        Ok(()) => {
            info!(mount = %place, server = served.live_pid(), restarts, "Serving a snapshot again");
            Ok(())
        }
        Err(error) => {
            served.failure = Some(error.to_string());
            Err(error)
        }
    }
}

/// Has a new server take over from one that gives no sign of life.
pub(super) async fn replace_silent(
    places: &Arc<Places>,
    place: Place,
    served: &mut Served,
) -> Result<()> {
    let silent = served.live_pid();
    let device = served.device.as_ref().ok_or_else(|| is_lost(place))?;
    if let Err(error) = snap_fs::serve::resend(device.as_fd()) {
        let error = cannot_take_over(place, error);
        let failure = Some(error.to_string());
        // It is said once: the server may be silent for long.
        let is_known = served.failure == failure;
        served.failure = failure;
        return if is_known { Ok(()) } else { Err(error) };
    }
    warn!(mount = %place, server = silent, "A mount server gives no sign of life; another takes over");
    revive(places, place, served).await
}

/// Has a new server take over from the living one. When none becomes ready the old one goes on.
pub(super) async fn upgrade(places: &Arc<Places>, place: Place, served: &mut Served) -> Result<()> {
    let device = served.device.as_ref().ok_or_else(|| is_lost(place))?;
    // The old server does not mind: what it answers too is answered once.
    snap_fs::serve::resend(device.as_fd()).map_err(|error| cannot_take_over(place, error))?;
    let (restarts, old) = (served.restarts, served.live_pid());
    replace(places, place, served, restarts).await?;
    info!(mount = %place, old, server = served.live_pid(), "Replaced a mount server");
    Ok(())
}

/// Starts a server on the kept device, then ends the one before it if it lives.
async fn replace(
    places: &Arc<Places>,
    place: Place,
    served: &mut Served,
    restarts: u64,
) -> Result<()> {
    let device = served.device.as_ref().ok_or_else(|| is_lost(place))?;
    let old = served.server.filter(|server| server.is_alive());
    let is_ending = Arc::new(AtomicBool::new(false));
    let server = server::start(places, place, device, Begin::Resuming, is_ending.clone()).await?;
    let record = Record {
        snapshot: place.snapshot.to_string(),
        server,
        restarts,
        predecessor: old,
    };
    if let Some(old) = old {
        if let Err(error) = record.clone().write(places, place).await {
            is_ending.store(true, Ordering::Release);
            server.retire(device).await;
            return Err(error);
        }
        served.is_ending.store(true, Ordering::Release);
        old.retire(device).await;
    }
    served.server = Some(server);
    served.is_ending = is_ending;
    served.restarts = restarts;
    served.failure = None;
    served.refused = 0;
    served.setbacks.started(Instant::now());
    // The holder may have died as well.
    holding::put(places, place, device).await;
    let predecessor = None;
    Record {
        predecessor,
        ..record
    }
    .write(places, place)
    .await
}

/// Kernels that cannot send requests again do not know the message.
fn cannot_take_over(place: Place, error: io::Error) -> Error {
    if error.raw_os_error() != Some(Errno::INVAL.raw_os_error()) {
        return Error::io("take over", "/dev/fuse")(error);
    }
    let message = format!("The mount server of {place} cannot be replaced on this kernel");
    ErrorReport::new(ErrorCode::Unavailable, "kernel-too-old", message)
        .hint("Linux 6.9 or later is needed; before, a new server comes with the next mount")
        .caused_by(&error)
        .into()
}

fn is_lost(place: Place) -> Error {
    let message = format!("The mount server of {place} has died, and nobody has kept its device");
    ErrorReport::new(ErrorCode::Unavailable, "mount-server-dead", message)
        .hint("Remove the containers and unmount the folders that use the snapshot, then try again")
        .into()
}

fn mount(point: &Path, id: &SnapshotId) -> StoreResult<OwnedFd> {
    private()
        .create(point)
        .map_err(StoreError::io("create", point))?;
    unmount(point)?;
    mount_fuse(point, &format!("snapshotd:{:.12}", id.to_string()))
}

/// What an earlier daemon left at a place.
pub(super) enum Left {
    /// Nothing; files are cleared away.
    Nothing,
    /// It is mounted, or lingers where lingering mounts have their place.
    Served(Served),
    /// It was unmounted where snapshots are mounted, and somebody still holds it.
    Lingering(Served),
}

/// Finds what an earlier daemon left.
pub(super) async fn adopt(places: &Arc<Places>, place: Place) -> Result<Left> {
    let (point, record) = (places.point(place), places.record(place));
    let (is_mounted, record) =
        blocking(move || Ok::<_, StoreError>((is_mounted(&point)?, record::read(&record)))).await?;
    let device = kept_device(places, place, record.as_ref()).await;
    let is_held = is_mounted || device.as_ref().is_some_and(is_connected) && record.is_some();
    if !is_held {
        let left = [places.point(place), places.record(place), places.log(place)];
        if left.iter().any(|path| path.exists()) {
            let_go(places, place, None).await?;
        }
        return Ok(Left::Nothing);
    }
    let predecessor = record.as_ref().and_then(|record| record.predecessor);
    if let (Some(predecessor), Some(device)) = (predecessor, &device) {
        predecessor.retire(device).await;
    }
    let served = Served {
        server: record.as_ref().map(|record| record.server),
        device,
        is_ending: Arc::default(),
        restarts: record.map_or(0, |record| record.restarts),
        failure: None,
        refused: 0,
        setbacks: Setbacks::default(),
    };
    match served.server.filter(|server| server.is_alive()) {
        Some(server) => {
            server::watch_adopted(places, place, server, served.is_ending.clone());
            info!(mount = %place, server = server.pid, "Took over a served snapshot");
        }
        None => warn!(mount = %place, "A snapshot is mounted, but its server has died"),
    }
    match is_mounted || place.lingers() {
        true => Ok(Left::Served(served)),
        false => Ok(Left::Lingering(served)),
    }
}

/// The device as the holder has it, or else the server.
async fn kept_device(
    places: &Arc<Places>,
    place: Place,
    record: Option<&Record>,
) -> Option<OwnedFd> {
    if let Some(held) = holding::get(places, place).await {
        return Some(held);
    }
    let device = record?.server.device()?;
    holding::put(places, place, &device).await;
    Some(device)
}

/// Unmounts, and lets everything go unless somebody else still holds the mount: then it is returned.
pub(super) async fn end(
    places: &Arc<Places>,
    place: Place,
    served: Served,
) -> Result<Option<Served>> {
    served.is_ending.store(true, Ordering::Release);
    let point = places.point(place);
    blocking(move || unmount(&point)).await?;
    let deadline = Instant::now() + HOLD_PATIENCE;
    while served.device.is_some() && served.is_connected() {
        if Instant::now() > deadline {
            served.is_ending.store(false, Ordering::Release);
            return Ok(Some(served));
        }
        tokio::time::sleep(HOLD_POLL).await;
    }
    let_go(places, place, Some(served)).await?;
    Ok(None)
}

/// Unmounts and lets everything go, whoever holds it; works on whatever is there.
pub(super) async fn let_go(
    places: &Arc<Places>,
    place: Place,
    served: Option<Served>,
) -> Result<()> {
    if let Some(served) = &served {
        served.is_ending.store(true, Ordering::Release);
    }
    let point = places.point(place);
    blocking(move || unmount(&point)).await?;
    if let Some(server) = served.as_ref().and_then(|served| served.server) {
        server.end(PATIENCE).await;
    }
    holding::remove(places, place).await;
    let files = files(places, place);
    let point = places.point(place);
    blocking(move || clear(&point, &files)).await?;
    if served.is_some() {
        info!(mount = %place, "Serves a snapshot no longer");
    }
    Ok(())
}

/// Gives what is served another place. Both places are known of until it is done, and the next daemon can do the rest.
pub(super) async fn move_to(
    places: &Arc<Places>,
    from: Place,
    to: Place,
    served: &Served,
) -> Result<()> {
    if let Some(device) = &served.device {
        holding::put(places, to, device).await;
    }
    let folder = places.folder(to.lingers());
    let moves = files(places, from).into_iter().zip(files(places, to));
    let moves: Vec<_> = moves.collect();
    let point = places.point(from);
    blocking(move || {
        private()
            .create(&folder)
            .map_err(StoreError::io("create", &folder))?;
        for (from, to) in &moves {
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("rename to", to)(error));
                }
                _ => {}
            }
        }
        clear(&point, &[])
    })
    .await?;
    holding::remove(places, from).await;
    Ok(())
}

/// What lies beside a mount; its record first.
fn files(places: &Places, place: Place) -> [PathBuf; 3] {
    [places.record(place), places.log(place), places.pulse(place)]
}

fn private() -> fs::DirBuilder {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private
}

fn clear(point: &Path, beside: &[PathBuf]) -> StoreResult<()> {
    for file in beside {
        files::remove_file(file)?;
    }
    files::remove_empty(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_too_old_is_told_from_other_trouble() {
        let place = Place::of(SnapshotId::random());
        let report = |errno: Errno| ErrorReport::from(cannot_take_over(place, errno.into()));
        assert_eq!(report(Errno::INVAL).reason, "kernel-too-old");
        assert_ne!(report(Errno::NODEV).reason, "kernel-too-old");
    }
}
