//! Making one node in an open folder, with everything but its content.
//!
//! The order matters: owner first (it clears suid bits and file capabilities), then extended attributes,
//! then permissions, times last.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid,
        XattrFlags, chmod, chownat, fchmod, fchown, fsetxattr, fstat, futimens, makedev, mkdirat,
        mknodat, openat, removexattr, setxattr, symlinkat, utimensat,
    },
    io::Errno,
};
use snap_store::{DeviceNumber, Entry, Error, Meta, Node, Result};

use super::folders::FOLDER;

/// Nobody else may look into what is not complete.
const CLOSED_FOLDER: Mode = Mode::RWXU;
const CLOSED_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What a new node would inherit from the folder it is made in.
const INHERITED: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// Makes the folder `name`, which must not exist, and opens it.
pub(super) fn make_folder(folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd> {
    mkdirat(folder, name, CLOSED_FOLDER).map_err(|errno| made(errno, "make the folder", path))?;
    openat(folder, name, FOLDER, Mode::empty()).map_err(Error::io("open", path))
}

/// Opens the folder `name`, which must be empty, and closes it to everybody else; returns how it was before.
pub(super) fn take_empty_folder(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<(OwnedFd, Stat)> {
    let fd = openat(folder, name, FOLDER, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => made(Errno::EXIST, "open", path),
        errno => Error::io("open", path)(errno),
    })?;
    for entry in Dir::read_from(&fd).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Err(made(Errno::EXIST, "list", path));
        }
    }
    let before = fstat(&fd).map_err(Error::io("read", path))?;
    fchown(&fd, Some(Uid::ROOT), Some(Gid::ROOT))
        .and_then(|()| fchmod(&fd, CLOSED_FOLDER))
        .map_err(Error::io("close", path))?;
    Ok((fd, before))
}

/// Makes the regular file `name`, which must not exist, and opens it for writing.
pub(super) fn make_file(folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, CLOSED_FILE).map_err(|errno| made(errno, "make the file", path))
}

/// Makes a node that is no folder and no regular file; its metadata is still missing.
pub(super) fn make_special(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    path: &Path,
) -> Result<()> {
    let node = |kind, number: DeviceNumber| {
        let device = makedev(number.major, number.minor);
        mknodat(folder, name, kind, CLOSED_FILE, device)
    };
    let none = DeviceNumber { major: 0, minor: 0 };
    let outcome = match &entry.node {
        Node::Symlink(target) => symlinkat(OsStr::from_bytes(target), folder, name),
        Node::CharDevice(number) => node(FileType::CharacterDevice, *number),
        Node::BlockDevice(number) => node(FileType::BlockDevice, *number),
        Node::Fifo => node(FileType::Fifo, none),
        Node::Socket => node(FileType::Socket, none),
        Node::Directory(_) | Node::File { .. } => Err(Errno::INVAL),
    };
    outcome.map_err(|errno| made(errno, "make the node", path))
}

fn made(errno: Errno, op: &'static str, path: &Path) -> Error {
    if errno == Errno::EXIST {
        return Error::Exists {
            what: "Path",
            name: path.display().to_string(),
        };
    }
    Error::io(op, path)(errno)
}

/// Gives an open folder or regular file its metadata.
pub(super) fn apply(fd: BorrowedFd<'_>, meta: &Meta, path: &Path) -> Result<()> {
    let (uid, gid) = owner(meta);
    fchown(fd, uid, gid).map_err(Error::io("set the owner of", path))?;
    for xattr in &meta.xattrs {
        fsetxattr(fd, &*xattr.name, &xattr.value, XattrFlags::empty())
            .map_err(Error::io("set an extended attribute of", path))?;
    }
    fchmod(fd, mode(meta)).map_err(Error::io("set the permissions of", path))?;
    futimens(fd, &times(meta)).map_err(Error::io("set the times of", path))
}

/// The same for a node that must not be opened; through /proc, which leads to the node itself, a link too.
pub(super) fn apply_by_name(folder: BorrowedFd<'_>, entry: &Entry, path: &Path) -> Result<()> {
    let meta = &entry.meta;
    let name = path.file_name().unwrap_or_default();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(folder, name, flags, Mode::empty()).map_err(Error::io("open", path))?;
    let (uid, gid) = owner(meta);
    chownat(&fd, "", uid, gid, AtFlags::EMPTY_PATH).map_err(Error::io("set the owner of", path))?;
    let itself = by_descriptor(fd.as_fd());
    for xattr in &meta.xattrs {
        setxattr(&itself, &*xattr.name, &xattr.value, XattrFlags::empty())
            .map_err(Error::io("set an extended attribute of", path))?;
    }
    if !matches!(entry.node, Node::Symlink(_)) {
        chmod(&itself, mode(meta)).map_err(Error::io("set the permissions of", path))?;
    }
    utimensat(folder, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::io("set the times of", path))
}

/// Takes away what the top node has inherited from the folder it was made in.
pub(super) fn disinherit(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    for name in INHERITED {
        match removexattr(by_descriptor(fd), name) {
            // A link has no attributes of this kind, and not every file system knows them.
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(Error::io("remove an inherited attribute of", path)(errno)),
        }
    }
    Ok(())
}

/// A path that means the open node itself.
fn by_descriptor(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn owner(meta: &Meta) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(u32::from(meta.mode))
}

fn times(meta: &Meta) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: meta.modified.seconds,
            tv_nsec: i64::from(meta.modified.nanoseconds),
        },
    }
}
