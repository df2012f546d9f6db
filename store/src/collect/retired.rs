//! Roots that nothing names any more, but that somebody may have taken up before.
//!
//! A draft over another snapshot's tree does not ask for each chunk of it: it relies on that snapshot's manifest. Should the manifest be
//! removed meanwhile, its root counts as needed until everybody who may have read it has ended.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::leases::Leases;
use crate::ids::Digest;

/// Not known yet: until then it counts for everybody.
const UNDER_WAY: u64 = u64::MAX;

/// A root that is about to be dropped by what named it; dropping this says that it was.
#[derive(Debug)]
#[must_use]
pub struct Retiring<'a> {
    retired: &'a Retired,
    leases: &'a Leases,
    number: u64,
}

/// The retired roots that still count.
#[derive(Debug, Default)]
pub(super) struct Retired {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    number: u64,
    /// `None` when it could not be read.
    digest: Option<Digest>,
    /// Whoever began later cannot have taken it up.
    moment: u64,
}

impl Retired {
    /// To be called before nothing names the root any more; the answer is dropped after.
    pub(super) fn retire<'a>(&'a self, leases: &'a Leases, digest: Option<Digest>) -> Retiring<'a> {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.roots.push(Root {
            number,
            digest,
            moment: UNDER_WAY,
        });
        Retiring {
            retired: self,
            leases,
            number,
        }
    }

    /// Forgets the roots that nobody under way can have taken up. To be called before manifests are listed: what those who
    /// have ended have made of them is listed then.
    pub(super) fn prune(&self, leases: &Leases) {
        let oldest = leases.oldest();
        let counts = |root: &Root| match oldest {
            Some(oldest) => oldest <= root.moment,
            None => root.moment == UNDER_WAY,
        };
        self.state().roots.retain(counts);
    }

    /// The roots that count; to be asked after manifests are listed, because one that is not found there is retired.
    pub(super) fn roots(&self) -> Vec<Option<Digest>> {
        self.state().roots.iter().map(|root| root.digest).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Retiring<'_> {
    fn drop(&mut self) {
        let mut state = self.retired.state();
        let now = self.leases.now();
        let number = self.number;
        let root = state.roots.iter_mut().find(|root| root.number == number);
        if let Some(root) = root {
            root.moment = now;
        }
    }
}
