//! Containers and folders that use a snapshot.

use super::*;

#[test]
fn only_an_active_snapshot_takes_users() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, None);
    catalogue.insert_mount(&mount("/mnt/a", id(1))).unwrap();
    let again = catalogue.insert_mount(&mount("/mnt/a", id(1))).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again}");
    assert_eq!(
        catalogue.remove_mount(Path::new("/mnt/a"), NOW).unwrap(),
        mount("/mnt/a", id(1))
    );
    remove(&catalogue, &[id(1)]).unwrap();
    for refused in [
        catalogue.insert_container(&container("c", id(1))),
        catalogue.insert_mount(&mount("/mnt/a", id(1))),
        tag(&catalogue, id(1), "app"),
        catalogue.set_expiry(&id(1), None),
    ] {
        assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    }
}

#[test]
fn containers_are_known_until_they_are_forgotten() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, None);
    catalogue.insert_container(&container("c", id(1))).unwrap();
    let again = catalogue.insert_container(&container("c", id(1)));
    assert!(matches!(again, Err(Error::Exists { .. })));
    catalogue
        .complete_containers(&[container("c", id(1))])
        .unwrap();
    assert!(catalogue.container(&namespace(), "c").unwrap().is_complete);
    assert_eq!(
        catalogue.attachments(&id(1)).unwrap(),
        [Attachment::Container(namespace(), "c".to_owned())]
    );
    catalogue.remove_container(&namespace(), "c", NOW).unwrap();
    let gone = catalogue.complete_containers(&[container("c", id(1))]);
    assert!(matches!(gone, Err(Error::NotFound { .. })));
}

#[test]
fn containers_are_complete_all_at_once_or_not_at_all() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, None);
    let known = container("c-1", id(1));
    catalogue.insert_container(&known).unwrap();
    let unknown = container("c-2", id(1));
    let refused = catalogue.complete_containers(&[known, unknown.clone()]);
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    let found = catalogue.containers().unwrap();
    assert!(found.iter().all(|record| !record.is_complete));
    catalogue.insert_container(&unknown).unwrap();
    catalogue.complete_containers(&found).unwrap();
}
