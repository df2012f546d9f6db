//! Folders of the host, without containerd: captured, mounted, copied, compared, checked.

use std::{fs, io::ErrorKind, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result};
use snap_api::{Created, DiffEntry, DiffKind, TreeEntry, Verified};
use snap_tests::{Host, HostOptions, Tree, fill_nasty};

const NO_DIFFERENCE: Vec<String> = Vec::new();

fn host() -> Result<Host> {
    Host::start_with(&HostOptions {
        without_containerd: true,
        ..HostOptions::default()
    })
}

/// Makes a folder `data` with a few files in it, and its snapshot `data:v1`.
fn host_with_data() -> Result<(Host, PathBuf)> {
    let host = host()?;
    let data = host.make_folder("data")?;
    fs::create_dir(data.join("inner"))?;
    fs::write(data.join("inner/kept"), "kept")?;
    fs::write(data.join("changed"), "before")?;
    fs::write(data.join("gone"), "gone")?;
    create(&host, &data, "data:v1")?;
    Ok((host, data))
}

fn create(host: &Host, folder: &std::path::Path, name: &str) -> Result<Created> {
    host.snap_json(&["create", "--path", text(folder)?, "--name", name])
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("The path is UTF-8")
}

/// **H1** A snapshot holds every node below the root, with the same name, byte for byte, also when the name is not
/// UTF-8 or 255 bytes long.
/// **H2** The content of a file is the same, byte for byte.
/// **H4** The time of the last change of content (mtime) is the same to the nanosecond, for folders and symbolic links
/// too.
/// **H9** A symbolic link keeps its target, byte for byte; it is never followed.
/// **F6** `snapctl copy` writes everything H1 to H11 say; when it fails or is cancelled, nothing of it is left.
#[test]
fn every_nasty_case_survives_in_the_mount_and_in_the_copy() -> Result<()> {
    let host = host()?;
    let (data, mounted) = (host.make_folder("data")?, host.make_folder("mounted")?);
    fill_nasty(&data)?;
    let original = Tree::read(&data)?;
    create(&host, &data, "nasty")?;
    host.snap(&["mount", "nasty", text(&mounted)?])?;
    assert_eq!(original.differences(&Tree::read(&mounted)?), NO_DIFFERENCE);
    let copy = host.folder().join("copy");
    host.snap(&["copy", "nasty:/", text(&copy)?])?;
    assert_eq!(original.differences(&Tree::read(&copy)?), NO_DIFFERENCE);
    let verified: Verified = host.snap_json(&["verify", "nasty"])?;
    assert!(verified.damage.is_empty(), "{:?}", verified.damage);
    Ok(())
}

/// **F1** `snapctl mount` shows the snapshot at an existing folder, read-only: any change is refused with a read-only
/// file system error.
#[test]
fn a_read_only_mount_takes_no_writes() -> Result<()> {
    let (host, _) = host_with_data()?;
    let mounted = host.make_folder("mounted")?;
    host.snap(&["mount", "data:v1", text(&mounted)?])?;
    let refused = fs::write(mounted.join("new"), "x").expect_err("it is read-only");
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    let refused = fs::remove_file(mounted.join("gone")).expect_err("it is read-only");
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    Ok(())
}

/// **F2** With `--writable` changes are possible, last as long as the mount, and never reach the snapshot.
#[test]
fn a_writable_mount_keeps_its_writes_to_itself_until_it_is_unmounted() -> Result<()> {
    let (host, data) = host_with_data()?;
    let (left, right) = (host.make_folder("left")?, host.make_folder("right")?);
    for folder in [&left, &right] {
        host.snap(&["mount", "data:v1", text(folder)?, "--writable"])?;
    }
    fs::write(left.join("changed"), "left")?;
    fs::remove_file(left.join("gone"))?;
    assert_eq!(fs::read_to_string(right.join("changed"))?, "before");
    assert!(right.join("gone").exists());
    host.snap(&["unmount", text(&left)?])?;
    host.snap(&["mount", "data:v1", text(&left)?])?;
    assert_eq!(
        Tree::read(&data)?.differences(&Tree::read(&left)?),
        NO_DIFFERENCE
    );
    Ok(())
}

#[test]
fn an_unmounted_folder_is_as_it_was() -> Result<()> {
    let (host, _) = host_with_data()?;
    let mounted = host.make_folder("mounted")?;
    fs::write(mounted.join("underneath"), "own")?;
    host.snap(&["mount", "data:v1", text(&mounted)?])?;
    assert!(!mounted.join("underneath").exists());
    host.snap(&["unmount", text(&mounted)?])?;
    assert_eq!(fs::read_to_string(mounted.join("underneath"))?, "own");
    assert_eq!(host.our_mounts()?, Vec::<PathBuf>::new());
    assert_eq!(host.mount_servers()?, Vec::<u32>::new());
    Ok(())
}

#[test]
fn mounts_outlive_the_daemon_and_share_one_server() -> Result<()> {
    let (mut host, data) = host_with_data()?;
    let (left, right) = (host.make_folder("left")?, host.make_folder("right")?);
    host.snap(&["mount", "data:v1", text(&left)?])?;
    host.take_daemon()?.kill()?;
    let original = Tree::read(&data)?;
    assert_eq!(original.differences(&Tree::read(&left)?), NO_DIFFERENCE);
    host.start_daemon()?;
    host.snap(&["mount", "data:v1", text(&right)?])?;
    assert_eq!(host.mount_servers()?.len(), 1);
    for folder in [&left, &right] {
        assert_eq!(original.differences(&Tree::read(folder)?), NO_DIFFERENCE);
        host.snap(&["unmount", text(folder)?])?;
    }
    assert_eq!(host.mount_servers()?, Vec::<u32>::new());
    Ok(())
}

#[test]
fn a_snapshot_that_is_mounted_is_not_removed() -> Result<()> {
    let (host, _) = host_with_data()?;
    let mounted = host.make_folder("mounted")?;
    host.snap(&["mount", "data:v1", text(&mounted)?])?;
    assert_eq!(host.snapctl(["remove", "data:v1"])?.code, 4);
    host.snap(&["unmount", text(&mounted)?])?;
    host.snap(&["remove", "data:v1"])?;
    Ok(())
}

#[test]
fn a_diff_names_each_change_by_its_kind() -> Result<()> {
    let (host, data) = host_with_data()?;
    fs::write(data.join("changed"), "after!")?;
    fs::remove_file(data.join("gone"))?;
    symlink("nowhere", data.join("gone"))?;
    fs::write(data.join("new"), "new")?;
    fs::remove_file(data.join("inner/kept"))?;
    create(&host, &data, "data:v2")?;
    let entries: Vec<DiffEntry> = host.snap_json(&["diff", "data:v1", "data:v2"])?;
    let kind = |path: &str| {
        let found = entries
            .iter()
            .find(|entry| entry.path.to_string().trim_start_matches('/') == path);
        found.map(|entry| entry.kind)
    };
    assert_eq!(kind("changed"), Some(DiffKind::Modified));
    assert_eq!(kind("gone"), Some(DiffKind::Replaced));
    assert_eq!(kind("new"), Some(DiffKind::Added));
    assert_eq!(kind("inner/kept"), Some(DiffKind::Removed));
    let same: Vec<DiffEntry> = host.snap_json(&["diff", "data:v2", "data:v2"])?;
    assert!(same.is_empty(), "{same:?}");
    Ok(())
}

#[test]
fn a_tree_lists_what_is_in_the_snapshot() -> Result<()> {
    let (host, data) = host_with_data()?;
    fs::remove_file(data.join("gone"))?;
    let top: Vec<TreeEntry> = host.snap_json(&["tree", "data:v1"])?;
    let names: Vec<String> = top.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(names, ["/changed", "/gone", "/inner"]);
    let all: Vec<TreeEntry> = host.snap_json(&["tree", "data:v1", "--recursive"])?;
    assert_eq!(all.len(), 4);
    let kept = all
        .iter()
        .find(|entry| entry.path.to_string() == "/inner/kept");
    let kept = kept.context("It is listed")?;
    assert_eq!((kept.kind.as_str(), kept.size), ("file", 4));
    Ok(())
}

#[test]
fn one_file_is_copied_out() -> Result<()> {
    let (host, data) = host_with_data()?;
    fs::remove_file(data.join("inner/kept"))?;
    let out = host.folder().join("out");
    host.snap(&["copy", "data:v1:/inner/kept", text(&out)?])?;
    assert_eq!(fs::read_to_string(out)?, "kept");
    Ok(())
}

#[test]
fn what_is_known_is_not_stored_again() -> Result<()> {
    let host = host()?;
    let data = host.make_folder("data")?;
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(3_000_000)
    .collect();
    fs::write(data.join("file"), &noise)?;
    let first = create(&host, &data, "data:v1")?;
    assert!(first.new_bytes >= 3_000_000);
    let second = create(&host, &data, "data:v2")?;
    assert_eq!(second.new_bytes, 0, "nothing changed");
    fs::write(data.join("copy"), &noise)?;
    let third = create(&host, &data, "data:v3")?;
    assert!(
        third.new_bytes < 10_000,
        "{} bytes for a copy",
        third.new_bytes
    );
    fs::write(
        data.join("shifted"),
        [b"a few bytes in front", noise.as_slice()].concat(),
    )?;
    let fourth = create(&host, &data, "data:v4")?;
    assert!(
        fourth.new_bytes < 600_000,
        "{} bytes for a shift",
        fourth.new_bytes
    );
    Ok(())
}

#[test]
fn verify_names_the_damaged_file() -> Result<()> {
    let (host, _) = host_with_data()?;
    for folder in fs::read_dir(host.root().join("packs"))? {
        for pack in fs::read_dir(folder?.path())? {
            let path = pack?.path();
            let mut bytes = fs::read(&path)?;
            let Some(at) = bytes.windows(6).position(|window| window == b"before") else {
                continue;
            };
            bytes[at] ^= 1;
            fs::remove_file(&path)?;
            fs::write(&path, bytes)?;
        }
    }
    let answer = host.snapctl(["--output", "json", "verify", "data:v1"])?;
    assert_eq!(answer.code, 8, "{answer:?}");
    let verified: Verified = serde_json::from_str(&answer.stdout)?;
    let paths: Vec<String> = verified
        .damage
        .iter()
        .filter_map(|one| Some(one.path.as_ref()?.to_string()))
        .collect();
    assert_eq!(paths, ["/changed"], "{verified:?}");
    Ok(())
}
