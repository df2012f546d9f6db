//! The damage matrix of the catalogue and its log: every page is damaged in every way, and then the catalogue is opened, read, changed,
//! copied and moved away.
//!
//! What SQLite can see is `Corrupt`, and another can be made then. What it cannot see, because no page of the database has a checksum, is an
//! answer: of the log that can only be what was there before some of the last changes.

use std::ops::Range;

use super::{
    crash::{folder, open, prepared, read, write},
    remains::Files,
    *,
};
use crate::disk::doubles::note;

const PAGE_BYTES: usize = 4096;
/// The version of the schema, in the file's header.
const VERSION: Range<usize> = 60..64;
/// Offsets in the file's header whose meaning differs: magic, page size, formats, counters, free list, schema, encoding, version.
const HEADER: [usize; 14] = [3, 16, 18, 19, 20, 24, 28, 32, 36, 40, 44, 56, 63, 92];
/// Offsets in every page: its own header, its table of cells, its middle, and cells, which begin at its end.
const IN_PAGE: [usize; 7] = [0, 4, 9, 600, 2048, 3600, 4090];
/// What is in front of each page in the log.
const FRAME_HEADER_BYTES: usize = 24;
const LOG_HEADER_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    FlipBit,
    FlipHighBit,
    Truncate,
    ZeroBlock,
    Remove,
    Swap,
}

const ALL: [Damage; 6] = [
    Damage::FlipBit,
    Damage::FlipHighBit,
    Damage::Truncate,
    Damage::ZeroBlock,
    Damage::Remove,
    Damage::Swap,
];

/// A catalogue whose daemon was killed: the last changes are in its log alone.
struct Scene {
    files: Files,
    /// Another one, to change places with.
    other: Files,
    held_by_other: String,
    /// What it held before, between and after the last changes.
    held: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let (own, other) = (folder(), folder());
        let mut held = Vec::new();
        drop(prepared(own.path()));
        let catalogue = open(own.path()).unwrap();
        held.push(try_told(&catalogue).unwrap());
        for text in ["one".repeat(3000), "two".to_owned()] {
            catalogue.set_note("new", &text).unwrap();
            held.push(try_told(&catalogue).unwrap());
        }
        let strange = prepared(other.path());
        strange.set_note("new", "of another").unwrap();
        Self {
            files: read(own.path()),
            other: read(other.path()),
            held_by_other: try_told(&strange).unwrap(),
            held,
        }
    }

    /// The files after a damage; `None` when there is no such damage at this place.
    fn damaged(&self, file: &str, at: usize, damage: Damage) -> Option<Files> {
        let mut files = self.files.clone();
        let bytes = files.get_mut(file)?;
        match damage {
            Damage::FlipBit => bytes[at] ^= 4,
            // Text with it is no text.
            Damage::FlipHighBit => bytes[at] ^= 0x80,
            Damage::Truncate => bytes.truncate(at),
            Damage::ZeroBlock => {
                let begin = at / PAGE_BYTES * PAGE_BYTES;
                let end = (begin + PAGE_BYTES).min(bytes.len());
                bytes[begin..end].fill(0);
            }
            Damage::Remove if at == 3 => drop(files.remove(file)),
            Damage::Swap if at == 3 => bytes.clone_from(&self.other[file]),
            Damage::Remove | Damage::Swap => return None,
        }
        Some(files)
    }
}

/// Everything the catalogue knows, as text, or what keeps it from being told.
fn try_told(catalogue: &Catalogue) -> Result<String> {
    let list = catalogue.list(None, None, 100)?;
    let by_name = catalogue.resolve(&namespace(), &"app:v1".parse()?).ok();
    let by_name = by_name.map(|found| found.id);
    let states = catalogue.count_by_state()?;
    let users = (catalogue.containers()?, catalogue.mounts()?);
    let others = (catalogue.bases()?, catalogue.note("new")?);
    let names = (
        catalogue.counters()?,
        catalogue.all_moves()?,
        catalogue.policies(None)?,
        catalogue.templates(None)?,
    );
    Ok(format!(
        "{list:?} {by_name:?} {states:?} {users:?} {others:?} {names:?}"
    ))
}

fn assert_told(error: &Error) {
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

/// Opens what is there, does with it what is done with catalogues, and returns what it held; `None` when it was refused.
fn try_everything(folder: &Path, may_be_newer: bool) -> Option<String> {
    match open(folder) {
        Ok(catalogue) => {
            // What can be opened can be read.
            let found = try_told(&catalogue).unwrap();
            try_using(&catalogue, folder);
            return Some(found);
        }
        Err(Error::Incompatible { .. }) if may_be_newer => {}
        Err(error) => {
            assert_told(&error);
            try_replacing(folder);
        }
    }
    None
}

/// Changes and copies may fail, and are told then; a copy that is made can be put back.
fn try_using(catalogue: &Catalogue, folder: &Path) {
    let changes = [
        catalogue.insert(&record(id(9), 90), LIMIT),
        catalogue.set_expiry(&id(1), None),
        catalogue.set_note("another", "text"),
        remove(catalogue, &[id(3)]),
    ];
    for error in changes.into_iter().filter_map(Result::err) {
        let is_told = matches!(
            error,
            Error::Corrupt { .. }
                | Error::NotFound { .. }
                | Error::Busy { .. }
                | Error::Database { .. }
        );
        assert!(is_told, "{error:?}");
    }
    let copy = folder.join("copy.db");
    match catalogue.back_up(&copy) {
        Ok(_) => {
            let other = self::folder();
            Catalogue::put_back(&copy, &other.path().join("catalogue.db"), 0).unwrap();
        }
        Err(error) => assert_told(&error),
    }
}

/// Moves it away as it is; what is made in its place is empty and can be filled from the manifests.
fn try_replacing(folder: &Path) {
    let path = folder.join("catalogue.db");
    let damaged = fs::read(&path).unwrap();
    let kept = Catalogue::set_aside(&path).unwrap();
    assert!(fs::read(kept).unwrap() == damaged);
    let (catalogue, is_new) = Catalogue::open(&path).unwrap();
    assert!(is_new);
    for number in 1..=3 {
        catalogue
            .import(&manifest(id(number), i64::from(number), None))
            .unwrap();
    }
    assert_eq!(catalogue.count_by_state().unwrap()["active"], 3);
}

/// Tries all damages at these offsets of a file; `may_be` says which answers are allowed that are not right.
fn try_all(part: &str, file: &str, offsets: &[usize], may_be: impl Fn(&Scene, &str) -> bool) {
    let scene = Scene::new();
    let (mut cells, mut sound, mut unseen) = (0, 0, Vec::new());
    for at in offsets {
        for damage in ALL {
            let Some(files) = scene.damaged(file, *at, damage) else {
                continue;
            };
            let folder = folder();
            write(folder.path(), &files);
            let may_be_newer = file == "catalogue.db" && VERSION.contains(at);
            cells += 1;
            let Some(found) = try_everything(folder.path(), may_be_newer) else {
                continue;
            };
            if scene.held.last() == Some(&found) {
                sound += 1;
            } else {
                let place = format!("{damage:?} at {at}");
                assert!(may_be(&scene, &found), "{place}: {found}");
                unseen.push(place);
            }
        }
    }
    println!("{part}: {} of {cells} unseen: {unseen:?}", unseen.len());
    assert!(cells > 50 && sound < cells, "{sound} of {cells}");
    note(&format!("damage-{part}"), cells, sound);
}

#[test]
fn the_catalogue_may_be_damaged() {
    let pages = Scene::new().files["catalogue.db"].len() / PAGE_BYTES;
    assert!(pages > 10, "{pages}");
    let in_pages = (0..pages).flat_map(|page| IN_PAGE.map(|at| page * PAGE_BYTES + at));
    let offsets: Vec<_> = HEADER.into_iter().chain(in_pages).collect();
    try_all("catalogue", "catalogue.db", &offsets, |_, _| true);
}

#[test]
fn the_log_of_the_catalogue_may_be_damaged_and_loses_the_last_changes_at_most() {
    let length = Scene::new().files["catalogue.db-wal"].len();
    let frames = (LOG_HEADER_BYTES..length).step_by(FRAME_HEADER_BYTES + PAGE_BYTES);
    let in_frames = frames.flat_map(|frame| [2, 10, 20, 30, 2000, 4100].map(|at| frame + at));
    let offsets: Vec<_> = [3, 9, 18, 26].into_iter().chain(in_frames).collect();
    // The log of another catalogue is as good as its own to SQLite: there all of that one is in it.
    let is_earlier = |scene: &Scene, found: &str| {
        let mut held = scene.held.iter().chain([&scene.held_by_other]);
        held.any(|held| held == found)
    };
    try_all("catalogue-log", "catalogue.db-wal", &offsets, is_earlier);
}

/// The quick check of SQLite passes over an index that does not match its table, and a name is not found any more.
#[test]
fn an_index_that_does_not_match_its_table_is_corrupt() {
    let (catalogue, folder) = catalogue();
    active(&catalogue, id(1), 10, None);
    let page: u32 = catalogue
        .lock()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'snapshots_by_namespace'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(catalogue);
    let path = folder.path().join("catalogue.db");
    let mut bytes = fs::read(&path).unwrap();
    let end = page as usize * PAGE_BYTES;
    let page = &mut bytes[end - PAGE_BYTES..end];
    let at = page.windows(7).position(|text| text == b"default").unwrap();
    page[at] ^= 4;
    fs::write(&path, bytes).unwrap();
    let quick = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA quick_check", [], |row| row.get::<_, String>(0));
    assert_eq!(quick.unwrap(), "ok");
    let error = Catalogue::open(&path).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_catalogue_with_rows_that_cannot_be_is_corrupt() {
    let mut passed_over = Vec::new();
    for (harm, what) in [
        ("UPDATE snapshots SET labels = 'none'", "labels"),
        ("UPDATE snapshots SET source = CAST(x'80' AS TEXT)", "utf-8"),
        ("PRAGMA user_version = 0", "says that it has none"),
        ("DELETE FROM snapshots", "refers to something"),
        ("UPDATE versions SET name = 'Bad'", "not a name"),
        ("UPDATE moves SET to_version = -1", "no count"),
    ] {
        let (catalogue, folder) = catalogue();
        active(&catalogue, id(1), 10, Some("app:v1"));
        drop(catalogue);
        let path = folder.path().join("catalogue.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA foreign_keys = off")
            .unwrap();
        connection.execute_batch(harm).unwrap();
        drop(connection);
        match Catalogue::open(&path) {
            Err(Error::Corrupt { why, .. }) if why.contains(what) => {}
            other => passed_over.push((harm, other.map(drop))),
        }
    }
    assert!(passed_over.is_empty(), "{passed_over:?}");
}
