//! What one `statx` says of an inode, in the form the passes compare and keep.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, StatxTimestamp, statx},
    io,
};
use snap_store::{DeviceNumber, Meta, Timestamp, Xattr};

/// An inode of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InodeId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// The kinds of inodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// An inode's metadata but for its extended attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stat {
    pub(super) id: InodeId,
    pub(super) kind: Kind,
    pub(super) mode: u16,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) modified: Timestamp,
    pub(super) changed: Timestamp,
    pub(super) device: DeviceNumber,
    /// Another file system, or another part of this one, is mounted here.
    pub(super) is_mount: bool,
}

impl Stat {
    /// Looks at `name` in `folder` without following a link or triggering an automount.
    pub(super) fn of_name(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Self::of(&statx(folder, name, flags, wanted())?)
    }

    /// Looks at an open inode.
    pub(super) fn of_fd(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Self::of(&statx(fd, c"", AtFlags::EMPTY_PATH, wanted())?)
    }

    fn of(raw: &Statx) -> io::Result<Self> {
        Ok(Self {
            id: InodeId {
                device: u64::from(raw.stx_dev_major) << 32 | u64::from(raw.stx_dev_minor),
                inode: raw.stx_ino,
            },
            kind: Kind::of(raw.stx_mode)?,
            mode: raw.stx_mode & 0o7777,
            links: raw.stx_nlink,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            size: raw.stx_size,
            blocks: raw.stx_blocks,
            modified: timestamp(raw.stx_mtime),
            changed: timestamp(raw.stx_ctime),
            device: DeviceNumber {
                major: raw.stx_rdev_major,
                minor: raw.stx_rdev_minor,
            },
            is_mount: raw.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        })
    }

    /// True when nothing that `other` saw has been written since, as far as the inode tells.
    pub(super) fn is_unchanged(&self, other: &Self) -> bool {
        self.id == other.id
            && self.kind == other.kind
            && self.size == other.size
            && self.modified == other.modified
            && self.changed == other.changed
    }

    /// True when fewer blocks are allocated than the size needs: the file may have holes.
    pub(super) fn is_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }

    /// True when another name of the same inode may be met.
    pub(super) fn is_linked(&self) -> bool {
        self.links > 1 && self.kind != Kind::Directory
    }

    /// True for the device that stands for a deleted name in an overlay's layer.
    pub(super) fn is_whiteout_device(&self) -> bool {
        let DeviceNumber { major, minor } = self.device;
        self.kind == Kind::CharDevice && major == 0 && minor == 0
    }

    /// The same as an entry's metadata.
    pub(super) fn meta(&self, xattrs: Vec<Xattr>) -> Meta {
        Meta {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified: self.modified,
            xattrs,
        }
    }
}

impl Kind {
    fn of(mode: u16) -> io::Result<Self> {
        Ok(match FileType::from_raw_mode(mode.into()) {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return Err(io::Errno::INVAL),
        })
    }
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS
}

fn timestamp(raw: StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: raw.tv_sec,
        nanoseconds: raw.tv_nsec,
    }
}
