//! Versions of names, where `latest` went, and snapshots that stay: what is asked and what is answered.

use serde::{Deserialize, Serialize};

use crate::view::SnapshotView;

/// Asks for the versions of a name, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// `NAME`, without a tag.
    pub name: String,
    /// Where the previous page ended; opaque.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many; 0 asks for as many as the daemon gives at once.
    #[serde(default)]
    pub limit: u32,
}

/// A version of a name that is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VersionView {
    /// Its number.
    pub version: u64,
    /// True when `NAME:latest` points to it.
    pub current: bool,
    /// The tags of the name that point to it, `latest` among them.
    pub tags: Vec<String>,
    /// Its snapshot.
    pub snapshot: SnapshotView,
}

/// Asks where `latest` of a name went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MovesRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// `NAME`, without a tag.
    pub name: String,
}

/// The moves of `latest` of a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moves {
    /// The newest first; the last hundred.
    pub moves: Vec<MoveView>,
}

/// Why `latest` moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MoveCause {
    /// A snapshot was made under the name.
    Create,
    /// Somebody gave it.
    Tag,
    /// Somebody took it away.
    Untag,
    /// A rollback.
    Rollback,
    /// A rollback was undone.
    Undo,
    /// What it pointed to was removed or has expired.
    Removal,
}

/// One end of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MoveEnd {
    /// The snapshot; it may be gone.
    pub snapshot: String,
    /// Which version of the name it is or was; absent when it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// A move of `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MoveView {
    /// When; RFC 3339.
    pub moved_at: String,
    /// Why.
    pub cause: MoveCause,
    /// What it pointed to before; absent for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MoveEnd>,
    /// What it pointed to afterwards; absent for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<MoveEnd>,
}

/// Moves `latest` of a name to an older version, or back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// `NAME`, without a tag.
    pub name: String,
    /// The version to go to; the next older one that is active when absent.
    #[serde(default)]
    pub version: Option<u64>,
    /// Go back to where `latest` was before the last rollback; not together with a version.
    #[serde(default)]
    pub undo: bool,
}

/// What a rollback did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolledBack {
    /// `NAME:latest`.
    pub name: String,
    /// What it pointed to before; absent for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MoveEnd>,
    /// What it points to now.
    pub to: MoveEnd,
    /// False when it pointed there already.
    pub moved: bool,
}

/// Lets a snapshot stay, or go again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot.
    pub reference: String,
    /// Unpin it.
    #[serde(default)]
    pub remove: bool,
}
