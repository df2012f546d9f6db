//! One tree in another is the tree of one folder in another.

use std::{fs, path::Path, time::SystemTime};

use snap_fs::capture::{CapturedTree, SourceKind, graft, part, put};

use crate::bench::Bench;

/// Gives every folder on the way to `path` the same time, as moving things about changes it.
fn settle(top: &Path, path: &str) {
    for folder in Path::new(path).ancestors().skip(1) {
        let folder = fs::File::open(top.join(folder)).unwrap();
        folder.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
}

/// Grafts a folder at `path` of another, and moves it there.
fn both_ways(bench: &Bench, path: &str) -> (CapturedTree, CapturedTree) {
    let (outer, inner) = (bench.path("outer"), bench.path("inner"));
    for folder in ["a", "m/old", "z"] {
        fs::create_dir_all(outer.join(folder)).unwrap();
    }
    for folder in ["p", "q"] {
        fs::create_dir_all(inner.join(folder)).unwrap();
    }
    fs::write(outer.join("a/x"), "12345").unwrap();
    fs::write(inner.join("p/x"), "123").unwrap();
    for (top, from, to) in [
        (&outer, "a/x", "z/x"),
        (&outer, "a/x", "m/old/x"),
        (&inner, "p/x", "q/x"),
    ] {
        fs::hard_link(top.join(from), top.join(to)).unwrap();
    }
    fs::write(outer.join("m/old/y"), "1").unwrap();
    let before = bench.capture(&outer, SourceKind::Plain, None);
    let inserted = bench.capture(&inner, SourceKind::Plain, None);
    let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    let grafted = graft(&bench.draft, &before, &names, &inserted).unwrap();
    // A missing folder is an error here only.
    let _ = fs::remove_dir_all(outer.join(path));
    fs::create_dir_all(outer.join(path).parent().unwrap()).unwrap();
    fs::rename(inner, outer.join(path)).unwrap();
    let moved = bench.capture(&outer, SourceKind::Plain, None);
    (grafted, moved)
}

/// Names, kinds and contents; not times, and not whether a file once had more names.
fn shape(bench: &Bench, tree: &CapturedTree) -> Vec<String> {
    let listed = bench.list(tree).into_iter();
    let line = |(path, entry): (String, snap_store::Entry)| match entry.node {
        snap_store::Node::File { size, content, .. } => format!("{path} {size} {content:?}"),
        node => format!("{path} {} {}", node.kind(), node.nodes()),
    };
    listed.map(line).collect()
}

#[test]
fn a_graft_over_a_folder_replaces_it_and_moves_links() {
    let bench = Bench::in_memory();
    let (grafted, moved) = both_ways(&bench, "m/old");
    assert_eq!(shape(&bench, &grafted), shape(&bench, &moved));
    assert_eq!(grafted.links, moved.links);
    assert_eq!(grafted.logical_bytes, moved.logical_bytes);
}

#[test]
fn a_graft_beside_folders_is_inserted_in_order() {
    let bench = Bench::in_memory();
    let (grafted, moved) = both_ways(&bench, "m/new");
    assert_eq!(shape(&bench, &grafted), shape(&bench, &moved));
    assert_eq!(grafted.links, moved.links);
    assert_eq!(grafted.logical_bytes, moved.logical_bytes);
}

#[test]
fn a_graft_below_what_is_missing_makes_the_folders_on_the_way() {
    let bench = Bench::in_memory();
    let (grafted, moved) = both_ways(&bench, "b/c/d");
    assert_eq!(shape(&bench, &grafted), shape(&bench, &moved));
    assert_eq!(grafted.links, moved.links);
    assert_eq!(grafted.logical_bytes, moved.logical_bytes);
}

#[test]
fn a_graft_changes_nothing_beside_it() {
    let bench = Bench::in_memory();
    let (outer, inner) = (bench.path("outer"), bench.path("inner"));
    fs::create_dir_all(outer.join("a/b")).unwrap();
    fs::create_dir_all(&inner).unwrap();
    fs::write(outer.join("a/x"), "x").unwrap();
    settle(&outer, "a/b");
    let tree = bench.capture(&outer, SourceKind::Plain, None);
    let inserted = bench.capture(&inner, SourceKind::Plain, None);
    let names: [&[u8]; 2] = [b"a", b"b"];
    let grafted = graft(&bench.draft, &tree, &names, &inserted).unwrap();
    fs::rename(inner, outer.join("a/b")).unwrap();
    settle(&outer, "a/b");
    let moved = bench.capture(&outer, SourceKind::Plain, None);
    assert_eq!(bench.list(&grafted), bench.list(&moved));
    assert_eq!(grafted.root, moved.root);
}

#[test]
fn a_graft_below_a_file_is_refused() {
    let bench = Bench::in_memory();
    let outer = bench.path("outer");
    fs::create_dir_all(&outer).unwrap();
    fs::write(outer.join("file"), "").unwrap();
    let tree = bench.capture(&outer, SourceKind::Plain, None);
    let names: [&[u8]; 2] = [b"file", b"x"];
    assert!(graft(&bench.draft, &tree, &names, &tree).is_err());
}

#[test]
fn a_part_is_the_tree_of_its_folder() {
    let bench = Bench::in_memory();
    let outer = bench.path("outer");
    fs::create_dir_all(outer.join("a")).unwrap();
    fs::create_dir_all(outer.join("m/old/deep")).unwrap();
    fs::write(outer.join("a/x"), "12345").unwrap();
    for to in ["m/old/x", "m/old/deep/x", "z"] {
        fs::hard_link(outer.join("a/x"), outer.join(to)).unwrap();
    }
    fs::write(outer.join("m/old/y"), "1").unwrap();
    let whole = bench.capture(&outer, SourceKind::Plain, None);
    let taken = part(&bench.draft, whole.clone(), &[b"m", b"old"]).unwrap();
    let taken = taken.into_tree().unwrap();
    let alone = bench.capture(&outer.join("m/old"), SourceKind::Plain, None);
    assert_eq!(bench.list(&taken), bench.list(&alone));
    assert_eq!((taken.root, &taken.links), (alone.root, &alone.links));
    assert_eq!(taken.root_meta, alone.root_meta);
    assert_eq!(taken.logical_bytes, 6);
    // A file is a part too, which is no tree, and can be put elsewhere.
    let file = part(&bench.draft, whole.clone(), &[b"a", b"x"]).unwrap();
    assert!(file.clone().into_tree().is_none());
    let with = put(&bench.draft, &whole, &[b"a", b"new"], &file).unwrap();
    assert_eq!(with.logical_bytes, whole.logical_bytes + 5);
    assert_eq!(with.root.nodes, whole.root.nodes + 1);
    assert!(part(&bench.draft, whole.clone(), &[b"nothing"]).is_err());
    assert!(put(&bench.draft, &whole, &[], &file).is_err());
}
