//! Every step of a commit fails once, or is the last before the power goes. What was acknowledged is whole afterwards,
//! what was not is either whole or gone, and the store goes on.

use std::io::ErrorKind;

use super::*;

/// A store with so many segments that the next commit merges them.
fn store_before(disk: &MemoryDisk) -> (Store, Vec<SnapshotId>) {
    let store = store_on(disk);
    let ids = (0..3)
        .map(|seed| commit(&store, &[text(seed, 3000), noise(seed, 100)]).unwrap())
        .collect();
    (store, ids)
}

fn new_chunks() -> Vec<Vec<u8>> {
    vec![text(100, 30_000), noise(101, 5000), text(0, 3000)]
}

fn assert_whole(store: &Store, ids: &[SnapshotId]) {
    for id in ids {
        assert_eq!(
            chunks_of(store, id).unwrap().len(),
            store
                .get(&store.manifest(id).unwrap().root.digest)
                .unwrap()
                .len()
                / Digest::LEN
        );
    }
}

/// Opens what is left, looks at everything in it and uses it.
fn assert_sound(disk: &MemoryDisk, acknowledged: &[SnapshotId]) {
    let store = open(disk, Access::ReadWrite);
    assert_whole(&store, acknowledged);
    assert_whole(&store, &store.manifests().unwrap());
    assert_eq!(disk.list(Path::new(layout::DRAFTS)).unwrap(), [""; 0]);
    let id = commit(&store, &new_chunks()).unwrap();
    assert_eq!(chunks_of(&store, &id).unwrap(), new_chunks());
}

/// Runs a commit that fails at `step`; `None` when there are not as many steps.
fn failing_commit(
    step: u64,
    kind: ErrorKind,
    lasts: bool,
) -> Option<(MemoryDisk, Store, Vec<SnapshotId>, &'static str)> {
    let disk = MemoryDisk::default();
    let (store, mut ids) = store_before(&disk);
    disk.fail_at(step, kind, lasts);
    ids.extend(commit(&store, &new_chunks()).ok());
    let failed_op = disk.heal()?;
    Some((disk, store, ids, failed_op))
}

/// **S2** Once it is `active` it survives a crash of the daemon and a loss of power.
#[test]
fn a_power_cut_at_any_step_loses_nothing_that_was_acknowledged() {
    let mut step = 0;
    while let Some((disk, _store, ids, _)) = failing_commit(step, ErrorKind::Other, true) {
        assert_sound(&disk.after_power_cut(), &ids);
        step += 1;
    }
    assert!(step > 20, "only {step} steps");
}

#[test]
fn a_killed_process_at_any_step_loses_nothing_that_was_acknowledged() {
    let mut step = 0;
    while let Some((disk, _store, ids, _)) = failing_commit(step, ErrorKind::Other, true) {
        assert_sound(&disk.after_kill(), &ids);
        step += 1;
    }
}

#[test]
fn an_open_store_survives_a_failure_at_any_step_or_latches() {
    let mut step = 0;
    while let Some((disk, store, ids, failed_op)) = failing_commit(step, ErrorKind::Other, false) {
        assert_whole(&store, &ids);
        let again = commit(&store, &new_chunks());
        let is_of_publication = ["sync", "sync folder", "sync all", "rename"].contains(&failed_op);
        match again {
            Ok(id) => assert_eq!(chunks_of(&store, &id).unwrap(), new_chunks()),
            Err(error) => assert!(
                is_of_publication && matches!(error, Error::Latched { .. }),
                "{failed_op}: {error}"
            ),
        }
        drop(store);
        assert_sound(&disk.after_power_cut(), &ids);
        step += 1;
    }
}

#[test]
fn a_full_disk_at_any_step_is_told_and_forgotten_once_there_is_space() {
    let mut step = 0;
    while let Some((disk, store, ids, failed_op)) =
        failing_commit(step, ErrorKind::StorageFull, false)
    {
        assert_whole(&store, &ids);
        if failed_op != "sync folder" {
            let id = commit(&store, &new_chunks()).unwrap();
            assert_eq!(chunks_of(&store, &id).unwrap(), new_chunks());
            let left = disk.list(Path::new(layout::DRAFTS)).unwrap();
            assert!(left.is_empty() || failed_op == "remove folder", "{left:?}");
        }
        step += 1;
    }
}

#[test]
fn a_full_disk_is_an_io_error_of_the_next_put_or_the_commit() {
    let disk = MemoryDisk::default();
    let store = store_on(&disk);
    let draft = store.begin(SnapshotId::random()).unwrap();
    disk.fail_at(0, ErrorKind::StorageFull, true);
    let full = |error| matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull);
    let put = (0..10_000).find_map(|seed| draft.put_data(noise(seed, 1000)).err());
    assert!(put.is_some_and(full));
    assert!(draft.publish_chunks().is_err_and(full));
    disk.heal();
    drop(draft);
    assert!(disk.files(".pack").is_empty());
    commit(&store, &new_chunks()).unwrap();
}
