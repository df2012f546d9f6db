//! Rules that are stored for names.

use super::{forget::LAST, *};
use crate::retention::KeepRules;

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

#[test]
fn a_policy_is_there_until_it_is_removed_or_replaced() {
    let (catalogue, folder) = catalogue();
    let other: Namespace = "other".parse().unwrap();
    let most = KeepRules {
        yearly: u32::MAX,
        within_seconds: 5,
        ..LAST
    };
    catalogue
        .set_policy(&namespace(), &name("web"), &LAST, 2)
        .unwrap();
    catalogue
        .set_policy(&namespace(), &name("app"), &LAST, 2)
        .unwrap();
    catalogue
        .set_policy(&namespace(), &name("web:v1"), &most, 2)
        .unwrap();
    let full = catalogue.set_policy(&namespace(), &name("db"), &LAST, 2);
    assert!(matches!(full, Err(Error::Limit { limit: 2, .. })));
    catalogue
        .set_policy(&other, &name("web"), &LAST, 2)
        .unwrap();
    drop(catalogue);
    let (catalogue, _) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    let all = catalogue.policies(None).unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|one| (one.namespace.as_str(), one.name.name(), one.rules))
        .collect();
    let expected = [
        ("default", "app", LAST),
        ("default", "web", most),
        ("other", "web", LAST),
    ];
    assert_eq!(told, expected);
    assert_eq!(catalogue.policies(Some(&other)).unwrap(), all[2..]);
    let removed = catalogue.remove_policy(&namespace(), &name("web")).unwrap();
    assert_eq!(removed, all[1]);
    for gone in [
        catalogue.policy(&namespace(), &name("web")),
        catalogue.remove_policy(&namespace(), &name("web")),
    ] {
        assert!(matches!(gone, Err(Error::NotFound { .. })));
    }
}

/// A pin or a tag that was made after the copy is not in it: by the rules alone its snapshot would go.
#[test]
fn policies_of_a_copy_that_is_put_back_rest() {
    let (catalogue, folder) = catalogue();
    catalogue
        .set_policy(&namespace(), &name("web"), &LAST, 2)
        .unwrap();
    let copy = folder.path().join("copy.db");
    catalogue.back_up(&copy).unwrap();
    let path = folder.path().join("catalogue.db");
    drop(catalogue);
    Catalogue::put_back(&copy, &path, 7000).unwrap();
    let (catalogue, _) = Catalogue::open(&path).unwrap();
    let policy = catalogue.policy(&namespace(), &name("web")).unwrap();
    assert_eq!((policy.rules, policy.rests_until), (LAST, 7000));
    catalogue
        .set_policy(&namespace(), &name("web"), &LAST, 2)
        .unwrap();
    let policy = catalogue.policy(&namespace(), &name("web")).unwrap();
    assert_eq!(policy.rests_until, 0, "who sets it anew has looked");
}
