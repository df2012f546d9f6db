//! Where the store lies: what its file system can do, how much room there is, and whether the store can be read.

use std::{io, path::Path, time::Duration};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        CWD, Dir, FileType, FsWord, Mode, OFlags, StatFs, XattrFlags, fsetxattr, ioctl_ficlone,
        openat, statfs, statvfs,
    },
    io::{Errno, write},
};
use snap_api::Check;
use snap_store::Store;

use super::{ok, problem, warning};
use crate::{backup, clock, collect::relief::Usage, config::Config};

/// A copy that is younger is never called late.
const LATE_SECONDS: u64 = 60 * 60;

/// File system types, from the kernel's `linux/magic.h`.
const OVERLAYFS: FsWord = 0x794c_7630;
const TMPFS: FsWord = 0x0102_1994;
const EXT4: FsWord = 0xef53;
const XFS: FsWord = 0x5846_5342;
const BTRFS: FsWord = 0x9123_683e;
const NFS: FsWord = 0x6969;
const FUSE: FsWord = 0x6573_5546;

/// An attribute of the kind overlayfs keeps its own marks in.
const TRIAL_XATTR: &str = "trusted.snapshotd.trial";

/// Whether the writable layers of restored containers can lie here.
pub(super) fn file_system(root: &Path) -> Check {
    let name = "root file system";
    let kind = match statfs(root) {
        Ok(StatFs { f_type, .. }) => f_type,
        Err(error) => {
            return problem(
                name,
                format!("{}: {error}", root.display()),
                "make the folder, or name another with `root` in the configuration",
            );
        }
    };
    judge_file_system(kind, has_types(root), takes_xattrs(root))
}

pub(super) fn judge_file_system(
    kind: FsWord,
    has_types: Result<bool, Errno>,
    takes_xattrs: Result<(), Errno>,
) -> Check {
    let name = "root file system";
    let found = kind_name(kind);
    let move_it = "put the root folder on ext4, xfs or btrfs";
    if matches!(kind, OVERLAYFS | NFS | FUSE) {
        let found = format!("{found}, which cannot hold the writable layers of containers");
        return problem(name, found, move_it);
    }
    if let Err(error) = takes_xattrs {
        let found = format!("{found} does not take trusted attributes: {error}");
        return problem(name, found, move_it);
    }
    match has_types {
        Ok(true) => {}
        Ok(false) => {
            return problem(
                name,
                format!("{found} does not give the types of entries"),
                "make it again with them (xfs: `mkfs.xfs -n ftype=1`)",
            );
        }
        Err(error) => return problem(name, format!("{found} cannot be read: {error}"), move_it),
    }
    if kind == TMPFS {
        return warning(name, "tmpfs, which is empty after the next boot", move_it);
    }
    ok(name, found)
}

/// Whether a file can be set aside without copying it.
pub(super) fn reflinks(root: &Path) -> Check {
    let name = "reflinks";
    match try_clone(root) {
        Ok(()) => ok(name, "yes"),
        Err(error) => warning(
            name,
            format!("no ({error})"),
            "files that change during a capture are copied while the container stands still; \
             on xfs or btrfs they would be cloned",
        ),
    }
}

/// Whether a capture still has room.
pub(super) fn space(root: &Path, reserve_bytes: u64) -> Check {
    match statvfs(root) {
        Ok(stat) => judge_space(stat.f_bavail.saturating_mul(stat.f_frsize), reserve_bytes),
        Err(error) => problem(
            "free space",
            format!("{}: {error}", root.display()),
            "make the folder, or name another with `root` in the configuration",
        ),
    }
}

pub(super) fn judge_space(free: u64, reserve: u64) -> Check {
    let name = "free space";
    let hint = "remove snapshots, shorten times to live, or give the store a larger disk";
    let found = format!("{} MiB, {} MiB of them reserved", free >> 20, reserve >> 20);
    if free <= reserve {
        problem(name, found, hint)
    } else if free / 2 <= reserve {
        warning(name, found, hint)
    } else {
        ok(name, found)
    }
}

/// Whether the disk is so full that captures may be refused.
pub(super) fn pressure(config: &Config) -> Check {
    match Usage::of(&config.root) {
        Ok(usage) => judge_pressure(
            usage.percent(),
            config.disk_low_percent,
            config.disk_high_percent,
        ),
        Err(error) => problem(
            "disk pressure",
            error.to_string(),
            "make the folder, or name another with `root` in the configuration",
        ),
    }
}

/// Whether something is known to be damaged.
pub(super) fn damage(snapshots: u64, packs: u64) -> Check {
    let name = "damage";
    match snapshots + packs {
        0 => ok(name, "none is known"),
        _ => problem(
            name,
            format!("damaged snapshots: {snapshots}; damaged packs found by the scrub: {packs}"),
            "`snapctl repair --dry-run` names the files and says what can be mended",
        ),
    }
}

pub(super) fn judge_pressure(used: u8, low: u8, high: u8) -> Check {
    let name = "disk pressure";
    let hint = "remove snapshots, shorten times to live, or give the store a larger disk; \
                `snapctl collect` gives back what no snapshot needs";
    let found = format!("{used} % used; captures are refused from {high} % on");
    match (used >= high, used >= low) {
        _ if high == 100 => ok(name, format!("{used} % used; turned off")),
        (true, _) => problem(name, found, hint),
        (false, true) => warning(name, found, hint),
        (false, false) => ok(name, found),
    }
}

/// Whether there is a recent copy of the catalogue.
pub(super) fn backups(config: &Config) -> Check {
    let newest = backup::newest(config);
    let age = newest.map(|kept| clock::now().saturating_sub(kept.made_at));
    judge_backups(config.backup_interval, age)
}

/// `age` is the newest copy's, in seconds; negative for one that the clock says is to come.
pub(super) fn judge_backups(interval: Option<Duration>, age: Option<i64>) -> Check {
    let name = "catalogue backups";
    let Some(interval) = interval else {
        return ok(name, "turned off");
    };
    let hint = "the daemon's log says why: `journalctl -u snapshotd`; \
                `snapctl backup FILE` makes one elsewhere";
    // One that is due just now is not late yet.
    let latest = interval.saturating_mul(2).as_secs().max(LATE_SECONDS);
    let age = age.map(|age| u64::try_from(age).unwrap_or(0));
    match age {
        // A daemon that was installed just now has none.
        None => warning(
            name,
            "none yet; the first is made a minute after the start",
            hint,
        ),
        Some(age) => {
            let words = humantime::format_duration(Duration::from_secs(age));
            let found = format!("the newest is {words} old");
            match age <= latest {
                true => ok(name, found),
                false => warning(name, found, hint),
            }
        }
    }
}

/// Whether the store's index and folder of manifests can be read.
pub(super) fn store(store: &Store) -> Check {
    let looked = store
        .stats()
        .and_then(|stats| Ok((stats, store.manifests()?.len())));
    match looked {
        Ok((stats, snapshots)) => ok(
            "store",
            format!(
                "{snapshots} snapshots, {} packs, {} chunks",
                stats.packs, stats.chunks
            ),
        ),
        Err(error) => problem(
            "store",
            error.to_string(),
            "`snapctl verify` says which snapshots are hit; the daemon's log has more",
        ),
    }
}

fn kind_name(kind: FsWord) -> String {
    match kind {
        OVERLAYFS => "overlayfs".to_owned(),
        TMPFS => "tmpfs".to_owned(),
        EXT4 => "ext4".to_owned(),
        XFS => "xfs".to_owned(),
        BTRFS => "btrfs".to_owned(),
        NFS => "nfs".to_owned(),
        FUSE => "fuse".to_owned(),
        other => format!("type {other:#x}"),
    }
}

fn nameless(root: &Path) -> Result<OwnedFd, Errno> {
    openat(
        CWD,
        root,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
}

fn try_clone(root: &Path) -> Result<(), io::Error> {
    let (from, to) = (nameless(root)?, nameless(root)?);
    write(&from, &[1; 4096])?;
    Ok(ioctl_ficlone(&to, &from)?)
}

fn takes_xattrs(root: &Path) -> Result<(), Errno> {
    fsetxattr(
        nameless(root)?.as_fd(),
        TRIAL_XATTR,
        b"1",
        XattrFlags::empty(),
    )
}

fn has_types(root: &Path) -> Result<bool, Errno> {
    let folder = openat(
        CWD,
        root,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in Dir::read_from(folder)? {
        if entry?.file_type() == FileType::Unknown {
            return Ok(false);
        }
    }
    Ok(true)
}
