//! Mounts that came into the container from a mount of the host they follow: CRIU makes mounts anew, and cannot make one that is part
//! of another namespace's. What the container was given by its configuration is exempt: runc hands that over again.

use std::{collections::BTreeSet, fs};

use super::Reason;

/// Mounts of `first`'s namespace that follow mounts of another; `given` are the places of those that the configuration has.
pub(super) fn find(first: u32, given: &[String]) -> Vec<(u32, Reason)> {
    let table = fs::read_to_string(format!("/proc/{first}/mountinfo")).unwrap_or_default();
    let told = unreachable(&table, given).into_iter().map(|place| {
        let what = format!("has a mount at {place} that follows one of the host");
        let hint =
            "Unmount it on the host, or give the container that folder as a mount of its own";
        (first, ("shared-mount", what, hint))
    });
    told.collect()
}

fn unreachable(table: &str, given: &[String]) -> Vec<String> {
    let mounts: Vec<Mount<'_>> = table.lines().filter_map(Mount::read).collect();
    let shared: BTreeSet<&str> = mounts.iter().filter_map(|mount| mount.shared).collect();
    let outside = mounts.iter().filter(|mount| {
        let is_given = given
            .iter()
            .any(|place| place.trim_end_matches('/') == mount.place);
        // The root is runc's to make.
        mount.place != "/" && !is_given && mount.master.is_some_and(|it| !shared.contains(it))
    });
    outside.map(|mount| mount.place.to_owned()).collect()
}

/// A line of the kernel's table.
#[derive(Debug)]
struct Mount<'a> {
    place: &'a str,
    /// The group whose members all see what is mounted below one of them.
    shared: Option<&'a str>,
    /// The group it follows.
    master: Option<&'a str>,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let place = words.nth(4)?;
        // The options of the mount come next, and a dash after what is said of its propagation.
        let tags: Vec<&str> = words.skip(1).take_while(|word| *word != "-").collect();
        let tag = |name: &str| tags.iter().find_map(|tag| tag.strip_prefix(name));
        Some(Self {
            place,
            shared: tag("shared:"),
            master: tag("master:"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_mount_of_the_host_is_found_unless_it_was_given() {
        let table = "\
96 90 0:40 / / rw,relatime master:9 - overlay overlay rw
104 96 0:51 / /data rw,relatime shared:2 master:1 - tmpfs x rw
323 104 0:241 / /data/sub rw,relatime master:4 - tmpfs y rw
324 104 0:242 / /data/own rw,relatime master:2 - tmpfs y rw
325 104 0:243 / /data/private rw,relatime - tmpfs y rw
nonsense
";
        assert_eq!(unreachable(table, &["/data/".to_owned()]), ["/data/sub"]);
        assert_eq!(unreachable(table, &[]), ["/data", "/data/sub"]);
        assert!(find(0, &[]).is_empty());
    }
}
