//! Every kind of damage to packs is told apart, and none of it ends the search.

mod salvage;

use std::path::{Path, PathBuf};

use super::*;
use crate::{
    Access, Digest, PackId, Store,
    disk::{Disk, doubles::MemoryDisk},
    layout,
    progress::Silent,
    store::tests::{commit, noise, open, store_on, text},
};

/// A store with one snapshot of these chunks; the pack of the data is the largest.
fn store_with(chunks: &[Vec<u8>]) -> (MemoryDisk, Store) {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    commit(&store, chunks).unwrap();
    (disk, store)
}

fn data_pack(disk: &MemoryDisk) -> (PathBuf, PackId) {
    let length = |path: &PathBuf| disk.open(path).unwrap().length().unwrap();
    let path = disk.files(".pack").into_iter().max_by_key(length).unwrap();
    let id = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    (path, id)
}

fn read_all(store: &Store) -> Survey {
    let mut survey = Survey::new(store.clone());
    let packs = store.packs().unwrap();
    survey.look(&packs, &Silent).unwrap();
    survey.read(&packs, None, &Silent).unwrap();
    survey
}

fn chunks() -> Vec<Vec<u8>> {
    vec![noise(1, 5000), noise(2, 5000), text(3, 5000)]
}

#[test]
fn a_sound_store_has_no_flaws_and_every_chunk_is_read_once() {
    let (_disk, store) = store_with(&chunks());
    let survey = read_all(&store);
    assert!(survey.packs().is_empty());
    assert_eq!(survey.chunks(), 4, "three of data and a page");
    assert_eq!(survey.bytes(), store.stats().unwrap().stored_bytes);
    assert_eq!(
        survey.flaw(&Digest::of(&chunks()[0]), Some(5000)).unwrap(),
        None
    );
}

#[test]
fn a_flipped_bit_is_a_flaw_of_its_chunk_alone() {
    let (disk, store) = store_with(&chunks());
    let (path, pack) = data_pack(&disk);
    disk.damage(&path, |bytes| bytes[20] ^= 1);
    let survey = read_all(&store);
    let flaws: Vec<_> = chunks()
        .iter()
        .filter_map(|raw| survey.flaw(&Digest::of(raw), None).unwrap())
        .collect();
    assert_eq!(flaws.len(), 1, "{flaws:?}");
    assert_eq!(flaws[0].pack, Some(pack));
    let flaw = PackFlaw {
        problem: None,
        chunks: 1,
    };
    assert_eq!(survey.packs()[&pack], flaw);
}

#[test]
fn a_damaged_footer_is_the_packs_own_flaw_and_its_chunks_are_still_read() {
    let (disk, store) = store_with(&chunks());
    let (path, pack) = data_pack(&disk);
    disk.damage(&path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let survey = read_all(&store);
    assert!(survey.packs()[&pack].problem.is_some());
    assert_eq!((survey.packs()[&pack].chunks, survey.chunks()), (0, 4));
}

#[test]
fn a_missing_pack_is_named_by_whoever_still_knows_it() {
    let (disk, store) = store_with(&chunks());
    let (path, pack) = data_pack(&disk);
    store.get(&Digest::of(&chunks()[0])).unwrap();
    disk.remove(&path).unwrap();
    let survey = read_all(&store);
    assert_eq!(survey.packs()[&pack].chunks, 3);
    let flaw = survey.flaw(&Digest::of(&chunks()[0]), None).unwrap();
    assert_eq!(flaw.unwrap().pack, Some(pack));
    drop((store, survey));
    let survey = read_all(&open(&disk, Access::ReadWrite));
    assert!(survey.packs().is_empty(), "nobody knows it any more");
    let flaw = survey.flaw(&Digest::of(&chunks()[0]), None).unwrap();
    assert_eq!(flaw.unwrap().problem, "no pack holds it");
}

#[test]
fn a_pack_cut_short_is_seen_from_outside() {
    let (disk, store) = store_with(&chunks());
    let (path, pack) = data_pack(&disk);
    disk.damage(&path, |bytes| bytes.truncate(8000));
    let mut survey = Survey::new(store.clone());
    survey.look(&store.packs().unwrap(), &Silent).unwrap();
    assert!(survey.packs()[&pack].problem.is_some());
    let digests = chunks()
        .iter()
        .map(|raw| Digest::of(raw))
        .collect::<Vec<_>>();
    let is_flawed = |digest: &&Digest| survey.flaw(digest, None).unwrap().is_some();
    assert!((1..=2).contains(&digests.iter().filter(is_flawed).count()));
}

/// Gives the store's two packs the names of each other.
fn swap(disk: &MemoryDisk) {
    let [first, second] = &disk.files(".pack")[..] else {
        panic!("a pack of data and one of pages");
    };
    let aside = Path::new(layout::DRAFTS).join("aside");
    for (from, to) in [(first, &aside), (second, first), (&aside, second)] {
        disk.rename(from, to).unwrap();
    }
    disk.sync_all().unwrap();
}

#[test]
fn swapped_packs_have_the_names_of_each_other() {
    let (disk, store) = store_with(&chunks());
    swap(&disk);
    let survey = read_all(&store);
    let problems = survey.packs().values().map(|flaw| flaw.problem.as_deref());
    assert!(
        problems
            .clone()
            .all(|problem| problem.is_some_and(|why| why.contains("wrong name")))
    );
    assert_eq!(problems.count(), 2);
    assert!(
        survey
            .flaw(&Digest::of(&chunks()[0]), None)
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_length_that_is_not_what_the_file_says_is_a_flaw() {
    let (_disk, store) = store_with(&chunks());
    let survey = Survey::new(store);
    let flaw = survey.flaw(&Digest::of(&chunks()[0]), Some(4999)).unwrap();
    assert!(flaw.is_some());
}

#[test]
fn only_what_is_wanted_is_read() {
    let (_disk, store) = store_with(&chunks());
    let mut wanted = Wanted::new(store.clone());
    for _ in 0..3 {
        wanted.add(&Digest::of(&chunks()[1])).unwrap();
    }
    wanted.add(&Digest::of(b"nowhere")).unwrap();
    let packs = wanted.packs();
    assert_eq!(packs.len(), 1);
    let mut survey = Survey::new(store);
    survey.read(&packs, Some(&wanted), &Silent).unwrap();
    assert_eq!((survey.chunks(), survey.bytes()), (1, 5000));
}

#[test]
fn media_errors_are_damage_and_what_passes_is_not() {
    let io = |code| {
        Error::io::<std::io::Error>("read", "/pack")(std::io::Error::from_raw_os_error(code))
    };
    assert!(is_damage(&io(Errno::IO.raw_os_error())));
    assert!(is_damage(&io(Errno::UCLEAN.raw_os_error())));
    assert!(!is_damage(&io(Errno::MFILE.raw_os_error())));
    assert!(!is_damage(&io(Errno::NOMEM.raw_os_error())));
    assert!(!is_damage(&Error::Cancelled));
}
