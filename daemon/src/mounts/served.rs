//! One snapshot that is served: begun, taken over from an earlier daemon, given a new server, ended.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use snap_api::{ErrorCode, ErrorReport};
use snap_fs::mount::{is_mounted, mount_fuse, raise_read_ahead, unmount};
use snap_store::{Error as StoreError, Result as StoreResult, SnapshotId};
use tracing::{info, warn};

use super::{
    holding,
    places::Places,
    server::{self, Begin, ServerId},
    setbacks::Setbacks,
};
use crate::{
    blocking::blocking,
    error::{Error, Result},
};

/// How long a server may take to end after its mount is gone.
const PATIENCE: Duration = Duration::from_secs(5);

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
    pub(super) setbacks: Setbacks,
}

/// What the next daemon needs to know, in `STATE/mounts/ID.json`. It is written when the server has answered the
/// kernel's first message: another one can take over from then on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    snapshot: String,
    server: ServerId,
    #[serde(default)]
    restarts: u64,
}

impl Served {
    /// The server, dead or alive.
    pub(super) fn server(&self) -> Option<ServerId> {
        self.server
    }

    /// The server's process id, `None` when it has died.
    pub(super) fn live_pid(&self) -> Option<u32> {
        let alive = self.server.filter(|server| server.is_alive());
        alive.map(|server| server.pid)
    }
}

/// Mounts and starts a server; undoes what was done when a step fails.
pub(super) async fn begin(places: &Arc<Places>, id: SnapshotId) -> Result<Served> {
    match try_begin(places, id).await {
        Ok(served) => {
            info!(snapshot = %id, server = served.live_pid(), "Serving a snapshot");
            Ok(served)
        }
        Err(error) => {
            if let Err(left) = end(places, id, None).await {
                warn!(snapshot = %id, error = %left, "Cannot clear away a mount that failed");
            }
            Err(error)
        }
    }
}

async fn try_begin(places: &Arc<Places>, id: SnapshotId) -> Result<Served> {
    let point = places.point(&id);
    let device = blocking(move || mount(&point, &id)).await?;
    holding::put(places, &id, &device).await;
    let is_ending = Arc::new(AtomicBool::new(false));
    let server = server::start(places, id, &device, Begin::Anew, is_ending.clone()).await?;
    let (point, record) = (places.point(&id), places.record(&id));
    blocking(move || {
        if let Err(error) = raise_read_ahead(&point) {
            warn!(%error, "The kernel reads ahead no further than usual");
        }
        write_record(&record, &id, server, 0)
    })
    .await?;
    let mut served = Served {
        server: Some(server),
        device: Some(device),
        is_ending,
        restarts: 0,
        failure: None,
        setbacks: Setbacks::default(),
    };
    served.setbacks.started(Instant::now());
    Ok(served)
}

/// Starts a server in the place of the one that died. Requests that wait are answered then.
pub(super) async fn revive(
    places: &Arc<Places>,
    id: SnapshotId,
    served: &mut Served,
) -> Result<()> {
    let restarts = served.restarts + 1;
    match replace(places, id, served, restarts).await {
        Ok(()) => {
            info!(snapshot = %id, server = served.live_pid(), restarts, "Serving a snapshot again");
            Ok(())
        }
        Err(error) => {
            served.failure = Some(error.to_string());
            Err(error)
        }
    }
}

async fn replace(
    places: &Arc<Places>,
    id: SnapshotId,
    served: &mut Served,
    restarts: u64,
) -> Result<()> {
    let device = served.device.as_ref().ok_or_else(|| is_lost(&id))?;
    let is_ending = Arc::new(AtomicBool::new(false));
    let server = server::start(places, id, device, Begin::Resuming, is_ending.clone()).await?;
    served.server = Some(server);
    served.is_ending = is_ending;
    served.restarts = restarts;
    served.failure = None;
    served.setbacks.started(Instant::now());
    // The holder may have died as well.
    holding::put(places, &id, device).await;
    let record = places.record(&id);
    blocking(move || write_record(&record, &id, server, restarts)).await
}

fn is_lost(id: &SnapshotId) -> Error {
    let message =
        format!("The mount server of snapshot {id} has died, and nobody has kept its device");
    ErrorReport::new(ErrorCode::Unavailable, "mount-server-dead", message)
        .hint("Remove the containers and unmount the folders that use the snapshot, then try again")
        .into()
}

fn mount(point: &Path, id: &SnapshotId) -> StoreResult<OwnedFd> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private
        .create(point)
        .map_err(StoreError::io("create", point))?;
    unmount(point)?;
    mount_fuse(point, &format!("snapshotd:{:.12}", id.to_string()))
}

/// What an earlier daemon left of this snapshot. What is not mounted is cleared away.
pub(super) async fn adopt(places: &Arc<Places>, id: SnapshotId) -> Result<Option<Served>> {
    let (point, record) = (places.point(&id), places.record(&id));
    let (mounted, record) =
        blocking(move || Ok::<_, StoreError>((is_mounted(&point)?, read_record(&record)))).await?;
    let server = record.as_ref().map(|record| record.server);
    if !mounted {
        let left = (places.point(&id), places.record(&id), places.log(&id));
        if left.0.exists() || left.1.exists() || left.2.exists() {
            end(places, id, None).await?;
        }
        return Ok(None);
    }
    let held = holding::get(places, &id).await;
    let device = match (held, server) {
        (None, Some(server)) => {
            let device = server.device();
            if let Some(device) = &device {
                holding::put(places, &id, device).await;
            }
            device
        }
        (held, _) => held,
    };
    let served = Served {
        server,
        device,
        is_ending: Arc::default(),
        restarts: record.map_or(0, |record| record.restarts),
        failure: None,
        setbacks: Setbacks::default(),
    };
    match served.server.filter(|server| server.is_alive()) {
        Some(server) => {
            server::watch_adopted(places, id, server, served.is_ending.clone());
            info!(snapshot = %id, server = server.pid, "Took over a served snapshot");
        }
        None => warn!(snapshot = %id, "A snapshot is mounted, but its server has died"),
    }
    Ok(Some(served))
}

/// Unmounts and lets everything go; works on whatever is there.
pub(super) async fn end(
    places: &Arc<Places>,
    id: SnapshotId,
    served: Option<Served>,
) -> Result<()> {
    if let Some(served) = &served {
        served.is_ending.store(true, Ordering::Release);
    }
    let point = places.point(&id);
    blocking(move || unmount(&point)).await?;
    if let Some(server) = served.as_ref().and_then(|served| served.server) {
        server.end(PATIENCE).await;
    }
    holding::remove(places, &id).await;
    let files = [places.record(&id), places.log(&id)];
    let point = places.point(&id);
    blocking(move || clear(&point, &files)).await?;
    if served.is_some() {
        info!(snapshot = %id, "Serves a snapshot no longer");
    }
    Ok(())
}

fn clear(point: &Path, files: &[std::path::PathBuf]) -> StoreResult<()> {
    let gone = |path: &Path, removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    };
    for file in files {
        gone(file, fs::remove_file(file))?;
    }
    gone(point, fs::remove_dir(point))
}

fn write_record(path: &Path, id: &SnapshotId, server: ServerId, restarts: u64) -> StoreResult<()> {
    let record = Record {
        snapshot: id.to_string(),
        server,
        restarts,
    };
    let text = serde_json::to_vec(&record).map_err(StoreError::io("encode", path))?;
    let draft = path.with_extension("draft");
    fs::write(&draft, text).map_err(StoreError::io("write", &draft))?;
    fs::rename(&draft, path).map_err(StoreError::io("write", path))
}

/// `None` too when it cannot be read: the server is a stranger then.
fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_nonsense_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let server = ServerId::of(std::process::id()).unwrap();
        write_record(&path, &SnapshotId::random(), server, 3).unwrap();
        let read = read_record(&path).unwrap();
        assert_eq!((read.server, read.restarts), (server, 3));
        fs::write(&path, "{").unwrap();
        assert_eq!(read_record(&path), None);
    }
}
