//! Where a chunk ends: where FastCDC of 2020 ends it (the crate `fastcdc` has the table and the masks, and tests compare), in less time.
//!
//! The hash at a position is that of the byte there, added to twice the hash before it, so it comes of [`WINDOW_BYTES`] bytes alone. Parts
//! of a search are therefore independent, and several side by side keep a processor busy that would wait for one sum after the other.

use std::ops::Range;

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};

use super::Sizes;

/// Bytes that a hash of 64 bits comes of: each moves those before it up by one.
const WINDOW_BYTES: usize = 64;
/// Parts that are searched side by side.
const LANES: usize = 4;
/// How long each is: much longer than a window, which is gone through again for each; much shorter than a chunk, because all are
/// searched anew when a chunk ends in one of them, by the shorter ones first.
const LONG_BYTES: usize = 2 << 10;
const SHORT_BYTES: usize = 256;

/// What there is to know of where chunks end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gear {
    table: [u64; 256],
    sizes: Sizes,
    /// Bits that are zero where a chunk ends, before it has the average length and after.
    masks: [u64; 2],
}

/// What a search comes to.
enum Found {
    /// A chunk ends before this byte.
    End(usize),
    /// Nothing; the hash behind it all.
    Nothing(u64),
}

impl Gear {
    pub(super) fn new(sizes: Sizes) -> Self {
        let (table, _) = get_gear_with_seed(0);
        let (strict, loose) = select_masks(sizes.average, Normalization::Level1);
        Self {
            table: std::array::from_fn(|byte| table[byte]),
            sizes,
            masks: [strict, loose],
        }
    }

    /// The length of the chunk that `bytes` begin with: all of them, unless it ends before.
    pub(super) fn cut(&self, bytes: &[u8]) -> usize {
        let end = bytes.len().min(self.sizes.max);
        if end <= self.sizes.min {
            return end;
        }
        // Bytes are looked at in pairs: an odd one at the end ends nothing.
        let center = self.sizes.average.min(end) & !1;
        let ranges = [self.sizes.min..center, center..end & !1];
        let mut hash = 0;
        for (range, mask) in ranges.into_iter().zip(self.masks) {
            match self.search(bytes, range, mask, hash) {
                Found::End(at) => return at,
                Found::Nothing(behind) => hash = behind,
            }
        }
        end
    }

    /// Searches for the first position of `range` where the bits of `mask` are zero; `hash` is that before it.
    fn search(&self, bytes: &[u8], range: Range<usize>, mask: u64, hash: u64) -> Found {
        let mut place = (range.start, hash);
        self.skip::<LONG_BYTES>(bytes, range.end, mask, &mut place);
        self.skip::<SHORT_BYTES>(bytes, range.end, mask, &mut place);
        let (begin, mut hash) = place;
        for (at, byte) in (begin..range.end).zip(&bytes[begin..range.end]) {
            hash = self.roll(hash, *byte);
            if hash & mask == 0 {
                return Found::End(at);
            }
        }
        Found::Nothing(hash)
    }

    /// Moves a place, a position and the hash before it, past what is searched `LANES` times `BYTES` at a time, until a chunk ends there.
    fn skip<const BYTES: usize>(
        &self,
        bytes: &[u8],
        end: usize,
        mask: u64,
        (at, hash): &mut (usize, u64),
    ) {
        while end - *at >= LANES * BYTES {
            let next = *at + LANES * BYTES;
            let Some(behind) = self.pass::<BYTES>(&bytes[*at..next], mask, *hash) else {
                return;
            };
            (*at, *hash) = (next, behind);
        }
    }

    /// The hash behind the lanes, which follow each other; `None` when a chunk ends in one of them.
    fn pass<const BYTES: usize>(&self, bytes: &[u8], mask: u64, hash: u64) -> Option<u64> {
        let (lanes, _) = bytes.as_chunks::<BYTES>();
        let lanes: &[[u8; BYTES]; LANES] = lanes.try_into().expect("as many as there are");
        let mut hashes = [hash; LANES];
        for (hash, before) in hashes[1..].iter_mut().zip(lanes) {
            let window = &before[BYTES - WINDOW_BYTES..];
            *hash = window.iter().fold(0, |hash, byte| self.roll(hash, *byte));
        }
        for at in 0..BYTES {
            for (hash, lane) in hashes.iter_mut().zip(lanes) {
                *hash = self.roll(*hash, lane[at]);
                if *hash & mask == 0 {
                    return None;
                }
            }
        }
        Some(hashes[LANES - 1])
    }

    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    use super::{super::SIZES, *};
    use crate::store::tests::noise;

    /// The length of the first chunk as the crate has it.
    fn plain(bytes: &[u8], sizes: Sizes) -> usize {
        let Sizes { min, average, max } = sizes;
        let longest = &bytes[..bytes.len().min(max)];
        let cutter = FastCDC::with_level(longest, min, average, max, Normalization::Level1);
        cutter.cut(0, longest.len()).1
    }

    fn all_cuts(bytes: &[u8], cut: impl Fn(&[u8]) -> usize) -> Vec<usize> {
        let (mut cuts, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            at += cut(&bytes[at..]);
            cuts.push(at);
        }
        cuts
    }

    fn assert_alike(bytes: &[u8], sizes: Sizes) {
        let gear = Gear::new(sizes);
        let ours = all_cuts(bytes, |rest| gear.cut(rest));
        assert_eq!(ours, all_cuts(bytes, |rest| plain(rest, sizes)));
    }

    #[test]
    fn chunks_end_where_the_crate_ends_them() {
        for seed in 0..20 {
            assert_alike(&noise(seed, (4 << 20) + seed as usize), SIZES);
        }
        let text = (0..300_000).flat_map(|number: u32| number.to_string().into_bytes());
        assert_alike(&text.collect::<Vec<_>>(), SIZES);
        assert_alike(&vec![0; 1 << 20], SIZES);
        assert_alike(&vec![255; (1 << 20) + 1], SIZES);
    }

    #[test]
    fn so_they_do_near_the_end_of_a_file_whatever_its_length() {
        let bytes = noise(7, 300 << 10);
        let gear = Gear::new(SIZES);
        let few = [0, 1, 2, 63, 64, 65];
        for around in [0, SIZES.min, SIZES.average, SIZES.max] {
            for length in few
                .into_iter()
                .flat_map(|few| [around + few, around.saturating_sub(few)])
            {
                let bytes = &bytes[..length];
                assert_eq!(gear.cut(bytes), plain(bytes, SIZES), "{length} bytes");
            }
        }
    }

    proptest! {
        #[test]
        fn so_they_do_with_other_sizes_and_bytes_of_few_kinds(
            seed in any::<u8>(),
            kinds in 1..=255u8,
            length in 0..200_000usize,
            min in 32..4_000usize,
        ) {
            let bytes: Vec<u8> = noise(seed.into(), length).iter().map(|byte| byte % kinds).collect();
            let sizes = Sizes { min: 2 * min, average: 16 << 10, max: 64 << 10 };
            assert_alike(&bytes, sizes);
        }
    }
}
