//! A walk down and up folders by descriptor: never by path, and never with more than a few descriptors open,
//! however deep the folders are.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use snap_store::{Error, Result};

/// Descriptors of this many folders are kept; those above are opened again on the way up.
const OPEN_FOLDERS: usize = 128;

/// How a folder is opened: the thing itself, for reading.
pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The folders from the top down to where the walk stands, each with what the walk knows of it.
#[derive(Debug)]
pub(super) struct Folders<T> {
    /// The last one is always open.
    stack: Vec<Folder<T>>,
    path: PathBuf,
}

#[derive(Debug)]
struct Folder<T> {
    fd: Option<OwnedFd>,
    /// Device and inode, to know it again.
    identity: (u64, u64),
    state: T,
}

impl<T> Folders<T> {
    /// A walk that begins in the folder `fd`, called `path` in errors.
    pub(super) fn new(fd: OwnedFd, path: PathBuf, state: T) -> Result<Self> {
        let mut folders = Self {
            stack: Vec::new(),
            path,
        };
        folders.push(fd, state)?;
        Ok(folders)
    }

    /// The folder the walk stands in; `None` when it has left the top one.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.stack.last()?.fd.as_ref()?.as_fd())
    }

    /// What the walk knows of it.
    pub(super) fn state(&mut self) -> Option<&mut T> {
        Some(&mut self.stack.last_mut()?.state)
    }

    /// The path of `name` in the current folder, for errors.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Goes down into the folder `fd`, called `name` in the current one.
    pub(super) fn enter(&mut self, name: &OsStr, fd: OwnedFd, state: T) -> Result<()> {
        self.path.push(name);
        self.push(fd, state)
    }

    fn push(&mut self, fd: OwnedFd, state: T) -> Result<()> {
        let identity = identity(&fd).map_err(Error::io("read", &self.path))?;
        self.stack.push(Folder {
            fd: Some(fd),
            identity,
            state,
        });
        if let Some(far) = self.stack.len().checked_sub(OPEN_FOLDERS + 1) {
            self.stack[far].fd = None;
        }
        Ok(())
    }

    /// Goes up, and returns what the walk knew of the folder it leaves, with its descriptor.
    pub(super) fn leave(&mut self) -> Result<Option<(OwnedFd, T)>> {
        let Some(Folder {
            fd: Some(fd),
            state,
            ..
        }) = self.stack.pop()
        else {
            return Ok(None);
        };
        if let Some(above) = self.stack.last_mut() {
            if above.fd.is_none() {
                let again = openat(&fd, "..", FOLDER, Mode::empty())
                    .and_then(|again| Ok((identity(&again)?, again)))
                    .map_err(Error::io("open the folder above", &self.path))?;
                if again.0 != above.identity {
                    return Err(Error::Busy {
                        what: "Folder",
                        name: self.path.display().to_string(),
                        why: "was moved while it was written".to_owned(),
                    });
                }
                above.fd = Some(again.1);
            }
            self.path.pop();
        }
        Ok(Some((fd, state)))
    }
}

fn identity(fd: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// No path is longer that is handed to the kernel at once.
const MAX_PATH_BYTES: usize = 4000;

/// Opens the folder at `components` below `top`; `path` is what it is opened for.
pub(super) fn open_below(
    top: BorrowedFd<'_>,
    components: &[Vec<u8>],
    path: &Path,
) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let open = |from: BorrowedFd<'_>, relative: &[u8]| {
        let relative = OsStr::from_bytes(relative);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(from, relative, flags, Mode::empty(), resolve)
            .map_err(Error::io("find the first name of", path))
    };
    let mut folder = open(top, b".")?;
    let mut rest = components;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().position(|component| {
            bytes += component.len() + 1;
            bytes > MAX_PATH_BYTES
        });
        let (some, others) = rest.split_at(fits.unwrap_or(rest.len()));
        folder = open(folder.as_fd(), &some.join(&b'/'))?;
        rest = others;
    }
    Ok(folder)
}
