//! Templates that are registered, and the results of their steps.

use super::*;

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

/// A template whose last build made the snapshot of that number.
pub(super) fn record(text: &str, made: u8) -> TemplateRecord {
    TemplateRecord {
        namespace: namespace(),
        name: name(text),
        definition: "{}".to_owned(),
        key: format!("key {made}"),
        snapshot: id(made),
        built_at: 5,
    }
}

#[test]
fn a_template_is_there_until_it_is_removed_or_replaced() {
    let (catalogue, folder) = catalogue();
    catalogue.set_template(&record("web", 1), 2).unwrap();
    catalogue.set_template(&record("app", 2), 2).unwrap();
    catalogue.set_template(&record("web", 3), 2).unwrap();
    let full = catalogue.set_template(&record("db", 4), 2);
    assert!(matches!(full, Err(Error::Limit { limit: 2, .. })));
    drop(catalogue);
    let (catalogue, _) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    let all = catalogue.templates(None).unwrap();
    assert_eq!(all, [record("app", 2), record("web", 3)]);
    let other: Namespace = "other".parse().unwrap();
    assert_eq!(catalogue.templates(Some(&other)).unwrap(), []);
    let removed = catalogue.remove_template(&namespace(), &name("web"));
    assert_eq!(removed.unwrap(), record("web", 3));
    for gone in [
        catalogue.template(&namespace(), &name("web")),
        catalogue.remove_template(&namespace(), &name("web")),
    ] {
        assert!(matches!(gone, Err(Error::NotFound { .. })));
    }
}

#[test]
fn results_of_steps_are_found_by_their_key_and_are_not_counted() {
    let (catalogue, _folder) = catalogue();
    for (number, label) in [(1, Some("a")), (2, Some("b")), (3, Some("a")), (4, None)] {
        let mut new = super::record(id(number), i64::from(number));
        new.labels = label
            .map(|key| (STEP_LABEL.to_owned(), key.to_owned()))
            .into_iter()
            .collect();
        catalogue.insert(&new, 1).unwrap();
    }
    let found = |key| {
        let steps = catalogue.steps(&namespace(), key).unwrap();
        steps.iter().map(|step| step.id).collect::<Vec<_>>()
    };
    assert_eq!(found(Some("a")), [id(3), id(1)]);
    assert_eq!(found(None), [id(3), id(2), id(1)]);
    assert_eq!(found(Some("c")), []);
    assert_eq!(catalogue.held(&namespace()).unwrap().snapshots, 1);
}
