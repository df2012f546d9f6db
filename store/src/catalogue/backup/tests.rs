use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    thread,
};

use tempfile::TempDir;

use super::*;
use crate::catalogue::tests::{active, base, catalogue, id, layer};

const LATER: i64 = 1_000_000;

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn count(path: &Path) -> usize {
    let (catalogue, is_new) = Catalogue::open(path).unwrap();
    assert!(!is_new);
    catalogue.list(None, None, 1000).unwrap().len()
}

/// A folder with a catalogue of three snapshots that nobody has open, and a copy of it from when there were two.
fn replaced_by_a_copy() -> (TempDir, PathBuf, PathBuf) {
    let (catalogue, folder) = catalogue();
    let (path, copy) = (
        folder.path().join("catalogue.db"),
        folder.path().join("copy.db"),
    );
    active(&catalogue, id(1), 10, Some("app:v1"));
    active(&catalogue, id(2), 20, None);
    catalogue.set_expiry(&id(2), None).unwrap();
    catalogue
        .put_base("key", &base(), Some(&layer()), 5)
        .unwrap();
    catalogue.back_up(&copy).unwrap();
    active(&catalogue, id(3), 30, None);
    (folder, path, copy)
}

/// The snapshots of a copy, each made in two steps, one after the other, and the number of those that are but half made.
fn half_made(copy: &Path) -> (usize, u64) {
    let (copy, _) = Catalogue::open(copy).unwrap();
    let mut made: Vec<_> = copy.list(None, None, 1000).unwrap();
    made.reverse();
    for (number, record) in (1..).zip(&made) {
        assert_eq!(record.id, id(number), "in the order they were made");
    }
    (made.len(), copy.count_by_state().unwrap()["creating"])
}

/// **K1** A copy of the catalogue is of one instant, however much is written meanwhile, and no writer waits for it.
#[test]
fn a_copy_made_while_others_write_is_of_one_instant() {
    let (catalogue, folder) = catalogue();
    let copy = folder.path().join("copy.db");
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for number in 1..=100 {
                active(&catalogue, id(number), i64::from(number), None);
            }
        });
        while !writing.is_finished() {
            catalogue.back_up(&copy).unwrap();
            assert!(half_made(&copy).1 <= 1);
        }
    });
    catalogue.back_up(&copy).unwrap();
    assert_eq!(half_made(&copy), (100, 0));
}

#[test]
fn a_copy_belongs_to_its_owner_and_leaves_nothing_beside_it() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 10, None);
    let target = tempfile::tempdir().unwrap();
    let name = OsString::from_vec(b"copy \xff'.db".to_vec());
    let path = target.path().join(&name);
    let bytes = catalogue.back_up(&path).unwrap();
    assert_eq!(names(target.path()), [name]);
    let about = fs::metadata(&path).unwrap();
    assert_eq!(about.len(), bytes);
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_copy_replaces_a_copy_and_nothing_else() {
    let (catalogue, folder) = catalogue();
    let target = tempfile::tempdir().unwrap();
    let (copy, other) = (target.path().join("copy.db"), target.path().join("notes"));
    catalogue.back_up(&copy).unwrap();
    catalogue.back_up(&copy).unwrap();
    fs::write(&other, "something dear to somebody").unwrap();
    for taken in [&other, folder.path()] {
        let refused = catalogue.back_up(taken).unwrap_err();
        assert!(matches!(refused, Error::Exists { .. }), "{refused:?}");
    }
    assert_eq!(names(target.path()), ["copy.db", "notes"]);
    assert_eq!(
        fs::read_to_string(&other).unwrap(),
        "something dear to somebody"
    );
    let missing = target.path().join("no/such/copy.db");
    assert!(matches!(
        catalogue.back_up(&missing),
        Err(Error::Io { op: "open", .. })
    ));
}

#[test]
fn a_copy_takes_the_place_of_the_catalogue_which_is_kept() {
    let (_folder, path, copy) = replaced_by_a_copy();
    let put = Catalogue::put_back(&copy, &path, LATER).unwrap();
    let kept = put.replaced.unwrap();
    assert_eq!(put.snapshots, 2);
    assert_eq!((count(&path), count(&kept)), (2, 3));
    // Once more, over what was kept.
    Catalogue::put_back(&copy, &path, LATER).unwrap();
    assert_eq!((count(&path), count(&kept)), (2, 2));
}

#[test]
fn what_was_put_back_expires_no_earlier_than_it_may_and_remembers_no_bases() {
    let (_folder, path, copy) = replaced_by_a_copy();
    Catalogue::put_back(&copy, &path, LATER).unwrap();
    let (catalogue, _) = Catalogue::open(&path).unwrap();
    assert_eq!(catalogue.get(&id(1)).unwrap().expires_at, Some(LATER));
    assert_eq!(catalogue.get(&id(2)).unwrap().expires_at, None);
    assert_eq!(catalogue.bases().unwrap(), []);
}

#[test]
fn a_copy_is_put_where_there_is_no_catalogue() {
    let (folder, path, copy) = replaced_by_a_copy();
    fs::remove_file(&path).unwrap();
    let put = Catalogue::put_back(&copy, &path, LATER).unwrap();
    assert_eq!((put.snapshots, put.replaced), (2, None));
    assert_eq!(count(&path), 2);
    drop(folder);
}

#[test]
fn what_is_no_whole_copy_is_refused_and_changes_nothing() {
    let (folder, path, copy) = replaced_by_a_copy();
    let before = names(folder.path());
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle + 4096].fill(0x5a);
    fs::write(&copy, bytes).unwrap();
    let damaged = Catalogue::put_back(&copy, &path, LATER).unwrap_err();
    fs::write(&copy, "short").unwrap();
    let foreign = Catalogue::put_back(&copy, &path, LATER).unwrap_err();
    fs::write(&copy, "").unwrap();
    let empty = Catalogue::put_back(&copy, &path, LATER).unwrap_err();
    for refused in [damaged, foreign, empty] {
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    }
    assert_eq!(names(folder.path()), before);
    assert_eq!(count(&path), 3);
}

#[test]
fn a_copy_of_a_later_release_is_refused() {
    let (_folder, path, copy) = replaced_by_a_copy();
    let connection = Connection::open(&copy).unwrap();
    connection.pragma_update(None, "user_version", 70).unwrap();
    drop(connection);
    let refused = Catalogue::put_back(&copy, &path, LATER).unwrap_err();
    assert!(
        matches!(refused, Error::Incompatible { found: 70, .. }),
        "{refused:?}"
    );
    assert_eq!(count(&path), 3);
}

/// A crash between the two renames: the log of the old catalogue stands beside none.
#[test]
fn a_log_without_its_catalogue_is_never_taken_for_that_of_another() {
    let (_folder, path, copy) = replaced_by_a_copy();
    let (catalogue, _) = Catalogue::open(&path).unwrap();
    active(&catalogue, id(4), 40, None);
    let log = path.with_file_name("catalogue.db-wal");
    let kept = fs::read(&log).unwrap();
    drop(catalogue);
    fs::remove_file(&path).unwrap();
    fs::write(&log, &kept).unwrap();
    let (catalogue, is_new) = Catalogue::open(&path).unwrap();
    assert!(is_new);
    assert!(catalogue.list(None, None, 10).unwrap().is_empty());
    drop(catalogue);
    fs::remove_file(&path).unwrap();
    fs::write(&log, &kept).unwrap();
    Catalogue::put_back(&copy, &path, LATER).unwrap();
    assert_eq!(count(&path), 2);
}
