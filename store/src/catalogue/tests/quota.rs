//! What a namespace may hold.

use super::*;

#[test]
fn stored_bytes_beyond_the_limit_are_refused_and_change_nothing() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, Some("app"));
    catalogue.insert(&record(id(2), 2), LIMIT).unwrap();
    let second = manifest(id(2), 2, Some("app"));
    let refused = catalogue.activate_within(&second, 1023).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Stored bytes in the namespace would exceed the limit of 1023"
    );
    assert_eq!(
        catalogue.get(&id(2)).unwrap().state,
        SnapshotState::Creating
    );
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(1));
    catalogue.activate_within(&second, 1024).unwrap();
    let expected = Held {
        snapshots: 2,
        stored_bytes: 1024,
        ..Held::default()
    };
    assert_eq!(catalogue.held(&namespace()).unwrap(), expected);
    let other: Namespace = "other".parse().unwrap();
    assert_eq!(catalogue.held(&other).unwrap().stored_bytes, 0);
}

#[test]
fn what_has_failed_or_is_removed_does_not_count() {
    let (catalogue, _folder) = catalogue();
    for number in 1..=3 {
        active(&catalogue, id(number), 1, None);
    }
    catalogue.lose(&id(1), "its manifest is gone").unwrap();
    remove(&catalogue, &[id(2)]).unwrap();
    assert_eq!(catalogue.held(&namespace()).unwrap().stored_bytes, 512);
    let mut hostile = manifest(id(4), 4, None);
    hostile.stored_bytes = u64::MAX;
    for number in 4..=5 {
        hostile.id = id(number);
        catalogue.insert(&record(id(number), 4), LIMIT).unwrap();
        catalogue.activate(&hostile).unwrap();
    }
    let held = catalogue.held(&namespace()).unwrap();
    assert!(held.stored_bytes > u64::MAX / 4, "{held:?}");
}
