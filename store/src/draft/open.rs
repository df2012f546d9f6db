//! Packs that are being written: whoever has compressed a chunk takes one, appends, and gives it back.
//!
//! Another is begun beside those that are taken only when each has something to hold. So a small snapshot makes one pack of data
//! and one of metadata, whatever the threads do, and those of a large one do not wait for each other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::pack::PackWriter;

/// So much lies in the packs for each that is open, before another is begun.
const BYTES_EACH: u64 = 4 << 20;

/// The open packs of one kind of chunk.
#[derive(Debug, Default)]
pub(super) struct OpenPacks {
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<PackWriter>,
    taken: u64,
    /// Stored bytes of everything appended so far.
    bytes: u64,
}

/// The right to one pack; what lies in it when it is dropped is given back.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    from: &'a OpenPacks,
    /// `None` when the holder is to begin one, and when it keeps the pack for itself.
    pub(super) pack: Option<PackWriter>,
    /// What was appended.
    pub(super) bytes: u64,
}

impl OpenPacks {
    /// Takes a pack, or the right to begin one; waits while neither is to be had.
    pub(super) fn take(&self) -> Taken<'_> {
        let mut state = self.state();
        while state.free.is_empty() && state.taken * BYTES_EACH > state.bytes {
            state = self
                .given_back
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.taken += 1;
        Taken {
            from: self,
            pack: state.free.pop(),
            bytes: 0,
        }
    }

    /// All of them, when nobody has taken one.
    pub(super) fn take_all(&self) -> Vec<PackWriter> {
        let mut state = self.state();
        state.bytes = 0;
        std::mem::take(&mut state.free)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.from.state();
        state.taken -= 1;
        state.bytes += self.bytes;
        state.free.extend(self.pack.take());
        self.from.given_back.notify_one();
    }
}
