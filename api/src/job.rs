//! What is answered about jobs: where they stand, and what came of them.

use serde::{Deserialize, Serialize};

use crate::{
    error::ErrorReport,
    path::WirePath,
    repair::Repaired,
    template::Built,
    upkeep::Collected,
    usage::Stats,
    view::{ContainerView, SnapshotView},
    volume::VolumeChanged,
};

/// A job has been started.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobStarted {
    /// The job's id.
    pub job: String,
    /// The snapshot being made, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobView {
    /// The job's id.
    pub job: String,
    /// `create`, `restore`, `copy`, `verify`, `collect`, `repair`, `stats`, `build`, `volume` or `put`.
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
    /// At which attempt it is; absent while none has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryView>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// A job that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetryView {
    /// The attempt that is under way, comes next, or was the last: 2 is the second.
    pub attempt: u32,
    /// How many there are at most.
    pub max_attempts: u32,
    /// Why the one before has failed.
    pub reason: String,
    /// When the next begins; absent once it has; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// What snapshots need was added up.
    Counted(Box<Stats>),
    /// A template was built.
    Built(Box<Built>),
    /// A volume was changed, or what a container has of it.
    Volume(Box<VolumeChanged>),
}

/// A snapshot was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Versions of its name that went because the policy of the name does not keep them any more, as `NAME:NUMBER`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<String>,
    /// Things worth knowing that did not stop the capture.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Containers were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Restored {
    /// The new containers.
    pub containers: Vec<ContainerView>,
    /// The snapshot that was asked for.
    pub snapshot: String,
    /// False when the snapshot had expired and fresh containers were made from the image instead.
    pub restored_from_snapshot: bool,
    /// True when the processes go on from where they were captured.
    #[serde(default)]
    pub with_memory: bool,
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Copied {
    /// Files, folders and other nodes written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Stored data was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PackDamage {
    /// The pack's id.
    pub pack: String,
    /// What is wrong with the file as a whole, when something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Damaged chunks in it.
    pub chunks: u64,
}
