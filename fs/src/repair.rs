//! Where lost chunks can be had again: places that once held the files they are of.
//!
//! A source is asked for the chunks that one file lost. It finds the file where the snapshot has it, cuts it as a capture does, and
//! hands out the chunks that are wanted, whatever else has changed in the file: the digest decides. Today every source is a folder
//! of this host (a layer, a container's writable layer, a folder that was captured); one that is a registry is one more
//! implementation.

mod folder;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use snap_store::{Digest, Progress, Result, Salvage, SnapshotId, TakeChunk};

pub use folder::FolderSource;

use crate::verify::Damaged;

/// Losses that are remembered at once; what is beyond them is found by the next repair.
const MAX_LOSSES: usize = 100_000;

/// A file that lost chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostFile {
    /// Components of its path in the snapshot.
    pub path: Vec<Vec<u8>>,
    /// What it lost: chunks, and pages of its list.
    pub chunks: HashSet<Digest>,
}

/// A place that may hold files of a snapshot.
pub trait ChunkSource: Send {
    /// What it is, for people.
    fn name(&self) -> &str;

    /// Hands those chunks of `file` to `found` that it has. Not having the file, or another file by that name, is no error.
    fn fetch(
        &self,
        file: &LostFile,
        found: &mut TakeChunk<'_>,
        progress: &dyn Progress,
    ) -> Result<()>;
}

/// What snapshots lost, file by file.
#[derive(Debug, Default)]
pub struct Losses {
    files: BTreeMap<SnapshotId, BTreeMap<Vec<Vec<u8>>, HashSet<Digest>>>,
    count: usize,
}

impl Losses {
    /// Adds a damaged place. One that is no file's is left out: a folder's pages are in no file.
    pub fn add(&mut self, snapshot: &SnapshotId, damaged: &Damaged) {
        let (Some(digest), Some(_)) = (damaged.digest, &damaged.range) else {
            return;
        };
        if self.count >= MAX_LOSSES {
            return;
        }
        let files = self.files.entry(*snapshot).or_default();
        let chunks = files.entry(damaged.path.clone()).or_default();
        self.count += usize::from(chunks.insert(digest));
    }

    /// The snapshots that lost something.
    pub fn snapshots(&self) -> impl Iterator<Item = &SnapshotId> {
        self.files.keys()
    }

    /// Asks `sources` for everything that `snapshot` lost and that `salvage` has not regained yet. Returns how many chunks each
    /// source had, by its name.
    pub fn fetch(
        &self,
        snapshot: &SnapshotId,
        sources: &[Box<dyn ChunkSource>],
        salvage: &mut Salvage<'_>,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, u64>> {
        let mut regained = BTreeMap::new();
        for (path, chunks) in self.files.get(snapshot).into_iter().flatten() {
            for source in sources {
                let is_lost = |digest: &&Digest| !salvage.has_regained(digest);
                let file = LostFile {
                    path: path.clone(),
                    chunks: chunks.iter().filter(is_lost).copied().collect(),
                };
                if file.chunks.is_empty() {
                    break;
                }
                let mut count = 0;
                let found = &mut |digest, kind, raw: &[u8]| {
                    count += u64::from(!salvage.has_regained(&digest));
                    salvage.put(digest, kind, raw)
                };
                source.fetch(&file, found, progress)?;
                if count > 0 {
                    *regained.entry(source.name().to_owned()).or_default() += count;
                }
            }
        }
        Ok(regained)
    }
}
