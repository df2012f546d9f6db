//! Writing a folder: pages cut by content, in as many levels as are needed.

use crate::{
    draft::Draft,
    entry::{Entry, EntryName, MAX_NODES, TreeRef},
    error::{Error, Result},
    ids::Digest,
    page::MAX_LEVEL,
    tree::page::Rows,
};

/// A page is not cut before it has this many bytes, whatever the names say.
const MIN_PAGE_BYTES: usize = 8 << 10;
/// A page is cut before it has more bytes, unless one entry alone takes more.
const MAX_PAGE_BYTES: usize = 128 << 10;

/// Writes one folder: entries in ascending order of name, then the tree.
#[derive(Debug)]
pub struct TreeWriter<'a> {
    draft: &'a Draft,
    pages: Pages,
}

impl<'a> TreeWriter<'a> {
    /// A writer of one folder into `draft`.
    #[must_use]
    pub fn new(draft: &'a Draft) -> Self {
        Self {
            draft,
            pages: Pages::default(),
        }
    }

    /// Adds the next entry; its name must be greater than the one before.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not, or when the entry exceeds a limit of the format.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        let draft = self.draft;
        self.pages.push(entry, &mut |page| draft.put_meta(page))
    }

    /// Writes what is left and returns the tree, whose node count includes the folder itself.
    pub fn finish(self) -> Result<TreeRef> {
        let draft = self.draft;
        self.pages.finish(&mut |page| draft.put_meta(page))
    }
}

/// Stores a page and returns its digest.
type PutPage<'a> = dyn FnMut(Vec<u8>) -> Result<Digest> + 'a;

/// The pages of one folder that are not full yet, one a level.
#[derive(Debug, Default)]
pub(super) struct Pages {
    levels: Vec<Level>,
    last_name: Option<EntryName>,
    encoded: Vec<u8>,
    nodes: u64,
}

#[derive(Debug, Default)]
struct Level {
    rows: Rows,
    /// The page is full: the next row begins another.
    is_cut: bool,
}

impl Level {
    /// Decides, with the row of `name` just added, whether the page ends here. It depends on the name alone,
    /// so that a changed folder is cut as before on both sides of the change.
    fn cut_after(&mut self, name: &[u8]) {
        self.is_cut =
            self.rows.page_bytes() >= MIN_PAGE_BYTES && Digest::of(name).as_bytes()[0] == 0;
    }
}

impl Pages {
    pub(super) fn push(&mut self, entry: &Entry, put: &mut PutPage<'_>) -> Result<()> {
        if self
            .last_name
            .as_ref()
            .is_some_and(|last| *last >= entry.name)
        {
            return Err(Error::Invalid {
                what: "order of entries",
                why: format!("{:?} does not come after the one before", entry.name),
            });
        }
        let nodes = entry.node.nodes();
        self.nodes = self
            .nodes
            .checked_add(nodes)
            .filter(|sum| *sum < MAX_NODES)
            .ok_or(Error::Limit {
                what: "The number of nodes",
                limit: MAX_NODES,
            })?;
        self.encoded.clear();
        entry.encode(&mut self.encoded)?;
        self.make_room(0, self.encoded.len(), put)?;
        let name = entry.name.as_bytes();
        let level = &mut self.levels[0];
        level.rows.push_entry(name, &self.encoded, nodes);
        level.cut_after(name);
        self.last_name = Some(entry.name.clone());
        Ok(())
    }

    pub(super) fn finish(mut self, put: &mut PutPage<'_>) -> Result<TreeRef> {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        // A level is only begun for a second page below it, so the last level ends as a single page.
        let mut level = 0;
        loop {
            let (digest, rows) = self.flush(level, put)?;
            level += 1;
            if level == self.levels.len() {
                let nodes = rows.nodes() + 1;
                return Ok(TreeRef { digest, nodes });
            }
            self.add_child(level, &digest, &rows, put)?;
        }
    }

    /// Ends the page of `level` when it is cut or `bytes` more are too many.
    fn make_room(&mut self, level: usize, bytes: usize, put: &mut PutPage<'_>) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Level::default());
        }
        let Level { rows, is_cut } = &self.levels[level];
        let is_full = !rows.is_empty() && rows.page_bytes() + bytes > MAX_PAGE_BYTES;
        if *is_cut || is_full {
            let (digest, rows) = self.flush(level, put)?;
            self.add_child(level + 1, &digest, &rows, put)?;
        }
        Ok(())
    }

    fn add_child(
        &mut self,
        level: usize,
        digest: &Digest,
        child: &Rows,
        put: &mut PutPage<'_>,
    ) -> Result<()> {
        self.make_room(level, Digest::LEN + child.first_name().len(), put)?;
        let level = &mut self.levels[level];
        level.rows.push_child(digest, child);
        level.cut_after(child.first_name());
        Ok(())
    }

    fn flush(&mut self, level: usize, put: &mut PutPage<'_>) -> Result<(Digest, Rows)> {
        let number = u8::try_from(level)
            .ok()
            .filter(|level| *level <= MAX_LEVEL)
            .ok_or(Error::Limit {
                what: "The levels of a folder",
                limit: u64::from(MAX_LEVEL),
            })?;
        let Level { rows, .. } = std::mem::take(&mut self.levels[level]);
        Ok((put(rows.encode(number))?, rows))
    }
}
