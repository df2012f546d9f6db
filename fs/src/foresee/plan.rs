//! In which order a trace is read: in windows, each read as a whole, beginning where the reader is.

use std::{collections::HashMap, ops::Range};

use snap_store::{Digest, Expected};

/// It also ends where nothing was needed for so long.
const PAUSE_MS: u32 = 200;

/// The windows of a trace, and how far they are.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    entries: &'a [Expected],
    windows: Vec<Window>,
    /// The window of each chunk.
    places: HashMap<Digest, usize>,
    /// Where the reader is.
    at: usize,
}

#[derive(Debug)]
struct Window {
    range: Range<usize>,
    bytes: u64,
    is_taken: bool,
}

impl<'a> Plan<'a> {
    /// Of the beginning of a trace, up to so many bytes of chunks, in windows of so many.
    pub(super) fn new(entries: &'a [Expected], most_bytes: u64, window_bytes: u64) -> Self {
        let mut total = 0;
        let part = entries.iter().take_while(|entry| {
            total += u64::from(entry.raw_bytes);
            total <= most_bytes
        });
        let entries = &entries[..part.count()];
        let windows = windows(entries, window_bytes);
        let places = windows.iter().zip(0..).flat_map(|(window, number)| {
            let chunks = entries[window.range.clone()].iter();
            chunks.map(move |entry| (entry.digest, number))
        });
        Self {
            places: places.collect(),
            entries,
            windows,
            at: 0,
        }
    }

    /// Says that a chunk is needed now; one that was not expected says nothing.
    pub(super) fn needed(&mut self, chunk: &Digest) {
        if let Some(window) = self.places.get(chunk) {
            self.at = *window;
        }
    }

    /// The chunks of the next window, from where the reader is on and then of those before, as long as no more than `most_ahead` bytes
    /// beyond the reader have been taken; `None` when it has to be waited for the reader.
    pub(super) fn next(&mut self, most_ahead: u64) -> Option<&'a [Expected]> {
        let ahead = self.windows[self.at.min(self.windows.len())..].iter();
        let ahead: u64 = ahead
            .filter(|window| window.is_taken)
            .map(|window| window.bytes)
            .sum();
        let after = self.at..self.windows.len();
        let mut numbers = after.chain(0..self.at);
        let next = numbers.find(|number| !self.windows[*number].is_taken)?;
        let window = &mut self.windows[next];
        // A single window may be larger than what is allowed: it is read once the reader has come to it.
        if ahead > 0 && ahead + window.bytes > most_ahead {
            return None;
        }
        window.is_taken = true;
        Some(&self.entries[window.range.clone()])
    }

    /// True when everything was taken.
    pub(super) fn is_done(&self) -> bool {
        self.windows.iter().all(|window| window.is_taken)
    }
}

fn windows(entries: &[Expected], most_bytes: u64) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut before = 0;
    for (entry, index) in entries.iter().zip(0..) {
        let bytes = u64::from(entry.raw_bytes);
        match windows.last_mut() {
            Some(last)
                if last.bytes + bytes <= most_bytes && entry.at_ms.abs_diff(before) < PAUSE_MS =>
            {
                last.range.end = index + 1;
                last.bytes += bytes;
            }
            _ => windows.push(Window {
                range: index..index + 1,
                bytes,
                is_taken: false,
            }),
        }
        before = entry.at_ms;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use snap_store::{Seen, Trace};

    use super::*;

    fn trace(chunks: &[(u32, u32)]) -> Trace {
        let seen: Vec<_> = chunks
            .iter()
            .zip(0_u32..)
            .map(|((raw_bytes, at_ms), number)| Seen {
                digest: Digest::of(&number.to_le_bytes()),
                raw_bytes: *raw_bytes,
                at_ms: *at_ms,
            })
            .collect();
        Trace::default().learned(&seen)
    }

    const MIB: u32 = 1 << 20;

    fn plan(entries: &[Expected], most_bytes: u64) -> Plan<'_> {
        Plan::new(entries, most_bytes, 2 << 20)
    }

    #[test]
    fn windows_end_when_they_are_full_and_where_the_reader_paused() {
        let trace = trace(&[(MIB, 0), (MIB, 1), (MIB, 2), (MIB, 900)]);
        let mut plan = plan(trace.entries(), u64::MAX);
        let lengths: Vec<_> = std::iter::from_fn(|| plan.next(u64::MAX))
            .map(<[_]>::len)
            .collect();
        assert_eq!(lengths, [2, 1, 1]);
        assert!(plan.is_done());
    }

    #[test]
    fn no_more_is_taken_than_is_allowed_ahead_of_the_reader() {
        let trace = trace(&[(2 * MIB, 0); 6]);
        let entries = trace.entries();
        let mut plan = plan(entries, u64::MAX);
        let ahead = 4 << 20;
        assert!(plan.next(ahead).is_some() && plan.next(ahead).is_some());
        assert_eq!(plan.next(ahead), None);
        plan.needed(&entries[1].digest);
        assert_eq!(plan.next(ahead), Some(&entries[2..3]));
        assert_eq!(plan.next(ahead), None);
    }

    #[test]
    fn it_goes_on_where_the_reader_is_and_then_with_what_was_passed_over() {
        let trace = trace(&[(2 * MIB, 0); 5]);
        let entries = trace.entries();
        let mut plan = plan(entries, u64::MAX);
        plan.needed(&entries[3].digest);
        plan.needed(&Digest::of(b"a stranger"));
        let order: Vec<_> = std::iter::from_fn(|| plan.next(u64::MAX)).collect();
        let expected = [3, 4, 0, 1, 2].map(|number| &entries[number..=number]);
        assert_eq!(order, expected);
    }

    #[test]
    fn a_trace_is_cut_where_it_exceeds_its_limit() {
        let trace = trace(&[(MIB, 0); 5]);
        let mut plan = plan(trace.entries(), u64::from(3 * MIB));
        let chunks = std::iter::from_fn(|| plan.next(u64::MAX)).map(<[_]>::len);
        assert_eq!(chunks.sum::<usize>(), 3);
    }

    proptest! {
        #[test]
        fn every_chunk_is_taken_once_whatever_is_needed_meanwhile(
            chunks in vec((0..3 * MIB, 0..2000_u32), 0..60),
            needed in vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let trace = trace(&chunks);
            let entries = trace.entries();
            let mut plan = plan(entries, u64::MAX);
            let (mut taken, mut needed) = (Vec::new(), needed.into_iter());
            while !plan.is_done() {
                taken.extend(plan.next(u64::MAX).unwrap().iter().map(|entry| entry.digest));
                if let Some(index) = needed.next() {
                    plan.needed(&entries[index.index(entries.len())].digest);
                }
            }
            let mut expected: Vec<_> = entries.iter().map(|entry| entry.digest).collect();
            taken.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(taken, expected);
        }
    }
}
