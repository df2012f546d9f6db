//! Who reads one small file after the other: a copy, an archive, a search.
//!
//! Positions are in the order of the tree, so such a reader's files have ascending positions, with folders, links and large files between them.
//! One walker is followed; when two walk at once, each is taken for a stranger and nothing is decoded for them.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// How many nodes may lie between two files of a walk.
const STRIDE: u64 = 16;
/// After so many files in a row it is a walk.
const FEW: u64 = 3;
/// How many nodes are looked at ahead of it.
const AHEAD: u64 = 32;

/// The walk. Several threads may note files at once: what that confuses is a guess anyway.
#[derive(Debug, Default)]
pub(super) struct Walker {
    at: AtomicU64,
    /// Files in a row.
    row: AtomicU64,
    /// The end of what was asked to be decoded.
    ahead_to: AtomicU64,
}

impl Walker {
    /// Notes the file at `position`; the positions that should be decoded now, if this is a walk and not far enough ahead already.
    pub(super) fn advance(&self, position: u64) -> Option<Range<u64>> {
        let last = self.at.swap(position, Relaxed);
        if !(last + 1..=last + STRIDE).contains(&position) {
            self.row.store(0, Relaxed);
            self.ahead_to.store(0, Relaxed);
            return None;
        }
        if self.row.fetch_add(1, Relaxed) < FEW {
            return None;
        }
        let ahead_to = self.ahead_to.load(Relaxed);
        if ahead_to > position + AHEAD / 2 {
            return None;
        }
        let end = position + 1 + AHEAD;
        self.ahead_to.store(end, Relaxed);
        Some(ahead_to.max(position + 1)..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_led_without_gaps_and_nothing_is_decoded_twice() {
        let walker = Walker::default();
        let mut ahead = 0;
        for position in (10..1000).step_by(3) {
            if let Some(part) = walker.advance(position) {
                assert!(part.start == ahead || ahead == 0);
                ahead = part.end;
            }
            assert!(position < 30 || ahead > position);
        }
    }

    #[test]
    fn who_goes_back_or_far_away_does_not_walk() {
        let walker = Walker::default();
        for step in 1..100_u64 {
            assert_eq!(walker.advance(step * 7919 % 4001), None);
        }
        for position in (10..1000).rev() {
            assert_eq!(walker.advance(position), None);
        }
    }
}
