//! What a disk holds: for programs now, and for whoever looks after a power cut.
//!
//! Bytes are durable once their file was synced, names once their folder was. Of everything else an image holds
//! whatever its caller picks: a file system promises no order among what was not synced. One thing it does promise,
//! and so does every image here: a rename leaves the old name or the new one, never neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Media write this many bytes as a whole; what was not synced may be there in any selection of such runs.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Something that was done to a disk.
#[derive(Clone, Debug)]
pub(super) enum Change {
    CreateFolder(PathBuf),
    Create(PathBuf),
    Append(usize, Arc<[u8]>),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveFolder(PathBuf),
    Sync(usize),
    SyncFolder(PathBuf),
    SyncAll,
}

/// What of the things that were not synced is in an image.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Image {
    /// All or nothing, of the names and of the bytes.
    Corner { names: bool, bytes: bool },
    /// An arbitrary part of both, always the same for the same seed.
    Torn { seed: u64 },
}

impl Image {
    /// What was synced, and nothing else.
    pub(crate) const SYNCED: Self = Self::Corner {
        names: false,
        bytes: false,
    };
    /// Everything, as after the death of the process alone.
    pub(crate) const EVERYTHING: Self = Self::Corner {
        names: true,
        bytes: true,
    };

    /// The four corners and `seeds` arbitrary ones.
    pub(crate) fn all(seeds: u64) -> impl Iterator<Item = Self> {
        let corners = [(false, false), (true, true), (true, false), (false, true)];
        let corners = corners.map(|(names, bytes)| Self::Corner { names, bytes });
        corners
            .into_iter()
            .chain((0..seeds).map(|seed| Self::Torn { seed }))
    }
}

#[derive(Clone, Debug)]
struct File {
    /// The name it was created under; for messages.
    created: PathBuf,
    bytes: Arc<Vec<u8>>,
    /// So many of the bytes are durable; files only grow.
    synced: usize,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
}

/// A change of names that is not durable yet.
#[derive(Clone, Debug)]
enum Pending {
    Folder(PathBuf),
    File(PathBuf, usize),
    Moved(PathBuf, PathBuf, usize),
    Gone(PathBuf),
    FolderGone(PathBuf),
}

/// Files, their names, and what of both is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    files: Vec<File>,
    live: Names,
    durable: Names,
    pending: Vec<Pending>,
}

impl Content {
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::CreateFolder(path) => {
                if !self.live.folders.contains(path) {
                    self.rename(Pending::Folder(path.clone()));
                }
            }
            Change::Create(path) => {
                self.files.push(File {
                    created: path.clone(),
                    bytes: Arc::default(),
                    synced: 0,
                });
                self.rename(Pending::File(path.clone(), self.files.len() - 1));
            }
            Change::Append(file, bytes) => {
                Arc::make_mut(&mut self.files[*file].bytes).extend_from_slice(bytes);
            }
            Change::Rename(from, to) => {
                let file = self.live.files[from];
                self.rename(Pending::Moved(from.clone(), to.clone(), file));
            }
            Change::Remove(path) => {
                if self.live.files.contains_key(path) {
                    self.rename(Pending::Gone(path.clone()));
                }
            }
            Change::RemoveFolder(path) => self.remove_folder(path),
            Change::Sync(file) => self.files[*file].synced = self.files[*file].bytes.len(),
            Change::SyncFolder(path) => self.sync_folder(path),
            Change::SyncAll => self.sync_all(),
        }
    }

    /// The change in words.
    pub(super) fn describe(&self, change: &Change) -> String {
        match change {
            Change::CreateFolder(path) => format!("create folder {}", path.display()),
            Change::Create(path) => format!("create {}", path.display()),
            Change::Append(file, _) => format!("append to {}", self.files[*file].created.display()),
            Change::Rename(from, to) => format!("rename {} to {}", from.display(), to.display()),
            Change::Remove(path) => format!("remove {}", path.display()),
            Change::RemoveFolder(path) => format!("remove folder {}", path.display()),
            Change::Sync(file) => format!("sync {}", self.files[*file].created.display()),
            Change::SyncFolder(path) => format!("sync folder {}", path.display()),
            Change::SyncAll => "sync all".to_owned(),
        }
    }

    /// The number of the file of this name.
    pub(super) fn file(&self, path: &Path) -> Option<usize> {
        self.live.files.get(path).copied()
    }

    /// True while the file has a name.
    pub(super) fn has_name(&self, file: usize) -> bool {
        self.live.files.values().any(|named| *named == file)
    }

    /// The number of the youngest file.
    pub(super) fn newest(&self) -> usize {
        self.files.len() - 1
    }

    pub(super) fn bytes(&self, file: usize) -> &[u8] {
        &self.files[file].bytes
    }

    /// Changes bytes behind everybody's back; they are durable, as what a bad disk holds.
    pub(super) fn damage(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = &mut self.files[self.live.files[path]];
        change(Arc::make_mut(&mut file.bytes));
        file.synced = file.bytes.len();
    }

    pub(super) fn has_folder(&self, path: &Path) -> bool {
        path == Path::new("") || self.live.folders.contains(path)
    }

    /// Every file.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.live.files.keys()
    }

    /// The names in a folder.
    pub(super) fn list(&self, folder: &Path) -> Vec<String> {
        // Paths are in order of their components: whatever is below the folder follows it.
        let files = self.live.files.range(folder.to_owned()..);
        let files = files
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(folder));
        let folders = self.live.folders.range(folder.to_owned()..);
        let folders = folders.take_while(|path| path.starts_with(folder));
        let inside = files
            .chain(folders)
            .filter(|path| path.parent() == Some(folder));
        let names = inside.filter_map(|path| path.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    /// True when every image of it is the same.
    pub(super) fn is_settled(&self) -> bool {
        let is_synced = |file: &File| file.synced == file.bytes.len();
        self.pending.is_empty() && self.files.iter().all(is_synced)
    }

    /// What a power cut leaves of it.
    pub(super) fn after_power_cut(&self, image: Image) -> Self {
        let mut dice = Dice::of(image);
        let mut names = self.durable.clone();
        for change in &self.pending {
            if let Some(change) = dice.part_of(change) {
                names.apply(&change);
            }
        }
        names.prune();
        let mut files = Vec::new();
        for file in names.files.values_mut() {
            let old = &self.files[*file];
            let bytes = dice.bytes_of(old);
            *file = files.len();
            files.push(File {
                created: old.created.clone(),
                synced: bytes.len(),
                bytes,
            });
        }
        Self {
            files,
            live: names.clone(),
            durable: names,
            pending: Vec::new(),
        }
    }

    /// A digest of everything that is there.
    pub(super) fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for folder in &self.live.folders {
            hasher.update(folder.as_os_str().as_encoded_bytes());
            hasher.update(b"/");
        }
        for (path, file) in &self.live.files {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(&self.files[*file].bytes.len().to_le_bytes());
            hasher.update(&self.files[*file].bytes);
        }
        hasher.finalize()
    }

    fn rename(&mut self, change: Pending) {
        self.live.apply(&change);
        self.pending.push(change);
    }

    fn remove_folder(&mut self, path: &Path) {
        let files = self.live.files.keys();
        let files: Vec<_> = files
            .filter(|name| name.starts_with(path))
            .cloned()
            .collect();
        let folders = self.live.folders.iter().rev();
        let folders: Vec<_> = folders
            .filter(|name| name.starts_with(path))
            .cloned()
            .collect();
        for file in files {
            self.rename(Pending::Gone(file));
        }
        for folder in folders {
            self.rename(Pending::FolderGone(folder));
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        for change in std::mem::take(&mut self.pending) {
            let (durable, pending) = change.split(folder);
            if let Some(durable) = durable {
                self.durable.apply(&durable);
            }
            self.pending.extend(pending);
        }
    }

    fn sync_all(&mut self) {
        self.pending.clear();
        self.durable = self.live.clone();
        for file in &mut self.files {
            file.synced = file.bytes.len();
        }
    }
}

impl Names {
    fn apply(&mut self, change: &Pending) {
        match change {
            Pending::Folder(path) => drop(self.folders.insert(path.clone())),
            Pending::File(path, file) => drop(self.files.insert(path.clone(), *file)),
            Pending::Moved(from, to, file) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *file);
            }
            Pending::Gone(path) => drop(self.files.remove(path)),
            Pending::FolderGone(path) => drop(self.folders.remove(path)),
        }
    }

    /// Forgets what lies in folders that are not there.
    fn prune(&mut self) {
        let folders = self.folders.clone();
        let is_reachable = |path: &Path| {
            let mut above = path.ancestors().skip(1);
            above.all(|folder| folder == Path::new("") || folders.contains(folder))
        };
        self.folders.retain(|path| is_reachable(path));
        self.files.retain(|path, _| is_reachable(path));
    }
}

impl Pending {
    /// What of it a sync of the folder makes durable, and what stays to be done.
    fn split(self, folder: &Path) -> (Option<Self>, Option<Self>) {
        let is_in = |path: &Path| path.parent() == Some(folder);
        match self {
            // Whoever loses the old name must have the new one.
            Self::Moved(ref from, ..) if is_in(from) => (Some(self), None),
            Self::Moved(from, to, file) if is_in(&to) => {
                (Some(Self::File(to, file)), Some(Self::Gone(from)))
            }
            Self::Folder(ref path)
            | Self::File(ref path, _)
            | Self::Gone(ref path)
            | Self::FolderGone(ref path)
                if is_in(path) =>
            {
                (Some(self), None)
            }
            other => (None, Some(other)),
        }
    }
}

/// Decides what is in an image.
pub(crate) struct Dice {
    image: Image,
    state: u64,
}

impl Dice {
    pub(crate) fn of(image: Image) -> Self {
        let state = match image {
            Image::Corner { .. } => 0,
            Image::Torn { seed } => seed,
        };
        Self { image, state }
    }

    /// One of `sides` numbers (splitmix64).
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn part_of(&mut self, change: &Pending) -> Option<Pending> {
        if let Image::Corner { names, .. } = self.image {
            return names.then(|| change.clone());
        }
        match (self.roll(3), change) {
            (0, _) => None,
            // The new name is there, the old one not gone yet.
            (1, Pending::Moved(_, to, file)) => Some(Pending::File(to.clone(), *file)),
            (_, change) => Some(change.clone()),
        }
    }

    fn bytes_of(&mut self, file: &File) -> Arc<Vec<u8>> {
        let length = file.bytes.len();
        if file.synced == length {
            return Arc::clone(&file.bytes);
        }
        let cut = |end: usize| Arc::new(file.bytes[..end].to_vec());
        match self.image {
            Image::Corner { bytes: false, .. } => cut(file.synced),
            Image::Corner { bytes: true, .. } => Arc::clone(&file.bytes),
            Image::Torn { .. } => match self.roll(4) {
                0 => cut(file.synced),
                1 => Arc::clone(&file.bytes),
                2 => cut(file.synced + self.roll(length - file.synced)),
                _ => Arc::new(self.tear(file)),
            },
        }
    }

    /// The file at its full length, each sector that was not synced whole there, or zeros, or anything.
    fn tear(&mut self, file: &File) -> Vec<u8> {
        let mut bytes = file.bytes.to_vec();
        let mut begin = file.synced;
        while begin < bytes.len() {
            let end = (begin + SECTOR_BYTES - begin % SECTOR_BYTES).min(bytes.len());
            match self.roll(4) {
                0 => bytes[begin..end].fill(0),
                1 => bytes[begin..end].fill_with(|| self.roll(256) as u8),
                _ => {}
            }
            begin = end;
        }
        bytes
    }
}
