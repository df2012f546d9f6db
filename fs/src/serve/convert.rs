//! From the view's words to FUSE's and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use snap_store::{DeviceNumber, Timestamp};

use crate::view::{Attributes, Kind, Seek};

/// Preferred size of reads, as shown by `stat`.
const BLOCK_BYTES: u32 = 4096;
/// `SEEK_DATA` and `SEEK_HOLE` of Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Number 0 in an answer to a look-up: there is nothing, and the kernel may remember that.
pub(super) const NO_ENTRY: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: BLOCK_BYTES,
    flags: 0,
};

/// What FUSE calls attributes.
pub(super) fn attr(about: &Attributes) -> FileAttr {
    let time = system_time(about.modified);
    FileAttr {
        ino: INodeNo(about.number),
        size: about.size,
        blocks: about.blocks,
        atime: time,
        mtime: time,
        ctime: time,
        kind: file_type(about.kind),
        perm: about.mode,
        nlink: about.links,
        uid: about.uid,
        gid: about.gid,
        rdev: about.device.map_or(0, device),
        ..NO_ENTRY
    }
}

/// What FUSE calls a kind.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// What `lseek` asks for; the kernel itself answers all but data and holes.
pub(super) fn seek(offset: i64, whence: i32) -> Result<(u64, Seek), Errno> {
    let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
    match whence {
        SEEK_DATA => Ok((offset, Seek::Data)),
        SEEK_HOLE => Ok((offset, Seek::Hole)),
        _ => Err(Errno::EINVAL),
    }
}

/// The kernel's 32-bit form: 12 bits of major around the low 8 bits of minor.
fn device(number: DeviceNumber) -> u32 {
    (number.minor & 0xff) | (number.major & 0xfff) << 8 | (number.minor & 0xf_ff00) << 12
}

fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds));
    whole
        .and_then(|whole| whole.checked_add(nanoseconds))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = Timestamp {
            seconds: -2,
            nanoseconds: 800_000_000,
        };
        let expected = UNIX_EPOCH - Duration::from_millis(1200);
        assert_eq!(system_time(time), expected);
    }

    #[test]
    fn device_numbers_have_the_kernels_form() {
        let number = |major, minor| device(DeviceNumber { major, minor });
        assert_eq!(number(1, 3), 0x103);
        assert_eq!(number(0xfff, 0xf_ffff), 0xffff_ffff);
        assert_eq!(number(8, 0x1_2345), 0x1230_0845);
    }
}
