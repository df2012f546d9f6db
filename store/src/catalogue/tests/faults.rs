//! The disk is full, or broken, at every step of every change of the catalogue: the error is told, nothing stays half done, and the
//! catalogue goes on.

use super::{
    crash::{CHANGES, Change, folder, open, prepared, told},
    vfs::{self, Refusal},
    *,
};

/// Tries a change whose step of this number is refused; false when there are not as many steps.
fn try_refused(change: Change, step: usize, refusal: Refusal) -> bool {
    let folder = folder();
    let catalogue = prepared(folder.path());
    // So that the database itself is written to as well.
    catalogue
        .lock()
        .pragma_update(None, "wal_autocheckpoint", 1)
        .unwrap();
    let before = told(&catalogue);
    let (is_refused, done) = vfs::refuse(folder.path(), step, refusal, || change(&catalogue));
    match &done {
        Ok(()) => assert_ne!(told(&catalogue), before),
        Err(error) => {
            assert!(matches!(error, Error::Database { .. }), "{error:?}");
            assert_eq!(told(&catalogue), before);
            change(&catalogue).unwrap();
        }
    }
    let after = told(&catalogue);
    drop(catalogue);
    assert_eq!(told(&open(folder.path()).unwrap()), after);
    is_refused
}

/// How many steps of a change were refused, each in a run of its own.
fn try_all(change: Change, refusal: Refusal) -> usize {
    let mut refused = 0;
    // What cannot be refused in this way lies between what can.
    let mut allowed = 0;
    for step in 0.. {
        match try_refused(change, step, refusal) {
            true => (refused, allowed) = (refused + 1, 0),
            false => allowed += 1,
        }
        if allowed > 3 {
            break;
        }
    }
    refused
}

#[test]
fn a_full_disk_at_any_step_of_a_change_is_told_and_leaves_nothing_half_done() {
    vfs::install();
    for (name, change) in CHANGES {
        let refused = try_all(change, Refusal::Full);
        assert!(refused > 3, "{name}: {refused}");
    }
}

#[test]
fn a_broken_disk_at_any_step_of_a_change_is_told_and_leaves_nothing_half_done() {
    vfs::install();
    for (name, change) in CHANGES {
        let refused = try_all(change, Refusal::Broken);
        assert!(refused > 5, "{name}: {refused}");
    }
}
