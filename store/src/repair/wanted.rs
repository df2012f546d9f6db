//! Chunks that somebody needs, by where they lie: eight bytes each, in the order of the packs.

use std::collections::HashMap;

use crate::{
    error::Result,
    ids::{Digest, PackId},
    store::Store,
};

/// Places that are gathered before equal ones are thrown out for the first time: 8 MiB.
const FIRST_TIDYING: usize = 1 << 20;

/// Chunks to be read; each once however often it was added.
#[derive(Debug)]
pub struct Wanted {
    store: Store,
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    /// The pack's number and the offset in it.
    places: Vec<u64>,
    tidy_at: usize,
}

impl Wanted {
    /// None yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            packs: Vec::new(),
            numbers: HashMap::new(),
            places: Vec::new(),
            tidy_at: FIRST_TIDYING,
        }
    }

    /// Adds the chunk, if there is a pack that is said to hold it.
    pub fn add(&mut self, digest: &Digest) -> Result<()> {
        let Some(location) = self.store.whereabouts(digest)? else {
            return Ok(());
        };
        let next = u32::try_from(self.packs.len()).expect("a store has fewer packs than that");
        let packs = &mut self.packs;
        let number = *self.numbers.entry(location.pack).or_insert_with(|| {
            packs.push(location.pack);
            next
        });
        self.places.push(place(number, location.frame.offset));
        if self.places.len() >= self.tidy_at {
            self.tidy();
            self.tidy_at = FIRST_TIDYING.max(self.places.len() * 2);
        }
        Ok(())
    }

    /// The packs that hold them, ascending. No more are added after this.
    pub fn packs(&mut self) -> Vec<PackId> {
        self.tidy();
        let mut packs = self.packs.clone();
        packs.sort_unstable();
        packs
    }

    /// True when the chunk at `offset` of `pack` is wanted.
    pub(super) fn has(&self, pack: &PackId, offset: u32) -> bool {
        let number = self.numbers.get(pack);
        number.is_some_and(|number| self.places.binary_search(&place(*number, offset)).is_ok())
    }

    fn tidy(&mut self) {
        self.places.sort_unstable();
        self.places.dedup();
    }
}

fn place(pack: u32, offset: u32) -> u64 {
    u64::from(pack) << 32 | u64::from(offset)
}
