//! What one mount needed is read ahead for the next.

use std::{fs, path::Path};

use snap_store::{Access, ForesightStats, LinkTable};
use tempfile::TempDir;

use super::*;
use crate::{
    sample::{Sample, Tree, mode},
    view::{Kind, View, ViewOptions},
};

const MOST: Duration = Duration::from_secs(60);
const FILES: usize = 6;

/// A snapshot of some files, and where its traces are.
struct Bench {
    sample: Sample,
    manifest: Manifest,
    traces: TempDir,
}

/// A mount without a kernel.
struct Mount {
    store: Store,
    view: View,
    foreseeing: Foreseeing,
}

fn file(number: usize) -> Tree {
    let lines = (0..4000).flat_map(|line| format!("{number} {line}\n").into_bytes());
    Tree::File(mode(0o644), lines.collect())
}

impl Bench {
    fn new() -> Self {
        let sample = Sample::new();
        let names = (0..FILES).map(|number| (format!("{number}").into_bytes(), file(number)));
        let tree = Tree::Folder(mode(0o755), names.collect());
        Self {
            manifest: sample.snapshot(&tree, LinkTable::default()),
            traces: tempfile::tempdir().unwrap(),
            sample,
        }
    }

    fn mount(&self, options: ForeseeOptions) -> Mount {
        let store = Store::open(self.sample.store.root(), Access::ReadOnly).unwrap();
        let view_options = ViewOptions {
            read_ahead_threads: 0,
            ..ViewOptions::default()
        };
        let view = View::open(store.clone(), &self.manifest.id, &view_options).unwrap();
        let folder = TraceFolder::new(self.traces.path());
        Mount {
            foreseeing: Foreseeing::begin(&store, &self.manifest, folder, options),
            store,
            view,
        }
    }

    fn trace(&self) -> Trace {
        TraceFolder::new(self.traces.path()).load(&Whose::of(&self.manifest))
    }
}

impl Mount {
    fn read(&self, files: &[usize]) {
        for number in files {
            let name = number.to_string();
            let file = self.view.lookup(1, name.as_bytes()).unwrap().unwrap();
            assert_eq!(file.kind, Kind::File);
            self.view.read(file.number, 0, 1 << 20).unwrap();
        }
    }

    fn stats(&self) -> ForesightStats {
        self.store.foresight()
    }

    /// Waits until so much was read ahead.
    fn foresees(&self, bytes: u64) {
        let begun = Instant::now();
        while self.stats().foreseen_bytes < bytes {
            assert!(begun.elapsed() < MOST, "{:?}", self.stats());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn plenty() -> ForeseeOptions {
    ForeseeOptions {
        most_bytes: 64 << 20,
        ahead_bytes: 16 << 20,
        bytes_per_second: 1 << 30,
    }
}

fn only_file(folder: &Path) -> std::path::PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert_eq!(files.len(), 1);
    files.into_iter().next().unwrap().unwrap().path()
}

#[test]
fn the_second_mount_finds_what_the_first_one_needed_and_nothing_else_is_read() {
    let bench = Bench::new();
    let first = bench.mount(plenty());
    first.read(&[4, 1, 3]);
    let needed = first.stats().late_bytes;
    first.foreseeing.end();
    let second = bench.mount(plenty());
    second.foresees(needed);
    second.read(&[4, 1, 3]);
    let stats = ForesightStats {
        foreseen_bytes: needed,
        met_bytes: needed,
        late_bytes: 0,
    };
    assert_eq!(second.stats(), stats);
    second.foreseeing.end();
}

#[test]
fn a_trace_has_what_was_needed_in_order_and_keeps_what_was_not_needed_this_time() {
    let bench = Bench::new();
    let first = bench.mount(plenty());
    first.read(&[4, 1]);
    first.foreseeing.end();
    let before = bench.trace();
    let second = bench.mount(plenty());
    second.read(&[5]);
    second.foreseeing.end();
    let after = bench.trace();
    let digests = |trace: &Trace| -> Vec<_> {
        let entries = trace.entries().iter();
        entries.map(|entry| entry.digest).collect()
    };
    let (before, after) = (digests(&before), digests(&after));
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|digest| after.contains(digest)));
    assert!(!before.contains(&after[0]) || !before.contains(&after[1]));
}

#[test]
fn no_more_is_read_ahead_and_recorded_than_is_allowed() {
    let bench = Bench::new();
    let first = bench.mount(plenty());
    first.read(&[0, 1, 2, 3, 4, 5]);
    let most_bytes = first.stats().late_bytes / 2;
    first.foreseeing.end();
    let all = bench.trace().entries().len();
    let little = ForeseeOptions {
        most_bytes,
        ..plenty()
    };
    let second = bench.mount(little);
    second.foresees(most_bytes / 2);
    let (store, foreseeing) = (second.store, second.foreseeing);
    foreseeing.end();
    assert!(store.foresight().foreseen_bytes <= most_bytes);
    fs::remove_file(only_file(bench.traces.path())).unwrap();
    let third = bench.mount(little);
    third.read(&[0, 1, 2, 3, 4, 5]);
    third.foreseeing.end();
    assert!(bench.trace().entries().len() < all);
}

#[test]
fn a_trace_that_is_damaged_or_hostile_is_none_and_the_mount_is_right() {
    let bench = Bench::new();
    let first = bench.mount(plenty());
    first.read(&[2]);
    first.foreseeing.end();
    let path = only_file(bench.traces.path());
    let sound = fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(7) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, damaged).unwrap();
        assert_eq!(bench.trace(), Trace::default());
    }
    let second = bench.mount(plenty());
    second.read(&[2]);
    assert_eq!(second.stats().foreseen_bytes, 0);
    second.foreseeing.end();
    assert_eq!(fs::read(&path).unwrap().len(), sound.len());
}

#[test]
fn chunks_that_are_gone_are_passed_over() {
    let bench = Bench::new();
    let first = bench.mount(plenty());
    first.read(&[2]);
    first.foreseeing.end();
    let strange = Seen {
        digest: Digest::of(b"gone"),
        raw_bytes: 100,
        at_ms: 0,
    };
    let folder = TraceFolder::new(bench.traces.path());
    let whose = Whose::of(&bench.manifest);
    folder
        .save(&whose, &bench.trace().learned(&[strange]))
        .unwrap();
    let second = bench.mount(plenty());
    second.read(&[2]);
    second.foreseeing.end();
    let digests = bench.trace();
    assert!(digests.entries().len() > 1);
}

/// A trace that says of every chunk that it has no bytes would have had all of them read ahead, in one go, whatever the limits.
#[test]
fn chunks_are_read_ahead_only_when_they_are_as_long_as_the_trace_says() {
    let bench = Bench::new();
    let first = bench.mount(plenty());
    first.read(&[0, 1, 2, 3, 4, 5]);
    first.foreseeing.end();
    let mut seen: Vec<_> = bench
        .trace()
        .entries()
        .iter()
        .map(|entry| Seen {
            digest: entry.digest,
            raw_bytes: 0,
            at_ms: 0,
        })
        .collect();
    let (honest, others) = seen.split_last_mut().unwrap();
    assert!(others.len() > 2);
    honest.raw_bytes = bench.trace().entries()[others.len()].raw_bytes;
    let bytes = u64::from(honest.raw_bytes);
    let folder = TraceFolder::new(bench.traces.path());
    folder
        .save(
            &Whose::of(&bench.manifest),
            &Trace::default().learned(&seen),
        )
        .unwrap();
    let second = bench.mount(plenty());
    second.foresees(bytes);
    assert_eq!(second.stats().foreseen_bytes, bytes);
    second.foreseeing.end();
}
