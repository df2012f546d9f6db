//! The leaf pages of a folder, for walks that pass over what two folders have in common.

use crate::{
    bytes::corrupt,
    entry::TreeRef,
    error::Result,
    ids::Digest,
    page::PageSource,
    tree::{Located, Start, TreeReader, UNSORTED, Wanted, page::Child, top},
};

/// One leaf page of a folder: a run of its entries.
#[derive(Clone, Debug)]
pub struct Leaf {
    child: Child,
    start: Start,
    parent: u64,
}

impl Leaf {
    /// The page's digest: two folders that both have it have all its entries in common.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.child.digest
    }

    /// The name of its first entry; `None` when the folder is a single page and the page must be read to tell.
    #[must_use]
    pub fn first_name(&self) -> Option<&[u8]> {
        let place = self.child.place.as_ref()?;
        Some(&place.first_name)
    }

    fn is_bottom(&self) -> bool {
        let place = self.child.place.as_ref();
        place.is_some_and(|place| place.level == 0)
    }
}

impl<S: PageSource> TreeReader<S> {
    /// The leaf pages of the folder `tree` at `position`, in order of their entries.
    pub fn leaves(&self, tree: &TreeRef, position: u64) -> Result<Vec<Leaf>> {
        let mut leaves = Vec::new();
        let start = Start::below(tree, position)?;
        let top = Leaf {
            child: top(tree)?,
            start,
            parent: position,
        };
        self.collect_leaves(top, &mut leaves)?;
        if !leaves.is_sorted_by(|one, other| one.first_name() < other.first_name()) {
            return Err(corrupt("Tree", &tree.digest)(UNSORTED));
        }
        Ok(leaves)
    }

    /// The entries of a leaf page.
    pub fn leaf_entries(&self, leaf: &Leaf) -> Result<Vec<Located>> {
        let mut wanted = Wanted {
            parent: leaf.parent,
            from: leaf.start.index,
            limit: usize::MAX,
            found: Vec::new(),
        };
        self.collect(&leaf.child, leaf.start, &mut wanted)?;
        Ok(wanted.found)
    }

    /// Recurses once a level.
    fn collect_leaves(&self, page: Leaf, leaves: &mut Vec<Leaf>) -> Result<()> {
        let rows = self.on_page(&page.child, |decoded| {
            if decoded.level == 0 {
                return Ok(None);
            }
            let row = |row| {
                let start = page
                    .start
                    .after(decoded.nodes(row)?.start, decoded.entries(row)?.start)?;
                Ok(Leaf {
                    child: decoded.child(row)?,
                    start,
                    parent: page.parent,
                })
            };
            (0..decoded.count())
                .map(row)
                .collect::<Result<Vec<_>, _>>()
                .map(Some)
        })?;
        match rows {
            None => leaves.push(page),
            Some(rows) if rows.iter().all(Leaf::is_bottom) => leaves.extend(rows),
            Some(rows) => {
                for row in rows {
                    self.collect_leaves(row, leaves)?;
                }
            }
        }
        Ok(())
    }
}
