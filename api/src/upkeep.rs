//! Upkeep of the store and the catalogue: what is asked and what is answered.

use serde::{Deserialize, Serialize};

use crate::path::WirePath;

/// Copies the catalogue to a file of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The file; absolute. Its folder must exist; of files that are there, only a copy of a catalogue is replaced.
    pub path: WirePath,
}

/// The catalogue was copied.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackedUp {
    /// The copy.
    pub path: WirePath,
    /// Its size, in bytes.
    pub bytes: u64,
    /// How long the operation took, in microseconds.
    pub elapsed_us: u64,
}

/// How the regular copies of the catalogue are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupStatus {
    /// How many are kept.
    pub kept: u64,
    /// The newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_path: Option<WirePath>,
    /// When it was made; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
    /// When the next one is due; absent when they are turned off; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// Why the last attempt came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Gives back the space of what no snapshot needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectRequest {
    /// containerd's namespace that the job is listed in; the store is collected whole.
    pub namespace: String,
    /// Only look and count.
    #[serde(default)]
    pub dry_run: bool,
    /// How long data stays after nothing needed it; as the daemon is configured when absent.
    #[serde(default)]
    pub grace_seconds: Option<u64>,
}

/// The store was collected. In a dry run what was done is what would have been.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Collected {
    /// True when it was only looked and counted.
    pub dry_run: bool,
    /// Snapshots whose data was marked.
    pub snapshots: u64,
    /// Packs there were.
    pub packs: u64,
    /// Chunks that are needed.
    pub live_chunks: u64,
    /// Bytes the chunks that are needed take.
    pub live_bytes: u64,
    /// Chunks that nothing needs.
    pub dead_chunks: u64,
    /// Bytes the chunks that nothing needs take.
    pub dead_bytes: u64,
    /// Packs that were removed.
    pub removed_packs: u64,
    /// Bytes that their removal gave back.
    pub freed_bytes: u64,
    /// Packs of which the needed part was copied into new ones.
    pub rewritten_packs: u64,
    /// Bytes that were copied.
    pub written_bytes: u64,
    /// Packs that go with a later collection: their grace period is not over, or a capture under way may rely on them.
    pub waiting_packs: u64,
    /// Bytes the packs that wait take.
    pub waiting_bytes: u64,
    /// Packs that stay because of damage.
    pub damaged_packs: u64,
    /// Chunks that are needed and missing.
    pub missing_chunks: u64,
    /// Remembered base layers that were given up.
    pub forgotten_bases: u64,
    /// What could not be read whole.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
    /// True when it is not known what all snapshots need: nothing was removed then.
    pub incomplete: bool,
    /// Why packs were left as they are that would have been rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How long the operation took, in microseconds.
    pub elapsed_us: u64,
}

/// Something in use that a collection could not read whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unreadable {
    /// `snapshot ID`, `base DIGEST`, or a snapshot that was just removed.
    pub holder: String,
    /// What is wrong.
    pub problem: String,
}

/// How collection is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CollectionStatus {
    /// The last one, by whatever reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastCollection>,
    /// When the next regular one is due; absent when they are turned off; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// Why the last regular one came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What the last collection found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastCollection {
    /// When it ended; RFC 3339.
    pub ended_at: String,
    /// Bytes that were needed.
    pub live_bytes: u64,
    /// Bytes that nothing needed and that it left.
    pub dead_bytes: u64,
    /// Bytes of packs that go with a later one.
    pub waiting_bytes: u64,
    /// Bytes it gave back.
    pub freed_bytes: u64,
}

/// How full the disk of the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DiskPressure {
    /// All is as usual.
    #[default]
    None,
    /// Above the high mark, or not below the low mark again: space is made.
    High,
    /// Above the high mark, and no space can be made: captures are refused.
    Full,
}

/// The disk of the store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskStatus {
    /// The used part, in hundredths.
    pub used_percent: u8,
    /// Space is made from here on, in hundredths.
    pub high_percent: u8,
    /// All is as usual again below this, in hundredths.
    pub low_percent: u8,
    /// Where it stands.
    pub pressure: DiskPressure,
}
