//! The catalogue: ids, names, states, times and labels of snapshots, in SQLite beside the packs.
//!
//! The manifests are the truth; a missing catalogue is rebuilt from them. Every call is one transaction,
//! durable when it returns, and every change of state is checked inside it:
//!
//! ```text
//! insert ─► Creating ─► activate ─► Active ─┐
//!              └─► fail ─► Failed ──────────┴─► begin_removal ─► Deleting ─► finish_removal ─► gone
//!
//! Active ─► remove_to ─► Deleting, in the trash ─► begin_purge ─► Deleting
//!    └────── undelete ◄───────────┘
//! ```
//!
//! No path leads out of `Deleting` but gone, unless the snapshot is in the trash. An Active snapshot whose manifest is gone is Failed (`lose`) until the
//! manifest is there again (`find_again`). Only an Active snapshot takes users (containers, folders), and
//! one that has users, is pinned or bears an immutable tag cannot be removed; all of it is decided in the transaction that records it.
//!
//! A snapshot that becomes Active under a name is the next version of it, and `latest` moves there in the same change; each move of
//! `latest` is kept, so that a rollback can be undone.

mod attached;
mod autos;
mod backup;
mod bases;
mod forget;
mod lifecycle;
mod lookup;
mod moves;
mod naming;
mod notes;
mod place;
mod policies;
mod quota;
mod restores;
mod rollback;
mod rows;
mod schema;
mod templates;
#[cfg(test)]
mod tests;
mod trash;
mod triggers;
mod undelete;
mod users;
mod versions;
mod volumes;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use attached::{AttachedRecord, Attaching, AttachingWhat};
pub use autos::{AutoEnd, AutoRecord, AutoSource};
pub use backup::PutBack;
pub use forget::{Obstacle, Thinning, Verdict};
pub use lifecycle::Removal;
pub use moves::{Move, MoveCause, MoveEnd};
pub use naming::{Force, Hold};
pub use policies::PolicyRecord;
pub use quota::Held;
pub use restores::Restores;
pub use rollback::{Rollback, RollbackTo};
use rusqlite::{Connection, Transaction, TransactionBehavior};
pub use templates::{STEP_LABEL, TEMPLATE_LABEL, TemplateRecord};
pub use trash::{Begun, Stay, TrashCause, TrashRecord};
pub use triggers::{EndCause, TriggerRecord};
pub use undelete::{Undeleted, Undeletion};
pub use versions::VersionRecord;
pub use volumes::{NewVolumeVersion, VOLUME_LABEL, VOLUME_VERSION_LABEL, VolumeRecord};

use crate::{
    entry::{Meta, TreeRef},
    error::{Error, Result},
    ids::SnapshotId,
    links::LinkTable,
    manifest::{Manifest, Memory},
    names::{Namespace, SnapshotName},
    naming::NamingError,
};

/// The states of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotState {
    /// Being made.
    Creating,
    /// Whole and usable.
    Active,
    /// Could not be made.
    Failed,
    /// Being removed.
    Deleting,
}

impl SnapshotState {
    /// Every state, in the order a snapshot goes through them.
    pub const ALL: [Self; 4] = [Self::Creating, Self::Active, Self::Failed, Self::Deleting];

    /// The state as one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }
}

/// Why a snapshot expires when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryCause {
    /// Its time to live is over.
    Ttl,
    /// Nobody has used it for as long as it may go without.
    Unused,
}

/// A row of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotRecord {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its state.
    pub state: SnapshotState,
    /// Why it failed.
    pub reason: Option<String>,
    /// Every name that points to it, sorted.
    pub names: Vec<SnapshotName>,
    /// Those of them that neither move nor go, sorted.
    pub immutable: Vec<SnapshotName>,
    /// What it is a version of, each as the name with its number; one at most, but for what an earlier release made.
    pub versions: Vec<SnapshotName>,
    /// True when it neither expires nor can be removed.
    pub is_pinned: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The container or folder it was made from.
    pub source: String,
    /// True for a container.
    pub is_container: bool,
    /// The container's image.
    pub image: Option<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970; `None` for never.
    pub expires_at: Option<i64>,
    /// How long it may go without a use, in seconds.
    pub unused_seconds: Option<u64>,
    /// From when on that is counted at the earliest, in seconds since 1970: when it was set after the creation.
    pub unused_since: Option<i64>,
    /// True while a container or a folder stands on it.
    pub is_used: bool,
    /// When it was last taken into use or let go of, in seconds since 1970.
    pub last_used_at: Option<i64>,
    /// Nodes in its tree.
    pub nodes: u64,
    /// Sum of the sizes of its files.
    pub logical_bytes: u64,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
    /// How long the container stood still.
    pub pause_us: u64,
    /// The memory of its processes, when it was wanted.
    pub memory: Option<MemoryMark>,
}

/// What a listing says of a snapshot's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryMark {
    /// It is in the snapshot.
    Captured {
        /// Bytes of its images.
        bytes: u64,
        /// They are sealed with the key of their namespace.
        is_sealed: bool,
    },
    /// It could not be had, for this reason.
    Failed(String),
}

impl MemoryMark {
    /// The mark of a manifest.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Option<Self> {
        manifest.memory.as_ref().map(|memory| match memory {
            Memory::Captured(images) => Self::Captured {
                bytes: images.bytes,
                is_sealed: images.seal.is_some(),
            },
            Memory::Failed { reason } => Self::Failed(reason.clone()),
        })
    }
}

impl SnapshotRecord {
    /// A snapshot that is being made of `source` since `created_at`, in seconds since 1970; of the rest nothing is known yet.
    #[must_use]
    pub fn creating(id: SnapshotId, namespace: Namespace, source: String, created_at: i64) -> Self {
        Self {
            id,
            namespace,
            state: SnapshotState::Creating,
            reason: None,
            names: Vec::new(),
            immutable: Vec::new(),
            versions: Vec::new(),
            is_pinned: false,
            labels: BTreeMap::new(),
            source,
            is_container: false,
            image: None,
            created_at,
            expires_at: None,
            unused_seconds: None,
            unused_since: None,
            is_used: false,
            last_used_at: None,
            nodes: 0,
            logical_bytes: 0,
            stored_bytes: 0,
            pause_us: 0,
            memory: None,
        }
    }

    /// When it expires as things are, in seconds since 1970, and why then; pins are not looked at. What is used is not unused.
    #[must_use]
    pub fn expiry(&self) -> Option<(i64, ExpiryCause)> {
        let by_age = self.expires_at.map(|at| (at, ExpiryCause::Ttl));
        let begins = [self.last_used_at, self.unused_since];
        let begins = begins.into_iter().flatten();
        let since = begins.fold(self.created_at, i64::max);
        let unused = self.unused_seconds.filter(|_| !self.is_used);
        let unused = unused.map(|seconds| {
            let at = since.saturating_add_unsigned(seconds);
            (at, ExpiryCause::Unused)
        });
        by_age.into_iter().chain(unused).min_by_key(|(at, _)| *at)
    }

    /// True when it has expired at `now`, in seconds since 1970.
    #[must_use]
    pub fn has_expired(&self, now: i64) -> bool {
        !self.is_pinned && self.expiry().is_some_and(|(at, _)| at <= now)
    }
}

/// A base: the merged tree of a stack of immutable layers, remembered so that it is captured once per host.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseRecord {
    /// The tree of the stack.
    pub root: TreeRef,
    /// Metadata of the root folder itself.
    pub root_meta: Meta,
    /// Its hard links.
    pub links: LinkTable,
    /// Sum of the sizes of its files.
    pub logical_bytes: u64,
}

/// The layer that a base was captured from, as containerd is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseLayer {
    /// containerd's namespace.
    pub namespace: Namespace,
    /// The snapshotter that has it.
    pub snapshotter: String,
    /// Its name there.
    pub name: String,
    /// When it was made: a name that is used again has another time.
    pub created: String,
}

/// What is remembered of a base, without what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct RememberedBase {
    /// What it is remembered by.
    pub key: String,
    /// Its tree.
    pub root: TreeRef,
    /// Its layer; `None` when that was not noted.
    pub layer: Option<BaseLayer>,
    /// When it was captured or last built upon, in seconds since 1970.
    pub last_used_at: i64,
}

/// A restored container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerRecord {
    /// containerd's namespace.
    pub namespace: Namespace,
    /// The container's id.
    pub id: String,
    /// The snapshot it stands on; `None` for a fresh one made from the image.
    pub snapshot: Option<SnapshotId>,
    /// The folder that holds its upper and work folders and its root mount point.
    pub folder: PathBuf,
    /// False until containerd has it: such a record is undone at the next start.
    pub is_complete: bool,
    /// Seconds since 1970.
    pub created_at: i64,
}

/// A folder of the host with a snapshot mounted on it.
#[derive(Clone, Debug, PartialEq)]
pub struct MountRecord {
    /// The folder.
    pub path: PathBuf,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The folder that holds the upper layer of a writable mount.
    pub writable: Option<PathBuf>,
}

/// Who uses a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A restored container: namespace and id.
    Container(Namespace, String),
    /// A folder of the host.
    Folder(PathBuf),
    /// A volume, of which it is a version or holds what a container has committed: namespace and name. It needs no mount.
    Volume(Namespace, String),
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(namespace, id) => write!(f, "container {namespace}/{id}"),
            Self::Folder(path) => write!(f, "folder {}", path.display()),
            Self::Volume(namespace, name) => write!(f, "volume {namespace}/{name}"),
        }
    }
}

/// The catalogue; safe to share between threads.
#[derive(Debug)]
pub struct Catalogue {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Catalogue {
    /// Opens the catalogue in the file `path`, or makes it. Checks its integrity and decodes every row: a damaged one is `Corrupt`.
    /// Returns whether it is new.
    pub fn open(path: &Path) -> Result<(Self, bool)> {
        let (connection, is_new) = schema::open(path)?;
        let catalogue = Self {
            path: path.to_owned(),
            connection: Mutex::new(connection),
        };
        catalogue.decode_everything()?;
        Ok((catalogue, is_new))
    }

    /// What cannot be decoded is found before anybody relies on the rest.
    fn decode_everything(&self) -> Result<()> {
        for state in SnapshotState::ALL {
            self.in_state(state)?;
        }
        self.containers()?;
        self.mounts()?;
        self.bases()?;
        self.counters()?;
        self.policies(None)?;
        self.trash(None, None, usize::MAX)?;
        self.restores()?;
        self.autos(None)?;
        self.triggers(None)?;
        self.templates(None)?;
        self.volumes(None, None, usize::MAX)?;
        self.all_attached()?;
        self.all_moves().map(drop)
    }

    /// Runs `change` in one transaction that holds the write lock from the start, so that what it reads
    /// still holds when it writes; nothing stays of it when it fails.
    fn write<T>(
        &self,
        op: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let run = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|failure| self.explain(op, failure))
    }

    /// Runs `question` in one transaction, so that all it sees is of one instant.
    fn read<T>(
        &self,
        op: &'static str,
        question: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let run = || {
            let transaction = connection.transaction()?;
            question(&transaction)
        };
        run().map_err(|failure| self.explain(op, failure))
    }

    /// A panic inside a transaction rolls it back while it unwinds, so the connection is sound after one.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, op: &'static str, failure: Failure) -> Error {
        match failure {
            Failure::Situation(error) => error,
            Failure::Database(source) => schema::explain(&self.path, op, source),
            Failure::Row(why) => schema::corrupt(&self.path, &why),
        }
    }
}

/// Why a transaction ended without a result.
#[derive(Debug)]
enum Failure {
    /// The answer is one of the crate's situations.
    Situation(Error),
    /// SQLite refused.
    Database(rusqlite::Error),
    /// A row holds what this crate never writes.
    Row(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Situation(error)
    }
}

impl From<NamingError> for Failure {
    fn from(error: NamingError) -> Self {
        Self::Situation(Error::Naming(error))
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}
