//! Where a draft remembers more chunks than memory should hold: tables on disk, in the form of index segments.
//!
//! They only answer look-ups while the draft lasts. What is published is read from the packs again.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock},
};

use crate::{
    disk::Disk,
    error::Result,
    ids::{Digest, PackId},
    index::{Build, Segment},
    pack::{Footer, Frame, SealedPack},
};

/// Packs that are to become a table.
#[derive(Debug, Default)]
pub(super) struct Batch {
    packs: Vec<(u32, PathBuf)>,
    chunks: usize,
}

impl Batch {
    /// The numbers of its packs.
    pub(super) fn ordinals(&self) -> impl Iterator<Item = u32> {
        self.packs.iter().map(|pack| pack.0)
    }
}

#[derive(Debug)]
struct Table {
    segment: Segment,
    ordinals: HashMap<PackId, u32>,
}

/// The tables of a draft.
#[derive(Debug)]
pub(super) struct Spill {
    /// Chunks that make a table.
    limit: usize,
    waiting: Mutex<Batch>,
    tables: RwLock<Vec<Table>>,
}

impl Spill {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
            tables: RwLock::default(),
        }
    }

    /// Notes a sealed pack; returns the packs that are enough for a table.
    pub(super) fn add(&self, pack: &SealedPack) -> Option<Batch> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.packs.push((pack.ordinal, pack.path.clone()));
        waiting.chunks += pack.chunks;
        let is_full = waiting.chunks >= self.limit;
        is_full.then(|| std::mem::take(&mut *waiting))
    }

    /// Makes a table of the packs.
    pub(super) fn write(&self, disk: &dyn Disk, folder: &Path, batch: &Batch) -> Result<()> {
        let first = batch.ordinals().next().unwrap_or(0);
        let folder = folder.join(format!("table-{first}"));
        disk.create_folder(&folder)?;
        let mut build = Build::new(disk, &folder, 0);
        let mut ordinals = HashMap::new();
        for (ordinal, path) in &batch.packs {
            let footer = Footer::read(disk, path)?;
            ordinals.insert(footer.id, *ordinal);
            build.add_footer(footer)?;
        }
        let written = build.write()?;
        let segment = Segment::open(disk, &written.path, written.name)?;
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.push(Table { segment, ordinals });
        Ok(())
    }

    /// Where the chunk is: the number of the pack, and the place in it.
    pub(super) fn lookup(&self, digest: &Digest) -> Result<Option<(u32, Frame)>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        for Table { segment, ordinals } in &*tables {
            if let Some(found) = segment.lookup(digest)? {
                return Ok(ordinals.get(&found.pack).map(|pack| (*pack, found.frame)));
            }
        }
        Ok(None)
    }

    /// Forgets everything, because it is published.
    pub(super) fn clear(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Batch::default();
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.clear();
    }
}
