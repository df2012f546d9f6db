//! One consistent sight of the index: segments, and beside them the packs no segment covers.
//!
//! Views are immutable; each change makes the next one out of it. Segments stay open, so a file that a writer
//! replaces goes on answering until the last view that holds it is gone.

mod removal;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use tracing::warn;

use super::{
    IndexStats,
    segment::{Location, Segment, SegmentName},
};
use crate::{
    disk::{Disk, is_absent},
    error::Result,
    ids::{Digest, PackId},
    layout,
    pack::Footer,
};

/// How often a reader lists again because a file it had listed was replaced meanwhile.
const LIST_ATTEMPTS: u32 = 16;

/// What the index knows at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// By descending number of rows, so that most look-ups end at the first.
    segments: Vec<Arc<Segment>>,
    /// Files that are of no use: replaced by a segment above, or damaged.
    pub(super) stale: Vec<SegmentName>,
    /// Chunks of packs that no segment covers.
    loose: Arc<HashMap<Digest, Location>>,
    loose_packs: Vec<PackId>,
    /// Packs that no segment covers and whose footers cannot be read.
    pub(super) unreadable: Vec<PackId>,
    /// True when the packs have been listed, so that everything published is known.
    is_complete: bool,
    /// Packs that are to be removed: they answer only for chunks that no other pack has.
    pub(super) condemned: Arc<HashSet<PackId>>,
}

impl View {
    /// Lists the segments and opens them.
    pub(super) fn load(disk: &dyn Disk) -> Result<Self> {
        Self::default().reloaded(disk)
    }

    /// Where the chunk is.
    pub(super) fn lookup(&self, digest: &Digest) -> Result<Option<Location>> {
        let mut last_resort = None;
        for segment in &self.segments {
            match segment.lookup(digest)? {
                Some(location) if self.condemned.contains(&location.pack) => {
                    last_resort = Some(location);
                }
                Some(location) => return Ok(Some(location)),
                None => {}
            }
        }
        match self.loose.get(digest) {
            Some(location) if !self.condemned.contains(&location.pack) => Ok(Some(*location)),
            location => Ok(last_resort.or(location.copied())),
        }
    }

    /// The row [`View::lookup`] would answer from, by the number of its segment and its own in it. Loose chunks have no rows.
    pub(super) fn find(&self, digest: &Digest) -> Result<Option<(usize, u64, Location)>> {
        let mut last_resort = None;
        for (number, segment) in self.segments.iter().enumerate() {
            let Some((row, location)) = segment.find(digest)? else {
                continue;
            };
            let found = Some((number, row, location));
            match self.condemned.contains(&location.pack) {
                true => last_resort = found,
                false => return Ok(found),
            }
        }
        Ok(last_resort)
    }

    /// Its segments, by descending number of rows.
    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The same with what has been published since; itself when that is nothing.
    pub(super) fn refreshed(&self, disk: &dyn Disk) -> Result<Self> {
        let known: HashSet<SegmentName> = self.names().into_iter().collect();
        let listed = list_segments(disk)?;
        match listed.iter().all(|name| known.contains(name)) {
            true => Ok(self.clone()),
            false => self.reloaded(disk),
        }
    }

    /// The same with the packs no segment covers, and without those that are gone.
    pub(super) fn completed(&self, disk: &dyn Disk) -> Result<Self> {
        if self.is_complete {
            return Ok(self.clone());
        }
        let packs = layout::packs(disk)?;
        let mut next = self.without_others(&packs);
        next.read_loose(disk, &self.uncovered(&packs));
        next.is_complete = true;
        Ok(next)
    }

    /// The same without the rows of packs other than `packs`, which are all there are, ascending.
    pub(super) fn without_others(&self, packs: &[PackId]) -> Self {
        let mut next = self.clone();
        for segment in &mut next.segments {
            let dead = dead_packs(segment, packs);
            if dead != segment.dead {
                *segment = Arc::new(segment.with_dead(dead));
            }
        }
        next
    }

    /// Those of `packs` that no segment covers.
    pub(super) fn uncovered(&self, packs: &[PackId]) -> Vec<PackId> {
        let tables = self.segments.iter().flat_map(|segment| &segment.packs);
        let covered: HashSet<&PackId> = tables.collect();
        let packs = packs.iter().filter(|pack| !covered.contains(pack));
        packs.copied().collect()
    }

    /// The same, said to know everything but these packs.
    pub(super) fn with_unreadable(&self, unreadable: Vec<PackId>) -> Self {
        Self {
            unreadable,
            loose: Arc::default(),
            loose_packs: Vec::new(),
            is_complete: true,
            ..self.clone()
        }
    }

    /// The same without segments whose rows do not match their checksums.
    pub(super) fn verified(&self, disk: &dyn Disk) -> Result<Self> {
        let mut next = self.clone();
        match next.drop_damaged(Segment::verify) {
            true => next.completed(disk),
            false => self.completed(disk),
        }
    }

    /// False when there were none.
    fn drop_damaged(&mut self, verify: impl Fn(&Segment) -> Result<()>) -> bool {
        let mut damaged = Vec::new();
        self.segments.retain(|segment| match verify(segment) {
            Ok(()) => true,
            Err(error) => {
                warn!(segment = %segment.name, %error, "Index segment is damaged");
                damaged.push(segment.name);
                false
            }
        });
        let has_any = !damaged.is_empty();
        self.stale.extend(damaged);
        self.is_complete &= !has_any;
        has_any
    }

    /// The same with one more segment, and without those it replaces.
    pub(super) fn with(&self, segment: Segment) -> Self {
        let mut next = self.clone();
        next.segments
            .retain(|old| !segment.replaced.contains(&old.name));
        next.segments.push(Arc::new(segment));
        next.sort();
        next
    }

    /// The names of its segments and of the files beside them that are of no use.
    pub(super) fn names(&self) -> Vec<SegmentName> {
        let used = self.segments.iter().map(|segment| segment.name);
        used.chain(self.stale.iter().copied()).collect()
    }

    /// The packs it knows, ascending.
    pub(super) fn packs(&self) -> Vec<PackId> {
        let segments = self.segments.iter();
        let live = segments.flat_map(|segment| segment.live_packs());
        let mut packs: Vec<PackId> = live.chain(&self.loose_packs).copied().collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// A number greater than that of every segment so far.
    pub(super) fn next_sequence(&self) -> u64 {
        let greatest = self.names().iter().map(|name| name.sequence).max();
        greatest.unwrap_or(0) + 1
    }

    /// The smallest segments, as many as would have to be merged so that every larger one has `growth` times their rows.
    pub(super) fn mergeable(&self, growth: u64) -> Vec<Arc<Segment>> {
        let mut merged = Vec::new();
        let mut rows = 0;
        for segment in self.segments.iter().rev() {
            if !merged.is_empty() && segment.rows() >= growth * rows {
                break;
            }
            rows += segment.rows();
            merged.push(Arc::clone(segment));
        }
        merged
    }

    /// Sizes.
    pub(super) fn stats(&self) -> IndexStats {
        let packs: HashSet<&PackId> = self
            .segments
            .iter()
            .flat_map(|segment| segment.live_packs())
            .chain(&self.loose_packs)
            .collect();
        let loose_bytes = self
            .loose
            .values()
            .map(|place| u64::from(place.frame.stored_bytes));
        let segments = self.segments.iter();
        IndexStats {
            packs: packs.len() as u64,
            chunks: segments.clone().map(|segment| segment.rows()).sum::<u64>()
                + self.loose.len() as u64,
            stored_bytes: segments
                .map(|segment| segment.trailer.stored_bytes)
                .sum::<u64>()
                + loose_bytes.sum::<u64>(),
        }
    }

    /// Lists and opens anew, keeping segments that are open already.
    fn reloaded(&self, disk: &dyn Disk) -> Result<Self> {
        for _ in 0..LIST_ATTEMPTS {
            if let Some(view) = self.load_once(disk)? {
                return Ok(view);
            }
        }
        // A writer that replaces segments faster than they can be opened: the packs know everything.
        let condemned = Arc::clone(&self.condemned);
        Ok(Self {
            condemned,
            ..Self::default()
        })
    }

    /// `None` when a listed file was gone before it could be opened.
    fn load_once(&self, disk: &dyn Disk) -> Result<Option<Self>> {
        let mut next = Self {
            condemned: Arc::clone(&self.condemned),
            ..Self::default()
        };
        for name in list_segments(disk)? {
            let path = Path::new(layout::INDEX).join(name.to_string());
            let known = self.segments.iter().find(|segment| segment.name == name);
            if let Some(known) = known {
                next.segments.push(Arc::clone(known));
                continue;
            }
            match Segment::open(disk, &path, name) {
                Ok(segment) => next.segments.push(Arc::new(segment)),
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => {
                    warn!(segment = %name, %error, "Index segment cannot be used");
                    next.stale.push(name);
                }
            }
        }
        next.drop_replaced();
        next.sort();
        Ok(Some(next))
    }

    fn drop_replaced(&mut self) {
        let replaced: HashSet<SegmentName> = self
            .segments
            .iter()
            .flat_map(|segment| segment.replaced.iter().copied())
            .collect();
        let stale = &mut self.stale;
        self.segments.retain(|segment| {
            let is_replaced = replaced.contains(&segment.name);
            stale.extend(is_replaced.then_some(segment.name));
            !is_replaced
        });
    }

    fn sort(&mut self) {
        self.segments
            .sort_by_key(|segment| std::cmp::Reverse(segment.rows()));
    }

    /// Reads the footers of packs that no segment covers.
    fn read_loose(&mut self, disk: &dyn Disk, packs: &[PackId]) {
        let mut loose = HashMap::new();
        let mut unreadable = Vec::new();
        for pack in packs {
            let Some(footer) = read_footer(disk, pack) else {
                unreadable.push(*pack);
                continue;
            };
            loose.extend(footer.records.into_iter().map(|(digest, frame)| {
                let pack = *pack;
                (digest, Location { pack, frame })
            }));
        }
        self.loose = Arc::new(loose);
        self.loose_packs = packs.to_vec();
        self.loose_packs.retain(|pack| !unreadable.contains(pack));
        self.unreadable = unreadable;
    }
}

/// The footer of a published pack; `None` and a word in the log when it cannot be used.
pub(super) fn read_footer(disk: &dyn Disk, pack: &PackId) -> Option<Footer> {
    let path = layout::pack(pack);
    match Footer::read(disk, &path) {
        Ok(footer) if footer.id == *pack => Some(footer),
        Ok(footer) => {
            warn!(%pack, found = %footer.id, "Pack has the name of another");
            None
        }
        Err(error) => {
            warn!(%pack, %error, "Pack cannot be indexed");
            None
        }
    }
}

fn list_segments(disk: &dyn Disk) -> Result<Vec<SegmentName>> {
    let files = disk.list(Path::new(layout::INDEX))?;
    let mut names: Vec<_> = files
        .iter()
        .filter_map(|file| SegmentName::parse(file))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The numbers of those packs of a segment that are not among `packs`, which are sorted.
fn dead_packs(segment: &Segment, packs: &[PackId]) -> Vec<u32> {
    let table = segment.packs.iter().zip(0..);
    table
        .filter(|(pack, _)| packs.binary_search(pack).is_err())
        .map(|(_, number)| number)
        .collect()
}
