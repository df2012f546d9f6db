//! Merges against a plain model: what only one side has changed is applied, in whatever order, and what both have is told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use snap_store::{Silent, SnapshotId, Timestamp};

use super::*;
use crate::sample::{Sample, Tree, folder, mode};

/// Places in a tree whose folders are always there.
const PLACES: [&[&[u8]]; 7] = [
    &[b"a", b"b", b"one"],
    &[b"a", b"b", b"two"],
    &[b"a", b"three"],
    &[b"four"],
    &[b"z", b"five"],
    &[b"z", b"y", b"six"],
    &[b"z", b"y", b"x", b"seven"],
];

/// What is at each place, by the number that is a file's only byte; nothing where there is none.
type Model = [Option<u8>; PLACES.len()];

fn tree_of(model: &Model) -> Tree {
    let mut root = folder([]);
    for (place, what) in PLACES.iter().zip(model) {
        let (name, above) = place.split_last().unwrap();
        let mut at = &mut root;
        for part in above {
            let Tree::Folder(_, nodes) = at else {
                unreachable!("files are last")
            };
            at = nodes.entry(part.to_vec()).or_insert_with(|| folder([]));
        }
        if let (Tree::Folder(_, nodes), Some(byte)) = (at, what) {
            nodes.insert(name.to_vec(), Tree::File(mode(0o644), vec![*byte]));
        }
    }
    root
}

fn merged(sample: &Sample, base: &Manifest, ours: &Manifest, theirs: &Manifest) -> Merged {
    let draft = sample.store.begin(SnapshotId::random()).unwrap();
    merge(&draft, base, ours, theirs, &Silent).unwrap()
}

fn commit(sample: &Sample, tree: &Tree) -> Manifest {
    sample.snapshot(tree, LinkTable::default())
}

fn whole(merged: Merged) -> CapturedTree {
    match merged {
        Merged::Whole(tree) => *tree,
        Merged::Conflicts(paths) => panic!("{paths:?}"),
    }
}

fn conflicts(merged: Merged) -> Vec<String> {
    let Merged::Conflicts(paths) = merged else {
        panic!("there is no conflict");
    };
    let shown = |path: &Vec<Vec<u8>>| String::from_utf8(path.join(&b'/')).unwrap();
    paths.iter().map(shown).collect()
}

fn change() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![Just(None), (10u8..14).prop_map(Some)]
}

/// Any tree, two sets of changes of it, and which places each may change.
#[test]
fn disjoint_changes_are_both_applied_and_others_are_told() {
    let sample = Sample::new();
    let model = prop::array::uniform7(prop::option::of(1u8..4));
    let changes = prop::array::uniform7((0u8..5, change(), change()));
    proptest!(ProptestConfig::with_cases(80), |(base in model, changes in changes)| {
        let (mut ours, mut theirs, mut both, mut clash) = (base, base, base, Vec::new());
        for (place, (who, our, their)) in changes.into_iter().enumerate() {
            let (by_us, by_them) = (matches!(who, 1 | 3), matches!(who, 2 | 3));
            if by_us {
                ours[place] = our;
            }
            if by_them {
                theirs[place] = their;
            }
            both[place] = if ours[place] == base[place] { theirs[place] } else { ours[place] };
            let all = [base[place], ours[place], theirs[place]];
            if all[0] != all[1] && all[0] != all[2] && all[1] != all[2] {
                clash.push(String::from_utf8(PLACES[place].join(&b'/')).unwrap());
            }
        }
        clash.sort();
        let [base, ours, theirs, both] = [base, ours, theirs, both].map(|model| commit(&sample, &tree_of(&model)));
        let result = merged(&sample, &base, &ours, &theirs);
        match clash.is_empty() {
            true => prop_assert_eq!(whole(result).root, both.root),
            false => {
                let mut told = conflicts(result);
                told.sort();
                prop_assert_eq!(told, clash);
            }
        }
    });
}

#[test]
fn a_folder_that_one_removes_and_the_other_changes_is_a_conflict() {
    let sample = Sample::new();
    let file = |byte: u8| Tree::File(mode(0o644), vec![byte]);
    let with = |byte| folder([(b"a", folder([(b"x", file(byte))])), (b"k", file(0))]);
    let base = commit(&sample, &with(1));
    let without = commit(&sample, &folder([(b"k", file(0))]));
    let changed = commit(&sample, &with(2));
    for (ours, theirs) in [(&without, &changed), (&changed, &without)] {
        assert_eq!(conflicts(merged(&sample, &base, ours, theirs)), ["a"]);
    }
    let unchanged = whole(merged(&sample, &base, &without, &base));
    assert_eq!(unchanged.root, without.root);
}

#[test]
fn metadata_of_folders_is_merged_and_their_times_are_no_conflict() {
    let sample = Sample::new();
    let tree = |mode: u16, seconds: i64| {
        let meta = Meta {
            mode,
            modified: Timestamp {
                seconds,
                nanoseconds: 0,
            },
            ..Meta::default()
        };
        folder([(b"a", Tree::Folder(meta, BTreeMap::new()))])
    };
    let [base, ours, theirs, both, other] = [
        tree(0o755, 1),
        tree(0o700, 5),
        tree(0o755, 9),
        tree(0o700, 9),
        tree(0o711, 2),
    ]
    .map(|tree| commit(&sample, &tree));
    assert_eq!(
        whole(merged(&sample, &base, &ours, &theirs)).root,
        both.root
    );
    assert_eq!(conflicts(merged(&sample, &base, &ours, &other)), ["a"]);
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let sample = Sample::new();
    let file = |byte: u8| Tree::File(mode(0o644), vec![byte]);
    let links = |all: &[&[u64]]| {
        let groups: Vec<_> = all.iter().map(|one| LinkGroup(one.to_vec())).collect();
        LinkTable::new(&groups)
    };
    let base = folder([(b"b", file(1)), (b"c", file(1))]);
    let base = sample.snapshot(&base, links(&[&[1, 2]]));
    let ours = folder([(b"a", file(7)), (b"b", file(1)), (b"c", file(1))]);
    let ours = sample.snapshot(&ours, links(&[&[2, 3]]));
    let theirs = folder([(b"b", file(1)), (b"c", file(1)), (b"d", file(1))]);
    let theirs = sample.snapshot(&theirs, links(&[&[1, 2, 3]]));
    let tree = whole(merged(&sample, &base, &ours, &theirs));
    assert_eq!(tree.links, links(&[&[2, 3, 4]]));
    assert_eq!(tree.logical_bytes, 2);
}
