//! The trash: what is removed and comes back.

use super::*;

/// Seconds that things stay in the trash of these tests.
const GRACE: u64 = 60;
const GOES: i64 = NOW + 60;

pub(super) fn removal() -> Removal {
    Removal {
        force: Force::Yes,
        now: NOW,
        stay: Some(Stay {
            cause: TrashCause::Remove,
            grace_seconds: GRACE,
        }),
    }
}

pub(super) fn undeletion() -> Undeletion {
    Undeletion {
        limit: LIMIT,
        now: NOW,
        expires_at: Some(NOW + 1000),
    }
}

fn throw(catalogue: &Catalogue, number: u8) {
    let begun = catalogue.remove_to(&[id(number)], &removal()).unwrap();
    assert_eq!(begun.trashed, [id(number)]);
}

fn take_back(catalogue: &Catalogue, number: u8) -> Undeleted {
    let mut back = catalogue.undelete(&[id(number)], &undeletion()).unwrap();
    back.remove(0)
}

fn in_trash(catalogue: &Catalogue, text: &str) -> Result<SnapshotId> {
    let reference: Reference = text.parse()?;
    let found = catalogue.resolve_trashed(&namespace(), &reference)?;
    Ok(found.snapshot.id)
}

fn texts(names: &[SnapshotName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_in_the_trash_is_found_there_alone() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(0xab), 1, Some("app:v1"));
    throw(&catalogue, 0xab);
    let full = id(0xab).to_string();
    for text in ["app", "app:v1", "app:1", "abab", &full] {
        assert_eq!(in_trash(&catalogue, text).unwrap(), id(0xab));
        let refused = resolve(&catalogue, text).unwrap_err();
        let is_told = matches!(&refused, Error::Naming(NamingError::InTrash { snapshot, .. }) if *snapshot == id(0xab));
        assert!(is_told, "{text}: {refused:?}");
    }
    assert!(matches!(
        in_trash(&catalogue, "web"),
        Err(Error::NotFound { .. })
    ));
    assert!(catalogue.list(None, None, 9).unwrap().is_empty());
    assert!(
        catalogue
            .list(Some(&namespace()), None, 9)
            .unwrap()
            .is_empty()
    );
    assert_eq!(catalogue.count_by_state().unwrap()["deleting"], 0);
    assert!(
        catalogue
            .in_state(SnapshotState::Deleting)
            .unwrap()
            .is_empty()
    );
    let other: Namespace = "other".parse().unwrap();
    assert!(catalogue.trash(Some(&other), None, 9).unwrap().is_empty());
    let found = catalogue.trash(None, None, 9).unwrap().remove(0);
    assert_eq!((found.trashed_at, found.goes_at), (NOW, GOES));
    assert_eq!(texts(&found.snapshot.names), ["app:latest", "app:v1"]);
    assert_eq!(texts(&found.snapshot.versions), ["app:1"]);
    assert!(matches!(
        catalogue.finish_removal(&id(0xab)),
        Err(Error::Busy { .. })
    ));
}

#[test]
fn a_name_that_several_had_is_refused_rather_than_guessed() {
    let (catalogue, _folder) = catalogue();
    for number in [1, 2] {
        active(&catalogue, id(number), i64::from(number), Some("app:v1"));
        throw(&catalogue, number);
    }
    assert!(matches!(
        in_trash(&catalogue, "app:v1"),
        Err(Error::Ambiguous { .. })
    ));
    assert_eq!(in_trash(&catalogue, "app:2").unwrap(), id(2));
}

/// **U3** `snapctl undelete` takes snapshots back from the trash, all of them or none, with their versions, labels and names; a name
/// that is another's meanwhile stays there, and the answer says so. `NAME:latest` comes back unless it was moved since.
#[test]
fn it_comes_back_as_it_was() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, Some("app:v1"));
    let names = ["kept:v1".parse().unwrap()];
    catalogue
        .set_names(&id(1), &names, Hold::Immutable, NOW)
        .unwrap();
    let (before, moves) = (
        catalogue.get(&id(1)).unwrap(),
        catalogue.all_moves().unwrap(),
    );
    throw(&catalogue, 1);
    catalogue.set_expiry(&id(1), None).unwrap_err();
    let back = take_back(&catalogue, 1);
    assert_eq!(back.lost, []);
    let expected = SnapshotRecord {
        expires_at: Some(NOW + 1000),
        ..before
    };
    assert_eq!(back.snapshot, expected);
    assert_eq!(catalogue.all_moves().unwrap(), moves, "nothing has moved");
    assert!(catalogue.trash(None, None, 9).unwrap().is_empty());
    active(&catalogue, id(2), 2, Some("app"));
    assert_eq!(resolve(&catalogue, "app:2").unwrap(), id(2));
}

#[test]
fn what_is_another_s_meanwhile_stays_there() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, Some("app:v1"));
    tag(&catalogue, id(1), "app:stable").unwrap();
    throw(&catalogue, 1);
    active(&catalogue, id(2), 2, Some("app:v1"));
    let tags = ["app:v1".parse().unwrap()];
    catalogue
        .set_names(&id(2), &tags, Hold::Immutable, NOW)
        .unwrap();
    let back = take_back(&catalogue, 1);
    assert_eq!(texts(&back.lost), ["app:latest", "app:v1"]);
    assert_eq!(texts(&back.snapshot.names), ["app:stable"]);
    assert_eq!(texts(&back.snapshot.versions), ["app:1"]);
    assert_eq!(resolve(&catalogue, "app:v1").unwrap(), id(2));
    throw(&catalogue, 2);
    throw(&catalogue, 1);
    let back = take_back(&catalogue, 1);
    assert_eq!(texts(&back.lost), [""; 0], "it had no more than it has");
    assert!(resolve(&catalogue, "app").is_err(), "latest is not guessed");
}

/// **U4** What comes back keeps its time to live; when that is over, it is the daemon's default from now on. A time without use is counted
/// anew from then on.
#[test]
fn a_time_to_live_that_is_over_begins_anew() {
    let (catalogue, _folder) = catalogue();
    for number in 1..=3 {
        active(&catalogue, id(number), 1, None);
    }
    catalogue.set_expiry(&id(2), Some(NOW + 5)).unwrap();
    catalogue.set_unused(&id(3), Some(50), 7).unwrap();
    catalogue.set_expiry(&id(3), None).unwrap();
    let stay = removal().stay;
    for number in [1, 3] {
        catalogue.expire_to(&id(number), NOW, stay).unwrap();
    }
    throw(&catalogue, 2);
    let expired = take_back(&catalogue, 1);
    assert!(expired.is_ttl_renewed);
    assert_eq!(expired.snapshot.expires_at, Some(NOW + 1000));
    let kept = take_back(&catalogue, 2);
    assert_eq!(
        (kept.is_ttl_renewed, kept.snapshot.expires_at),
        (false, Some(NOW + 5))
    );
    let unused = take_back(&catalogue, 3).snapshot;
    assert_eq!((unused.expires_at, unused.unused_since), (None, Some(NOW)));
    assert!(!unused.has_expired(NOW));
}

#[test]
fn all_come_back_or_none_and_the_limit_holds() {
    let (catalogue, _folder) = catalogue();
    for number in 1..=3 {
        active(&catalogue, id(number), 1, Some("app"));
        throw(&catalogue, number);
    }
    let both = [id(1), id(2)];
    let few = Undeletion {
        limit: 1,
        ..undeletion()
    };
    let refused = catalogue.undelete(&both, &few).unwrap_err();
    assert!(
        matches!(refused, Error::Limit { limit: 1, .. }),
        "{refused}"
    );
    let refused = catalogue
        .undelete(&[id(1), id(9)], &undeletion())
        .unwrap_err();
    assert!(matches!(refused, Error::NotFound { .. }), "{refused}");
    assert_eq!(catalogue.trash(None, None, 9).unwrap().len(), 3);
    catalogue.undelete(&both, &undeletion()).unwrap();
    assert_eq!(catalogue.held(&namespace()).unwrap().snapshots, 2);
}

#[test]
fn it_goes_when_its_time_has_come_and_nobody_uses_it() {
    let (catalogue, _folder) = catalogue();
    for number in 1..=3 {
        active(&catalogue, id(number), 1, None);
        throw(&catalogue, number);
    }
    assert_eq!(catalogue.due_in_trash(GOES - 1).unwrap(), []);
    assert_eq!(catalogue.due_in_trash(GOES).unwrap().len(), 3);
    let early = catalogue.begin_purge(&[id(1)], Some(GOES - 1));
    assert!(matches!(early, Err(Error::NotFound { .. })));
    catalogue
        .insert_container(&container("user", id(2)))
        .unwrap();
    let used = catalogue.begin_purge(&[id(1), id(2)], None);
    assert!(matches!(used, Err(Error::Busy { .. })));
    catalogue.begin_purge(&[id(1)], Some(GOES)).unwrap();
    catalogue.finish_removal(&id(1)).unwrap();
    assert_eq!(catalogue.renew_trash(GOES).unwrap(), 2);
    assert_eq!(catalogue.due_in_trash(GOES).unwrap(), []);
    let for_good = Removal {
        stay: None,
        ..removal()
    };
    let begun = catalogue.remove_to(&[id(3)], &for_good).unwrap();
    assert_eq!(begun.deleting, [id(3)]);
    assert_eq!(
        catalogue
            .undelete(&[id(3)], &undeletion())
            .map(drop)
            .unwrap_err()
            .to_string(),
        format!("Snapshot in the trash {} was not found", id(3))
    );
    let again = catalogue.remove_to(&[id(2)], &removal()).unwrap();
    assert_eq!(again, Begun::default(), "what is there stays as it is");
}

#[test]
fn its_bytes_count_and_its_number_does_not() {
    let (catalogue, _folder) = catalogue();
    for number in 1..=2 {
        active(&catalogue, id(number), 1, None);
    }
    catalogue.insert(&record(id(3), 3), LIMIT).unwrap();
    catalogue.fail(&id(3), "the disk is full").unwrap();
    throw(&catalogue, 1);
    let begun = catalogue.remove_to(&[id(3)], &removal()).unwrap();
    assert_eq!(begun.deleting, [id(3)], "what failed holds nothing");
    let expected = Held {
        snapshots: 1,
        stored_bytes: 1024,
        trashed_snapshots: 1,
        trashed_bytes: 512,
    };
    assert_eq!(catalogue.held(&namespace()).unwrap(), expected);
    assert_eq!(catalogue.trash_size().unwrap(), (1, 512));
}

#[test]
fn pages_go_on_behind_the_last() {
    let (catalogue, _folder) = catalogue();
    for number in [3, 1, 2] {
        active(&catalogue, id(number), 1, None);
        throw(&catalogue, number);
    }
    let first = catalogue.trash(None, None, 2).unwrap();
    let last = first.last().map(|one| (one.goes_at, one.snapshot.id));
    let rest = catalogue.trash(None, last, 2).unwrap();
    let all = first.iter().chain(&rest).map(|one| one.snapshot.id);
    assert_eq!(all.collect::<Vec<_>>(), [id(1), id(2), id(3)]);
}

/// Each question for a snapshot read the whole trash, so a thousand removals with a thousand in the trash were a million.
#[test]
fn what_is_found_is_not_looked_for_in_the_trash() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), NOW, Some("web:v1"));
    active(&catalogue, id(2), NOW, None);
    throw(&catalogue, 2);
    // Whoever reads this row fails.
    let spoil = "PRAGMA ignore_check_constraints = 1; UPDATE trash SET cause = 'nobody'";
    catalogue.lock().execute_batch(spoil).unwrap();
    assert_eq!(resolve(&catalogue, "web:v1").unwrap(), id(1));
    assert!(matches!(
        resolve(&catalogue, "web:v2"),
        Err(Error::Corrupt { .. })
    ));
    let other = in_trash(&catalogue, &id(3).to_string());
    assert!(matches!(other, Err(Error::NotFound { .. })), "{other:?}");
}
