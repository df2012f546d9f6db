//! Thinning out the versions of a name.

use std::collections::BTreeSet;

use super::*;
use crate::retention::{KeepRule, KeepRules};

pub(super) const LAST: KeepRules = KeepRules {
    last: 1,
    hourly: 0,
    daily: 0,
    weekly: 0,
    monthly: 0,
    yearly: 0,
    within_seconds: 0,
};

fn app() -> SnapshotName {
    "app".parse().unwrap()
}

pub(super) fn thinning(name: &SnapshotName) -> Thinning {
    Thinning {
        namespace: namespace(),
        name: name.clone(),
        rules: LAST,
        now: NOW,
        stay: None,
    }
}

/// A catalogue with so many versions of `app`, numbered as their ids are.
fn with_versions(count: u8) -> (Catalogue, TempDir) {
    let (catalogue, folder) = catalogue();
    for number in 1..=count {
        active(&catalogue, id(number), i64::from(number), Some("app"));
    }
    (catalogue, folder)
}

/// Forgets what can be, and returns the numbers of what is gone.
pub(super) fn forget(catalogue: &Catalogue, name: &SnapshotName) -> Result<Vec<u64>> {
    let judged = catalogue.judge(&thinning(name))?;
    let prepared = judged.iter().map(|one| one.snapshot.id).collect();
    let done = catalogue.begin_forgetting(&thinning(name), &prepared)?;
    assert_eq!(judged, done, "what is foretold is done");
    let removed = done.iter().filter(|one| one.is_removed());
    Ok(removed.map(|one| one.number).collect())
}

/// **G4** What is pinned, what a container or a folder uses, what a name points to and what is not active is never removed by a
/// rule; the answer says of each version which rules keep it, or what holds it.
#[test]
fn what_is_held_stays_and_says_by_what() {
    let (catalogue, _folder) = with_versions(8);
    catalogue.pin(&id(1)).unwrap();
    tag(&catalogue, id(2), "app:stable").unwrap();
    catalogue
        .insert_container(&container("web", id(3)))
        .unwrap();
    catalogue.insert_mount(&mount("/mnt/a", id(4))).unwrap();
    catalogue.lose(&id(5), "its manifest is gone").unwrap();
    tag(&catalogue, id(6), "app").unwrap();
    assert_eq!(forget(&catalogue, &app()).unwrap(), [7]);
    let judged = catalogue.judge(&thinning(&app())).unwrap();
    let held: Vec<_> = judged
        .into_iter()
        .map(|one| (one.number, one.rules, one.obstacles))
        .collect();
    let folder = Attachment::Folder("/mnt/a".into());
    let web = Attachment::Container(namespace(), "web".to_owned());
    let stable = "app:stable".parse().unwrap();
    let expected = [
        (8, vec![KeepRule::Last], vec![]),
        (6, vec![], vec![Obstacle::Tag(app())]),
        (5, vec![], vec![Obstacle::State(SnapshotState::Failed)]),
        (4, vec![], vec![Obstacle::User(folder)]),
        (3, vec![], vec![Obstacle::User(web)]),
        (2, vec![], vec![Obstacle::Tag(stable)]),
        (1, vec![], vec![Obstacle::Pinned]),
    ];
    assert_eq!(held, expected);
    assert_eq!(
        catalogue.get(&id(7)).unwrap().state,
        SnapshotState::Deleting
    );
}

#[test]
fn what_came_to_be_removable_since_the_look_waits_for_the_next() {
    let (catalogue, _folder) = with_versions(3);
    tag(&catalogue, id(2), "app:stable").unwrap();
    let judged = catalogue.judge(&thinning(&app())).unwrap();
    let prepared: BTreeSet<_> = judged
        .iter()
        .filter(|one| one.is_removed())
        .map(|one| one.snapshot.id)
        .collect();
    assert_eq!(prepared, BTreeSet::from([id(1)]));
    let stable = "app:stable".parse().unwrap();
    catalogue
        .remove_name(&namespace(), &stable, Force::No, NOW)
        .unwrap();
    catalogue.pin(&id(1)).unwrap();
    let done = catalogue
        .begin_forgetting(&thinning(&app()), &prepared)
        .unwrap();
    assert!(!done.iter().any(Verdict::is_removed));
    assert_eq!(done[1].obstacles, [Obstacle::Changed]);
    assert_eq!(done[2].obstacles, [Obstacle::Pinned]);
}

#[test]
fn names_that_are_unknown_are_told_and_those_with_versions_listed() {
    let (catalogue, _folder) = with_versions(2);
    active(&catalogue, id(3), 3, Some("other:v1"));
    let names = catalogue.names_with_versions(&namespace()).unwrap();
    assert_eq!(names, [app(), "other".parse().unwrap()]);
    let nothing = "nothing".parse().unwrap();
    let refused = forget(&catalogue, &nothing).unwrap_err();
    assert!(matches!(
        refused,
        Error::Naming(NamingError::UnknownName { .. })
    ));
}
