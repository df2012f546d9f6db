//! The walk both passes make: every folder below the top, each opened from the one above it by a single name.
//!
//! No path is ever given to the kernel, so neither the length of paths nor the depth of folders is limited by it, and
//! nobody can lead the walk astray by exchanging folders for links. A folder's entries are told before anything in
//! them is: a folder has a smaller number than what is below it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    vec,
};

use rustix::{
    fs::{Mode, OFlags, RawDir, openat},
    io::Errno,
};
use snap_store::{Error, Progress, Result};

use super::{
    Exclude, Source,
    inspect::open_folder,
    stat::{InodeId, Kind, Stat},
};

/// Folders above the current one that are kept open; those above them are opened again on the way back.
const MAX_OPEN: usize = 64;

/// Deepest nesting of folders; a bound for whoever makes folders faster than they are walked.
const MAX_DEPTH: usize = 1 << 16;

/// Bytes of folder entries read at once.
const LISTING_BYTES: usize = 64 * 1024;

type Name = Box<[u8]>;

/// An inode that was met.
#[derive(Debug)]
pub(super) struct Met<'a> {
    /// Number of the folder it is in; of itself for the top.
    pub(super) parent: usize,
    /// The folder it is in; for a folder that was entered, the folder itself.
    pub(super) folder: BorrowedFd<'a>,
    /// Its name; empty for the top.
    pub(super) name: &'a [u8],
    /// Its metadata.
    pub(super) stat: &'a Stat,
    path: &'a [u8],
}

impl Met<'_> {
    /// Its path from the top, for people.
    pub(super) fn path(&self) -> PathBuf {
        to_path(self.path)
    }
}

/// What a pass does with what is met.
pub(super) trait Visitor {
    /// A folder, numbered `number`, was entered.
    fn folder(&mut self, met: &Met<'_>, number: usize) -> Result<()>;
    /// Anything else.
    fn entry(&mut self, met: &Met<'_>) -> Result<()>;
    /// Something with another file system mounted on it, which is not looked into. A folder takes the number `number`.
    fn mount(&mut self, met: &Met<'_>, number: Option<usize>) -> Result<()>;
    /// Something the patterns leave out.
    fn excluded(&mut self, met: &Met<'_>) -> Result<()>;
    /// Something at `path` that was there a moment ago.
    fn vanished(&mut self, path: PathBuf);
}

/// Walks `source`.
pub(super) fn walk(
    source: &Source<'_>,
    visitor: &mut dyn Visitor,
    progress: &dyn Progress,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(source.folder, c".", flags, Mode::empty()).map_err(Error::io("open", "/"))?;
    let mut walk = Walk {
        top: source.folder,
        exclude: source.exclude,
        visitor,
        stack: Vec::new(),
        path: Vec::new(),
        entered: 0,
        is_asked_for: false,
        listing: vec![MaybeUninit::uninit(); LISTING_BYTES],
    };
    walk.enter(top, 0, b"")?;
    while let Some(frame) = walk.stack.last_mut() {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match frame.children.next() {
            Some(name) => walk.descend(&name)?,
            None => walk.leave()?,
        }
    }
    Ok(())
}

/// A folder that was entered and not left yet.
struct Frame {
    number: usize,
    id: InodeId,
    /// `None` while it is closed for the sake of those below it.
    folder: Option<OwnedFd>,
    /// Folders in it that are still to be entered.
    children: vec::IntoIter<Name>,
    /// Length of its path.
    path_len: usize,
}

struct Walk<'a, 'v> {
    top: BorrowedFd<'a>,
    exclude: &'a Exclude,
    visitor: &'v mut dyn Visitor,
    stack: Vec<Frame>,
    /// Path of the last frame, and of an entry while it is told.
    path: Vec<u8>,
    entered: usize,
    /// The name that is told was not listed but asked for: it need not be there.
    is_asked_for: bool,
    listing: Vec<MaybeUninit<u8>>,
}

impl Walk<'_, '_> {
    /// Enters the folder `name` of the last frame.
    fn descend(&mut self, name: &[u8]) -> Result<()> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Error::Limit {
                what: "The depth of folders",
                limit: MAX_DEPTH as u64,
            });
        }
        let Some(frame) = self.stack.last() else {
            return Ok(());
        };
        let Some(parent) = &frame.folder else {
            return Ok(());
        };
        let (number, length) = (frame.number, self.path.len());
        let opened = open_folder(parent.as_fd(), name);
        push(&mut self.path, name);
        match opened {
            Ok(folder) => return self.enter(folder, number, name),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::STALE) => {
                self.visitor.vanished(to_path(&self.path));
            }
            Err(error) => return Err(Error::io("open", to_path(&self.path))(error)),
        }
        self.path.truncate(length);
        Ok(())
    }

    /// Tells a folder that was opened and everything in it.
    fn enter(&mut self, folder: OwnedFd, parent: usize, name: &[u8]) -> Result<()> {
        let stat =
            Stat::of_fd(folder.as_fd()).map_err(Error::io("inspect", to_path(&self.path)))?;
        let number = self.entered;
        self.entered += 1;
        self.visitor.folder(
            &Met {
                parent,
                folder: folder.as_fd(),
                name,
                stat: &stat,
                path: &self.path,
            },
            number,
        )?;
        let children = self.tell(folder.as_fd(), number)?;
        if let Some(above) = self.stack.len().checked_sub(MAX_OPEN) {
            self.stack[above].folder = None;
        }
        self.stack.push(Frame {
            number,
            id: stat.id,
            folder: Some(folder),
            children: children.into_iter(),
            path_len: self.path.len(),
        });
        Ok(())
    }

    /// Tells what is in `folder` and returns the names of the folders in it.
    fn tell(&mut self, folder: BorrowedFd<'_>, number: usize) -> Result<Vec<Name>> {
        let mut children = Vec::new();
        let length = self.path.len();
        for name in self.names(folder)? {
            push(&mut self.path, &name);
            let told = self.tell_one(folder, number, &name);
            if told? {
                children.push(name);
            }
            self.path.truncate(length);
        }
        Ok(children)
    }

    /// Tells one name; true when it is a folder to be entered later.
    fn tell_one(&mut self, folder: BorrowedFd<'_>, number: usize, name: &[u8]) -> Result<bool> {
        let stat = match Stat::of_name(folder, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::STALE) => {
                if !self.is_asked_for {
                    self.visitor.vanished(to_path(&self.path));
                }
                return Ok(false);
            }
            Err(error) => return Err(Error::io("inspect", to_path(&self.path))(error)),
        };
        let met = Met {
            parent: number,
            folder,
            name,
            stat: &stat,
            path: &self.path,
        };
        let is_folder = stat.kind == Kind::Directory;
        if self.exclude.matches(&self.path, is_folder) {
            self.visitor.excluded(&met)?;
        } else if stat.is_mount {
            let taken = is_folder.then_some(self.entered);
            self.entered += usize::from(is_folder);
            self.visitor.mount(&met, taken)?;
        } else if is_folder {
            return Ok(true);
        } else {
            self.visitor.entry(&met)?;
        }
        Ok(false)
    }

    /// The names in the folder that are to be looked at.
    fn names(&mut self, folder: BorrowedFd<'_>) -> Result<BTreeSet<Name>> {
        let only = self.exclude.only_name(&self.path);
        self.is_asked_for = only.is_some();
        match only {
            Some(name) => Ok(BTreeSet::from([Name::from(name)])),
            None => self.list(folder),
        }
    }

    /// The names in `folder`, each once and in order: a folder that changes while it is read may tell a name twice.
    fn list(&mut self, folder: BorrowedFd<'_>) -> Result<BTreeSet<Name>> {
        let mut names = BTreeSet::new();
        let mut listing = RawDir::new(folder, &mut self.listing);
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // The folder was deleted after it was opened.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(Error::io("list", to_path(&self.path))(error)),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.insert(name.into());
            }
        }
        Ok(names)
    }

    /// Leaves the last folder and makes sure the one above it is open.
    fn leave(&mut self) -> Result<()> {
        let Some(left) = self.stack.pop() else {
            return Ok(());
        };
        let Some(frame) = self.stack.last() else {
            return Ok(());
        };
        self.path.truncate(frame.path_len);
        if frame.folder.is_some() {
            return Ok(());
        }
        let above = match left.folder.and_then(|folder| above(&folder, frame.id)) {
            Some(above) => Some(above),
            None => self.open_again(frame.id),
        };
        let Some(frame) = self.stack.last_mut() else {
            return Ok(());
        };
        if above.is_none() && frame.children.len() > 0 {
            frame.children = Vec::new().into_iter();
            self.visitor.vanished(to_path(&self.path));
        }
        frame.folder = above;
        Ok(())
    }

    /// Opens the folder at the current path from the top, if it still is the inode `id`.
    fn open_again(&self, id: InodeId) -> Option<OwnedFd> {
        let mut folder = open_folder(self.top, b".").ok()?;
        for name in self.path.split(|byte| *byte == b'/') {
            folder = open_folder(folder.as_fd(), name).ok()?;
        }
        is_inode(&folder, id).then_some(folder)
    }
}

/// The folder above `folder`, if it still is the inode `id`: `folder` may have been moved meanwhile.
fn above(folder: &OwnedFd, id: InodeId) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let above = openat(folder, c"..", flags, Mode::empty()).ok()?;
    is_inode(&above, id).then_some(above)
}

fn is_inode(folder: &OwnedFd, id: InodeId) -> bool {
    Stat::of_fd(folder.as_fd()).is_ok_and(|stat| stat.id == id)
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn to_path(path: &[u8]) -> PathBuf {
    let path = if path.is_empty() { b"/" } else { path };
    OsStr::from_bytes(path).into()
}
