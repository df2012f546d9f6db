//! What is answered about snapshots, what is in them and what stands on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{path::WirePath, repair::DamageMark, volume::AttachedView};

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

/// The states of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Why a snapshot expires when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExpiryCause {
    /// Its time to live is over.
    Ttl,
    /// Nobody has used it for as long as it may go without.
    Unused,
}

/// A snapshot in a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Those of them that neither move nor go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immutable: Vec<String>,
    /// `NAME:NUMBER`, what it is a version of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// True when it neither expires nor can be removed.
    #[serde(default)]
    pub pinned: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The container or folder it was made from.
    pub source: String,
    /// True when it holds a container, false when a folder.
    pub is_container: bool,
    /// The folder of a container it was made from; absent for a whole container and for a folder of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_folder: Option<ContainerFolder>,
    /// The image the container was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When it was made; RFC 3339.
    pub created_at: String,
    /// When it expires as things are; absent for never; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Why it expires then; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_by: Option<ExpiryCause>,
    /// How long it may go without a use before it expires, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_seconds: Option<u64>,
    /// True while a container or a folder stands on it.
    #[serde(default)]
    pub in_use: bool,
    /// True when that time is past and it is not pinned.
    pub expired: bool,
    /// When it was last restored or mounted, or let go of; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// Files, folders and other nodes in it.
    pub nodes: u64,
    /// Sum of the sizes of its files, in bytes.
    pub logical_bytes: u64,
    /// Bytes it added to the store when it was made.
    pub stored_bytes: u64,
    /// How long the container stood still for it, in microseconds.
    pub pause_us: u64,
    /// What is known to be damaged in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<DamageMark>,
    /// The memory of its processes, when it was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryView>,
}

/// A folder of a container that was captured by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerFolder {
    /// The container.
    pub container: String,
    /// The folder, as it was asked for; where it is not UTF-8, as people read it.
    pub path: String,
}

/// What became of the memory of a container's processes. A snapshot that holds it holds every secret they had in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryView {
    /// True when it is in the snapshot; for root alone to restore then.
    pub captured: bool,
    /// Bytes of its images; 0 when there are none.
    pub bytes: u64,
    /// True when they are encrypted at rest: whoever restores it needs the key.
    #[serde(default)]
    pub encrypted: bool,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the memory of a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryContents {
    /// The processes, parents before their children.
    pub processes: Vec<ProcessView>,
    /// True when there is more than is told, or something that could not be read.
    pub partial: bool,
}

/// A process in the memory of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessView {
    /// Its process id in the container.
    pub pid: u32,
    /// That of its parent; 0 for the first.
    pub parent: u32,
    /// Its name, as the kernel keeps it: 15 letters at most.
    pub name: String,
    /// How many threads it has.
    pub threads: u64,
    /// Bytes of its pages in the images; shared memory is none of one process.
    pub stored_bytes: u64,
    /// What it has in its address space.
    pub mappings: Vec<MappingView>,
    /// What it has open.
    pub open: Vec<OpenView>,
}

/// A mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MappingView {
    /// Where it begins, in hexadecimal.
    pub start: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What may be done there, as in `rw-`.
    pub access: String,
    /// The path of a file, or `heap`, `stack`, `anonymous`, `shared`, `memfd`, `kernel`.
    pub what: String,
    /// Bytes of it in the images; the rest is in files, or was never touched.
    pub stored_bytes: u64,
}

/// A descriptor of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenView {
    /// Its number.
    pub descriptor: u32,
    /// `file`, `pipe`, `inet-socket`, `unix-socket`, `epoll` and so on.
    pub kind: String,
    /// A path, or addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// Everything known of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The id of the key its memory is encrypted with; absent when it lies in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_key: Option<String>,
}

/// Snapshots were removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// Their ids.
    pub ids: Vec<String>,
    /// Until when they are in the trash at least; absent when none of them is there; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_trash_until: Option<String>,
}

/// A folder with a snapshot mounted on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Names the content of a file: files with the same digest have the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiffEntry {
    /// Path from the root.
    pub path: WirePath,
    /// How it differs.
    pub kind: DiffKind,
    /// Size in the older snapshot in bytes, for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_size: Option<u64>,
    /// Size in the newer snapshot in bytes, for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_size: Option<u64>,
}

/// A restored container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// What it has mounted beside its root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<AttachedView>,
}
