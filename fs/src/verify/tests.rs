//! Damage is found, named, and does not end the search.

use std::{fs, os::unix::fs::FileExt, path::Path};

use snap_store::{Access, LinkTable, Silent};

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

#[test]
fn a_sound_snapshot_is_sound_and_not_read_twice() {
    let sample = Sample::new();
    let tree = folder([
        (b"a", file(&noise(900_000, 1))),
        (b"b", folder([(b"c", file(b"c"))])),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let mut checked = HashSet::new();
    let damaged = verify(&sample.store, &manifest, true, &mut checked, &Silent).unwrap();
    assert_eq!(damaged, []);
    let sound = checked.clone();
    assert!(sound.len() > 6 && sound.contains(&manifest.root.digest));
    verify(&sample.store, &manifest, true, &mut checked, &Silent).unwrap();
    assert_eq!(checked, sound);
}

#[test]
fn every_file_with_a_lost_chunk_is_named() {
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
    for full in [false, true] {
        let mut checked = HashSet::new();
        let damaged = verify(&sample.store, &manifest, full, &mut checked, &Silent).unwrap();
        let paths: Vec<_> = damaged.iter().map(|one| one.path.join(&b'/')).collect();
        assert_eq!(paths, [b"a".to_vec(), b"b/c".to_vec()]);
        assert!(!checked.contains(&manifest.root.digest));
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
    flip_packs(&sample.folder.path().join("packs"), 1_000_000);
    let store = Store::open(sample.folder.path(), Access::ReadOnly).unwrap();
    let check = |full| verify(&store, &manifest, full, &mut HashSet::new(), &Silent).unwrap();
    assert_eq!(check(false), []);
    let damaged = check(true);
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!(damaged[0].path, [b"big".to_vec()]);
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
    let damaged = verify(
        &sample.store,
        &manifest,
        false,
        &mut HashSet::new(),
        &Silent,
    )
    .unwrap();
    let paths: Vec<_> = damaged.iter().map(|one| one.path.concat()).collect();
    assert_eq!(paths, [b"a", b"b"]);
}
