//! Damage is found, named, and does not end the search.

use std::{fs, os::unix::fs::FileExt, path::Path};

use snap_store::{Access, Content, LinkTable, Node, Silent, TreeRef};

use super::*;
use crate::sample::{Sample, Tree, folder, lost_file, mode};

fn file(bytes: &[u8]) -> Tree {
    Tree::File(mode(0o644), bytes.to_vec())
}

/// Bytes that no compressor shrinks and no two chunks share.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What is found when all packs are looked at and then this snapshot.
fn look(sample: &Sample, manifest: &Manifest, depth: Depth) -> (Survey, Vec<Damaged>, Sound) {
    let store = Store::open(sample.folder.path(), Access::ReadOnly).unwrap();
    let survey = survey(&store, Scope::Everything, depth, &Silent).unwrap();
    let mut damaged = Vec::new();
    let each = &mut |place| {
        damaged.push(place);
        Ok(())
    };
    let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
    let mut inspection = Inspection::new(&store, look, &Silent);
    inspection.snapshot(manifest, each).unwrap();
    let sound = inspection.sound;
    (survey, damaged, sound)
}

fn paths(damaged: &[Damaged]) -> Vec<String> {
    let text = |place: &Damaged| String::from_utf8(place.path.join(&b'/')).unwrap();
    let mut paths: Vec<String> = damaged.iter().map(text).collect();
    paths.dedup();
    paths
}

#[test]
fn a_sound_snapshot_is_sound_and_passed_over_when_it_is_met_again() {
    let sample = Sample::new();
    let tree = folder([
        (b"a", file(&noise(900_000, 1))),
        (b"b", folder([(b"c", file(b"c"))])),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let (survey, damaged, mut sound) = look(&sample, &manifest, Depth::Bytes);
    assert_eq!(damaged, []);
    assert!(survey.packs().is_empty() && survey.bytes() > 900_000);
    assert!(sound.contains(&(manifest.root.digest, manifest.root.nodes)));
    // Nothing below a sound root is looked at again.
    let look = &mut |digest: &Digest, _| -> Result<Option<Flaw>> { panic!("{digest}") };
    let mut again = Inspection::new(&sample.store, look, &Silent);
    std::mem::swap(&mut again.sound, &mut sound);
    again.snapshot(&manifest, &mut |_| Ok(())).unwrap();
}

#[test]
fn every_file_with_a_lost_chunk_is_named_with_its_bytes() {
    let sample = Sample::new();
    let tree = folder([
        (b"a", lost_file(b"gone")),
        (
            b"b",
            folder([(b"c", lost_file(b"gone")), (b"d", file(b"here"))]),
        ),
        (b"e", file(b"e")),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    for depth in [Depth::Structure, Depth::Bytes] {
        let (_, damaged, sound) = look(&sample, &manifest, depth);
        assert_eq!(paths(&damaged), ["a", "b/c"]);
        assert_eq!(damaged[0].range, Some(0..4));
        assert_eq!(damaged[0].digest, Some(Digest::of(b"gone")));
        assert!(!sound.contains(&(manifest.root.digest, manifest.root.nodes)));
    }
}

/// Flips a byte in the middle of every pack of at least this length.
fn flip_packs(folder: &Path, at_least: u64) {
    for pack in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if pack.is_dir() {
            flip_packs(&pack, at_least);
            continue;
        }
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(&pack)
            .unwrap();
        let length = file.metadata().unwrap().len();
        if length >= at_least {
            let mut byte = [0];
            file.read_exact_at(&mut byte, length / 2).unwrap();
            file.write_all_at(&[byte[0] ^ 1], length / 2).unwrap();
        }
    }
}

#[test]
fn a_flipped_byte_is_found_when_bytes_are_read() {
    let sample = Sample::new();
    let tree = folder([
        (b"big", file(&noise(2_000_000, 7))),
        (b"small", file(b"small")),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    // How many packs share the data depends on how many threads were at it.
    flip_packs(&sample.folder.path().join("packs"), 100_000);
    assert_eq!(look(&sample, &manifest, Depth::Structure).1, []);
    let (survey, damaged, _) = look(&sample, &manifest, Depth::Bytes);
    assert_eq!(paths(&damaged), ["big"]);
    assert_eq!(damaged.len(), survey.packs().len(), "{damaged:?}");
    for place in &damaged {
        assert!(survey.packs().contains_key(&place.pack.unwrap()));
        assert!(
            place
                .range
                .as_ref()
                .is_some_and(|range| range.end <= 2_000_000)
        );
    }
    let store = Store::open(sample.folder.path(), Access::ReadOnly).unwrap();
    let found = verify(&store, &manifest, &Silent).unwrap();
    assert_eq!(found, damaged, "the same when this snapshot alone is read");
}

#[test]
fn a_damaged_chunk_is_reported_for_everyone_who_has_it_and_read_once() {
    let sample = Sample::new();
    let shared = file(&noise(1_500_000, 3));
    let trees = [
        folder([
            (b"a", shared.clone()),
            (b"b", folder([(b"c", shared.clone())])),
        ]),
        folder([(b"other", file(b"other")), (b"z", shared)]),
    ];
    let manifests = trees.map(|tree| sample.snapshot(&tree, LinkTable::default()));
    // How many packs share the data depends on how many threads were at it.
    flip_packs(&sample.folder.path().join("packs"), 100_000);
    let store = Store::open(sample.folder.path(), Access::ReadOnly).unwrap();
    let survey = survey(&store, Scope::Everything, Depth::Bytes, &Silent).unwrap();
    assert_eq!(survey.chunks(), store.stats().unwrap().chunks);
    let mut found = Vec::new();
    let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
    let mut inspection = Inspection::new(&store, look, &Silent);
    for manifest in &manifests {
        let mut damaged = Vec::new();
        let each = &mut |place| {
            damaged.push(place);
            Ok(())
        };
        inspection.snapshot(manifest, each).unwrap();
        found.push(paths(&damaged));
    }
    assert_eq!(found, [vec!["a", "b/c"], vec!["z"]]);
}

#[test]
fn a_lost_folder_is_named_and_its_neighbours_are_still_checked() {
    let sample = Sample::new();
    let lost = TreeRef {
        digest: Digest::of(b"lost"),
        nodes: 3,
    };
    let tree = folder([
        (b"a", Tree::Node(mode(0o755), Node::Directory(lost))),
        (b"b", lost_file(b"gone")),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let (_, damaged, _) = look(&sample, &manifest, Depth::Structure);
    assert_eq!(paths(&damaged), ["a", "b"]);
    assert_eq!(
        (damaged[0].range.clone(), damaged[0].digest),
        (None, Some(lost.digest))
    );
}

#[test]
fn a_lost_page_of_a_list_is_the_bytes_it_stands_for() {
    let sample = Sample::new();
    let node = Node::File {
        size: 3_000_000,
        content: Content::List(Digest::of(b"list")),
        linked: false,
    };
    let tree = folder([(b"a", Tree::Node(mode(0o644), node)), (b"b", file(b"b"))]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let (_, damaged, _) = look(&sample, &manifest, Depth::Structure);
    assert_eq!(paths(&damaged), ["a"]);
    assert_eq!(damaged[0].range, Some(0..3_000_000));
}
