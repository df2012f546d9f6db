//! What every recipe needs, in one place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use snap_store::{Catalogue, SnapshotId, Store};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::{
    clock, config::Config, containerd::Containerd, error::Result, jobs::Jobs, mounts::Mounts,
};

/// A catalogue filled from manifests does not know of times to live that were changed later: nobody shall lose
/// a snapshot to that before they could look.
const IMPORT_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The running daemon's parts; shared by all tasks.
#[derive(Debug)]
pub struct Host {
    /// What it was told.
    pub config: Config,
    /// Chunks and manifests.
    pub store: Store,
    /// States, names and times.
    pub catalogue: Arc<Catalogue>,
    /// containerd.
    pub containerd: Containerd,
    /// Snapshots served now.
    pub mounts: Mounts,
    /// Long work under way.
    pub jobs: Jobs,
    /// When the daemon started, in seconds since 1970.
    pub started_at: i64,
    /// Changes under way that must not end half done when their client leaves.
    changes: TaskTracker,
    /// Seconds since 1970; 0 while it is not known.
    next_expiry: AtomicI64,
}

impl Host {
    /// The host of a store and a catalogue that are open.
    #[must_use]
    pub fn new(config: Config, store: Store, catalogue: Arc<Catalogue>) -> Arc<Self> {
        Arc::new(Self {
            containerd: Containerd::new(&config.containerd),
            mounts: Mounts::new(&config),
            jobs: Jobs::new(config.concurrent_captures, config.concurrent_restores),
            started_at: clock::now(),
            changes: TaskTracker::new(),
            next_expiry: AtomicI64::new(0),
            config,
            store,
            catalogue,
        })
    }

    /// Opens the store and the catalogue, making them when they are not there, and imports manifests the
    /// catalogue does not know: all of them when it is new.
    pub fn open(config: Config) -> Result<Arc<Self>> {
        let store = Store::ensure(&config.root)?;
        let (catalogue, is_new) = Catalogue::open(&config.catalogue())?;
        let imported = import(&store, &catalogue)?;
        if imported > 0 {
            warn!(
                snapshots = imported,
                is_new, "Filled the catalogue from manifests"
            );
        }
        info!(root = %config.root.display(), "Opened the store");
        Ok(Self::new(config, store, Arc::new(catalogue)))
    }

    /// Runs a change that goes on to its end whatever becomes of the client that asked for it.
    pub async fn change<T>(
        self: &Arc<Self>,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
    {
        match self.changes.spawn(change).await {
            Ok(result) => result,
            Err(panic) => Err(crate::jobs::panicked(&panic).into()),
        }
    }

    /// Waits for changes under way, for `limit` at most.
    pub async fn finish_changes(&self, limit: Duration) {
        self.changes.close();
        if tokio::time::timeout(limit, self.changes.wait())
            .await
            .is_err()
        {
            warn!(
                changes = self.changes.len(),
                "Changes are left to the next start"
            );
        }
    }

    /// When expired snapshots are looked for next, in seconds since 1970.
    #[must_use]
    pub fn next_expiry(&self) -> Option<i64> {
        Some(self.next_expiry.load(Ordering::Relaxed)).filter(|next| *next != 0)
    }

    /// Notes when expired snapshots are looked for next.
    pub fn set_next_expiry(&self, seconds: i64) {
        self.next_expiry.store(seconds, Ordering::Relaxed);
    }
}

/// Returns how many manifests the catalogue did not know. One that cannot be read is left out, not fatal: the
/// others must stay usable.
fn import(store: &Store, catalogue: &Catalogue) -> Result<u64> {
    let mut imported = 0;
    for id in store.manifests()? {
        match catalogue.get(&id) {
            Err(snap_store::Error::NotFound { .. }) => {}
            known => {
                known?;
                continue;
            }
        }
        match import_one(store, catalogue, &id) {
            Ok(()) => imported += 1,
            Err(error) => warn!(snapshot = %id, %error, "Cannot import a manifest"),
        }
    }
    Ok(imported)
}

fn import_one(store: &Store, catalogue: &Catalogue, id: &SnapshotId) -> snap_store::Result<()> {
    let mut manifest = store.manifest(id)?;
    let earliest = clock::now().saturating_add_unsigned(IMPORT_GRACE.as_secs());
    manifest.expires_at = manifest
        .expires_at
        .map(|expires_at| expires_at.max(earliest));
    catalogue.import(&manifest)
}
