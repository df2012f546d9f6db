//! Opening and reading inodes that somebody hostile may exchange at any moment.
//!
//! Nothing here follows a link or leaves the folder it was given. An inode is first held by an `O_PATH` descriptor,
//! which has no effect on a device or a FIFO; only when that descriptor turns out to be a regular file is it opened
//! for reading, through `/proc/self/fd`, which cannot be exchanged underneath.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        Mode, OFlags, ResolveFlags, SeekFrom, fgetxattr, flistxattr, getxattr, listxattr, open,
        openat2, readlinkat, seek,
    },
    io::{Errno, Result},
};
use snap_store::Xattr;

use super::stat::{Kind, Stat};

/// Largest value and longest list of names of extended attributes, as Linux has it.
const XATTR_MAX: usize = 64 * 1024;

/// An inode that is held, so that it stays the same one.
#[derive(Debug)]
pub(super) struct Held {
    fd: OwnedFd,
    pub(super) stat: Stat,
}

impl Held {
    /// Holds `name` in `folder`.
    pub(super) fn new(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A link may be held, as itself: what `NO_SYMLINKS` would refuse is guarded by `NOFOLLOW` and the single component.
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let fd = openat2(folder, name, flags, Mode::empty(), beneath)?;
        let stat = Stat::of_fd(fd.as_fd())?;
        Ok(Self { fd, stat })
    }

    /// Opens the regular file that is held.
    pub(super) fn open(&self) -> Result<File> {
        if self.stat.kind != Kind::File {
            return Err(Errno::INVAL);
        }
        let path = self.path();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match open(path.as_str(), flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => open(path.as_str(), flags, Mode::empty()),
            opened => opened,
        }
        .map(File::from)
    }

    /// The target of the symbolic link that is held.
    pub(super) fn target(&self) -> Result<Box<[u8]>> {
        Ok(readlinkat(&self.fd, c"", Vec::new())?.into_bytes().into())
    }

    /// The extended attributes of whatever is held.
    pub(super) fn xattrs(&self) -> Result<Box<[Xattr]>> {
        let path = self.path();
        collect(
            |buffer| listxattr(path.as_str(), buffer),
            |name, buffer| getxattr(path.as_str(), name, buffer),
        )
    }

    /// Names the inode itself, also when it is a symbolic link: the link in /proc leads to it and no further.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

/// Opens the folder `name` in `folder`; `XDEV` when something is mounted there.
pub(super) fn open_folder(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    match openat2(
        folder,
        name,
        flags | OFlags::NOATIME,
        Mode::empty(),
        beneath,
    ) {
        Err(Errno::PERM) => openat2(folder, name, flags, Mode::empty(), beneath),
        opened => opened,
    }
}

/// The extended attributes of an open file or folder.
pub(super) fn xattrs_of(fd: BorrowedFd<'_>) -> Result<Box<[Xattr]>> {
    collect(
        |buffer| flistxattr(fd, buffer),
        |name, buffer| fgetxattr(fd, name, buffer),
    )
}

/// Runs of data of a file, as (offset, length) in ascending order and below `size`.
pub(super) fn data_runs(file: &File, size: u64) -> Result<Vec<(u64, u64)>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        // A file that shrinks meanwhile has no hole where there was one: its end is not trusted anyway.
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        if end <= start {
            break;
        }
        runs.push((start, end - start));
        at = end;
    }
    seek(file, SeekFrom::Start(0))?;
    Ok(runs)
}

fn collect(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Box<[Xattr]>> {
    let names = match sized(&list) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Box::default()),
        names => names?,
    };
    let mut xattrs = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        // SELinux labels belong to the host's policy, not to the content.
        if name == b"security.selinux" {
            continue;
        }
        match sized(&|buffer: &mut [u8]| get(name, buffer)) {
            Ok(value) => xattrs.push(Xattr {
                name: name.into(),
                value: value.into(),
            }),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs.into())
}

/// Calls `read` with a small buffer first, as most inodes have no attributes and most values are short.
fn sized(read: &impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 512];
    match read(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; XATTR_MAX];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
