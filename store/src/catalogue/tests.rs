mod autos;
mod bases;
mod copies;
mod crash;
mod damage;
mod faults;
mod file;
mod forget;
mod memory;
mod model;
mod names;
mod policies;
mod quota;
mod remains;
mod templates;
mod trash;
mod triggers;
mod unused;
mod users;
mod vfs;
mod volumes;

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{
    ids::Digest,
    links::LinkGroup,
    manifest::{HostFacts, Manifest, Origin},
    names::Reference,
};
pub(super) use bases::{base, layer};

const LIMIT: u64 = 100;
/// When what has a time happens.
const NOW: i64 = 5000;

pub(super) fn catalogue() -> (Catalogue, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (catalogue, is_new) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
    assert!(is_new);
    (catalogue, folder)
}

pub(super) fn id(first: u8) -> SnapshotId {
    SnapshotId::from_bytes([first; 16])
}

fn namespace() -> Namespace {
    "default".parse().unwrap()
}

fn record(id: SnapshotId, created_at: i64) -> SnapshotRecord {
    SnapshotRecord {
        labels: BTreeMap::from([("team".to_owned(), "blue \"and\" \0 red".to_owned())]),
        expires_at: Some(created_at + 100),
        ..SnapshotRecord::creating(id, namespace(), "web".to_owned(), created_at)
    }
}

fn manifest(id: SnapshotId, created_at: i64, name: Option<&str>) -> Manifest {
    Manifest {
        id,
        namespace: namespace(),
        created_at,
        name: name.map(|name| name.parse().unwrap()),
        version: None,
        expires_at: Some(created_at + 100),
        labels: BTreeMap::new(),
        root: TreeRef {
            digest: Digest::of(b"root"),
            nodes: 7,
        },
        root_meta: Meta::default(),
        links: LinkTable::default(),
        logical_bytes: 4096,
        stored_bytes: 512,
        pause_us: 1500,
        memory: None,
        origin: Origin::Path("/srv".to_owned()),
        host: HostFacts::default(),
    }
}

pub(super) fn active(catalogue: &Catalogue, id: SnapshotId, created_at: i64, name: Option<&str>) {
    catalogue.insert(&record(id, created_at), LIMIT).unwrap();
    catalogue.activate(&manifest(id, created_at, name)).unwrap();
}

fn resolve(catalogue: &Catalogue, text: &str) -> Result<SnapshotId> {
    let reference: Reference = text.parse()?;
    catalogue
        .resolve(&namespace(), &reference)
        .map(|record| record.id)
}

fn tag(catalogue: &Catalogue, id: SnapshotId, name: &str) -> Result<()> {
    catalogue.set_names(&id, &[name.parse()?], Hold::Movable, NOW)
}

fn remove(catalogue: &Catalogue, ids: &[SnapshotId]) -> Result<()> {
    catalogue.begin_removal(ids, Force::No, NOW)
}

fn container(name: &str, snapshot: SnapshotId) -> ContainerRecord {
    ContainerRecord {
        namespace: namespace(),
        id: name.to_owned(),
        snapshot: Some(snapshot),
        folder: "/var/lib/snapshotd/containers/default/c".into(),
        is_complete: false,
        created_at: 5,
    }
}

fn mount(path: &str, snapshot: SnapshotId) -> MountRecord {
    MountRecord {
        path: path.into(),
        snapshot,
        writable: Some("/upper".into()),
    }
}

#[test]
fn activation_takes_sizes_and_names_from_the_manifest() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 10, Some("app:v1"));
    let found = catalogue.get(&id(1)).unwrap();
    assert_eq!(found.state, SnapshotState::Active);
    assert_eq!((found.nodes, found.logical_bytes), (7, 4096));
    assert_eq!((found.stored_bytes, found.pause_us), (512, 1500));
    let names: Vec<String> = found.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["app:latest", "app:v1"]);
    assert_eq!(found.labels, record(id(1), 10).labels);
}

#[test]
fn names_move_to_the_newest_snapshot_of_a_name() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 10, Some("app:v1"));
    active(&catalogue, id(2), 20, Some("app:v2"));
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(2));
    assert_eq!(resolve(&catalogue, "app:v1").unwrap(), id(1));
    tag(&catalogue, id(1), "app").unwrap();
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(1));
}

/// **A4** The beginning of an id is enough, from four digits on; when two ids of the namespace begin so, it is refused
/// rather than guessed, and a name that reads the same comes first.
#[test]
fn a_name_wins_over_a_prefix_and_a_prefix_must_be_unambiguous() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(0xab), 10, None);
    assert_eq!(resolve(&catalogue, "abab").unwrap(), id(0xab));
    active(&catalogue, id(0x11), 20, Some("abab"));
    assert_eq!(resolve(&catalogue, "abab").unwrap(), id(0x11));
    assert_eq!(resolve(&catalogue, "ababa").unwrap(), id(0xab));
    let mut near = [0xab; 16];
    near[15] = 0;
    active(&catalogue, SnapshotId::from_bytes(near), 30, None);
    let error = resolve(&catalogue, "ababab").unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
}

#[test]
fn references_stay_within_their_namespace() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(0xab), 10, Some("app"));
    let other: Namespace = "other".parse().unwrap();
    for text in ["app", "abab", &id(0xab).to_string()] {
        let error = catalogue
            .resolve(&other, &text.parse().unwrap())
            .unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{text}: {error}");
    }
}

#[test]
fn the_limit_counts_what_is_creating_or_active() {
    let (catalogue, _folder) = catalogue();
    catalogue.insert(&record(id(1), 1), 2).unwrap();
    active(&catalogue, id(2), 2, None);
    let refused = catalogue.insert(&record(id(3), 3), 2).unwrap_err();
    assert!(
        matches!(refused, Error::Limit { limit: 2, .. }),
        "{refused}"
    );
    catalogue.fail(&id(1), "the disk is full").unwrap();
    catalogue.insert(&record(id(3), 3), 2).unwrap();
    assert_eq!(
        catalogue.get(&id(1)).unwrap().reason.unwrap(),
        "the disk is full"
    );
}

#[test]
fn removal_takes_all_or_none() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, Some("app"));
    active(&catalogue, id(2), 2, None);
    catalogue
        .insert_container(&container("clone", id(2)))
        .unwrap();
    let error = remove(&catalogue, &[id(1), id(2)]).unwrap_err();
    assert!(
        error.to_string().contains("container default/clone"),
        "{error}"
    );
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(1));
    catalogue
        .remove_container(&namespace(), "clone", NOW)
        .unwrap();
    remove(&catalogue, &[id(1), id(2), id(1)]).unwrap();
    assert!(resolve(&catalogue, "app").is_err());
    catalogue.finish_removal(&id(1)).unwrap();
    assert!(matches!(catalogue.get(&id(1)), Err(Error::NotFound { .. })));
}

#[test]
fn what_is_creating_or_gone_cannot_be_removed() {
    let (catalogue, _folder) = catalogue();
    catalogue.insert(&record(id(1), 1), LIMIT).unwrap();
    assert!(matches!(
        remove(&catalogue, &[id(1)]),
        Err(Error::Busy { .. })
    ));
    assert!(matches!(
        remove(&catalogue, &[id(9)]),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        catalogue.finish_removal(&id(1)),
        Err(Error::Busy { .. })
    ));
}

#[test]
fn pages_go_on_where_they_ended_though_the_last_one_is_gone() {
    let (catalogue, _folder) = catalogue();
    for number in 1..=6 {
        active(&catalogue, id(number), i64::from(number / 2), None);
    }
    let page = catalogue.list(None, None, 2).unwrap();
    assert_eq!(
        page.iter().map(|record| record.id).collect::<Vec<_>>(),
        [id(6), id(5)]
    );
    remove(&catalogue, &[id(5)]).unwrap();
    catalogue.finish_removal(&id(5)).unwrap();
    let after = Some((page[1].created_at, page[1].id));
    let rest = catalogue.list(Some(&namespace()), after, 100).unwrap();
    let rest: Vec<_> = rest.iter().map(|record| record.id).collect();
    assert_eq!(rest, [id(4), id(3), id(2), id(1)]);
}

#[test]
fn a_note_is_kept_until_the_next() {
    let (catalogue, _folder) = catalogue();
    assert_eq!(catalogue.note("last").unwrap(), None);
    catalogue.set_note("last", "one").unwrap();
    catalogue.set_note("last", "two").unwrap();
    assert_eq!(catalogue.note("last").unwrap().as_deref(), Some("two"));
}

#[test]
fn a_snapshot_without_manifest_is_failed_until_it_is_found_again() {
    let (catalogue, _folder) = catalogue();
    active(&catalogue, id(1), 1, Some("app:v1"));
    assert!(catalogue.find_again(&id(1)).is_err());
    catalogue.lose(&id(1), "its manifest is gone").unwrap();
    let lost = catalogue.get(&id(1)).unwrap();
    assert_eq!(lost.state, SnapshotState::Failed);
    assert_eq!(lost.reason.as_deref(), Some("its manifest is gone"));
    assert!(catalogue.lose(&id(1), "again").is_err());
    catalogue.find_again(&id(1)).unwrap();
    let found = catalogue.get(&id(1)).unwrap();
    assert_eq!((found.state, found.reason), (SnapshotState::Active, None));
    assert_eq!(resolve(&catalogue, "app:v1").unwrap(), id(1));
}

#[test]
fn a_new_catalogue_is_filled_from_manifests_in_any_order() {
    let (catalogue, _folder) = catalogue();
    catalogue
        .import(&manifest(id(2), 20, Some("app:v1")))
        .unwrap();
    catalogue
        .import(&manifest(id(1), 10, Some("app:v1")))
        .unwrap();
    catalogue
        .import(&manifest(id(3), 15, Some("app:v2")))
        .unwrap();
    catalogue
        .import(&manifest(id(3), 15, Some("app:v2")))
        .unwrap();
    assert_eq!(resolve(&catalogue, "app:v1").unwrap(), id(2));
    assert_eq!(resolve(&catalogue, "app:v2").unwrap(), id(3));
    assert_eq!(resolve(&catalogue, "app").unwrap(), id(2));
    assert_eq!(catalogue.count_by_state().unwrap()["active"], 3);
}
