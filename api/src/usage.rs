//! Usage: how much of the store snapshots need, what they need alone, and what they were used for.

use serde::{Deserialize, Serialize};

/// What is added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StatsBy {
    /// Each snapshot by itself.
    #[default]
    Snapshot,
    /// The versions of each name; what is a version of none by its namespace.
    Name,
    /// The snapshots of each namespace.
    Namespace,
}

/// Adds up what snapshots need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatsRequest {
    /// containerd's namespace; every namespace when absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// These snapshots alone, of that namespace; all that are active when there is none.
    #[serde(default)]
    pub references: Vec<String>,
    /// What is added up.
    #[serde(default)]
    pub by: StatsBy,
    /// Leave out what takes a walk over each snapshot: what is needed in all and what is shared, and the ratios.
    #[serde(default)]
    pub quick: bool,
}

/// What some snapshots need, and what they were used for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageView {
    /// containerd's namespace.
    pub namespace: String,
    /// The name, without tag; by name alone, and absent for what is a version of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The snapshot; by snapshot alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// `NAME:NUMBER`, what it is a version of; by snapshot alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many snapshots it is.
    pub snapshots: u64,
    /// Sum of the sizes of the files in them, and of the images of memory, in bytes.
    pub logical_bytes: u64,
    /// What they added to the store when they were made, in bytes.
    pub stored_bytes: u64,
    /// What they need in the store, each chunk once, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_bytes: Option<u64>,
    /// The part of it that no other snapshot needs, not even one in the trash, in bytes.
    pub unique_bytes: u64,
    /// The part of it that another one needs too, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_bytes: Option<u64>,
    /// Chunks they need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_chunks: Option<u64>,
    /// Those that no other snapshot needs.
    pub unique_chunks: u64,
    /// Logical bytes for each byte of the chunks they need, before compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_ratio: Option<f64>,
    /// Bytes of these chunks for each byte they take in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
    /// How often they were restored.
    pub restores: u64,
    /// Containers these restores have made.
    pub containers: u64,
    /// When one of them was last restored or mounted, or let go of; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// What the restores took less than copying the data of each container at 200 MiB a second, in milliseconds.
    pub time_saved_ms: u64,
}

/// What was added up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stats {
    /// What was added up.
    pub by: StatsBy,
    /// Most unique bytes first.
    pub usage: Vec<UsageView>,
    /// True when there was more than one answer holds: those with the least unique bytes are left out.
    pub truncated: bool,
    /// Snapshots that could not be read whole: numbers are too small.
    pub unreadable: u64,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
}
