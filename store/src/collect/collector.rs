//! What a store remembers for collections: leases, retired roots, and what is condemned.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use super::{
    leases::{Lease, Leases},
    retired::{Retired, Retiring},
    tombstones::{self, Tombstone, Tombstones},
};
use crate::{
    disk::Disk,
    error::{Error, Result},
    ids::{Digest, PackId},
    index::Index,
};

/// What a store remembers of collections between and during them.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    pub(super) leases: Arc<Leases>,
    pub(super) retired: Retired,
    /// The same packs that the index takes for condemned.
    tombstones: Mutex<Tombstones>,
    /// Trees that were found whole since something was removed.
    whole: Mutex<HashSet<Digest>>,
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

    /// Says that a root, `None` when it cannot be read, is about to lose what names it.
    pub(crate) fn retire(&self, root: Option<Digest>) -> Retiring<'_> {
        self.retired.retire(&self.leases, root)
    }

    /// The right to take packs away: one collection or repair at a time has it.
    pub(crate) fn alone(&self, root: &Path) -> Result<MutexGuard<'_, ()>> {
        match self.alone.try_lock() {
            Ok(alone) => Ok(alone),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::Busy {
                what: "Store",
                name: root.display().to_string(),
                why: "is being collected or repaired".to_owned(),
            }),
        }
    }

    /// Condemns packs that are not condemned yet.
    pub(super) fn condemn(&self, index: &Index, packs: &[PackId], since: i64) -> Result<()> {
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

    /// Lets no wait have begun later than now, as it may have by a clock that was set.
    pub(super) fn begin_by(&self, now: i64) {
        for tombstone in self.tombstones().values_mut() {
            tombstone.since = tombstone.since.min(now);
        }
    }

    pub(super) fn spare(&self, index: &Index, packs: impl Iterator<Item = PackId>) -> Result<()> {
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

    pub(super) fn is_known_whole(&self, root: &Digest) -> bool {
        self.whole().contains(root)
    }

    pub(super) fn note_whole(&self, root: Digest) {
        self.whole().insert(root);
    }

    pub(super) fn whole(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tombstones(&self) -> MutexGuard<'_, Tombstones> {
        self.tombstones
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
