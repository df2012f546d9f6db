//! What processes have that CRIU is known not to capture: looked for while they run, so that nothing stands still in vain.
//!
//! What is not found here may still be refused by CRIU, in its own words.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use snap_api::Blocker;

mod mounts;
mod namespaces;
mod sockets;
mod terminals;

/// CRIU keeps the content of files that are deleted and still open only up to this size.
const MAX_DELETED_BYTES: u64 = 1 << 20;
/// Links of descriptors of kernel objects that CRIU does not know.
const KERNEL_OBJECTS: [&str; 6] = [
    "anon_inode:[perf_event]",
    "anon_inode:[userfaultfd]",
    "anon_inode:bpf-prog",
    "anon_inode:bpf_link",
    "anon_inode:kvm-vm",
    "anon_inode:kvm-vcpu",
];
const IO_URING: &str = "anon_inode:[io_uring]";
/// How much is said at most of one container.
const MAX_FOUND: usize = 32;

/// An open descriptor, as `/proc` shows it.
struct Open {
    /// Where its link leads.
    link: PathBuf,
    /// Its device number, when it is a character or block device.
    device: Option<u64>,
    /// Its size when it is a file that no name leads to.
    deleted_bytes: Option<u64>,
}

/// What stands in the way in these processes of a container that was given mounts at these places. A process that has ended has
/// nothing.
pub(super) fn find(pids: &[u32], given: &[String]) -> Vec<Blocker> {
    let mut found = Vec::new();
    if let Some(first) = namespaces::first(pids) {
        let all = [
            namespaces::find(pids, first),
            mounts::find(first, given),
            terminals::find(pids),
            sockets::find(pids, first),
        ];
        found.extend(
            all.into_iter()
                .flatten()
                .map(|(pid, reason)| told(pid, reason)),
        );
    }
    for &pid in pids {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let open = descriptors(&process);
        let mut reasons: Vec<_> = open.iter().filter_map(judge).collect();
        reasons.extend(mapped_devices(&process));
        reasons.extend(traced(&status));
        reasons.sort_unstable();
        reasons.dedup();
        found.extend(reasons.into_iter().map(|reason| told(pid, reason)));
        if found.len() >= MAX_FOUND {
            break;
        }
    }
    found.truncate(MAX_FOUND);
    found
}

fn told(pid: u32, (kind, what, hint): Reason) -> Blocker {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let name = field(&status, "Name:").unwrap_or("?");
    Blocker {
        kind: kind.to_owned(),
        pid: Some(pid),
        found: format!("process {pid} ({name}) {what}"),
        hint: Some(hint.to_owned()),
    }
}

/// Kind, what is found, what to do.
type Reason = (&'static str, String, &'static str);

fn traced(status: &str) -> Option<Reason> {
    let tracer = field(status, "TracerPid:")?;
    let what = format!("is traced by process {tracer}");
    (tracer != "0").then_some(("traced", what, "Detach the debugger"))
}

fn judge(open: &Open) -> Option<Reason> {
    let link = open.link.to_string_lossy();
    if link == IO_URING {
        let what = "uses io_uring".to_owned();
        return Some((
            "io-uring",
            what,
            "Have it use another way to read and write",
        ));
    }
    if KERNEL_OBJECTS.contains(&link.as_ref()) {
        let what = format!("holds {link}");
        return Some(("kernel-object", what, "Have it close that first"));
    }
    if open.device.is_some_and(|device| !is_known(device)) {
        let what = format!("holds the device {link}");
        return Some(("device", what, "Have it close the device first"));
    }
    let bytes = open.deleted_bytes?;
    // What was never a file with a name is memory, which is captured.
    let is_memory = ["/memfd:", "/dev/zero", "/SYSV", "/anon_hugepage"]
        .iter()
        .any(|memory| link.starts_with(memory));
    if is_memory || bytes <= MAX_DELETED_BYTES {
        return None;
    }
    let what = format!("holds {link}, {bytes} bytes; {MAX_DELETED_BYTES} at most can be kept");
    Some((
        "large-deleted-file",
        what,
        "Have it close the file, or `ghost-limit SIZE` in /etc/criu/runc.conf",
    ))
}

/// Devices CRIU opens again: memory and its like, terminals, tun.
fn is_known(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    matches!((major, minor), (1 | 4 | 5 | 136..=143, _) | (10, 200))
}

/// Devices it has in its memory, whose descriptors it may have closed: as drivers of GPUs do.
fn mapped_devices(process: &Path) -> Vec<Reason> {
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    let devices = maps.lines().filter_map(|line| {
        let place = line.split_once(" /dev/").map(|(_, place)| place)?;
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let plain = |number: &str| u64::from_str_radix(number, 16).ok();
        let name = format!("{:x}-{:x}", plain(from)?, plain(to)?);
        let about = fs::metadata(process.join("map_files").join(name)).ok()?;
        let is_device = about.file_type().is_char_device() && !is_known(about.rdev());
        let what = format!("has the device /dev/{place} in its memory");
        is_device.then_some(("device", what, "Have it close the device first"))
    });
    devices.collect()
}

fn descriptors(process: &Path) -> Vec<Open> {
    let entries = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            let about = fs::metadata(entry.path()).ok()?;
            let kind = about.file_type();
            let is_device = kind.is_char_device() || kind.is_block_device();
            Some(Open {
                link,
                device: is_device.then_some(about.rdev()),
                deleted_bytes: (kind.is_file() && about.nlink() == 0).then_some(about.len()),
            })
        })
        .collect()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(link: &str) -> Open {
        Open {
            link: link.into(),
            device: None,
            deleted_bytes: None,
        }
    }

    fn kind(open: &Open) -> Option<&'static str> {
        judge(open).map(|(kind, ..)| kind)
    }

    #[test]
    fn what_criu_does_not_know_stands_in_the_way() {
        assert_eq!(kind(&open("anon_inode:[io_uring]")), Some("io-uring"));
        for object in KERNEL_OBJECTS {
            assert_eq!(kind(&open(object)), Some("kernel-object"));
        }
        for fine in [
            "anon_inode:[eventfd]",
            "anon_inode:[eventpoll]",
            "anon_inode:[signalfd]",
            "anon_inode:[timerfd]",
            "anon_inode:inotify",
            "socket:[12]",
            "pipe:[7]",
            "/etc/passwd",
        ] {
            assert_eq!(kind(&open(fine)), None, "{fine}");
        }
    }

    #[test]
    fn devices_of_the_host_stand_in_the_way_and_those_every_container_has_do_not() {
        let device = |major, minor| Open {
            device: Some(rustix::fs::makedev(major, minor)),
            ..open("/dev/x")
        };
        for (major, minor) in [(1, 3), (1, 9), (5, 0), (136, 4), (10, 200)] {
            assert_eq!(kind(&device(major, minor)), None);
        }
        for (major, minor) in [(10, 229), (195, 0), (226, 128), (8, 0)] {
            assert_eq!(kind(&device(major, minor)), Some("device"));
        }
    }

    #[test]
    fn a_large_file_that_is_deleted_stands_in_the_way_and_memory_does_not() {
        let deleted = |link: &str, bytes| Open {
            deleted_bytes: Some(bytes),
            ..open(link)
        };
        let large = MAX_DELETED_BYTES + 1;
        let name = "/tmp/x (deleted)";
        assert_eq!(kind(&deleted(name, large)), Some("large-deleted-file"));
        assert_eq!(kind(&deleted(name, MAX_DELETED_BYTES)), None);
        assert_eq!(kind(&deleted("/memfd:x (deleted)", large)), None);
        assert_eq!(kind(&deleted("/SYSV00 (deleted)", large)), None);
    }

    #[test]
    fn a_process_is_looked_at_as_it_is() {
        let own = std::process::id();
        let of_files = |found: Vec<Blocker>| {
            let files = found
                .into_iter()
                .filter(|one| one.kind == "large-deleted-file");
            files.count()
        };
        let before = of_files(find(&[own], &[]));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 2 << 20]).unwrap();
        assert_eq!(of_files(find(&[own], &[])), before + 1);
        assert_eq!(find(&[0], &[]), []);
    }

    #[test]
    fn who_is_traced_cannot_be_captured() {
        let status = |tracer: u32| format!("Name:\tx\nTracerPid:\t{tracer}\n");
        assert!(traced(&status(0)).is_none());
        assert_eq!(traced(&status(7)).unwrap().0, "traced");
    }
}
