//! The kernel: its version, FUSE, overlayfs, the cgroup freezer, limits.

use std::{fs, io, os::unix::fs::FileTypeExt, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit};
use snap_api::Check;

use super::{ok, problem, warning};
use crate::programs::version;

/// The new mount API as it is used here, with overlayfs over FUSE.
const LEAST_KERNEL: (u32, u32) = (5, 15);
/// From here on a new mount server can have requests sent again that the one before it had not answered.
const TAKE_OVER_KERNEL: (u32, u32) = (6, 9);
/// A mount server holds the packs it reads open, a capture one file a thread and folder level.
const WANTED_OPEN_FILES: u64 = 65_536;

pub(super) fn checks() -> Vec<Check> {
    let release = rustix::system::uname();
    let filesystems = fs::read_to_string("/proc/filesystems");
    vec![
        kernel(&release.release().to_string_lossy()),
        fuse_device(Path::new("/dev/fuse")),
        overlayfs(&filesystems),
        freezer(&fs::read_to_string("/proc/self/mounts")),
        open_files(&getrlimit(Resource::Nofile)),
    ]
}

pub(super) fn kernel(release: &str) -> Check {
    let name = "kernel";
    match version(release) {
        Some(found) if found >= TAKE_OVER_KERNEL => ok(name, release),
        Some(found) if found >= LEAST_KERNEL => warning(
            name,
            release,
            "from 6.9 on, a mount whose server died loses no request, and `snapctl upgrade-mounts` works",
        ),
        Some(_) => problem(name, release, "5.15 is the oldest kernel this works on"),
        None => warning(
            name,
            format!("`{release}`, which is no version"),
            "5.15 is the oldest kernel this works on",
        ),
    }
}

pub(super) fn fuse_device(path: &Path) -> Check {
    let name = "fuse device";
    let hint = "load the module: `modprobe fuse`; in a container, pass /dev/fuse through";
    let opened = fs::metadata(path).and_then(|meta| {
        if !meta.file_type().is_char_device() {
            return Err(io::Error::other("not a character device"));
        }
        fs::OpenOptions::new().read(true).write(true).open(path)
    });
    match opened {
        Ok(_) => ok(name, path.display().to_string()),
        Err(error) => problem(name, format!("{}: {error}", path.display()), hint),
    }
}

pub(super) fn overlayfs(filesystems: &io::Result<String>) -> Check {
    let name = "overlayfs";
    let hint = "load the module: `modprobe overlay`";
    match filesystems {
        Ok(text) if text.split_whitespace().any(|word| word == "overlay") => {
            ok(name, "known to the kernel")
        }
        Ok(_) => problem(name, "not in /proc/filesystems", hint),
        Err(error) => warning(name, format!("/proc/filesystems: {error}"), hint),
    }
}

/// A container is frozen through its cgroup; on a mixed host runc uses the version-1 hierarchies.
pub(super) fn freezer(mounts: &io::Result<String>) -> Check {
    let name = "cgroup freezer";
    let hint = "mount cgroup version 2 at /sys/fs/cgroup, as systemd does";
    let text = match mounts {
        Ok(text) => text,
        Err(error) => return warning(name, format!("/proc/self/mounts: {error}"), hint),
    };
    let mut is_unified = false;
    for line in text.lines() {
        let mut fields = line.split(' ').skip(1);
        match (fields.next(), fields.next(), fields.next()) {
            (Some(at), Some("cgroup"), Some(options))
                if options.split(',').any(|option| option == "freezer") =>
            {
                return ok(name, format!("version 1 at {at}"));
            }
            (Some("/sys/fs/cgroup"), Some("cgroup2"), _) => is_unified = true,
            _ => {}
        }
    }
    if is_unified {
        ok(name, "version 2")
    } else {
        problem(name, "none is mounted: containers cannot be paused", hint)
    }
}

pub(super) fn open_files(limit: &Rlimit) -> Check {
    let name = "open files";
    match limit.current {
        Some(most) if most < WANTED_OPEN_FILES => warning(
            name,
            format!("{most} at most"),
            "allow 65536 or more: `LimitNOFILE=` in the unit, `ulimit -n` in a shell",
        ),
        Some(most) => ok(name, format!("{most} at most")),
        None => ok(name, "unlimited"),
    }
}
