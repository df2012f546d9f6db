//! What a tree page needs, for collection: its own bytes say it, wherever it stands.

use super::page::TreePage;
use crate::{
    bytes::Decoded,
    entry::{Content, Node},
    page::Need,
};

/// Calls `each` with everything a tree page needs, whatever is said of it above: what its bytes name is the same wherever it stands.
pub(crate) fn needs(bytes: &[u8], each: &mut dyn FnMut(Need)) -> Decoded<()> {
    let page = TreePage::decode(bytes)?;
    for row in 0..page.count() {
        if page.level > 0 {
            each(Need::Page(page.child(row)?.digest));
            continue;
        }
        match page.entry(row)?.node {
            Node::Directory(tree) => each(Need::Page(tree.digest)),
            Node::File { content, .. } => match content {
                Content::Hole => {}
                Content::Chunk(digest) => each(Need::Chunk(digest)),
                Content::List(digest) | Content::SparseList(digest) => each(Need::Page(digest)),
            },
            Node::Symlink(_)
            | Node::CharDevice(_)
            | Node::BlockDevice(_)
            | Node::Fifo
            | Node::Socket => {}
        }
    }
    Ok(())
}
