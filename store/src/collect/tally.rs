//! Counting: what each pack holds that is needed, and what that means for it.

use std::collections::HashMap;

use super::mark::Marks;
use crate::{
    disk::is_absent,
    error::{Error, Result},
    ids::PackId,
    layout,
    pack::overhead_bytes,
    progress::Progress,
    store::Store,
};

/// A pack with more than this to copy is left as it is: no writer makes such packs, and what is copied is held in memory.
const MAX_COPIED_BYTES: u64 = 48 << 20;

/// What a pack holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) live_chunks: u64,
    pub(super) live_bytes: u64,
    pub(super) dead_chunks: u64,
    pub(super) dead_bytes: u64,
    pub(super) file_bytes: u64,
}

impl Count {
    /// True when nothing in the pack is needed.
    pub(super) fn is_dead(&self) -> bool {
        self.live_chunks == 0
    }

    /// Hundredths of the file that would be left of it if it held what is needed alone.
    fn live_percent(&self) -> u64 {
        let useful = self.live_bytes + overhead_bytes(self.live_chunks);
        (useful * 100).checked_div(self.file_bytes).unwrap_or(100)
    }
}

/// What each pack of a census holds; packs whose files are gone are left out.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) packs: HashMap<PackId, Count>,
}

impl Tally {
    /// Counts the marked rows and measures the packs' files.
    pub(super) fn count(store: &Store, marks: &Marks, progress: &dyn Progress) -> Result<Self> {
        let census = marks.census();
        let mut packs: HashMap<PackId, Count> = census
            .packs()
            .map(|pack| (*pack, Count::default()))
            .collect();
        census.each(&mut |row, place| {
            let count = packs.entry(place.pack).or_default();
            let bytes = u64::from(place.frame.stored_bytes);
            match marks.is_needed(row) {
                true => {
                    count.live_chunks += 1;
                    count.live_bytes += bytes;
                }
                false => {
                    count.dead_chunks += 1;
                    count.dead_bytes += bytes;
                }
            }
            Ok(())
        })?;
        let disk = store.disk();
        let mut gone = Vec::new();
        for (pack, count) in &mut packs {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match disk.open(&layout::pack(pack)) {
                Ok(file) => count.file_bytes = file.length()?,
                Err(error) if is_absent(&error) => gone.push(*pack),
                Err(error) => return Err(error),
            }
        }
        for pack in gone {
            packs.remove(&pack);
        }
        Ok(Self { packs })
    }

    /// The sums over all packs.
    pub(super) fn total(&self) -> Count {
        let mut total = Count::default();
        for count in self.packs.values() {
            total.live_chunks += count.live_chunks;
            total.live_bytes += count.live_bytes;
            total.dead_chunks += count.dead_chunks;
            total.dead_bytes += count.dead_bytes;
            total.file_bytes += count.file_bytes;
        }
        total
    }

    /// Packs in which nothing is needed, in order.
    pub(super) fn dead(&self) -> Vec<PackId> {
        let dead = self.packs.iter().filter(|(_, count)| count.is_dead());
        let mut dead: Vec<PackId> = dead.map(|(pack, _)| *pack).collect();
        dead.sort_unstable();
        dead
    }

    /// Packs of which less than `percent` is needed, the emptiest first.
    pub(super) fn sparse(&self, percent: u8) -> Vec<PackId> {
        let is_sparse = |count: &Count| {
            !count.is_dead()
                && count.live_bytes <= MAX_COPIED_BYTES
                && count.live_percent() < u64::from(percent)
        };
        let sparse = self.packs.iter().filter(|(_, count)| is_sparse(count));
        let mut sparse: Vec<_> = sparse
            .map(|(pack, count)| (count.live_percent(), *pack))
            .collect();
        sparse.sort_unstable();
        sparse.into_iter().map(|(_, pack)| pack).collect()
    }

    /// What is needed of the pack takes so many bytes.
    pub(super) fn live_bytes(&self, pack: &PackId) -> u64 {
        self.packs.get(pack).map_or(0, |count| count.live_bytes)
    }

    /// What the pack's file takes, as it was when it was measured.
    pub(super) fn file_bytes(&self, pack: &PackId) -> u64 {
        self.packs.get(pack).map_or(0, |count| count.file_bytes)
    }
}
