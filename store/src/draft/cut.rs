//! Cutting files into chunks and holes.
//!
//! The result is a function of the bytes alone: neither how they arrive nor whether zeros were holes on the source's disk
//! changes it, so that equal files have equal content. The parameters are part of the format and never change
//! (docs/format.md, "Cutting"; docs/adr/0001-chunk-size.md says where they come from).

mod gear;

use std::{io, io::Read};

use gear::Gear;

/// No chunk but the last of a file, or one before a hole, is smaller. Zeros at least this long are a hole.
pub(crate) const MIN_BYTES: usize = 16 << 10;
/// What chunks tend to; a file up to this is one chunk.
pub(crate) const AVERAGE_BYTES: usize = 64 << 10;
/// No chunk of a file is larger.
pub(crate) const MAX_BYTES: usize = 256 << 10;

/// Sizes to cut by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    min: usize,
    average: usize,
    max: usize,
}

/// The sizes of the format.
pub(crate) const SIZES: Sizes = Sizes {
    min: MIN_BYTES,
    average: AVERAGE_BYTES,
    max: MAX_BYTES,
};

impl Sizes {
    /// Bytes that must be known before a cut is certain: the largest chunk, and enough to see whether a hole begins at its end.
    fn sight(self) -> usize {
        self.max + self.min
    }
}

/// What a source has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many bytes were put into the buffer.
    Bytes(usize),
    /// So many zeros follow, not in the buffer.
    Zeros(u64),
    /// Nothing follows.
    End,
}

/// The bytes of a file, in order.
pub(crate) trait Feed {
    /// The next of them; `buffer` is not empty.
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<Next>;
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes to store.
    Chunk(&'a [u8]),
    /// So many zeros.
    Hole(u64),
}

/// The window over a file: `begin..end` of the buffer is known and not cut yet. Reusable from file to file.
#[derive(Debug)]
pub(crate) struct Cutter {
    sizes: Sizes,
    gear: Gear,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Zeros that follow the window.
    zeros: u64,
    is_at_end: bool,
    /// Nothing was cut yet.
    is_fresh: bool,
    /// The last piece was a hole, and zeros that follow belong to it however few.
    is_in_hole: bool,
}

impl Cutter {
    /// A cutter by these sizes.
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            gear: Gear::new(sizes),
            // Twice the sight, so that what is left over is moved to the front once a sight and not once a chunk.
            buffer: vec![0; 2 * sizes.sight()],
            begin: 0,
            end: 0,
            zeros: 0,
            is_at_end: false,
            is_fresh: true,
            is_in_hole: false,
        }
    }

    /// Makes it as new, for another file.
    pub(crate) fn reset(&mut self) {
        self.begin = 0;
        self.end = 0;
        self.zeros = 0;
        self.is_at_end = false;
        self.is_fresh = true;
        self.is_in_hole = false;
    }

    /// The next piece of what `feed` has; `None` at the end.
    pub(crate) fn next(&mut self, feed: &mut dyn Feed) -> io::Result<Option<Piece<'_>>> {
        self.fill(feed)?;
        if let Some(hole) = self.take_hole() {
            return Ok(Some(Piece::Hole(hole)));
        }
        if self.begin == self.end {
            return Ok(None);
        }
        let length = self.chunk_length();
        self.is_fresh = false;
        self.is_in_hole = false;
        let begin = self.begin;
        self.begin += length;
        Ok(Some(Piece::Chunk(&self.buffer[begin..self.begin])))
    }

    fn window(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Fills the window until a cut is certain.
    fn fill(&mut self, feed: &mut dyn Feed) -> io::Result<()> {
        let sight = self.sizes.sight();
        if self.end - self.begin >= sight {
            return Ok(());
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        while self.end < self.buffer.len() {
            if self.zeros > 0 {
                // Many zeros with nothing before them are a hole as they are. Few may be part of a file of one chunk.
                if self.end == 0 && self.zeros > self.sizes.average as u64 {
                    return Ok(());
                }
                let room = self.buffer.len() - self.end;
                let here = usize::try_from(self.zeros).map_or(room, |zeros| zeros.min(room));
                self.buffer[self.end..self.end + here].fill(0);
                self.end += here;
                self.zeros -= here as u64;
                continue;
            }
            if self.is_at_end {
                return Ok(());
            }
            match feed.next(&mut self.buffer[self.end..])? {
                Next::Bytes(filled) => self.end += filled,
                Next::Zeros(zeros) => self.zeros = zeros,
                Next::End => self.is_at_end = true,
            }
        }
        Ok(())
    }

    /// The zeros the window begins with, when they are a hole.
    fn take_hole(&mut self) -> Option<u64> {
        let window = self.window();
        let known = leading_zeros(window);
        let is_all = known == window.len();
        let is_rest = is_all && self.is_at_end;
        let behind = if is_all { self.zeros } else { 0 };
        let hole = known as u64 + behind;
        let is_small_file = self.is_fresh && self.is_small();
        let is_hole = match is_small_file {
            true => is_rest,
            false => hole >= self.sizes.min as u64 || self.is_in_hole || is_rest,
        };
        if hole == 0 || !is_hole {
            return None;
        }
        self.begin += known;
        self.zeros -= behind;
        self.is_in_hole = true;
        self.is_fresh = false;
        Some(hole)
    }

    /// The whole file is in the window, and not more than one chunk's worth.
    fn is_small(&self) -> bool {
        self.is_at_end && self.zeros == 0 && self.window().len() <= self.sizes.average
    }

    fn chunk_length(&self) -> usize {
        let window = self.window();
        if self.is_fresh && self.is_small() {
            return window.len();
        }
        let length = self.gear.cut(window);
        let seen = &window[..window.len().min(length + self.sizes.min)];
        match zero_run(seen, self.sizes.min) {
            Some(begin) if begin < length => begin,
            _ => length,
        }
    }
}

fn leading_zeros(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let blocks = bytes.chunks_exact(BLOCK);
    let whole = blocks.take_while(|block| is_zero(block)).count() * BLOCK;
    let rest = bytes[whole..].iter().take_while(|byte| **byte == 0);
    whole + rest.count()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

/// Where the first run of at least `min` zeros begins. Looks at one byte a stride first, so that data costs next to nothing.
fn zero_run(bytes: &[u8], min: usize) -> Option<usize> {
    let stride = min / 2;
    let mut at = stride - 1;
    while at < bytes.len() {
        if bytes[at] == 0 {
            let before = bytes[..at].iter().rev().take_while(|byte| **byte == 0);
            let begin = at - before.count();
            let length = leading_zeros(&bytes[begin..]);
            if length >= min {
                return Some(begin);
            }
        }
        at += stride;
    }
    None
}

/// The bytes of a reader.
pub(crate) struct ReaderFeed<'a>(pub(crate) &'a mut dyn Read);

impl Feed for ReaderFeed<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        loop {
            match self.0.read(buffer) {
                Ok(0) => return Ok(Next::End),
                Ok(filled) => return Ok(Next::Bytes(filled)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads at an offset into a buffer and says how much it filled.
pub(crate) type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<usize> + 'a;

/// The bytes of a file whose runs of data are known.
pub(crate) struct SparseFeed<'a> {
    pub(crate) size: u64,
    /// Runs of data still to come, ascending.
    pub(crate) extents: &'a [(u64, u64)],
    pub(crate) read_at: &'a mut ReadAt<'a>,
    pub(crate) offset: u64,
}

impl Feed for SparseFeed<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        while let [(begin, length), rest @ ..] = self.extents {
            let end = begin.saturating_add(*length).min(self.size);
            if self.offset < end {
                return match self.offset < *begin {
                    true => Ok(self.zeros(*begin)),
                    false => self.bytes(end, buffer),
                };
            }
            self.extents = rest;
        }
        match self.offset < self.size {
            true => Ok(self.zeros(self.size)),
            false => Ok(Next::End),
        }
    }
}

impl SparseFeed<'_> {
    fn zeros(&mut self, until: u64) -> Next {
        let zeros = until - self.offset;
        self.offset = until;
        Next::Zeros(zeros)
    }

    fn bytes(&mut self, end: u64, buffer: &mut [u8]) -> io::Result<Next> {
        let left = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        match (self.read_at)(self.offset, &mut buffer[..wanted])? {
            // The file has become shorter: what was there reads as zeros, and its length stays as it was said to be.
            0 => Ok(self.zeros(end)),
            filled => {
                self.offset += filled as u64;
                Ok(Next::Bytes(filled))
            }
        }
    }
}

#[cfg(test)]
mod tests;
