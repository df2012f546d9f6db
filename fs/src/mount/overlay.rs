//! Overlay mounts: layers by descriptor where the kernel takes them (6.13), by option string before that.
//!
//! The kernels in between say that they cannot in different ways, and only those fall back: any other refusal is an error.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};
use rustix::{
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd,
        fsconfig_set_string, fsmount, fsopen,
    },
};
use snap_store::{Error, Result};

use super::{attach, open_folder, through_proc};

/// What `/proc/mounts` shows as the source.
const SOURCE: &str = "overlay";

/// Mounts an overlay of `lower` (top first), `upper` and `work` at `target`.
///
/// # Errors
/// [`Error::Invalid`] without a lower layer, [`Error::Io`] when the kernel refuses; nothing is mounted then.
pub fn mount_overlay(target: &Path, lower: &[&Path], upper: &Path, work: &Path) -> Result<()> {
    let layers = Layers { lower, upper, work };
    layers.mount(target, MountAttrFlags::empty(), MsFlags::empty())
}

/// The same without suid and devices: for folders of the host, where no container's walls are around them.
///
/// # Errors
/// As `mount_overlay`.
pub fn mount_overlay_restricted(
    target: &Path,
    lower: &[&Path],
    upper: &Path,
    work: &Path,
) -> Result<()> {
    let layers = Layers { lower, upper, work };
    layers.mount(
        target,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )
}

/// The same as the last, and nobody can write to it through this mount or one that is bound to it.
///
/// # Errors
/// As `mount_overlay`.
pub fn mount_overlay_read_only(
    target: &Path,
    lower: &[&Path],
    upper: &Path,
    work: &Path,
) -> Result<()> {
    let layers = Layers { lower, upper, work };
    layers.mount(
        target,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_RDONLY,
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY,
    )
}

#[derive(Clone, Copy)]
struct Layers<'a> {
    lower: &'a [&'a Path],
    upper: &'a Path,
    work: &'a Path,
}

enum Attempt {
    Mounted,
    Unsupported,
}

impl Layers<'_> {
    /// The same restrictions twice, as the new and as the old way to mount take them.
    fn mount(self, target: &Path, attributes: MountAttrFlags, flags: MsFlags) -> Result<()> {
        if self.lower.is_empty() {
            return Err(Error::Invalid {
                what: "overlay",
                why: "it needs at least one lower layer".to_owned(),
            });
        }
        let point = open_folder(target)?;
        match self.by_descriptor(&point, attributes)? {
            Attempt::Mounted => Ok(()),
            Attempt::Unsupported => self.by_options(&point, target, flags),
        }
    }

    fn by_descriptor(self, point: &OwnedFd, attributes: MountAttrFlags) -> Result<Attempt> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(Error::io("open the file system", "overlay"))?;
        let layers = self.lower.iter().map(|layer| ("lowerdir+", *layer));
        for (key, folder) in layers.chain([("upperdir", self.upper), ("workdir", self.work)]) {
            match fsconfig_set_fd(&context, key, open_layer(folder)?) {
                Ok(()) => {}
                Err(errno) if takes_no_descriptors(errno) => return Ok(Attempt::Unsupported),
                Err(error) => return Err(Error::io("use as a layer", folder)(error)),
            }
        }
        let finish = || {
            fsconfig_set_string(&context, "source", SOURCE)?;
            fsconfig_create(&context)?;
            let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
            attach(&mount, point)
        };
        finish().map_err(|error| at_target(point, error.into()))?;
        Ok(Attempt::Mounted)
    }

    fn by_options(self, point: &OwnedFd, target: &Path, flags: MsFlags) -> Result<()> {
        let options = options(self.lower, self.upper, self.work);
        mount(
            Some(SOURCE),
            &through_proc(point.as_fd()),
            Some("overlay"),
            flags,
            Some(options.as_os_str()),
        )
        .map_err(Error::io("mount an overlay at", target))
    }
}

/// `EOPNOTSUPP` up to 6.4, where overlayfs is mounted by option string alone, then `EINVAL` for a key that is not known or wants a
/// string, and `EBADF`.
fn takes_no_descriptors(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::INVAL | Errno::BADF)
}

/// Overlayfs refuses descriptors opened with `O_PATH`.
fn open_layer(folder: &Path) -> Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, folder, flags, Mode::empty()).map_err(Error::io("open the folder", folder))
}

fn at_target(point: &OwnedFd, error: std::io::Error) -> Error {
    let path = std::fs::read_link(through_proc(point.as_fd())).unwrap_or_default();
    Error::io("mount an overlay at", path)(error)
}

/// The option string of `mount(2)`; a page is the kernel's limit, so it is the way of last resort.
fn options(lower: &[&Path], upper: &Path, work: &Path) -> PathBuf {
    let mut text = b"lowerdir=".to_vec();
    for (index, layer) in lower.iter().enumerate() {
        if index > 0 {
            text.push(b':');
        }
        escape(layer.as_os_str(), &mut text);
    }
    text.extend(b",upperdir=");
    escape(upper.as_os_str(), &mut text);
    text.extend(b",workdir=");
    escape(work.as_os_str(), &mut text);
    PathBuf::from(std::ffi::OsString::from_vec(text))
}

/// Overlayfs splits at `:` and `,` and takes a backslash as "the next byte as it is".
fn escape(path: &OsStr, text: &mut Vec<u8>) {
    for byte in path.as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_takes_no_descriptors_is_told_from_one_that_refuses_a_layer() {
        for errno in [Errno::OPNOTSUPP, Errno::INVAL, Errno::BADF] {
            assert!(takes_no_descriptors(errno), "{errno}");
        }
        for errno in [Errno::PERM, Errno::NOTDIR, Errno::NOMEM, Errno::LOOP] {
            assert!(!takes_no_descriptors(errno), "{errno}");
        }
    }

    #[test]
    fn separators_in_layer_paths_are_escaped() {
        let options = options(
            &[Path::new("/a:b"), Path::new("/c,d")],
            Path::new("/u\\v"),
            Path::new("/w"),
        );
        let expected = r"lowerdir=/a\:b:/c\,d,upperdir=/u\\v,workdir=/w";
        assert_eq!(options, Path::new(expected));
    }
}
