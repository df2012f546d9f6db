//! A folder of a running container: where its path leads, and whether what is there is the container's own.
//!
//! The path is followed one name at a time beneath the root that the container's first process has. Links are read, not followed: what
//! they say counts from that root, and `..` ends there. So nothing in the container leads out of it.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};
use snap_api::{ErrorCode, ErrorReport};
use snap_store::{Error as StoreError, Namespace};

use super::usage;
use crate::{blocking, error::Result, host::Host, pause::not_running, spec::SpecMount};

/// As many links on the way as the kernel follows.
const MAX_LINKS: usize = 40;

/// Why there is no way.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    /// The system says so.
    System(Errno),
    /// Something is mounted here that is not captured.
    Mount(PathBuf),
}

impl From<Errno> for Obstacle {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// Where the folder `path` of a container is: the same path without links. Of what is mounted in the container only bind mounts are
/// entered that are captured too, and nothing else is asked: whoever serves a mount of a container may never answer.
///
/// # Errors
/// `path-not-found`, `not-a-folder`, `below-a-mount`; `not-running` when there is no process whose root could be looked at.
pub(super) async fn find(
    host: &Host,
    (namespace, container): (&Namespace, &str),
    path: &Path,
    (mounts, include): (&[SpecMount], &[String]),
) -> Result<PathBuf> {
    let pid = pid(host, namespace, container).await?;
    let captured = mounts.iter().filter(|mount| mount.is_bind());
    let captured = captured.filter(|mount| include.iter().any(|wanted| mount.is_at(wanted)));
    let entered: Vec<_> = captured
        .map(|mount| PathBuf::from(&mount.destination))
        .collect();
    let wanted = path.to_owned();
    let found = blocking(move || -> Result<_, StoreError> {
        let root = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&root, flags, Mode::empty()).map_err(Obstacle::from);
        Ok(opened.and_then(|root| resolve(&root, &wanted, &entered)))
    });
    let found = found.await?;
    // Otherwise it may have been another process's root.
    if self::pid(host, namespace, container).await? != pid {
        return Err(not_running(container));
    }
    found.map_err(|obstacle| match obstacle {
        Obstacle::System(error) => refused(container, path, error),
        Obstacle::Mount(at) => below_a_mount((container, path), &at, mounts),
    })
}

async fn pid(host: &Host, namespace: &Namespace, container: &str) -> Result<u32> {
    let task = host.containerd.task(namespace, container).await?;
    task.map(|task| task.pid)
        .filter(|pid| *pid != 0)
        .ok_or_else(|| not_running(container))
}

fn refused(container: &str, path: &Path, error: Errno) -> crate::Error {
    let path = path.display();
    match error {
        Errno::NOENT => {
            let message = format!("Folder {path} was not found in container {container}");
            ErrorReport::new(ErrorCode::NotFound, "path-not-found", message).into()
        }
        Errno::NOTDIR => usage(
            "not-a-folder",
            format!("{path} is not a folder in container {container}"),
        ),
        Errno::LOOP => usage(
            "too-many-links",
            format!("{path} leads through more than {MAX_LINKS} links in container {container}"),
        ),
        error => StoreError::io("open", format!("{path} of container {container}"))(error).into(),
    }
}

/// Says what would capture it, when anything does.
fn below_a_mount(
    (container, path): (&str, &Path),
    at: &Path,
    mounts: &[SpecMount],
) -> crate::Error {
    let (path, place) = (path.display(), at.display());
    let message = format!(
        "{path} of container {container} lies in what is mounted at {place}, which is no part of its snapshots"
    );
    let report = ErrorReport::new(ErrorCode::Conflict, "below-a-mount", message);
    let is_bound = |mount: &SpecMount| mount.is_bind() && Path::new(&mount.destination) == at;
    match mounts.iter().any(is_bound) {
        true => report.hint(format!("`--include-mount {place}` captures it")),
        false => report,
    }
    .into()
}

/// Follows `path` beneath `root`, into no mount but those at `entered`.
fn resolve(root: &OwnedFd, path: &Path, entered: &[PathBuf]) -> Result<PathBuf, Obstacle> {
    let mut waiting: VecDeque<OsString> = VecDeque::new();
    let mut way: Vec<(OsString, OwnedFd)> = Vec::new();
    let mut links = 0;
    go_first(&mut waiting, path.as_os_str());
    while let Some(name) = waiting.pop_front() {
        if name == ".." {
            way.pop();
            continue;
        }
        let folder = way
            .last()
            .map_or(root.as_fd(), |(_, opened)| opened.as_fd());
        let place = place(&way).join(&name);
        let may_cross = entered.contains(&place);
        match open(folder, &name, may_cross) {
            Ok(opened) => way.push((name, opened)),
            Err(Errno::XDEV) => return Err(Obstacle::Mount(place)),
            // A link, if anything: the kernel says one or the other.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let target = rustix::fs::readlinkat(folder, &name, Vec::new());
                let target = target.map_err(|error| match error {
                    Errno::INVAL => Errno::NOTDIR,
                    error => error,
                })?;
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = OsString::from_vec(target.into_bytes());
                if target.as_bytes().starts_with(b"/") {
                    way.clear();
                }
                go_first(&mut waiting, &target);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(place(&way))
}

/// Opens a folder by its name, without following anything.
fn open(folder: BorrowedFd<'_>, name: &OsStr, may_cross: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    if !may_cross {
        how |= ResolveFlags::NO_XDEV;
    }
    rustix::fs::openat2(folder, name, flags, Mode::empty(), how)
}

fn place(way: &[(OsString, OwnedFd)]) -> PathBuf {
    let names = way.iter().map(|(name, _)| name.as_os_str());
    std::iter::once(OsStr::new("/")).chain(names).collect()
}

/// Puts the names of `path` before those that wait.
fn go_first(waiting: &mut VecDeque<OsString>, path: &OsStr) {
    let names = path.as_bytes().split(|byte| *byte == b'/').rev();
    for name in names.filter(|name| !matches!(*name, b"" | b".")) {
        waiting.push_front(OsStr::from_bytes(name).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn found(root: &Path, path: &str) -> Result<PathBuf, Obstacle> {
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        resolve(&root.unwrap(), Path::new(path), &[])
    }

    /// **I2** Links in the path count from the root of the container, and none leads out of it. A folder at or below what is mounted in the
    /// container is a conflict, unless that is a bind mount that `--include-mount` names.
    #[test]
    fn no_link_leads_out_of_the_root() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = inside.path();
        fs::create_dir_all(root.join("srv/data/deep")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("srv/file"), "").unwrap();
        symlink("/srv", root.join("absolute")).unwrap();
        symlink("data/deep", root.join("srv/relative")).unwrap();
        symlink("../../../../etc", root.join("srv/up")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("/", "/"),
            ("/srv/data", "/srv/data"),
            ("//srv/./data/", "/srv/data"),
            ("/absolute/data", "/srv/data"),
            ("/absolute/relative", "/srv/data/deep"),
            ("/srv/up", "/etc"),
            ("/srv/../../..", "/"),
        ] {
            assert_eq!(found(root, path).unwrap(), Path::new(expected), "{path}");
        }
        for (path, error) in [
            ("/nothing", Errno::NOENT),
            ("/out", Errno::NOENT),
            ("/srv/file", Errno::NOTDIR),
            ("/srv/file/x", Errno::NOTDIR),
            ("/loop", Errno::LOOP),
        ] {
            assert_eq!(found(root, path), Err(error.into()), "{path}");
        }
    }

    #[test]
    fn a_mount_is_entered_when_it_is_captured() {
        // A mount that every host has.
        let root = Path::new("/");
        let entered = |entered: &[&str]| {
            let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
            let entered: Vec<_> = entered.iter().map(PathBuf::from).collect();
            resolve(&root.unwrap(), Path::new("/proc"), &entered)
        };
        assert_eq!(entered(&[]), Err(Obstacle::Mount("/proc".into())));
        assert_eq!(entered(&["/proc"]).unwrap(), root.join("proc"));
        let mount = SpecMount {
            destination: "/data".to_owned(),
            kind: "bind".to_owned(),
            source: "/host".to_owned(),
            options: Vec::new(),
        };
        let hint = |at: &str| {
            let of = ("web", Path::new("/data/x"));
            let error = below_a_mount(of, Path::new(at), std::slice::from_ref(&mount));
            ErrorReport::from(error).hint
        };
        assert!(hint("/data").unwrap().contains("--include-mount /data"));
        assert_eq!(hint("/tmp"), None);
    }
}
