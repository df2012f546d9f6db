//! Copies of the catalogue are made, put back, and damaged catalogues moved away, while the power goes or the disk fails at every step.
//!
//! A copy under its name is whole. In the catalogue's place lies the old one or the copy, never nothing and never half of one; what was
//! there before is kept.

use std::sync::Arc;

use super::{
    crash::{folder, look_at_points, open, prepared, read, told, write},
    remains::Files,
    vfs::{self, Refusal, Step},
    *,
};
use crate::{
    catalogue::place,
    disk::{
        Disk, HostDisk, Lock, Sink, Source,
        doubles::{MemoryDisk, Outcome, conclude, crash_everywhere, seeds},
    },
};

/// The catalogue of a folder, and a copy in it.
const NAMES: (&str, &str) = ("catalogue.db", "copy.db");
const LATER: i64 = 1_000_000;
/// So many that one of them has each selection of a few names.
const MANY_IMAGES: u64 = 64;

/// The folder of a catalogue, each change of which is recorded beside those SQLite makes.
#[derive(Debug)]
struct Recorded(HostDisk);

impl Recorded {
    fn open(folder: &Path) -> Self {
        Self(HostDisk::open(folder).unwrap())
    }

    fn note(&self, path: &Path, step: impl FnOnce(String) -> Step) -> Result<()> {
        let path = self.root().join(path);
        vfs::note(&path, step).map_err(Error::io("change", &path))
    }
}

impl Disk for Recorded {
    fn root(&self) -> &Path {
        self.0.root()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.0.lock(path)
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        self.0.create_folder(path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Sink>> {
        self.note(path, Step::Create)?;
        Ok(Box::new(RecordedSink {
            file: self.0.create(path)?,
            path: self.root().join(path),
            written: 0,
        }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Source>> {
        self.0.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        // What is not there is not renamed, and no step.
        self.0.open(from)?;
        let to_name = to.display().to_string();
        self.note(from, |from| Step::Rename(from, to_name))?;
        self.0.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        self.note(Path::new("folder"), |_| Step::SyncFolder)?;
        self.0.sync_folder(path)
    }

    fn sync_all(&self) -> Result<()> {
        self.0.sync_all()
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.note(path, Step::Remove)?;
        self.0.remove(path)
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        self.0.remove_folder(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.0.list(path)
    }
}

#[derive(Debug)]
struct RecordedSink {
    file: Box<dyn Sink>,
    path: PathBuf,
    written: usize,
}

impl Sink for RecordedSink {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.written;
        let noted = vfs::note(&self.path, |name| Step::Write(name, at, bytes.to_vec()));
        noted.map_err(Error::io("write", &self.path))?;
        self.written += bytes.len();
        self.file.append(bytes)
    }

    fn start_write_back(&self) {}

    fn sync(&self) -> Result<()> {
        vfs::note(&self.path, Step::Sync).map_err(Error::io("sync", &self.path))?;
        self.file.sync()
    }
}

/// A folder with a catalogue that its daemon has left so, open or closed, and a copy from before its last change.
fn scene(is_killed: bool) -> (TempDir, Files) {
    let folder = folder();
    let catalogue = prepared(folder.path());
    catalogue.back_up(&folder.path().join(NAMES.1)).unwrap();
    catalogue.set_note("new", "since the copy").unwrap();
    let killed = read(folder.path());
    drop(catalogue);
    if is_killed {
        write(folder.path(), &killed);
    }
    let files = read(folder.path());
    assert_eq!(files.contains_key("catalogue.db-wal"), is_killed);
    (folder, files)
}

/// What a copy of a catalogue holds, which is opened as another file.
fn copy_told(folder: &Path, name: &str) -> std::result::Result<String, String> {
    let other = self::folder();
    let path = other.path().join(NAMES.0);
    fs::copy(folder.join(name), &path).map_err(|error| format!("{name}: {error}"))?;
    let opened = Catalogue::open(&path).map_err(|error| format!("{name}: {error}"))?;
    Ok(told(&opened.0))
}

fn back_up(folder: &Path, catalogue: &Catalogue) -> Result<u64> {
    let through = folder.to_str().unwrap();
    catalogue.back_up_on(&Recorded::open(folder), through, Path::new(NAMES.1))
}

fn put_back(folder: &Path) -> Result<PutBack> {
    let (name, copy) = (Path::new(NAMES.0), folder.join(NAMES.1));
    Catalogue::put_back_on(&Recorded::open(folder), &copy, name, LATER)
}

#[test]
fn a_copy_that_is_cut_short_leaves_the_one_before_it_or_a_whole_one() {
    vfs::install();
    let (folder, _) = scene(false);
    let catalogue = open(folder.path()).unwrap();
    let before = copy_told(folder.path(), NAMES.1).unwrap();
    let start = read(folder.path());
    let (steps, bytes) = vfs::record(folder.path(), || back_up(folder.path(), &catalogue));
    assert!(bytes.unwrap() > 4096);
    let after = told(&catalogue);
    assert_ne!(before, after);
    let remains = self::folder();
    let mut sum = look_at_points(remains.path(), (&start, &steps), seeds(), |is_end| {
        let found = copy_told(remains.path(), NAMES.1)?;
        match found == after || (!is_end && found == before) {
            true => Ok(()),
            false => Err(format!("the copy holds {found}")),
        }
    });
    // The same where no copy was before.
    let mut start = start;
    start.remove(NAMES.1);
    sum.add(look_at_points(
        remains.path(),
        (&start, &steps),
        seeds(),
        |is_end| {
            let is_there = remains.path().join(NAMES.1).exists();
            match is_there && copy_told(remains.path(), NAMES.1)? != after || is_end && !is_there {
                true => Err("the copy is not whole".to_owned()),
                false => Ok(()),
            }
        },
    ));
    conclude("catalogue-backup", &sum);
}

/// A copy put back, step by step.
struct PuttingBack {
    start: Files,
    steps: Vec<Step>,
    /// What the catalogue held before.
    before: String,
    after: String,
    remains: TempDir,
}

impl PuttingBack {
    fn record(is_killed: bool) -> Self {
        let (folder, start) = scene(is_killed);
        let copy = copy_told(folder.path(), NAMES.1).unwrap();
        let remains = self::folder();
        write(remains.path(), &start);
        let before = told(&open(remains.path()).unwrap());
        let (steps, put) = vfs::record(folder.path(), || put_back(folder.path()));
        assert!(put.unwrap().replaced.is_some());
        let after = told(&open(folder.path()).unwrap());
        assert!(before != after && copy != after && steps.len() > 10);
        Self {
            start,
            steps,
            before,
            after,
            remains,
        }
    }

    fn try_points(&self, steps: &[Step], images: u64) -> Outcome {
        let check = |is_end| self.check(is_end);
        look_at_points(self.remains.path(), (&self.start, steps), images, check)
    }

    /// The catalogue is the old one or the copy; the copy when that was acknowledged, and then the old one is kept. A second attempt
    /// succeeds.
    fn check(&self, is_end: bool) -> std::result::Result<(), String> {
        let folder = self.remains.path();
        let (catalogue, is_new) =
            Catalogue::open(&folder.join(NAMES.0)).map_err(|error| error.to_string())?;
        let found = told(&catalogue);
        drop(catalogue);
        if is_new || found != self.after && (is_end || found != self.before) {
            return Err(format!("the catalogue holds {found}"));
        }
        if found == self.after && copy_told(folder, "catalogue.db.replaced")? != self.before {
            return Err("the old catalogue is not kept".to_owned());
        }
        put_back(folder).map_err(|error| format!("again: {error}"))?;
        let again = told(&open(folder).map_err(|error| error.to_string())?);
        let left: Vec<_> = read(folder).into_keys().collect();
        match again == self.after && left == ["catalogue.db", "catalogue.db.replaced", NAMES.1] {
            true => Ok(()),
            false => Err(format!("after a second attempt: {left:?}, {again}")),
        }
    }
}

/// **K4** Putting a copy back that is cut short, by a loss of power too, leaves the catalogue that was there or the copy, never neither.
#[test]
fn putting_a_copy_back_can_be_cut_short_anywhere() {
    vfs::install();
    let mut sum = Outcome::default();
    for is_killed in [false, true] {
        let putting = PuttingBack::record(is_killed);
        sum.add(putting.try_points(&putting.steps, seeds()));
    }
    conclude("catalogue-put-back", &sum);
}

#[test]
fn the_syncs_before_the_old_catalogue_goes_are_missed() {
    vfs::install();
    let putting = PuttingBack::record(false);
    let names = putting
        .steps
        .iter()
        .position(|step| matches!(step, Step::SyncFolder));
    let mut without_names = putting.steps.clone();
    without_names.remove(names.unwrap());
    // The last of them repeats what SQLite has done at the end of its last transaction.
    let is_draft = |step: &Step| matches!(step, Step::Sync(name) if name == "catalogue.db.draft");
    let mut without_bytes = putting.steps.clone();
    without_bytes.retain(|step| !is_draft(step));
    for steps in [without_names, without_bytes] {
        assert!(steps.len() < putting.steps.len());
        assert_ne!(putting.try_points(&steps, MANY_IMAGES).violations, [""; 0]);
    }
}

/// How many steps of `run` were refused, each in a scene of its own, which `check` looks at afterwards with what `run` had to say.
fn refuse_each<T>(
    refusal: Refusal,
    run: impl Fn(&Path) -> Result<T>,
    check: impl Fn(&Path, Result<T>),
) -> usize {
    let (mut refused, mut allowed) = (0, 0);
    for step in 0.. {
        let (folder, _) = scene(step % 2 == 0);
        let (is_refused, done) = vfs::refuse(folder.path(), step, refusal, || run(folder.path()));
        check(folder.path(), done);
        match is_refused {
            true => (refused, allowed) = (refused + 1, 0),
            false => allowed += 1,
        }
        // What cannot be refused in this way lies between what can.
        if allowed > 20 {
            break;
        }
    }
    refused
}

#[test]
fn a_copy_that_fails_at_any_step_is_told_and_leaves_the_one_before_it() {
    vfs::install();
    for refusal in [Refusal::Full, Refusal::Broken] {
        let run = |folder: &Path| back_up(folder, &open(folder)?);
        let refused = refuse_each(refusal, run, |folder, done| {
            copy_told(folder, NAMES.1).unwrap();
            let catalogue = open(folder).unwrap();
            if done.is_err() {
                back_up(folder, &catalogue).unwrap();
            }
            assert_eq!(copy_told(folder, NAMES.1).unwrap(), told(&catalogue));
        });
        assert!(refused > 3, "{refused}");
    }
}

#[test]
fn putting_a_copy_back_that_fails_at_any_step_leaves_one_of_both_and_can_be_tried_again() {
    vfs::install();
    for refusal in [Refusal::Full, Refusal::Broken] {
        let refused = refuse_each(refusal, put_back, |folder, done| {
            let (catalogue, is_new) = Catalogue::open(&folder.join(NAMES.0)).unwrap();
            assert!(!is_new);
            let is_put_back = catalogue.note("new").unwrap().is_none();
            assert!(is_put_back || done.is_err());
            drop(catalogue);
            put_back(folder).unwrap();
            let (catalogue, _) = Catalogue::open(&folder.join(NAMES.0)).unwrap();
            assert_eq!(catalogue.note("new").unwrap(), None);
        });
        assert!(refused > 3, "{refused}");
    }
}

#[test]
fn a_damaged_catalogue_is_in_its_place_or_in_quarantine_wherever_its_removal_is_cut_short() {
    let disk = MemoryDisk::default();
    for (name, bytes) in [("catalogue.db", "damaged"), ("catalogue.db-wal", "its log")] {
        disk.create(Path::new(name))
            .unwrap()
            .append(bytes.as_bytes())
            .unwrap();
    }
    disk.sync_all().unwrap();
    let run = || place::set_aside(&disk, Path::new("catalogue.db")).unwrap();
    crash_everywhere("catalogue-quarantine", &disk, run, |found, done| {
        let bytes = |path: &str| {
            let file = found.open(Path::new(path)).ok()?;
            let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
            file.read_at(0, &mut bytes).ok()?;
            String::from_utf8(bytes).ok()
        };
        let kept = bytes("quarantine/catalogue-1.db");
        let is_kept = kept.as_deref() == Some("damaged");
        let is_there = bytes("catalogue.db").as_deref() == Some("damaged");
        match done {
            Some(path) if path != Path::new("quarantine/catalogue-1.db") || is_there => {
                Err(format!("{} is not where it is", path.display()))
            }
            Some(_) if bytes("quarantine/catalogue-1.db-wal").as_deref() != Some("its log") => {
                Err("its log is lost".to_owned())
            }
            _ if is_kept || is_there => Ok(()),
            _ => Err("it is lost".to_owned()),
        }
    });
}
