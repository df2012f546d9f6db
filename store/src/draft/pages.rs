//! Cutting memory into chunks: between pages alone, by the pages' content.
//!
//! A run of pages that did not change is found again wherever it has moved to in its file, as files' bytes are, and a page
//! that changed costs the chunk it is in. The parameters are part of the format (docs/format.md, "Cutting").

use std::io::{self, Read};

use super::cut::Piece;
use crate::ids::Digest;

/// The unit of memory.
pub(crate) const PAGE_BYTES: usize = 4096;
/// No chunk ends by a page's content before it has this many pages.
const MIN_PAGES: usize = 4;
/// No chunk has more.
const MAX_PAGES: usize = 64;
/// One page in 16 ends a chunk: that whose digest begins with less than this.
const CUT_BELOW: u8 = 16;

/// The window over a file of pages.
pub(super) struct PageCutter<'a> {
    reader: &'a mut dyn Read,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    is_at_end: bool,
}

impl<'a> PageCutter<'a> {
    pub(super) fn new(reader: &'a mut dyn Read) -> Self {
        Self {
            reader,
            // Twice the largest chunk, so that what is left over is moved once for several.
            buffer: vec![0; 2 * MAX_PAGES * PAGE_BYTES],
            begin: 0,
            end: 0,
            is_at_end: false,
        }
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.fill()?;
        let window = &self.buffer[self.begin..self.end];
        let zeros = pages(window).take_while(|page| is_zero(page));
        let hole = zeros.map(<[u8]>::len).sum::<usize>();
        let length = match hole {
            0 => chunk_length(window),
            hole => hole,
        };
        let piece = self.begin..self.begin + length;
        self.begin += length;
        Ok(match (hole, length) {
            (_, 0) => None,
            (0, _) => Some(Piece::Chunk(&self.buffer[piece])),
            (hole, _) => Some(Piece::Hole(hole as u64)),
        })
    }

    /// Fills the window until a cut is certain.
    fn fill(&mut self) -> io::Result<()> {
        if self.end - self.begin >= MAX_PAGES * PAGE_BYTES {
            return Ok(());
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        while self.end < self.buffer.len() && !self.is_at_end {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_at_end = true,
                Ok(filled) => self.end += filled,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The length of the chunk a window begins with, whose first page is not zero.
fn chunk_length(window: &[u8]) -> usize {
    let mut length = 0;
    for (number, page) in pages(window).take(MAX_PAGES).enumerate() {
        if is_zero(page) {
            break;
        }
        length += page.len();
        if number + 1 >= MIN_PAGES && Digest::of(page).as_bytes()[0] < CUT_BELOW {
            break;
        }
    }
    length
}

/// The pages of a window; the last one of a file may be cut off.
fn pages(window: &[u8]) -> impl Iterator<Item = &[u8]> {
    window.chunks(PAGE_BYTES)
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that is none of the others.
    fn page(number: u32) -> Vec<u8> {
        let mut page = vec![1; PAGE_BYTES];
        page[..4].copy_from_slice(&number.to_le_bytes());
        page
    }

    fn image(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
        numbers.into_iter().flat_map(page).collect()
    }

    /// Lengths of chunks, negative for holes, and the chunks.
    fn cut(mut bytes: &[u8]) -> (Vec<i64>, Vec<Vec<u8>>) {
        let mut cutter = PageCutter::new(&mut bytes);
        let (mut lengths, mut chunks) = (Vec::new(), Vec::new());
        while let Some(piece) = cutter.next().unwrap() {
            match piece {
                Piece::Hole(zeros) => lengths.push(-(zeros as i64)),
                Piece::Chunk(bytes) => {
                    lengths.push(bytes.len() as i64);
                    chunks.push(bytes.to_vec());
                }
            }
        }
        (lengths, chunks)
    }

    #[test]
    fn chunks_end_between_pages_within_their_bounds_and_lose_nothing() {
        let bytes = image(0..1000);
        let (lengths, chunks) = cut(&bytes);
        assert_eq!(chunks.concat(), bytes);
        let (_, but_last) = lengths.split_last().unwrap();
        let bounds = (MIN_PAGES * PAGE_BYTES) as i64..=(MAX_PAGES * PAGE_BYTES) as i64;
        assert!(but_last.iter().all(|length| bounds.contains(length)));
        assert!(lengths.iter().all(|length| length % PAGE_BYTES as i64 == 0));
        assert!((30..120).contains(&lengths.len()), "{}", lengths.len());
    }

    /// Stores that are written would no longer share chunks with new snapshots.
    #[test]
    fn the_cuts_of_a_known_image_never_change() {
        let (lengths, _) = cut(&image(0..64));
        let pages: Vec<_> = lengths.iter().map(|l| l / PAGE_BYTES as i64).collect();
        assert_eq!(pages, KNOWN_CUTS);
    }

    const KNOWN_CUTS: &[i64] = &[14, 32, 18];

    #[test]
    fn pages_that_moved_are_found_again() {
        let (_, before) = cut(&image(0..1000));
        let moved = image((5000..5003).chain(0..1000));
        let (_, after) = cut(&moved);
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(new <= 2, "{new} of {} chunks are new", after.len());
    }

    #[test]
    fn one_page_that_changed_costs_the_chunks_it_touches() {
        let (_, before) = cut(&image(0..1000));
        let changed = image((0..1000).map(|number| if number == 500 { 9999 } else { number }));
        let (_, after) = cut(&changed);
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!((1..=3).contains(&new), "{new} of {}", after.len());
    }

    #[test]
    fn pages_of_zeros_are_holes() {
        let mut bytes = image(0..2);
        bytes.extend(vec![0; 3 * PAGE_BYTES]);
        bytes.extend(page(2));
        let page = PAGE_BYTES as i64;
        assert_eq!(cut(&bytes).0, [2 * page, -3 * page, page]);
        assert_eq!(cut(&vec![0; 5 * PAGE_BYTES]).0, [-5 * page]);
        assert!(cut(&[]).0.is_empty());
        assert_eq!(cut(&[7; 10]).0, [10]);
    }
}
