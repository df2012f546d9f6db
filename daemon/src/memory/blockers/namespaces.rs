//! Namespaces CRIU cannot bring back: those within the container, and a user namespace of the container's own, as whose root nobody
//! may read the images.

use std::{fs, path::PathBuf};

use super::{Reason, field};

/// Kinds of which a container may have one for all its processes. Mount namespaces may be as many as there are processes.
const KINDS: [&str; 7] = ["user", "pid", "uts", "ipc", "net", "cgroup", "time"];

/// The container's first process: it leads the others, and CRIU begins with it.
pub(super) fn first(pids: &[u32]) -> Option<u32> {
    let is_first = |pid: &&u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // As each namespace counts it, from the outermost to its own.
        field(&status, "NSpid:").is_some_and(|numbers| {
            let mut numbers = numbers.split_ascii_whitespace().skip(1);
            numbers.next() == Some("1")
        })
    };
    pids.iter().find(is_first).or(pids.iter().min()).copied()
}

/// What is in namespaces that cannot be brought back.
pub(super) fn find(pids: &[u32], first: u32) -> Vec<(u32, Reason)> {
    let mut found = Vec::new();
    let is_own = of(first, "user").is_some_and(|its| Some(its) != of(std::process::id(), "user"));
    if is_own {
        let what =
            "has a user namespace of its own: it could not read the images it is to go on from";
        let hint = "Run the container without one, or capture its files alone";
        found.push((first, ("user-namespace", what.to_owned(), hint)));
    }
    for &pid in pids {
        let nested = KINDS
            .iter()
            .find(|kind| match (of(pid, kind), of(first, kind)) {
                (Some(own), Some(firsts)) => own != firsts,
                // It has ended.
                _ => false,
            });
        let reason = nested.map(|kind| {
            let what = format!("is in a {kind} namespace within the container");
            (
                "nested-namespace",
                what,
                "Capture the container when that process has ended",
            )
        });
        found.extend(reason.map(|reason| (pid, reason)));
    }
    found
}

fn of(pid: u32, kind: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shares_every_namespace_with_the_first_stands_in_nobodys_way() {
        let own = std::process::id();
        assert!(find(&[own, 0], own).is_empty());
        assert_eq!(first(&[own]), Some(own));
        assert_eq!(first(&[]), None);
    }
}
