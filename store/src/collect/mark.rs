//! Marking: everything that snapshots need, as bits by row of the index.
//!
//! A page is read once however many snapshots share it, and marks are two bits a row, so memory does not grow with the number
//! of snapshots. What a page names is taken from its own bytes, whatever refers to it; a chunk of a file that happens to have the bytes
//! of a page is not taken for one.

use std::collections::HashSet;

use crate::{
    bytes::corrupt,
    error::{Error, Result},
    ids::{Digest, PackId},
    index::{Census, Location},
    list,
    page::{Need, PageKind},
    progress::Progress,
    store::Store,
    tree,
};

/// More missing chunks than this are not remembered one by one; so many are damage that collecting does not go on beside.
const MAX_MISSING: usize = 1 << 16;

/// Who is told of what is needed.
pub(super) trait Finder {
    /// A chunk of a file is needed.
    fn chunk(&mut self, digest: &Digest) -> Result<()>;
    /// A page is needed.
    fn page(&mut self, digest: &Digest) -> Result<Page>;
}

/// What is to be done about a page.
pub(super) enum Page {
    /// It has not been read.
    New,
    /// It has.
    Known,
    /// Nobody knows where it is.
    Missing,
}

/// How a walk went.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The first thing that could not be read, so that nobody knows what lies below it.
    pub(super) unknown: Option<Error>,
}

/// Tells `finder` of everything below `root`. Fails when the index cannot be read or somebody cancels.
pub(super) fn walk(
    store: &Store,
    root: &Digest,
    finder: &mut dyn Finder,
    progress: &dyn Progress,
) -> Result<Walked> {
    let mut walked = Walked::default();
    // Each page is put here once, so it never holds more than there are pages.
    let mut waiting = Vec::new();
    walked.meet(*root, finder, &mut waiting)?;
    while let Some(page) = waiting.pop() {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let needs = match read_needs(store, &page) {
            Ok((needs, bytes)) => {
                progress.advance(1, bytes);
                needs
            }
            Err(error) => {
                walked.unknown.get_or_insert(error);
                continue;
            }
        };
        for need in needs {
            match need {
                Need::Chunk(digest) => finder.chunk(&digest)?,
                Need::Page(digest) => walked.meet(digest, finder, &mut waiting)?,
            }
        }
    }
    Ok(walked)
}

impl Walked {
    fn meet(
        &mut self,
        digest: Digest,
        finder: &mut dyn Finder,
        waiting: &mut Vec<Digest>,
    ) -> Result<()> {
        match finder.page(&digest)? {
            Page::New => waiting.push(digest),
            Page::Known => {}
            Page::Missing => {
                self.unknown.get_or_insert(Error::NotFound {
                    what: "Page",
                    name: digest.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// What a page needs, and how many bytes it has.
fn read_needs(store: &Store, digest: &Digest) -> Result<(Vec<Need>, u64)> {
    let bytes = store.get(digest)?;
    let mut needs = Vec::new();
    let kind = PageKind::of(&bytes).map_err(corrupt("Page", digest))?;
    let decoded = match kind {
        PageKind::Tree => tree::needs(&bytes, &mut |need| needs.push(need)),
        PageKind::List => list::needs(&bytes, &mut |need| needs.push(need)),
    };
    decoded.map_err(corrupt("Page", digest))?;
    Ok((needs, bytes.len() as u64))
}

/// What is needed of everything the census counts.
#[derive(Debug)]
pub(super) struct Marks {
    census: Census,
    needed: Bits,
    /// Rows of pages that were read, or are about to be.
    walked: Bits,
    /// Chunks that are needed and nowhere; a pack that turns out to hold one stays.
    missing: HashSet<Digest>,
}

impl Marks {
    pub(super) fn new(census: Census) -> Self {
        let rows = census.rows();
        Self {
            census,
            needed: Bits::new(rows),
            walked: Bits::new(rows),
            missing: HashSet::new(),
        }
    }

    pub(super) fn census(&self) -> &Census {
        &self.census
    }

    /// True when the row's chunk is needed, and stands for it.
    pub(super) fn is_needed(&self, row: u64) -> bool {
        self.needed.has(row)
    }

    /// True when the row's chunk is a page.
    pub(super) fn is_page(&self, row: u64) -> bool {
        self.walked.has(row)
    }

    /// The row of a chunk that is needed.
    pub(super) fn needed(&self, digest: &Digest) -> Result<Option<(u64, Location)>> {
        let found = self.census.find(digest)?;
        Ok(found.filter(|(row, _)| self.needed.has(*row)))
    }

    /// True when everything the page needs is marked.
    fn has_walked(&self, digest: &Digest) -> Result<bool> {
        let found = self.census.find(digest)?;
        Ok(found.is_some_and(|(row, _)| self.walked.has(row)))
    }

    /// True when the chunk is needed and nowhere.
    pub(super) fn is_missing(&self, digest: &Digest) -> bool {
        self.missing.contains(digest)
    }

    /// How many chunks are needed and nowhere.
    pub(super) fn missing_chunks(&self) -> u64 {
        self.missing.len() as u64
    }

    /// True when there are too many of them to remember.
    pub(super) fn has_missed_too_many(&self) -> bool {
        self.missing.len() >= MAX_MISSING
    }
}

impl Finder for Marks {
    fn chunk(&mut self, digest: &Digest) -> Result<()> {
        match self.census.find(digest)? {
            Some((row, _)) => {
                self.needed.set(row);
            }
            None if self.missing.len() < MAX_MISSING => {
                self.missing.insert(*digest);
            }
            None => {}
        }
        Ok(())
    }

    fn page(&mut self, digest: &Digest) -> Result<Page> {
        let Some((row, _)) = self.census.find(digest)? else {
            return Ok(Page::Missing);
        };
        self.needed.set(row);
        Ok(match self.walked.set(row) {
            true => Page::New,
            false => Page::Known,
        })
    }
}

/// What snapshots need that have appeared since the marks were made, of packs that are condemned.
pub(super) struct Newcomers<'a> {
    store: &'a Store,
    marks: &'a Marks,
    /// Pages below which everything has been looked at.
    seen: HashSet<Digest>,
    /// Condemned packs that are needed after all.
    pub(super) needed: HashSet<PackId>,
    /// A chunk that is nowhere.
    pub(super) missing: Option<Digest>,
}

impl<'a> Newcomers<'a> {
    pub(super) fn new(store: &'a Store, marks: &'a Marks) -> Self {
        Self {
            store,
            marks,
            seen: HashSet::new(),
            needed: HashSet::new(),
            missing: None,
        }
    }

    /// True when more pages are new than should be held in memory.
    pub(super) fn is_too_much(&self) -> bool {
        self.seen.len() > MAX_NEW_PAGES
    }

    fn need(&mut self, digest: &Digest) -> Result<bool> {
        let index = self.store.index();
        let found = index.lookup(digest)?;
        match &found {
            Some(place) if index.is_condemned(&place.pack) => {
                self.needed.insert(place.pack);
            }
            Some(_) => {}
            None => {
                self.missing.get_or_insert(*digest);
            }
        }
        Ok(found.is_some())
    }
}

/// Some 100 MiB of digests; a sweep that meets more waits for the next collection.
const MAX_NEW_PAGES: usize = 1 << 20;

impl Finder for Newcomers<'_> {
    fn chunk(&mut self, digest: &Digest) -> Result<()> {
        self.need(digest).map(drop)
    }

    fn page(&mut self, digest: &Digest) -> Result<Page> {
        if !self.need(digest)? {
            return Ok(Page::Missing);
        }
        // What was marked below a page was not condemned since, or was copied first.
        if self.marks.has_walked(digest)? || !self.seen.insert(*digest) {
            return Ok(Page::Known);
        }
        match self.is_too_much() {
            true => Ok(Page::Known),
            false => Ok(Page::New),
        }
    }
}

/// A bit a row.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(rows: u64) -> Self {
        let words = usize::try_from(rows.div_ceil(64)).expect("segments count rows in 32 bits");
        Self(vec![0; words])
    }

    fn has(&self, row: u64) -> bool {
        self.0[(row / 64) as usize] >> (row % 64) & 1 == 1
    }

    /// False when it was set.
    fn set(&mut self, row: u64) -> bool {
        let word = &mut self.0[(row / 64) as usize];
        let bit = 1 << (row % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
