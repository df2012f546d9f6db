//! Whether a tree that somebody remembers is still all there.

use std::collections::HashSet;

use super::mark::{Finder, Page, walk};
use crate::{error::Result, ids::Digest, progress::Silent, store::Store};

/// A tree of more pages is not looked at to its end, and counts as not whole.
const MAX_PAGES: usize = 4 << 20;

impl Store {
    /// True when everything the tree with the top page `root` needs is here for a snapshot to rely on, which a top page alone
    /// does not tell: what is below it may have been collected. Looked at once, and again after a collection has removed something.
    ///
    /// The answer holds for as long as a lease or draft that began before it lives, or a root names the tree.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn is_whole(&self, root: &Digest) -> Result<bool> {
        if self.collector().is_known_whole(root) {
            return Ok(true);
        }
        let _lease = self.lease();
        let mut search = Search {
            store: self,
            seen: HashSet::new(),
            has_all: true,
        };
        let walked = walk(self, root, &mut search, &Silent)?;
        let is_whole = search.has_all && walked.unknown.is_none();
        if is_whole {
            self.collector().note_whole(*root);
        }
        Ok(is_whole)
    }
}

struct Search<'a> {
    store: &'a Store,
    seen: HashSet<Digest>,
    has_all: bool,
}

impl Finder for Search<'_> {
    fn chunk(&mut self, digest: &Digest) -> Result<()> {
        self.has_all = self.has_all && self.store.has(digest)?;
        Ok(())
    }

    fn page(&mut self, digest: &Digest) -> Result<Page> {
        self.chunk(digest)?;
        self.has_all &= self.seen.len() < MAX_PAGES;
        // Nothing more is learnt once something is missing.
        match self.has_all && self.seen.insert(*digest) {
            true => Ok(Page::New),
            false => Ok(Page::Known),
        }
    }
}
