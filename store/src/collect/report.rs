//! What a collection is told, and what it tells.

use std::time::Duration;

use crate::{
    error::Result,
    ids::{Digest, SnapshotId},
};

/// Names roots beside the manifests: top pages of trees that must stay, such as those of remembered bases. Called more than
/// once in a collection; what it named and what it names must all stay.
///
/// A root is retired before it is no longer named ([`crate::Store::retire`]).
pub type Roots<'a> = dyn Fn() -> Result<Vec<Digest>> + 'a;

/// How a store is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectOptions {
    /// How long a pack stays after nothing in it was found to be needed. Zero is safe, and gives space back at once.
    pub grace: Duration,
    /// Packs of which less than this many hundredths are needed are rewritten; 0 for none, 90 at most.
    pub rewrite_below_percent: u8,
    /// Only looks and counts; nothing is changed.
    pub dry_run: bool,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(24 * 60 * 60),
            rewrite_below_percent: 50,
            dry_run: false,
        }
    }
}

/// What a collection found and did. In a dry run what was done is what would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Snapshots whose manifests were marked from.
    pub snapshots: u64,
    /// Packs there were.
    pub packs: u64,
    /// Chunks that are needed.
    pub live_chunks: u64,
    /// Bytes they take in packs.
    pub live_bytes: u64,
    /// Chunks that are not needed. Some lie in packs that stay because much else in them is needed.
    pub dead_chunks: u64,
    /// Bytes they take in packs.
    pub dead_bytes: u64,
    /// Packs that were removed.
    pub removed_packs: u64,
    /// Bytes their files took.
    pub freed_bytes: u64,
    /// Packs whose needed chunks were copied into new ones; they are removed when their time has come.
    pub rewritten_packs: u64,
    /// Bytes of chunks that were copied.
    pub written_bytes: u64,
    /// Packs that are condemned and wait for the end of their grace period or of a lease.
    pub waiting_packs: u64,
    /// Bytes their files take.
    pub waiting_bytes: u64,
    /// Packs that would go, or be rewritten, but for damage: they cannot be read, or may hold the last copy of something.
    pub damaged_packs: u64,
    /// Chunks of files that snapshots need and no pack holds.
    pub missing_chunks: u64,
    /// What could not be followed to its end, the first hundred.
    pub damage: Vec<Damage>,
    /// True when it is not known what all snapshots need. Nothing was condemned, removed or rewritten then.
    pub is_incomplete: bool,
    /// Why rewriting stopped before its end: the disk is full. Nothing is lost by it.
    pub stopped: Option<String>,
}

/// A snapshot or a root that cannot be read whole. Damage that several share is told of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Whose.
    pub holder: Holder,
    /// What is wrong.
    pub why: String,
}

/// Who needs chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A root the caller names, or that somebody has taken up before it was retired.
    Root(Digest),
    /// A snapshot that was removed while something was under way that may rely on it.
    Removed,
}
