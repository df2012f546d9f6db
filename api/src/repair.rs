//! Damage to the store: what is asked and what is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::{Damage, PackDamage};

/// Mends the store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RepairRequest {
    /// Find out what would be done, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The store was mended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Repaired {
    /// True when nothing was changed: everything here is what would be done.
    pub dry_run: bool,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Chunks read back.
    pub chunks: u64,
    /// Stored bytes read back.
    pub bytes: u64,
    /// What was wrong with the index, which was made anew from the packs then.
    #[serde(default)]
    pub index: Vec<String>,
    /// Snapshots the catalogue did not know, or had given up, and whose manifests are there.
    #[serde(default)]
    pub found_again: Vec<String>,
    /// Snapshots that have failed because their manifests are gone or cannot be read.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
    /// Packs that were damaged: what is sound of them lies in new packs, they themselves in quarantine.
    #[serde(default)]
    pub packs: Vec<PackDamage>,
    /// Chunks that were damaged or missing and are there again.
    pub regained_chunks: u64,
    /// How many of them came from a layer, a container or a folder, by its name. The others were in another pack.
    #[serde(default)]
    pub regained_from: BTreeMap<String, u64>,
    /// What is lost: the files of the snapshots that are hit, and their bytes.
    #[serde(default)]
    pub lost: Vec<Damage>,
    /// True when there was more than the answer lists.
    pub truncated: bool,
    /// How long the operation took, in microseconds.
    pub elapsed_us: u64,
}

impl Repaired {
    /// True when there was nothing to mend, and nothing is lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.index.is_empty()
            && self.found_again.is_empty()
            && self.given_up.is_empty()
            && self.packs.is_empty()
            && self.regained_chunks == 0
            && self.lost.is_empty()
    }
}

/// A snapshot of which nothing can be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GivenUp {
    /// The snapshot.
    pub snapshot: String,
    /// Why.
    pub reason: String,
}

/// What is known to be damaged in a snapshot; everything else of it can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DamageMark {
    /// Files and folders that are hit.
    pub files: u64,
    /// Bytes of files that cannot be read.
    pub bytes: u64,
    /// When it was found; RFC 3339.
    pub found_at: String,
    /// True when `snapctl repair` has looked for them everywhere: they are back when somebody captures them again.
    pub lost: bool,
}

/// How the regular reading of everything stored goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScrubStatus {
    /// Bytes it may read in a day; 0 when it is turned off.
    pub bytes_per_day: u64,
    /// Bytes of the round under way that were read.
    pub read_bytes: u64,
    /// Bytes of the whole store.
    pub total_bytes: u64,
    /// When the round under way began; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<String>,
    /// When the last whole round ended; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Packs in which the round under way and the one before it found damage that has not been mended.
    pub damaged_packs: u64,
    /// Why the last attempt came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
