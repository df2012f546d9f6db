//! Notes what is first needed, while the first seconds of a mount last.
//!
//! Who reads adds a line to a queue that nobody waits at: no lock, no system call. Once the time is over or enough has been noted, a
//! reader finds that by looking at one word.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::MAX_ENTRIES;
use crate::ids::Digest;

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// For how long.
    pub time: Duration,
    /// How many bytes of chunks; the one that reaches it is the last.
    pub bytes: u64,
}

/// A chunk that was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The chunk.
    pub digest: Digest,
    /// Its length.
    pub raw_bytes: u32,
    /// When, in milliseconds since the recording began.
    pub at_ms: u32,
}

/// Records what is needed of a store; see [`crate::Store::record`].
#[derive(Debug)]
pub struct Recorder {
    limits: RecordLimits,
    begun: Instant,
    is_open: AtomicBool,
    noted: AtomicU64,
    noted_bytes: AtomicU64,
    sender: Sender<Seen>,
    receiver: Receiver<Seen>,
}

impl Recorder {
    /// One that records from now on.
    #[must_use]
    pub fn new(limits: RecordLimits) -> Self {
        let (sender, receiver) = unbounded();
        Self {
            limits,
            begun: Instant::now(),
            is_open: AtomicBool::new(true),
            noted: AtomicU64::new(0),
            noted_bytes: AtomicU64::new(0),
            sender,
            receiver,
        }
    }

    /// Notes that the chunk is needed.
    pub(crate) fn note(&self, digest: &Digest, raw_bytes: usize) {
        if !self.is_open.load(Relaxed) {
            return;
        }
        let elapsed = self.begun.elapsed();
        let before = self.noted_bytes.fetch_add(raw_bytes as u64, Relaxed);
        let is_over = elapsed >= self.limits.time
            || before >= self.limits.bytes
            || self.noted.fetch_add(1, Relaxed) >= MAX_ENTRIES as u64;
        if is_over {
            self.is_open.store(false, Release);
            return;
        }
        // The receiver lives as long as the sender.
        let _ = self.sender.send(Seen {
            digest: *digest,
            raw_bytes: raw_bytes as u32,
            at_ms: elapsed.as_millis() as u32,
        });
    }

    /// Takes what was noted since this was last called, in order.
    pub fn take(&self) -> Vec<Seen> {
        self.receiver.try_iter().collect()
    }

    /// Ends the recording; what a reader is noting just now is still taken.
    pub fn end(&self) {
        self.is_open.store(false, Release);
    }

    /// True until the time is over, enough has been noted, or it was ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Acquire) && self.begun.elapsed() < self.limits.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(seconds: u64, bytes: u64) -> Recorder {
        Recorder::new(RecordLimits {
            time: Duration::from_secs(seconds),
            bytes,
        })
    }

    #[test]
    fn what_is_needed_is_noted_in_order_until_there_is_enough() {
        let recorder = recorder(1000, 250);
        for number in 0..9_u8 {
            recorder.note(&Digest::of(&[number]), 100);
        }
        assert!(!recorder.is_open());
        let seen = recorder.take();
        let digests: Vec<_> = seen.iter().map(|seen| seen.digest).collect();
        assert_eq!(digests, [0_u8, 1, 2].map(|number| Digest::of(&[number])));
    }

    #[test]
    fn nothing_is_noted_once_the_time_is_over_or_it_has_ended() {
        let late = recorder(0, 1000);
        late.note(&Digest::of(b"x"), 1);
        assert_eq!(late.take(), []);
        let ended = recorder(1000, 1000);
        ended.end();
        ended.note(&Digest::of(b"x"), 1);
        assert_eq!(ended.take(), []);
    }

    #[test]
    fn there_is_a_limit_to_how_many_are_noted() {
        let recorder = recorder(1000, u64::MAX);
        for number in 0..MAX_ENTRIES as u32 + 5 {
            recorder.note(&Digest::of(&number.to_le_bytes()), 0);
        }
        assert_eq!(recorder.take().len(), MAX_ENTRIES);
    }
}
