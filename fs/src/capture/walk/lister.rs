//! The stage that goes ahead: it lists folders and looks at what is in them, and makes steps of it.
//!
//! No path is ever given to the kernel, so neither the length of paths nor the depth of folders is limited by it, and
//! nobody can lead the walk astray by exchanging folders for links.

use std::{
    mem::{self, MaybeUninit},
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    vec,
};

use rustix::{
    fs::{Mode, OFlags, RawDir, openat},
    io::Errno,
};
use snap_store::{Error, Result};

use super::{
    push,
    steps::{Batch, How, What},
    to_path,
};
use crate::capture::{
    Exclude, Source,
    inspect::open_folder,
    stat::{InodeId, Kind, Stat},
};

/// Folders above the current one that are kept open; those above them are opened again on the way back.
pub(super) const MAX_OPEN: usize = 64;

/// Deepest nesting of folders; a bound for whoever makes folders faster than they are walked.
const MAX_DEPTH: usize = 1 << 16;

/// Bytes of folder entries read at once.
const LISTING_BYTES: usize = 64 * 1024;

type Name = Box<[u8]>;

/// Walks `source`, whose top is open as `top`, and hands on the steps in batches.
///
/// # Errors
/// What went wrong, after the steps before it were handed on; and what `hand_on` says.
pub(super) fn list(
    source: &Source<'_>,
    top: OwnedFd,
    hand_on: &mut dyn FnMut(Batch) -> Result<()>,
) -> Result<()> {
    let mut lister = Lister {
        top: source.folder,
        exclude: source.exclude,
        hand_on,
        batch: Batch::default(),
        stack: Vec::new(),
        path: Vec::new(),
        entered: 0,
        is_asked_for: false,
        listing: vec![MaybeUninit::uninit(); LISTING_BYTES],
        names: Names::default(),
    };
    let listed = lister.run(top);
    // Whoever is told of the last steps may fail at one of them: that came first.
    let Lister { hand_on, batch, .. } = lister;
    hand_on(batch).and(listed)
}

/// A folder that was entered and not left yet.
struct Frame {
    number: usize,
    id: InodeId,
    /// `None` while it is closed for the sake of those below it.
    folder: Option<Arc<OwnedFd>>,
    /// Folders in it that are still to be entered.
    children: vec::IntoIter<Name>,
    /// Length of its path.
    path_len: usize,
}

struct Lister<'a, 'h> {
    top: BorrowedFd<'a>,
    exclude: &'a Exclude,
    hand_on: &'h mut dyn FnMut(Batch) -> Result<()>,
    batch: Batch,
    stack: Vec<Frame>,
    /// Path of the last frame, and of an entry while it is looked at.
    path: Vec<u8>,
    entered: usize,
    /// The name that is looked at was not listed but asked for: it need not be there.
    is_asked_for: bool,
    listing: Vec<MaybeUninit<u8>>,
    /// Kept from one folder to the next for its memory.
    names: Names,
}

impl Lister<'_, '_> {
    fn run(&mut self, top: OwnedFd) -> Result<()> {
        self.enter(top, 0, b"")?;
        while let Some(frame) = self.stack.last_mut() {
            match frame.children.next() {
                Some(name) => self.descend(&name)?,
                None => self.leave()?,
            }
        }
        Ok(())
    }

    fn step(&mut self, what: What, name: &[u8]) -> Result<()> {
        self.batch.push(what, name);
        match self.batch.is_full() {
            true => (self.hand_on)(mem::take(&mut self.batch)),
            false => Ok(()),
        }
    }

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
                self.step(What::Gone, name)?;
            }
            Err(error) => return Err(Error::io("open", to_path(&self.path))(error)),
        }
        self.path.truncate(length);
        Ok(())
    }

    /// Makes steps of a folder that was opened and of everything in it.
    fn enter(&mut self, folder: OwnedFd, parent: usize, name: &[u8]) -> Result<()> {
        let stat =
            Stat::of_fd(folder.as_fd()).map_err(Error::io("inspect", to_path(&self.path)))?;
        let folder = Arc::new(folder);
        let number = self.entered;
        self.entered += 1;
        let entered = What::Entered {
            folder: Arc::clone(&folder),
            stat,
            parent,
            number,
        };
        self.step(entered, name)?;
        let children = self.look_at_all(folder.as_fd())?;
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

    /// Looks at what is in `folder` and returns the names of the folders in it.
    fn look_at_all(&mut self, folder: BorrowedFd<'_>) -> Result<Vec<Name>> {
        let mut children = Vec::new();
        let length = self.path.len();
        let mut names = mem::take(&mut self.names);
        self.fill(&mut names, folder)?;
        for name in names.iter() {
            push(&mut self.path, name);
            if self.look_at(folder, name)? {
                children.push(name.into());
            }
            self.path.truncate(length);
        }
        self.names = names;
        Ok(children)
    }

    /// Looks at one name; true when it is a folder to be entered later.
    fn look_at(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        let stat = match Stat::of_name(folder, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::STALE) => {
                if !self.is_asked_for {
                    self.step(What::Gone, name)?;
                }
                return Ok(false);
            }
            Err(error) => return Err(Error::io("inspect", to_path(&self.path))(error)),
        };
        let is_folder = stat.kind == Kind::Directory;
        let how = if self.exclude.matches(&self.path, is_folder) {
            How::Excluded
        } else if stat.is_mount {
            let taken = is_folder.then_some(self.entered);
            self.entered += usize::from(is_folder);
            How::Mount(taken)
        } else if is_folder {
            return Ok(true);
        } else {
            How::Entry
        };
        self.step(What::Met { stat, how }, name)?;
        Ok(false)
    }

    /// Puts the names in `folder` that are to be looked at into `names`, each once and in order.
    fn fill(&mut self, names: &mut Names, folder: BorrowedFd<'_>) -> Result<()> {
        names.clear();
        let only = self.exclude.only_name(&self.path);
        self.is_asked_for = only.is_some();
        if let Some(name) = only {
            names.push(name);
            return Ok(());
        }
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
                names.push(name);
            }
        }
        names.sort();
        Ok(())
    }

    /// Leaves the last folder and makes sure the one above it is open.
    fn leave(&mut self) -> Result<()> {
        let Some(left) = self.stack.pop() else {
            return Ok(());
        };
        self.step(What::Left, b"")?;
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
        let is_lost = above.is_none() && frame.children.len() > 0;
        frame.folder = above.map(Arc::new);
        if is_lost {
            frame.children = Vec::new().into_iter();
            self.step(What::Gone, b"")?;
        }
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

/// Names in a folder, one after the other in one piece of memory.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Names {
    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    fn push(&mut self, name: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.places.push(start..self.bytes.len());
    }

    /// Puts them in order, each once: a folder that changes while it is read may tell a name twice.
    fn sort(&mut self) {
        let Self { bytes, places } = self;
        places.sort_unstable_by(|one, other| bytes[one.clone()].cmp(&bytes[other.clone()]));
        places.dedup_by(|one, other| bytes[one.clone()] == bytes[other.clone()]);
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.bytes[place.clone()])
    }
}
