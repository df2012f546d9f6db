//! Differences against a plain comparison of every path.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use snap_store::{DeviceNumber, LinkTable, Meta};

use super::*;
use crate::sample::{Sample, Tree, folder, mode};

fn meta() -> impl Strategy<Value = Meta> {
    prop_oneof![Just(mode(0o644)), Just(mode(0o4755))]
}

fn leaf() -> impl Strategy<Value = Tree> {
    let device = |minor| Node::CharDevice(DeviceNumber { major: 1, minor });
    prop_oneof![
        (meta(), prop::collection::vec(0u8..3, 0..3))
            .prop_map(|(meta, data)| Tree::File(meta, data)),
        (meta(), 0u32..2).prop_map(move |(meta, minor)| Tree::Node(meta, device(minor))),
        meta().prop_map(|meta| Tree::Node(meta, Node::Fifo)),
        (1u8..3).prop_map(|byte| Tree::Node(mode(0o777), Node::Symlink([byte].into()))),
    ]
}

fn nodes() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(4, 60, 6, |inner| {
        let name = prop_oneof![
            Just(b"a".to_vec()),
            Just(b"a!".to_vec()),
            Just(b"b".to_vec()),
            Just(b"\xff".to_vec())
        ];
        (meta(), prop::collection::btree_map(name, inner, 0..5))
            .prop_map(|(meta, nodes)| Tree::Folder(meta, nodes))
    })
}

fn root() -> impl Strategy<Value = Tree> {
    nodes().prop_map(|tree| match tree {
        Tree::Folder(..) => tree,
        leaf => folder([(b"x", leaf)]),
    })
}

/// Every path with what stands there, folders by their metadata alone.
fn flat(tree: &Tree, path: &[Vec<u8>], all: &mut BTreeMap<Vec<Vec<u8>>, Tree>) {
    let mut own = tree.clone();
    if let Tree::Folder(_, nodes) = &mut own {
        for (name, node) in std::mem::take(nodes) {
            flat(&node, &[path, &[name]].concat(), all);
        }
    }
    all.insert(path.to_vec(), own);
}

fn expected(old: &Tree, new: &Tree) -> Vec<(Vec<Vec<u8>>, Change)> {
    let (mut before, mut now) = (BTreeMap::new(), BTreeMap::new());
    flat(old, &[], &mut before);
    flat(new, &[], &mut now);
    let paths: BTreeSet<_> = before.keys().chain(now.keys()).cloned().collect();
    let change = |path: &Vec<Vec<u8>>| match (before.get(path), now.get(path)) {
        (Some(_), None) => Some(Change::Removed),
        (None, _) => Some(Change::Added),
        (Some(old), Some(new)) if old == new => None,
        (Some(Tree::File(_, old)), Some(Tree::File(_, new))) if old == new => {
            Some(Change::Metadata)
        }
        (Some(Tree::File(..)), Some(Tree::File(..))) => Some(Change::Modified),
        (Some(Tree::Folder(..)), Some(Tree::Folder(..))) => Some(Change::Metadata),
        (Some(Tree::Node(_, old)), Some(Tree::Node(_, new))) if old == new => {
            Some(Change::Metadata)
        }
        (Some(Tree::Node(_, old)), Some(Tree::Node(_, new))) if old.kind() == new.kind() => {
            Some(Change::Modified)
        }
        _ => Some(Change::Replaced),
    };
    let all = paths.into_iter();
    all.filter_map(|path| change(&path).map(|change| (path, change)))
        .collect()
}

#[test]
fn differences_agree_with_a_plain_comparison() {
    let sample = Sample::new();
    let cases = ProptestConfig::with_cases(60);
    proptest!(cases, |(old in root(), new in root(), limit in 1usize..5)| {
        let commit = |tree| sample.snapshot(tree, LinkTable::default());
        let (from, to) = (commit(&old), commit(&new));
        let all = diff(&sample.store, &from, &to, None, usize::MAX).unwrap();
        let pairs: Vec<_> = all.iter().map(|one| (one.path.clone(), one.change)).collect();
        prop_assert_eq!(pairs, expected(&old, &new));
        prop_assert_eq!(paged(&sample.store, (&from, &to), limit), all);
        prop_assert!(diff(&sample.store, &from, &from, None, 9).unwrap().is_empty());
    });
}

/// All differences, a few at a time.
fn paged(store: &Store, (from, to): (&Manifest, &Manifest), limit: usize) -> Vec<Difference> {
    let mut paged: Vec<Difference> = Vec::new();
    loop {
        let after = paged.last().map(|last| last.path.clone());
        let some = diff(store, from, to, after.as_deref(), limit).unwrap();
        assert!(some.len() <= limit);
        if some.is_empty() {
            return paged;
        }
        paged.extend(some);
    }
}

fn many(changed: usize) -> Tree {
    let file = |number: usize| {
        let bytes = if number == changed { b"!" } else { b"?" };
        (
            format!("{number:06}").into_bytes(),
            Tree::File(mode(0o644), bytes.to_vec()),
        )
    };
    Tree::Folder(mode(0o755), (0..5000).map(file).collect())
}

#[test]
fn one_change_in_a_large_folder_is_found_with_its_sizes() {
    let sample = Sample::new();
    let from = sample.snapshot(&many(usize::MAX), LinkTable::default());
    let to = sample.snapshot(&many(3210), LinkTable::default());
    let found = diff(&sample.store, &from, &to, None, 10).unwrap();
    let expected = Difference {
        path: vec![b"003210".to_vec()],
        change: Change::Modified,
        old_size: Some(1),
        new_size: Some(1),
    };
    assert_eq!(found, [expected]);
    let after = [b"003210".to_vec()];
    assert!(
        diff(&sample.store, &from, &to, Some(&after), 10)
            .unwrap()
            .is_empty()
    );
}
