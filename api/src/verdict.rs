//! What is said of a container before anything is done to it.

use serde::{Deserialize, Serialize};

/// Whether a container can be captured. That its files can is said by there being an answer at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Something that keeps memory from being captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// A word for programs: `criu-unfit`, `no-memory-room`, `io-uring`, `kernel-object`, `device`, `large-deleted-file`,
    /// `traced`.
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
