//! A disk in memory for tests: it counts, fails when told to, records, and knows what a power cut could leave of it.

mod content;
mod matrix;
mod recording;

use std::{
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, Lock, Sink, Source};
use crate::error::{Error, Result};
use content::{Change, Content};

pub(crate) use content::{Dice, Image, SECTOR_BYTES};
pub(crate) use matrix::{
    Outcome, conclude, crash_everywhere, has_violation, note, seeds, try_points,
};
pub(crate) use recording::Recording;

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

/// What somebody else does in the middle of what is tried: just before a folder is listed.
struct Meddling {
    folder: PathBuf,
    meddle: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddling")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    content: Content,
    is_locked: bool,
    counts: Counts,
    fault: Option<Fault>,
    is_full: bool,
    failed_op: Option<&'static str>,
    recording: Option<Recording>,
    meddling: Option<Meddling>,
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

    /// Does something just before `folder` is listed the next time.
    pub(crate) fn before_list(&self, folder: &Path, meddle: impl FnOnce() + Send + 'static) {
        self.state().meddling = Some(Meddling {
            folder: folder.to_owned(),
            meddle: Box::new(meddle),
        });
    }

    /// Lets nothing be created or written from now on; everything else goes on.
    pub(crate) fn fill(&self) {
        self.state().is_full = true;
    }

    /// Lets nothing fail any more, and returns which operation failed first.
    pub(crate) fn heal(&self) -> Option<&'static str> {
        let mut state = self.state();
        state.fault = None;
        state.is_full = false;
        state.failed_op.take()
    }

    /// What has been done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Runs something and returns what it did to the disk.
    pub(crate) fn record<T>(&self, run: impl FnOnce() -> T) -> (Recording, T) {
        let recording = Recording {
            start: self.state().content.clone(),
            changes: Vec::new(),
        };
        self.state().recording = Some(recording);
        let value = run();
        let recording = self.state().recording.take();
        (recording.expect("one recording at a time"), value)
    }

    /// The disk after a power cut: what was synced is there, everything else is gone.
    pub(crate) fn after_power_cut(&self) -> Self {
        Self::holding(self.state().content.after_power_cut(Image::SYNCED))
    }

    /// The disk after the process was killed: everything it did is there.
    pub(crate) fn after_kill(&self) -> Self {
        Self::holding(self.state().content.after_power_cut(Image::EVERYTHING))
    }

    /// Changes the bytes of a file, as a bad disk would.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.state().content.damage(path, change);
    }

    /// The files whose names end in `suffix`.
    pub(crate) fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let state = self.state();
        let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(suffix);
        state.content.paths().filter(ends).cloned().collect()
    }

    fn holding(content: Content) -> Self {
        let state = State {
            content,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A digest of everything that is there.
    pub(crate) fn digest(&self) -> blake3::Hash {
        self.state().content.digest()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One step that changes something; fails when it is its turn.
    fn step(&mut self, op: &'static str, path: &Path) -> Result<()> {
        if self.is_full && ["create folder", "create", "write"].contains(&op) {
            return Err(error(op, path, ErrorKind::StorageFull));
        }
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

    fn change(&mut self, change: Change) {
        self.content.apply(&change);
        if let Some(recording) = &mut self.recording {
            recording.changes.push(change);
        }
    }

    fn file(&self, op: &'static str, path: &Path) -> Result<usize> {
        let file = self.content.file(path);
        file.ok_or_else(|| error(op, path, ErrorKind::NotFound))
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
        state.change(Change::CreateFolder(path.to_owned()));
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Sink>> {
        let mut state = self.state();
        state.step("create", path)?;
        let is_in_folder = path
            .parent()
            .is_some_and(|parent| state.content.has_folder(parent));
        if !is_in_folder || state.content.file(path).is_some() {
            return Err(error("create", path, ErrorKind::AlreadyExists));
        }
        state.counts.created_files += 1;
        state.change(Change::Create(path.to_owned()));
        let file = state.content.newest();
        Ok(Box::new(self.handle(file)))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Source>> {
        let file = self.state().file("open", path)?;
        Ok(Arc::new(self.handle(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("rename", to)?;
        state.file("rename", from)?;
        let has_folder = to
            .parent()
            .is_some_and(|parent| state.content.has_folder(parent));
        if !has_folder {
            return Err(error("rename", to, ErrorKind::NotFound));
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("sync folder", path)?;
        let path = match path == Path::new(".") {
            true => Path::new(""),
            false => path,
        };
        if !state.content.has_folder(path) {
            return Err(error("sync folder", path, ErrorKind::NotFound));
        }
        state.counts.syncs += 1;
        state.change(Change::SyncFolder(path.to_owned()));
        Ok(())
    }

    fn sync_all(&self) -> Result<()> {
        let mut state = self.state();
        state.step("sync all", Path::new("."))?;
        state.counts.syncs += 1;
        state.change(Change::SyncAll);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("remove", path)?;
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("remove folder", path)?;
        state.change(Change::RemoveFolder(path.to_owned()));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let is_meant = |meddling: &mut Meddling| meddling.folder == path;
        let meddling = self.state().meddling.take_if(is_meant);
        if let Some(Meddling { meddle, .. }) = meddling {
            meddle();
        }
        let state = self.state();
        match state.content.has_folder(path) {
            true => Ok(state.content.list(path)),
            false => Err(error("list", path, ErrorKind::NotFound)),
        }
    }
}

impl MemoryDisk {
    fn handle(&self, file: usize) -> MemoryFile {
        MemoryFile {
            disk: self.clone(),
            file,
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
    file: usize,
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
        state.change(Change::Append(self.file, written.into()));
        failure.map_or(Ok(()), Err)
    }

    fn start_write_back(&self) {}

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.step("sync", Path::new("a file"))?;
        state.counts.syncs += 1;
        state.change(Change::Sync(self.file));
        Ok(())
    }
}

impl Source for MemoryFile {
    fn length(&self) -> Result<u64> {
        Ok(self.disk.state().content.bytes(self.file).len() as u64)
    }

    fn is_removed(&self) -> Result<bool> {
        Ok(!self.disk.state().content.has_name(self.file))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let state = self.disk.state();
        let bytes = state.content.bytes(self.file);
        let begin = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let filled = buffer.len().min(bytes.len() - begin);
        buffer[..filled].copy_from_slice(&bytes[begin..begin + filled]);
        Ok(filled)
    }
}
