//! Writing extent lists.

use crate::{
    entry::Content,
    error::{Error, Result},
    ids::Digest,
    list::page::{MAX_FILE_BYTES, MAX_ROWS, Rows},
    page::MAX_LEVEL,
};

/// A page is not cut before it has this many rows, whatever the digests say.
const MIN_ROWS: u32 = 64;
/// One digest in 512 ends a page, so that equal runs of chunks share pages wherever they stand.
const CUT_MASK: u16 = 511;

/// Takes the extents of one file in order and writes their pages.
pub(crate) struct ListWriter<'a> {
    put_page: &'a mut dyn FnMut(Vec<u8>) -> Result<Digest>,
    levels: Vec<Level>,
    /// A hole that may still grow.
    hole: u64,
    has_holes: bool,
    total: u64,
}

#[derive(Default)]
struct Level {
    rows: Rows,
    /// The page is full: the next row begins another.
    is_cut: bool,
}

impl<'a> ListWriter<'a> {
    /// A writer of one list; `put_page` stores a page and returns its digest.
    pub(crate) fn new(put_page: &'a mut dyn FnMut(Vec<u8>) -> Result<Digest>) -> Self {
        Self {
            put_page,
            levels: vec![Level::default()],
            hole: 0,
            has_holes: false,
            total: 0,
        }
    }

    /// Appends a chunk of `raw_len` bytes, which are not none.
    pub(crate) fn push_chunk(&mut self, digest: Digest, raw_len: u32) -> Result<()> {
        if raw_len == 0 {
            return Err(Error::Invalid {
                what: "extent",
                why: "a chunk in it is empty".to_owned(),
            });
        }
        self.grow(u64::from(raw_len))?;
        self.end_hole()?;
        self.add(0, u64::from(raw_len), Some(digest))
    }

    /// Appends `length` zeros.
    pub(crate) fn push_hole(&mut self, length: u64) -> Result<()> {
        self.grow(length)?;
        self.hole += length;
        Ok(())
    }

    /// Writes what is left and returns the content in its simplest form.
    pub(crate) fn finish(mut self) -> Result<Content> {
        let bottom = &self.levels[0].rows;
        if self.levels.len() == 1 && bottom.count == 0 {
            return Ok(Content::Hole);
        }
        self.end_hole()?;
        if let Some(digest) = self.only_chunk() {
            return Ok(Content::Chunk(digest));
        }
        // A level is only begun for a second page below it, so the last level ends as a single page.
        let mut level = 0;
        loop {
            let (digest, total) = self.flush(level)?;
            level += 1;
            if level == self.levels.len() {
                return Ok(match self.has_holes {
                    true => Content::SparseList(digest),
                    false => Content::List(digest),
                });
            }
            self.add(level, total, Some(digest))?;
        }
    }

    fn only_chunk(&self) -> Option<Digest> {
        match &*self.levels {
            [bottom] => bottom.rows.only(),
            _ => None,
        }
    }

    fn grow(&mut self, length: u64) -> Result<()> {
        self.total = self
            .total
            .checked_add(length)
            .filter(|total| *total <= MAX_FILE_BYTES)
            .ok_or(Error::Limit {
                what: "The length of a file",
                limit: MAX_FILE_BYTES,
            })?;
        Ok(())
    }

    fn end_hole(&mut self) -> Result<()> {
        match std::mem::take(&mut self.hole) {
            0 => Ok(()),
            length => {
                self.has_holes = true;
                self.add(0, length, None)
            }
        }
    }

    fn add(&mut self, level: usize, length: u64, digest: Option<Digest>) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Level::default());
        }
        if self.levels[level].is_cut {
            let (page, total) = self.flush(level)?;
            self.add(level + 1, total, Some(page))?;
        }
        let Level { rows, is_cut } = &mut self.levels[level];
        rows.push(length, digest);
        *is_cut = rows.count == MAX_ROWS
            || rows.count >= MIN_ROWS && digest.as_ref().is_some_and(ends_page);
        Ok(())
    }

    fn flush(&mut self, level: usize) -> Result<(Digest, u64)> {
        let number = u8::try_from(level)
            .ok()
            .filter(|level| *level <= MAX_LEVEL)
            .ok_or(Error::Limit {
                what: "The levels of an extent list",
                limit: u64::from(MAX_LEVEL),
            })?;
        let Level { rows, .. } = std::mem::take(&mut self.levels[level]);
        let digest = (self.put_page)(rows.encode(number))?;
        Ok((digest, rows.total))
    }
}

fn ends_page(digest: &Digest) -> bool {
    let [low, high, ..] = *digest.as_bytes();
    u16::from_le_bytes([low, high]) & CUT_MASK == 0
}
