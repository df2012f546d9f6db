use super::*;

#[test]
fn what_nothing_needs_goes_and_everything_else_stays() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let shared = noise(1, 50_000);
    let kept = vec![shared.clone(), noise(2, 200_000)];
    let keeper = snapshot(&store, &kept).unwrap();
    let removed = snapshot(&store, &[shared, noise(3, 300_000)]).unwrap();
    store.remove_manifest(&removed).unwrap();
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!(report.snapshots, 1);
    assert_eq!(report.removed_packs, 2, "{report:?}");
    assert!(report.freed_bytes > 300_000);
    assert_eq!(report.waiting_packs, 0);
    assert_eq!(files_of(&store, &keeper).unwrap(), kept);
    let reader = open(&disk, Access::ReadOnly);
    assert_eq!(files_of(&reader, &keeper).unwrap(), kept);
    assert!(!store.has(&Digest::of(&noise(3, 300_000))).unwrap());
}

#[test]
fn nothing_is_left_of_a_store_without_snapshots() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    for seed in 0..5 {
        let id = snapshot(&store, &[noise(seed, 90_000), text(seed, 1000)]).unwrap();
        store.remove_manifest(&id).unwrap();
    }
    collect(&store, AT_ONCE).unwrap();
    assert!(disk.files(".pack").is_empty());
    let stats = store.stats().unwrap();
    assert_eq!((stats.packs, stats.chunks, stats.stored_bytes), (0, 0, 0));
}
