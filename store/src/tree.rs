//! Trees: folders as content-addressed pages, with the number of nodes below each entry.
//!
//! A position is computed, never stored: whatever the pages say, every sum is checked, every descent is
//! bounded, and what does not add up is `Corrupt`.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod leaves;
mod needs;
mod page;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use crate::{
    bytes::{Decoded, corrupt},
    draft::Draft,
    entry::{Entry, Node, TreeRef},
    error::{Error, Result},
    ids::Digest,
    page::PageSource,
    store::Store,
};

pub use leaves::Leaf;
pub(crate) use needs::needs;
use page::{Child, TreePage};
pub use writer::TreeWriter;

/// Folders deeper than this are not descended into; Linux itself names no path of more than 2048 components.
const MAX_DEPTH: usize = 1 << 16;

/// An entry and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Position in preorder over the whole snapshot; the root is 0.
    pub position: u64,
    /// Position of the folder it is in.
    pub parent: u64,
    /// Its number among the folder's entries, from 0: stable, usable as a readdir offset.
    pub index: u64,
    /// The entry.
    pub entry: Arc<Entry>,
}

/// Reads trees, by name and by position, through the store's cache (or, `over_draft`, out of a draft under way).
#[derive(Clone, Debug)]
pub struct TreeReader<S = Store> {
    pages: S,
    root: TreeRef,
}

/// What an entry of a folder is looked up by.
#[derive(Clone, Copy, Debug)]
enum Key<'a> {
    Name(&'a [u8]),
    /// A node below the folder, 0 being its first entry.
    Node(u64),
}

/// One step down the pages of a folder. Numbers count from the beginning of the page.
enum Step {
    Page {
        page: Child,
        nodes_before: u64,
        entries_before: u64,
    },
    Entry {
        entry: Arc<Entry>,
        nodes_before: u64,
        index: u64,
    },
}

/// Where a page begins: the position of its first entry and that entry's number in the folder.
#[derive(Clone, Copy, Debug)]
struct Start {
    position: u64,
    index: u64,
}

const OUT_OF_BOUNDS: &str = "a position in it is out of bounds";

impl Start {
    fn below(tree: &TreeRef, parent: u64) -> Result<Self> {
        let first = Self {
            position: parent,
            index: 0,
        };
        first.after(1, 0).map_err(corrupt("Tree", &tree.digest))
    }

    fn after(self, nodes: u64, entries: u64) -> Decoded<Self> {
        Ok(Self {
            position: self.position.checked_add(nodes).ok_or(OUT_OF_BOUNDS)?,
            index: self.index.checked_add(entries).ok_or(OUT_OF_BOUNDS)?,
        })
    }
}

impl TreeReader {
    /// Reads the snapshot whose root is `root`.
    #[must_use]
    pub fn new(store: Store, root: TreeRef) -> Self {
        Self { pages: store, root }
    }
}

impl<'a> TreeReader<&'a Draft> {
    /// Reads a tree of `draft`, or a published one, while the draft is under way.
    #[must_use]
    pub fn over_draft(draft: &'a Draft, root: TreeRef) -> Self {
        Self { pages: draft, root }
    }
}

impl<S: PageSource> TreeReader<S> {
    /// The root.
    #[must_use]
    pub fn root(&self) -> TreeRef {
        self.root
    }

    /// The entry called `name` in the folder `tree`, which stands at `position`; `None` when there is none.
    pub fn lookup(&self, tree: &TreeRef, position: u64, name: &[u8]) -> Result<Option<Located>> {
        self.find(tree, position, Key::Name(name))
    }

    /// The entry at `position` by descent from the root; `None` for the root itself, `NotFound` beyond the end.
    pub fn at(&self, position: u64) -> Result<Option<Located>> {
        let mut last = None;
        self.descend(position, &mut |located| last = Some(located.clone()))?;
        Ok(last)
    }

    /// Entries of the folder `tree` at `position`, from entry number `index` on, `limit` at most.
    pub fn entries(
        &self,
        tree: &TreeRef,
        position: u64,
        index: u64,
        limit: usize,
    ) -> Result<Vec<Located>> {
        let mut wanted = Wanted {
            parent: position,
            from: index,
            limit,
            found: Vec::new(),
        };
        let start = Start::below(tree, position)?;
        self.collect(&top(tree)?, start, &mut wanted)?;
        Ok(wanted.found)
    }

    /// The entry at `path` (components, no `.` or `..`); `None` for the root itself, `NotFound` when a component is missing or no folder.
    pub fn resolve(&self, path: &[&[u8]]) -> Result<Option<Located>> {
        let not_found = || Error::NotFound {
            what: "Path",
            name: format!("/{}", String::from_utf8_lossy(&path.join(&b'/'))),
        };
        let mut folder = Some((self.root, 0));
        let mut last = None;
        for name in path {
            let (tree, position) = folder.ok_or_else(not_found)?;
            let located = self.lookup(&tree, position, name)?.ok_or_else(not_found)?;
            folder = match located.entry.node {
                Node::Directory(tree) => Some((tree, located.position)),
                _ => None,
            };
            last = Some(located);
        }
        Ok(last)
    }

    /// The path of `position` as components.
    pub fn path_of(&self, position: u64) -> Result<Vec<Vec<u8>>> {
        let mut path = Vec::new();
        self.descend(position, &mut |located| {
            path.push(located.entry.name.as_bytes().to_vec());
        })?;
        Ok(path)
    }

    /// Every page digest of one folder, not of the folders below it. For verify, collection and diff.
    pub fn pages(&self, tree: &TreeRef) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        self.collect_pages(&top(tree)?, &mut digests)?;
        Ok(digests)
    }

    /// Calls `each` for every entry on the way to `position`, the last being the one there.
    fn descend(&self, position: u64, each: &mut dyn FnMut(&Located)) -> Result<()> {
        if position >= self.root.nodes {
            return Err(Error::NotFound {
                what: "Node",
                name: position.to_string(),
            });
        }
        let (mut tree, mut at) = (self.root, 0);
        for _ in 0..MAX_DEPTH {
            if at == position {
                return Ok(());
            }
            let located = self.find(&tree, at, Key::Node(position - at - 1))?;
            let missing = || corrupt("Tree", &tree.digest)("a node it counts is missing");
            let located = located.ok_or_else(missing)?;
            each(&located);
            at = located.position;
            match located.entry.node {
                Node::Directory(below) => tree = below,
                _ if at == position => {}
                _ => return Err(missing()),
            }
        }
        Err(corrupt("Tree", &self.root.digest)("it is too deep"))
    }

    fn find(&self, tree: &TreeRef, parent: u64, key: Key<'_>) -> Result<Option<Located>> {
        let mut child = top(tree)?;
        let mut start = Start::below(tree, parent)?;
        let mut key = key;
        // The level falls with every page, so this ends.
        loop {
            let step = self.on_page(&child, |page| step(page, key))?;
            match step {
                None => return Ok(None),
                Some(Step::Page {
                    page,
                    nodes_before,
                    entries_before,
                }) => {
                    let next = start.after(nodes_before, entries_before);
                    start = next.map_err(corrupt("Tree page", &child.digest))?;
                    child = page;
                    if let Key::Node(node) = &mut key {
                        *node -= nodes_before;
                    }
                }
                Some(Step::Entry {
                    entry,
                    nodes_before,
                    index,
                }) => {
                    let at = start.after(nodes_before, index);
                    let at = at.map_err(corrupt("Tree page", &child.digest))?;
                    return Ok(Some(Located {
                        position: at.position,
                        parent,
                        index: at.index,
                        entry,
                    }));
                }
            }
        }
    }

    /// Recurses once a level.
    fn collect(&self, child: &Child, start: Start, wanted: &mut Wanted) -> Result<()> {
        let bytes = self.pages.page(&child.digest)?;
        let wrong = || corrupt("Tree page", &child.digest);
        let page = TreePage::decode_child(child, &bytes).map_err(wrong())?;
        let skip = wanted.from.saturating_sub(start.index);
        let Some(first) = page.find_entry(skip).map_err(wrong())? else {
            return Ok(());
        };
        if skip >= page.total_entries {
            return Ok(());
        }
        for row in first..page.count() {
            if wanted.found.len() >= wanted.limit {
                break;
            }
            let nodes = page.nodes(row).map_err(wrong())?;
            let entries = page.entries(row).map_err(wrong())?;
            let below = start.after(nodes.start, entries.start).map_err(wrong())?;
            if page.level > 0 {
                let child = page.child(row).map_err(wrong())?;
                self.collect(&child, below, wanted)?;
            } else {
                let entry = page.entry(row).map_err(wrong())?;
                wanted.push(below, entry).map_err(wrong())?;
            }
        }
        Ok(())
    }

    /// Recurses once a level.
    fn collect_pages(&self, child: &Child, digests: &mut Vec<Digest>) -> Result<()> {
        digests.push(child.digest);
        let children = self.on_page(child, |page| match page.level {
            0 => Ok(Vec::new()),
            _ => (0..page.count()).map(|row| page.child(row)).collect(),
        })?;
        let name = |child: &Child| child.place.clone().map(|place| place.first_name);
        if !children.is_sorted_by(|one, other| name(one) < name(other)) {
            return Err(corrupt("Tree page", &child.digest)(UNSORTED));
        }
        children
            .iter()
            .try_for_each(|child| self.collect_pages(child, digests))
    }

    fn on_page<T>(
        &self,
        child: &Child,
        read: impl FnOnce(&TreePage<'_>) -> Decoded<T>,
    ) -> Result<T> {
        let bytes = self.pages.page(&child.digest)?;
        TreePage::decode_child(child, &bytes)
            .and_then(|page| read(&page))
            .map_err(corrupt("Tree page", &child.digest))
    }
}

const UNSORTED: &str = "its names are not ascending";

/// The entries `TreeReader::entries` is collecting.
struct Wanted {
    parent: u64,
    from: u64,
    limit: usize,
    found: Vec<Located>,
}

impl Wanted {
    fn push(&mut self, at: Start, entry: Entry) -> Decoded<()> {
        let last = self.found.last();
        if last.is_some_and(|last| last.entry.name >= entry.name) {
            return Err(UNSORTED);
        }
        self.found.push(Located {
            position: at.position,
            parent: self.parent,
            index: at.index,
            entry: Arc::new(entry),
        });
        Ok(())
    }
}

fn step(page: &TreePage<'_>, key: Key<'_>) -> Decoded<Option<Step>> {
    let row = match key {
        Key::Name(name) => page.find_name(name)?,
        Key::Node(node) => page.find_node(node)?,
    };
    let Some(row) = row else { return Ok(None) };
    let nodes = page.nodes(row)?;
    let entries = page.entries(row)?;
    if matches!(key, Key::Node(node) if !nodes.contains(&node)) {
        return Ok(None);
    }
    if page.level > 0 {
        return Ok(Some(Step::Page {
            page: page.child(row)?,
            nodes_before: nodes.start,
            entries_before: entries.start,
        }));
    }
    if matches!(key, Key::Name(name) if name != page.name(row)?) {
        return Ok(None);
    }
    Ok(Some(Step::Entry {
        entry: Arc::new(page.entry(row)?),
        nodes_before: nodes.start,
        index: entries.start,
    }))
}

fn top(tree: &TreeRef) -> Result<Child> {
    let nodes = tree
        .nodes
        .checked_sub(1)
        .ok_or("it does not count its own folder")
        .map_err(corrupt("Tree", &tree.digest))?;
    Ok(Child {
        digest: tree.digest,
        place: None,
        nodes,
    })
}
