//! What cannot be read is unknown, and unknown means keep: a collection never makes damage worse.

use super::*;

fn packs_with(store: &Store, raw: &[u8]) -> PathBuf {
    let place = store.index().lookup(&Digest::of(raw)).unwrap().unwrap();
    layout::pack(&place.pack)
}

/// A store with a snapshot, and another that was removed.
fn with_garbage(disk: &MemoryDisk) -> (Store, SnapshotId, Vec<Vec<u8>>) {
    let store = store_on(disk);
    let files = vec![noise(1, 300_000), noise(2, 1000)];
    let kept = snapshot(&store, &files).unwrap();
    let gone = snapshot(&store, &[noise(3, 60_000)]).unwrap();
    store.remove_manifest(&gone).unwrap();
    (store, kept, files)
}

fn assert_untouched(store: &Store, disk: &MemoryDisk, holder: Holder) {
    let before = disk.files("");
    let report = collect(store, AT_ONCE).unwrap();
    assert!(report.is_incomplete);
    assert_eq!(report.damage[0].holder, holder);
    assert_eq!((report.removed_packs, report.rewritten_packs), (0, 0));
    assert_eq!(disk.files(""), before);
    assert!(store.has(&Digest::of(&noise(3, 60_000))).unwrap());
}

#[test]
fn a_damaged_manifest_keeps_everything() {
    let disk = MemoryDisk::default();
    let (store, id, _) = with_garbage(&disk);
    disk.damage(&layout::manifest(&id), |bytes| bytes[80] ^= 1);
    assert_untouched(&store, &disk, Holder::Snapshot(id));
    store.remove_manifest(&id).unwrap();
    assert!(!collect(&store, AT_ONCE).unwrap().is_incomplete);
    assert!(disk.files(".pack").is_empty());
}

#[test]
fn a_damaged_page_keeps_everything() {
    let disk = MemoryDisk::default();
    let (store, id, _) = with_garbage(&disk);
    let root = store.manifest(&id).unwrap().root.digest;
    let page = store.get(&root).unwrap();
    disk.damage(&packs_with(&store, &page), |bytes| {
        bytes[16..40].fill(7);
    });
    assert_untouched(&store, &disk, Holder::Snapshot(id));
}

#[test]
fn a_root_that_cannot_be_read_keeps_everything() {
    let disk = MemoryDisk::default();
    let (store, _, _) = with_garbage(&disk);
    let root = Digest::of(b"nowhere");
    let roots = || Ok(vec![root]);
    let report = store.collect(&AT_ONCE, &roots, &Silent).unwrap();
    assert!(report.is_incomplete);
    assert_eq!(report.damage[0].holder, Holder::Root(root));
    assert_eq!(report.removed_packs, 0);
}

#[test]
fn a_missing_chunk_is_told_and_keeps_nothing_else() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let id = snapshot(&store, &[noise(1, 1000)]).unwrap();
    let other = snapshot(&store, &[noise(2, 1000)]).unwrap();
    let gone = snapshot(&store, &[noise(3, 1000)]).unwrap();
    disk.remove(&packs_with(&store, &noise(1, 1000))).unwrap();
    store.remove_manifest(&gone).unwrap();
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!((report.missing_chunks, report.is_incomplete), (1, false));
    assert_eq!(report.damage[0].holder, Holder::Snapshot(id));
    assert_eq!(report.removed_packs, 2);
    assert_eq!(files_of(&store, &other).unwrap(), [noise(2, 1000)]);
}

/// A chunk lies in a condemned pack and in a new one; the new copy goes bad.
#[test]
fn the_last_good_copy_of_a_chunk_stays() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let raw = noise(1, 50_000);
    publish_pack(&store, &[raw.clone(), noise(2, 1000)]);
    let old = packs_with(&store, &raw);
    collect_at(&store, 0, 100).unwrap();
    snapshot(&store, &[noise(3, 1000), raw.clone()]).unwrap();
    let new = packs_with(&store, &raw);
    assert_ne!(old, new);
    disk.damage(&new, |bytes| bytes[2000] ^= 1);
    let report = collect_at(&store, 1000, 100).unwrap();
    assert_eq!(report.damaged_packs, 1);
    assert!(disk.files(".pack").contains(&old));
    disk.damage(&new, |bytes| bytes[2000] ^= 1);
    let report = collect_at(&store, 2000, 100).unwrap();
    assert_eq!((report.damaged_packs, report.removed_packs), (0, 1));
}

#[test]
fn a_sparse_pack_with_damage_in_what_is_needed_stays() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let raw = noise(1, 3000);
    publish_pack(&store, &[raw.clone(), noise(2, 60_000)]);
    let kept = snapshot(&store, std::slice::from_ref(&raw)).unwrap();
    let pack = packs_with(&store, &raw);
    let place = store.index().lookup(&Digest::of(&raw)).unwrap().unwrap();
    let flip = |bytes: &mut Vec<u8>| bytes[place.frame.offset as usize + 5] ^= 1;
    disk.damage(&pack, flip);
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!((report.rewritten_packs, report.damaged_packs), (0, 1));
    disk.damage(&pack, flip);
    assert_eq!(files_of(&store, &kept).unwrap(), [raw]);
    assert_eq!(collect(&store, AT_ONCE).unwrap().rewritten_packs, 1);
}

#[test]
fn packs_whose_footers_cannot_be_read_stay() {
    let disk = MemoryDisk::default();
    let (store, id, files) = with_garbage(&disk);
    let pack = packs_with(&store, &noise(3, 60_000));
    disk.damage(&pack, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!((report.damaged_packs, report.removed_packs), (1, 1));
    assert!(disk.files(".pack").contains(&pack));
    assert_eq!(files_of(&store, &id).unwrap(), files);
}

#[test]
fn damaged_or_missing_tombstones_only_begin_the_wait_anew() {
    let disk = MemoryDisk::default();
    let (store, id, files) = with_garbage(&disk);
    collect_at(&store, 0, 100).unwrap();
    drop(store);
    let tombstones = Path::new(layout::TOMBSTONES);
    let length = disk.open(tombstones).unwrap().length().unwrap();
    for at in 0..usize::try_from(length).unwrap() {
        let disk = disk.after_kill();
        disk.damage(tombstones, |bytes| bytes[at] ^= 0x40);
        let store = open(&disk, Access::ReadWrite);
        assert_eq!(collect_at(&store, 99, 100).unwrap().removed_packs, 0);
        assert_eq!(collect_at(&store, 199, 100).unwrap().removed_packs, 2);
        assert_eq!(files_of(&store, &id).unwrap(), files);
    }
}

#[test]
fn a_damaged_segment_is_made_again_before_anything_is_counted() {
    let disk = MemoryDisk::default();
    let (store, id, files) = with_garbage(&disk);
    for segment in disk.files(".seg") {
        disk.damage(&segment, |bytes| bytes[60] ^= 1);
    }
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!(report.removed_packs, 2, "{report:?}");
    assert_eq!(files_of(&store, &id).unwrap(), files);
}

/// Whoever snapshots a store has pages of it as bytes of files.
#[test]
fn a_chunk_with_the_bytes_of_a_page_does_not_hide_what_the_page_needs() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let files = vec![noise(1, 2000)];
    let inner = snapshot(&store, &files).unwrap();
    let root = store.manifest(&inner).unwrap().root;
    let page = store.get(&root.digest).unwrap();
    let outer = SnapshotId::random();
    let draft = store.begin(outer).unwrap();
    let (content, size) = draft.put_content(&mut &page[..], &Silent).unwrap();
    assert_eq!(content, Content::Chunk(root.digest));
    let mut writer = TreeWriter::new(&draft);
    writer.push(&file(0, content, size)).unwrap();
    let folder = Entry {
        node: Node::Directory(root),
        ..file(1, Content::Hole, 0)
    };
    writer.push(&folder).unwrap();
    let tree = writer.finish().unwrap();
    commit(draft, outer, tree).unwrap();
    store.remove_manifest(&inner).unwrap();
    collect(&store, AT_ONCE).unwrap();
    assert_eq!(files_below(&store, root).unwrap(), files);
}
