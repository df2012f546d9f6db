//! Mounts through the kernel's mount API: no helper programs, every step by descriptor.
//!
//! A mount point is opened once, without following a symbolic link in its place, and used by that descriptor, so
//! nobody can exchange it between the check and the mount. Nothing here decides who may mount what.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
        open_tree,
    },
};
use snap_store::{Error, Result};

mod inside;
mod overlay;

pub use inside::{Exchange, attach_inside, exchange, seen_at};
pub use overlay::{mount_overlay, mount_overlay_read_only, mount_overlay_restricted};

/// A look at a mount point, by us or by anybody who lists mounts or makes a container, uses the mount for an instant, as does whoever
/// has just been killed; such a use is waited for this long.
const PASSING_USE: Duration = Duration::from_millis(500);
/// The FUSE device.
const DEVICE: &str = "/dev/fuse";
/// What `/proc/mounts` shows as the type is `fuse.` and this.
const SUBTYPE: &str = "snapshotd";
/// How far the kernel reads ahead of a sequential reader of a FUSE mount, in KiB; it would be 128 on its own.
/// As large as one FUSE read can be.
const READ_AHEAD_KB: u32 = 1024;

/// Opens /dev/fuse and mounts it read-only at `target` (allow_other, default_permissions, suid and devices honoured).
/// The descriptor is the file system's life: somebody must hold it. INIT is not answered yet.
///
/// # Errors
/// [`Error::Io`] when the device or the mount is refused; nothing is mounted then.
pub fn mount_fuse(target: &Path, name: &str) -> Result<OwnedFd> {
    let point = open_folder(target)?;
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(Error::io("open", DEVICE))?;
    let device = OwnedFd::from(device);
    let mount = configure_fuse(&device, name).map_err(Error::io("mount FUSE at", target))?;
    attach(&mount, &point).map_err(Error::io("mount FUSE at", target))?;
    Ok(device)
}

fn configure_fuse(device: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    fsconfig_set_string(context, "source", name)?;
    fsconfig_set_string(context, "subtype", SUBTYPE)?;
    fsconfig_set_string(context, "fd", device.as_raw_fd().to_string())?;
    fsconfig_set_string(context, "rootmode", "40000")?;
    fsconfig_set_string(context, "user_id", "0")?;
    fsconfig_set_string(context, "group_id", "0")?;
    fsconfig_set_flag(context, "allow_other")?;
    fsconfig_set_flag(context, "default_permissions")?;
    fsconfig_set_flag(context, "ro")?;
    fsconfig_create(context)?;
    fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

/// Lets the kernel read far ahead at the FUSE mount `target`; to be called once its server has answered INIT,
/// which would lower it again. A kernel that refuses is left as it is: only speed is lost.
pub fn raise_read_ahead(target: &Path) -> Result<()> {
    let about = rustix::fs::statx(
        CWD,
        target,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC,
        StatxFlags::TYPE,
    )
    .map_err(Error::io("look at", target))?;
    let setting = PathBuf::from(format!(
        "/sys/class/bdi/{}:{}/read_ahead_kb",
        about.stx_dev_major, about.stx_dev_minor
    ));
    std::fs::write(&setting, READ_AHEAD_KB.to_string()).map_err(Error::io("write", setting))
}

/// Mounts `source` at `target` as well; read-only, without suid and devices.
///
/// # Errors
/// [`Error::Io`]; nothing is mounted then.
pub fn mount_bind_read_only(source: &Path, target: &Path) -> Result<()> {
    let point = open_folder(target)?;
    let tree = clone(source)?;
    attach(&tree, &point).map_err(Error::io("bind a mount to", target))?;
    restrict(&tree).map_err(|source| {
        // The descriptor stands for the mount just made, whatever the path has become.
        let _ = rustix::mount::unmount(through_proc(tree.as_fd()), UnmountFlags::DETACH);
        Error::io("restrict the mount", target)(source)
    })
}

/// Mounts `source` at `target` as well, with the flags it has.
///
/// # Errors
/// [`Error::Io`]; nothing is mounted then.
pub fn mount_bind(source: &Path, target: &Path) -> Result<()> {
    let point = open_folder(target)?;
    let tree = clone(source)?;
    attach(&tree, &point).map_err(Error::io("bind a mount to", target))
}

fn clone(source: &Path) -> Result<OwnedFd> {
    open_tree(
        CWD,
        source,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
    )
    .map_err(Error::io("clone the mount", source))
}

/// Neither rustix nor nix has mount_setattr; the classic remount works on an attached mount only.
fn restrict(tree: &OwnedFd) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    mount(
        None::<&str>,
        &through_proc(tree.as_fd()),
        None::<&str>,
        MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV,
        None::<&str>,
    )
}

/// Unmounts `target`; no error when nothing is mounted there. Busy mounts are detached.
///
/// # Errors
/// [`Error::Io`] when the kernel refuses even that.
pub fn unmount(target: &Path) -> Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => gone(
            target,
            rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH),
        ),
        other => gone(target, other),
    }
}

/// Unmounts `target` unless somebody goes on using it; no error when nothing is mounted there. Blocks for half a second at most.
///
/// # Errors
/// [`Error::Busy`] when a process has a file open or its working folder in it; it stays mounted.
pub fn unmount_idle(target: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if begun.elapsed() < PASSING_USE => sleep(PASSING_USE / 25),
            Err(Errno::BUSY) => {
                return Err(Error::Busy {
                    what: "Mount",
                    name: target.display().to_string(),
                    why: "is in use by a process".to_owned(),
                });
            }
            other => return gone(target, other),
        }
    }
}

/// EINVAL is the kernel's word for "not a mount point".
fn gone(target: &Path, result: rustix::io::Result<()>) -> Result<()> {
    match result {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("unmount", target)(error)),
    }
}

/// True when `target` is the root of a mount. Asks no server: a mount whose server is dead answers too.
///
/// # Errors
/// [`Error::Io`] when the path cannot be looked at.
pub fn is_mounted(target: &Path) -> Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(CWD, target, flags, StatxFlags::TYPE) {
        Ok(about) => Ok(about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        // The connection of a FUSE mount was aborted; it is still mounted.
        Err(Errno::NOTCONN) => Ok(true),
        Err(error) => Err(Error::io("look at", target)(error)),
    }
}

/// True while the FUSE file system of this device lives: it is mounted somewhere, in whatever mount namespace, or a file
/// of it is open. Asks no server.
#[must_use]
pub fn is_connected(device: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(device, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // The kernel says that a device has no connection by an error condition.
    let found = poll(&mut asked, Some(&now));
    found.is_err() || !asked[0].revents().contains(PollFlags::ERR)
}

/// The folder `target` itself: a symbolic link in its place is refused.
fn open_folder(target: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(
        CWD,
        target,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Error::io("open the folder", target))
}

/// Puts the detached mount `mount` on the folder `point`.
fn attach(mount: &OwnedFd, point: &OwnedFd) -> rustix::io::Result<()> {
    move_mount(
        mount,
        "",
        point,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// A path that leads to exactly what `descriptor` stands for.
fn through_proc(descriptor: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// True when `descriptor` is the FUSE device.
///
/// # Errors
/// What `fstat` says.
pub fn is_fuse_device(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    const MAJOR: u32 = 10;
    const MINOR: u32 = 229;
    let about = rustix::fs::fstat(descriptor)?;
    let is_device = rustix::fs::FileType::from_raw_mode(about.st_mode).is_char_device();
    let number = (
        rustix::fs::major(about.st_rdev),
        rustix::fs::minor(about.st_rdev),
    );
    Ok(is_device && number == (MAJOR, MINOR))
}
