//! What is asked: one struct a call. Fields that may be left out have defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{path::WirePath, volume::AttachRequest};

/// The first call of a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HelloRequest {
    /// Major protocol version of the client.
    pub major: u32,
    /// Minor protocol version of the client.
    pub minor: u32,
    /// Name and version of the client, for the log.
    pub client: String,
}

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CreateSource {
    /// A running container of the request's namespace.
    Container(String),
    /// A folder of the host; absolute.
    Path(WirePath),
    /// A folder of a running container of the request's namespace.
    Folder {
        /// The container.
        container: String,
        /// The folder as the container sees it; absolute.
        path: WirePath,
    },
}

/// Whether memory is captured with the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryWish {
    /// Files alone.
    #[default]
    None,
    /// With memory; files alone, and a word on why, when that cannot be had.
    Wanted,
    /// With memory, or not at all.
    Required,
}

/// How long a snapshot is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ttl {
    /// As the daemon is configured.
    #[default]
    Default,
    /// Until somebody removes it.
    Never,
    /// This many seconds from its creation.
    Seconds(u64),
}

/// Captures a container or a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateRequest {
    /// containerd's namespace; folders are kept in one as well.
    pub namespace: String,
    /// What to capture.
    pub source: CreateSource,
    /// `NAME` or `NAME:TAG`; the new snapshot is the next version of NAME, and `NAME:latest` is moved to it in any case.
    #[serde(default)]
    pub name: Option<String>,
    /// How long to keep it; with `unused_seconds` the default is until somebody removes it.
    #[serde(default)]
    pub ttl: Ttl,
    /// How long to keep it without a use, in seconds; for as long as the rest says when absent.
    #[serde(default)]
    pub unused_seconds: Option<u64>,
    /// Free labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Glob patterns of paths that are left out, relative to the root of what is captured.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Destinations of bind mounts whose content is captured with the container.
    #[serde(default)]
    pub include_mounts: Vec<String>,
    /// Stop the container's task while it is paused for the capture, and leave it stopped.
    #[serde(default)]
    pub stop: bool,
    /// Capture the memory of the container's processes as well, of the same instant.
    #[serde(default)]
    pub memory: MemoryWish,
    /// A program of the container that is told before the capture and after it; absolute, as the container sees it.
    #[serde(default)]
    pub hook: Option<String>,
    /// Read everything back and compare digests before the snapshot becomes active.
    #[serde(default)]
    pub verify: bool,
    /// A key chosen by the client: the same key within the daemon's life answers with the same job.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

/// The network of a restored container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkChoice {
    /// A fresh network namespace with nothing but loopback.
    #[default]
    None,
    /// The network of the host.
    Host,
    /// An existing network namespace, by path.
    Path(String),
}

/// Restores a snapshot as new containers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// Id, unambiguous id prefix, `NAME` or `NAME:TAG`.
    pub reference: String,
    /// Id of the new container; with a count above one, `ID-1`, `ID-2` and so on. Made up when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// How many containers; at least 1.
    #[serde(default = "one")]
    pub count: u32,
    /// Restore even when the snapshot has expired.
    #[serde(default)]
    pub force: bool,
    /// Create the containers without starting them.
    #[serde(default)]
    pub no_start: bool,
    /// Restore the files alone of a snapshot with memory: processes begin anew.
    #[serde(default)]
    pub no_memory: bool,
    /// Restore the files alone when memory cannot be restored.
    #[serde(default)]
    pub fallback: bool,
    /// Have connections that were established go on rather than be closed.
    #[serde(default)]
    pub tcp_established: bool,
    /// A program of each new container that is told once its processes go on from their memory; absolute, as the container sees it.
    #[serde(default)]
    pub hook: Option<String>,
    /// The network of the new containers.
    #[serde(default)]
    pub network: NetworkChoice,
    /// Destinations of bind mounts to keep although their source is not a system path.
    #[serde(default)]
    pub keep_mounts: Vec<String>,
    /// Destinations of bind mounts to leave out.
    #[serde(default)]
    pub drop_mounts: Vec<String>,
    /// Look for the snapshot in the trash, and leave it there; expired or not.
    #[serde(default)]
    pub from_trash: bool,
    /// What to run instead of the captured command; the processes begin anew then.
    #[serde(default)]
    pub command: Vec<String>,
    /// What else the new containers have mounted.
    #[serde(default)]
    pub attach: Vec<AttachRequest>,
    /// A key chosen by the client, as for create.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

fn one() -> u32 {
    1
}

/// Copies a path out of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot.
    pub reference: String,
    /// The path inside it; absolute.
    pub path: WirePath,
    /// Where to put it; absolute, its parent must exist, it itself must not, unless it is an empty folder.
    pub destination: WirePath,
}

/// Puts a file or a folder of the host into the next version of a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PutRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// What is put in; absolute.
    pub source: WirePath,
    /// The name, without tag; its newest version is what the new one is made of.
    pub name: String,
    /// Where to, in the new version; absolute. What is there is replaced, folders that are missing on the way are made.
    pub path: WirePath,
}

/// Re-reads stored data against its digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// One snapshot; every pack and every snapshot of every namespace when absent.
    #[serde(default)]
    pub reference: Option<String>,
    /// Check the structure alone: manifests, trees, the ends of packs, and that every chunk is present.
    #[serde(default)]
    pub quick: bool,
}

/// Names a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRequest {
    /// The job's id.
    pub job: String,
}

/// Follows a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobWaitRequest {
    /// The job's id.
    pub job: String,
    /// Answer as soon as the job's `seq` is above this.
    #[serde(default)]
    pub since_seq: u64,
    /// Answer after this long in any case, in milliseconds; at most [`crate::MAX_WAIT_MS`].
    #[serde(default)]
    pub max_wait_ms: u64,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListRequest {
    /// containerd's namespace; every namespace when absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Where the previous page ended; opaque.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many; 0 asks for as many as the daemon gives at once.
    #[serde(default)]
    pub limit: u32,
    /// Only what passes these; a page is of what does. For snapshots alone: `label=KEY`, `state=active`, `size>1G` and so on.
    #[serde(default)]
    pub filters: Vec<String>,
    /// The order, for snapshots alone: `created`, `name`, `size`, `stored` or `expires`, with `:desc` the other way round; the newest
    /// first when absent.
    #[serde(default)]
    pub sort: Option<String>,
}

/// Names a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferenceRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// Id, unambiguous id prefix, `NAME` or `NAME:TAG`.
    pub reference: String,
}

/// Removes snapshots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshots.
    pub references: Vec<String>,
    /// Also those that bear immutable tags.
    #[serde(default)]
    pub force: bool,
    /// Pass over the trash: there is no way back.
    #[serde(default)]
    pub permanent: bool,
}

/// Sets when a snapshot expires.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TtlRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot.
    pub reference: String,
    /// The new time to live, counted from now; the one it has stays when absent.
    #[serde(default)]
    pub ttl: Option<Ttl>,
    /// How long it may go without a use from now on; what holds stays when absent. There is no default for it.
    #[serde(default)]
    pub unused: Option<Ttl>,
}

/// Gives a snapshot a name, or takes one away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot; when removing, the `NAME:TAG` itself.
    pub reference: String,
    /// `NAME` or `NAME:TAG`.
    pub name: String,
    /// Take the name away instead of giving it.
    #[serde(default)]
    pub remove: bool,
    /// Further names to give, all of them or none.
    #[serde(default)]
    pub more: Vec<String>,
    /// The names given neither move nor go from now on.
    #[serde(default)]
    pub immutable: bool,
    /// Take the name away although it is immutable.
    #[serde(default)]
    pub force: bool,
}

/// Changes labels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabelRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot.
    pub reference: String,
    /// Labels to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Labels to remove.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Mounts a snapshot at a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot.
    pub reference: String,
    /// An existing folder; absolute.
    pub path: WirePath,
    /// Take writes in a layer of its own, which lasts until the folder is unmounted.
    #[serde(default)]
    pub writable: bool,
    /// Mount although the snapshot has expired.
    #[serde(default)]
    pub force: bool,
}

/// Unmounts a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnmountRequest {
    /// The folder; absolute.
    pub path: WirePath,
}

/// Lists names inside a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The snapshot.
    pub reference: String,
    /// Where to start; `/` for the root.
    pub path: WirePath,
    /// Descend into folders.
    #[serde(default)]
    pub recursive: bool,
    /// Where the previous page ended; opaque.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many; 0 asks for as many as the daemon gives at once.
    #[serde(default)]
    pub limit: u32,
}

/// Compares two snapshots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The older snapshot.
    pub from: String,
    /// The newer snapshot.
    pub to: String,
    /// Where the previous page ended; opaque.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many; 0 asks for as many as the daemon gives at once.
    #[serde(default)]
    pub limit: u32,
}

/// Names a restored container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub id: String,
}

/// Asks how the daemon is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatusRequest {}

/// Replaces every mount server with the installed binary.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UpgradeMountsRequest {}
