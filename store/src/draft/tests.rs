use std::sync::atomic::AtomicBool;

use super::*;
use crate::{
    disk::doubles::MemoryDisk,
    progress::Silent,
    store::tests::{noise, store_on, text},
};

fn draft() -> (MemoryDisk, Store, Draft) {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let draft = store.begin(SnapshotId::random()).unwrap();
    (disk, store, draft)
}

/// Cancels from the beginning, or counts.
#[derive(Default)]
struct Watch {
    is_cancelled: AtomicBool,
    bytes: AtomicU64,
}

impl Progress for Watch {
    fn phase(&self, _name: &str) {}
    fn advance(&self, _files: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn expect_bytes(&self, _total_bytes: u64) {}
    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

#[test]
fn equal_chunks_are_stored_once_whoever_puts_them() {
    let (_disk, store, draft) = draft();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for seed in 0..50 {
                    draft.put_data(text(seed, 500)).unwrap();
                }
            });
        }
    });
    draft.publish_chunks().unwrap();
    let stats = draft.stats();
    assert_eq!((stats.new_chunks, stats.deduplicated_chunks), (50, 350));
    assert_eq!(stats.new_bytes, 50 * 500);
    assert_eq!(store.stats().unwrap().chunks, 50);
    assert_eq!(store.stats().unwrap().stored_bytes, stats.stored_bytes);
}

#[test]
fn data_and_metadata_lie_in_packs_of_their_own() {
    let (disk, _store, draft) = draft();
    draft.put_data(text(1, 500)).unwrap();
    draft.put_meta(text(2, 500)).unwrap();
    draft.publish_chunks().unwrap();
    assert_eq!(disk.files(".pack").len(), 2);
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let (disk, store, draft) = draft();
    let digest = draft.put_data(noise(1, 5000)).unwrap();
    draft.get(&digest).unwrap();
    drop(draft);
    assert!(!store.has(&digest).unwrap());
    assert!(disk.files(".pack").is_empty());
}

#[test]
fn a_draft_reads_back_what_it_has_put_before_and_after_it_is_published() {
    let (_disk, store, draft) = draft();
    let raw = noise(1, 5000);
    let digest = draft.put_meta(raw.clone()).unwrap();
    assert!(draft.has(&digest).unwrap() && !store.has(&digest).unwrap());
    assert_eq!(draft.get(&digest).unwrap(), raw);
    draft.publish_chunks().unwrap();
    assert_eq!(draft.get(&digest).unwrap(), raw);
    let missing = draft.get(&Digest::of(b"never put"));
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

#[test]
fn a_draft_goes_on_after_it_has_published() {
    let (_disk, store, draft) = draft();
    for seed in 0..5 {
        draft.put_data(noise(seed, 100)).unwrap();
        draft.publish_chunks().unwrap();
    }
    assert_eq!(store.stats().unwrap().chunks, 5);
    draft.publish_chunks().unwrap();
    assert_eq!(draft.stats().new_chunks, 5);
}

#[test]
fn a_cancelled_read_ends_between_two_chunks() {
    let (_disk, _store, draft) = draft();
    let watch = Watch::default();
    watch.is_cancelled.store(true, Ordering::Relaxed);
    let content = draft.put_content(&mut &noise(1, 100)[..], &watch);
    assert!(matches!(content, Err(Error::Cancelled)));
}

#[test]
fn progress_counts_the_bytes_that_are_read_and_holes_are_not() {
    let (_disk, _store, draft) = draft();
    let watch = Watch::default();
    let raw = noise(1, 300_000);
    let content = draft
        .put_sparse(
            1 << 30,
            &[(1 << 20, 300_000)],
            &mut reader_of(&raw, 1 << 20),
            &watch,
        )
        .unwrap();
    assert!(matches!(content, Content::SparseList(_)));
    let read = watch.bytes.load(Ordering::Relaxed);
    assert_eq!(read, draft.stats().read_bytes);
    assert_eq!(read, 300_000);
}

/// Reads `bytes`, which begin at `begin` in their file.
fn reader_of(bytes: &[u8], begin: u64) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<usize> {
    move |offset, buffer| (&bytes[usize::try_from(offset - begin).unwrap()..]).read(buffer)
}

#[test]
fn content_in_its_simplest_form_is_the_same_however_the_file_is_stored() {
    let (_disk, _store, draft) = draft();
    let empty = draft.put_content(&mut &b""[..], &Silent).unwrap();
    assert_eq!(empty, (Content::Hole, 0));
    let zeros = draft.put_content(&mut &[0; 100][..], &Silent).unwrap();
    assert_eq!(zeros, (Content::Hole, 100));
    let hole = draft.put_sparse(1 << 40, &[], &mut |_, _| Ok(0), &Silent);
    assert_eq!(hole.unwrap(), Content::Hole);
    let raw = text(1, 30_000);
    let chunk = draft.put_content(&mut &raw[..], &Silent).unwrap();
    assert_eq!(chunk, (Content::Chunk(Digest::of(&raw)), 30_000));
    let sparse = draft.put_sparse(30_000, &[(0, 30_000)], &mut reader_of(&raw, 0), &Silent);
    assert_eq!(sparse.unwrap(), chunk.0);
}

#[test]
fn a_reader_that_fails_is_an_io_error() {
    let (_disk, _store, draft) = draft();
    let mut read_at = |_: u64, _: &mut [u8]| Err(std::io::Error::from_raw_os_error(5));
    let content = draft.put_sparse(10, &[(0, 10)], &mut read_at, &Silent);
    assert!(matches!(content, Err(Error::Io { op: "read", .. })));
}

#[test]
fn a_manifest_of_another_snapshot_is_refused() {
    let (_disk, store, draft) = draft();
    let digest = draft.put_meta(text(1, 50)).unwrap();
    let manifest = crate::store::tests::manifest_of(SnapshotId::random(), digest);
    assert!(matches!(draft.commit(manifest), Err(Error::Invalid { .. })));
    assert!(store.manifests().unwrap().is_empty());
}

#[test]
fn a_commit_fills_in_what_the_snapshot_takes() {
    let (_disk, store, draft) = draft();
    let id = draft.id;
    let digest = draft.put_meta(noise(1, 5000)).unwrap();
    let manifest = crate::store::tests::manifest_of(id, digest);
    let (manifest, stats) = draft.commit(manifest).unwrap();
    assert_eq!(manifest.stored_bytes, stats.stored_bytes);
    assert_eq!(store.manifest(&id).unwrap(), manifest);
    assert_eq!(stats.stored_bytes, 5000);
}
