//! The store as its callers see it: on a disk in memory that fails, loses power and goes bad, and on the host's.

pub(crate) mod crash;
mod damage;
mod model;

use std::collections::BTreeMap;

use super::*;
use crate::{
    Content, HostFacts, LinkTable, Meta, Namespace, Origin, TreeRef, disk::doubles::MemoryDisk,
    progress::Silent,
};

/// Bytes that nothing compresses, always the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress, always the same for the same seed.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|line| format!("seed {seed}, line {line}\n").into_bytes());
    lines.take(length).collect()
}

/// An empty store in memory.
pub(crate) fn store_on(disk: &MemoryDisk) -> Store {
    format::ensure(disk).unwrap();
    open(disk, Access::ReadWrite)
}

pub(crate) fn open(disk: &MemoryDisk, access: Access) -> Store {
    Store::open_on(Arc::new(disk.clone()), access).unwrap()
}

/// A manifest of a snapshot whose tree is the chunk `root`.
pub(crate) fn manifest_of(id: SnapshotId, root: Digest) -> Manifest {
    Manifest {
        id,
        namespace: "default".parse::<Namespace>().unwrap(),
        created_at: 1,
        name: None,
        version: None,
        expires_at: None,
        labels: BTreeMap::new(),
        root: TreeRef {
            digest: root,
            nodes: 1,
        },
        root_meta: Meta::default(),
        links: LinkTable::default(),
        logical_bytes: 0,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        origin: Origin::Path("/".to_owned()),
        host: HostFacts::default(),
    }
}

/// Commits a snapshot of these chunks. Its root is a list of their digests, so that whoever has the manifest can find them all.
pub(crate) fn commit(store: &Store, chunks: &[Vec<u8>]) -> Result<SnapshotId> {
    let id = SnapshotId::random();
    let draft = store.begin(id)?;
    let mut list = Vec::new();
    for chunk in chunks {
        list.extend(draft.put_data(chunk.clone())?.as_bytes());
    }
    let root = draft.put_meta(list)?;
    draft.commit(manifest_of(id, root))?;
    Ok(id)
}

/// The chunks of a snapshot made by [`commit`].
pub(crate) fn chunks_of(store: &Store, id: &SnapshotId) -> Result<Vec<Vec<u8>>> {
    let list = store.get(&store.manifest(id)?.root.digest)?;
    let digests = list.as_chunks().0.iter();
    digests
        .map(|digest| store.get(&Digest::from_bytes(*digest)))
        .collect()
}

#[test]
fn published_chunks_are_read_back_by_every_kind_of_reader() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::ensure(folder.path()).unwrap();
    let reader = Store::open(folder.path(), Access::ReadOnly).unwrap();
    let chunks = [text(1, 70_000), noise(2, 70_000), Vec::new()];
    let id = commit(&store, &chunks).unwrap();
    assert_eq!(chunks_of(&store, &id).unwrap(), chunks);
    assert_eq!(chunks_of(&reader, &id).unwrap(), chunks);
    let digest = Digest::of(&chunks[0]);
    assert_eq!(*reader.get_cached(&digest).unwrap(), *chunks[0]);
    drop(store);
    let store = Store::open(folder.path(), Access::ReadWrite).unwrap();
    assert_eq!(chunks_of(&store, &id).unwrap(), chunks);
    assert_eq!(store.manifests().unwrap(), [id]);
}

#[test]
fn a_commit_leaves_nothing_in_drafts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::ensure(folder.path()).unwrap();
    commit(&store, &[noise(1, 1000)]).unwrap();
    let drafts = std::fs::read_dir(folder.path().join("drafts")).unwrap();
    assert_eq!(drafts.count(), 0);
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::ensure(folder.path()).unwrap();
    let second = Store::open(folder.path(), Access::ReadWrite);
    assert!(matches!(second, Err(Error::Busy { .. })));
    assert!(matches!(
        Store::ensure(folder.path()),
        Err(Error::Busy { .. })
    ));
    Store::open(folder.path(), Access::ReadOnly).unwrap();
}

#[test]
fn a_folder_that_is_no_store_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let none = Store::open(folder.path(), Access::ReadWrite);
    assert!(matches!(none, Err(Error::NotFound { what: "Store", .. })));
    let none = Store::open(&folder.path().join("none"), Access::ReadOnly);
    assert!(matches!(none, Err(Error::NotFound { what: "Store", .. })));
}

#[test]
fn a_newer_store_is_incompatible_and_a_damaged_format_file_corrupt() {
    let disk = MemoryDisk::default();
    drop(store_on(&disk));
    let format = Path::new(layout::FORMAT);
    disk.damage(format, |bytes| bytes[20] ^= 1);
    let opened = Store::open_on(Arc::new(disk.clone()), Access::ReadOnly);
    assert!(matches!(opened, Err(Error::Corrupt { what: "Store", .. })));
    disk.damage(format, |bytes| {
        bytes[20] ^= 1;
        bytes[8] = 9;
        let check = Digest::of(&bytes[..24]);
        bytes[24..].copy_from_slice(check.as_bytes());
    });
    let opened = Store::open_on(Arc::new(disk), Access::ReadWrite);
    assert!(matches!(opened, Err(Error::Incompatible { found: 9, .. })));
}

#[test]
fn a_store_with_an_unknown_read_only_feature_is_read_and_not_written() {
    let disk = MemoryDisk::default();
    drop(store_on(&disk));
    disk.damage(Path::new(layout::FORMAT), |bytes| {
        bytes[16] = 4;
        let check = Digest::of(&bytes[..24]);
        bytes[24..].copy_from_slice(check.as_bytes());
    });
    open(&disk, Access::ReadOnly);
    let opened = Store::open_on(Arc::new(disk), Access::ReadWrite);
    assert!(matches!(opened, Err(Error::Incompatible { found: 4, .. })));
}

#[test]
fn a_reader_writes_nothing() {
    let disk = MemoryDisk::default();
    let id = commit(&store_on(&disk), &[text(1, 5000)]).unwrap();
    let before = disk.counts();
    let reader = open(&disk, Access::ReadOnly);
    chunks_of(&reader, &id).unwrap();
    assert!(matches!(
        reader.begin(SnapshotId::random()),
        Err(Error::Invalid { .. })
    ));
    assert!(reader.remove_manifest(&id).is_err());
    assert!(reader.rebuild_index(&Silent).is_err());
    assert_eq!(disk.counts(), before);
}

#[test]
fn known_chunks_cost_no_write() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let chunks = [text(1, 50_000), noise(2, 50_000)];
    commit(&store, &chunks).unwrap();
    let draft = store.begin(SnapshotId::random()).unwrap();
    let before = disk.counts();
    for chunk in &chunks {
        draft.put_data(chunk.clone()).unwrap();
    }
    draft.publish_chunks().unwrap();
    assert_eq!(disk.counts(), before);
    assert_eq!(draft.stats().deduplicated_chunks, 2);
}

#[test]
fn a_removed_manifest_is_gone_and_removing_it_again_is_no_error() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let id = commit(&store, &[text(1, 500)]).unwrap();
    store.remove_manifest(&id).unwrap();
    store.remove_manifest(&id).unwrap();
    let gone = store.manifest(&id);
    assert!(matches!(
        gone,
        Err(Error::NotFound {
            what: "Snapshot",
            ..
        })
    ));
    let store = open(&disk.after_power_cut(), Access::ReadOnly);
    assert_eq!(store.manifests().unwrap(), []);
}

#[test]
fn an_id_is_used_once() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let id = commit(&store, &[text(1, 500)]).unwrap();
    assert!(matches!(store.begin(id), Err(Error::Exists { .. })));
    let other = SnapshotId::random();
    let draft = store.begin(other).unwrap();
    assert!(matches!(store.begin(other), Err(Error::Exists { .. })));
    drop(draft);
    store.begin(other).unwrap();
}

#[test]
fn the_cache_answers_without_the_disk_until_it_is_made_small() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    commit(&store, &[text(1, 5000)]).unwrap();
    let digest = Digest::of(&text(1, 5000));
    store.get_cached(&digest).unwrap();
    for pack in disk.files(".pack") {
        disk.damage(&pack, Vec::clear);
    }
    assert_eq!(*store.clone().get_cached(&digest).unwrap(), *text(1, 5000));
    store.set_cache_bytes(0);
    assert!(matches!(
        store.get_cached(&digest),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn hundreds_of_commits_leave_few_segments_and_every_chunk() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let chunk = |number: u64| number.to_le_bytes().to_vec();
    for number in 0..300 {
        commit(&store, &[chunk(number)]).unwrap();
    }
    assert!(disk.files(".seg").len() <= 8, "{:?}", disk.files(".seg"));
    let store = {
        drop(store);
        open(&disk, Access::ReadWrite)
    };
    for number in 0..300 {
        assert!(store.has(&Digest::of(&chunk(number))).unwrap());
    }
    assert!(matches!(
        store.get(&Digest::of(b"nothing")),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn two_drafts_at_once_are_both_published() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let same = text(7, 9000);
    let drafts = [1, 2].map(|seed| {
        let draft = store.begin(SnapshotId::random()).unwrap();
        draft.put_data(same.clone()).unwrap();
        draft.put_data(noise(seed, 3000)).unwrap();
        draft
    });
    for draft in drafts {
        draft.publish_chunks().unwrap();
    }
    let store = open(&disk.after_power_cut(), Access::ReadWrite);
    for raw in [same, noise(1, 3000), noise(2, 3000)] {
        assert_eq!(store.get(&Digest::of(&raw)).unwrap(), raw);
    }
}

#[test]
fn content_of_several_chunks_is_a_list() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let draft = store.begin(SnapshotId::random()).unwrap();
    let raw = noise(1, 3_000_000);
    let (content, length) = draft.put_content(&mut &raw[..], &Silent).unwrap();
    assert_eq!(length, raw.len() as u64);
    assert!(matches!(content, Content::List(_)));
    assert_eq!(draft.stats().read_bytes, length);
}

/// A pack that appears while the index is compared with the packs is not a pack the index has forgotten.
#[test]
fn what_is_published_while_the_index_is_checked_is_no_problem() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    commit(&store, &[noise(1, 3000)]).unwrap();
    let publisher = store.clone();
    disk.before_list(Path::new(layout::PACKS), move || {
        commit(&publisher, &[noise(2, 3000)]).unwrap();
    });
    assert_eq!(store.check_index().unwrap(), [""; 0]);
    assert_eq!(store.manifests().unwrap().len(), 2);
}
