//! What is answered about the daemon itself, its mount servers and its host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::ErrorReport,
    path::WirePath,
    repair::ScrubStatus,
    trash::TrashStatus,
    upkeep::{BackupStatus, CollectionStatus, DiskStatus},
};

/// The daemon at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started; RFC 3339.
    pub started_at: String,
    /// Root folder of the store.
    pub root: WirePath,
    /// containerd's version, or why it does not answer.
    pub containerd: String,
    /// Snapshots by state.
    pub snapshots: BTreeMap<String, u64>,
    /// Restored containers known.
    pub containers: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Chunks in the store.
    pub chunks: u64,
    /// Bytes the store takes.
    pub store_bytes: u64,
    /// Bytes free where the store lies.
    pub free_bytes: u64,
    /// Jobs under way.
    pub running_jobs: u64,
    /// Snapshots served now.
    pub mounts: Vec<MountStatus>,
    /// When the next look for expired snapshots is due; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expiry_at: Option<String>,
    /// How the regular copies of the catalogue are.
    #[serde(default)]
    pub backup: BackupStatus,
    /// How collection is.
    #[serde(default)]
    pub collection: CollectionStatus,
    /// How full the disk of the store is.
    #[serde(default)]
    pub disk: DiskStatus,
    /// Snapshots in which something is known to be damaged.
    #[serde(default)]
    pub damaged_snapshots: u64,
    /// How the regular reading of everything stored goes.
    #[serde(default)]
    pub scrub: ScrubStatus,
    /// How much is in the trash.
    #[serde(default)]
    pub trash: TrashStatus,
}

/// A snapshot that is served now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MountStatus {
    /// The snapshot.
    pub snapshot: String,
    /// Process id of its mount server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_pid: Option<u32>,
    /// Containers and folders that use it.
    pub users: u64,
    /// How often its mount server died and was started again.
    #[serde(default)]
    pub restarts: u64,
    /// Why it cannot be started again at the moment, or that it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// True when it was unmounted here and is served because another mount namespace still holds it.
    #[serde(default)]
    pub lingers: bool,
    /// Requests of the kernel that its server is answering or has waiting.
    #[serde(default)]
    pub in_flight: u64,
    /// Requests that its server refused because the store did not answer in time.
    #[serde(default)]
    pub refused: u64,
    /// Threads of its server that have not come back from a request that was refused.
    #[serde(default)]
    pub lost_threads: u64,
    /// Bytes of chunks its server has read ahead of need, because an earlier mount needed them.
    #[serde(default)]
    pub foreseen_bytes: u64,
    /// Of these, needed since.
    #[serde(default)]
    pub met_bytes: u64,
    /// Bytes of chunks its server has read when they were needed.
    #[serde(default)]
    pub late_bytes: u64,
    /// The oldest requests in flight, oldest first; 64 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestInFlight>,
}

/// A request of the kernel that a mount server has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestInFlight {
    /// `attributes`, `list`, `look-up`, `read`, `read-link`, `seek`, `xattr` or `xattr-names`.
    pub kind: String,
    /// Inode number of what is asked for; of the folder, for a look-up.
    pub node: u64,
    /// Its path in the snapshot; absent for a young request, or when the store does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it reads, in bytes.
    pub offset: u64,
    /// How much it reads, in bytes.
    pub size: u32,
    /// How long it has been in flight, in milliseconds.
    pub age_ms: u64,
    /// True when it was refused because the store did not answer in time, and its thread is still at it.
    pub refused: bool,
}

/// What became of one mount server when it was to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeResult {
    /// Another has taken its place.
    Upgraded,
    /// It was dead; another serves now.
    Started,
    /// It goes on, if it lives; the error says why.
    Failed,
}

/// The replacement of one mount server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MountUpgrade {
    /// The snapshot it serves.
    pub snapshot: String,
    /// Process id of the server before; absent when none lived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_pid: Option<u32>,
    /// Process id of the server now; absent when none lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pid: Option<u32>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// What became of it.
    pub result: UpgradeResult,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// Mount servers were replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MountsUpgraded {
    /// Every snapshot that is served, by id.
    pub mounts: Vec<MountUpgrade>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// All is well.
    Ok,
    /// It works, but less well than it could.
    Warning,
    /// Something does not work without it.
    Problem,
}

/// One check of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it ended.
    pub result: CheckResult,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What is missing on this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DoctorReport {
    /// The checks, in order.
    pub checks: Vec<Check>,
}
