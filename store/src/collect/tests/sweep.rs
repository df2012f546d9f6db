//! What goes, when, and what becomes of those who look meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

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
    let before = store.stats().unwrap();
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!(report.snapshots, 1);
    assert!(report.removed_packs >= 2, "{report:?}");
    assert!(report.freed_bytes > 300_000);
    assert_eq!(report.waiting_packs, 0);
    let after = store.stats().unwrap();
    assert_eq!(after.chunks, report.live_chunks);
    assert_eq!(after.stored_bytes, report.live_bytes);
    assert_eq!(before.chunks, report.live_chunks + report.dead_chunks);
    assert_eq!(files_of(&store, &keeper).unwrap(), kept);
    let reader = open(&disk, Access::ReadOnly);
    assert_eq!(files_of(&reader, &keeper).unwrap(), kept);
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

#[test]
fn nothing_is_done_where_there_is_nothing_to_do() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    for seed in 0..3 {
        snapshot(&store, &[noise(seed, 700)]).unwrap();
    }
    let before = disk.counts();
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!((report.removed_packs, report.rewritten_packs), (0, 0));
    assert_eq!(disk.counts(), before);
}

#[test]
fn a_grace_period_goes_on_over_a_restart() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let id = snapshot(&store, &[noise(1, 700)]).unwrap();
    store.remove_manifest(&id).unwrap();
    let report = collect_at(&store, 1000, 100).unwrap();
    assert_eq!((report.removed_packs, report.waiting_packs), (0, 2));
    assert!(report.waiting_bytes > 700);
    drop(store);
    let store = open(&disk.after_power_cut(), Access::ReadWrite);
    assert!(!store.has(&Digest::of(&noise(1, 700))).unwrap());
    assert_eq!(collect_at(&store, 1099, 100).unwrap().removed_packs, 0);
    assert_eq!(collect_at(&store, 1100, 100).unwrap().removed_packs, 2);
}

#[test]
fn a_clock_that_was_set_back_makes_the_wait_longer_and_loses_nothing() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let id = snapshot(&store, &[noise(1, 700)]).unwrap();
    store.remove_manifest(&id).unwrap();
    collect_at(&store, 1_000_000, 100).unwrap();
    assert_eq!(collect_at(&store, 5, 100).unwrap().removed_packs, 0);
    assert_eq!(collect_at(&store, 104, 100).unwrap().removed_packs, 0);
    assert_eq!(collect_at(&store, 105, 100).unwrap().removed_packs, 2);
}

/// A snapshot that needs a tenth of a pack.
fn sparse(store: &Store) -> (SnapshotId, Vec<Vec<u8>>) {
    let all: Vec<_> = (0..10)
        .map(|seed| noise(seed, 30_000 + seed as usize))
        .collect();
    publish_pack(store, &all);
    let few = vec![all[3].clone(), text(1, 500_000)];
    (snapshot(store, &few).unwrap(), few)
}

#[test]
fn what_is_needed_of_a_sparse_pack_is_copied_and_the_pack_goes() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let (id, files) = sparse(&store);
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!(report.rewritten_packs, 1, "{report:?}");
    assert_eq!(report.written_bytes, 30_003);
    assert!(report.freed_bytes > 250_000);
    let reader = open(&disk, Access::ReadOnly);
    for store in [&store, &reader] {
        assert_eq!(files_of(store, &id).unwrap(), files);
    }
    let again = collect(&store, AT_ONCE).unwrap();
    assert_eq!((again.rewritten_packs, again.removed_packs), (0, 0));
    assert_eq!(again.dead_chunks, 0);
}

#[test]
fn a_reader_that_looked_before_a_rewrite_reads_everything_after_it() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let (id, files) = sparse(&store);
    let idle = open(&disk, Access::ReadOnly);
    let busy = open(&disk, Access::ReadOnly);
    assert_eq!(files_of(&busy, &id).unwrap(), files);
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!(report.rewritten_packs, 1);
    for reader in [idle, busy] {
        reader.set_cache_bytes(0);
        assert_eq!(files_of(&reader, &id).unwrap(), files);
        reader.check(&Digest::of(&files[0]), false).unwrap();
        reader.check(&Digest::of(&files[0]), true).unwrap();
    }
}

#[test]
fn a_reader_follows_many_collections_it_never_heard_of() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let (id, files) = sparse(&store);
    let reader = open(&disk, Access::ReadOnly);
    for round in 0..6 {
        let more: Vec<_> = (0..5)
            .map(|seed| noise(100 + round * 10 + seed, 40_000))
            .collect();
        let gone = snapshot(&store, &[more, files.clone()].concat()).unwrap();
        store.remove_manifest(&gone).unwrap();
        collect(&store, AT_ONCE).unwrap();
    }
    store.rebuild_index(&Silent).unwrap();
    assert_eq!(files_of(&reader, &id).unwrap(), files);
}

#[test]
fn rewritten_packs_wait_like_others() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let (id, files) = sparse(&store);
    let first = collect_at(&store, 0, 100).unwrap();
    assert_eq!((first.rewritten_packs, first.removed_packs), (1, 0));
    let second = collect_at(&store, 50, 100).unwrap();
    assert_eq!((second.rewritten_packs, second.removed_packs), (0, 0));
    let third = collect_at(&store, 100, 100).unwrap();
    assert_eq!((third.rewritten_packs, third.removed_packs), (0, 1));
    assert_eq!(files_of(&store, &id).unwrap(), files);
}

/// The very same chunks in the same order make the very same pack, under the name of the one that is condemned.
#[test]
fn a_pack_that_is_published_again_while_it_is_condemned_stays() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let files = [noise(1, 5000)];
    let id = snapshot(&store, &files).unwrap();
    store.remove_manifest(&id).unwrap();
    collect_at(&store, 0, 100).unwrap();
    let packs = disk.files(".pack");
    let again = snapshot(&store, &files).unwrap();
    assert_eq!(disk.files(".pack"), packs);
    let report = collect_at(&store, 1000, 100).unwrap();
    assert_eq!((report.removed_packs, report.waiting_packs), (0, 0));
    for store in [store, open(&disk, Access::ReadOnly)] {
        assert_eq!(files_of(&store, &again).unwrap(), files);
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let (id, files) = sparse(&store);
    let before = (disk.counts(), disk.files(""));
    let dry = CollectOptions {
        dry_run: true,
        ..AT_ONCE
    };
    let foretold = collect(&store, dry).unwrap();
    assert_eq!((disk.counts(), disk.files("")), before);
    let done = collect(&store, AT_ONCE).unwrap();
    assert_eq!(foretold.rewritten_packs, done.rewritten_packs);
    assert_eq!(foretold.written_bytes, done.written_bytes);
    assert_eq!(foretold.dead_bytes, done.dead_bytes);
    assert_eq!(foretold.removed_packs, done.removed_packs);
    assert_eq!(foretold.freed_bytes, done.freed_bytes);
    assert_eq!(files_of(&store, &id).unwrap(), files);
}

/// Cancels when it was asked so many times.
struct CancelAt(AtomicU64);

impl Progress for CancelAt {
    fn phase(&self, _name: &str) {}
    fn advance(&self, _files: u64, _bytes: u64) {}
    fn expect_bytes(&self, _total_bytes: u64) {}
    fn is_cancelled(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }
}

#[test]
fn a_collection_that_is_cancelled_anywhere_is_finished_by_the_next() {
    for times in 0.. {
        let disk = MemoryDisk::default();
        let store = store_on(&disk);
        let (id, files) = sparse(&store);
        let progress = CancelAt(AtomicU64::new(times));
        let cancelled = store.collect(&AT_ONCE, &|| Ok(Vec::new()), &progress);
        assert_eq!(files_of(&store, &id).unwrap(), files);
        assert!(disk.list(Path::new("drafts")).unwrap().is_empty());
        collect(&store, AT_ONCE).unwrap();
        assert_eq!(files_of(&store, &id).unwrap(), files);
        assert!(leaves_nothing(&store, &disk));
        match cancelled {
            Err(error) => assert!(matches!(error, Error::Cancelled)),
            Ok(_) => return assert!(times > 5, "{times}"),
        }
    }
}

#[test]
fn a_full_disk_is_given_space_and_loses_nothing() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let (id, files) = sparse(&store);
    publish_pack(&store, &[noise(77, 100_000)]);
    disk.fill();
    let report = collect(&store, AT_ONCE).unwrap();
    assert!(report.freed_bytes > 100_000, "{report:?}");
    assert!(report.stopped.is_some(), "{report:?}");
    assert_eq!(report.rewritten_packs, 0);
    assert_eq!(files_of(&store, &id).unwrap(), files);
    disk.heal();
    let report = collect(&store, AT_ONCE).unwrap();
    assert_eq!((report.rewritten_packs, report.stopped), (1, None));
    assert_eq!(files_of(&store, &id).unwrap(), files);
    assert!(disk.list(Path::new("drafts")).unwrap().is_empty());
}

/// Files below `root` that this process has open and that have no name any more.
fn open_and_removed(root: &Path) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let is_ours = |target: &PathBuf| {
        target.starts_with(root) && target.to_string_lossy().ends_with(" (deleted)")
    };
    targets.filter(is_ours).count()
}

#[test]
fn a_reader_closes_what_was_removed_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let store = Store::ensure(&root).unwrap();
    let (id, files) = sparse(&store);
    let reader = Store::open(&root, Access::ReadOnly).unwrap();
    reader.set_cache_bytes(0);
    assert_eq!(files_of(&reader, &id).unwrap(), files);
    assert_eq!(collect(&store, AT_ONCE).unwrap().rewritten_packs, 1);
    assert!(open_and_removed(&root) > 0);
    reader.close_removed().unwrap();
    assert_eq!(open_and_removed(&root), 0);
    assert_eq!(files_of(&reader, &id).unwrap(), files);
}
