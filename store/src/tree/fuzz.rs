//! What a fuzzer does with the bytes of tree pages.

use super::{TreePage, TreeReader};
use crate::{
    entry::TreeRef,
    ids::Digest,
    page::{Need, PageSource},
};

/// More positions are not asked for.
const ASKED: u64 = 8;

/// Decodes a page, and each of its rows.
pub(crate) fn page(bytes: &[u8]) {
    let Ok(page) = TreePage::decode(bytes) else {
        return;
    };
    for index in 0..page.count() {
        let (_name, _nodes, _entries) = (page.name(index), page.nodes(index), page.entries(index));
        if page.level == 0 {
            let _entry = page.entry(index);
        } else {
            let _child = page.child(index);
        }
    }
    let _found = (
        page.find_name(b"name"),
        page.find_node(3),
        page.find_entry(3),
    );
    let mut needs = 0;
    let _told = super::needs(bytes, &mut |_: Need| needs += 1);
}

/// Asks a tree of hostile pages everything that can be asked.
pub(crate) fn tree(pages: impl PageSource, nodes: u64) {
    let digest = Digest::from_bytes([0; 32]);
    let root = TreeRef { digest, nodes };
    let reader = TreeReader { pages, root };
    for position in (0..ASKED).chain([nodes / 2, nodes.saturating_sub(1), u64::MAX]) {
        if let Ok(Some(found)) = reader.at(position) {
            assert_eq!(found.position, position);
        }
        let _path = reader.path_of(position);
    }
    let _found = (reader.lookup(&root, 0, b"a"), reader.resolve(&[b"a", b"b"]));
    let _entries = reader.entries(&root, 0, 0, 64);
    let _pages = reader.pages(&root);
    for leaf in reader.leaves(&root, 0).into_iter().flatten().take(64) {
        let _entries = reader.leaf_entries(&leaf);
    }
}
