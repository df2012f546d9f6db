//! Collection: giving back the space of what no snapshot needs.
//!
//! 1. *Mark*: everything that manifests, and roots the caller names, need ([`mark`]).
//! 2. *Condemn*: packs without anything needed are no longer offered to new snapshots, but still read ([`tombstones`]).
//! 3. *Sweep*: condemned packs are removed, once their grace period is over, everybody who may have been offered what is in them
//!    before has ended ([`leases`]), and what these have committed is marked too ([`sweep`]).
//! 4. *Rewrite*: what is needed of packs with little of it is copied into new packs, and these are condemned ([`rewrite`]).
//!
//! Why nothing is lost: whoever relies on a chunk either has a manifest or a root, and it is marked; or holds a lease that began before
//! the pack was condemned, and the pack waits; or began later, and was not offered the chunk; or has it from a manifest or a root, which count
//! until then even when they are gone ([`retired`]). Grace period and clock only
//! make the wait longer. Beside all that no pack goes before each chunk its own footer lists was either found not to be needed,
//! or was read whole from another pack that stays. What cannot be read makes everything stay.

mod collector;
mod leases;
mod mark;
mod report;
mod retired;
mod rewrite;
mod sweep;
mod tally;
pub(crate) mod tombstones;
mod usage;
mod whole;

use std::{collections::HashSet, time::SystemTime};

pub(crate) use collector::Collector;
pub use leases::Lease;
pub use report::{CollectOptions, CollectReport, Damage, Holder, Roots};
pub use retired::Retiring;
pub use usage::{Amount, GroupUsage, Usage};

use self::{
    mark::{Marks, walk},
    tally::Tally,
    tombstones::{Tombstone, Tombstones},
};
use crate::{
    error::{Error, Result},
    ids::{Digest, PackId, SnapshotId},
    progress::Progress,
    store::Store,
};

/// More than this share of a pack is never a reason to rewrite it: every rewrite would gain next to nothing.
const MAX_REWRITE_PERCENT: u8 = 90;
/// Damage that is told one by one.
const MAX_DAMAGE: usize = 100;

impl Store {
    /// Removes what neither a manifest nor one of `roots` needs; see [`CollectOptions`]. Captures and readers go on meanwhile.
    /// It can be cancelled and begun again at any point.
    ///
    /// # Errors
    /// [`Error::Busy`] when another collection of this store is under way, [`Error::Cancelled`], and whatever the disk says.
    pub fn collect(
        &self,
        options: &CollectOptions,
        roots: &Roots<'_>,
        progress: &dyn Progress,
    ) -> Result<CollectReport> {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since_epoch.unwrap_or_default().as_secs();
        let now = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.collect_at(now, options, roots, progress)
    }

    /// The same at a time of the caller's, in seconds since 1970.
    pub(crate) fn collect_at(
        &self,
        now: i64,
        options: &CollectOptions,
        roots: &Roots<'_>,
        progress: &dyn Progress,
    ) -> Result<CollectReport> {
        self.check_writable()?;
        let _alone = self.collector().alone(self.root())?;
        let mut collection = Collection::mark(self, now, options, roots, progress)?;
        if !collection.report.is_incomplete {
            match options.dry_run {
                true => collection.foretell(),
                false => collection.carry_out()?,
            }
        }
        Ok(collection.report)
    }

    /// Offers again what is in these packs, because somebody publishes them anew.
    pub(crate) fn spare(&self, packs: impl Iterator<Item = PackId>) -> Result<()> {
        self.collector().spare(self.index(), packs)
    }
}

/// A collection under way, from its marks on.
struct Collection<'a> {
    store: &'a Store,
    options: &'a CollectOptions,
    roots: &'a Roots<'a>,
    progress: &'a dyn Progress,
    now: i64,
    marks: Marks,
    tally: Tally,
    /// Snapshots and roots that are marked.
    marked: HashSet<SnapshotId>,
    marked_roots: HashSet<Digest>,
    /// Packs this collection has made; what is in them was verified on the way.
    written: HashSet<PackId>,
    /// Packs that stay because of damage.
    kept: HashSet<PackId>,
    /// True when no manifest that was found gone can come back.
    are_removals_settled: bool,
    /// Tombstones as the file has them.
    saved: Tombstones,
    report: CollectReport,
}

impl<'a> Collection<'a> {
    fn mark(
        store: &'a Store,
        now: i64,
        options: &'a CollectOptions,
        roots: &'a Roots<'a>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        progress.phase("mark");
        if !options.dry_run {
            let _turn = store.turn();
            // A full disk has no room for a folder to work in, and seldom a need.
            if !store.index().recheck()? {
                let scratch = store.scratch()?;
                store.index().settle(&scratch.path)?;
            }
        }
        let census = store.index().glance();
        let mut collection = Self {
            store,
            options,
            roots,
            progress,
            now,
            marks: Marks::new(census),
            tally: Tally::default(),
            marked: HashSet::new(),
            marked_roots: HashSet::new(),
            written: HashSet::new(),
            kept: HashSet::new(),
            are_removals_settled: false,
            saved: store.collector().tombstones().clone(),
            report: CollectReport::default(),
        };
        collection.mark_all()?;
        progress.phase("count");
        collection.tally = Tally::count(store, &collection.marks, progress)?;
        collection.begin_report();
        Ok(collection)
    }

    fn mark_all(&mut self) -> Result<()> {
        let collector = self.store.collector();
        collector.retired.prune(&collector.leases);
        for id in self.store.manifests()? {
            match self.store.manifest(&id) {
                Ok(manifest) => {
                    for root in manifest.roots() {
                        self.mark_below(&root.digest, Holder::Snapshot(id))?;
                    }
                }
                // Removed since it was listed.
                Err(Error::NotFound { .. }) => {}
                Err(error) => self.note_damage(Holder::Snapshot(id), &error),
            }
            self.marked.insert(id);
        }
        for root in self.all_roots()? {
            self.mark_below(&root, Holder::Root(root))?;
            self.marked_roots.insert(root);
        }
        self.note_unreadable();
        self.report.snapshots = self.marked.len() as u64;
        self.report.is_incomplete |= self.marks.has_missed_too_many();
        Ok(())
    }

    /// Roots beside the manifests; to be asked after these were listed.
    fn all_roots(&self) -> Result<HashSet<Digest>> {
        let named = (self.roots)()?;
        let retired = self.store.collector().retired.roots();
        Ok(named
            .into_iter()
            .chain(retired.into_iter().flatten())
            .collect())
    }

    /// Notes a snapshot that was removed unread, and may be relied on.
    fn note_unreadable(&mut self) {
        let retired = self.store.collector().retired.roots();
        if retired.iter().any(Option::is_none) {
            self.report.is_incomplete = true;
            self.tell(Holder::Removed, "its manifest could not be read".to_owned());
        }
    }

    fn mark_below(&mut self, root: &Digest, holder: Holder) -> Result<()> {
        let missing_before = self.marks.missing_chunks();
        let walked = walk(self.store, root, &mut self.marks, self.progress)?;
        if let Some(error) = walked.unknown {
            self.note_damage(holder, &error);
        }
        let missing = self.marks.missing_chunks() - missing_before;
        if missing > 0 {
            self.tell(holder, format!("{missing} of its chunks are missing"));
        }
        Ok(())
    }

    /// Notes that nobody knows what all the holder needs.
    fn note_damage(&mut self, holder: Holder, error: &Error) {
        self.report.is_incomplete = true;
        self.tell(holder, in_full(error));
    }

    fn tell(&mut self, holder: Holder, why: String) {
        if self.report.damage.len() < MAX_DAMAGE {
            self.report.damage.push(Damage { holder, why });
        }
    }

    fn begin_report(&mut self) {
        let total = self.tally.total();
        let report = &mut self.report;
        report.packs = self.tally.packs.len() as u64;
        report.live_chunks = total.live_chunks;
        report.live_bytes = total.live_bytes;
        report.dead_chunks = total.dead_chunks;
        report.dead_bytes = total.dead_bytes;
        report.missing_chunks = self.marks.missing_chunks();
    }

    /// Counts what would be done.
    fn foretell(&mut self) {
        let tombstones = self.store.collector().tombstones().clone();
        for pack in self.tally.dead() {
            self.foretell_end(&pack, tombstones.get(&pack));
        }
        for pack in self.sparse() {
            self.report.rewritten_packs += 1;
            self.report.written_bytes += self.tally.live_bytes(&pack);
            self.foretell_end(&pack, None);
        }
    }

    fn foretell_end(&mut self, pack: &PackId, tombstone: Option<&Tombstone>) {
        let since = tombstone.map_or(self.now, |tombstone| tombstone.since);
        let (packs, bytes) = match self.is_over(since) && self.is_unclaimed(tombstone) {
            true => (&mut self.report.removed_packs, &mut self.report.freed_bytes),
            false => (
                &mut self.report.waiting_packs,
                &mut self.report.waiting_bytes,
            ),
        };
        *packs += 1;
        *bytes += self.tally.file_bytes(pack);
    }

    /// What is dead already goes first, so that a full disk has room for what is copied.
    fn carry_out(&mut self) -> Result<()> {
        let done = self.condemn_and_sweep();
        self.report.damaged_packs = self.kept.len() as u64;
        // However far it came, what is on disk is to say so.
        let told = self.save_tombstones();
        self.count_waiting();
        done.and(told)
    }

    fn condemn_and_sweep(&mut self) -> Result<()> {
        let collector = self.store.collector();
        self.spare_the_living()?;
        collector.begin_by(self.now);
        let dead = self.tally.dead();
        collector.condemn(self.store.index(), &dead, self.now)?;
        self.save_tombstones()?;
        self.sweep()?;
        self.rewrite()?;
        self.sweep()?;
        self.progress.phase("index");
        self.compact();
        Ok(())
    }

    /// Offers again what was condemned and is needed after all: somebody had been offered it before.
    fn spare_the_living(&self) -> Result<()> {
        let collector = self.store.collector();
        let condemned: Vec<PackId> = collector.tombstones().keys().copied().collect();
        let lives = |pack: &PackId| {
            self.tally
                .packs
                .get(pack)
                .is_none_or(|count| !count.is_dead())
        };
        let living = condemned.into_iter().filter(lives);
        collector.spare(self.store.index(), living)
    }

    fn compact(&self) {
        let compacted = self.store.scratch().and_then(|scratch| {
            let _turn = self.store.turn();
            self.store.index().compact(&scratch.path)
        });
        if let Err(error) = compacted {
            tracing::warn!(%error, "The index goes on with rows of packs that were removed");
        }
    }

    /// Writes the tombstones down when they have changed. A full disk is no reason not to make space.
    fn save_tombstones(&mut self) -> Result<()> {
        let tombstones = self.store.collector().tombstones().clone();
        if tombstones == self.saved {
            return Ok(());
        }
        let saved = self
            .store
            .scratch()
            .and_then(|scratch| tombstones::save(self.store, &scratch.path, &tombstones));
        match saved {
            Ok(()) => self.saved = tombstones,
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "Condemned packs are not written down, a restart would begin their grace period anew");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn count_waiting(&mut self) {
        let tombstones = self.store.collector().tombstones().clone();
        self.report.waiting_packs = tombstones.len() as u64;
        let bytes = tombstones.keys().map(|pack| self.tally.file_bytes(pack));
        self.report.waiting_bytes = bytes.sum();
    }

    fn sparse(&self) -> Vec<PackId> {
        let percent = self.options.rewrite_below_percent;
        self.tally.sparse(percent.min(MAX_REWRITE_PERCENT))
    }

    /// True when the grace period that began at `since` is over.
    fn is_over(&self, since: i64) -> bool {
        let elapsed = self.now.saturating_sub(since);
        u64::try_from(elapsed).unwrap_or(0) >= self.options.grace.as_secs()
    }

    /// True when everybody who may have been offered what is in the pack has ended.
    fn is_unclaimed(&self, tombstone: Option<&Tombstone>) -> bool {
        let oldest = self.store.collector().leases.oldest();
        oldest.is_none_or(|lease| tombstone.is_some_and(|tombstone| lease > tombstone.moment))
    }
}

/// The error and what lies beneath it, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
