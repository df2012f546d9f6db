//! The index: which pack holds a chunk, and where.
//!
//! It is a cache of the packs' footers in a form that can be searched: immutable sorted segments, a new one a commit,
//! merged when they have become many. It can therefore never lose data: a segment that is missing or damaged is made
//! again from the footers of its packs (when writing), or these footers are searched instead (when reading alone).
//! It does not decide when something is durable; [`crate::store`] does.

mod census;
mod codec;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod merge;
mod segment;
mod view;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::warn;

use crate::{
    disk::Disk,
    error::{Error, Result},
    ids::{Digest, PackId},
    layout,
    pack::{Footer, Record},
    progress::{Progress, Silent},
};

pub(crate) use census::Census;
pub(crate) use merge::{Build, Written};
pub(crate) use segment::{Location, Segment, SegmentName};
use view::{View, read_footer};

/// Segments are merged until each but the smallest few has this many times the rows of all smaller ones together.
const GROWTH: u64 = 8;
/// But not before this many can be merged at once: every merge costs a sync.
const MERGE_AT_LEAST: usize = 4;

/// Sizes, as the segments' trailers have them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IndexStats {
    pub(crate) packs: u64,
    pub(crate) chunks: u64,
    pub(crate) stored_bytes: u64,
}

/// The index of an open store.
#[derive(Debug)]
pub(crate) struct Index {
    disk: Arc<dyn Disk>,
    view: RwLock<Arc<View>>,
    /// Held by whoever replaces the view.
    change: Mutex<()>,
    /// How often the view was replaced by one that may offer less.
    losses: AtomicU64,
}

impl Index {
    /// Opens the index as it lies on disk, for reading beside a writer: whatever is wrong with it is worked around, in memory alone.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let view = View::load(&*disk)?;
        Ok(Self {
            disk,
            view: RwLock::new(Arc::new(view)),
            change: Mutex::new(()),
            losses: AtomicU64::new(0),
        })
    }

    /// Opens the index for the one writer: removes segments that are damaged or replaced, and adds what they do not cover.
    /// Files are made in `folder`, which the caller removes.
    pub(crate) fn open_and_settle(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self> {
        let index = Self::open(disk)?;
        index.settle(folder)?;
        Ok(index)
    }

    /// Where the chunk is, as far as is known.
    pub(crate) fn lookup(&self, digest: &Digest) -> Result<Option<Location>> {
        self.view().lookup(digest)
    }

    /// Where a chunk is that must be somewhere: looks again, and harder, before it says that it is nowhere.
    pub(crate) fn find(&self, digest: &Digest) -> Result<Option<Location>> {
        let steps = [View::refreshed, View::completed, View::verified];
        let mut found = self.lookup_or_none(digest);
        for step in steps {
            if found.is_some() {
                break;
            }
            self.replace_view(step)?;
            found = self.lookup_or_none(digest);
        }
        match found {
            Some(location) => Ok(Some(location)),
            None => self.lookup(digest),
        }
    }

    /// Asks the system to read the segments, as long as they are not larger than `most` bytes together.
    pub(crate) fn expect(&self, most: u64) {
        let mut left = most;
        for segment in self.view().segments() {
            if let Some(rest) = left.checked_sub(segment.file_bytes()) {
                segment.expect();
                left = rest;
            }
        }
    }

    /// Looks again on disk for what a writer has published since.
    pub(crate) fn refresh(&self) -> Result<()> {
        self.replace_view(View::refreshed)
    }

    /// True when the chunk is in a pack that stays, so that a new snapshot may rely on it.
    pub(crate) fn offers(&self, digest: &Digest) -> Result<bool> {
        let view = self.view();
        let found = view.lookup(digest)?;
        Ok(found.is_some_and(|place| !view.condemned.contains(&place.pack)))
    }

    /// Grows with everything after which a chunk that was offered may no longer be.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Says that these packs, and no others, are to be removed: what is in them is read and no longer offered.
    pub(crate) fn condemn(&self, packs: HashSet<PackId>) -> Result<()> {
        self.replace_view(|view, _| Ok(view.condemning(packs)))
    }

    /// True when the pack is to be removed.
    pub(crate) fn is_condemned(&self, pack: &PackId) -> bool {
        self.view().condemned.contains(pack)
    }

    /// Forgets packs that are gone, so that their chunks are found elsewhere or not at all.
    pub(crate) fn forget(&self, gone: &HashSet<PackId>) -> Result<()> {
        self.replace_view(|view, _| Ok(view.without(gone)))
    }

    /// Notes that a pack was not where it should be, and looks again for what has been published in its place.
    pub(crate) fn vanished(&self, pack: PackId) -> Result<()> {
        self.replace_view(|view, disk| view.lacking(pack).refreshed(disk))
    }

    /// What there is now.
    pub(crate) fn glance(&self) -> Census {
        Census::new(self.view())
    }

    /// Compares every row with its checksum and every pack with the folder of packs; true when nothing has to be made again.
    /// Nobody may publish meanwhile.
    pub(crate) fn recheck(&self) -> Result<bool> {
        let packs = layout::packs(&*self.disk)?;
        self.replace_view(|view, _| Ok(view.without_rotten().without_others(&packs)))?;
        let view = self.view();
        let mut uncovered = view.uncovered(&packs).into_iter();
        Ok(view.stale.is_empty() && uncovered.all(|pack| view.unreadable.contains(&pack)))
    }

    /// Makes segments without the rows of packs that are gone. The index is as good without it, but larger.
    pub(crate) fn compact(&self, folder: &Path) -> Result<()> {
        let segments = self.view().with_dead_rows();
        match segments.is_empty() {
            true => Ok(()),
            false => self.merge(&segments, folder),
        }
    }

    /// Compares every row with its checksum and the packs with those it knows; says what is wrong.
    pub(crate) fn problems(&self) -> Result<Vec<String>> {
        let view = self.view();
        let mut problems: Vec<String> = Vec::new();
        for name in &view.stale {
            problems.push(format!("segment {name} is damaged or was left over"));
        }
        for segment in view.segments() {
            if let Err(error) = segment.verify() {
                problems.push(error.to_string());
            }
        }
        let packs = layout::packs(&*self.disk)?;
        for pack in view.uncovered(&packs) {
            problems.push(format!("pack {pack} is not in it"));
        }
        Ok(problems)
    }

    /// The packs it knows, ascending.
    pub(crate) fn packs(&self) -> Vec<PackId> {
        self.view().packs()
    }

    /// The chunks of these packs as the segments have them, right or wrong: for packs that cannot say it themselves.
    pub(crate) fn records_of(&self, packs: &[PackId]) -> HashMap<PackId, Vec<Record>> {
        let mut found = HashMap::new();
        for segment in self.view().segments() {
            if let Err(error) = segment.collect_records(packs, &mut found) {
                warn!(segment = %segment.name, %error, "Index segment is damaged");
            }
        }
        found
    }

    /// Checks a place that did not hold the chunk against the pack's own footer. Where the footer knows better, the segments
    /// that were wrong are dropped and the right place is returned.
    pub(crate) fn doubt(&self, digest: &Digest, place: &Location) -> Result<Option<Location>> {
        let path = layout::pack(&place.pack);
        let Ok(footer) = Footer::read(&*self.disk, &path) else {
            return Ok(None);
        };
        let found = footer
            .records
            .binary_search_by_key(digest, |record| record.0);
        let frame = found.ok().map(|number| footer.records[number].1);
        if frame == Some(place.frame) {
            return Ok(None);
        }
        self.replace_view(View::verified)?;
        Ok(frame.map(|frame| Location {
            pack: place.pack,
            frame,
        }))
    }

    /// Packs nobody can read the footers of, as far as has been noticed.
    pub(crate) fn unreadable_packs(&self) -> Vec<PackId> {
        self.view().unreadable.clone()
    }

    /// Sizes.
    pub(crate) fn stats(&self) -> IndexStats {
        self.view().stats()
    }

    /// Begins a segment; its files are made in `folder`.
    pub(crate) fn begin<'a>(&'a self, folder: &'a Path) -> Build<'a> {
        let view = self.view();
        let condemned = Arc::clone(&view.condemned);
        Build::new(&*self.disk, folder, view.next_sequence()).spurning(condemned)
    }

    /// Publishes a segment that is durable under its temporary name: renames it and makes its rows known.
    pub(crate) fn install(&self, written: &Written) -> Result<()> {
        let path = Path::new(layout::INDEX).join(written.name.to_string());
        self.disk.rename(&written.path, &path)?;
        self.disk.sync_folder(Path::new(layout::INDEX))?;
        let segment = Segment::open(&*self.disk, &path, written.name)?;
        self.change_view(|view, _| Ok(view.with(segment)))
    }

    /// Merges segments when they have become many. The index is as good without it.
    pub(crate) fn tidy(&self, folder: &Path) -> Result<()> {
        let small = self.view().mergeable(GROWTH);
        if small.len() < MERGE_AT_LEAST {
            return Ok(());
        }
        self.merge(&small, folder)
    }

    /// Makes the whole index anew from the packs' footers; until that is done the old one answers.
    pub(crate) fn rebuild(&self, folder: &Path, progress: &dyn Progress) -> Result<()> {
        let names = self.view().names();
        let packs = layout::packs(&*self.disk)?;
        self.cover(&packs, &names, folder, progress)?;
        self.remove(&names)
    }

    /// Puts one segment in the place of several.
    fn merge(&self, segments: &[Arc<Segment>], folder: &Path) -> Result<()> {
        let mut build = self.begin(folder);
        for segment in segments {
            build.add_segment(segment);
        }
        let written = build.write()?;
        written.sink.sync()?;
        self.install(&written)?;
        let names = segments.iter().map(|segment| segment.name);
        self.remove(&names.collect::<Vec<_>>())
    }

    /// Removes what is of no use, and covers packs that no segment covers. Nobody may publish meanwhile.
    pub(crate) fn settle(&self, folder: &Path) -> Result<()> {
        let stale = self.view().stale.clone();
        let packs = layout::packs(&*self.disk)?;
        self.replace_view(|view, _| Ok(view.without_others(&packs)))?;
        let uncovered = self.view().uncovered(&packs);
        self.cover(&uncovered, &[], folder, &Silent)?;
        self.remove(&stale)?;
        self.replace_view(|view, _| Ok(view.tidied()))
    }

    /// Publishes a segment of `packs` that replaces the segments `replaced`.
    fn cover(
        &self,
        packs: &[PackId],
        replaced: &[SegmentName],
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut build = self.begin(folder);
        let mut unreadable = Vec::new();
        for pack in packs {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match read_footer(&*self.disk, pack) {
                Some(footer) => build.add_footer(footer)?,
                None => unreadable.push(*pack),
            }
            progress.advance(1, 0);
        }
        if !replaced.is_empty() {
            self.carry_over(&mut build, &unreadable);
        }
        build.replace(replaced);
        if !build.is_empty() {
            let written = build.write()?;
            written.sink.sync()?;
            self.install(&written)?;
        }
        self.replace_view(|view, _| Ok(view.with_unreadable(unreadable)))
    }

    /// Adds what sound segments know of packs that cannot say it themselves any more: it would be lost with the segments.
    fn carry_over(&self, build: &mut Build<'_>, packs: &[PackId]) {
        for segment in self.view().segments() {
            let others = segment.packs.iter().zip(0..);
            let others = others.filter(|(pack, _)| !packs.contains(pack));
            let part = segment.with_dead(others.map(|(_, number)| number).collect());
            if part.live_packs().next().is_some() && part.verify().is_ok() {
                build.add_segment(&Arc::new(part));
            }
        }
    }

    fn remove(&self, names: &[SegmentName]) -> Result<()> {
        for name in names {
            self.disk
                .remove(&Path::new(layout::INDEX).join(name.to_string()))?;
        }
        Ok(())
    }

    /// A damaged segment holds nothing back here: what it cannot answer is looked for elsewhere.
    fn lookup_or_none(&self, digest: &Digest) -> Option<Location> {
        self.lookup(digest).ok().flatten()
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace_view(&self, change: impl FnOnce(&View, &dyn Disk) -> Result<View>) -> Result<()> {
        self.change_view(change)?;
        // After the view: what was found in the one before was found before this is seen to have grown.
        self.losses.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// The same for a change after which everything is offered that was.
    fn change_view(&self, change: impl FnOnce(&View, &dyn Disk) -> Result<View>) -> Result<()> {
        let _turn = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let view = Arc::new(change(&self.view(), &*self.disk)?);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
