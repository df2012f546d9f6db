use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use snap_store::{
    Draft, Entry, EntryName, HostFacts, LinkGroup, LinkTable, Meta, Origin, Silent, Timestamp,
    TreeRef, TreeWriter, Xattr,
};

use super::*;

/// A plain folder, as the model of what a view must show.
#[derive(Clone, Debug)]
enum Model {
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Folder(BTreeMap<String, Model>),
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        uid: 1,
        gid: 2,
        modified: Timestamp {
            seconds: -5,
            nanoseconds: 7,
        },
        xattrs: vec![Xattr {
            name: (*b"user.a").into(),
            value: (*b"value").into(),
        }],
    }
}

fn write(draft: &Draft, folder: &BTreeMap<String, Model>) -> TreeRef {
    let mut writer = TreeWriter::new(draft);
    for (name, model) in folder {
        let node = match model {
            Model::Folder(inner) => Node::Directory(write(draft, inner)),
            Model::Symlink(target) => Node::Symlink(target.clone().into()),
            Model::File(bytes) => {
                let (content, size) = draft.put_content(&mut &bytes[..], &Silent).unwrap();
                let linked = false;
                Node::File {
                    size,
                    content,
                    linked,
                }
            }
        };
        let name = EntryName::new(name.as_bytes()).unwrap();
        let meta = meta(0o640);
        writer.push(&Entry { name, meta, node }).unwrap();
    }
    writer.finish().unwrap()
}

fn view(folder: &BTreeMap<String, Model>, groups: &[LinkGroup]) -> (tempfile::TempDir, View) {
    let top = tempfile::tempdir().unwrap();
    let store = Store::ensure(top.path()).unwrap();
    let id = SnapshotId::random();
    let draft = store.begin(id).unwrap();
    let manifest = Manifest {
        id,
        namespace: "default".parse().unwrap(),
        created_at: 0,
        name: None,
        version: None,
        expires_at: None,
        labels: BTreeMap::new(),
        root: write(&draft, folder),
        root_meta: meta(0o755),
        links: LinkTable::new(groups),
        logical_bytes: 5,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        origin: Origin::Path("test".to_owned()),
        host: HostFacts::default(),
    };
    draft.commit(manifest).unwrap();
    let options = ViewOptions {
        node_bytes: 64 << 10,
        read_ahead_threads: 0,
        ..ViewOptions::default()
    };
    let view = View::open(store, &id, &options).unwrap();
    (top, view)
}

fn small() -> BTreeMap<String, Model> {
    let inner = BTreeMap::from([("inner".to_owned(), Model::File(b"abc".to_vec()))]);
    BTreeMap::from([
        ("a".to_owned(), Model::File(b"12345".to_vec())),
        ("b".to_owned(), Model::Folder(inner)),
        ("c".to_owned(), Model::Symlink(b"a".to_vec())),
        ("d".to_owned(), Model::File(b"12345".to_vec())),
    ])
}

fn list(view: &View, folder: Number, batch: usize) -> Vec<Name> {
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let more = view.entries(folder, offset, batch).unwrap();
        let Some(last) = more.last() else {
            return names;
        };
        offset = last.next;
        names.extend(more);
    }
}

/// Checks the folder against the model, collecting every number.
fn agree(
    view: &View,
    folder: Number,
    model: &BTreeMap<String, Model>,
    seen: &mut BTreeSet<Number>,
) {
    let names = list(view, folder, 3);
    let expected: Vec<_> = [".", ".."]
        .into_iter()
        .chain(model.keys().map(String::as_str))
        .collect();
    let shown: Vec<_> = names
        .iter()
        .map(|name| str::from_utf8(&name.name).unwrap())
        .collect();
    assert_eq!(shown, expected);
    for name in &names[2..] {
        let found = view.lookup(folder, &name.name).unwrap().unwrap();
        assert_eq!(found, name.attributes);
        assert_eq!(view.attributes(found.number).unwrap(), found);
        assert!(seen.insert(found.number));
        match &model[str::from_utf8(&name.name).unwrap()] {
            Model::Folder(inner) => {
                let up = view.lookup(found.number, b"..").unwrap().unwrap();
                assert_eq!(up.number, folder);
                agree(view, found.number, inner, seen);
            }
            Model::Symlink(target) => assert_eq!(&view.read_link(found.number).unwrap(), target),
            Model::File(bytes) => {
                assert_eq!(*view.read(found.number, 0, u32::MAX).unwrap(), bytes[..]);
            }
        }
    }
}

fn models() -> impl Strategy<Value = BTreeMap<String, Model>> {
    let leaf = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Model::File),
        proptest::collection::vec(1..=255_u8, 1..20).prop_map(Model::Symlink),
    ];
    let model = leaf.prop_recursive(4, 40, 6, |inner| {
        proptest::collection::btree_map("[a-z]{1,6}", inner, 0..6).prop_map(Model::Folder)
    });
    proptest::collection::btree_map("[a-z]{1,6}", model, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_view_shows_what_a_plain_folder_would(model in models()) {
        let (_top, view) = view(&model, &[]);
        let mut seen = BTreeSet::from([ROOT]);
        agree(&view, ROOT, &model, &mut seen);
        prop_assert!(seen.into_iter().eq(1..=view.figures().nodes));
    }
}

#[test]
fn hard_links_share_the_first_number_and_count_each_other() {
    // In preorder: the root 0, a 1, b 2, b/inner 3, c 4, d 5.
    let (_top, view) = view(&small(), &[LinkGroup(vec![1, 5])]);
    let first = view.lookup(ROOT, b"a").unwrap().unwrap();
    let second = view.lookup(ROOT, b"d").unwrap().unwrap();
    assert_eq!((first.number, first.links), (2, 2));
    assert_eq!(second, first);
    let listed = list(&view, ROOT, 100);
    assert_eq!(listed.last().unwrap().attributes, first);
    assert_eq!(view.lookup(ROOT, b"c").unwrap().unwrap().links, 1);
}

#[test]
fn names_that_are_not_there_are_none_and_numbers_that_are_not_are_stale() {
    let (_top, view) = view(&small(), &[]);
    assert!(view.lookup(ROOT, b"e").unwrap().is_none());
    for number in [0, 7, u64::MAX] {
        assert!(
            matches!(view.attributes(number), Err(Error::Stale)),
            "{number}"
        );
    }
}

#[test]
fn every_kind_is_asked_only_what_it_can_answer() {
    let (_top, view) = view(&small(), &[]);
    let (file, folder, link) = (2, 3, 5);
    assert!(matches!(view.read(folder, 0, 1), Err(Error::IsADirectory)));
    assert!(matches!(view.read(link, 0, 1), Err(Error::NotAFile)));
    assert!(matches!(view.read_link(file), Err(Error::NotALink)));
    assert!(matches!(view.lookup(file, b"x"), Err(Error::NotADirectory)));
    assert!(matches!(
        view.entries(file, 0, 1),
        Err(Error::NotADirectory)
    ));
}

#[test]
fn reads_end_where_the_file_ends() {
    let (_top, view) = view(&small(), &[]);
    let read = |offset, size| view.read(2, offset, size).unwrap().to_vec();
    assert_eq!(read(3, 100), b"45");
    assert_eq!(read(1, 2), b"23");
    assert_eq!(read(5, 1), b"");
    assert_eq!(read(u64::MAX, u32::MAX), b"");
}

#[test]
fn attributes_are_kept_as_they_were() {
    let (_top, view) = view(&small(), &[]);
    let about = view.attributes(2).unwrap();
    assert_eq!((about.mode, about.uid, about.gid), (0o640, 1, 2));
    assert_eq!(about.modified, meta(0).modified);
    assert_eq!((about.size, about.blocks), (5, 8));
    assert_eq!(view.xattr(2, b"user.a").unwrap(), b"value");
    assert!(matches!(view.xattr(2, b"user.b"), Err(Error::NoAttribute)));
    assert_eq!(view.xattr_names(ROOT).unwrap(), b"user.a\0");
    assert_eq!(view.path_of(4), "/b/inner");
}

#[test]
fn data_and_holes_are_found() {
    let mut bytes = vec![0; 3 << 20];
    bytes[1 << 20..(1 << 20) + 4].copy_from_slice(b"data");
    let model = BTreeMap::from([("sparse".to_owned(), Model::File(bytes))]);
    let (_top, view) = view(&model, &[]);
    let data = view.seek(2, 0, Seek::Data).unwrap();
    assert!(data > 0 && data <= 1 << 20);
    assert_eq!(view.seek(2, 0, Seek::Hole).unwrap(), 0);
    let hole = view.seek(2, data, Seek::Hole).unwrap();
    assert!(hole > 1 << 20 && hole < 3 << 20);
    assert!(matches!(
        view.seek(2, hole, Seek::Data),
        Err(Error::BeyondEnd)
    ));
    assert!(matches!(
        view.seek(2, 3 << 20, Seek::Hole),
        Err(Error::BeyondEnd)
    ));
    assert!(view.attributes(2).unwrap().blocks < 2 * (3 << 20) / 1024);
}
