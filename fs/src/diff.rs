//! What differs between two snapshots, in time proportional to the difference.
//!
//! Both trees are walked side by side in order of path. Folders with equal digests are not entered, and pages
//! that two folders have in common are not read. Contents are compared by digest: bytes that were cut
//! differently, as in a file whose zeros became a hole, count as modified.

#[cfg(test)]
mod tests;

use std::{cmp::Ordering, collections::HashSet, sync::Arc, vec};

use snap_store::{Entry, Leaf, Manifest, Node, Result, Store, TreeReader, TreeRef};

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only in the newer.
    Added,
    /// Only in the older.
    Removed,
    /// Content or target differs.
    Modified,
    /// Only metadata differs.
    Metadata,
    /// Another kind of node.
    Replaced,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Components of the path.
    pub path: Vec<Vec<u8>>,
    /// How.
    pub change: Change,
    /// Size in the older, for files.
    pub old_size: Option<u64>,
    /// Size in the newer, for files.
    pub new_size: Option<u64>,
}

/// Differences in order of path (a folder before what is in it), strictly after `after`, `limit` at most.
pub fn diff(
    store: &Store,
    from: &Manifest,
    to: &Manifest,
    after: Option<&[Vec<u8>]>,
    limit: usize,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    if after.is_none() && from.root_meta != to.root_meta && limit > 0 {
        differences.push(Difference {
            path: Vec::new(),
            change: Change::Metadata,
            old_size: None,
            new_size: None,
        });
    }
    let walk = Walk {
        reader: TreeReader::new(store.clone(), to.root),
        path: Vec::new(),
        after: after.unwrap_or_default(),
        stack: Vec::new(),
    };
    walk.run((from.root, to.root), limit, &mut differences)?;
    Ok(differences)
}

/// Both trees, side by side.
struct Walk<'a> {
    reader: TreeReader,
    /// Where the walk stands.
    path: Vec<Vec<u8>>,
    /// Nothing up to here is wanted.
    after: &'a [Vec<u8>],
    stack: Vec<Pair>,
}

/// One folder, in one tree or in both.
struct Pair {
    old: Cursor,
    new: Cursor,
}

/// The entries of one name, in the older and in the newer tree; at least one of them.
type Both = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// What is left of a folder's entries.
#[derive(Default)]
struct Cursor {
    leaves: vec::IntoIter<Leaf>,
    entries: vec::IntoIter<Arc<Entry>>,
    next: Option<Arc<Entry>>,
}

impl Walk<'_> {
    fn run(
        mut self,
        (from, to): (TreeRef, TreeRef),
        limit: usize,
        differences: &mut Vec<Difference>,
    ) -> Result<()> {
        self.enter(Some(from), Some(to))?;
        while let Some(pair) = self.stack.last_mut() {
            if differences.len() >= limit {
                break;
            }
            let Some((old, new)) = pair.next(&self.reader)? else {
                self.stack.pop();
                self.path.pop();
                continue;
            };
            let Some(entry) = old.as_ref().or(new.as_ref()) else {
                continue;
            };
            self.path.push(entry.name.as_bytes().to_vec());
            if self.path.as_slice() > self.after {
                differences.extend(self.compare(old.as_deref(), new.as_deref()));
            }
            if self.enter(tree(old.as_deref()), tree(new.as_deref()))? {
                continue;
            }
            self.path.pop();
        }
        Ok(())
    }

    /// Goes into the folder at the path, unless it is the same in both trees or nothing in it is wanted.
    fn enter(&mut self, old: Option<TreeRef>, new: Option<TreeRef>) -> Result<bool> {
        let path = self.path.as_slice();
        if old == new || path < self.after && !self.after.starts_with(path) {
            return Ok(false);
        }
        let leaves = |tree: Option<TreeRef>| match tree {
            Some(tree) => self.reader.leaves(&tree, 0),
            None => Ok(Vec::new()),
        };
        let (old, new) = (leaves(old)?, leaves(new)?);
        let from = match self.after.strip_prefix(self.path.as_slice()) {
            Some([name, ..]) => name.as_slice(),
            _ => &[],
        };
        let pair = Pair {
            old: Cursor::new(&old, &new, from),
            new: Cursor::new(&new, &old, from),
        };
        self.stack.push(pair);
        Ok(true)
    }

    fn compare(&self, old: Option<&Entry>, new: Option<&Entry>) -> Option<Difference> {
        let change = match (old, new) {
            (Some(old), Some(new)) => changed(old, new)?,
            (Some(_), None) => Change::Removed,
            (None, _) => Change::Added,
        };
        Some(Difference {
            path: self.path.clone(),
            change,
            old_size: old.and_then(size),
            new_size: new.and_then(size),
        })
    }
}

impl Pair {
    /// The next name, with its entry in either tree.
    fn next(&mut self, reader: &TreeReader) -> Result<Option<Both>> {
        let old = self.old.peek(reader)?.map(|entry| &entry.name);
        let new = self.new.peek(reader)?.map(|entry| &entry.name);
        let order = match (old, new) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        let old = order.is_le().then(|| self.old.next.take()).flatten();
        let new = order.is_ge().then(|| self.new.next.take()).flatten();
        Ok(Some((old, new)))
    }
}

impl Cursor {
    /// The entries of `leaves` that are not on pages of `others`, from about `from` on.
    fn new(leaves: &[Leaf], others: &[Leaf], from: &[u8]) -> Self {
        let others: HashSet<_> = others.iter().map(Leaf::digest).collect();
        // The page that holds `from` is the last one that does not begin after it.
        let skip = leaves
            .partition_point(|leaf| leaf.first_name().is_none_or(|first| first <= from))
            .saturating_sub(1);
        let mut leaves: Vec<_> = leaves[skip..].to_vec();
        leaves.retain(|leaf| !others.contains(&leaf.digest()));
        Self {
            leaves: leaves.into_iter(),
            ..Self::default()
        }
    }

    fn peek(&mut self, reader: &TreeReader) -> Result<Option<&Entry>> {
        while self.next.is_none() {
            self.next = self.entries.next();
            if self.next.is_some() {
                break;
            }
            let Some(leaf) = self.leaves.next() else {
                break;
            };
            let entries = reader.leaf_entries(&leaf)?;
            let entries: Vec<_> = entries.into_iter().map(|located| located.entry).collect();
            self.entries = entries.into_iter();
        }
        Ok(self.next.as_deref())
    }
}

fn tree(entry: Option<&Entry>) -> Option<TreeRef> {
    match entry?.node {
        Node::Directory(tree) => Some(tree),
        _ => None,
    }
}

fn size(entry: &Entry) -> Option<u64> {
    match entry.node {
        Node::File { size, .. } => Some(size),
        _ => None,
    }
}

fn changed(old: &Entry, new: &Entry) -> Option<Change> {
    if old.node.kind() != new.node.kind() {
        return Some(Change::Replaced);
    }
    let is_same = match (&old.node, &new.node) {
        (Node::Directory(_), _) => true,
        (
            Node::File { size, content, .. },
            Node::File {
                size: new_size,
                content: new_content,
                ..
            },
        ) => (size, content) == (new_size, new_content),
        (old, new) => old == new,
    };
    if !is_same {
        return Some(Change::Modified);
    }
    let is_linked = |entry: &Entry| matches!(entry.node, Node::File { linked: true, .. });
    let is_meta_same = old.meta == new.meta && is_linked(old) == is_linked(new);
    (!is_meta_same).then_some(Change::Metadata)
}
