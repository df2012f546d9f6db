//! Removing what an extraction has made, when it does not end well.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, Gid, Mode, Stat, Uid, fchmod, fchown, openat, unlinkat},
    io::Errno,
};
use snap_store::{Error, Result};

use super::folders::{FOLDER, Folders};

/// What is taken away again unless [`Made::keep`] is called.
#[derive(Debug)]
pub(super) struct Made<'a> {
    folder: BorrowedFd<'a>,
    name: &'a OsStr,
    what: Option<MadeWhat>,
}

/// What was made at the destination.
#[derive(Clone, Copy, Debug)]
pub(super) enum MadeWhat {
    /// Something that is no folder.
    Node,
    /// A folder and what is in it.
    Folder,
    /// What is in a folder that was there before; it gets its owner and permissions back.
    Inside(Stat),
}

impl<'a> Made<'a> {
    pub(super) fn new(folder: BorrowedFd<'a>, name: &'a OsStr, what: MadeWhat) -> Self {
        Self {
            folder,
            name,
            what: Some(what),
        }
    }

    /// The extraction is whole: nothing is taken away.
    pub(super) fn keep(mut self) {
        self.what = None;
    }

    fn remove(&self, what: MadeWhat) -> Result<()> {
        let unlink =
            |flags| unlinkat(self.folder, self.name, flags).map_err(Error::io("remove", self.name));
        match what {
            MadeWhat::Node => unlink(AtFlags::empty()),
            MadeWhat::Folder => {
                clear(self.folder, self.name)?;
                unlink(AtFlags::REMOVEDIR)
            }
            MadeWhat::Inside(before) => {
                let fd = clear(self.folder, self.name)?;
                let (uid, gid) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
                fchown(&fd, Some(uid), Some(gid))
                    .and_then(|()| fchmod(&fd, Mode::from_raw_mode(before.st_mode)))
                    .map_err(Error::io("restore", self.name))
            }
        }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let Some(what) = self.what else { return };
        if let Err(error) = self.remove(what) {
            tracing::warn!(
                name = %self.name.display(),
                error = &error as &dyn std::error::Error,
                "Left a part of an extraction behind"
            );
        }
    }
}

/// Names that are still to be dealt with in one folder.
#[derive(Debug, Default)]
struct Left {
    name: OsString,
    folders: Vec<OsString>,
}

/// Removes everything in the folder `name` of `folder`, and returns it.
fn clear(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let fd = openat(folder, name, FOLDER, Mode::empty()).map_err(Error::io("open", name))?;
    let top = fd.try_clone().map_err(Error::io("open", name))?;
    let left = Left {
        name: OsString::new(),
        folders: unlink_all(fd.as_fd(), Path::new(name))?,
    };
    let mut walk = Folders::new(fd, PathBuf::from(name), left)?;
    while let Some(left) = walk.state() {
        let next = left.folders.pop();
        if let (Some(name), Some(current)) = (next, walk.fd()) {
            let path = walk.path_of(&name);
            let fd = openat(current, &name, FOLDER, Mode::empty());
            let fd = fd.map_err(Error::io("open", &path))?;
            let below = Left {
                folders: unlink_all(fd.as_fd(), &path)?,
                name: name.clone(),
            };
            walk.enter(&name, fd, below)?;
            continue;
        }
        let Some((_, done)) = walk.leave()? else {
            break;
        };
        if let Some(current) = walk.fd() {
            unlinkat(current, &done.name, AtFlags::REMOVEDIR)
                .map_err(Error::io("remove", &done.name))?;
        }
    }
    Ok(top)
}

/// Removes all that is no folder, and returns the names of the folders.
fn unlink_all(folder: BorrowedFd<'_>, path: &Path) -> Result<Vec<OsString>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => folders.push(OsStr::from_bytes(name.to_bytes()).to_owned()),
            Err(error) => return Err(Error::io("remove", path)(error)),
        }
    }
    Ok(folders)
}
