//! Who a process has become: a file in the container that says so.
//!
//! A running process takes no new environment, so what a fresh one would be told by its environment is in a file. It is written
//! through the root of the container's first process, where everything may be anything: no link leads out of that root.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use serde::Serialize;

/// Where it is, as the container sees it.
pub(crate) const PLACE: &str = "/run/snapshotd/identity.json";
const RUN: &str = "run";
const FOLDER: &str = "snapshotd";
const NAME: &str = "identity.json";
const DRAFT: &str = ".identity.json.new";

/// What is said.
#[derive(Debug, Serialize)]
pub(crate) struct Identity<'a> {
    /// Id of the container.
    pub(crate) id: &'a str,
    /// Its namespace in containerd.
    pub(crate) namespace: &'a str,
    /// Its host name; absent when that is the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hostname: Option<&'a str>,
    /// Id of the snapshot it was restored from.
    pub(crate) snapshot: String,
    /// Id of the container that was captured.
    pub(crate) origin: &'a str,
    /// When; RFC 3339.
    pub(crate) restored_at: String,
}

/// Puts it in the container of which `pid` is a process; what was there before is replaced in one step.
///
/// # Errors
/// What the system says: a root that is read-only, a `/run` that is no folder.
pub(crate) fn write(pid: u32, identity: &Identity<'_>) -> Result<(), Errno> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), folder, Mode::empty())?;
    write_below(&root, identity)
}

fn write_below(root: &OwnedFd, identity: &Identity<'_>) -> Result<(), Errno> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let run = folder_in(root, RUN, inside)?;
    let folder = folder_in(
        &run,
        FOLDER,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )?;
    let mut text = serde_json::to_vec_pretty(identity).expect("text and times are JSON");
    text.push(b'\n');
    let _ = rustix::fs::unlinkat(&folder, DRAFT, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let draft = rustix::fs::openat(&folder, DRAFT, flags, Mode::from_raw_mode(0o644))?;
    let mut draft = File::from(draft);
    draft
        .write_all(&text)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::fs::renameat(&folder, DRAFT, &folder, NAME)
}

/// Opens the folder `name`, which is made when it is not there.
fn folder_in(parent: &OwnedFd, name: &str, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(parent.as_fd(), name, flags, Mode::empty(), how);
    match open() {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open(),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn written(root: &Path, id: &str) -> Result<(), Errno> {
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let identity = Identity {
            id,
            namespace: "default",
            hostname: None,
            snapshot: "12".to_owned(),
            origin: "web",
            restored_at: "now".to_owned(),
        };
        write_below(&root, &identity)
    }

    #[test]
    fn it_is_written_and_written_again() {
        let root = tempfile::tempdir().unwrap();
        for id in ["one", "two"] {
            written(root.path(), id).unwrap();
            let text = fs::read_to_string(root.path().join("run/snapshotd/identity.json")).unwrap();
            assert!(text.contains(&format!("\"id\": \"{id}\"")), "{text}");
        }
        let left = fs::read_dir(root.path().join("run/snapshotd"))
            .unwrap()
            .count();
        assert_eq!(left, 1);
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        // A link within the root is followed as the container would follow it.
        fs::create_dir(root.path().join("other")).unwrap();
        symlink("/other", root.path().join("run")).unwrap();
        written(root.path(), "one").unwrap();
        assert!(root.path().join("other/snapshotd/identity.json").exists());
        fs::remove_file(root.path().join("run")).unwrap();
        symlink(outside.path(), root.path().join("run")).unwrap();
        assert!(written(root.path(), "one").is_err());
        fs::remove_file(root.path().join("run")).unwrap();
        fs::create_dir(root.path().join("run")).unwrap();
        symlink(outside.path(), root.path().join("run/snapshotd")).unwrap();
        assert!(written(root.path(), "one").is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
