//! Terminals whose other end is outside of the container: whoever holds that end does not come back with the processes, and CRIU has
//! nothing to give them in its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use super::Reason;

/// Major number of terminals; the minor one is the terminal's own.
const TERMINAL: u32 = 136;
/// Numbers of the device whose descriptors are the other ends.
const MULTIPLEXER: (u32, u32) = (5, 2);

/// The first process of each such terminal.
pub(super) fn find(pids: &[u32]) -> Vec<(u32, Reason)> {
    let mut held = BTreeMap::new();
    let mut other_ends = BTreeSet::new();
    for &pid in pids {
        let process = format!("/proc/{pid}");
        let entries = fs::read_dir(format!("{process}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(about) = fs::metadata(entry.path()) else {
                continue;
            };
            if !about.file_type().is_char_device() {
                continue;
            }
            let (major, minor) = (
                rustix::fs::major(about.rdev()),
                rustix::fs::minor(about.rdev()),
            );
            if major == TERMINAL {
                held.entry(minor).or_insert(pid);
            }
            if (major, minor) == MULTIPLEXER {
                let name = entry.file_name();
                let info = Path::new(&process).join("fdinfo").join(name);
                let info = fs::read_to_string(info).unwrap_or_default();
                other_ends.extend(number(&info));
            }
        }
    }
    judge(held, &other_ends)
}

fn judge(held: BTreeMap<u32, u32>, other_ends: &BTreeSet<u32>) -> Vec<(u32, Reason)> {
    let outside = held
        .into_iter()
        .filter(|(number, _)| !other_ends.contains(number));
    let told = outside.map(|(number, pid)| {
        let what = format!("holds terminal {number}, whose other end is outside of the container");
        (
            pid,
            ("terminal", what, "Run the container without a terminal"),
        )
    });
    told.collect()
}

/// The terminal of which this descriptor is the other end.
fn number(info: &str) -> Option<u32> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("tty-index:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_whose_other_end_is_inside_stands_in_nobodys_way() {
        let held = BTreeMap::from([(3, 70), (4, 71)]);
        let found = judge(held.clone(), &BTreeSet::from([3]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.0), (71, "terminal"));
        assert!(judge(held, &BTreeSet::from([3, 4, 5])).is_empty());
        assert_eq!(number("pos:\t0\nflags:\t02\ntty-index:\t12\n"), Some(12));
        assert_eq!(number("pos:\t0\ntty-index: x\n"), None);
    }
}
