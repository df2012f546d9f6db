//! Every step of a commit fails once while the store stays open: the error is told, and the store goes on or latches.

use std::io::ErrorKind;

use super::*;

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

#[test]
fn an_open_store_survives_a_failure_at_any_step_or_latches() {
    let mut step = 0;
    while let Some((disk, store, ids, failed_op)) = failing_commit(step, ErrorKind::Other, false) {
        whole(&store, &ids).unwrap();
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
        for found in [disk.after_power_cut(), disk.after_kill()] {
            sound(&found, &ids).unwrap();
        }
        step += 1;
    }
}

#[test]
fn a_full_disk_at_any_step_is_told_and_forgotten_once_there_is_space() {
    let mut step = 0;
    while let Some((disk, store, ids, failed_op)) =
        failing_commit(step, ErrorKind::StorageFull, false)
    {
        whole(&store, &ids).unwrap();
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
