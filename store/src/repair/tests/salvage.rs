//! What is damaged is mended, what is sound stays readable for everybody, and nothing gets worse wherever it is cut short.

use super::*;
use crate::{
    SnapshotId,
    disk::doubles::crash_everywhere,
    error::Result,
    store::tests::{
        chunks_of,
        crash::{Checked, sound as store_is_sound, told},
    },
};

/// Looks for damage and mends it, with these chunks from elsewhere.
fn mend(store: &Store, elsewhere: &[Vec<u8>]) -> Result<Vec<PackId>> {
    let mut survey = read_all(store);
    let mut salvage = Salvage::begin(store, false)?;
    salvage.save(&mut survey, &Silent)?;
    for raw in elsewhere {
        salvage.put(Digest::of(raw), ChunkKind::Data, raw)?;
    }
    salvage.finish(&Silent)
}

/// Those of `chunks` that are read, and right; all others must be errors.
fn readable(store: &Store, chunks: &[Vec<u8>]) -> Vec<usize> {
    let read = chunks.iter().enumerate().filter_map(|(number, raw)| {
        let found = store.get(&Digest::of(raw)).ok()?;
        assert_eq!(&found, raw);
        Some(number)
    });
    read.collect()
}

fn quarantined(disk: &MemoryDisk) -> Vec<PathBuf> {
    let mut files = disk.files(".pack");
    files.extend(disk.files(".pack.2"));
    files.retain(|path| path.starts_with(layout::QUARANTINE));
    files
}

/// A byte in the middle of the chunk's frame, which is plain.
fn flip_in(disk: &MemoryDisk, path: &Path, raw: &[u8]) {
    disk.damage(path, |bytes| {
        let at = bytes.windows(raw.len()).position(|window| window == raw);
        bytes[at.unwrap() + raw.len() / 2] ^= 1;
    });
}

#[test]
fn a_damaged_chunk_is_lost_alone_and_comes_back_with_the_next_capture() {
    let (disk, store) = store_with(&chunks());
    let reader = open(&disk, Access::ReadOnly);
    assert_eq!(readable(&reader, &chunks()), [0, 1, 2]);
    let (path, pack) = data_pack(&disk);
    flip_in(&disk, &path, &chunks()[1]);
    assert_eq!(mend(&store, &[]).unwrap(), [pack]);
    assert_eq!(quarantined(&disk).len(), 1);
    for store in [&store, &reader, &open(&disk, Access::ReadOnly)] {
        assert_eq!(readable(store, &chunks()), [0, 2]);
    }
    assert!(!store.has(&Digest::of(&chunks()[1])).unwrap());
    commit(&store, &chunks()[1..2]).unwrap();
    for store in [&store, &reader, &open(&disk, Access::ReadOnly)] {
        assert_eq!(readable(store, &chunks()), [0, 1, 2]);
    }
    drop(store);
    assert_eq!(
        readable(&open(&disk, Access::ReadWrite), &chunks()),
        [0, 1, 2]
    );
}

#[test]
fn what_was_found_elsewhere_is_read_by_those_who_could_not_read_it_before() {
    let (disk, store) = store_with(&chunks());
    let reader = open(&disk, Access::ReadOnly);
    let (path, _) = data_pack(&disk);
    flip_in(&disk, &path, &chunks()[1]);
    assert_eq!(readable(&reader, &chunks()), [0, 2]);
    mend(&store, &chunks()[1..2]).unwrap();
    assert_eq!(readable(&reader, &chunks()), [0, 1, 2]);
    assert!(read_all(&store).packs().is_empty());
}

#[test]
fn bytes_of_another_digest_are_not_taken() {
    let (_disk, store) = store_with(&chunks());
    let mut salvage = Salvage::begin(&store, false).unwrap();
    let taken = salvage.put(Digest::of(b"one"), ChunkKind::Data, b"another");
    assert!(matches!(taken, Err(Error::Invalid { .. })));
}

#[test]
fn a_pack_without_its_end_loses_nothing_the_index_knows() {
    let (disk, store) = store_with(&chunks());
    let (path, pack) = data_pack(&disk);
    disk.damage(&path, |bytes| {
        let length = bytes.len();
        bytes.truncate(length - 70);
    });
    assert_eq!(mend(&store, &[]).unwrap(), [pack]);
    drop(store);
    for access in [Access::ReadOnly, Access::ReadWrite] {
        assert_eq!(readable(&open(&disk, access), &chunks()), [0, 1, 2]);
    }
}

#[test]
fn packs_under_the_names_of_each_other_lose_nothing() {
    let (disk, store) = store_with(&chunks());
    swap(&disk);
    assert_eq!(mend(&store, &[]).unwrap().len(), 2);
    assert_eq!(readable(&store, &chunks()), [0, 1, 2]);
    assert_eq!(
        chunks_of(&store, &store.manifests().unwrap()[0]).unwrap(),
        chunks()
    );
}

/// A store in which two packs hold the first of [`chunks`].
fn store_with_two_copies() -> (MemoryDisk, Store) {
    let (disk, store) = store_with(&chunks()[..1]);
    let (path, _) = data_pack(&disk);
    drop(store);
    let aside = Path::new(layout::DRAFTS).with_file_name("aside");
    disk.rename(&path, &aside).unwrap();
    let store = open(&disk, Access::ReadWrite);
    commit(&store, &chunks()).unwrap();
    drop(store);
    disk.rename(&aside, &path).unwrap();
    let store = open(&disk, Access::ReadWrite);
    (disk, store)
}

#[test]
fn a_copy_in_another_pack_takes_the_place_of_the_damaged_one() {
    let (disk, store) = store_with_two_copies();
    let raw = &chunks()[0];
    let location = store.whereabouts(&Digest::of(raw)).unwrap().unwrap();
    flip_in(&disk, &layout::pack(&location.pack), raw);
    assert_eq!(mend(&store, &[]).unwrap(), [location.pack]);
    assert_eq!(readable(&store, &chunks()), [0, 1, 2]);
}

#[test]
fn a_damaged_copy_nobody_is_led_to_goes_without_a_loss() {
    let (disk, store) = store_with_two_copies();
    let raw = &chunks()[0];
    let location = store.whereabouts(&Digest::of(raw)).unwrap().unwrap();
    let holds = |path: &PathBuf| {
        let file = disk.open(path).unwrap();
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes.windows(raw.len()).any(|window| window == raw)
    };
    let is_other = |path: &PathBuf| *path != layout::pack(&location.pack) && holds(path);
    let other = disk.files(".pack").into_iter().find(is_other).unwrap();
    flip_in(&disk, &other, raw);
    let survey = read_all(&store);
    assert_eq!(survey.packs().len(), 1);
    assert_eq!(survey.flaw(&Digest::of(raw), None).unwrap(), None);
    mend(&store, &[]).unwrap();
    assert_eq!(readable(&store, &chunks()), [0, 1, 2]);
}

/// **V7** A repair that is cut short leaves everything readable that was readable before. A dry run changes nothing, and a second
/// repair finds nothing to do.
#[test]
fn a_second_repair_has_nothing_to_do() {
    let (disk, store) = store_with(&chunks());
    let (path, _) = data_pack(&disk);
    flip_in(&disk, &path, &chunks()[0]);
    mend(&store, &[]).unwrap();
    let mut survey = read_all(&store);
    let mut salvage = Salvage::begin(&store, false).unwrap();
    salvage.save(&mut survey, &Silent).unwrap();
    assert!(!salvage.has_work());
    assert_eq!(store.check_index().unwrap(), [""; 0]);
}

/// **V7** A repair that is cut short leaves everything readable that was readable before. A dry run changes nothing, and a second
/// repair finds nothing to do.
#[test]
fn a_dry_run_finds_the_same_and_changes_nothing() {
    let (disk, store) = store_with_two_copies();
    let raw = &chunks()[0];
    let location = store.whereabouts(&Digest::of(raw)).unwrap().unwrap();
    flip_in(&disk, &layout::pack(&location.pack), raw);
    let before = disk.digest();
    let mut survey = read_all(&store);
    let mut salvage = Salvage::begin(&store, true).unwrap();
    salvage.save(&mut survey, &Silent).unwrap();
    assert!(salvage.has_work() && salvage.has_regained(&Digest::of(raw)));
    assert!(matches!(
        salvage.finish(&Silent),
        Err(Error::Invalid { .. })
    ));
    assert_eq!(disk.digest(), before);
}

#[test]
fn nobody_collects_while_somebody_mends() {
    let (_disk, store) = store_with(&chunks());
    let salvage = Salvage::begin(&store, false).unwrap();
    let collected = store.collect(
        &crate::CollectOptions::default(),
        &|| Ok(Vec::new()),
        &Silent,
    );
    assert!(matches!(collected, Err(Error::Busy { .. })));
    drop(salvage);
    store
        .collect(
            &crate::CollectOptions::default(),
            &|| Ok(Vec::new()),
            &Silent,
        )
        .unwrap();
}

#[test]
fn a_manifest_in_quarantine_is_kept_and_is_no_snapshot() {
    let (disk, store) = store_with(&chunks());
    let [id] = store.manifests().unwrap()[..] else {
        panic!("one was committed");
    };
    assert!(store.quarantine_manifest(&id).unwrap());
    assert!(!store.quarantine_manifest(&id).unwrap());
    assert_eq!(store.manifests().unwrap(), [] as [SnapshotId; 0]);
    assert!(disk.files(".manifest")[0].starts_with(layout::QUARANTINE));
}

#[test]
fn a_manifest_on_its_way_to_quarantine_can_be_cut_short_anywhere() {
    let (disk, store) = store_with(&chunks());
    let moved = store.manifests().unwrap()[0];
    let kept = commit(&store, &[noise(9, 700)]).unwrap();
    let bytes = |disk: &MemoryDisk, path: &Path| {
        let file = disk.open(path).ok()?;
        let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
        file.read_at(0, &mut bytes).ok()?;
        Some(bytes)
    };
    let place = layout::manifest(&moved);
    let aside = Path::new(layout::QUARANTINE).join(format!("{moved}.manifest"));
    let whole = bytes(&disk, &place);
    let run = || assert!(store.quarantine_manifest(&moved).unwrap());
    crash_everywhere("quarantine-manifest", &disk, run, |found, done| {
        let (is_there, is_aside) = (bytes(found, &place) == whole, bytes(found, &aside) == whole);
        store_is_sound(found, &[kept])?;
        match done {
            Some(()) if is_there || !is_aside => Err("it is not where it is said to be".to_owned()),
            None if !is_there && !is_aside => Err("it is lost".to_owned()),
            _ => Ok(()),
        }
    });
}

/// What can be read after a repair was cut short: everything that could be read before, and nothing that is wrong.
fn no_worse(disk: &MemoryDisk, sound: &[usize]) -> Checked {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let store = Store::open_on(std::sync::Arc::new(disk.clone()), access).map_err(told)?;
        let read = readable(&store, &chunks());
        if sound.iter().any(|number| !read.contains(number)) {
            return Err(format!("{access:?}: {read:?} of {sound:?} can be read"));
        }
    }
    let store = open(disk, Access::ReadWrite);
    mend(&store, &chunks()[1..2]).map_err(told)?;
    commit(&store, &chunks()).map_err(told)?;
    match readable(&store, &chunks()).len() == 3 && read_all(&store).packs().is_empty() {
        true => Ok(()),
        false => Err("it could not be mended after that".to_owned()),
    }
}

/// **V7** A repair that is cut short leaves everything readable that was readable before. A dry run changes nothing, and a second
/// repair finds nothing to do.
#[test]
fn a_repair_can_be_cut_short_anywhere() {
    let (disk, store) = store_with(&chunks());
    let (path, _) = data_pack(&disk);
    flip_in(&disk, &path, &chunks()[1]);
    let run = || mend(&store, &chunks()[1..2]).unwrap();
    let (recording, _) = crash_everywhere("repair", &disk, run, |found, done| {
        no_worse(found, if done.is_some() { &[0, 1, 2] } else { &[0, 2] })
    });
    assert!(recording.steps() > 8, "{}", recording.steps());
}

#[test]
fn a_repair_of_swapped_packs_can_be_cut_short_anywhere() {
    let (disk, store) = store_with(&chunks());
    swap(&disk);
    // Each is known to the index at places of the other, so nothing can be read before it has been mended; but nothing goes.
    let run = || mend(&store, &[]).unwrap();
    crash_everywhere("repair-swapped", &disk, run, |found, _| {
        let store = Store::open_on(std::sync::Arc::new(found.clone()), Access::ReadWrite);
        let store = store.map_err(told)?;
        mend(&store, &[]).map_err(told)?;
        match readable(&store, &chunks()) == [0, 1, 2] {
            true => Ok(()),
            false => Err("something was lost".to_owned()),
        }
    });
}
