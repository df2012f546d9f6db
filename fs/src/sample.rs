//! Snapshots made by hand, for tests.

use std::collections::BTreeMap;

use snap_store::{
    Content, Digest, Draft, Entry, EntryName, HostFacts, LinkTable, Manifest, Meta, Node, Origin,
    Silent, SnapshotId, Store, TreeRef, TreeWriter,
};

/// A store in a folder of its own, gone with it.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) store: Store,
    pub(crate) folder: tempfile::TempDir,
}

/// A tree as people think of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Folder(Meta, BTreeMap<Vec<u8>, Tree>),
    /// A file of these bytes; runs of zeros become holes as in any capture.
    File(Meta, Vec<u8>),
    Node(Meta, Node),
}

/// A folder of these nodes.
pub(crate) fn folder<const N: usize>(nodes: [(&[u8], Tree); N]) -> Tree {
    let nodes = nodes.map(|(name, node)| (name.to_vec(), node));
    Tree::Folder(mode(0o755), nodes.into())
}

/// Metadata of this mode alone.
pub(crate) fn mode(mode: u16) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

impl Sample {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::ensure(folder.path()).unwrap();
        Self { store, folder }
    }

    /// Commits `tree`, which is a folder.
    pub(crate) fn snapshot(&self, tree: &Tree, links: LinkTable) -> Manifest {
        commit(&self.store, tree, links)
    }
}

/// Commits `tree`, which is a folder, to `store`.
pub(crate) fn commit(store: &Store, tree: &Tree, links: LinkTable) -> Manifest {
    let id = SnapshotId::random();
    let draft = store.begin(id).unwrap();
    let (Node::Directory(root), root_meta) = put(&draft, tree) else {
        panic!("the root is no folder");
    };
    let manifest = manifest(id, (root, root_meta), links);
    draft.commit(manifest).unwrap().0
}

fn put(draft: &Draft, tree: &Tree) -> (Node, Meta) {
    match tree {
        Tree::Node(meta, node) => (node.clone(), meta.clone()),
        Tree::File(meta, bytes) => {
            let (content, size) = draft.put_content(&mut bytes.as_slice(), &Silent).unwrap();
            let node = Node::File {
                size,
                content,
                linked: false,
            };
            (node, meta.clone())
        }
        Tree::Folder(meta, nodes) => {
            let mut writer = TreeWriter::new(draft);
            for (name, tree) in nodes {
                let (node, meta) = put(draft, tree);
                let name = EntryName::new(name.as_slice()).unwrap();
                writer.push(&Entry { name, meta, node }).unwrap();
            }
            (Node::Directory(writer.finish().unwrap()), meta.clone())
        }
    }
}

pub(crate) fn manifest(
    id: SnapshotId,
    (root, root_meta): (TreeRef, Meta),
    links: LinkTable,
) -> Manifest {
    Manifest {
        id,
        namespace: "default".parse().unwrap(),
        created_at: 0,
        name: None,
        version: None,
        expires_at: None,
        labels: BTreeMap::new(),
        root,
        root_meta,
        links,
        logical_bytes: 0,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        origin: Origin::Path("/sample".to_owned()),
        host: HostFacts::default(),
    }
}

/// A file's chunk that is in no store.
pub(crate) fn lost_file(bytes: &[u8]) -> Tree {
    let node = Node::File {
        size: bytes.len() as u64,
        content: Content::Chunk(Digest::of(bytes)),
        linked: false,
    };
    Tree::Node(mode(0o644), node)
}
