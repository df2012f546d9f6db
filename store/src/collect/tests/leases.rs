//! Who relies on what: whatever a draft was offered, by whichever way, is there when it is committed.

use super::*;

const HOUR: i64 = 3600;

/// A store with one chunk in it that nothing needs.
fn with_garbage(disk: &MemoryDisk) -> (Store, Vec<u8>) {
    let store = store_on(disk);
    let raw = noise(1, 40_000);
    let id = snapshot(&store, std::slice::from_ref(&raw)).unwrap();
    store.remove_manifest(&id).unwrap();
    (store, raw)
}

#[test]
fn what_a_draft_was_offered_stays_until_it_has_ended() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let id = SnapshotId::random();
    let draft = store.begin(id).unwrap();
    let root = put_files(&draft, std::slice::from_ref(&raw)).unwrap();
    assert_eq!(draft.stats().new_chunks, 0);
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!((report.removed_packs, report.waiting_packs), (0, 2));
    commit(draft, id, root).unwrap();
    for _ in 0..2 {
        let report = collect(&store, AT_ONCE).unwrap();
        assert_eq!((report.removed_packs, report.waiting_packs), (0, 0));
        assert_eq!(files_of(&store, &id).unwrap()[0], raw);
    }
}

#[test]
fn what_is_condemned_is_stored_again() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let other = noise(2, 50_000);
    collect_at(&store, 0, HOUR).unwrap();
    assert!(!store.has(&Digest::of(&raw)).unwrap());
    assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
    let id = snapshot(&store, &[raw.clone(), other.clone()]).unwrap();
    let report = collect_at(&store, HOUR, HOUR).unwrap();
    assert_eq!(report.waiting_packs, 0);
    assert_eq!(files_of(&store, &id).unwrap(), [raw, other]);
}

#[test]
fn what_is_committed_between_mark_and_sweep_is_marked() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let id = SnapshotId::random();
    let draft = store.begin(id).unwrap();
    let root = put_files(&draft, std::slice::from_ref(&raw)).unwrap();
    let draft = std::cell::Cell::new(Some(draft));
    // Roots are asked for after manifests were listed.
    let roots = || {
        if let Some(draft) = draft.take() {
            commit(draft, id, root).unwrap();
        }
        Ok(Vec::new())
    };
    let report = store.collect(&AT_ONCE, &roots, &Silent).unwrap();
    assert_eq!((report.snapshots, report.removed_packs), (0, 0));
    assert_eq!(files_of(&store, &id).unwrap(), [raw]);
}

#[test]
fn a_root_that_appears_between_mark_and_sweep_is_marked() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let draft = store.begin(SnapshotId::random()).unwrap();
    let root = put_files(&draft, std::slice::from_ref(&raw)).unwrap();
    draft.publish_chunks().unwrap();
    let draft = std::cell::Cell::new(Some(draft));
    let roots = || match draft.take() {
        Some(_) => Ok(Vec::new()),
        None => Ok(vec![root.digest]),
    };
    store.collect(&AT_ONCE, &roots, &Silent).unwrap();
    assert_eq!(files_below(&store, root).unwrap()[0], raw);
    let keep = || Ok(vec![root.digest]);
    store.collect(&AT_ONCE, &keep, &Silent).unwrap();
    assert_eq!(files_below(&store, root).unwrap(), [raw]);
    collect(&store, AT_ONCE).unwrap();
    assert!(disk.files(".pack").is_empty());
}

/// One draft commits over condemned chunks, another takes that snapshot's tree up, and the snapshot is removed: nothing names the
/// tree at any moment at which it is looked for, and no lease is older than the condemnation.
#[test]
fn a_tree_taken_up_from_a_removed_snapshot_stays() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let (first, second) = (SnapshotId::random(), SnapshotId::random());
    let draft = store.begin(first).unwrap();
    let root = put_files(&draft, std::slice::from_ref(&raw)).unwrap();
    collect_at(&store, 0, HOUR).unwrap();
    commit(draft, first, root).unwrap();
    let draft = store.begin(second).unwrap();
    let taken_up = store.manifest(&first).unwrap().root;
    store.remove_manifest(&first).unwrap();
    let report = collect_at(&store, 2 * HOUR, HOUR).unwrap();
    assert_eq!(report.removed_packs, 0);
    commit(draft, second, taken_up).unwrap();
    collect_at(&store, 4 * HOUR, 0).unwrap();
    assert_eq!(files_of(&store, &second).unwrap(), [raw]);
    store.remove_manifest(&second).unwrap();
    collect_at(&store, 6 * HOUR, 0).unwrap();
    assert!(disk.files(".pack").is_empty());
}

#[test]
fn a_retired_root_counts_for_those_who_began_before() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let draft = store.begin(SnapshotId::random()).unwrap();
    let root = put_files(&draft, std::slice::from_ref(&raw)).unwrap();
    draft.publish_chunks().unwrap();
    drop(draft);
    let lease = store.lease();
    drop(store.retire(root.digest));
    assert_eq!(collect(&store, AT_ONCE).unwrap().removed_packs, 0);
    drop(lease);
    assert_eq!(collect(&store, AT_ONCE).unwrap().removed_packs, 2);
}

#[test]
fn a_lease_holds_everything_until_it_is_given_back() {
    let disk = MemoryDisk::default();
    let (store, raw) = with_garbage(&disk);
    let lease = store.lease();
    assert_eq!(collect(&store, AT_ONCE).unwrap().removed_packs, 0);
    drop(store.lease());
    let far = collect_at(&store, i64::MAX, 0).unwrap();
    assert_eq!(far.removed_packs, 0, "no clock makes up for a lease");
    assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
    drop(lease);
    assert_eq!(collect(&store, AT_ONCE).unwrap().removed_packs, 2);
}

#[test]
fn a_lease_that_begins_after_the_condemnation_holds_nothing_up() {
    let disk = MemoryDisk::default();
    let (store, _) = with_garbage(&disk);
    collect_at(&store, 0, HOUR).unwrap();
    let _lease = store.lease();
    assert_eq!(collect_at(&store, HOUR, HOUR).unwrap().removed_packs, 2);
}

#[test]
fn two_collections_at_once_are_refused() {
    let disk = MemoryDisk::default();
    let (store, _) = with_garbage(&disk);
    let roots = || {
        let second = collect(&store, AT_ONCE);
        assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}");
        Ok(Vec::new())
    };
    store.collect(&AT_ONCE, &roots, &Silent).unwrap();
}

#[test]
fn a_remembered_list_without_its_chunks_is_no_content() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let raw = noise(1, 400_000);
    let (large, size) = {
        let draft = store.begin(SnapshotId::random()).unwrap();
        let content = draft.put_content(&mut raw.as_slice(), &Silent).unwrap();
        draft.publish_chunks().unwrap();
        content
    };
    let Content::List(list) = large else {
        panic!("it is a list");
    };
    let draft = store.begin(SnapshotId::random()).unwrap();
    assert!(draft.has_content(&large, size).unwrap());
    assert!(!draft.has_content(&large, size - 1).unwrap());
    drop(draft);
    let page = store.get(&list).unwrap();
    collect(&store, AT_ONCE).unwrap();
    let draft = store.begin(SnapshotId::random()).unwrap();
    draft.put_meta(page).unwrap();
    assert!(draft.has(&list).unwrap());
    assert!(!draft.has_content(&large, size).unwrap());
}

#[test]
fn a_remembered_tree_is_whole_only_with_everything_below_it() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let raw = noise(1, 40_000);
    let id = snapshot(&store, std::slice::from_ref(&raw)).unwrap();
    let root = store.manifest(&id).unwrap().root.digest;
    let page = store.get(&root).unwrap();
    for _ in 0..2 {
        assert!(store.is_whole(&root).unwrap());
    }
    store.remove_manifest(&id).unwrap();
    collect(&store, AT_ONCE).unwrap();
    let draft = store.begin(SnapshotId::random()).unwrap();
    draft.put_meta(page).unwrap();
    draft.publish_chunks().unwrap();
    assert!(store.has(&root).unwrap());
    assert!(!store.is_whole(&root).unwrap());
}
