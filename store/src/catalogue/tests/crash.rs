//! The power goes at every step of every change of the catalogue: afterwards it opens, a change that was acknowledged is there, and
//! one that was not is there whole or not at all.

use std::collections::HashSet;

use super::{
    remains::{Files, points},
    vfs::{self, Step},
    *,
};
use crate::disk::doubles::{Outcome, conclude, seeds};

/// A change, and the way the catalogue's file is written meanwhile.
pub(super) type Change = fn(&Catalogue) -> Result<()>;

/// Every change there is, each of which succeeds on what [`prepared`] makes.
pub(super) const CHANGES: [(&str, Change); 50] = [
    ("insert", |it| it.insert(&record(id(9), 90), LIMIT)),
    ("activate", |it| {
        it.activate(&manifest(id(2), 20, Some("app:v2"))).map(drop)
    }),
    ("fail", |it| it.fail(&id(2), "the disk is full")),
    ("begin-removal", |it| {
        it.begin_removal(&[id(1), id(4)], Force::Yes, NOW)
    }),
    ("begin-expiry", |it| it.begin_expiry(&id(1), i64::MAX)),
    ("finish-removal", |it| it.finish_removal(&id(5))),
    ("begin-forgetting", |it| {
        let removed = forget::forget(it, &"thin".parse()?)?;
        assert_eq!(removed, [1]);
        Ok(())
    }),
    ("remove-to", |it| {
        it.remove_to(&[id(1), id(4)], &trash::removal()).map(drop)
    }),
    ("begin-purge", |it| it.begin_purge(&[id(12)], None)),
    ("renew-trash", |it| it.renew_trash(NOW + 5).map(drop)),
    ("undelete", |it| {
        it.undelete(&[id(12)], &trash::undeletion()).map(drop)
    }),
    ("set-names", |it| {
        let names = ["app:v1".parse()?, "app:latest".parse()?];
        it.set_names(&id(3), &names, Hold::Movable, NOW)
    }),
    ("make-immutable", |it| {
        it.set_names(&id(1), &["app:v1".parse()?], Hold::Immutable, NOW)
    }),
    ("remove-name", |it| {
        it.remove_name(&namespace(), &"site:kept".parse()?, Force::Yes, NOW)
            .map(drop)
    }),
    ("roll-back", |it| {
        it.roll_back(&namespace(), &"app".parse()?, RollbackTo::Older, NOW)
            .map(drop)
    }),
    ("undo-rollback", |it| {
        it.roll_back(&namespace(), &"site".parse()?, RollbackTo::Undo, NOW)
            .map(drop)
    }),
    ("set-policy", |it| {
        it.set_policy(&namespace(), &"app".parse()?, &forget::LAST, LIMIT)
    }),
    ("remove-policy", |it| {
        it.remove_policy(&namespace(), &"thin".parse()?).map(drop)
    }),
    ("set-auto", |it| it.set_auto(&autos::auto("web"), LIMIT)),
    ("update-trigger", |it| {
        assert!(it.update_trigger(None, &triggers::trigger("web"))?);
        Ok(())
    }),
    ("remove-trigger", |it| {
        it.remove_trigger(&namespace(), "old")
    }),
    ("update-auto", |it| {
        let ended = autos::ended(&autos::auto("thin"));
        assert!(it.update_auto(&autos::auto("thin"), &ended)?);
        Ok(())
    }),
    ("remove-auto", |it| {
        it.remove_auto(&namespace(), &"thin".parse()?).map(drop)
    }),
    ("set-template", |it| {
        it.set_template(&templates::record("web", 3), LIMIT)
    }),
    ("remove-template", |it| {
        it.remove_template(&namespace(), &"old".parse()?).map(drop)
    }),
    ("add-volume", |it| {
        let first = volumes::version(1, 16);
        it.add_volume(&namespace(), &"new".parse()?, &first, LIMIT)
    }),
    ("add-volume-version", |it| {
        let next = volumes::version(2, 16);
        it.add_volume_version(&namespace(), &"spare".parse()?, &next, None)
    }),
    ("thin-volume", |it| {
        it.thin_volume(&namespace(), &"data".parse()?, 1)
    }),
    ("remove-volume", |it| {
        it.remove_volume(&namespace(), &"spare".parse()?).map(drop)
    }),
    ("attach", |it| {
        let spare = [volumes::attaching("spare", "/spare")];
        it.attach((&namespace(), "old"), &spare).map(drop)
    }),
    ("reground", |it| {
        let mut attached = it.attached(&namespace(), "old")?.remove(0);
        attached.generation += 1;
        it.reground(&attached, NOW)
    }),
    ("pin", |it| it.pin(&id(3))),
    ("unpin", |it| it.unpin(&id(6))),
    ("set-unused", |it| it.set_unused(&id(1), Some(5), NOW)),
    ("set-expiry", |it| it.set_expiry(&id(1), None)),
    ("set-labels", |it| {
        let set = BTreeMap::from([("large".to_owned(), "x".repeat(9000))]);
        it.set_labels(&id(1), &set, &["team".to_owned()])
    }),
    ("touch", |it| it.touch(&id(1), 77)),
    ("note-restore", |it| it.note_restore(&id(3), 2, 5000, 77)),
    ("import", |it| {
        it.import(&manifest(id(8), 80, Some("app:v1")))
    }),
    ("insert-container", |it| {
        it.insert_container(&container("new", id(3)))
    }),
    ("complete-containers", |it| {
        it.complete_containers(&[container("old", id(3))])
    }),
    ("remove-container", |it| {
        it.remove_container(&namespace(), "old", NOW)
    }),
    ("insert-mount", |it| {
        it.insert_mount(&mount("/mnt/new", id(3)))
    }),
    ("remove-mount", |it| {
        it.remove_mount(Path::new("/mnt/old"), NOW).map(drop)
    }),
    ("put-base", |it| it.put_base("new", &base(), None, 5)),
    ("use-base", |it| it.use_base("old", 6000).map(drop)),
    ("forget-bases", |it| it.forget_bases(&base().root.digest)),
    ("lose", |it| it.lose(&id(3), "its manifest is gone")),
    ("find-again", |it| it.find_again(&id(7))),
    ("set-note", |it| it.set_note("new", "text")),
];

fn base() -> BaseRecord {
    let manifest = manifest(id(1), 1, None);
    BaseRecord {
        root: manifest.root,
        root_meta: manifest.root_meta,
        links: LinkTable::new(&[LinkGroup(vec![1, 8, 9])]),
        logical_bytes: 12,
    }
}

/// A folder in memory, where a sync takes no time.
pub(super) fn folder() -> TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.unwrap()
}

pub(super) fn open(folder: &Path) -> Result<Catalogue> {
    Ok(Catalogue::open(&folder.join("catalogue.db"))?.0)
}

/// A catalogue with something in every state, in a folder.
pub(super) fn prepared(folder: &Path) -> Catalogue {
    let catalogue = open(folder).unwrap();
    for (number, name) in [
        (1, Some("app:v1")),
        (3, Some("site")),
        (4, Some("app:v3")),
        (5, None),
        (6, Some("site")),
        (10, Some("thin")),
        (11, Some("thin")),
        (12, Some("thrown:v1")),
    ] {
        active(&catalogue, id(number), i64::from(number), name);
    }
    catalogue.insert(&record(id(2), 2), LIMIT).unwrap();
    remove(&catalogue, &[id(5)]).unwrap();
    catalogue.remove_to(&[id(12)], &trash::removal()).unwrap();
    active(&catalogue, id(7), 7, None);
    catalogue.lose(&id(7), "its manifest is gone").unwrap();
    catalogue.put_base("old", &base(), None, 4).unwrap();
    let site: SnapshotName = "site".parse().unwrap();
    catalogue
        .roll_back(&namespace(), &site, RollbackTo::Older, NOW)
        .unwrap();
    let kept = ["site:kept".parse().unwrap()];
    catalogue
        .set_names(&id(6), &kept, Hold::Immutable, NOW)
        .unwrap();
    catalogue.pin(&id(6)).unwrap();
    catalogue
        .set_policy(&namespace(), &"thin".parse().unwrap(), &forget::LAST, LIMIT)
        .unwrap();
    catalogue.set_auto(&autos::auto("thin"), LIMIT).unwrap();
    let known = triggers::trigger("old");
    assert!(catalogue.update_trigger(None, &known).unwrap());
    catalogue
        .set_template(&templates::record("old", 6), LIMIT)
        .unwrap();
    catalogue
        .insert_container(&container("old", id(6)))
        .unwrap();
    catalogue.insert_mount(&mount("/mnt/old", id(6))).unwrap();
    volumes::prepare(&catalogue);
    catalogue
}

/// Everything the catalogue knows, as text.
pub(super) fn told(catalogue: &Catalogue) -> String {
    let list = catalogue.list(None, None, 100).unwrap();
    let users = (catalogue.containers().unwrap(), catalogue.mounts().unwrap());
    let others = (catalogue.bases().unwrap(), catalogue.note("new").unwrap());
    let names = (
        catalogue.counters().unwrap(),
        catalogue.all_moves().unwrap(),
        catalogue.policies(None).unwrap(),
        catalogue.templates(None).unwrap(),
    );
    let trash = (
        catalogue.trash(None, None, 100).unwrap(),
        catalogue.in_state(SnapshotState::Deleting).unwrap(),
    );
    let restores = (
        catalogue.restores().unwrap(),
        catalogue.autos(None).unwrap(),
        catalogue.volumes(None, None, 9).unwrap(),
        catalogue.all_attached().unwrap(),
        catalogue.triggers(None).unwrap(),
    );
    format!("{list:?} {users:?} {others:?} {names:?} {trash:?} {restores:?}")
}

pub(super) fn read(folder: &Path) -> Files {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    // Shared memory is not there after a power cut.
    files.filter(|(name, _)| !name.ends_with("-shm")).collect()
}

/// Puts these files in the place of all others.
pub(super) fn write(folder: &Path, files: &Files) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Tries every crash point of these steps: what is found is `before` or `after`, and `after` when all was done.
fn try_points(start: &Files, steps: &[Step], before: &str, after: &str) -> Outcome {
    let folder = folder();
    look_at_points(folder.path(), (start, steps), seeds(), |is_end| {
        let found = told(&open(folder.path()).map_err(|error| error.to_string())?);
        match found == after || (!is_end && found == before) {
            true => Ok(()),
            false => Err(format!("found {found}")),
        }
    })
}

/// Puts what each crash point of these steps leaves into `folder`, and has it checked by one who is told whether all was done.
pub(super) fn look_at_points(
    folder: &Path,
    (start, steps): (&Files, &[Step]),
    images: u64,
    check: impl Fn(bool) -> std::result::Result<(), String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut seen = HashSet::new();
    points(start, steps, images, |name, is_end, files| {
        outcome.points += 1;
        if !seen.insert((digest(files), is_end)) {
            return;
        }
        outcome.states += 1;
        write(folder, files);
        if let Err(why) = check(is_end) {
            outcome.violations.push(format!("{name}: {why}"));
        }
    });
    outcome
}

fn digest(files: &Files) -> Digest {
    let parts = files
        .iter()
        .map(|(name, bytes)| [name.as_bytes(), bytes].concat());
    let digests = parts.map(|part| *Digest::of(&part).as_bytes());
    Digest::of(digests.collect::<Vec<_>>().as_flattened())
}

/// Records a change of a prepared catalogue, whose log was copied into the database before, or is not.
fn try_change(change: Change, is_copied: bool) -> Outcome {
    let folder = folder();
    let catalogue = prepared(folder.path());
    if is_copied {
        catalogue
            .lock()
            .pragma_update(None, "wal_autocheckpoint", 1)
            .unwrap();
        catalogue.touch(&id(3), 1).unwrap();
    }
    let (start, before) = (read(folder.path()), told(&catalogue));
    let (steps, done) = vfs::record(folder.path(), || change(&catalogue));
    done.unwrap();
    assert!(
        steps.iter().any(|step| matches!(step, Step::Sync(_))),
        "{steps:?}"
    );
    try_points(&start, &steps, &before, &told(&catalogue))
}

/// Tries some of the changes, and writes down how many points that were.
fn try_changes(operation: &str, changes: &[(&str, Change)], is_copied: bool) {
    vfs::install();
    let mut sum = Outcome::default();
    for (name, change) in changes {
        let outcome = try_change(*change, is_copied);
        assert_eq!(outcome.violations, [""; 0], "{name}");
        sum.add(outcome);
    }
    assert!(sum.points > 1000, "{sum:?}");
    conclude(operation, &sum);
}

#[test]
fn every_change_of_the_catalogue_can_be_cut_short_anywhere() {
    try_changes("catalogue-changes", &CHANGES, false);
}

#[test]
fn every_change_that_is_copied_into_the_database_at_once_can_be_cut_short_anywhere() {
    try_changes("catalogue-copies", &CHANGES, true);
}

#[test]
fn making_closing_and_opening_a_catalogue_can_be_cut_short_anywhere() {
    vfs::install();
    let folder = folder();
    let (steps, made) = vfs::record(folder.path(), || open(folder.path()).unwrap());
    let empty = told(&made);
    let mut sum = try_points(&Files::new(), &steps, &empty, &empty);
    drop(made);

    let catalogue = prepared(folder.path());
    let (start, before) = (read(folder.path()), told(&catalogue));
    let (steps, ()) = vfs::record(folder.path(), || drop(catalogue));
    assert!(
        steps.iter().any(|step| matches!(step, Step::Remove(_))),
        "{steps:?}"
    );
    sum.add(try_points(&start, &steps, &before, &before));

    write(folder.path(), &start);
    let (steps, opened) = vfs::record(folder.path(), || open(folder.path()).unwrap());
    sum.add(try_points(&start, &steps, &before, &before));
    assert_eq!(told(&opened), before);
    conclude("catalogue-files", &sum);
}
