//! The store that is damaged, and put back as it was for the next case.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use snap_store::{Access, CollectOptions, LinkTable, Silent, SnapshotId, Store};
use tempfile::TempDir;

use super::SNAPSHOTS;
use crate::sample::{Tree, commit, folder, mode};

/// The unit in which disks lose data.
const BLOCK_BYTES: usize = 4096;

/// A store of some snapshots that share nothing.
pub(super) struct Ground {
    folder: TempDir,
    /// What is in each file, by its path below the store.
    files: BTreeMap<String, Vec<u8>>,
    /// The files each snapshot brought.
    brought: Vec<Vec<String>>,
    pub(super) snapshots: Vec<(SnapshotId, Tree)>,
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    FlipBit,
    Truncate,
    ZeroBlock,
    Remove,
    Swap,
}

impl Damage {
    pub(super) const ALL: [Self; 5] = [
        Self::FlipBit,
        Self::Truncate,
        Self::ZeroBlock,
        Self::Remove,
        Self::Swap,
    ];
}

/// Where in a file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) name: &'static str,
    pub(super) at: usize,
    /// The file of another snapshot it can change places with.
    pub(super) swap: Option<String>,
}

/// One damage at one place.
#[derive(Debug)]
pub(super) struct Case {
    name: String,
    changes: Vec<(String, Option<Vec<u8>>)>,
    /// The first snapshot that must not be hit.
    pub(super) whole_from: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Case {
    /// `None` when there is nothing to swap with; removing and swapping are tried at one place of a file alone.
    pub(super) fn new(ground: &Ground, place: &Place, damage: Damage) -> Option<Self> {
        let Place {
            file,
            name,
            at,
            swap,
        } = place;
        let mut bytes = ground.bytes(file).to_vec();
        let is_first = matches!(*name, "begin" | "header");
        let mut whole_from = 1;
        let changes = match damage {
            Damage::FlipBit => {
                bytes[*at] ^= 4;
                vec![(file.clone(), Some(bytes))]
            }
            Damage::Truncate => {
                bytes.truncate(*at);
                vec![(file.clone(), Some(bytes))]
            }
            Damage::ZeroBlock => {
                let begin = at / BLOCK_BYTES * BLOCK_BYTES;
                let end = (begin + BLOCK_BYTES).min(bytes.len());
                bytes[begin..end].fill(0);
                vec![(file.clone(), Some(bytes))]
            }
            Damage::Remove if is_first => vec![(file.clone(), None)],
            Damage::Swap if is_first => {
                let other = swap.clone()?;
                whole_from = 2;
                let others = ground.bytes(&other).to_vec();
                vec![(file.clone(), Some(others)), (other, Some(bytes))]
            }
            Damage::Remove | Damage::Swap => return None,
        };
        Some(Self {
            name: format!("{damage:?} at {name} of {file}"),
            changes,
            whole_from,
        })
    }
}

impl Ground {
    pub(super) fn new() -> Self {
        // In memory where there is such a place: durability is not asked for here.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let mut ground = Self {
            folder: folder.unwrap(),
            files: BTreeMap::new(),
            brought: Vec::new(),
            snapshots: Vec::new(),
        };
        let store = Store::ensure(ground.root()).unwrap();
        for number in 0..SNAPSHOTS {
            let before = read_files(ground.root());
            let tree = tree(number as u64);
            let id = commit(&store, &tree, LinkTable::default()).id;
            let after = read_files(ground.root());
            let brought = after.keys().filter(|path| !before.contains_key(*path));
            ground.brought.push(brought.cloned().collect());
            ground.snapshots.push((id, tree));
        }
        drop(store);
        ground.files = read_files(ground.root());
        ground
    }

    /// Condemns the packs of one more snapshot, which is gone.
    pub(super) fn condemn(&mut self) {
        let store = self.open(Access::ReadWrite).unwrap();
        let id = commit(&store, &tree(99), LinkTable::default()).id;
        store.remove_manifest(&id).unwrap();
        let options = CollectOptions::default();
        let report = store
            .collect(&options, &|| Ok(Vec::new()), &Silent)
            .unwrap();
        assert!(report.waiting_packs > 0, "{report:?}");
        drop(store);
        self.files = read_files(self.root());
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn bytes(&self, path: &str) -> &[u8] {
        &self.files[path]
    }

    /// The files with this ending that came with a snapshot, the largest first.
    pub(super) fn files_of(&self, snapshot: usize, suffix: &str) -> Vec<String> {
        let brought = self.brought[snapshot].iter();
        let mut found: Vec<_> = brought
            .filter(|path| path.ends_with(suffix))
            .cloned()
            .collect();
        found.sort_by_key(|path| std::cmp::Reverse(self.bytes(path).len()));
        found
    }

    pub(super) fn open(&self, access: Access) -> snap_store::Result<Store> {
        Store::open(self.root(), access)
    }

    pub(super) fn damage(&self, case: &Case) {
        for (path, bytes) in &case.changes {
            let path = self.root().join(path);
            match bytes {
                // A new file, as a file system has it that lost the old one: who has it open keeps reading that.
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
        }
    }

    /// Every file as it is now.
    pub(super) fn found(&self) -> BTreeMap<String, Vec<u8>> {
        read_files(self.root())
    }

    /// Puts everything back as it was.
    pub(super) fn restore(&self) {
        let found = read_files(self.root());
        for path in found.keys().filter(|path| !self.files.contains_key(*path)) {
            fs::remove_file(self.root().join(path)).unwrap();
        }
        for (path, bytes) in &self.files {
            if found.get(path) != Some(bytes) {
                fs::write(self.root().join(path), bytes).unwrap();
            }
        }
    }
}

/// Every file below a folder, by its path.
fn read_files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                found.insert(path.into_os_string().into_string().unwrap(), bytes);
            }
        }
    }
    found
}

/// A tree of every kind of content, and different for every number.
pub(super) fn tree(number: u64) -> Tree {
    let file = |bytes: Vec<u8>| Tree::File(mode(0o640), bytes);
    let noise = |seed: u64, length: usize| {
        let mut state = (number + 1) * 1000 + seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect::<Vec<_>>()
    };
    let text = format!("this is snapshot {number}, said often. ").repeat(300);
    let mut sparse = noise(3, 20_000);
    sparse.extend(vec![0; 100_000]);
    sparse.extend(noise(4, 20_000));
    let target = format!("to/{number}").into_bytes().into();
    folder([
        (b"big", file(noise(1, 400_000))),
        (b"empty", file(Vec::new())),
        (b"sparse", file(sparse)),
        (
            b"sub",
            folder([
                (b"small", file(noise(2, 900))),
                (b"text", file(text.into_bytes())),
                (b"deeper", folder([(b"file", file(noise(5, 70_000)))])),
            ]),
        ),
        (
            b"symlink",
            Tree::Node(mode(0o777), snap_store::Node::Symlink(target)),
        ),
    ])
}
