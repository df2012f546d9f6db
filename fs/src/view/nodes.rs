//! Nodes that were seen lately, by position; bounded in bytes, so that a snapshot of any size can be walked.

use std::{mem::size_of, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
use snap_store::{Entry, EntryName, Located, Manifest, Node, Result};

/// What the cache itself takes for one entry, about.
const OVERHEAD_BYTES: usize = 64;
/// Files whose data bytes are remembered.
const COUNTED_FILES: usize = 4096;

/// The cache.
#[derive(Debug)]
pub(super) struct NodeCache {
    nodes: Cache<u64, Located, Bytes>,
    data_bytes: Cache<u64, u64>,
}

impl NodeCache {
    pub(super) fn new(bytes: u64) -> Self {
        let expected = bytes as usize / (weight_of_shape() + OVERHEAD_BYTES);
        Self {
            nodes: Cache::with_weighter(expected.max(16), bytes, Bytes),
            data_bytes: Cache::new(COUNTED_FILES),
        }
    }

    pub(super) fn get(&self, position: u64) -> Option<Located> {
        self.nodes.get(&position)
    }

    pub(super) fn insert(&self, located: &Located) {
        self.nodes.insert(located.position, located.clone());
    }

    /// The bytes of data of a file with holes, counted once.
    pub(super) fn data_bytes(
        &self,
        position: u64,
        count: impl FnOnce() -> Result<u64>,
    ) -> Result<u64> {
        self.data_bytes.get_or_insert_with(&position, count)
    }
}

/// The root folder in the shape of an entry; its name is never shown.
pub(super) fn root(manifest: &Manifest) -> Result<Located> {
    Ok(Located {
        position: 0,
        parent: 0,
        index: 0,
        entry: Arc::new(Entry {
            name: EntryName::new(&b"root"[..])?,
            meta: manifest.root_meta.clone(),
            node: Node::Directory(manifest.root),
        }),
    })
}

/// Weighs a node by the memory it takes.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Weighter<u64, Located> for Bytes {
    fn weight(&self, _position: &u64, located: &Located) -> u64 {
        let entry = &located.entry;
        let xattrs = entry.meta.xattrs.iter();
        let xattrs = xattrs.map(|xattr| 32 + xattr.name.len() + xattr.value.len());
        let target = match &entry.node {
            Node::Symlink(target) => target.len(),
            Node::Directory(_)
            | Node::File { .. }
            | Node::CharDevice(_)
            | Node::BlockDevice(_)
            | Node::Fifo
            | Node::Socket => 0,
        };
        let variable = entry.name.as_bytes().len() + xattrs.sum::<usize>() + target;
        (weight_of_shape() + OVERHEAD_BYTES + variable) as u64
    }
}

fn weight_of_shape() -> usize {
    size_of::<Located>() + size_of::<Entry>()
}
