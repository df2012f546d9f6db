//! Mounts of another mount namespace: what a process there sees, and exchanging one while it stands still.
//!
//! A thread of its own enters the namespace. It takes a detached mount along, which is how a mount comes from one namespace into another.

use std::{
    fs::{self, File},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
    mount::{MoveMountFlags, UnmountFlags, move_mount, unmount},
};
use snap_store::{Error, Result};

use super::clone;

/// What became of a mount that was to be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The process sees the new one.
    Done,
    /// It did not see the old one: nothing was changed.
    NotSeen,
}

/// Where the process sees the file system that is mounted at `mounted` here.
///
/// # Errors
/// [`Error::Io`] when the process is gone, or the mount.
pub fn seen_at(pid: u32, mounted: &Path) -> Result<Vec<PathBuf>> {
    let device = fs::metadata(mounted).map_err(Error::io("look at", mounted))?;
    let device = device.dev();
    let wanted = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let table = PathBuf::from(format!("/proc/{pid}/mountinfo"));
    let lines = fs::read(&table).map_err(Error::io("read", &table))?;
    let points = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let point = fields.get(4)?;
        (*fields.get(2)? == wanted.as_bytes()).then(|| plain(point))
    });
    Ok(points.collect())
}

/// Has the process see what is mounted at `new` here instead of what is mounted at `old`, in the same place. It stands still meanwhile.
///
/// # Errors
/// [`Error::Busy`] when somebody there uses the old one, or has it mounted twice; [`Error::Io`] when the kernel refuses. It sees the old
/// one then.
pub fn exchange(pid: u32, old: &Path, new: &Path) -> Result<Exchange> {
    let points = seen_at(pid, old)?;
    let [point] = &points[..] else {
        return match points.is_empty() {
            true => Ok(Exchange::NotSeen),
            false => Err(busy(&points[0], "is mounted more than once")),
        };
    };
    let namespace = namespace_of(pid)?;
    let (before, after) = (clone(old)?, clone(new)?);
    let there = || exchange_there(&namespace, point, (&before, &after));
    // The thread does not leave the namespace again: it ends.
    thread::scope(|scope| scope.spawn(there).join().expect("it does not panic"))
}

/// Has the process see what is mounted at `mounted` here at the folder `point` of its own as well; links in that count from its root.
///
/// # Errors
/// [`Error::Io`] when the process is gone, or the folder, or the kernel refuses.
pub fn attach_inside(pid: u32, mounted: &Path, point: &Path) -> Result<()> {
    let (namespace, tree) = (namespace_of(pid)?, clone(mounted)?);
    let there = || attach_there(&namespace, point, &tree);
    thread::scope(|scope| scope.spawn(there).join().expect("it does not panic"))
}

fn namespace_of(pid: u32) -> Result<File> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
    File::open(&path).map_err(Error::io("open", &path))
}

/// Has this thread see the mounts of another namespace, from its root on.
fn enter(namespace: &File, point: &Path) -> Result<()> {
    // A thread that shares its root and working folder with others cannot enter a mount namespace.
    unshare(CloneFlags::CLONE_FS).map_err(Error::io("leave the folders of", "the process"))?;
    setns(namespace, CloneFlags::CLONE_NEWNS).map_err(Error::io("enter the mounts of", point))
}

fn attach_there(namespace: &File, point: &Path, tree: &OwnedFd) -> Result<()> {
    enter(namespace, point)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = point.strip_prefix("/").unwrap_or(point);
    let attach = || {
        let root = openat(CWD, "/", flags, Mode::empty())?;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let folder = openat2(&root, within, flags, Mode::empty(), how)?;
        super::attach(tree, &folder)
    };
    attach().map_err(Error::io("mount in a container", point))
}

fn exchange_there(
    namespace: &File,
    point: &Path,
    (before, after): (&OwnedFd, &OwnedFd),
) -> Result<Exchange> {
    enter(namespace, point)?;
    match unmount(point, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => return Err(busy(point, "is in use by a process")),
        done => done.map_err(Error::io("unmount in a container", point))?,
    }
    let attach = |tree: &OwnedFd| {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(tree, "", CWD, point, flags)
    };
    attach(after).map_err(|error| {
        // As it was; when not even that can be had the first error says why.
        let _ = attach(before);
        Error::io("mount in a container", point)(error)
    })?;
    Ok(Exchange::Done)
}

fn busy(point: &Path, why: &str) -> Error {
    Error::Busy {
        what: "Mount",
        name: point.display().to_string(),
        why: why.to_owned(),
    }
}

/// A path as the kernel writes it, with three octal digits behind a backslash for blanks and their like.
fn plain(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'\\', [a, b, c, ..]) => std::str::from_utf8(&[*a, *b, *c])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_mount_table_are_read_as_the_kernel_writes_them() {
        for (field, path) in [
            ("/data", "/data"),
            (r"/a\040b\134c", r"/a b\c"),
            (r"/odd\04", r"/odd\04"),
            (r"/odd\999x", r"/odd\999x"),
        ] {
            assert_eq!(plain(field.as_bytes()), Path::new(path));
        }
    }
}
