//! docs/semantics.md: what a snapshot holds. The cases that need only one more look are in `privileged_path` and
//! `privileged_restore`, which compare whole trees.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::{
        fd::AsFd,
        unix::{
            fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, chown, symlink},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use snap_api::Verified;
use snap_tests::{Host, Image, Tree, noise, text};

const NO_DIFFERENCE: Vec<String> = Vec::new();

/// **H3** Type, permission bits with set-user-id, set-group-id and sticky, owner and group are the same, for the root
/// itself too.
#[test]
fn types_modes_and_owners_are_kept_for_the_root_too() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    for (name, mode) in [
        ("plain", 0o640),
        ("suid", 0o4755),
        ("all", 0o7777),
        ("none", 0),
    ] {
        fs::write(data.join(name), name)?;
        chown(data.join(name), Some(1001), Some(70_000))?;
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode))?;
    }
    symlink("plain", data.join("link"))?;
    fs::create_dir(data.join("folder"))?;
    chown(&data, Some(12), Some(34))?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o3751))?;
    host.capture(&data, &["--name", "data"])?;
    let mounted = host.mount("data", "mounted", &[])?;
    let root = fs::metadata(&mounted)?;
    assert_eq!(
        (root.mode() & 0o7777, root.uid(), root.gid()),
        (0o3751, 12, 34)
    );
    let differences = Tree::read(&data)?.differences(&Tree::read(&mounted)?);
    assert_eq!(differences, NO_DIFFERENCE);
    Ok(())
}

/// **H5** Times of last access, of last change of metadata (ctime) and of birth are not kept.
#[test]
fn other_times_than_that_of_the_content_are_those_of_the_copy() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    let file = File::create(data.join("file"))?;
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    file.set_times(fs::FileTimes::new().set_accessed(old).set_modified(old))?;
    let before = file.metadata()?;
    host.capture(&data, &["--name", "data"])?;
    let copy = host.folder().join("copy");
    host.snap(&["copy", "data:/", text(&copy)?])?;
    let after = fs::metadata(copy.join("file"))?;
    assert_eq!(after.mtime(), 1_000_000_000);
    assert_ne!(after.atime(), 1_000_000_000);
    assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
    assert!(after.created()? > before.created()?);
    Ok(())
}

/// **H6** Extended attributes are the same: file capabilities, ACLs, `user.*`, `security.*`, `trusted.*`; those
/// overlayfs keeps for itself in the layers of a container (`trusted.overlay.*`) are not content.
#[test]
fn attributes_of_every_kind_are_kept_but_those_of_overlayfs_in_a_container() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    // A folder of a lower layer that was removed and made again is marked as opaque in the upper one.
    host.exec("one", "rm -r /tmp; mkdir /tmp; echo x > /file")?;
    let file = host.rootfs("one").join("file");
    let all = ["user.a", "trusted.b", "security.c"];
    for name in all {
        lsetxattr(&file, name, name.as_bytes(), XattrFlags::empty())?;
    }
    host.snap(&["create", "one", "--name", "site"])?;
    let mounted = host.mount("site", "mounted", &[])?;
    for name in all {
        let mut value = [0; 64];
        let length = lgetxattr(mounted.join("file"), name, &mut value[..])?;
        assert_eq!(&value[..length], name.as_bytes());
    }
    let tree = Tree::read(&mounted)?;
    let names = tree.nodes.values().flat_map(|node| node.xattrs.keys());
    let marks = names.filter(|name| name.starts_with(b"trusted.overlay."));
    assert_eq!(marks.count(), 0);
    Ok(())
}

/// **H7** Names of one file (hard links) are names of one file in the snapshot, and its link count is their number
/// there.
/// **H8** A hard link whose other names lie outside the root, or were excluded, counts only the names inside.
#[test]
fn names_of_one_file_are_counted_within_the_snapshot() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    for folder in ["left", "right"] {
        fs::create_dir(data.join(folder))?;
    }
    let link = |from: &str, to: &str| fs::hard_link(data.join(from), data.join(to));
    fs::write(data.join("left/all inside"), "x")?;
    link("left/all inside", "right/other")?;
    link("left/all inside", "third")?;
    fs::write(data.join("left/half outside"), "y")?;
    link("left/half outside", "../outside")?;
    fs::write(data.join("half excluded"), "z")?;
    link("half excluded", "right/half excluded")?;
    link("half excluded", "right/left out")?;
    host.capture(&data, &["--name", "data", "--exclude", "left out"])?;
    let mounted = host.mount("data", "mounted", &[])?;
    let copy = host.folder().join("copy");
    host.snap(&["copy", "data:/", text(&copy)?])?;
    for place in [&mounted, &copy] {
        let look = |name: &str| fs::metadata(place.join(name)).map(|it| (it.ino(), it.nlink()));
        let (inode, count) = look("left/all inside")?;
        assert_eq!(count, 3);
        assert_eq!([look("right/other")?, look("third")?], [(inode, 3); 2]);
        assert_eq!(look("left/half outside")?.1, 1);
        assert_eq!(look("half excluded")?, look("right/half excluded")?);
        assert_eq!(look("half excluded")?.1, 2);
    }
    Ok(())
}

/// **H10** Devices keep type and numbers, FIFOs and sockets stay FIFOs and sockets; nobody listens on a socket of a
/// restored container until something in it does so again.
#[test]
fn devices_pipes_and_sockets_stay_what_they_are_and_nobody_listens() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    // Addresses of sockets are short.
    let short = |name: &str, id: &Path| -> Result<std::path::PathBuf> {
        let link = host.folder().join(name);
        symlink(id, &link)?;
        Ok(link)
    };
    let root = short("1", &host.rootfs("one"))?;
    let listener = UnixListener::bind(root.join("socket"))?;
    UnixStream::connect(root.join("socket")).context("It is listened on")?;
    let mode = Mode::from_bits_truncate(0o600);
    mknod(&root.join("pipe"), SFlag::S_IFIFO, mode, 0)?;
    mknod(
        &root.join("char"),
        SFlag::S_IFCHR,
        mode,
        makedev(4000, 1_000_000),
    )?;
    mknod(&root.join("block"), SFlag::S_IFBLK, mode, makedev(7, 200))?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let restored = short("2", &host.restored_rootfs("two"))?;
    let about = |name: &str| fs::symlink_metadata(restored.join(name));
    assert!(about("socket")?.file_type().is_socket() && about("pipe")?.file_type().is_fifo());
    assert_eq!(about("char")?.rdev(), makedev(4000, 1_000_000));
    assert_eq!(about("block")?.rdev(), makedev(7, 200));
    assert!(about("block")?.file_type().is_block_device());
    let refused = UnixStream::connect(restored.join("socket")).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(listener);
    Ok(())
}

/// **H11** A hole in a file is a hole in the snapshot, takes no space in the store and reads as zeros.
#[test]
fn a_hole_is_a_hole_and_takes_no_space() -> Result<()> {
    const HOLE_BYTES: u64 = 4 << 30;
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    let sparse = File::create(data.join("sparse"))?;
    sparse.write_at(b"at the start", 0)?;
    sparse.write_at(b"at the end", HOLE_BYTES)?;
    let created = host.capture(&data, &["--name", "data"])?;
    assert!(
        created.read_bytes < 1 << 20,
        "{} bytes were read",
        created.read_bytes
    );
    assert!(
        created.new_bytes < 1 << 20,
        "{} bytes are new",
        created.new_bytes
    );
    let mounted = host.mount("data", "mounted", &[])?;
    let mut file = File::open(mounted.join("sparse"))?;
    let seen = rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::Hole(0))?;
    assert!(seen < 1 << 20, "the hole begins at {seen}");
    let mut middle = vec![1; 1 << 20];
    file.seek(SeekFrom::Start(HOLE_BYTES / 2))?;
    file.read_exact(&mut middle)?;
    assert!(middle.iter().all(|byte| *byte == 0));
    let copy = host.folder().join("copy");
    host.snap(&["copy", "data:/sparse", text(&copy)?])?;
    let about = fs::metadata(&copy)?;
    assert!(about.len() > HOLE_BYTES && about.blocks() * 512 < 1 << 20);
    Ok(())
}

/// **H13** Every snapshot is complete by itself: removing any other one takes nothing from it.
/// **D4** Removing a snapshot takes no data that another one holds.
#[test]
fn removing_one_snapshot_takes_nothing_from_another() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    noise(&data.join("shared"), 2_000_000)?;
    host.capture(&data, &["--name", "data:v1"])?;
    fs::write(data.join("own"), "of the second")?;
    host.capture(&data, &["--name", "data:v2"])?;
    fs::remove_file(data.join("own"))?;
    host.capture(&data, &["--name", "data:v3"])?;
    let original = Tree::read(&data)?;
    host.snap(&["remove", "data:v1", "data:v2"])?;
    let verified: Verified = host.snap_json(&["verify", "data:v3"])?;
    assert!(verified.damage.is_empty(), "{:?}", verified.damage);
    let mounted = host.mount("data:v3", "mounted", &[])?;
    assert_eq!(original.differences(&Tree::read(&mounted)?), NO_DIFFERENCE);
    Ok(())
}

/// **N1** Files that were deleted but still open in a process.
#[test]
fn a_deleted_file_that_is_still_open_is_left_out() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let script = "exec 3>/deleted; echo some text >&3; rm /deleted; touch /ready; sleep 1000";
    host.run("one", name, script)?;
    snap_tests::wait_for(
        "the file to be deleted",
        std::time::Duration::from_secs(10),
        || Ok(host.rootfs("one").join("ready").exists().then_some(())),
    )?;
    let created: snap_api::Created = host.snap_json(&["create", "one", "--name", "site"])?;
    let tree = Tree::read(&host.rootfs("one"))?;
    let mounted = host.mount("site", "mounted", &[])?;
    assert_eq!(tree.differences(&Tree::read(&mounted)?), NO_DIFFERENCE);
    assert!(!mounted.join("deleted").exists());
    assert_eq!(created.snapshot.nodes, tree.nodes.len() as u64);
    Ok(())
}

/// **N2** Memory, processes, open connections, locks: a restored container starts its first process afresh, unless the snapshot was made
/// with `--memory`.
#[test]
fn a_restored_container_starts_its_first_process_afresh() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let script = "echo start >> /starts; sleep 5000 & wait; sleep 1000";
    host.run("one", name, script)?;
    host.exec("one", "(sleep 4000 > /dev/null 2>&1 &)")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("one", "cat /starts")?, "start");
    snap_tests::wait_for(
        "the second start",
        std::time::Duration::from_secs(10),
        || Ok((host.exec("two", "cat /starts")? == "start\nstart").then_some(())),
    )?;
    let sleepers = |id: &str| host.exec(id, "grep -la '400[0]' /proc/[0-9]*/cmdline | wc -l");
    assert_eq!(sleepers("two")?, "0");
    assert_eq!(sleepers("one")?, "1");
    Ok(())
}

/// **N3** What is mounted below the root: tmpfs, `/proc`, `/sys`, `/dev`, volumes; the empty folder or file they are
/// mounted on is there.
/// **N4** A bind mount's content, unless `--include-mount` names its destination; then it is in the snapshot as if it
/// lay in the root.
#[test]
fn what_is_mounted_is_left_out_unless_it_is_included() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "bound")?;
    let (folder, file) = (data.display(), data.join("file"));
    let folder = format!("type=bind,src={folder},dst=/data,options=rbind:rw");
    let file = format!("type=bind,src={},dst=/one,options=bind:rw", file.display());
    let flags = ["--mount", &folder, "--mount", &file];
    let tmpfs = ["--mount", "type=tmpfs,src=tmpfs,dst=/scratch,options=rw"];
    host.run_with("one", name, "sleep 1000", &[&flags[..], &tmpfs].concat())?;
    host.exec(
        "one",
        "echo x > /scratch/file; ls /proc/1 /sys/kernel /dev/null > /dev/null",
    )?;
    host.snap(&["create", "one", "--name", "without"])?;
    for folder in ["/data", "/scratch", "/proc", "/sys", "/dev"] {
        assert_eq!(
            host.paths_in("without", folder)?,
            Vec::<String>::new(),
            "{folder}"
        );
    }
    let mounted = host.mount("without", "mounted", &[])?;
    assert_eq!(fs::metadata(mounted.join("one"))?.len(), 0);
    host.snap(&[
        "create",
        "one",
        "--name",
        "with",
        "--include-mount",
        "/data",
    ])?;
    let included = host.mount("with", "included", &[])?;
    let differences = Tree::read(&data)?.differences(&Tree::read(&included.join("data"))?);
    assert_eq!(differences, NO_DIFFERENCE);
    assert_eq!(host.paths_in("with", "/scratch")?, Vec::<String>::new());
    Ok(())
}
