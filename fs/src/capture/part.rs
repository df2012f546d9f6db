//! A part of a tree: one node with everything below it, taken out of it or to be put into another.

use snap_store::{Draft, LinkTable, Node, Result, TreeReader};

use super::{
    CapturedTree, Part,
    base::{Moves, Removal},
};

impl Part {
    /// The part as a tree of its own; `None` when it is no folder.
    #[must_use]
    pub fn into_tree(self) -> Option<CapturedTree> {
        let Node::Directory(root) = self.node else {
            return None;
        };
        Some(CapturedTree {
            root,
            root_meta: self.meta,
            links: self.links,
            logical_bytes: self.logical_bytes,
            warnings: self.warnings,
        })
    }
}

impl From<CapturedTree> for Part {
    fn from(tree: CapturedTree) -> Self {
        Self {
            meta: tree.root_meta,
            node: Node::Directory(tree.root),
            links: tree.links,
            logical_bytes: tree.logical_bytes,
            warnings: tree.warnings,
        }
    }
}

/// What `tree` has at `path`. A file that has other names elsewhere in the tree counts in full, and keeps only the names in the part.
pub(super) fn part(draft: &Draft, tree: CapturedTree, path: &[&[u8]]) -> Result<Part> {
    let reader = TreeReader::over_draft(draft, tree.root);
    let Some(located) = reader.resolve(path)? else {
        return Ok(tree.into());
    };
    let mut counted = Removal::default();
    counted.add(&reader, &tree.links, &located)?;
    let mut moves = Moves::default();
    moves.push(located.position, located.entry.node.nodes(), 0);
    Ok(Part {
        meta: located.entry.meta.clone(),
        node: located.entry.node.clone(),
        links: LinkTable::new(&moves.apply(&tree.links)),
        logical_bytes: counted.all_bytes(),
        warnings: tree.warnings,
    })
}
