//! What was remembered at an earlier capture may have been collected since: a snapshot refers to it only when all of it is there.

use std::{
    fs::{self, File},
    os::{fd::AsFd, unix::fs::symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use snap_store::{CollectOptions, ContentReader, Node, Silent, SnapshotId, Store, TreeReader};

use super::*;
use crate::{
    damage::Tally,
    sample::{Sample, manifest},
};

/// A folder that is captured again and again.
struct Folder {
    sample: Sample,
    top: PathBuf,
    cache: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let sample = Sample::new();
        let top = sample.folder.path().join("top");
        fs::create_dir_all(top.join("moving")).unwrap();
        fs::create_dir_all(top.join("still")).unwrap();
        fs::write(top.join("still/empty"), b"").unwrap();
        fs::write(top.join("moving/large"), noise(1, 600_000)).unwrap();
        fs::write(top.join("moving/small"), noise(2, 3000)).unwrap();
        // Old enough for times to be trusted; were it younger, everything would be read again and nothing be shown.
        thread::sleep(Duration::from_millis(400));
        let cache = sample.folder.path().join("stat");
        Self { sample, top, cache }
    }

    fn store(&self) -> &Store {
        &self.sample.store
    }

    /// Captures and commits; `between` runs between the passes.
    fn capture(&self, between: impl FnOnce()) -> (SnapshotId, u64) {
        let id = SnapshotId::random();
        let draft = self.store().begin(id).unwrap();
        let top = File::open(&self.top).unwrap();
        let exclude = Exclude::default();
        let source = Source {
            folder: top.as_fd(),
            kind: SourceKind::Plain,
            exclude: &exclude,
        };
        let mut cache = StatCache::load(&self.cache);
        warm(&draft, &source, &mut cache, &Silent).unwrap();
        between();
        let scan = scan(&source, &mut cache, &Silent).unwrap();
        let tree = build(&draft, scan, None, &mut cache, &Silent).unwrap();
        let read_bytes = draft.stats().read_bytes;
        let manifest = manifest(id, (tree.root, tree.root_meta), tree.links);
        draft.commit(manifest).unwrap();
        cache.encode(&self.cache).save().unwrap();
        (id, read_bytes)
    }

    /// The tree of both passes in one, on so many threads; of `part` of it alone when that is not empty.
    fn tree(&self, threads: Threads, cache: &mut StatCache, part: &[&[u8]]) -> Part {
        let draft = self.store().begin(SnapshotId::random()).unwrap();
        let top = File::open(&self.top).unwrap();
        let exclude = Exclude::default();
        let source = Source {
            folder: top.as_fd(),
            kind: SourceKind::Plain,
            exclude: &exclude,
        };
        let scan = scan::read(threads, &draft, &source, cache, &Silent).unwrap();
        let tree = build(&draft, scan, None, cache, &Silent).unwrap();
        draft.publish_chunks().unwrap();
        super::part(&draft, tree, part).unwrap()
    }

    /// A snapshot that keeps the pack of the first one's pages alive: it has one of its folders.
    fn keep_pages(&self) {
        let hidden = self.sample.folder.path().join("hidden");
        fs::rename(self.top.join("moving"), &hidden).unwrap();
        self.capture(|| ());
        fs::rename(&hidden, self.top.join("moving")).unwrap();
    }

    fn remove_and_collect(&self, id: &SnapshotId) {
        self.store().remove_manifest(id).unwrap();
        let options = CollectOptions {
            grace: Duration::ZERO,
            rewrite_below_percent: 0,
            dry_run: false,
        };
        let none = || Ok(Vec::new());
        let report = self.store().collect(&options, &none, &Silent).unwrap();
        assert!(report.removed_packs > 0, "{report:?}");
    }

    fn file(&self, id: &SnapshotId, path: &[&[u8]]) -> Vec<u8> {
        let root = self.store().manifest(id).unwrap().root;
        let reader = TreeReader::new(self.store().clone(), root);
        let located = reader.resolve(path).unwrap().unwrap();
        let Node::File { size, content, .. } = located.entry.node else {
            panic!("it is no file");
        };
        let mut bytes = Vec::new();
        let reader = ContentReader::new(self.store().clone(), content, size);
        let length = usize::try_from(size).unwrap();
        reader.read_into(0, length, &mut bytes).unwrap();
        bytes
    }

    fn assert_whole(&self, id: &SnapshotId) {
        assert!(self.file(id, &[b"moving", b"large"]) == noise(1, 600_000));
        assert!(self.file(id, &[b"moving", b"small"]) == noise(2, 3000));
    }
}

/// Bytes that nothing compresses and no two places share.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_remembered_list_whose_chunks_were_collected_is_found_out() {
    let folder = Folder::new();
    let (first, _) = folder.capture(|| ());
    let remembered = fs::read(&folder.cache).unwrap();
    folder.keep_pages();
    fs::write(&folder.cache, remembered).unwrap();
    let list = list_of_large(&folder, &first);
    folder.remove_and_collect(&first);
    assert!(
        folder.store().has(&list).unwrap(),
        "the list itself is still there"
    );
    let (second, _) = folder.capture(|| ());
    folder.assert_whole(&second);
}

#[test]
fn a_remembered_file_that_only_the_second_pass_meets_is_not_believed() {
    let folder = Folder::new();
    let (first, _) = folder.capture(|| ());
    folder.remove_and_collect(&first);
    let (inside, outside) = (
        folder.top.join("moving"),
        folder.sample.folder.path().join("away"),
    );
    fs::rename(&inside, &outside).unwrap();
    let (second, _) = folder.capture(|| fs::rename(&outside, &inside).unwrap());
    folder.assert_whole(&second);
}

#[test]
fn what_was_not_collected_is_not_read_again() {
    let folder = Folder::new();
    folder.capture(|| ());
    let (second, read_bytes) = folder.capture(|| ());
    folder.assert_whole(&second);
    if is_trusted(&folder.top) {
        assert_eq!(read_bytes, 0);
    }
}

fn is_trusted(top: &Path) -> bool {
    trust::is_trusted(File::open(top).unwrap().as_fd()).unwrap()
}

fn list_of_large(folder: &Folder, id: &SnapshotId) -> snap_store::Digest {
    let root = folder.store().manifest(id).unwrap().root;
    let reader = TreeReader::new(folder.store().clone(), root);
    let located = reader.resolve(&[b"moving", b"large"]).unwrap().unwrap();
    match located.entry.node {
        Node::File {
            content: snap_store::Content::List(list),
            ..
        } => list,
        ref other => panic!("{other:?} is no list"),
    }
}

/// The damage matrix of the cache: whatever becomes of its file, nothing of it is believed, and a capture holds what the folder holds.
#[test]
fn a_damaged_cache_costs_a_reading_and_nothing_else() {
    const EVERYTHING: u64 = 600_000 + 3000;
    let (folder, other) = (Folder::new(), Folder::new());
    folder.capture(|| ());
    let is_trusted = is_trusted(&folder.top);
    assert!(!is_trusted || folder.capture(|| ()).1 == 0);
    other.capture(|| ());
    let sound = fs::read(&folder.cache).unwrap();
    let mut damaged = vec![Vec::new(), fs::read(&other.cache).unwrap()];
    for at in (3..sound.len()).step_by(sound.len() / 24) {
        let mut flipped = sound.clone();
        flipped[at] ^= 4;
        let mut zeroed = sound.clone();
        zeroed[at..].fill(0);
        damaged.extend([flipped, zeroed, sound[..at].to_vec()]);
    }
    let mut tally = Tally::default();
    for bytes in damaged.into_iter().map(Some).chain([None]) {
        match bytes {
            Some(bytes) => fs::write(&folder.cache, bytes).unwrap(),
            None => fs::remove_file(&folder.cache).unwrap(),
        }
        let (id, read_bytes) = folder.capture(|| ());
        let is_believed = is_trusted && read_bytes != EVERYTHING;
        assert!(!is_believed, "{read_bytes} bytes were read");
        folder.assert_whole(&id);
        tally.count(true);
    }
    assert!(tally.cells > 50, "{tally:?}");
    tally.note("stat-cache");
}

/// Makes some 400 names below `top`: folders, files, links and second names, some of them several to a byte of `seed`'s noise.
fn grow(top: &Path, seed: u64) {
    let mut folders = vec![top.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    fs::create_dir(top).unwrap();
    for (number, byte) in noise(seed, 400).into_iter().enumerate() {
        let path = folders[usize::from(byte) % folders.len()].join(number.to_string());
        match (byte / 16, files.len()) {
            (0..4, _) => {
                fs::create_dir(&path).unwrap();
                folders.push(path);
            }
            (4, _) => symlink("/nowhere", &path).unwrap(),
            (5, 1..) => fs::hard_link(&files[number % files.len()], &path).unwrap(),
            _ => {
                fs::write(&path, noise(u64::from(byte), number * 7)).unwrap();
                files.push(path);
            }
        }
    }
}

#[test]
fn one_thread_and_two_make_the_same_tree_of_what_is_known_and_of_what_is_not() {
    let folder = Folder::new();
    (0..4).for_each(|seed| grow(&folder.top.join(seed.to_string()), seed));
    let (mut first, mut second) = (StatCache::default(), StatCache::default());
    let trees = [
        folder.tree(Threads::One, &mut first, &[]),
        folder.tree(Threads::Two, &mut second, &[]),
        folder.tree(Threads::Two, &mut first, &[]),
        folder.tree(Threads::One, &mut second, &[]),
    ];
    let trees = trees.map(|tree| format!("{tree:?}"));
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:#?}");
}

#[test]
fn what_changes_beside_a_folder_changes_nothing_in_its_tree() {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let folder = Folder::new();
    let busy = folder.top.join("busy");
    fs::create_dir(&busy).unwrap();
    grow(&folder.top.join("calm"), 1);
    let calm: &[&[u8]] = &[b"calm"];
    let tree = |threads| {
        let tree = folder.tree(threads, &mut StatCache::default(), calm);
        (tree.meta, tree.node, tree.links, tree.logical_bytes)
    };
    let expected = tree(Threads::One);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0u32.. {
                let name = |number: u32| busy.join((number % 5).to_string());
                // Each of them fails now and then, for the one before has taken what it needs.
                let _ = fs::create_dir(name(round));
                let _ = fs::write(name(round + 1), noise(u64::from(round), 5000));
                let _ = fs::rename(name(round + 1), name(round + 2).join("inside"));
                let _ = fs::remove_dir_all(name(round + 3));
                let _ = fs::remove_file(name(round + 4));
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let _over = Over(&is_over);
        (0..20).for_each(|_| assert_eq!(tree(Threads::Two), expected));
    });
}
