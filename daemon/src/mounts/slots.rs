//! What is served at each place, each behind a lock of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{places::Place, served::Served};

/// What is served at one place, behind its lock.
type Slot = Arc<AsyncMutex<Option<Served>>>;
/// The right to begin, change and end what is served at one place.
pub(super) type SlotGuard = OwnedMutexGuard<Option<Served>>;

/// The table of slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    table: Mutex<HashMap<Place, Slot>>,
}

impl Slots {
    /// Waits for the place's lock.
    pub(super) async fn lock(&self, place: Place) -> SlotGuard {
        let slot = self.table().entry(place).or_default().clone();
        slot.lock_owned().await
    }

    /// The place's lock; `None` when there is nothing there, or somebody is at it.
    pub(super) fn try_lock(&self, place: Place) -> Option<SlotGuard> {
        let slot = self.table().get(&place).cloned()?;
        slot.try_lock_owned().ok()
    }

    /// The places that have a slot, sorted.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: Vec<_> = self.table().keys().copied().collect();
        places.sort_unstable();
        places
    }

    /// Forgets a slot that is empty and that nobody else waits for.
    pub(super) fn forget(&self, place: Place) {
        let mut table = self.table();
        if let Some(slot) = table.get(&place)
            && Arc::strong_count(slot) == 1
            && slot.try_lock().is_ok_and(|served| served.is_none())
        {
            table.remove(&place);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Place, Slot>> {
        self.table
            .lock()
            .expect("nobody panics while holding the table of mounts")
    }
}
