//! The kernel's mount API as `snap_fs::mount` uses it. Needs root; every mount is undone.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test itself"
)]

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::symlink},
    path::PathBuf,
};

use snap_fs::mount::{
    is_fuse_device, is_mounted, mount_bind_read_only, mount_fuse, mount_overlay, unmount,
    unmount_idle,
};
use snap_store::Error;

struct Unmounted(PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0);
    }
}

fn folders(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let top = tempfile::tempdir().unwrap();
    let paths: Vec<_> = names.iter().map(|name| top.path().join(name)).collect();
    paths.iter().for_each(|path| fs::create_dir(path).unwrap());
    (top, paths)
}

#[test]
fn a_fuse_mount_comes_and_goes_without_a_server() {
    let (_top, paths) = folders(&["point"]);
    let device = mount_fuse(&paths[0], "snapshotd:test").unwrap();
    let guard = Unmounted(paths[0].clone());
    assert!(is_mounted(&paths[0]).unwrap());
    assert!(is_fuse_device(device.as_fd()).unwrap());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts
        .lines()
        .find(|line| line.contains(paths[0].to_str().unwrap()))
        .unwrap();
    assert!(line.contains("fuse.snapshotd snapshotd:test ro"), "{line}");
    drop(guard);
    assert!(!is_mounted(&paths[0]).unwrap());
}

#[test]
fn a_symbolic_link_is_no_mount_point() {
    let (top, paths) = folders(&["real"]);
    let link = top.path().join("link");
    symlink(&paths[0], &link).unwrap();
    assert!(matches!(mount_fuse(&link, "x"), Err(Error::Io { .. })));
    assert!(matches!(
        mount_bind_read_only(&paths[0], &link),
        Err(Error::Io { .. })
    ));
    assert!(!is_mounted(&paths[0]).unwrap());
}

#[test]
fn a_bind_mount_shows_the_source_and_takes_no_writes() {
    let (_top, paths) = folders(&["source", "point"]);
    fs::write(paths[0].join("file"), "text").unwrap();
    mount_bind_read_only(&paths[0], &paths[1]).unwrap();
    let _guard = Unmounted(paths[1].clone());
    assert_eq!(fs::read(paths[1].join("file")).unwrap(), b"text");
    let refused = fs::write(paths[1].join("new"), "x").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    fs::write(paths[0].join("other"), "the source stays writable").unwrap();
}

#[test]
fn overlays_take_layers_with_separators_in_their_names() {
    let (top, paths) = folders(&["a:b", "c,d", "m"]);
    let scratch = top.path().join("tmpfs");
    fs::create_dir(&scratch).unwrap();
    let none = None::<&str>;
    nix::mount::mount(
        Some("tmpfs"),
        &scratch,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .unwrap();
    let _scratch = Unmounted(scratch.clone());
    let (upper, work) = (scratch.join("u\\p"), scratch.join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    fs::write(paths[0].join("who"), "top").unwrap();
    fs::write(paths[1].join("who"), "bottom").unwrap();
    mount_overlay(&paths[2], &[&paths[0], &paths[1]], &upper, &work).unwrap();
    let _guard = Unmounted(paths[2].clone());
    assert_eq!(fs::read(paths[2].join("who")).unwrap(), b"top");
    fs::write(paths[2].join("new"), "x").unwrap();
    assert!(upper.join("new").exists());
}

#[test]
fn a_mount_in_use_is_busy_and_can_be_detached() {
    let (_top, paths) = folders(&["source", "point"]);
    mount_bind_read_only(&paths[0], &paths[1]).unwrap();
    let _guard = Unmounted(paths[1].clone());
    let inside = File::open(&paths[1]).unwrap();
    assert!(matches!(unmount_idle(&paths[1]), Err(Error::Busy { .. })));
    unmount(&paths[1]).unwrap();
    assert!(!is_mounted(&paths[1]).unwrap());
    drop(inside);
}

#[test]
fn unmounting_what_is_not_mounted_is_no_error() {
    let (top, paths) = folders(&["plain"]);
    unmount(&paths[0]).unwrap();
    unmount_idle(&top.path().join("absent")).unwrap();
}
