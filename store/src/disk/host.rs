//! The disk of the host: every name is resolved below one open folder, so that nothing that happens to the
//! path of the store while it is open can lead a write elsewhere.

use std::{
    io::ErrorKind,
    num::NonZeroU64,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::{
    fs::{self, Advice, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::{self, Errno},
};

use super::{Disk, Lock, Sink, Source, is_absent};
use crate::error::{Error, Result};

const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// What is read of a file around an offset, aligned. A capture packs a folder's small files side by side: one request of this size brings some
/// twenty of them, and takes a disk hardly longer than one of them.
const AROUND_BYTES: u64 = 256 << 10;

/// A folder of the host.
#[derive(Debug)]
pub(crate) struct HostDisk {
    root: PathBuf,
    folder: OwnedFd,
}

impl HostDisk {
    /// Opens the folder `root`.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::open(root, flags, Mode::empty()).map_err(Error::io("open", root))?;
        Ok(Self {
            root: root.to_owned(),
            folder,
        })
    }

    /// Makes the folder `root` with the folders above it, and opens it.
    pub(crate) fn ensure(root: &Path) -> Result<Self> {
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let missing: Vec<_> = root.ancestors().take_while(is_missing).collect();
        std::fs::create_dir_all(root).map_err(Error::io("create", root))?;
        // Nothing in a folder outlives a power cut whose own name does not.
        for above in missing.iter().filter_map(|folder| folder.parent()) {
            let above = match above.as_os_str().is_empty() {
                true => Path::new("."),
                false => above,
            };
            Self::open(above)?.sync_folder(Path::new("."))?;
        }
        Self::open(root)
    }

    fn open_folder(&self, path: &Path) -> Result<OwnedFd> {
        self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn open_below(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        fs::openat(
            &self.folder,
            path,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            FILE_MODE,
        )
        .map_err(Error::io("open", self.root.join(path)))
    }

    fn unlink(&self, path: &Path, flags: AtFlags) -> Result<()> {
        match fs::unlinkat(&self.folder, path, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::io("remove", self.root.join(path))(errno)),
        }
    }

    fn entries(&self, path: &Path) -> Result<Vec<(String, bool)>> {
        let failed = |errno| Error::io::<Errno>("list", self.root.join(path))(errno);
        let folder = Dir::new(self.open_folder(path)?).map_err(failed)?;
        let mut found = Vec::new();
        for entry in folder {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name != "." && name != ".." {
                found.push((name.to_owned(), self.is_folder(path, name, &entry)?));
            }
        }
        Ok(found)
    }

    fn is_folder(&self, path: &Path, name: &str, entry: &fs::DirEntry) -> Result<bool> {
        if entry.file_type() != FileType::Unknown {
            return Ok(entry.file_type() == FileType::Directory);
        }
        let path = path.join(name);
        let stat = fs::statat(&self.folder, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::io("look at", self.root.join(&path)))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }
}

impl AsFd for HostDisk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Disk for HostDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let file = self.open_below(path, OFlags::RDWR | OFlags::CREATE)?;
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Box::new(HostLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Err(Error::Busy {
                what: "Store",
                name: self.root.display().to_string(),
                why: "is open for writing in another process; stop that one first".to_owned(),
            }),
            Err(errno) => Err(Error::io("lock", self.root.join(path))(errno)),
        }
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        match fs::mkdirat(&self.folder, path, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::io("create", self.root.join(path))(errno)),
        }
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Sink>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(Box::new(HostSink {
            file: self.open_below(path, flags)?,
            path: self.root.join(path),
        }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(HostSource {
            file: self.open_below(path, OFlags::RDONLY)?,
            path: self.root.join(path),
            next_around: AtomicU64::new(0),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::renameat(&self.folder, from, &self.folder, to)
            .map_err(Error::io("rename to", self.root.join(to)))
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        fs::fsync(self.open_folder(path)?).map_err(Error::io("sync", self.root.join(path)))
    }

    fn sync_all(&self) -> Result<()> {
        fs::syncfs(&self.folder).map_err(Error::io("sync", &self.root))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.unlink(path, AtFlags::empty())
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        let entries = match self.entries(path) {
            Err(error) if is_absent(&error) => return Ok(()),
            entries => entries?,
        };
        for (name, is_folder) in entries {
            let below = path.join(name);
            match is_folder {
                true => self.remove_folder(&below)?,
                false => self.remove(&below)?,
            }
        }
        self.unlink(path, AtFlags::REMOVEDIR)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        Ok(self
            .entries(path)?
            .into_iter()
            .map(|entry| entry.0)
            .collect())
    }
}

/// An open lock file; closing it gives the lock back.
#[derive(Debug)]
struct HostLock {
    _file: OwnedFd,
}

impl Lock for HostLock {}

/// A file being written.
#[derive(Debug)]
struct HostSink {
    file: OwnedFd,
    path: PathBuf,
}

impl Sink for HostSink {
    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match io::write(&self.file, bytes) {
                Ok(0) => {
                    let none = std::io::Error::from(ErrorKind::WriteZero);
                    return Err(Error::io("write", &self.path)(none));
                }
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("write", &self.path)(errno)),
            }
        }
        Ok(())
    }

    fn start_write_back(&self) {
        // Linux begins the write-out of dirty pages when it is told that they are not needed; a refusal costs
        // nothing but time, because the sync to come waits for every page.
        let _hint = fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn sync(&self) -> Result<()> {
        fs::fdatasync(&self.file).map_err(Error::io("sync", &self.path))
    }
}

/// A file open for reading.
#[derive(Debug)]
struct HostSource {
    file: OwnedFd,
    path: PathBuf,
    /// One more than the number of the part that was last asked for around an offset.
    next_around: AtomicU64,
}

impl Source for HostSource {
    fn length(&self) -> Result<u64> {
        let stat = fs::fstat(&self.file).map_err(Error::io("look at", &self.path))?;
        Ok(stat.st_size.cast_unsigned())
    }

    fn is_removed(&self) -> Result<bool> {
        let stat = fs::fstat(&self.file).map_err(Error::io("look at", &self.path))?;
        Ok(stat.st_nlink == 0)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match io::pread(&self.file, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("read", &self.path)(errno)),
            }
        }
        Ok(filled)
    }

    fn expect(&self, part: Range<u64>) {
        let Some(length) = NonZeroU64::new(part.end.saturating_sub(part.start)) else {
            return;
        };
        // A refusal costs nothing but time.
        let _hint = fs::fadvise(&self.file, part.start, Some(length), Advice::WillNeed);
    }

    fn expect_around(&self, offset: u64) {
        let number = offset / AROUND_BYTES;
        if self.next_around.swap(number + 1, Relaxed) != number + 1 {
            self.expect(number * AROUND_BYTES..(number + 1) * AROUND_BYTES);
        }
    }

    fn forget_pages(&self) {
        // A refusal costs nothing but memory.
        let _hint = fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }
}
