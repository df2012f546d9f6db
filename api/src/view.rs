//! What is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::ErrorReport,
    path::WirePath,
    repair::{DamageMark, Repaired, ScrubStatus},
    upkeep::{BackupStatus, Collected, CollectionStatus, DiskStatus},
};

/// The daemon's answer to hello.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Major protocol version of the daemon.
    pub major: u32,
    /// Minor protocol version of the daemon.
    pub minor: u32,
    /// Version of the daemon.
    pub version: String,
}

/// One page of a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the listing's order.
    pub items: Vec<T>,
    /// Ask again with this cursor for what follows; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A job has been started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobStarted {
    /// The job's id.
    pub job: String,
    /// The snapshot being made, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Under way.
    Running,
    /// Ended well; the outcome is there.
    Done,
    /// Ended with an error; the error is there.
    Failed,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// The job's id.
    pub job: String,
    /// `create`, `restore`, `copy`, `verify`, `collect` or `repair`.
    pub kind: String,
    /// containerd's namespace.
    pub namespace: String,
    /// What it works on: a container, a folder or a snapshot; for a collection why there is one.
    pub subject: String,
    /// Where it stands.
    pub state: JobState,
    /// Grows with every change; pass it to `job_wait`.
    pub seq: u64,
    /// When it started; RFC 3339.
    pub started_at: String,
    /// When it ended; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How far it is.
    pub progress: ProgressView,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressView {
    /// What it is doing, in a few words.
    pub phase: String,
    /// Files dealt with.
    pub files: u64,
    /// Bytes read or written.
    pub bytes: u64,
    /// Bytes in all, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
}

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobOutcome {
    /// A snapshot was made.
    Created(Box<Created>),
    /// Containers were made.
    Restored(Restored),
    /// A path was copied.
    Copied(Copied),
    /// Stored data was checked.
    Verified(Verified),
    /// The store was collected.
    Collected(Box<Collected>),
    /// The store was mended.
    Repaired(Box<Repaired>),
}

/// A snapshot was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Created {
    /// The snapshot.
    pub snapshot: SnapshotView,
    /// How long the container stood still, in microseconds; 0 for a folder.
    pub pause_us: u64,
    /// How long the whole operation took, in microseconds.
    pub elapsed_us: u64,
    /// Bytes read from files.
    pub read_bytes: u64,
    /// Bytes in chunks the store did not have.
    pub new_bytes: u64,
    /// Bytes these chunks take in the store.
    pub stored_bytes: u64,
    /// Chunks the store did not have.
    pub new_chunks: u64,
    /// Chunks the store had already.
    pub deduplicated_chunks: u64,
    /// Things worth knowing that did not stop the capture.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Containers were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The new containers.
    pub containers: Vec<ContainerView>,
    /// The snapshot that was asked for.
    pub snapshot: String,
    /// False when the snapshot had expired and fresh containers were made from the image instead.
    pub restored_from_snapshot: bool,
    /// True when the snapshot's time to live was over.
    pub ttl_expired: bool,
    /// How long the whole operation took, in microseconds.
    pub elapsed_us: u64,
    /// Things worth knowing: mounts that were left out, hooks that were not taken over.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A path was copied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copied {
    /// Files, folders and other nodes written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Stored data was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Chunks read back; 0 when the structure alone was checked.
    pub chunks: u64,
    /// Stored bytes read back.
    pub bytes: u64,
    /// What is damaged in snapshots; empty when all of them are whole.
    pub damage: Vec<Damage>,
    /// What is damaged in packs, whether or not a snapshot needs it.
    #[serde(default)]
    pub packs: Vec<PackDamage>,
    /// True when there was more damage than the answer lists.
    pub truncated: bool,
}

/// One damaged place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Damage {
    /// The snapshot it was met in.
    pub snapshot: String,
    /// The path in the snapshot, when it is a file's or a folder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<WirePath>,
    /// Where in the file the lost bytes begin; absent for a folder, and when the snapshot cannot be read at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_bytes: Option<u64>,
    /// How many bytes of the file are lost there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_bytes: Option<u64>,
    /// The chunk, when it is one: the digest of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The pack that should hold it, when one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// What is wrong.
    pub problem: String,
}

/// Something is wrong with a pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PackDamage {
    /// The pack's id.
    pub pack: String,
    /// What is wrong with the file as a whole, when something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Damaged chunks in it.
    pub chunks: u64,
}

/// The states of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotState {
    /// Being made.
    Creating,
    /// Whole and usable.
    Active,
    /// Could not be made; the reason is there.
    Failed,
    /// Being removed.
    Deleting,
}

/// A snapshot in a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotView {
    /// The snapshot's id: 32 hexadecimal digits.
    pub id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// Its state.
    pub state: SnapshotState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `NAME:TAG`, every one that points here.
    pub names: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The container or folder it was made from.
    pub source: String,
    /// True when it holds a container, false when a folder.
    pub is_container: bool,
    /// The image the container was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When it was made; RFC 3339.
    pub created_at: String,
    /// When it expires; absent for never; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// True when that time is past.
    pub expired: bool,
    /// When it was last restored or mounted; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// Files, folders and other nodes in it.
    pub nodes: u64,
    /// Sum of the sizes of its files.
    pub logical_bytes: u64,
    /// Bytes it added to the store when it was made.
    pub stored_bytes: u64,
    /// How long the container stood still for it, in microseconds.
    pub pause_us: u64,
    /// What is known to be damaged in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<DamageMark>,
}

/// Everything known of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotDetail {
    /// What a listing shows.
    pub snapshot: SnapshotView,
    /// Digest of the root tree.
    pub root: String,
    /// containerd's snapshotter, for a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshotter: Option<String>,
    /// The runtime, for a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The captured OCI spec, for a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
    /// The host it was made on: architecture, kernel, names and versions.
    pub host: BTreeMap<String, String>,
    /// Restored containers that use it now, as `NAMESPACE/ID`.
    pub used_by: Vec<String>,
    /// Folders it is mounted at now.
    pub mounted_at: Vec<WirePath>,
}

/// Snapshots were removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// Their ids.
    pub ids: Vec<String>,
}

/// A folder with a snapshot mounted on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountView {
    /// The folder.
    pub path: WirePath,
    /// The snapshot.
    pub snapshot: String,
    /// True when it takes writes.
    pub writable: bool,
}

/// One name inside a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Path from the root of the snapshot.
    pub path: WirePath,
    /// `file`, `directory`, `symlink`, `char-device`, `block-device`, `fifo` or `socket`.
    pub kind: String,
    /// Permission bits with suid, sgid and sticky, as in `0644`.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of a file in bytes.
    pub size: u64,
    /// Modification time; RFC 3339 with nanoseconds.
    pub modified_at: String,
    /// Target of a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<WirePath>,
    /// `MAJOR:MINOR` of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Names of extended attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<WirePath>,
}

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffKind {
    /// Only in the newer snapshot.
    Added,
    /// Only in the older snapshot.
    Removed,
    /// Content or target differs.
    Modified,
    /// Only owner, mode, times or attributes differ.
    Metadata,
    /// A file became a folder, a link became a file, and so on.
    Replaced,
}

/// One difference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffEntry {
    /// Path from the root.
    pub path: WirePath,
    /// How it differs.
    pub kind: DiffKind,
    /// Size in the older snapshot, for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_size: Option<u64>,
    /// Size in the newer snapshot, for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_size: Option<u64>,
}

/// A restored container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerView {
    /// The container's id in containerd.
    pub id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot it came from; absent for a fresh one made from the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// `created`, `running`, `paused`, `stopped` or `unknown`; `removed` in the answer to its removal.
    pub status: String,
    /// The process id of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When it was made; RFC 3339.
    pub created_at: String,
}

/// The daemon at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
}

/// A snapshot that is served now.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// The oldest requests in flight, oldest first; 64 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestInFlight>,
}

/// A request of the kernel that a mount server has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct MountsUpgraded {
    /// Every snapshot that is served, by id.
    pub mounts: Vec<MountUpgrade>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct DoctorReport {
    /// The checks, in order.
    pub checks: Vec<Check>,
}
