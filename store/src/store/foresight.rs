//! Reading ahead of need: the disk is told what will be wanted, and chunks are decoded before anybody asks for them.
//!
//! Everything here is a guess: what cannot be found or read is passed over, and left for whoever really needs it to meet.

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Store, cache::Whence};
use crate::{ids::Digest, index::Location, trace::Recorder};

/// What lies between two chunks that are wanted is read with them up to this length: a disk reads it faster than it goes to another place.
const GAP_BYTES: u64 = 64 << 10;
/// Segments of the index are read whole up to this size together: 700,000 chunks.
const INDEX_BYTES: u64 = 32 << 20;

/// What has been read ahead of need, and who notes what is needed.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    recorder: OnceLock<Arc<Recorder>>,
    foreseen_bytes: AtomicU64,
    met_bytes: AtomicU64,
    late_bytes: AtomicU64,
}

/// How well what was needed had been foreseen, in bytes of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForesightStats {
    /// Read ahead of need.
    pub foreseen_bytes: u64,
    /// Of these, needed since.
    pub met_bytes: u64,
    /// Read when they were needed, and not before.
    pub late_bytes: u64,
}

impl Foresight {
    /// Notes that a chunk is needed that nobody has needed before, or not for long.
    pub(super) fn needed(&self, digest: &Digest, raw_bytes: usize, whence: Whence) {
        let counter = match whence {
            Whence::Foreseen => &self.met_bytes,
            Whence::Kept | Whence::Read => &self.late_bytes,
        };
        counter.fetch_add(raw_bytes as u64, Relaxed);
        if let Some(recorder) = self.recorder.get() {
            recorder.note(digest, raw_bytes);
        }
    }
}

impl Store {
    /// Has `recorder` note what is needed from now on; false when another does already.
    pub fn record(&self, recorder: Arc<Recorder>) -> bool {
        self.inner.foresight.recorder.set(recorder).is_ok()
    }

    /// Asks the disk for the index, unless it is very large: look-ups come at random, and each would wait for the disk.
    pub fn expect_look_ups(&self) {
        self.inner.index.expect(INDEX_BYTES);
    }

    /// Asks the disk for these chunks, in runs as long as can be, without waiting. Returns how many bytes that is.
    pub fn expect(&self, chunks: &[Digest]) -> u64 {
        let index = &self.inner.index;
        let known = chunks
            .iter()
            .filter_map(|digest| index.lookup(digest).ok().flatten());
        let mut bytes = 0;
        for (first, part) in runs(known.collect()) {
            if let Ok(pack) = self.open_pack(&first) {
                bytes += part.end - part.start;
                pack.expect(part);
            }
        }
        bytes
    }

    /// The length of a chunk once it is decoded, as the index has it and decoding finds it; `None` when it is not known.
    #[must_use]
    pub fn length_of(&self, chunk: &Digest) -> Option<u32> {
        let place = self.inner.index.lookup(chunk).ok().flatten()?;
        Some(place.frame.raw_bytes)
    }

    /// Decodes a chunk that is expected to be needed soon into the cache. Returns its length; `None` when it was there already or cannot
    /// be had, of which nobody is told.
    pub fn foresee(&self, chunk: &Digest) -> Option<u64> {
        // A trace may name chunks that are gone: these are not looked for as hard as those that are needed.
        self.inner.index.lookup(chunk).ok().flatten()?;
        let foreseen = self.inner.cache.foresee(chunk, || self.get(chunk));
        let bytes = foreseen.ok().flatten()?;
        self.inner
            .foresight
            .foreseen_bytes
            .fetch_add(bytes, Relaxed);
        Some(bytes)
    }

    /// How well what was needed had been foreseen, since the store was opened.
    #[must_use]
    pub fn foresight(&self) -> ForesightStats {
        let foresight = &self.inner.foresight;
        ForesightStats {
            foreseen_bytes: foresight.foreseen_bytes.load(Relaxed),
            met_bytes: foresight.met_bytes.load(Relaxed),
            late_bytes: foresight.late_bytes.load(Relaxed),
        }
    }
}

/// The places as parts of packs, each with its first place: neighbours are one part.
fn runs(mut places: Vec<Location>) -> Vec<(Location, Range<u64>)> {
    places.sort_unstable_by_key(|place| (place.pack, place.frame.offset));
    let mut runs: Vec<(Location, Range<u64>)> = Vec::new();
    for place in places {
        let part = u64::from(place.frame.offset)..place.end();
        match runs.last_mut() {
            Some((first, run)) if first.pack == place.pack && part.start <= run.end + GAP_BYTES => {
                run.end = run.end.max(part.end);
            }
            _ => runs.push((place, part)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        disk::doubles::MemoryDisk,
        ids::PackId,
        pack::Frame,
        store::tests::{commit, store_on, text},
        trace::RecordLimits,
    };

    fn place(pack: u8, offset: u32, stored_bytes: u32) -> Location {
        Location {
            pack: PackId::from_bytes([pack; PackId::LEN]),
            frame: Frame {
                offset,
                stored_bytes,
                raw_bytes: stored_bytes + 1,
                is_plain: false,
            },
        }
    }

    #[test]
    fn neighbours_are_read_together_and_others_by_themselves() {
        let gap = GAP_BYTES as u32;
        let places = vec![
            place(2, 16, 10),
            place(1, 5 * gap, 10),
            place(1, 16, 100),
            place(1, 16 + gap, 100),
        ];
        let runs: Vec<_> = runs(places).into_iter().map(|(_, part)| part).collect();
        let (gap, far) = (GAP_BYTES, 5 * GAP_BYTES);
        assert_eq!(runs, [16..116 + gap, far..far + 10, 16..26]);
    }

    #[test]
    fn what_was_foreseen_is_told_from_what_was_not_and_is_recorded_when_it_is_needed() {
        let store = store_on(&MemoryDisk::default());
        let chunks = [text(1, 1000), text(2, 2000)];
        commit(&store, &chunks).unwrap();
        let [one, other] = [0, 1].map(|number: usize| Digest::of(&chunks[number]));
        let recorder = Arc::new(Recorder::new(RecordLimits {
            time: Duration::from_secs(1000),
            bytes: 1 << 20,
        }));
        assert!(store.record(recorder.clone()));
        assert!(!store.record(recorder.clone()));
        assert!(store.expect(&[one, other]) > 0);
        assert_eq!(
            [one, other].map(|digest| store.length_of(&digest)),
            [Some(1000), Some(2000)]
        );
        assert_eq!(store.foresee(&one), Some(1000));
        assert_eq!(store.foresee(&one), None);
        assert_eq!(recorder.take(), []);
        for digest in [other, one, one, other] {
            store.get_cached(&digest).unwrap();
        }
        let needed: Vec<_> = recorder.take().iter().map(|seen| seen.digest).collect();
        assert_eq!(needed, [other, one]);
        let stats = ForesightStats {
            foreseen_bytes: 1000,
            met_bytes: 1000,
            late_bytes: 2000,
        };
        assert_eq!(store.foresight(), stats);
    }

    #[test]
    fn a_chunk_that_is_gone_is_passed_over() {
        let store = store_on(&MemoryDisk::default());
        let digest = Digest::of(b"nothing");
        assert_eq!(store.expect(&[digest]), 0);
        assert_eq!(store.length_of(&digest), None);
        assert_eq!(store.foresee(&digest), None);
    }

    #[test]
    fn what_cannot_be_read_ahead_is_left_for_who_needs_it() {
        let disk = MemoryDisk::default();
        let store = store_on(&disk);
        commit(&store, &[text(1, 1000)]).unwrap();
        let digest = Digest::of(&text(1, 1000));
        for pack in disk.files(".pack") {
            disk.damage(&pack, Vec::clear);
        }
        assert_eq!(store.foresee(&digest), None);
        assert!(store.get_cached(&digest).is_err());
    }
}
