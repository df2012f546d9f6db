//! Where things are: for those who look after the store.

use std::collections::HashMap;

use crate::{
    error::Result,
    ids::{Digest, PackId},
    index::{Index, Location},
    layout,
    pack::Record,
    store::Store,
};

impl Store {
    /// Every pack that is there, or that the index says is, ascending.
    pub fn packs(&self) -> Result<Vec<PackId>> {
        let mut packs = layout::packs(&*self.inner.disk)?;
        packs.extend(self.inner.index.packs());
        packs.sort_unstable();
        packs.dedup();
        Ok(packs)
    }

    /// What is wrong with the index as it lies on disk, for people; nothing when all of it is sound and it knows every pack.
    pub fn check_index(&self) -> Result<Vec<String>> {
        let look = || Index::open(self.inner.disk.clone())?.problems();
        let problems = look()?;
        if problems.is_empty() {
            return Ok(problems);
        }
        // A pack that is published between two glances looks forgotten: what is wrong still is so while nobody publishes.
        let _turn = self.turn();
        look()
    }

    /// Where the chunk is said to be, after a hard look.
    pub(crate) fn whereabouts(&self, digest: &Digest) -> Result<Option<Location>> {
        self.inner.index.find(digest)
    }

    /// The length of the pack's file.
    pub(crate) fn pack_length(&self, pack: &PackId) -> Result<u64> {
        let path = layout::pack(pack);
        let file = self.inner.packs.get(&*self.inner.disk, pack, &path)?;
        file.length()
    }

    /// The chunks of these packs as the index has them.
    pub(crate) fn indexed_records(&self, packs: &[PackId]) -> HashMap<PackId, Vec<Record>> {
        self.inner.index.records_of(packs)
    }

    /// True when the pack should be there: the index knows it, and nobody has collected it.
    pub(crate) fn expects_pack(&self, pack: &PackId) -> bool {
        self.inner.index.packs().contains(pack)
    }

    /// Closes a pack that is missing: what cannot be opened any more is not to be read either.
    pub(crate) fn close_missing(&self, pack: &PackId) {
        self.inner.packs.forget(pack);
    }
}
