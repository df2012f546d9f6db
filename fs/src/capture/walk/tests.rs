//! A visitor is told the same on one thread and on two; and whatever becomes of the tree meanwhile, it is told of nothing outside it and
//! of all that stays.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{fd::AsFd, unix::fs::symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::{collection::vec, prelude::*};
use snap_store::Silent;
use tempfile::TempDir;

use super::*;
use crate::capture::{Exclude, SourceKind, stat::InodeId};

/// What a visitor was told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Folder(PathBuf, usize, usize),
    Entry(PathBuf, usize, Stat),
    Excluded(PathBuf, usize),
    Vanished(PathBuf),
}

#[derive(Default)]
struct Listener {
    told: Vec<Told>,
    inodes: BTreeSet<InodeId>,
    /// Fails when it has been told so much.
    patience: Option<usize>,
    most_open: usize,
}

impl Listener {
    fn hear(&mut self, told: Told) -> Result<()> {
        self.told.push(told);
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        self.most_open = self.most_open.max(open);
        match self.patience {
            Some(patience) if self.told.len() > patience => Err(Error::Latched {
                why: "it has heard enough".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Visitor for Listener {
    fn folder(&mut self, met: &Met<'_>, number: usize) -> Result<()> {
        let opened = Stat::of_fd(met.folder).unwrap();
        assert_eq!(opened.id, met.stat.id, "the folder itself is handed over");
        self.inodes.insert(met.stat.id);
        self.hear(Told::Folder(met.path(), met.parent, number))
    }

    fn entry(&mut self, met: &Met<'_>) -> Result<()> {
        self.inodes.insert(met.stat.id);
        self.hear(Told::Entry(met.path(), met.parent, *met.stat))
    }

    fn mount(&mut self, met: &Met<'_>, _number: Option<usize>) -> Result<()> {
        unreachable!("{:?} is no mount", met.path())
    }

    fn excluded(&mut self, met: &Met<'_>) -> Result<()> {
        self.hear(Told::Excluded(met.path(), met.parent))
    }

    fn vanished(&mut self, path: PathBuf) {
        self.told.push(Told::Vanished(path));
    }
}

fn listen(
    threads: Threads,
    top: &Path,
    exclude: &Exclude,
    patience: Option<usize>,
) -> (Result<()>, Listener) {
    let folder = File::open(top).unwrap();
    let source = Source {
        folder: folder.as_fd(),
        kind: SourceKind::Plain,
        exclude,
    };
    let mut listener = Listener {
        patience,
        ..Listener::default()
    };
    let walked = walk(threads, &source, &mut listener, &Silent);
    (walked, listener)
}

/// What there may be at a path.
#[derive(Clone, Copy, Debug)]
enum Thing {
    Folder,
    File,
    Link,
    /// More files in a folder than a batch has steps.
    Crowd,
}

fn make(top: &Path, (names, thing): &(Vec<u8>, Thing)) {
    let path: PathBuf = names.iter().map(ToString::to_string).collect();
    let path = top.join(path);
    // What is in the way stays: a part of a path may be a file already.
    if fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
        return;
    }
    match thing {
        Thing::Folder => fs::create_dir(&path).unwrap(),
        Thing::File => fs::write(&path, "x").unwrap(),
        Thing::Link => symlink("/nowhere", &path).unwrap(),
        Thing::Crowd => {
            fs::create_dir(&path).unwrap();
            let files = 0..steps::BATCH_STEPS + 10;
            files.for_each(|file| fs::write(path.join(file.to_string()), "x").unwrap());
        }
    }
}

fn things() -> impl Strategy<Value = Vec<(Vec<u8>, Thing)>> {
    let thing = prop_oneof![
        8 => Just(Thing::File),
        8 => Just(Thing::Folder),
        3 => Just(Thing::Link),
        1 => Just(Thing::Crowd),
    ];
    vec((vec(0..6u8, 1..5), thing), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn two_threads_tell_what_one_tells(
        things in things(),
        patterns in vec(prop_oneof![Just("1"), Just("2/"), Just("/3/*"), Just("4/**/5")], 0..3),
        patience in prop_oneof![Just(None), (0..60usize).prop_map(Some)],
    ) {
        let top = TempDir::new().unwrap();
        things.iter().for_each(|thing| make(top.path(), thing));
        let patterns: Vec<_> = patterns.into_iter().map(str::to_owned).collect();
        let exclude = Exclude::new(&patterns).unwrap();
        let (one, told_by_one) = listen(Threads::One, top.path(), &exclude, patience);
        let (two, told_by_two) = listen(Threads::Two, top.path(), &exclude, patience);
        prop_assert_eq!(told_by_one.told, told_by_two.told);
        prop_assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}

#[test]
fn a_tree_deeper_than_folders_are_kept_open_is_told_alike_with_few_open() {
    let top = TempDir::new().unwrap();
    let mut path = top.path().to_owned();
    for _ in 0..150 {
        path.push("deep");
        fs::create_dir(&path).unwrap();
        fs::create_dir(path.join("beside")).unwrap();
        fs::write(path.join("file"), "x").unwrap();
    }
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    let exclude = Exclude::default();
    let (one, told_by_one) = listen(Threads::One, top.path(), &exclude, None);
    let (two, told_by_two) = listen(Threads::Two, top.path(), &exclude, None);
    one.and(two).unwrap();
    assert_eq!(told_by_one.told.len(), 1 + 150 * 3);
    assert_eq!(told_by_one.told, told_by_two.told);
    let ahead = (QUEUE + 2) * steps::BATCH_FOLDERS;
    let most = before + lister::MAX_OPEN + ahead + 4;
    assert!(told_by_two.most_open <= most, "{}", told_by_two.most_open);
}

/// Does to `busy` what a walk must bear, until it is told to stop: files and folders come and go, change places, and are
/// exchanged for links that lead outside.
fn be_busy(busy: &Path, outside: &Path, is_over: &AtomicBool) {
    let place = |number: u32| busy.join((number % 4).to_string());
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // Each of them fails now and then, for the one before has taken what it needs.
        let at = place(round);
        let _ = fs::create_dir_all(at.join("a/b/c"));
        let _ = fs::write(at.join("a/file"), "x");
        let _ = fs::rename(&at, place(round + 1));
        let _ = fs::remove_dir_all(place(round + 2));
        let _ = symlink(outside, place(round + 2));
        let _ = fs::rename(place(round + 2), place(round + 3).join("a/b/link"));
        let _ = fs::remove_file(place(round + 2));
    }
}

#[test]
fn whatever_changes_meanwhile_all_that_stays_is_told_and_nothing_outside() {
    let (tree, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (calm, busy) = (tree.path().join("calm"), tree.path().join("busy"));
    for folder in [&calm, &busy, &outside.path().join("secret")] {
        fs::create_dir_all(folder).unwrap();
    }
    (0..40).for_each(|number| make(&calm, &(vec![number % 7, number], Thing::File)));
    let exclude = Exclude::default();
    let calm_alone = listen(Threads::One, &calm, &exclude, None).1;
    let told_outside = listen(Threads::One, outside.path(), &exclude, None).1;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| be_busy(&busy, outside.path(), &is_over));
        let _over = Over(&is_over);
        for round in 0..200 {
            let threads = [Threads::One, Threads::Two][round % 2];
            let (walked, listener) = listen(threads, tree.path(), &exclude, None);
            walked.unwrap();
            assert!(calm_alone.inodes.is_subset(&listener.inodes));
            assert!(told_outside.inodes.is_disjoint(&listener.inodes));
            assert!(are_in_order(&listener.told), "{:?}", listener.told);
        }
    });
}

/// Says so when it is over, also when that is because an assertion has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// True when folders have the numbers from 0 on in the order they are told in, and everything is told after its folder.
fn are_in_order(told: &[Told]) -> bool {
    let mut folders = 0;
    told.iter().all(|told| match told {
        Told::Folder(_, parent, number) => {
            folders += 1;
            *number == folders - 1 && (*parent < *number || *number == 0)
        }
        Told::Entry(_, parent, _) | Told::Excluded(_, parent) => *parent < folders,
        Told::Vanished(_) => true,
    })
}
