//! The kernel's freezer of a cgroup, for when containerd is not there to be asked.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use snap_store::{Error, Result};

/// A cgroup that can be frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Freezer {
    /// A folder of the freezer hierarchy of version 1.
    V1(PathBuf),
    /// A folder of the unified hierarchy.
    V2(PathBuf),
}

impl Freezer {
    /// The freezer of the process; `None` when the process is gone or the host has no freezer.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::find(&cgroups, &mounts)
    }

    /// runc uses the freezer of version 1 wherever there is one.
    fn find(cgroups: &str, mounts: &str) -> Option<Self> {
        let v1 = || {
            let below = cgroup_path(cgroups, |controllers| {
                controllers.split(',').any(|name| name == "freezer")
            })?;
            let top = mount_point(mounts, |kind, options| {
                kind == "cgroup" && options.split(',').any(|name| name == "freezer")
            })?;
            Some(Self::V1(top.join(below)))
        };
        let v2 = || {
            let below = cgroup_path(cgroups, str::is_empty)?;
            let top = mount_point(mounts, |kind, _| kind == "cgroup2")?;
            Some(Self::V2(top.join(below)))
        };
        v1().or_else(v2)
    }

    /// Thaws; no error when the cgroup is gone.
    pub(super) fn thaw(&self) -> Result<()> {
        match self {
            Self::V1(folder) => write(&folder.join("freezer.state"), "THAWED"),
            Self::V2(folder) => write(&folder.join("cgroup.freeze"), "0"),
        }
    }

    /// Freezes; no error when the cgroup is gone.
    pub(super) fn freeze(&self) -> Result<()> {
        match self {
            Self::V1(folder) => write(&folder.join("freezer.state"), "FROZEN"),
            Self::V2(folder) => write(&folder.join("cgroup.freeze"), "1"),
        }
    }
}

/// The path below its hierarchy's top, of the first line whose controllers fit; a container's own root cgroup is never `/`.
fn cgroup_path(cgroups: &str, fits: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mut lines = cgroups.lines().map(|line| line.splitn(3, ':'));
    lines.find_map(|mut fields| {
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let below = path.strip_prefix('/').filter(|below| !below.is_empty())?;
        let is_plain = Path::new(below)
            .components()
            .all(|component| matches!(component, std::path::Component::Normal(_)));
        (fits(controllers) && is_plain).then(|| PathBuf::from(below))
    })
}

/// The mount point of the first whole hierarchy that fits, by file system type and its own options.
fn mount_point(mounts: &str, fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, target) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        (root == "/" && fits(kind, options)).then(|| PathBuf::from(target))
    })
}

fn write(path: &Path, value: &str) -> Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("write", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 30 0:22 / /proc rw - proc proc rw
31 30 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:27 / /sys/fs/cgroup/freezer rw shared:5 - cgroup cgroup rw,freezer
33 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn version_1_is_preferred_as_runc_does() {
        let cgroups = "7:freezer:/default/web\n2:cpu:/default/web\n0::/system.slice\n";
        let found = Freezer::find(cgroups, MOUNTS);
        let expected = Freezer::V1("/sys/fs/cgroup/freezer/default/web".into());
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn version_2_serves_where_there_is_no_other() {
        let found = Freezer::find("0::/default/web\n", MOUNTS);
        let expected = Freezer::V2("/sys/fs/cgroup/unified/default/web".into());
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn the_top_of_a_hierarchy_is_nobodys_freezer() {
        assert_eq!(Freezer::find("7:freezer:/\n0::/\n", MOUNTS), None);
        assert_eq!(Freezer::find("0::/../x\n", MOUNTS), None);
        assert_eq!(Freezer::find("nonsense", MOUNTS), None);
    }
}
