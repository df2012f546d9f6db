//! Stored bytes go bad. Whatever happens to them, a reader gets the right bytes or an error that names what is wrong.

use super::*;

const CHUNK: usize = 40_000;

fn committed() -> (MemoryDisk, Store, Vec<u8>) {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let raw = text(1, CHUNK);
    commit(&store, &[raw.clone(), noise(2, 100)]).unwrap();
    (disk, store, raw)
}

/// Damages every pack, and expects every way to read `raw` to fail with a word about the chunk.
fn assert_corrupt_after(change: impl Fn(&mut Vec<u8>)) {
    let (disk, store, raw) = committed();
    for pack in disk.files(".pack") {
        disk.damage(&pack, &change);
    }
    let digest = Digest::of(&raw);
    let found = open(&disk, Access::ReadOnly).get(&digest);
    let Err(Error::Corrupt { name, why, .. }) = found else {
        panic!("{found:?}");
    };
    assert_eq!(name, digest.to_string());
    assert!(why.contains("pack"), "{why}");
    assert!(matches!(
        store.get_cached(&digest),
        Err(Error::Corrupt { .. })
    ));
    assert!(matches!(
        store.check(&digest, true),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn a_flipped_bit_in_a_frame_reads_as_corrupt() {
    assert_corrupt_after(|bytes| {
        for byte in bytes.iter_mut().skip(16).take(200) {
            *byte ^= 4;
        }
    });
}

#[test]
fn a_truncated_pack_reads_as_corrupt() {
    assert_corrupt_after(|bytes| bytes.truncate(20));
}

#[test]
fn a_truncated_pack_fails_the_quick_check() {
    let (disk, store, raw) = committed();
    store.check(&Digest::of(&raw), false).unwrap();
    for pack in disk.files(".pack") {
        disk.damage(&pack, |bytes| bytes.truncate(20));
    }
    let checked = store.check(&Digest::of(&raw), false);
    assert!(matches!(checked, Err(Error::Corrupt { .. })));
}

#[test]
fn a_missing_pack_makes_its_chunks_unknown_so_that_they_are_stored_again() {
    let (disk, store, raw) = committed();
    drop(store);
    for pack in disk.files(".pack") {
        disk.remove(&pack).unwrap();
    }
    let store = open(&disk, Access::ReadWrite);
    assert!(!store.has(&Digest::of(&raw)).unwrap());
    let id = commit(&store, std::slice::from_ref(&raw)).unwrap();
    assert_eq!(chunks_of(&store, &id).unwrap(), [raw]);
}

#[test]
fn missing_segments_are_made_again_when_writing_and_done_without_when_reading() {
    let (disk, store, raw) = committed();
    drop(store);
    for segment in disk.files(".seg") {
        disk.remove(&segment).unwrap();
    }
    let digest = Digest::of(&raw);
    assert_eq!(open(&disk, Access::ReadOnly).get(&digest).unwrap(), raw);
    assert_eq!(disk.files(".seg").len(), 0);
    assert_eq!(open(&disk, Access::ReadWrite).get(&digest).unwrap(), raw);
    assert_eq!(disk.files(".seg").len(), 1);
}

#[test]
fn no_flipped_byte_of_a_segment_hides_or_falsifies_a_chunk() {
    let (disk, store, raw) = committed();
    drop(store);
    let segment = disk.files(".seg").pop().unwrap();
    let length = disk.open(&segment).unwrap().length().unwrap();
    for at in 0..usize::try_from(length).unwrap() {
        let disk = disk.after_kill();
        disk.damage(&segment, |bytes| bytes[at] ^= 0x11);
        let reader = open(&disk, Access::ReadOnly);
        assert_eq!(reader.get(&Digest::of(&raw)).unwrap(), raw, "byte {at}");
        if at % 8 == 0 {
            let writer = open(&disk, Access::ReadWrite);
            assert_eq!(writer.get(&Digest::of(&raw)).unwrap(), raw, "byte {at}");
        }
    }
}

#[test]
fn a_segment_cut_anywhere_hides_no_chunk() {
    let (disk, store, raw) = committed();
    drop(store);
    let segment = disk.files(".seg").pop().unwrap();
    let length = disk.open(&segment).unwrap().length().unwrap();
    for cut in (0..usize::try_from(length).unwrap()).step_by(5) {
        let disk = disk.after_kill();
        disk.damage(&segment, |bytes| bytes.truncate(cut));
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let store = open(&disk, access);
            assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw, "cut at {cut}");
        }
    }
}

#[test]
fn a_damaged_footer_costs_nothing_while_a_segment_knows_its_chunks() {
    let (disk, store, raw) = committed();
    drop(store);
    for pack in disk.files(".pack") {
        disk.damage(&pack, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    let store = open(&disk, Access::ReadWrite);
    assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
}

#[test]
fn a_damaged_footer_without_a_segment_is_named() {
    let (disk, store, raw) = committed();
    drop(store);
    for path in [disk.files(".pack"), disk.files(".seg")].concat() {
        disk.damage(&path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let found = open(&disk, access).get(&Digest::of(&raw));
        assert!(
            matches!(found, Err(Error::Corrupt { what: "Chunk", .. })),
            "{found:?}"
        );
    }
}

#[test]
fn a_rebuilt_index_knows_what_the_old_one_knew() {
    let (disk, store, raw) = committed();
    let before = store.stats().unwrap();
    store.rebuild_index(&Silent).unwrap();
    assert_eq!(store.stats().unwrap(), before);
    assert_eq!(disk.files(".seg").len(), 1);
    assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
    assert_eq!(open(&disk, Access::ReadOnly).stats().unwrap(), before);
}

#[test]
fn a_rebuilt_index_keeps_what_is_known_of_packs_with_damaged_footers() {
    let (disk, store, raw) = committed();
    for pack in disk.files(".pack") {
        disk.damage(&pack, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    store.rebuild_index(&Silent).unwrap();
    assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
    drop(store);
    let store = open(&disk, Access::ReadWrite);
    assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
}

#[test]
fn a_manifest_under_the_name_of_another_is_corrupt() {
    let (disk, store, _) = committed();
    let [id] = store.manifests().unwrap()[..] else {
        panic!("one manifest was committed");
    };
    let other = SnapshotId::random();
    disk.rename(&layout::manifest(&id), &layout::manifest(&other))
        .unwrap();
    assert!(matches!(store.manifest(&other), Err(Error::Corrupt { .. })));
    disk.damage(&layout::manifest(&other), |bytes| bytes.truncate(10));
    assert!(matches!(store.manifest(&other), Err(Error::Corrupt { .. })));
}
