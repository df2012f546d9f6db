//! When an inode's times prove that its content is what it was.
//!
//! Four things would make them lie, and each is met here or where a file is read (`warm.rs`):
//!
//! - **The clock's grain.** Two writes within one tick leave the same time. As git has it: a time is trusted only when
//!   it is older than the tick at which reading began, by a margin ([`is_settled`]).
//! - **Stores through a mapping.** A store into a page that is dirty already is not noticed by the kernel, and so not by
//!   the times. Write-back makes pages clean and write-protects them; the next store faults and updates the times. So all
//!   is written back before the first read: at once by one `syncfs`, and file by file what has changed since it began ([`Trust::sync`]).
//! - **A write under way.** It sets the times when it begins and copies after that, perhaps for long. These file systems
//!   hold the inode's lock for all of it, and looking for data (`SEEK_DATA`) or, on xfs, reading, waits for that lock.
//!   While the container stands still, no write is under way.
//! - **File systems that do none of this.** Only those that are known to are trusted ([`Trust::begin`]).

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, fstatfs, openat, syncfs},
    io::Errno,
    time::{ClockId, clock_gettime},
};
use snap_store::{Error, Result, Timestamp};

/// The coarse clock ticks every 10 ms at least. The rest is for two who are late without holding a lock: a direct write on
/// its way to a slow disk, and a thread that lost its processor in a page fault, after the times were set and before the
/// page became dirty.
const MARGIN: Duration = Duration::from_millis(250);

const EXT4: u64 = 0xEF53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683E;
const F2FS: u64 = 0xF2F5_2010;

/// The right to trust times on one file system.
///
/// It is written back before the first file is read, and not at all when none is: what is remembered was written back before it was
/// remembered, and what has been stored since shows in its times.
#[derive(Debug)]
pub(super) struct Trust {
    top: OwnedFd,
    /// When the file system began to be written back, or why it was not.
    synced: OnceLock<Result<Timestamp, Errno>>,
}

impl Trust {
    /// The right for the file system of `folder`; `None` when its times prove nothing.
    pub(super) fn begin(folder: BorrowedFd<'_>) -> Result<Option<Self>> {
        if !is_trusted(folder)? {
            return Ok(None);
        }
        // The descriptor given may be one that cannot be synced through.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let top = openat(folder, c".", flags, Mode::empty()).map_err(Error::io("open", "/"))?;
        let synced = OnceLock::new();
        Ok(Some(Self { top, synced }))
    }

    /// Writes the file system back, once; whoever else asks meanwhile waits for it. Returns the trust in files that are read from now on.
    pub(super) fn sync(&self) -> Result<Synced> {
        let begun = self.synced.get_or_init(|| {
            let begun = now();
            syncfs(&self.top).map(|()| begun)
        });
        let begun = begun.map_err(Error::io("write back the file system of", "/"))?;
        Ok(Synced { begun })
    }
}

/// A file system that has been written back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    begun: Timestamp,
}

impl Synced {
    /// True when a file that changed last at `changed` may have dirty pages again.
    pub(super) fn needs_sync(&self, changed: Timestamp) -> bool {
        !is_settled(changed, self.begun)
    }

    /// Waits until what had changed before this began is settled: once, for the margin at most, whatever there is to read.
    pub(super) fn settle(&self, changed: Timestamp) {
        let began = Instant::now();
        while changed <= self.begun && !is_settled(changed, now()) && began.elapsed() < MARGIN * 2 {
            thread::sleep(MARGIN / 10);
        }
    }
}

/// True when a change at `moment` or later cannot leave the time `changed`.
pub(super) fn is_settled(changed: Timestamp, moment: Timestamp) -> bool {
    let nanoseconds =
        |time: Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let margin = i128::try_from(MARGIN.as_nanos()).unwrap_or(i128::MAX);
    nanoseconds(changed) + margin < nanoseconds(moment)
}

/// The time the kernel would stamp a change with now, or a little earlier.
pub(super) fn now() -> Timestamp {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    Timestamp {
        seconds: now.tv_sec,
        nanoseconds: u32::try_from(now.tv_nsec).unwrap_or(0),
    }
}

/// True when the file system of `folder` is one whose times prove something.
pub(super) fn is_trusted(folder: BorrowedFd<'_>) -> Result<bool> {
    Ok(matches!(magic(folder)?, EXT4 | XFS | BTRFS | F2FS))
}

/// True when copies within the file system of `folder` may share their blocks.
pub(super) fn may_share_blocks(folder: BorrowedFd<'_>) -> bool {
    magic(folder).is_ok_and(|magic| matches!(magic, XFS | BTRFS))
}

fn magic(folder: BorrowedFd<'_>) -> Result<u64> {
    let status = fstatfs(folder).map_err(Error::io("inspect the file system of", "/"))?;
    // The kernel's word is signed on some machines; magic numbers have 32 bits.
    Ok(u64::try_from(status.f_type).unwrap_or(0) & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_within_the_margin_are_not_settled() {
        let at = |seconds, nanoseconds| Timestamp {
            seconds,
            nanoseconds,
        };
        assert!(is_settled(at(9, 0), at(10, 0)));
        assert!(is_settled(at(9, 749_999_999), at(10, 0)));
        assert!(!is_settled(at(9, 750_000_000), at(10, 0)));
        assert!(!is_settled(at(11, 0), at(10, 0)));
        assert!(is_settled(at(i64::MIN, 0), at(i64::MAX, 0)));
    }
}
