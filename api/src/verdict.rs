//! What is said of a container before anything is done to it.

use serde::{Deserialize, Serialize};

/// Whether a container can be captured. That its files can is said by there being an answer at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// The container.
    pub container: String,
    /// How many processes it has.
    pub processes: u64,
    /// What they have in memory and in swap, in bytes.
    pub memory_bytes: u64,
    /// What stands in the way of capturing their memory, as far as can be seen.
    pub blockers: Vec<Blocker>,
}

/// What a create would come to, told without anything having stood still or been written. Sizes and times are estimates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Forecast {
    /// The container or the folder.
    pub source: String,
    /// What is said of its memory; a folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Files, folders and other nodes that would be looked at: those of the writable layer, or of the folder.
    pub nodes: u64,
    /// What they take on the disk, in bytes.
    pub files_bytes: u64,
    /// True when there are more of them than were counted.
    #[serde(default)]
    pub partial: bool,
    /// What the images of memory would have, in bytes; absent when there would be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_bytes: Option<u64>,
    /// How long the container would stand still, in microseconds; 0 for a folder.
    pub pause_us: u64,
    /// What each estimate rests on, for people.
    pub rests_on: Vec<String>,
    /// What is worth knowing and stops nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Something that keeps memory from being captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Blocker {
    /// A word for programs: `criu-unfit`, `no-memory-room`, `io-uring`, `kernel-object`, `device`, `large-deleted-file`,
    /// `traced`, `terminal`, `unix-socket`, `user-namespace`, `nested-namespace`, `shared-mount`.
    pub kind: String,
    /// The process that has it, as the host counts; none when it is the host's fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it is, for people.
    pub found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
