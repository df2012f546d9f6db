//! Versions, the moves of `latest`, rollback, immutable names and pins.

use super::*;

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

/// A catalogue with so many versions of `app`, numbered as their ids are.
fn with_versions(count: u8) -> (Catalogue, TempDir) {
    let (catalogue, folder) = catalogue();
    for number in 1..=count {
        active(&catalogue, id(number), i64::from(number), Some("app"));
    }
    (catalogue, folder)
}

fn naming<T: fmt::Debug>(result: Result<T>) -> NamingError {
    match result {
        Err(Error::Naming(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn roll_back(catalogue: &Catalogue, to: RollbackTo) -> Result<Rollback> {
    catalogue.roll_back(&namespace(), &name("app"), to, NOW)
}

/// The versions a rollback went from and to.
fn went(rollback: Result<Rollback>) -> (Option<u64>, u64) {
    let Rollback { from, to } = rollback.unwrap();
    (from.and_then(|end| end.version), to.version.unwrap())
}

fn numbers(catalogue: &Catalogue) -> Vec<u64> {
    let versions = catalogue.versions(&namespace(), &name("app"), None, 100);
    let numbers = versions.unwrap().into_iter().map(|version| version.number);
    numbers.collect()
}

#[test]
fn a_number_is_never_given_twice() {
    let (catalogue, folder) = with_versions(3);
    remove(&catalogue, &[id(2), id(3)]).unwrap();
    catalogue.finish_removal(&id(3)).unwrap();
    assert_eq!(numbers(&catalogue), [1]);
    drop(catalogue);
    let (catalogue, _) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    remove(&catalogue, &[id(1)]).unwrap();
    active(&catalogue, id(4), 4, Some("app:v4"));
    assert_eq!(resolve(&catalogue, "app:4").unwrap(), id(4));
    assert_eq!(numbers(&catalogue), [4]);
    let next = catalogue.next_version(&namespace(), &name("app:v9"));
    assert_eq!(next.unwrap(), Some(5));
    let other: Namespace = "other".parse().unwrap();
    assert_eq!(
        catalogue.next_version(&other, &name("app")).unwrap(),
        Some(1)
    );
}

#[test]
fn a_version_is_given_with_the_state_and_not_to_what_fails() {
    let (catalogue, _folder) = with_versions(1);
    catalogue.insert(&record(id(2), 2), LIMIT).unwrap();
    catalogue.fail(&id(2), "the disk is full").unwrap();
    catalogue.insert(&record(id(3), 3), LIMIT).unwrap();
    assert_eq!(numbers(&catalogue), [1]);
    catalogue
        .activate(&manifest(id(3), 3, Some("app")))
        .unwrap();
    assert_eq!(numbers(&catalogue), [2, 1]);
    assert_eq!(catalogue.get(&id(3)).unwrap().versions, [name("app:2")]);
}

#[test]
fn versions_come_in_pages() {
    let (catalogue, _folder) = with_versions(12);
    let page = |before, limit| {
        let page = catalogue.versions(&namespace(), &name("app"), before, limit);
        let page = page.unwrap().into_iter();
        page.map(|version| (version.number, version.snapshot.id))
            .collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), [(12, id(12)), (11, id(11))]);
    assert_eq!(page(Some(3), 5), [(2, id(2)), (1, id(1))]);
}

#[test]
fn what_leads_nowhere_says_why() {
    let (catalogue, _folder) = with_versions(3);
    remove(&catalogue, &[id(3)]).unwrap();
    let why = |reference: &str| resolve(&catalogue, reference).unwrap_err().to_string();
    assert_eq!(
        why("app"),
        "app:latest points to nothing: version 3 was removed or has expired, and it does not fall back to an older version"
    );
    assert_eq!(
        why("app:3"),
        "Version 3 of app is gone: it was removed or has expired"
    );
    assert_eq!(
        why("app:9"),
        "Version 9 of app was never made: its greatest is 3"
    );
    assert_eq!(
        why("app:0"),
        "Version 0 of app was never made: its greatest is 3"
    );
    assert_eq!(
        why("app:v9"),
        "Snapshot app:v9 in namespace default was not found"
    );
    assert_eq!(
        why("nothing:1"),
        "Snapshot nothing:1 in namespace default was not found"
    );
    tag(&catalogue, id(1), "app").unwrap();
    catalogue
        .remove_name(&namespace(), &name("app"), Force::No, NOW)
        .unwrap();
    assert!(why("app").contains("it was taken away with `untag`"));
}

#[test]
fn a_rollback_goes_to_the_next_older_one_that_is_active() {
    let (catalogue, _folder) = with_versions(4);
    catalogue.lose(&id(3), "its manifest is gone").unwrap();
    assert_eq!(went(roll_back(&catalogue, RollbackTo::Older)), (Some(4), 2));
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(2));
    remove(&catalogue, &[id(2)]).unwrap();
    assert_eq!(went(roll_back(&catalogue, RollbackTo::Older)), (None, 1));
    let none = naming(roll_back(&catalogue, RollbackTo::Older));
    assert_eq!(
        none.to_string(),
        "app has no active version before 1 to go back to"
    );
}

#[test]
fn a_rollback_goes_to_any_version_that_is_active() {
    let (catalogue, _folder) = with_versions(4);
    catalogue.lose(&id(3), "its manifest is gone").unwrap();
    remove(&catalogue, &[id(2)]).unwrap();
    let to = |version| roll_back(&catalogue, RollbackTo::Version(version));
    assert_eq!(went(to(1)), (Some(4), 1));
    assert_eq!(went(to(4)), (Some(1), 4));
    assert_eq!(went(to(4)), (Some(4), 4));
    let moves = catalogue.moves(&namespace(), &name("app")).unwrap().len();
    assert_eq!(moves, 4 + 2, "where it is already is no move");
    assert!(matches!(
        naming(to(3)),
        NamingError::NotActive { version: 3, .. }
    ));
    assert!(matches!(naming(to(2)), NamingError::Gone { .. }));
    assert!(matches!(
        naming(to(5)),
        NamingError::NeverMade { last: 4, .. }
    ));
}

#[test]
fn a_name_that_points_to_what_is_none_of_its_versions_rolls_back_to_the_greatest() {
    let (catalogue, _folder) = with_versions(2);
    active(&catalogue, id(9), 9, Some("other"));
    tag(&catalogue, id(9), "app").unwrap();
    let Rollback { from, to } = roll_back(&catalogue, RollbackTo::Older).unwrap();
    let (from, to) = (from.unwrap(), to.version);
    assert_eq!((from.snapshot, from.version, to), (id(9), None, Some(2)));
}

#[test]
fn rollbacks_are_undone_one_after_the_other() {
    let (catalogue, _folder) = with_versions(3);
    let undo = || roll_back(&catalogue, RollbackTo::Undo);
    assert!(matches!(naming(undo()), NamingError::NothingToUndo { .. }));
    for _ in 0..2 {
        roll_back(&catalogue, RollbackTo::Older).unwrap();
    }
    assert_eq!(went(undo()), (Some(1), 2));
    assert_eq!(went(undo()), (Some(2), 3));
    assert!(matches!(naming(undo()), NamingError::NothingToUndo { .. }));
    roll_back(&catalogue, RollbackTo::Older).unwrap();
    remove(&catalogue, &[id(3)]).unwrap();
    assert!(matches!(naming(undo()), NamingError::UndoGone { .. }));
    active(&catalogue, id(4), 4, Some("app"));
    let moved = NamingError::MovedSince {
        name: "app".to_owned(),
        cause: "create",
    };
    assert_eq!(naming(undo()), moved);
}

#[test]
fn a_name_that_never_was_has_neither_history_nor_rollback() {
    let (catalogue, _folder) = with_versions(1);
    let other = name("other");
    let unknown = |error| matches!(error, NamingError::UnknownName { .. });
    let versions = catalogue.versions(&namespace(), &other, None, 9);
    assert!(unknown(naming(versions)));
    assert!(unknown(naming(catalogue.moves(&namespace(), &other))));
    let rolled = catalogue.roll_back(&namespace(), &other, RollbackTo::Older, NOW);
    assert!(unknown(naming(rolled)));
}

#[test]
fn the_last_hundred_moves_are_kept_with_what_is_gone() {
    let (catalogue, _folder) = with_versions(2);
    for number in 0..110 {
        tag(&catalogue, id(1 + number % 2), "app").unwrap();
    }
    remove(&catalogue, &[id(2)]).unwrap();
    let moves = catalogue.moves(&namespace(), &name("app")).unwrap();
    assert_eq!(moves.len(), 100);
    let two = Some(MoveEnd {
        snapshot: id(2),
        version: Some(2),
    });
    let last = Move {
        at: NOW,
        cause: MoveCause::Removal,
        from: two,
        to: None,
    };
    assert_eq!(moves[0], last);
    assert_eq!((moves[1].cause, moves[1].to), (MoveCause::Tag, two));
}

#[test]
fn an_immutable_name_neither_moves_nor_goes_but_by_force() {
    let (catalogue, _folder) = with_versions(2);
    let release = [name("app:v1")];
    catalogue
        .set_names(&id(1), &release, Hold::Immutable, NOW)
        .unwrap();
    tag(&catalogue, id(1), "app:v1").unwrap();
    assert_eq!(catalogue.get(&id(1)).unwrap().immutable, release);
    let of_one =
        |error| matches!(error, NamingError::Immutable { snapshot, .. } if snapshot == id(1));
    assert!(of_one(naming(tag(&catalogue, id(2), "app:v1"))));
    let free = catalogue.require_free(&namespace(), &release[0]);
    assert!(of_one(naming(free)));
    let taken = catalogue.remove_name(&namespace(), &release[0], Force::No, NOW);
    assert!(of_one(naming(taken)));
    let removed = naming(remove(&catalogue, &[id(2), id(1)]));
    assert!(matches!(removed, NamingError::BearsImmutable { .. }));
    let expired = naming(catalogue.begin_expiry(&id(1), NOW));
    assert!(matches!(expired, NamingError::BearsImmutable { .. }));
    assert_eq!(
        resolve(&catalogue, "app").unwrap(),
        id(2),
        "all of them or none"
    );
    catalogue
        .remove_name(&namespace(), &release[0], Force::Yes, NOW)
        .unwrap();
    catalogue.require_free(&namespace(), &release[0]).unwrap();
    tag(&catalogue, id(2), "app:v1").unwrap();
    assert_eq!(catalogue.get(&id(2)).unwrap().immutable, []);
}

#[test]
fn what_bears_an_immutable_name_is_removed_by_force() {
    let (catalogue, _folder) = with_versions(1);
    catalogue
        .set_names(&id(1), &[name("app:v1")], Hold::Immutable, NOW)
        .unwrap();
    catalogue.begin_removal(&[id(1)], Force::Yes, NOW).unwrap();
    assert!(resolve(&catalogue, "app:v1").is_err());
}

#[test]
fn a_name_that_became_immutable_meanwhile_stays_and_the_snapshot_is_active() {
    let (catalogue, _folder) = with_versions(1);
    catalogue.insert(&record(id(2), 2), LIMIT).unwrap();
    catalogue
        .set_names(&id(1), &[name("app:v1")], Hold::Immutable, NOW)
        .unwrap();
    let made = catalogue
        .activate(&manifest(id(2), 2, Some("app:v1")))
        .unwrap();
    assert_eq!(made.names, [name("app:latest")]);
    assert_eq!(made.versions, [name("app:2")]);
    catalogue
        .import(&manifest(id(3), 3, Some("app:v1")))
        .unwrap();
    assert_eq!(resolve(&catalogue, "app:v1").unwrap(), id(1));
}

#[test]
fn several_names_are_given_all_or_none() {
    let (catalogue, _folder) = with_versions(2);
    catalogue
        .set_names(&id(1), &[name("app:kept")], Hold::Immutable, NOW)
        .unwrap();
    let names = [name("app:new"), name("app"), name("app:kept")];
    naming(catalogue.set_names(&id(2), &names, Hold::Movable, NOW));
    assert!(resolve(&catalogue, "app:new").is_err());
    let latest = [name("app:new"), name("app")];
    let refused = naming(catalogue.set_names(&id(1), &latest, Hold::Immutable, NOW));
    assert!(matches!(refused, NamingError::LatestMoves { .. }));
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(2));
    assert!(resolve(&catalogue, "app:new").is_err());
}

#[test]
fn the_number_of_a_version_is_not_taken_away() {
    let (catalogue, _folder) = with_versions(1);
    let taken = catalogue.remove_name(&namespace(), &name("app:1"), Force::Yes, NOW);
    assert!(matches!(naming(taken), NamingError::IsVersion { .. }));
    let taken = catalogue.remove_name(&namespace(), &name("app:2"), Force::Yes, NOW);
    assert!(matches!(taken, Err(Error::NotFound { .. })));
}

#[test]
fn a_pinned_snapshot_neither_expires_nor_is_removed() {
    let (catalogue, _folder) = with_versions(1);
    for _ in 0..2 {
        catalogue.pin(&id(1)).unwrap();
    }
    assert!(!catalogue.get(&id(1)).unwrap().has_expired(NOW));
    assert!(catalogue.expired(NOW).unwrap().is_empty());
    let expiry = catalogue.begin_expiry(&id(1), NOW);
    assert!(matches!(expiry, Err(Error::NotFound { .. })), "{expiry:?}");
    let refused = naming(catalogue.begin_removal(&[id(1)], Force::Yes, NOW));
    assert_eq!(refused, NamingError::Pinned { snapshot: id(1) });
    for _ in 0..2 {
        catalogue.unpin(&id(1)).unwrap();
    }
    assert!(catalogue.get(&id(1)).unwrap().has_expired(NOW));
    assert_eq!(catalogue.expired(NOW).unwrap().len(), 1);
    remove(&catalogue, &[id(1)]).unwrap();
    assert!(matches!(catalogue.pin(&id(1)), Err(Error::Busy { .. })));
    assert!(matches!(catalogue.unpin(&id(1)), Err(Error::Busy { .. })));
}

#[test]
fn versions_are_those_of_the_manifests_when_the_catalogue_is_made_anew() {
    let (catalogue, _folder) = catalogue();
    let made = |number: u8, version| Manifest {
        version,
        ..manifest(id(number), i64::from(number), Some("app"))
    };
    for manifest in [
        made(1, None),
        made(2, None),
        made(7, Some(7)),
        made(5, Some(5)),
        // Another one has that number: it must not be lost.
        made(8, Some(7)),
    ] {
        catalogue.import(&manifest).unwrap();
    }
    assert_eq!(numbers(&catalogue), [8, 7, 5, 2, 1]);
    for (version, number) in [("app:8", 8), ("app:7", 7), ("app:5", 5), ("app:2", 2)] {
        assert_eq!(resolve(&catalogue, version).unwrap(), id(number));
    }
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(8));
    active(&catalogue, id(9), 9, Some("app"));
    assert_eq!(resolve(&catalogue, "app:9").unwrap(), id(9));
}

#[test]
fn of_what_was_made_in_one_second_the_greatest_version_is_the_latest() {
    let (catalogue, _folder) = catalogue();
    for (number, version) in [(3, 1), (1, 3), (2, 2)] {
        let manifest = Manifest {
            version: Some(version),
            ..manifest(id(number), 10, Some("app:v1"))
        };
        catalogue.import(&manifest).unwrap();
    }
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(1));
    assert_eq!(resolve(&catalogue, "app:v1").unwrap(), id(1));
}

#[test]
fn beyond_the_greatest_number_a_snapshot_has_none() {
    let (catalogue, _folder) = catalogue();
    let last = Manifest {
        version: Some(crate::manifest::MAX_VERSION),
        ..manifest(id(1), 1, Some("app"))
    };
    catalogue.import(&last).unwrap();
    assert_eq!(
        catalogue.next_version(&namespace(), &name("app")).unwrap(),
        None
    );
    active(&catalogue, id(2), 2, Some("app"));
    let made = catalogue.get(&id(2)).unwrap();
    assert_eq!(
        (made.versions, made.names),
        (vec![], vec![name("app:latest")])
    );
}
