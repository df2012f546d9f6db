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
pub struct BackedUp {
    /// The copy.
    pub path: WirePath,
    /// Its size.
    pub bytes: u64,
    /// How long the operation took, in microseconds.
    pub elapsed_us: u64,
}

/// How the regular copies of the catalogue are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
