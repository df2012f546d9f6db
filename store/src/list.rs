//! Contents of large files: pages of extents, cut by content, in as many levels as are needed.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod page;
mod writer;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, ops::ControlFlow, ops::Range};

use crate::{
    bytes::{Decoded, corrupt},
    entry::Content,
    error::{Error, Result},
    ids::Digest,
    page::{ChunkBytes, Need, PageSource},
    store::Store,
};

use page::{ListPage, Row};
pub(crate) use writer::ListWriter;

/// More runs of data than this are not collected at once.
const MAX_RUNS: usize = 16 << 20;

/// Reads a file's bytes; cheap to make, seeks by binary search over the pages.
#[derive(Clone, Debug)]
pub struct ContentReader<S = Store> {
    source: S,
    content: Content,
    size: u64,
}

/// A page by what is said of it above.
struct Expected {
    digest: Digest,
    /// `None` for a top page.
    level: Option<u8>,
    total: u64,
    /// Where in the file it begins.
    start: u64,
}

/// A run of the file that is one chunk or one hole.
struct Extent {
    range: Range<u64>,
    chunk: Option<Digest>,
}

/// Somebody who is led through a content, page by page and chunk by chunk, in order; a damaged page does not end it.
pub trait ContentVisitor {
    /// A page that stands for `range` of the file; answers whether to go below it.
    fn enter(&mut self, page: &Digest, range: Range<u64>) -> Result<bool>;
    /// A page was gone through.
    fn leave(&mut self, page: &Digest, range: Range<u64>);
    /// A page that was entered cannot be read.
    fn broken(&mut self, page: &Digest, range: Range<u64>, error: Error) -> Result<()>;
    /// A chunk that is `range` of the file.
    fn chunk(&mut self, chunk: &Digest, range: Range<u64>) -> Result<()>;
}

type Visit<'a> = dyn FnMut(Extent) -> Result<ControlFlow<()>> + 'a;

impl<S: PageSource> ContentReader<S> {
    /// A reader of `content`, which is `size` bytes long.
    #[must_use]
    pub fn new(store: S, content: Content, size: u64) -> Self {
        Self {
            source: store,
            content,
            size,
        }
    }

    /// Appends `length` bytes from `offset` on to `buffer`, fewer only at the end; after an error it may have some of them.
    pub fn read_into(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> Result<()> {
        let length = self.size.saturating_sub(offset).min(length as u64);
        let (wanted, begin) = (offset..offset + length, buffer.len());
        buffer.reserve(length as usize);
        self.visit(wanted.clone(), &mut |extent| {
            let part = extent.range.start.max(wanted.start)..extent.range.end.min(wanted.end);
            let place = begin + bounds(&part, offset).start;
            debug_assert_eq!(place, buffer.len(), "extents follow each other");
            match &extent.chunk {
                None => buffer.resize(begin + bounds(&part, offset).end, 0),
                Some(digest) => {
                    let chunk = self.chunk(digest, &extent.range)?;
                    buffer.extend_from_slice(&chunk[bounds(&part, extent.range.start)]);
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Runs of data as (offset, length), ascending, neighbours merged; for SEEK_DATA and sparse extraction.
    pub fn extents(&self) -> Result<Vec<(u64, u64)>> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        self.visit(0..self.size, &mut |extent| {
            let length = extent.range.end - extent.range.start;
            let count = runs.len();
            match runs.last_mut() {
                _ if extent.chunk.is_none() => {}
                Some(last) if last.0 + last.1 == extent.range.start => last.1 += length,
                _ if count == MAX_RUNS => {
                    return Err(Error::Limit {
                        what: "The number of runs of a sparse file",
                        limit: MAX_RUNS as u64,
                    });
                }
                _ => runs.push((extent.range.start, length)),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(runs)
    }

    /// The first run of data at or after `offset` as (offset, length), one chunk at most; `None` when only zeros follow.
    pub fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        let mut found = None;
        self.visit(offset..self.size, &mut |extent| {
            if extent.chunk.is_none() {
                return Ok(ControlFlow::Continue(()));
            }
            let start = extent.range.start.max(offset);
            found = Some((start, extent.range.end - start));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Where the run of data at `offset` ends: `offset` itself in a hole, the size when data goes on to the end.
    pub fn next_hole(&self, offset: u64) -> Result<u64> {
        let mut end = offset;
        self.visit(offset..self.size, &mut |extent| {
            if extent.chunk.is_none() {
                return Ok(ControlFlow::Break(()));
            }
            end = extent.range.end;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(end)
    }

    /// Bytes that are in chunks, not in holes. Reads every page of the list.
    pub fn data_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        self.visit(0..self.size, &mut |extent| {
            if extent.chunk.is_some() {
                bytes += extent.range.end - extent.range.start;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(bytes)
    }

    /// The chunks that hold `offset..offset + length`, for read-ahead.
    pub fn chunks(&self, offset: u64, length: u64) -> Result<Vec<Digest>> {
        let mut chunks = Vec::new();
        let end = offset.saturating_add(length).min(self.size);
        self.visit(offset..end, &mut |extent| {
            chunks.extend(extent.chunk);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(chunks)
    }

    /// Leads `visitor` through all of the content. For verify and repair.
    pub fn tour(&self, visitor: &mut dyn ContentVisitor) -> Result<()> {
        match &self.content {
            Content::Hole => Ok(()),
            Content::Chunk(digest) => visitor.chunk(digest, 0..self.size),
            Content::List(digest) | Content::SparseList(digest) => {
                self.tour_page(&self.top(*digest), visitor)
            }
        }
    }

    /// Every digest the content needs, pages included; calls `each` for each, for equal ones at least once.
    /// A page is handed out before it is read. For verify and collection.
    pub fn walk(&self, each: &mut dyn FnMut(&Digest) -> Result<()>) -> Result<()> {
        match &self.content {
            Content::Hole => Ok(()),
            Content::Chunk(digest) => each(digest),
            Content::List(digest) | Content::SparseList(digest) => {
                let top = self.top(*digest);
                self.walk_page(&top, &mut HashSet::new(), each)
            }
        }
    }

    fn top(&self, digest: Digest) -> Expected {
        Expected {
            digest,
            level: None,
            total: self.size,
            start: 0,
        }
    }

    fn chunk(&self, digest: &Digest, range: &Range<u64>) -> Result<ChunkBytes> {
        let chunk = self.source.chunk(digest)?;
        if chunk.len() as u64 != range.end - range.start {
            return Err(corrupt("Chunk", digest)(
                "its length is not what the file says",
            ));
        }
        Ok(chunk)
    }

    fn visit(&self, wanted: Range<u64>, each: &mut Visit<'_>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let whole = |chunk| Extent {
            range: 0..self.size,
            chunk,
        };
        match &self.content {
            Content::Hole => each(whole(None)).map(|_| ()),
            Content::Chunk(digest) => each(whole(Some(*digest))).map(|_| ()),
            Content::List(digest) | Content::SparseList(digest) => {
                let top = self.top(*digest);
                self.visit_page(&top, &wanted, each).map(|_| ())
            }
        }
    }

    /// Recurses once a level.
    fn visit_page(
        &self,
        expected: &Expected,
        wanted: &Range<u64>,
        each: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>> {
        let bytes = self.source.page(&expected.digest)?;
        let wrong = || corrupt("Extent list", &expected.digest);
        let page = expected.decode(&bytes).map_err(wrong())?;
        let skip = wanted.start.saturating_sub(expected.start);
        for index in page.find(skip).map_err(wrong())?..page.count() {
            let row = page.row(index).map_err(wrong())?;
            let range = expected.start + row.start..expected.start + row.end;
            if range.start >= wanted.end {
                break;
            }
            if range.end <= wanted.start {
                return Err(wrong()("its rows are not ascending"));
            }
            let flow = match expected.below(&page, row) {
                Some(below) => self.visit_page(&below, wanted, each)?,
                None => each(Extent {
                    range,
                    chunk: row.digest,
                })?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Recurses once a level.
    fn tour_page(&self, expected: &Expected, visitor: &mut dyn ContentVisitor) -> Result<()> {
        let (digest, range) = (
            expected.digest,
            expected.start..expected.start + expected.total,
        );
        if !visitor.enter(&digest, range.clone())? {
            return Ok(());
        }
        let wrong = || corrupt("Extent list", &digest);
        let bytes = match self.source.page(&digest) {
            Ok(bytes) => bytes,
            Err(error) => return visitor.broken(&digest, range, error),
        };
        let page = match expected.decode(&bytes) {
            Ok(page) => page,
            Err(why) => return visitor.broken(&digest, range, wrong()(why)),
        };
        for index in 0..page.count() {
            let row = match page.row(index) {
                Ok(row) => row,
                Err(why) => return visitor.broken(&digest, range, wrong()(why)),
            };
            let part = expected.start + row.start..expected.start + row.end;
            match (expected.below(&page, row), row.digest) {
                (Some(below), _) => self.tour_page(&below, visitor)?,
                (None, Some(chunk)) => visitor.chunk(&chunk, part)?,
                (None, None) => {}
            }
        }
        visitor.leave(&digest, range);
        Ok(())
    }

    /// Recurses once a level; a page that is met again is not walked again.
    fn walk_page(
        &self,
        expected: &Expected,
        seen: &mut HashSet<(Digest, Option<u8>, u64)>,
        each: &mut dyn FnMut(&Digest) -> Result<()>,
    ) -> Result<()> {
        each(&expected.digest)?;
        let bytes = self.source.page(&expected.digest)?;
        let wrong = || corrupt("Extent list", &expected.digest);
        let page = expected.decode(&bytes).map_err(wrong())?;
        for index in 0..page.count() {
            let row = page.row(index).map_err(wrong())?;
            match (expected.below(&page, row), row.digest) {
                (Some(below), _) if !seen.insert((below.digest, below.level, below.total)) => {}
                (Some(below), _) => self.walk_page(&below, seen, each)?,
                (None, Some(chunk)) => each(&chunk)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// Calls `each` with everything a page of an extent list needs, whatever is said of it above.
pub(crate) fn needs(bytes: &[u8], each: &mut dyn FnMut(Need)) -> Decoded<()> {
    let page = ListPage::decode(bytes)?;
    for index in 0..page.count() {
        match page.row(index)?.digest {
            Some(digest) if page.level > 0 => each(Need::Page(digest)),
            Some(digest) => each(Need::Chunk(digest)),
            None => {}
        }
    }
    Ok(())
}

impl Expected {
    fn decode<'a>(&self, bytes: &'a [u8]) -> Decoded<ListPage<'a>> {
        let page = ListPage::decode(bytes)?;
        if page.total != self.total {
            return Err("its total is not what is said of it above");
        }
        if self.level.is_some_and(|level| level != page.level) {
            return Err("its level is not what is said of it above");
        }
        Ok(page)
    }

    /// The page of `row`, when `page` has pages below it.
    fn below(&self, page: &ListPage<'_>, row: Row) -> Option<Self> {
        Some(Self {
            level: Some(page.level.checked_sub(1)?),
            digest: row.digest?,
            total: row.end - row.start,
            start: self.start + row.start,
        })
    }
}

/// `range` as indices into a slice that begins at `base`.
fn bounds(range: &Range<u64>, base: u64) -> Range<usize> {
    (range.start - base) as usize..(range.end - base) as usize
}
