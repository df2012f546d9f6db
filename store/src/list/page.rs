//! One page of an extent list (docs/format.md, "Extent-list pages").

use crate::{
    bytes::{Decoded, array_at, u64_at},
    ids::Digest,
    page::{HEADER_BYTES, Header, PageKind},
};

/// More rows than this are never in one page.
pub(crate) const MAX_ROWS: u32 = 2048;
/// No file is longer, as Linux has it.
pub(crate) const MAX_FILE_BYTES: u64 = i64::MAX as u64;

const TOTAL: usize = HEADER_BYTES;
const ROWS: usize = TOTAL + 8;
const ROW_BYTES: usize = 8 + Digest::LEN;
/// Stands where a hole has no digest.
const HOLE: [u8; Digest::LEN] = [0; Digest::LEN];

/// Rows that will be a page.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) total: u64,
}

impl Rows {
    /// Appends a row of `length` bytes; no digest for a hole. The caller sees to it that the total stays below the limit.
    pub(crate) fn push(&mut self, length: u64, digest: Option<Digest>) {
        self.rows.extend(self.total.to_le_bytes());
        self.rows
            .extend(digest.as_ref().map_or(&HOLE, Digest::as_bytes));
        self.count += 1;
        self.total += length;
    }

    /// The digest of the only row, when there is one row and it is no hole.
    pub(crate) fn only(&self) -> Option<Digest> {
        let digest = array_at(&self.rows, 8).ok()?;
        (self.count == 1 && digest != HOLE).then(|| Digest::from_bytes(digest))
    }

    pub(crate) fn encode(&self, level: u8) -> Vec<u8> {
        let mut page = Vec::with_capacity(ROWS + self.rows.len());
        let header = Header {
            kind: PageKind::List,
            level,
            count: self.count,
        };
        header.encode(&mut page);
        page.extend(self.total.to_le_bytes());
        page.extend(&self.rows);
        page
    }
}

/// One row: bytes `start..end` of what the page covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// A chunk at level 0, a page above it; `None` for a hole.
    pub(crate) digest: Option<Digest>,
}

/// A page, its rows decoded when they are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListPage<'a> {
    bytes: &'a [u8],
    count: usize,
    pub(crate) level: u8,
    pub(crate) total: u64,
}

impl<'a> ListPage<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let header = Header::decode(PageKind::List, bytes)?;
        if !(1..=MAX_ROWS).contains(&header.count) {
            return Err("its number of rows is out of bounds");
        }
        let count = header.count as usize;
        if bytes.len() != ROWS + count * ROW_BYTES {
            return Err("its length does not match its rows");
        }
        let total = u64_at(bytes, TOTAL)?;
        if !(1..=MAX_FILE_BYTES).contains(&total) {
            return Err("its total is out of bounds");
        }
        Ok(Self {
            bytes,
            count,
            level: header.level,
            total,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn start(&self, index: usize) -> Decoded<u64> {
        u64_at(self.bytes, ROWS + index * ROW_BYTES)
    }

    pub(crate) fn row(&self, index: usize) -> Decoded<Row> {
        let start = self.start(index)?;
        let end = if index + 1 < self.count {
            self.start(index + 1)?
        } else {
            self.total
        };
        if start >= end || end > self.total || (index == 0) != (start == 0) {
            return Err("its rows are not ascending");
        }
        let digest = array_at(self.bytes, ROWS + index * ROW_BYTES + 8)?;
        let digest = (digest != HOLE).then(|| Digest::from_bytes(digest));
        if self.level > 0 && digest.is_none() {
            return Err("a page below it has no digest");
        }
        if self.level == 0 && digest.is_some() && end - start > u64::from(u32::MAX) {
            return Err("a chunk in it is too long");
        }
        Ok(Row { start, end, digest })
    }

    /// The number of the row that holds `offset`.
    pub(crate) fn find(&self, offset: u64) -> Decoded<usize> {
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.start(middle)? <= offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
