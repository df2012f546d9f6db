//! Collection: giving back the space of what no snapshot needs.
//!
//! 1. *Mark*: everything that manifests, and roots the caller names, need ([`mark`]).
//! 2. *Condemn*: packs without anything needed are no longer offered to new snapshots, but still read ([`tombstones`]).
//! 3. *Sweep*: condemned packs are removed, once their grace period is over, everybody who may have been offered what is in them
//!    before has ended ([`leases`]), and what these have committed is marked too ([`sweep`]).
//! 4. *Rewrite*: what is needed of packs with little of it is copied into new packs, and these are condemned ([`rewrite`]).
//!
//! Why nothing is lost: whoever relies on a chunk either has a manifest or a root, and it is marked; or holds a lease that began before
//! the pack was condemned, and the pack waits; or began later, and was not offered the chunk. Grace period and clock only
//! make the wait longer. Beside all that no pack goes before each chunk its own footer lists was either found not to be needed,
//! or was read whole from another pack that stays. What cannot be read makes everything stay.

mod leases;
mod mark;
mod rewrite;
mod sweep;
mod tally;
mod tombstones;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, SystemTime},
};

pub use leases::Lease;

use self::{
    leases::Leases,
    mark::{Marks, walk},
    tally::Tally,
    tombstones::{Tombstone, Tombstones},
};
use crate::{
    disk::Disk,
    error::{Error, Result},
    ids::{Digest, PackId, SnapshotId},
    index::Index,
    progress::Progress,
    store::Store,
};

/// More than this share of a pack is never a reason to rewrite it: every rewrite would gain next to nothing.
const MAX_REWRITE_PERCENT: u8 = 90;
/// Damage that is told one by one.
const MAX_DAMAGE: usize = 100;

/// Names roots beside the manifests: top pages of trees that must stay, such as those of remembered bases. Called more than
/// once in a collection; what it named and what it names must all stay.
pub type Roots<'a> = dyn Fn() -> Result<Vec<Digest>> + 'a;

/// How a store is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectOptions {
    /// How long a pack stays after nothing in it was found to be needed. Zero is safe, and gives space back at once.
    pub grace: Duration,
    /// Packs of which less than this many hundredths are needed are rewritten; 0 for none, 90 at most.
    pub rewrite_below_percent: u8,
    /// Only looks and counts; nothing is changed.
    pub dry_run: bool,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(24 * 60 * 60),
            rewrite_below_percent: 50,
            dry_run: false,
        }
    }
}

/// What a collection found and did. In a dry run what was done is what would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Snapshots whose manifests were marked from.
    pub snapshots: u64,
    /// Packs there were.
    pub packs: u64,
    /// Chunks that are needed.
    pub live_chunks: u64,
    /// Bytes they take in packs.
    pub live_bytes: u64,
    /// Chunks that are not needed. Some lie in packs that stay because much else in them is needed.
    pub dead_chunks: u64,
    /// Bytes they take in packs.
    pub dead_bytes: u64,
    /// Packs that were removed.
    pub removed_packs: u64,
    /// Bytes their files took.
    pub freed_bytes: u64,
    /// Packs whose needed chunks were copied into new ones; they are removed when their time has come.
    pub rewritten_packs: u64,
    /// Bytes of chunks that were copied.
    pub written_bytes: u64,
    /// Packs that are condemned and wait for the end of their grace period or of a lease.
    pub waiting_packs: u64,
    /// Bytes their files take.
    pub waiting_bytes: u64,
    /// Packs that would go, or be rewritten, but for damage: they cannot be read, or may hold the last copy of something.
    pub damaged_packs: u64,
    /// Chunks of files that snapshots need and no pack holds.
    pub missing_chunks: u64,
    /// What could not be followed to its end, the first hundred.
    pub damage: Vec<Damage>,
    /// True when it is not known what all snapshots need. Nothing was condemned, removed or rewritten then.
    pub is_incomplete: bool,
    /// Why rewriting stopped before its end: the disk is full. Nothing is lost by it.
    pub stopped: Option<String>,
}

/// A snapshot or a root that cannot be read whole. Damage that several share is told of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Whose.
    pub holder: Holder,
    /// What is wrong.
    pub why: String,
}

/// Who needs chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A root the caller named.
    Root(Digest),
}

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

/// What a store remembers of collections between and during them.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    leases: Arc<Leases>,
    /// The same packs that the index takes for condemned.
    tombstones: Mutex<Tombstones>,
    alone: Mutex<()>,
}

impl Collector {
    /// Takes up what an earlier process has condemned.
    pub(crate) fn open(disk: &dyn Disk, index: &Index) -> Result<Self> {
        let tombstones = tombstones::load(disk)?;
        index.condemn(tombstones.keys().copied().collect())?;
        Ok(Self {
            tombstones: Mutex::new(tombstones),
            ..Self::default()
        })
    }

    pub(crate) fn lease(&self) -> Lease {
        self.leases.begin()
    }

    fn alone(&self, root: &Path) -> Result<MutexGuard<'_, ()>> {
        match self.alone.try_lock() {
            Ok(alone) => Ok(alone),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::Busy {
                what: "Store",
                name: root.display().to_string(),
                why: "is being collected".to_owned(),
            }),
        }
    }

    /// Condemns packs that are not condemned yet.
    fn condemn(&self, index: &Index, packs: &[PackId], since: i64) -> Result<()> {
        let mut tombstones = self.tombstones();
        let known = tombstones.keys().copied();
        index.condemn(known.chain(packs.iter().copied()).collect())?;
        // Only now: whoever begins a lease from here on is not offered what is in them.
        let moment = self.leases.now();
        for pack in packs {
            tombstones
                .entry(*pack)
                .or_insert(Tombstone { since, moment });
        }
        Ok(())
    }

    fn spare(&self, index: &Index, packs: impl Iterator<Item = PackId>) -> Result<()> {
        let mut tombstones = self.tombstones();
        let before = tombstones.len();
        for pack in packs {
            tombstones.remove(&pack);
        }
        match tombstones.len() == before {
            true => Ok(()),
            false => index.condemn(tombstones.keys().copied().collect()),
        }
    }

    fn tombstones(&self) -> MutexGuard<'_, Tombstones> {
        self.tombstones
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let census = match options.dry_run {
            true => store.index().glance(),
            false => {
                let scratch = store.scratch()?;
                let _turn = store.turn();
                store.index().census(&scratch.path)?
            }
        };
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
        for id in self.store.manifests()? {
            match self.store.manifest(&id) {
                Ok(manifest) => self.mark_below(&manifest.root.digest, Holder::Snapshot(id))?,
                // Removed since it was listed.
                Err(Error::NotFound { .. }) => {}
                Err(error) => self.note_damage(Holder::Snapshot(id), &error),
            }
            self.marked.insert(id);
        }
        for root in (self.roots)()? {
            self.mark_below(&root, Holder::Root(root))?;
            self.marked_roots.insert(root);
        }
        self.report.snapshots = self.marked.len() as u64;
        self.report.is_incomplete |= self.marks.has_missed_too_many();
        Ok(())
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
            let tombstone = tombstones.get(&pack);
            let bytes = self.tally.file_bytes(&pack);
            let since = tombstone.map_or(self.now, |tombstone| tombstone.since);
            match self.is_over(since) && self.is_unclaimed(tombstone) {
                true => {
                    self.report.removed_packs += 1;
                    self.report.freed_bytes += bytes;
                }
                false => {
                    self.report.waiting_packs += 1;
                    self.report.waiting_bytes += bytes;
                }
            }
        }
        for pack in self.sparse() {
            let count = self.tally.packs.get(&pack).copied().unwrap_or_default();
            self.report.rewritten_packs += 1;
            self.report.written_bytes += count.live_bytes;
            self.report.waiting_packs += 1;
            self.report.waiting_bytes += count.file_bytes;
        }
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

    /// True when the grace period that began at `since` is over. A time in the future is a clock that was set: it counts from now.
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
