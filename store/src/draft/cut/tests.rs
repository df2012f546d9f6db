use proptest::prelude::*;

use super::*;
use crate::store::tests::{noise, text};

/// Boundaries of 1 MiB of [`noise`] with seed 2020.
const GOLDEN_NOISE: &str = include_str!("../../../tests/golden/cut-v1-noise.txt");
/// Boundaries of 1 MiB of [`text`] with seed 2020.
const GOLDEN_TEXT: &str = include_str!("../../../tests/golden/cut-v1-text.txt");

/// Small enough that tests see many chunks.
const SMALL: Sizes = Sizes {
    min: 256,
    average: 1024,
    max: 4096,
};

/// What a file is cut into: lengths of chunks, holes marked and neighbours joined.
type Pieces = Vec<(bool, u64)>;

fn pieces(sizes: Sizes, feed: &mut dyn Feed) -> (Pieces, Vec<u8>) {
    let mut cutter = Cutter::new(sizes);
    let mut found: Pieces = Vec::new();
    let mut bytes = Vec::new();
    while let Some(piece) = cutter.next(feed).unwrap() {
        match (piece, found.last_mut()) {
            (Piece::Hole(zeros), Some((true, length))) => {
                *length += zeros;
                bytes.resize(bytes.len() + usize::try_from(zeros).unwrap(), 0);
            }
            (Piece::Hole(zeros), _) => {
                found.push((true, zeros));
                bytes.resize(bytes.len() + usize::try_from(zeros).unwrap(), 0);
            }
            (Piece::Chunk(chunk), _) => {
                found.push((false, chunk.len() as u64));
                bytes.extend_from_slice(chunk);
            }
        }
    }
    (found, bytes)
}

fn read(sizes: Sizes, bytes: &[u8]) -> Pieces {
    let (found, seen) = pieces(sizes, &mut ReaderFeed(&mut &bytes[..]));
    assert!(seen == bytes, "the pieces are not the file");
    found
}

/// Gives a few bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let step = self.1.min(buffer.len());
        self.0.read(&mut buffer[..step])
    }
}

fn sparse(sizes: Sizes, bytes: &[u8], extents: &[(u64, u64)]) -> Pieces {
    let mut read_at = |offset: u64, buffer: &mut [u8]| {
        let mut rest = &bytes[usize::try_from(offset).unwrap()..];
        rest.read(buffer)
    };
    let mut feed = SparseFeed {
        size: bytes.len() as u64,
        extents,
        read_at: &mut read_at,
        offset: 0,
    };
    let (found, seen) = pieces(sizes, &mut feed);
    assert!(seen == bytes, "the pieces are not the file");
    found
}

fn boundaries(bytes: &[u8]) -> String {
    let mut end = 0;
    let mut lines = String::new();
    for (_, length) in read(SIZES, bytes) {
        end += length;
        lines += &format!("{end}\n");
    }
    lines
}

#[test]
fn boundaries_are_for_ever() {
    assert_eq!(boundaries(&noise(2020, 1 << 20)), GOLDEN_NOISE);
    assert_eq!(boundaries(&text(2020, 1 << 20)), GOLDEN_TEXT);
}

#[test]
fn a_file_up_to_the_average_is_one_chunk() {
    assert_eq!(read(SMALL, &noise(1, 1024)), [(false, 1024)]);
    assert!(read(SMALL, &noise(1, 1025)).len() > 1);
    assert_eq!(read(SMALL, &[]), []);
}

#[test]
fn nothing_but_zeros_is_a_hole_whatever_its_length() {
    for length in [1, 100, 1024, 1025, 4096, 100_000] {
        assert_eq!(read(SMALL, &vec![0; length]), [(true, length as u64)]);
    }
}

#[test]
fn zeros_between_data_are_a_hole_of_exactly_their_length() {
    for zeros in [256, 1000, 5000, 50_000] {
        let bytes = [noise(1, 10_000), vec![0; zeros], noise(2, 10_000)].concat();
        let found = read(SMALL, &bytes);
        let holes: Vec<_> = found.iter().filter(|piece| piece.0).collect();
        assert_eq!(holes, [&(true, zeros as u64)]);
    }
}

#[test]
fn an_inserted_byte_changes_few_chunks() {
    let before = noise(1, 200_000);
    let mut after = before.clone();
    after.insert(50_000, 1);
    let (before, after) = (read(SMALL, &before), read(SMALL, &after));
    let same = before.iter().rev().zip(after.iter().rev());
    assert!(same.take_while(|(a, b)| a == b).count() > before.len() / 2);
}

#[test]
fn a_huge_hole_costs_no_reading() {
    let mut reads = 0;
    let mut read_at = |_: u64, buffer: &mut [u8]| {
        reads += 1;
        buffer.fill(1);
        Ok(buffer.len())
    };
    let mut feed = SparseFeed {
        size: 1 << 50,
        extents: &[(1 << 40, 10)],
        read_at: &mut read_at,
        offset: 0,
    };
    let mut cutter = Cutter::new(SIZES);
    let mut total = 0;
    while let Some(piece) = cutter.next(&mut feed).unwrap() {
        total += match piece {
            Piece::Hole(zeros) => zeros,
            Piece::Chunk(bytes) => bytes.len() as u64,
        };
    }
    assert_eq!(total, 1 << 50);
    assert_eq!(reads, 1);
}

#[test]
fn a_file_that_has_become_shorter_ends_in_zeros() {
    let mut read_at = |offset: u64, buffer: &mut [u8]| {
        let left = usize::try_from(3000u64.saturating_sub(offset)).unwrap();
        let filled = left.min(buffer.len());
        buffer[..filled].fill(7);
        Ok(filled)
    };
    let mut feed = SparseFeed {
        size: 9000,
        extents: &[(0, 9000)],
        read_at: &mut read_at,
        offset: 0,
    };
    let (_, bytes) = pieces(SMALL, &mut feed);
    assert!(bytes == [vec![7; 3000], vec![0; 6000]].concat());
}

/// Runs of noise and of zeros.
fn runs() -> impl Strategy<Value = Vec<(bool, usize)>> {
    let length = prop_oneof![1usize..600, 600usize..9000];
    proptest::collection::vec((any::<bool>(), length), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn content_depends_on_the_bytes_alone(runs in runs(), step in 1usize..5000) {
        let mut bytes = Vec::new();
        let mut extents = Vec::new();
        for (number, (is_data, length)) in runs.into_iter().enumerate() {
            if is_data {
                extents.push((bytes.len() as u64, length as u64));
                bytes.extend(noise(number as u64, length));
            } else {
                bytes.resize(bytes.len() + length, 0);
            }
        }
        let whole = read(SMALL, &bytes);
        let drip = pieces(SMALL, &mut ReaderFeed(&mut Drip(&bytes, step))).0;
        prop_assert_eq!(&whole, &drip);
        prop_assert_eq!(&whole, &sparse(SMALL, &bytes, &extents));
        prop_assert!(whole.iter().all(|(is_hole, length)| *is_hole || *length <= 4096));
    }
}
