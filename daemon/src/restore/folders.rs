//! The folders a restored container stands on: a fresh upper layer over the snapshot's mount.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use snap_store::{Error, Meta, Result};

use crate::files;

/// The upper layer: what the container has written.
pub(crate) const UPPER: &str = "upper";
/// Overlayfs's own folder, beside the upper one.
pub(crate) const WORK: &str = "work";
/// Where the overlay is mounted: the container's root.
pub(crate) const ROOTFS: &str = "rootfs";
/// What the container's task prints.
pub(crate) const LOG: &str = "output.log";

/// What the standard input of processes that go on from memory is read from: nobody writes to it, so it is at its end at once.
pub(crate) const INPUT: &str = "input";

/// Makes a FIFO, unless it is there.
pub(crate) fn make_pipe(path: &Path) -> Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, mode, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::io("create", path)(error)),
    }
}

/// Makes `folder` with its layers. The root of an overlay shows the upper folder's metadata, so that gets the snapshot's.
pub(crate) fn make(folder: &Path, root_meta: &Meta) -> Result<()> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private
        .create(folder)
        .map_err(Error::io("create", folder))?;
    for name in [WORK, ROOTFS, UPPER] {
        let path = folder.join(name);
        private.create(&path).map_err(Error::io("create", &path))?;
    }
    dress(&folder.join(UPPER), root_meta)
}

/// Mounts the overlay, unless it is mounted and answers.
pub(crate) fn ensure_mounted(folder: &Path, lower: &Path) -> Result<()> {
    let rootfs = folder.join(ROOTFS);
    if snap_fs::mount::is_mounted(&rootfs)? {
        if fs::read_dir(&rootfs).is_ok() {
            return Ok(());
        }
        snap_fs::mount::unmount(&rootfs)?;
    }
    let (upper, work) = (folder.join(UPPER), folder.join(WORK));
    snap_fs::mount::mount_overlay(&rootfs, &[lower], &upper, &work)
}

/// Unmounts the overlay and removes `folder`; no error when there is none. Folders above it go when they are empty.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    snap_fs::mount::unmount(&folder.join(ROOTFS))?;
    files::remove_folder(folder)?;
    if let Some(namespace) = folder.parent() {
        // It stays while another container of the namespace is in it.
        let _ = fs::remove_dir(namespace);
    }
    Ok(())
}

/// Gives the folder at `path` this metadata.
fn dress(path: &Path, meta: &Meta) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::empty())
        .map_err(Error::io("change the owner of", path))?;
    let mode = fs::Permissions::from_mode(u32::from(meta.mode));
    fs::set_permissions(path, mode).map_err(Error::io("change the mode of", path))?;
    for xattr in meta.xattrs.iter().filter(|xattr| !is_overlays(&xattr.name)) {
        rustix::fs::setxattr(path, &*xattr.name, &xattr.value, XattrFlags::empty())
            .map_err(Error::io("set an attribute of", path))?;
    }
    let modified = Timespec {
        tv_sec: meta.modified.seconds,
        tv_nsec: meta.modified.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: modified,
        last_modification: modified,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())
        .map_err(Error::io("set the times of", path))
}

/// Overlayfs obeys these; a snapshot has no say in how its layers are joined.
fn is_overlays(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use snap_store::{Timestamp, Xattr};

    use super::*;

    #[test]
    fn the_upper_folder_has_the_snapshots_root_metadata() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("default").join("web");
        let xattr = |name: &[u8]| Xattr {
            name: name.into(),
            value: (*b"y").into(),
        };
        let meta = Meta {
            mode: 0o1751,
            uid: 7,
            gid: 8,
            modified: Timestamp {
                seconds: 1_000_000,
                nanoseconds: 5,
            },
            xattrs: vec![xattr(b"trusted.overlay.opaque")],
        };
        make(&folder, &meta).unwrap();
        let about = folder.join(UPPER).metadata().unwrap();
        assert_eq!(
            (about.mode() & 0o7777, about.uid(), about.gid()),
            (0o1751, 7, 8)
        );
        assert_eq!((about.mtime(), about.mtime_nsec()), (1_000_000, 5));
        let mut value = [0; 8];
        let opaque = rustix::fs::getxattr(folder.join(UPPER), "trusted.overlay.opaque", &mut value);
        assert!(opaque.is_err());
        remove(&folder).unwrap();
        remove(&folder).unwrap();
        assert!(!scratch.path().join("default").exists());
    }
}
