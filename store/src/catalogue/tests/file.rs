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

/// **A8** `NAME:3` is version 3 of NAME. A tag of digits alone cannot be given; one that an earlier release gave stays,
/// and comes before the version of that number, until it is taken away.
#[test]
fn names_of_the_second_schema_become_versions_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalogue.db");
    let old = Connection::open(&path).unwrap();
    for schema in [
        include_str!("../schema-1.sql"),
        include_str!("../schema-2.sql"),
    ] {
        old.execute_batch(schema).unwrap();
    }
    for (number, created_at) in [(1, 30), (2, 10), (3, 20), (4, 5)] {
        let sql = "INSERT INTO snapshots VALUES (?, 'default', 'active', NULL, '{}', 's', 0, NULL, ?, NULL, NULL, 0, 0, 0, 0)";
        old.execute(sql, (id(number).as_bytes(), created_at))
            .unwrap();
    }
    for (name, tag, number) in [
        ("app", "latest", 1),
        ("app", "v1", 2),
        ("app", "v3", 1),
        ("app", "1", 3),
        ("other", "x", 1),
    ] {
        let sql = "INSERT INTO names VALUES ('default', ?, ?, ?)";
        old.execute(sql, (name, tag, id(number).as_bytes()))
            .unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);
    let (catalogue, _) = Catalogue::open(&path).unwrap();
    for (reference, number) in [
        ("app", 1),
        ("app:v1", 2),
        ("app:v3", 1),
        ("app:1", 3),
        ("app:2", 3),
        ("app:3", 1),
        ("other:1", 1),
    ] {
        let found = resolve(&catalogue, reference).unwrap();
        assert_eq!(found, id(number), "{reference}");
    }
    let app = "app:1".parse().unwrap();
    catalogue
        .remove_name(&namespace(), &app, Force::No, NOW)
        .unwrap();
    assert_eq!(resolve(&catalogue, "app:1").unwrap(), id(2));
    active(&catalogue, id(5), 40, Some("app"));
    assert_eq!(resolve(&catalogue, "app:4").unwrap(), id(5));
    assert_eq!(catalogue.get(&id(4)).unwrap().versions, []);
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
        .pragma_update(None, "user_version", 99)
        .unwrap();
    drop(catalogue);
    let error = Catalogue::open(&folder.path().join("catalogue.db")).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Incompatible {
                found: 99,
                supported: 12,
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
