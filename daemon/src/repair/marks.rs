//! What is known to be damaged, snapshot by snapshot, until it is whole again.
//!
//! A snapshot with damage stays Active: everything else of it can be read, mounted and restored. The marks are noted in the
//! catalogue, so that they outlive the daemon; losing them loses a warning and nothing else.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use snap_api::DamageMark;
use snap_fs::verify::Damaged;
use snap_store::{Catalogue, Digest, Result, SnapshotId, Store};
use tracing::{info, warn};

use crate::clock;

/// The name of the note.
const NOTE: &str = "damage";
/// Lost chunks that are remembered of one snapshot: with more it is whole again when a repair or a verification says so.
const MAX_CHUNKS: usize = 256;
/// Snapshots that are remembered.
const MAX_MARKS: usize = 10_000;

/// What is known of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    files: u64,
    bytes: u64,
    found_at: i64,
    /// No other copy was found.
    is_lost: bool,
    /// The chunks that are missing, when they are few.
    chunks: Option<Vec<String>>,
}

/// Marks, by snapshot.
pub type Marked = BTreeMap<SnapshotId, Mark>;

/// The marks of this store.
#[derive(Debug, Default)]
pub struct Marks(Mutex<Marked>);

impl Mark {
    /// Nothing damaged yet.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            found_at: clock::now(),
            is_lost: true,
            chunks: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Says that no other copy was found of anything in it.
    pub fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Adds a damaged place, which is in a file of its own or in the one that was added last.
    pub fn add(&mut self, damaged: &Damaged, is_another_file: bool) {
        self.files += u64::from(is_another_file);
        let range = damaged.range.as_ref();
        self.bytes += range.map_or(0, |range| range.end - range.start);
        // What lies damaged in a pack may have a copy somewhere.
        self.is_lost &= damaged.pack.is_none();
        let chunks = self.chunks.take().zip(damaged.digest);
        self.chunks = chunks.and_then(|(mut chunks, digest)| {
            chunks.push(digest.to_string());
            (chunks.len() <= MAX_CHUNKS).then_some(chunks)
        });
    }

    /// As clients see it.
    #[must_use]
    pub fn view(&self) -> DamageMark {
        DamageMark {
            files: self.files,
            bytes: self.bytes,
            found_at: clock::rfc3339(self.found_at),
            lost: self.is_lost,
        }
    }

    /// True when everything it lost has been stored again.
    fn is_healed(&self, store: &Store) -> Result<bool> {
        let Some(chunks) = self.chunks.as_ref().filter(|_| self.is_lost) else {
            return Ok(false);
        };
        for chunk in chunks {
            if !store.has(&chunk.parse::<Digest>()?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Marks {
    /// The marks as they are noted; none when the note cannot be read.
    pub fn load(catalogue: &Catalogue) -> Result<Self> {
        let Some(text) = catalogue.note(NOTE)? else {
            return Ok(Self::default());
        };
        let noted: BTreeMap<String, Mark> = serde_json::from_str(&text).unwrap_or_else(|error| {
            warn!(%error, "The note of what is damaged cannot be read; a repair writes it anew");
            BTreeMap::new()
        });
        let marked = noted
            .into_iter()
            .filter_map(|(id, mark)| Some((id.parse().ok()?, mark)));
        Ok(Self(Mutex::new(marked.collect())))
    }

    /// What is known of the snapshot.
    #[must_use]
    pub fn of(&self, id: &SnapshotId) -> Option<DamageMark> {
        self.lock().get(id).map(Mark::view)
    }

    /// How many snapshots are marked.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Notes what was found when all snapshots were looked at, in place of everything before.
    pub fn replace(&self, catalogue: &Catalogue, marked: Marked) -> Result<()> {
        if *self.lock() == marked {
            return Ok(());
        }
        save(catalogue, &marked)?;
        *self.lock() = marked;
        Ok(())
    }

    /// Takes the marks from snapshots that are whole again or gone: somebody has captured once more what they had lost.
    pub fn refresh(&self, catalogue: &Catalogue, store: &Store) -> Result<()> {
        let before = self.lock().clone();
        let mut marked = before.clone();
        for (id, mark) in &before {
            let is_healed = mark.is_healed(store)?;
            if is_healed {
                info!(snapshot = %id, "What the snapshot had lost was captured again, and it is whole");
            }
            if is_healed || catalogue.get(id).is_err_and(|error| is_gone(&error)) {
                marked.remove(id);
            }
        }
        match marked == before {
            true => Ok(()),
            false => self.replace(catalogue, marked),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_gone(error: &snap_store::Error) -> bool {
    matches!(error, snap_store::Error::NotFound { .. })
}

fn save(catalogue: &Catalogue, marked: &Marked) -> Result<()> {
    let noted: BTreeMap<String, &Mark> = marked
        .iter()
        .take(MAX_MARKS)
        .map(|(id, mark)| (id.to_string(), mark))
        .collect();
    let text = serde_json::to_string(&noted).expect("numbers and text are always JSON");
    catalogue.set_note(NOTE, &text)
}
