//! Trees against a plain model, and against bytes nobody vouches for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use proptest::prelude::*;

use super::{writer::Pages, *};
use crate::entry::{Content, DeviceNumber, EntryName, Meta, Timestamp, Xattr};

/// Pages in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Digest, Arc<Vec<u8>>>>);

impl Memory {
    pub(crate) fn put(&self, page: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&page);
        self.0.lock().unwrap().insert(digest, page.into());
        Ok(digest)
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl PageSource for &Memory {
    fn page(&self, digest: &Digest) -> Result<Arc<Vec<u8>>> {
        let page = self.0.lock().unwrap().get(digest).cloned();
        page.ok_or(Error::NotFound {
            what: "Chunk",
            name: digest.to_string(),
        })
    }
}

pub(crate) fn write_pages(
    entries: &[Entry],
    put: &mut dyn FnMut(Vec<u8>) -> Result<Digest>,
) -> TreeRef {
    let mut pages = Pages::default();
    for entry in entries {
        pages.push(entry, put).unwrap();
    }
    pages.finish(put).unwrap()
}

fn write(memory: &Memory, entries: &[Entry]) -> TreeRef {
    write_pages(entries, &mut |page| memory.put(page))
}

fn reader(memory: &Memory, root: TreeRef) -> TreeReader<&Memory> {
    TreeReader {
        pages: memory,
        root,
    }
}

fn entry(name: &[u8], node: Node) -> Entry {
    Entry {
        name: EntryName::new(name).unwrap(),
        meta: Meta {
            mode: 0o4755,
            uid: 1000,
            gid: 100,
            modified: Timestamp {
                seconds: -1,
                nanoseconds: 999_999_999,
            },
            xattrs: Vec::new(),
        },
        node,
    }
}

fn many(count: usize) -> Vec<Entry> {
    (0..count)
        .map(|number| entry(format!("{number:07}").as_bytes(), Node::Fifo))
        .collect()
}

/// A tree as people think of it.
#[derive(Clone, Debug)]
enum Model {
    Leaf,
    Folder(BTreeMap<Vec<u8>, Model>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![1u8..=45, 48u8..=255], 1..12)
}

fn model() -> impl Strategy<Value = Model> {
    Just(Model::Leaf).prop_recursive(5, 200, 12, |inner| {
        prop::collection::btree_map(name(), inner, 0..12).prop_map(|mut children| {
            children.retain(|name, _| EntryName::new(name.as_slice()).is_ok());
            Model::Folder(children)
        })
    })
}

fn build(memory: &Memory, model: &Model) -> Node {
    let Model::Folder(children) = model else {
        return Node::Socket;
    };
    let entries: Vec<_> = children
        .iter()
        .map(|(name, child)| entry(name, build(memory, child)))
        .collect();
    Node::Directory(write(memory, &entries))
}

/// Every path in preorder, the root first.
fn paths(model: &Model) -> Vec<Vec<Vec<u8>>> {
    fn add(model: &Model, path: &[Vec<u8>], all: &mut Vec<Vec<Vec<u8>>>) {
        all.push(path.to_vec());
        let Model::Folder(children) = model else {
            return;
        };
        for (name, child) in children {
            add(child, &[path, std::slice::from_ref(name)].concat(), all);
        }
    }
    let mut all = Vec::new();
    add(model, &[], &mut all);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_position_and_path_agree_with_a_plain_model(model in model()) {
        let memory = Memory::default();
        let Node::Directory(root) = build(&memory, &model) else { return Ok(()); };
        let reader = reader(&memory, root);
        let paths = paths(&model);
        prop_assert_eq!(root.nodes, paths.len() as u64);
        for (position, path) in (0..).zip(&paths) {
            let components: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            let located = reader.at(position).unwrap();
            prop_assert_eq!(&reader.resolve(&components).unwrap(), &located);
            prop_assert_eq!(&reader.path_of(position).unwrap(), path);
            prop_assert_eq!(located.map_or(0, |located| located.position), position);
        }
        let beyond = reader.at(root.nodes);
        prop_assert!(matches!(beyond, Err(Error::NotFound { .. })), "{:?}", beyond);
    }

    #[test]
    fn pages_of_entries_add_up_to_the_folder(count in 0usize..3000, limit in 1usize..700) {
        let memory = Memory::default();
        let entries = many(count);
        let root = write(&memory, &entries);
        let reader = reader(&memory, root);
        let mut found = Vec::new();
        loop {
            let some = reader.entries(&root, 7, found.len() as u64, limit).unwrap();
            if some.is_empty() { break; }
            found.extend(some);
        }
        prop_assert_eq!(found.len(), count);
        for (index, (located, entry)) in (0..).zip(found.iter().zip(&entries)) {
            prop_assert_eq!(&*located.entry, entry);
            prop_assert_eq!((located.index, located.position, located.parent), (index, index + 8, 7));
        }
    }

    #[test]
    fn damaged_pages_are_refused_or_read_but_never_panic(
        model in model(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        nodes in prop_oneof![any::<u64>(), Just(u64::MAX), 0u64..300],
    ) {
        let memory = Memory::default();
        let Node::Directory(mut root) = build(&memory, &model) else { return Ok(()); };
        damage(&memory, &flips);
        if nodes % 2 == 0 { root.nodes = nodes; }
        let reader = reader(&memory, root);
        for position in (0..40).chain([nodes, u64::MAX, u64::MAX - 1]) {
            let _ = reader.at(position);
            let _ = reader.path_of(position);
            let _ = reader.entries(&root, position, position, 50);
            let _ = reader.lookup(&root, position, b"x");
        }
        let _ = reader.pages(&root);
        let leaves = reader.leaves(&root, nodes).unwrap_or_default();
        for leaf in leaves { let _ = reader.leaf_entries(&leaf); }
    }

    #[test]
    fn random_bytes_are_no_page(bytes in prop::collection::vec(any::<u8>(), 0..400), level in 0u8..3) {
        let _ = TreePage::decode(&bytes);
        let mut page = b"SNPG\x01\x01".to_vec();
        page.extend([level, 0]);
        page.extend(&bytes);
        if let Ok(page) = TreePage::decode(&page) {
            for row in 0..page.count() {
                let _ = (page.entry(row), page.child(row), page.name(row));
            }
            let _ = (page.find_name(b"a"), page.find_node(3), page.find_entry(3));
        }
        let _ = Entry::decode(&bytes);
        let _ = Meta::decode(&bytes);
    }
}

fn damage(memory: &Memory, flips: &[(prop::sample::Index, prop::sample::Index, u8)]) {
    let mut pages = memory.0.lock().unwrap();
    let mut digests: Vec<_> = pages.keys().copied().collect();
    digests.sort_unstable();
    for (page, byte, value) in flips {
        let digest = digests[page.index(digests.len())];
        let mut bytes = pages[&digest].to_vec();
        let at = byte.index(bytes.len());
        bytes[at] ^= value;
        pages.insert(digest, bytes.into());
    }
}

#[test]
fn a_large_folder_has_levels_and_finds_everything() {
    let memory = Memory::default();
    let entries = many(120_000);
    let root = write(&memory, &entries);
    let reader = reader(&memory, root);
    assert_eq!(root.nodes, 120_001);
    assert_eq!(reader.pages(&root).unwrap().len(), memory.count());
    let leaves = reader.leaves(&root, 0).unwrap();
    let of_leaf = |leaf| reader.leaf_entries(leaf).unwrap();
    let found: Vec<_> = leaves.iter().flat_map(of_leaf).collect();
    assert_eq!(found, reader.entries(&root, 0, 0, usize::MAX).unwrap());
    for number in (0..120_000).step_by(997) {
        let name = format!("{number:07}");
        let located = reader.lookup(&root, 0, name.as_bytes()).unwrap().unwrap();
        assert_eq!(located.index, number);
        assert_eq!(reader.at(number + 1).unwrap().unwrap(), located);
    }
    assert_eq!(reader.lookup(&root, 0, b"0000000x").unwrap(), None);
    assert_eq!(reader.lookup(&root, 0, b"").unwrap(), None);
    assert_eq!(reader.lookup(&root, 0, b"9").unwrap(), None);
}

#[test]
fn a_changed_name_leaves_most_pages_as_they_were() {
    let memory = Memory::default();
    let mut entries = many(50_000);
    write(&memory, &entries);
    let before = memory.count();
    entries[20_000].meta.uid = 7;
    entries.insert(30_000, entry(b"0029999+", Node::Socket));
    write(&memory, &entries);
    let added = memory.count() - before;
    assert!(before > 80 && added <= 8, "{added} of {before}");
}

#[test]
fn names_must_ascend() {
    let mut pages = Pages::default();
    let mut put = |page: Vec<u8>| Ok(Digest::of(&page));
    pages.push(&entry(b"b", Node::Fifo), &mut put).unwrap();
    for bad in [&b"b"[..], b"a"] {
        let refused = pages.push(&entry(bad, Node::Fifo), &mut put);
        assert!(matches!(refused, Err(Error::Invalid { .. })));
    }
}

#[test]
fn what_exceeds_a_limit_is_not_written() {
    let good = entry(b"a", Node::Fifo);
    let xattr = |name: &[u8], length: usize| Xattr {
        name: name.into(),
        value: vec![0; length].into(),
    };
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.encode(&mut Vec::new())
    };
    assert!(with(&|_| ()).is_ok());
    assert!(with(&|bad| bad.meta.mode = 0o10000).is_err());
    assert!(with(&|bad| bad.meta.modified.nanoseconds = 1_000_000_000).is_err());
    assert!(with(&|bad| bad.meta.xattrs = vec![xattr(b"b", 0), xattr(b"a", 0)]).is_err());
    assert!(with(&|bad| bad.meta.xattrs = vec![xattr(b"a", 65537)]).is_err());
    assert!(with(&|bad| bad.meta.xattrs = vec![xattr(&[b'a'; 256], 0)]).is_err());
    assert!(with(&|bad| bad.node = Node::Symlink(vec![b'a'; 4096].into())).is_err());
    assert!(with(&|bad| bad.node = Node::Symlink(Box::default())).is_err());
}

/// One entry of every kind, every field with a value of its own.
pub(crate) fn one_of_each() -> Vec<Entry> {
    let digest = |byte| Digest::from_bytes([byte; 32]);
    let file = |content, size, linked| Node::File {
        size,
        content,
        linked,
    };
    let device = DeviceNumber {
        major: 259,
        minor: 0x0001_0203,
    };
    let tree = TreeRef {
        digest: digest(1),
        nodes: 5,
    };
    let mut entries = vec![
        entry(b"a-directory", Node::Directory(tree)),
        entry(b"b-hole", file(Content::Hole, 1 << 40, false)),
        entry(b"c-chunk", file(Content::Chunk(digest(2)), 1234, true)),
        entry(b"d-list", file(Content::List(digest(3)), 1 << 33, false)),
        entry(b"e-symlink", Node::Symlink((*b"/t\xffarget").into())),
        entry(b"f-char", Node::CharDevice(device)),
        entry(b"g-block", Node::BlockDevice(device)),
        entry(b"h-fifo", Node::Fifo),
        entry(b"\xff\xfe-socket", Node::Socket),
    ];
    entries[0].meta.xattrs = vec![
        Xattr {
            name: (*b"security.capability").into(),
            value: (*b"\x01\x00\x00\x02").into(),
        },
        Xattr {
            name: (*b"user.empty").into(),
            value: Box::default(),
        },
    ];
    entries
}

#[test]
fn entries_of_every_kind_come_back() {
    let memory = Memory::default();
    let entries = one_of_each();
    let root = write(&memory, &entries);
    let found = reader(&memory, root).entries(&root, 0, 0, 100).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|located| (*located.entry).clone())
        .collect();
    assert_eq!(found, entries);
}

#[test]
fn a_tree_is_read_while_its_draft_is_under_way_and_costs_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::ensure(folder.path()).unwrap();
    let entries = many(2000);
    let capture = || {
        let draft = store.begin(crate::SnapshotId::random()).unwrap();
        let mut writer = TreeWriter::new(&draft);
        for entry in &entries {
            writer.push(entry).unwrap();
        }
        let root = writer.finish().unwrap();
        let over = TreeReader::over_draft(&draft, root);
        let found = over.lookup(&root, 0, b"0001234").unwrap().unwrap();
        draft.publish_chunks().unwrap();
        assert_eq!(found.position, 1235);
        (root, draft.stats().new_chunks)
    };
    let (root, new_chunks) = capture();
    assert!(new_chunks > 3);
    assert_eq!(capture(), (root, 0));
    let reader = TreeReader::new(store.clone(), root);
    let thread = std::thread::spawn(move || reader.at(2000).unwrap().unwrap().index);
    assert_eq!(thread.join().unwrap(), 1999);
}
