//! How much memory the processes of a container have, and whether there is room for a copy of it in memory.

use std::fs;

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

/// How large a copy of the images may become, for images of about `estimate` bytes.
///
/// # Errors
/// `no-memory-room` when not even the estimate has room.
pub(super) fn limit(estimate: u64) -> Result<u64> {
    let path = "/proc/meminfo";
    let meminfo = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let available = field(&meminfo, "MemAvailable:").unwrap_or(0);
    judge(estimate, available)
}

fn judge(estimate: u64, available: u64) -> Result<u64> {
    // What the copy may take beyond the estimate: files in tmpfs, what was allocated since.
    let limit = available.saturating_sub(MARGIN_BYTES);
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
        assert_eq!(judge(1 << 20, 1 << 30).unwrap(), (1 << 30) - MARGIN_BYTES);
        let report = ErrorReport::from(judge(1 << 30, 1 << 30).unwrap_err());
        assert_eq!(report.reason, "no-memory-room");
        assert!(judge(1, 0).is_err());
    }
}
