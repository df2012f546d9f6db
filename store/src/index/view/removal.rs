//! Views for when packs are condemned, and when they or segments have gone.

use std::{collections::HashSet, sync::Arc};

use super::{Segment, View};
use crate::ids::PackId;

impl View {
    /// The same with these packs condemned, and no others.
    pub(in crate::index) fn condemning(&self, condemned: HashSet<PackId>) -> Self {
        let condemned = Arc::new(condemned);
        Self {
            condemned,
            ..self.clone()
        }
    }

    /// The same without the rows of these packs, which are gone.
    pub(in crate::index) fn without(&self, gone: &HashSet<PackId>) -> Self {
        let mut next = self.clone();
        for segment in &mut next.segments {
            let is_gone = |(number, pack): (u32, &PackId)| {
                let is_dead = || segment.dead.binary_search(&number).is_ok();
                (gone.contains(pack) || is_dead()).then_some(number)
            };
            let dead: Vec<u32> = (0..).zip(&segment.packs).filter_map(is_gone).collect();
            if dead != segment.dead {
                *segment = Arc::new(segment.with_dead(dead));
            }
        }
        if next.loose_packs.iter().any(|pack| gone.contains(pack)) {
            let loose = next.loose.iter();
            let stays = loose.filter(|(_, location)| !gone.contains(&location.pack));
            next.loose = Arc::new(stays.map(|(digest, place)| (*digest, *place)).collect());
            next.loose_packs.retain(|pack| !gone.contains(pack));
        }
        next
    }

    /// The same without a pack that was not found; should it come back, it will be listed.
    pub(in crate::index) fn lacking(&self, pack: PackId) -> Self {
        Self {
            is_complete: false,
            ..self.without(&HashSet::from([pack]))
        }
    }

    /// The same without segments whose rows no longer match their checksums, which become of no use.
    pub(in crate::index) fn without_rotten(&self) -> Self {
        let mut next = self.clone();
        next.drop_damaged(Segment::verify_again);
        next
    }

    /// The same, once the files of no use are removed.
    pub(in crate::index) fn tidied(&self) -> Self {
        let stale = Vec::new();
        Self {
            stale,
            ..self.clone()
        }
    }

    /// Segments that have rows of packs that are gone.
    pub(in crate::index) fn with_dead_rows(&self) -> Vec<Arc<Segment>> {
        let segments = self.segments.iter();
        segments
            .filter(|segment| !segment.dead.is_empty())
            .cloned()
            .collect()
    }
}
