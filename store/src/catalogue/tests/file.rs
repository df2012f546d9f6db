//! The catalogue's file: opened again, of other releases, damaged, on a full disk.

use super::*;

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    fs::write(path, bytes).unwrap();
}

/// A catalogue of the first schema, as earlier builds wrote it.
#[test]
fn a_catalogue_of_the_first_schema_is_brought_to_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../schema-1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO bases VALUES ('old', zeroblob(32), 1, 0, 0, 0, 0, 0, x'', x'', 0);
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    let (catalogue, is_new) = Catalogue::open(&path).unwrap();
    assert!(!is_new);
    let bases = catalogue.bases().unwrap();
    assert_eq!((&*bases[0].key, bases[0].last_used_at), ("old", 0));
    assert_eq!(bases[0].layer, None);
}

#[test]
fn a_reopened_catalogue_has_everything() {
    let (catalogue, folder) = catalogue();
    active(&catalogue, id(1), 1, Some("app"));
    catalogue.insert_mount(&mount("/mnt/a", id(1))).unwrap();
    let before = (catalogue.get(&id(1)).unwrap(), catalogue.mounts().unwrap());
    drop(catalogue);
    let (catalogue, is_new) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    assert!(!is_new);
    let after = (catalogue.get(&id(1)).unwrap(), catalogue.mounts().unwrap());
    assert_eq!(before, after);
}

#[test]
fn a_damaged_catalogue_is_corrupt_and_says_what_to_do() {
    let (catalogue, folder) = catalogue();
    for number in 1..50 {
        active(&catalogue, id(number), 1, Some("app"));
    }
    drop(catalogue);
    let path = folder.path().join("catalogue.db");
    damage(&path);
    let error = Catalogue::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Corrupt {
                what: "Catalogue",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("rebuilt from the manifests"),
        "{error}"
    );
    fs::write(
        &path,
        "not a database at all, but long enough to have a header",
    )
    .unwrap();
    assert!(matches!(Catalogue::open(&path), Err(Error::Corrupt { .. })));
}

#[test]
fn a_catalogue_of_a_later_release_is_left_alone() {
    let (catalogue, folder) = catalogue();
    catalogue
        .lock()
        .pragma_update(None, "user_version", 7)
        .unwrap();
    drop(catalogue);
    let error = Catalogue::open(&folder.path().join("catalogue.db")).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Incompatible {
                found: 7,
                supported: 2,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_full_disk_leaves_the_catalogue_as_it_was() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, None);
    let pages: i64 = catalogue
        .lock()
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    catalogue
        .lock()
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
    let mut large = record(id(2), 2);
    large.source = "x".repeat(1 << 20);
    let error = catalogue.insert(&large, LIMIT).unwrap_err();
    assert!(matches!(error, Error::Database { .. }), "{error:?}");
    assert_eq!(catalogue.list(None, None, 10).unwrap().len(), 1);
    catalogue.set_expiry(&id(1), None).unwrap();
}
