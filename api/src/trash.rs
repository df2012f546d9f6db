//! The trash: what was removed and can be taken back until it goes.

use serde::{Deserialize, Serialize};

use crate::view::SnapshotView;

/// Why a snapshot is in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TrashCause {
    /// Somebody removed it.
    Remove,
    /// No rule kept it.
    Forget,
    /// It has expired.
    Expire,
}

/// Something in the trash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrashView {
    /// The snapshot, in the state `deleting`, with the names and versions it had.
    pub snapshot: SnapshotView,
    /// Why it is there.
    pub cause: TrashCause,
    /// Since when; RFC 3339.
    pub trashed_at: String,
    /// The first look for expired snapshots after this lets it go, unless it is in use then; RFC 3339.
    pub goes_at: String,
}

/// Takes snapshots back from the trash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndeleteRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshots, as they were called.
    pub references: Vec<String>,
}

/// A snapshot that is back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndeletedView {
    /// The snapshot as it is now.
    pub snapshot: SnapshotView,
    /// Names it had and does not have any more: another has them, or `latest` was moved meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// True when its time to live was over, and it has the default one from now on.
    #[serde(default)]
    pub ttl_renewed: bool,
}

/// Snapshots are back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Undeleted {
    /// Each of them.
    pub snapshots: Vec<UndeletedView>,
}

/// Removes for good what is in the trash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrashEmptyRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// What goes, as it was called; everything that nobody uses when there is none.
    #[serde(default)]
    pub references: Vec<String>,
}

/// Snapshots are gone for good.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrashEmptied {
    /// Their ids.
    pub ids: Vec<String>,
    /// What they had added to the store, in bytes; a collection gives back what nobody else needs of it.
    pub stored_bytes: u64,
    /// Those that stay because a restored container stands on them.
    #[serde(default)]
    pub in_use: Vec<String>,
}

/// How much is in the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrashStatus {
    /// Snapshots.
    pub snapshots: u64,
    /// What they had added to the store, in bytes.
    pub stored_bytes: u64,
}
