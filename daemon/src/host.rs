//! What every recipe needs, in one place.

use std::{sync::Arc, time::Duration};

use snap_store::{Catalogue, Namespace, SnapshotId, SnapshotState, Store};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::{
    clock,
    collect::{past::Past, relief::Relief},
    config::Config,
    containerd::Containerd,
    create::LastTrees,
    due::Dues,
    error::Result,
    events::Events,
    jobs::Jobs,
    mounts::Mounts,
    quota::Unique,
    repair::marks::Marks,
    scrub::Scrub,
    steady::Steady,
    triggers::Triggers,
    turns::Turns,
};

/// A catalogue filled from manifests, or put back from a copy, does not know of times to live that were changed later:
/// nobody shall lose a snapshot to that before they could look.
pub(crate) const IMPORT_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the daemon keeps of decoded chunks: pages of trees alone, each of which is read once or twice; files are for mount servers.
const CACHE_BYTES: u64 = 8 << 20;

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
    /// What has happened.
    pub events: Events,
    /// Work that is done again and again.
    pub dues: Dues,
    /// Whether the wall clock can be believed.
    pub steady: Steady,
    /// What is known of collections.
    pub past: Past,
    /// How far the daemon has come with a disk that is nearly full.
    pub relief: Relief,
    /// Snapshots that are known to be damaged.
    pub marks: Marks,
    /// How far the regular reading of everything is.
    pub scrub: Scrub,
    /// Whose turn it is to make the next version of a name. A manifest holds the number of its version, and is durable before the catalogue
    /// gives that number: nobody else may make a version of the name between the two.
    pub turns: Turns<(Namespace, String)>,
    /// What the last capture of each source came to.
    pub(crate) last_trees: LastTrees,
    /// What namespaces alone need of the store.
    pub(crate) unique: Unique,
    /// Which containers are captured when they end.
    pub triggers: Triggers,
    /// Whose turn it is to build a template.
    pub builds: Turns<(Namespace, String)>,
    /// Whose turn it is to change a volume, or what a container has mounted.
    pub volumes: Turns<(Namespace, String)>,
    /// When the daemon started, in seconds since 1970.
    pub started_at: i64,
    /// Changes under way that must not end half done when their client leaves.
    changes: TaskTracker,
}

impl Host {
    /// The host of a store and a catalogue that are open.
    pub fn new(config: Config, store: Store, catalogue: Arc<Catalogue>) -> Result<Arc<Self>> {
        store.set_cache_bytes(CACHE_BYTES);
        let events = Events::default();
        let host = Arc::new(Self {
            marks: Marks::load(&catalogue)?,
            scrub: Scrub::load(&catalogue)?,
            containerd: Containerd::new(&config.containerd),
            mounts: Mounts::new(&config),
            jobs: Jobs::new(
                config.concurrent_captures,
                config.concurrent_restores,
                events.clone(),
            ),
            events,
            started_at: clock::now(),
            changes: TaskTracker::new(),
            dues: Dues::default(),
            steady: Steady::default(),
            last_trees: LastTrees::default(),
            unique: Unique::default(),
            triggers: Triggers::read(&config.auto_policies),
            past: Past::default(),
            relief: Relief::default(),
            turns: Turns::default(),
            builds: Turns::default(),
            volumes: Turns::default(),
            config,
            store,
            catalogue,
        });
        host.past.recall(&host);
        Ok(host)
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
        let host = Self::new(config, store, Arc::new(catalogue))?;
        host.marks.refresh(&host.catalogue, &host.store)?;
        Ok(host)
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
}

/// Returns how many manifests the catalogue did not know. One that cannot be read is left out, not fatal: the
/// others must stay usable.
pub(crate) fn import(store: &Store, catalogue: &Catalogue) -> Result<u64> {
    let mut unknown = Vec::new();
    for id in store.manifests()? {
        let result = match catalogue.get(&id) {
            Err(snap_store::Error::NotFound { .. }) => store.manifest(&id).map(|manifest| {
                unknown.push((manifest.created_at, id));
            }),
            Ok(record) if record.state == SnapshotState::Failed => {
                find_again(store, catalogue, &id)
            }
            Ok(_) => Ok(()),
            Err(error) => return Err(error.into()),
        };
        warn_of(&id, result);
    }
    // In the order they were made, those get the numbers of their versions that do not hold them.
    unknown.sort_unstable();
    let mut imported = 0;
    for (_, id) in unknown {
        let result = import_one(store, catalogue, &id).inspect(|()| imported += 1);
        warn_of(&id, result);
    }
    Ok(imported)
}

fn warn_of(id: &SnapshotId, result: snap_store::Result<()>) {
    if let Err(error) = result {
        warn!(snapshot = %id, %error, "Cannot import a manifest");
    }
}

/// A capture that fails leaves no manifest: this one was lost, and has come back.
fn find_again(store: &Store, catalogue: &Catalogue, id: &SnapshotId) -> snap_store::Result<()> {
    store.manifest(id)?;
    catalogue.find_again(id)?;
    info!(snapshot = %id, "The manifest of a snapshot is there again, and the snapshot is active");
    Ok(())
}

/// Adds a snapshot that the catalogue does not know.
pub(crate) fn import_one(
    store: &Store,
    catalogue: &Catalogue,
    id: &SnapshotId,
) -> snap_store::Result<()> {
    let mut manifest = store.manifest(id)?;
    let earliest = clock::now().saturating_add_unsigned(IMPORT_GRACE.as_secs());
    manifest.expires_at = manifest
        .expires_at
        .map(|expires_at| expires_at.max(earliest));
    catalogue.import(&manifest)
}
