//! How large images of memory would become, told from what the kernel says of processes that run on.

use std::fs;

use super::room;

/// What CRIU writes beside pages, for each process: descriptors, mappings, registers.
const BESIDE_PAGES: u64 = 16 << 10;
/// And for the container: mounts, control groups, network.
const OF_CONTAINER: u64 = 64 << 10;

/// How many bytes the images of these processes would have, and by what that was told.
pub(super) fn images(pids: &[u32]) -> (u64, &'static str) {
    let beside = OF_CONTAINER + BESIDE_PAGES * pids.len() as u64;
    let mut pages = 0;
    let mut is_told = false;
    for pid in pids {
        if let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            pages += of_rollup(&rollup);
            is_told = true;
        }
    }
    if is_told {
        let from = "anonymous, shared and swapped pages in smaps_rollup of each process";
        return (pages + beside, from);
    }
    let from = "resident and swapped pages of each process, of which files need none";
    (room::estimate(pids) + beside, from)
}

/// Pages of files are not written, those that were changed in private mappings count as anonymous. Shared memory is written once,
/// whoever shares it.
fn of_rollup(rollup: &str) -> u64 {
    ["Anonymous:", "Swap:", "Pss_Shmem:"]
        .iter()
        .filter_map(|name| room::field(rollup, name))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_files_do_not_count() {
        let rollup = "00400000-7fff [rollup]\nRss:   900 kB\nPss_File:  500 kB\nPss_Shmem:    8 kB\nAnonymous:   40 kB\nSwap:    2 kB\nSwapPss:   2 kB\n";
        assert_eq!(of_rollup(rollup), 50 << 10);
        let (own, from) = images(&[std::process::id()]);
        assert!(own > OF_CONTAINER + BESIDE_PAGES && from.contains("smaps_rollup"));
        let (none, from) = images(&[0]);
        assert_eq!(none, OF_CONTAINER + BESIDE_PAGES);
        assert!(from.contains("resident"));
    }
}
