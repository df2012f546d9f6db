//! Making, abandoning and removing snapshots.

use super::*;
use crate::pack::{Framer, PackWriter, SealedPack};

/// **S2** Once it is `active` it survives a crash of the daemon and a loss of power.
#[test]
fn a_commit_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, mut ids) = store_before(&disk);
    let before = ids.clone();
    let run = || commit(&store, &new_chunks()).unwrap();
    let (recording, id) = crash_everywhere("commit", &disk, run, |found, id| {
        sound(
            found,
            &[&before[..], id.map_or(&[], std::slice::from_ref)].concat(),
        )
    });
    assert!(recording.steps() > 20, "only {}", recording.steps());
    drop(store);
    ids.push(id);
    sound(&disk, &ids).unwrap();
}

/// Packs of one chunk each, so many that they are synced all at once.
fn many_packs(disk: &MemoryDisk, folder: &Path) -> Vec<SealedPack> {
    disk.create_folder(folder).unwrap();
    let mut framer = Framer::new().unwrap();
    let seal = |number: u32| {
        let raw = noise(u64::from(number), 700);
        let mut pack =
            PackWriter::create(disk, &layout::draft_pack(folder, number), number).unwrap();
        let (stored, is_plain) = framer.frame(&raw).unwrap();
        pack.append(Digest::of(&raw), stored, raw.len(), is_plain)
            .unwrap();
        pack.seal().unwrap()
    };
    (0..=SYNC_EACH as u32).map(seal).collect()
}

#[test]
fn a_commit_of_many_packs_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, before) = store_before(&disk);
    let id = SnapshotId::random();
    let root = Digest::of(&noise(0, 700));
    let run = || {
        let folder = layout::draft(&id);
        let packs = many_packs(&disk, &folder);
        let manifest = manifest_of(id, root).encode();
        store
            .publish(&folder, &packs, Some((id, manifest)))
            .unwrap();
    };
    let check = |found: &MemoryDisk, done: Option<&()>| {
        let store = Store::open_on(Arc::new(found.clone()), Access::ReadWrite).map_err(told)?;
        whole(&store, &before)?;
        let is_there = store.manifests().map_err(told)?.contains(&id);
        for number in (0..=SYNC_EACH as u64).filter(|_| is_there) {
            let raw = noise(number, 700);
            if store.get(&Digest::of(&raw)).map_err(told)? != raw {
                return Err(format!("chunk {number} is another"));
            }
        }
        match done.is_none() || is_there {
            true => Ok(()),
            false => Err("the snapshot is gone".to_owned()),
        }
    };
    crash_everywhere("commit-of-many-packs", &disk, run, check);
}

#[test]
fn publishing_chunks_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, before) = store_before(&disk);
    let run = || {
        let draft = store.begin(SnapshotId::random()).unwrap();
        for chunk in new_chunks() {
            draft.put_data(chunk).unwrap();
        }
        draft.publish_chunks().unwrap();
    };
    let check = |found: &MemoryDisk, done: Option<&()>| {
        sound(found, &before)?;
        let store = Store::open_on(Arc::new(found.clone()), Access::ReadOnly).map_err(told)?;
        for chunk in new_chunks().iter().filter(|_| done.is_some()) {
            store.get(&Digest::of(chunk)).map_err(told)?;
        }
        Ok(())
    };
    crash_everywhere("publish-chunks", &disk, run, check);
}

#[test]
fn a_draft_that_is_dropped_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, before) = store_before(&disk);
    let run = || {
        let draft = store.begin(SnapshotId::random()).unwrap();
        for chunk in new_chunks() {
            draft.put_data(chunk).unwrap();
        }
    };
    crash_everywhere("drop-draft", &disk, run, |found, _| sound(found, &before));
}

#[test]
fn a_removal_can_be_cut_short_anywhere_and_is_final_when_it_has_ended() {
    let disk = MemoryDisk::default();
    let (store, mut kept) = store_before(&disk);
    let gone = kept.remove(1);
    let run = || store.remove_manifest(&gone).unwrap();
    crash_everywhere("remove-manifest", &disk, run, |found, done| {
        removed(found, &kept, &gone, done.is_some())
    });
}

/// The others are whole, and what was removed is gone or whole; gone once that was acknowledged.
pub(super) fn removed(
    disk: &MemoryDisk,
    kept: &[SnapshotId],
    gone: &SnapshotId,
    is_acknowledged: bool,
) -> Checked {
    let reader = Store::open_on(Arc::new(disk.clone()), Access::ReadOnly).map_err(told)?;
    if is_acknowledged && reader.manifests().map_err(told)?.contains(gone) {
        return Err("the removed snapshot is back".to_owned());
    }
    sound(disk, kept)
}
