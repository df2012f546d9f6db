//! Making a store, and opening one: what settles the last crash can be cut short by the next.

use std::ops::ControlFlow;

use super::*;
use crate::disk::doubles::{Outcome, conclude, try_points};

/// Whatever was left of it, making a store again is enough; once it was made, opening it is. It has every folder then.
pub(super) fn made(disk: &MemoryDisk, is_acknowledged: bool) -> Checked {
    if is_acknowledged {
        return sound(disk, &[]);
    }
    format::ensure(disk).map_err(told)?;
    for first in 0..=u8::MAX {
        disk.list(&layout::pack_folder(first)).map_err(told)?;
    }
    let store = Store::open_on(Arc::new(disk.clone()), Access::ReadWrite).map_err(told)?;
    store.manifests().map(drop).map_err(told)
}

#[test]
fn making_a_store_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let run = || format::ensure(&disk).unwrap();
    crash_everywhere("make-store", &disk, run, |found, done| {
        made(found, done.is_some())
    });
}

/// A store whose writer died with a draft open, whose newest packs no segment covers, and one of whose segments is damaged.
fn unsettled() -> (MemoryDisk, Vec<SnapshotId>) {
    let disk = MemoryDisk::default();
    let (store, mut ids) = store_before(&disk);
    ids.push(commit(&store, &new_chunks()).unwrap());
    ids.push(commit(&store, &[noise(77, 900)]).unwrap());
    let draft = store.begin(SnapshotId::random()).unwrap();
    draft.put_data(noise(78, 9000)).unwrap();
    let found = disk.after_kill();
    drop((draft, store));
    let segments = found.files(".seg");
    found.remove(&segments[0]).unwrap();
    for segment in &segments[1..] {
        found.damage(segment, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    (found, ids)
}

#[test]
fn opening_can_be_cut_short_anywhere() {
    let (disk, ids) = unsettled();
    let run = || drop(open(&disk, Access::ReadWrite));
    let (recording, ()) =
        crash_everywhere("open-and-settle", &disk, run, |found, _| sound(found, &ids));
    assert!(recording.steps() > 8, "{}", recording.steps());
}

/// Every fifteenth state that a cut commit leaves is opened, and that is cut short at every step.
#[test]
fn settling_what_a_cut_commit_left_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, before) = store_before(&disk);
    let (commit, _) = disk.record(|| commit(&store, &new_chunks()).unwrap());
    let mut number = 0;
    let mut sum = Outcome::default();
    commit.points(1, |point| {
        number += 1;
        if number % 15 == 0 {
            let run = || drop(open(&point.disk, Access::ReadWrite));
            let (settling, ()) = point.disk.record(run);
            sum.add(try_points(&settling, |found, _| sound(found, &before)));
        }
        ControlFlow::Continue(())
    });
    assert!(sum.points > 100, "{sum:?}");
    conclude("settle-after-commit", &sum);
}
