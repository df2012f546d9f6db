//! Volumes, their versions, and what containers have mounted of them.

use super::*;

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

pub(super) fn version(number: u64, snapshot: u8) -> NewVolumeVersion {
    NewVolumeVersion {
        number,
        snapshot: id(snapshot),
        made_at: i64::from(snapshot),
    }
}

/// An Active snapshot that belongs to the volume.
pub(super) fn part(catalogue: &Catalogue, of: &str, number: u8) {
    let mut new = record(id(number), i64::from(number));
    new.labels = [(VOLUME_LABEL.to_owned(), of.to_owned())].into();
    catalogue.insert(&new, u64::MAX).unwrap();
    let manifest = manifest(id(number), i64::from(number), None);
    catalogue.activate(&manifest).unwrap();
}

pub(super) fn attaching(volume: &str, destination: &str) -> Attaching {
    Attaching {
        destination: destination.to_owned(),
        what: AttachingWhat::Volume(name(volume)),
        is_read_only: false,
    }
}

/// A volume of two versions that the container `old` has mounted, one that nobody has, and a snapshot that belongs to none yet.
pub(super) fn prepare(catalogue: &Catalogue) {
    for number in 13..=16 {
        part(catalogue, "data", number);
    }
    let add = |volume: &str, first| {
        let first = version(1, first);
        catalogue
            .add_volume(&namespace(), &name(volume), &first, 9)
            .unwrap();
    };
    add("data", 13);
    add("spare", 15);
    let next = version(2, 14);
    catalogue
        .add_volume_version(&namespace(), &name("data"), &next, None)
        .unwrap();
    catalogue
        .attach((&namespace(), "old"), &[attaching("data", "/data")])
        .unwrap();
}

/// A volume `data` with `versions` versions, which are the snapshots of these numbers.
fn data(versions: u8) -> (Catalogue, TempDir) {
    let (catalogue, folder) = catalogue();
    for number in 1..=versions {
        part(&catalogue, "data", number);
        let version = version(number.into(), number);
        match number {
            1 => catalogue.add_volume(&namespace(), &name("data"), &version, 2),
            _ => catalogue.add_volume_version(&namespace(), &name("data"), &version, None),
        }
        .unwrap();
    }
    (catalogue, folder)
}

fn container(id: &str) -> ContainerRecord {
    ContainerRecord {
        namespace: namespace(),
        id: id.to_owned(),
        snapshot: None,
        folder: "/x".into(),
        is_complete: true,
        created_at: 1,
    }
}

#[test]
fn a_volume_has_its_newest_version_and_no_snapshot_of_it_can_go() {
    let (catalogue, _folder) = data(2);
    let found = catalogue.volume(&namespace(), &name("data")).unwrap();
    assert_eq!(
        (found.head, found.snapshot.id, found.versions),
        (2, id(2), 2)
    );
    let next = catalogue.next_volume_version(&namespace(), &name("data"));
    assert_eq!(next.unwrap(), 3);
    let removed = catalogue.begin_removal(&[id(1)], Force::Yes, 0);
    assert!(matches!(removed, Err(Error::Busy { .. })), "{removed:?}");
    part(&catalogue, "data", 3);
    let again = catalogue.add_volume(&namespace(), &name("data"), &version(1, 3), 9);
    assert!(matches!(again, Err(Error::Exists { .. })));
    let held = catalogue.held(&namespace()).unwrap();
    assert_eq!(held.snapshots, 0, "they count against no limit");
}

#[test]
fn old_versions_go_unless_they_are_mounted_and_leave_snapshots_that_are_found() {
    let (catalogue, _folder) = data(4);
    let key = (&namespace(), "web");
    catalogue.insert_container(&container("web")).unwrap();
    catalogue.attach(key, &[attaching("data", "/d")]).unwrap();
    part(&catalogue, "data", 5);
    let next = version(5, 5);
    catalogue
        .add_volume_version(&namespace(), &name("data"), &next, None)
        .unwrap();
    catalogue
        .thin_volume(&namespace(), &name("data"), 1)
        .unwrap();
    let found = catalogue.volume(&namespace(), &name("data")).unwrap();
    assert_eq!((found.head, found.versions), (5, 2));
    assert_eq!(found.containers, ["web"]);
    let unowned = catalogue.unowned_of_volumes(None).unwrap();
    assert_eq!(unowned, [id(1), id(2), id(3)]);
    let busy = catalogue.remove_volume(&namespace(), &name("data"));
    assert!(matches!(busy, Err(Error::Busy { .. })));
    catalogue.remove_container(&namespace(), "web", 9).unwrap();
    assert!(catalogue.attached(&namespace(), "web").unwrap().is_empty());
    catalogue
        .remove_volume(&namespace(), &name("data"))
        .unwrap();
    assert_eq!(catalogue.unowned_of_volumes(None).unwrap().len(), 5);
}

#[test]
fn a_commit_moves_what_changes_are_counted_from_and_a_reload_the_ground() {
    let (catalogue, _folder) = data(1);
    catalogue.insert_container(&container("web")).unwrap();
    let key = (&namespace(), "web");
    let attached = catalogue.attach(key, &[attaching("data", "/d")]).unwrap();
    assert_eq!((attached[0].ground, attached[0].base), (id(1), id(1)));
    part(&catalogue, "data", 2);
    part(&catalogue, "data", 3);
    let committed = Some(("web", "/d", &id(3)));
    let next = version(2, 2);
    catalogue
        .add_volume_version(&namespace(), &name("data"), &next, committed)
        .unwrap();
    let mut now = catalogue.attached(&namespace(), "web").unwrap().remove(0);
    assert_eq!((now.ground, now.base, now.version), (id(1), id(3), Some(1)));
    assert!(catalogue.unowned_of_volumes(None).unwrap().is_empty());
    (now.ground, now.base, now.version, now.generation) = (id(2), id(2), Some(2), 1);
    catalogue.reground(&now, 9).unwrap();
    assert_eq!(catalogue.attached(&namespace(), "web").unwrap(), [now]);
    assert_eq!(catalogue.unowned_of_volumes(None).unwrap(), [id(3)]);
}

#[test]
fn versions_are_found_again_by_their_manifests() {
    let (catalogue, _folder) = catalogue();
    for number in [2u8, 1] {
        let mut manifest = manifest(id(number), i64::from(number), None);
        manifest.labels = [
            (VOLUME_LABEL.to_owned(), "data".to_owned()),
            (VOLUME_VERSION_LABEL.to_owned(), number.to_string()),
        ]
        .into();
        catalogue.import(&manifest).unwrap();
    }
    let found = catalogue.volume(&namespace(), &name("data")).unwrap();
    assert_eq!((found.head, found.versions, found.created_at), (2, 2, 1));
    catalogue.lose(&id(2), "its manifest is gone").unwrap();
    catalogue.settle_volumes().unwrap();
    let found = catalogue.volume(&namespace(), &name("data")).unwrap();
    assert_eq!((found.head, found.snapshot.id), (1, id(1)));
    assert_eq!(
        catalogue
            .next_volume_version(&namespace(), &name("data"))
            .unwrap(),
        3
    );
}

#[test]
fn volumes_are_listed_behind_any_other_and_no_more_than_asked_for() {
    let (catalogue, _folder) = catalogue();
    for (number, volume) in (1..).zip(["a", "a-b", "b", "c"]) {
        part(&catalogue, volume, number);
        catalogue
            .add_volume(&namespace(), &name(volume), &version(1, number), 9)
            .unwrap();
    }
    let listed = |after: Option<&str>, limit| {
        let after = after.map(|after| ("default", after));
        let found = catalogue.volumes(Some(&namespace()), after, limit).unwrap();
        let names = found.iter().map(|one| one.name.name().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 2), ["a", "a-b"]);
    assert_eq!(listed(Some("a-b"), 9), ["b", "c"]);
    assert_eq!(listed(Some("ax"), 1), ["b"]);
    assert!(listed(Some("c"), 9).is_empty());
}
