//! A disk in memory for tests: it counts, fails when told to, and knows what a power cut would leave of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, Lock, Sink, Source};
use crate::error::{Error, Result};

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) created_files: u64,
    pub(crate) written_bytes: u64,
    pub(crate) syncs: u64,
}

/// What is to fail: the step of this number, counted from now on, and all that follow when it lasts.
#[derive(Clone, Copy, Debug)]
struct Fault {
    steps_left: u64,
    kind: ErrorKind,
    lasts: bool,
}

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    durable_folders: BTreeSet<PathBuf>,
    is_locked: bool,
    counts: Counts,
    fault: Option<Fault>,
    failed_op: Option<&'static str>,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// Lets step number `step` from now on fail, and all after it when the fault `lasts`.
    pub(crate) fn fail_at(&self, step: u64, kind: ErrorKind, lasts: bool) {
        self.state().fault = Some(Fault {
            steps_left: step,
            kind,
            lasts,
        });
    }

    /// Lets nothing fail any more, and returns which operation failed first.
    pub(crate) fn heal(&self) -> Option<&'static str> {
        let mut state = self.state();
        state.fault = None;
        state.failed_op.take()
    }

    /// What has been done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// The disk after a power cut: what was synced is there, everything else is gone.
    pub(crate) fn after_power_cut(&self) -> Self {
        let state = self.state();
        Self::of(
            state.durable_names.clone(),
            state.durable_folders.clone(),
            |id| state.files[id].durable.clone(),
        )
    }

    /// The disk after the process was killed: everything it did is there.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.state();
        Self::of(state.names.clone(), state.folders.clone(), |id| {
            state.files[id].bytes.clone()
        })
    }

    /// Changes the bytes of a file, as a bad disk would.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let id = state.names[path];
        change(&mut state.files[id].bytes);
    }

    /// The files whose names end in `suffix`.
    pub(crate) fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let state = self.state();
        let names = state.names.keys();
        let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(suffix);
        names.filter(ends).cloned().collect()
    }

    fn of(
        names: BTreeMap<PathBuf, usize>,
        folders: BTreeSet<PathBuf>,
        bytes: impl Fn(usize) -> Vec<u8>,
    ) -> Self {
        let mut state = State {
            durable_folders: folders.clone(),
            folders,
            ..State::default()
        };
        for (path, id) in names {
            if path.parent().is_some_and(|parent| state.has_folder(parent)) {
                let bytes = bytes(id);
                state.files.push(File {
                    durable: bytes.clone(),
                    bytes,
                });
                state.names.insert(path, state.files.len() - 1);
            }
        }
        state.durable_names = state.names.clone();
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// One step that changes something; fails when it is its turn.
    fn step(&mut self, op: &'static str, path: &Path) -> Result<()> {
        let Some(fault) = &mut self.fault else {
            return Ok(());
        };
        if fault.steps_left > 0 {
            fault.steps_left -= 1;
            return Ok(());
        }
        let kind = fault.kind;
        if !fault.lasts {
            self.fault = None;
        }
        self.failed_op.get_or_insert(op);
        Err(error(op, path, kind))
    }

    fn has_folder(&self, path: &Path) -> bool {
        path == Path::new("") || self.folders.contains(path)
    }

    fn id(&self, op: &'static str, path: &Path) -> Result<usize> {
        let id = self.names.get(path).copied();
        id.ok_or_else(|| error(op, path, ErrorKind::NotFound))
    }

    fn sync_names(&mut self, folder: &Path) {
        let inside = |path: &Path| path.parent() == Some(folder);
        self.durable_names.retain(|path, _| !inside(path));
        let names = self.names.iter().filter(|(path, _)| inside(path));
        self.durable_names
            .extend(names.map(|(path, id)| (path.clone(), *id)));
        self.durable_folders.retain(|path| !inside(path));
        let folders = self.folders.iter().filter(|path| inside(path));
        self.durable_folders.extend(folders.cloned());
    }
}

fn error(op: &'static str, path: &Path, kind: ErrorKind) -> Error {
    Error::io(op, path)(io::Error::from(kind))
}

impl Disk for MemoryDisk {
    fn root(&self) -> &Path {
        Path::new("/memory")
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        if std::mem::replace(&mut self.state().is_locked, true) {
            return Err(Error::Busy {
                what: "Store",
                name: path.display().to_string(),
                why: "is locked".to_owned(),
            });
        }
        Ok(Box::new(MemoryLock(self.clone())))
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("create folder", path)?;
        state.folders.insert(path.to_owned());
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Sink>> {
        let mut state = self.state();
        state.step("create", path)?;
        let is_in_folder = path.parent().is_some_and(|parent| state.has_folder(parent));
        if !is_in_folder || state.names.contains_key(path) {
            return Err(error("create", path, ErrorKind::AlreadyExists));
        }
        state.counts.created_files += 1;
        state.files.push(File::default());
        let id = state.files.len() - 1;
        state.names.insert(path.to_owned(), id);
        Ok(Box::new(self.handle(id)))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Source>> {
        let id = self.state().id("open", path)?;
        Ok(Arc::new(self.handle(id)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("rename", to)?;
        let id = state.id("rename", from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("sync folder", path)?;
        state.counts.syncs += 1;
        state.sync_names(match path == Path::new(".") {
            true => Path::new(""),
            false => path,
        });
        Ok(())
    }

    fn sync_all(&self) -> Result<()> {
        let mut state = self.state();
        state.step("sync all", Path::new("."))?;
        state.counts.syncs += 1;
        state.durable_names = state.names.clone();
        state.durable_folders = state.folders.clone();
        for file in &mut state.files {
            file.durable.clone_from(&file.bytes);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("remove", path)?;
        state.names.remove(path);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("remove folder", path)?;
        state.names.retain(|name, _| !name.starts_with(path));
        state.folders.retain(|name| !name.starts_with(path));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let state = self.state();
        if !state.has_folder(path) {
            return Err(error("list", path, ErrorKind::NotFound));
        }
        let paths = state.names.keys().chain(&state.folders);
        let inside = paths.filter(|name| name.parent() == Some(path));
        let names = inside.filter_map(|name| name.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }
}

impl MemoryDisk {
    fn handle(&self, id: usize) -> MemoryFile {
        MemoryFile {
            disk: self.clone(),
            id,
        }
    }
}

#[derive(Debug)]
struct MemoryLock(MemoryDisk);

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.state().is_locked = false;
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    id: usize,
}

impl Sink for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut state = self.disk.state();
        let failure = state.step("write", Path::new("a file")).err();
        // A write that fails has written something all the same.
        let written = match failure.is_some() {
            true => &bytes[..bytes.len() / 2],
            false => bytes,
        };
        state.counts.written_bytes += written.len() as u64;
        state.files[self.id].bytes.extend_from_slice(written);
        failure.map_or(Ok(()), Err)
    }

    fn start_write_back(&self) {}

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.step("sync", Path::new("a file"))?;
        state.counts.syncs += 1;
        let file = &mut state.files[self.id];
        file.durable.clone_from(&file.bytes);
        Ok(())
    }
}

impl Source for MemoryFile {
    fn length(&self) -> Result<u64> {
        Ok(self.disk.state().files[self.id].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.id].bytes;
        let begin = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let filled = buffer.len().min(bytes.len() - begin);
        buffer[..filled].copy_from_slice(&bytes[begin..begin + filled]);
        Ok(filled)
    }
}
