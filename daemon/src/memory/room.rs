//! How much memory the processes of a container have, and whether there is room for a copy of it in memory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use snap_api::{ErrorCode, ErrorReport};

use crate::error::{Error, Result};

/// What CRIU writes beside pages, and what must be left to everybody else.
const MARGIN_BYTES: u64 = 64 << 20;

/// Sum of what these processes have in memory or swapped out, in bytes. One that has ended counts nothing.
pub(super) fn estimate(pids: &[u32]) -> u64 {
    let statuses = pids
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
    statuses.map(|status| resident(&status)).sum()
}

/// Captures under way: where each writes its images, and of how many bytes they were thought to be.
static UNDER_WAY: Mutex<Vec<(PathBuf, u64)>> = Mutex::new(Vec::new());

/// Room for the images of one capture, until it is dropped: what is not written of them yet is not given to another.
#[derive(Debug)]
pub(super) struct Room(PathBuf);

impl Room {
    /// Room for images of about `estimate` bytes in the folder that `make` makes for so many bytes at most.
    ///
    /// # Errors
    /// `no-memory-room` when not even the estimate has room, and what `make` says.
    pub(super) fn take(estimate: u64, make: impl FnOnce(u64) -> Result<PathBuf>) -> Result<Self> {
        let mut under_way = under_way();
        let path = make(limit_beside(estimate, &under_way)?)?;
        under_way.push((path.clone(), estimate));
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        under_way().retain(|(path, _)| *path != self.0);
    }
}

fn under_way() -> MutexGuard<'static, Vec<(PathBuf, u64)>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How large a copy of the images may become, for images of about `estimate` bytes.
///
/// # Errors
/// `no-memory-room` when not even the estimate has room.
pub(super) fn limit(estimate: u64) -> Result<u64> {
    limit_beside(estimate, &under_way())
}

fn limit_beside(estimate: u64, under_way: &[(PathBuf, u64)]) -> Result<u64> {
    let path = "/proc/meminfo";
    let meminfo = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let available = field(&meminfo, "MemAvailable:").unwrap_or(0);
    judge(estimate, available, promised(under_way, written))
}

/// What the captures under way are going to write, by what each has written.
fn promised(under_way: &[(PathBuf, u64)], written: impl Fn(&Path) -> u64) -> u64 {
    let outstanding = under_way
        .iter()
        .map(|(path, estimate)| estimate.saturating_sub(written(path)));
    outstanding.fold(0, u64::saturating_add)
}

/// Bytes in the file system of a folder.
fn written(folder: &Path) -> u64 {
    let about = rustix::fs::statvfs(folder);
    about.map_or(0, |about| {
        (about.f_blocks.saturating_sub(about.f_bfree)).saturating_mul(about.f_frsize)
    })
}

fn judge(estimate: u64, available: u64, promised: u64) -> Result<u64> {
    // What the copy may take beyond the estimate: files in tmpfs, what was allocated since.
    let limit = available
        .saturating_sub(MARGIN_BYTES)
        .saturating_sub(promised);
    if estimate <= limit {
        return Ok(limit);
    }
    let message = format!(
        "The processes have {estimate} bytes of memory, and a copy of it has room for {limit} bytes"
    );
    Err(
        ErrorReport::new(ErrorCode::Unavailable, "no-memory-room", message)
            .hint("Free memory on this host, or capture the files alone")
            .into(),
    )
}

fn resident(status: &str) -> u64 {
    ["VmRSS:", "VmSwap:"]
        .iter()
        .filter_map(|name| field(status, name))
        .sum()
}

/// A field of kilobytes, in bytes.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_swapped_out_counts_too() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t    12 kB\nVmSwap:\t       3 kB\n";
        assert_eq!(resident(status), 15 << 10);
        assert_eq!(resident("Name:\tkthread\n"), 0);
        assert!(estimate(&[std::process::id()]) > 0);
        assert_eq!(estimate(&[0]), 0);
    }

    #[test]
    fn a_copy_that_does_not_fit_is_refused_before_anything_stands_still() {
        assert_eq!(
            judge(1 << 20, 1 << 30, 0).unwrap(),
            (1 << 30) - MARGIN_BYTES
        );
        let report = ErrorReport::from(judge(1 << 30, 1 << 30, 0).unwrap_err());
        assert_eq!(report.reason, "no-memory-room");
        assert!(judge(1, 0, 0).is_err());
    }

    /// Two captures that begin at the same moment were both told that all memory is theirs.
    #[test]
    fn what_was_promised_to_one_capture_is_not_given_to_another() {
        const GIB: u64 = 1 << 30;
        let paths = ["one", "other"].map(PathBuf::from);
        let under_way = paths.map(|path| (path, 3 * GIB));
        let one_has_written = |path: &Path| {
            if path == Path::new("one") {
                GIB
            } else {
                9 * GIB
            }
        };
        let promised = promised(&under_way, one_has_written);
        assert_eq!(promised, 2 * GIB);
        assert!(judge(3 * GIB, 4 * GIB, promised).is_err());
        assert_eq!(
            judge(GIB, 4 * GIB, promised).unwrap(),
            2 * GIB - MARGIN_BYTES
        );
    }

    #[test]
    fn room_is_promised_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::take(7, |_| Ok(folder.path().to_owned())).unwrap();
        let promise = (folder.path().to_owned(), 7);
        assert!(under_way().contains(&promise));
        drop(room);
        assert!(!under_way().contains(&promise));
        let all = Room::take(u64::MAX, |_| panic!("there is no such room"));
        assert_eq!(ErrorReport::from(all.unwrap_err()).reason, "no-memory-room");
    }
}
