//! The chunks of a draft that are not published yet: which there are, and where the packed ones lie.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{ids::Digest, pack::Frame};

/// Enough that threads seldom meet at one lock.
const SHARDS: usize = 16;

/// Where a pending chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// On its way to a pack.
    Queued,
    /// In the draft's pack of this number.
    Packed(u32, Frame),
}

/// The set, by digest.
#[derive(Debug)]
pub(super) struct Pending {
    shards: [Mutex<HashMap<Digest, Slot>>; SHARDS],
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Where the chunk is; `None` when it is not pending.
    pub(super) fn get(&self, digest: &Digest) -> Option<Slot> {
        self.shard(digest).get(digest).copied()
    }

    /// Takes the chunk on as queued; false when somebody has already.
    pub(super) fn claim(&self, digest: Digest) -> bool {
        match self.shard(&digest).entry(digest) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Slot::Queued);
                true
            }
        }
    }

    /// Says where the chunk has been packed.
    pub(super) fn packed(&self, digest: Digest, ordinal: u32, frame: Frame) {
        self.shard(&digest)
            .insert(digest, Slot::Packed(ordinal, frame));
    }

    /// Forgets the chunks in these packs, because they are remembered elsewhere.
    pub(super) fn forget(&self, packs: &HashSet<u32>) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, slot| !matches!(slot, Slot::Packed(pack, _) if packs.contains(pack)));
            shard.shrink_to_fit();
        }
    }

    /// Forgets everything, because it is published.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *shard = HashMap::new();
        }
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, HashMap<Digest, Slot>> {
        let shard = usize::from(digest.as_bytes()[31]) % SHARDS;
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
