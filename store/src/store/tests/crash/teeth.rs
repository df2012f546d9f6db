//! The crash matrix bites: for every sync there is, it is tried what happens when the disk ignores it, and when it comes last.
//!
//! A sync that guards an invariant must be missed: some crash point then shows a violation. What guards nothing but time is listed
//! as spare, and must not be missed: the index is made again from the packs whatever becomes of it.

use super::{opening::made, snapshots::removed, *};
use crate::disk::doubles::{Recording, has_violation, try_points};

/// Tries every sync of the recording: those that are `spare` by their description must not be missed, all others must.
/// Returns how many were needed.
pub(crate) fn bite(
    recording: &Recording,
    is_spare: impl Fn(&str) -> bool,
    check: impl Fn(&MemoryDisk, bool) -> Checked,
) -> usize {
    let (spared, needed): (Vec<_>, Vec<_>) = recording
        .syncs()
        .into_iter()
        .partition(|(_, sync)| is_spare(sync));
    for (step, sync) in spared {
        let harm = try_points(&recording.without(step), &check).violations;
        assert_eq!(harm, [""; 0], "{sync} is more than spare");
    }
    // The last one makes true what is acknowledged next: nothing that comes after it depends on it.
    let last = needed.last().map(|sync| sync.0);
    for (step, sync) in &needed {
        let is_missed = |case: &Recording| has_violation(case, &check);
        assert!(
            is_missed(&recording.without(*step)),
            "nobody misses `{sync}`"
        );
        let is_timely = Some(*step) == last || is_missed(&recording.delaying(*step));
        assert!(is_timely, "nobody misses `{sync}` in time");
    }
    needed.len()
}

#[test]
fn every_sync_of_a_commit_is_needed_but_those_of_the_index() {
    let disk = MemoryDisk::default();
    let (store, before) = store_before(&disk);
    let (recording, id) = disk.record(|| commit(&store, &new_chunks()).unwrap());
    let after = [&before[..], &[id]].concat();
    // At least a pack of data, one of metadata, their folders, the manifest and its folder.
    let needed = bite(
        &recording,
        |sync| sync.contains(".segment") || sync.contains("folder index"),
        |found, is_end| sound(found, if is_end { &after } else { &before }),
    );
    assert!(needed >= 6, "{needed}");
}

#[test]
fn every_sync_of_a_removal_is_needed() {
    let disk = MemoryDisk::default();
    let (store, mut kept) = store_before(&disk);
    let gone = kept.remove(1);
    let (recording, ()) = disk.record(|| store.remove_manifest(&gone).unwrap());
    let check = |found: &MemoryDisk, is_end| removed(found, &kept, &gone, is_end);
    assert_eq!(bite(&recording, |_| false, check), 1);
}

#[test]
fn every_sync_of_making_a_store_is_needed() {
    let disk = MemoryDisk::default();
    let (recording, ()) = disk.record(|| format::ensure(&disk).unwrap());
    assert_eq!(bite(&recording, |_| false, made), 4);
}
