//! Who relies on what is in the store without a manifest that says so: drafts, and whoever holds a lease.
//!
//! Moments are numbers that only grow. A pack that was condemned at a moment may go once everybody who began before it has
//! ended; whoever began later was never offered what is in it. Wall clocks have no part in this.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A claim on everything in the store, given back when dropped; see [`crate::Store::lease`].
#[derive(Debug)]
pub struct Lease {
    leases: Arc<Leases>,
    moment: u64,
}

/// The moments at which living leases began.
#[derive(Debug, Default)]
pub(super) struct Leases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    living: BTreeSet<u64>,
}

impl Leases {
    /// Begins a lease.
    pub(super) fn begin(self: &Arc<Self>) -> Lease {
        let mut state = self.state();
        state.last += 1;
        let moment = state.last;
        state.living.insert(moment);
        Lease {
            leases: Arc::clone(self),
            moment,
        }
    }

    /// Now: later than every lease so far and before every lease to come.
    pub(super) fn now(&self) -> u64 {
        let mut state = self.state();
        state.last += 1;
        state.last
    }

    /// When the oldest living lease began; `None` when nobody holds one.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.state().living.first().copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.state().living.remove(&self.moment);
    }
}
