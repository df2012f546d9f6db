//! The daemon at a glance.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use snap_api::{BackupStatus, DiskStatus, ErrorReport, Status, TrashStatus, WirePath};
use snap_store::StoreStats;

use crate::{backup, blocking, clock, collect::relief, error::Error, error::Result, host::Host};

/// A look at the daemon must not hang because containerd does.
const CONTAINERD_PATIENCE: Duration = Duration::from_secs(2);

/// Everything `snapctl status` shows.
pub async fn status(host: &Arc<Host>) -> Result<Status> {
    let (containerd, mounts, figures) =
        tokio::join!(containerd(host), host.mounts.status(host), figures(host));
    let figures = figures?;
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: clock::rfc3339(host.started_at),
        root: WirePath::from(&*host.config.root),
        containerd,
        snapshots: figures.snapshots,
        containers: figures.containers,
        packs: figures.store.packs,
        chunks: figures.store.chunks,
        store_bytes: figures.store.stored_bytes,
        free_bytes: figures.free_bytes,
        running_jobs: host.jobs.running() as u64,
        mounts: mounts?,
        next_expiry_at: host.dues.expiry.next().map(clock::rfc3339),
        backup: figures.backup,
        collection: host.past.status(host),
        disk: figures.disk,
        damaged_snapshots: host.marks.count(),
        scrub: host
            .scrub
            .status(host.config.scrub_bytes_per_day, figures.store.stored_bytes),
        trash: figures.trash,
    })
}

/// containerd's version, or why it does not answer.
async fn containerd(host: &Host) -> String {
    match tokio::time::timeout(CONTAINERD_PATIENCE, host.containerd.version()).await {
        Ok(Ok(version)) => version,
        Ok(Err(error)) => ErrorReport::from(error).to_string(),
        Err(_) => format!("no answer within {} s", CONTAINERD_PATIENCE.as_secs()),
    }
}

/// What is read from disk.
struct Figures {
    snapshots: BTreeMap<String, u64>,
    containers: u64,
    store: StoreStats,
    free_bytes: u64,
    backup: BackupStatus,
    disk: DiskStatus,
    trash: TrashStatus,
}

async fn figures(host: &Arc<Host>) -> Result<Figures> {
    let host = Arc::clone(host);
    blocking(move || -> Result<Figures> {
        let root = &host.config.root;
        let space = rustix::fs::statvfs(root).map_err(Error::io("measure", root))?;
        let by_state = host.catalogue.count_by_state()?;
        let (trashed, trash_bytes) = host.catalogue.trash_size()?;
        Ok(Figures {
            snapshots: by_state
                .into_iter()
                .map(|(state, count)| (state.to_owned(), count))
                .collect(),
            containers: host.catalogue.containers()?.len() as u64,
            store: host.store.stats()?,
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            backup: backup::status(&host),
            disk: relief::status(&host)?,
            trash: TrashStatus {
                snapshots: trashed,
                stored_bytes: trash_bytes,
            },
        })
    })
    .await
}
