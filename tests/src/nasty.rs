//! Everything a file system may hold, in one folder: the cases a snapshot must bring back exactly.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, PermissionsExt, chown, symlink},
        },
    },
    path::Path,
};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode as NodeMode, SFlag, makedev, mknod};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, XattrFlags, lsetxattr, mkdirat, open, openat,
    utimensat,
};

const SPARSE_BYTES: u64 = 10 << 30;
const DEEP_LEVELS: usize = 80;
/// `cap_net_raw+ep` in the kernel's form, version 2.
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// `u::rw-,u:1000:rwx,g::r--,m::rwx,o::---` in the kernel's form.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255,
    255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// Fills the empty folder with every kind of node, name, link, attribute and time.
///
/// # Errors
/// When the file system cannot hold one of them.
pub fn fill_nasty(folder: &Path) -> Result<()> {
    names(folder).context("Make names")?;
    deep(folder).context("Make a deep path")?;
    links(folder).context("Make links")?;
    contents(folder).context("Make contents")?;
    attributes(folder).context("Make attributes")?;
    nodes(folder).context("Make nodes")?;
    times(folder).context("Set times")
}

fn names(folder: &Path) -> Result<()> {
    let inner = folder.join("names");
    fs::create_dir(&inner)?;
    let longest = "x".repeat(255);
    let every_byte: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let mut names: Vec<&[u8]> = vec![
        b"\xff\xfe not utf-8",
        longest.as_bytes(),
        b" leading and trailing ",
        b"new\nline\ttab\x1b[31m",
        b"-rf",
        b"back\\slash",
        b".hidden",
        b"...",
        "ä and a\u{308}".as_bytes(),
        b".wh.looks-like-a-whiteout",
    ];
    names.extend(every_byte.chunks(200));
    for name in names {
        let path = inner.join(OsStr::from_bytes(name));
        fs::write(&path, name).with_context(|| format!("Make {}", path.display()))?;
    }
    let longest_folder = inner.join("d".repeat(255));
    fs::create_dir(&longest_folder)?;
    fs::write(longest_folder.join("in it"), "")?;
    let many = folder.join("many");
    fs::create_dir(&many)?;
    for number in 0..3000 {
        fs::write(many.join(format!("file {number:05}")), "")?;
    }
    Ok(())
}

/// Deeper than the kernel takes as one path.
fn deep(folder: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = "deep".repeat(15);
    let mut at: OwnedFd = open(folder, flags, Mode::empty())?;
    for _ in 0..DEEP_LEVELS {
        mkdirat(&at, &*name, Mode::from_raw_mode(0o755))?;
        at = openat(&at, &*name, flags, Mode::empty())?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let bottom = openat(&at, "bottom", flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&bottom, b"deep down")?;
    Ok(())
}

fn links(folder: &Path) -> Result<()> {
    let (left, right) = (folder.join("left"), folder.join("right"));
    fs::create_dir(&left)?;
    fs::create_dir(&right)?;
    fs::write(right.join("z first made"), "linked")?;
    fs::hard_link(right.join("z first made"), left.join("a"))?;
    fs::hard_link(left.join("a"), right.join("b"))?;
    symlink("target", left.join("symlink"))?;
    fs::hard_link(left.join("symlink"), right.join("symlink"))?;
    make_node(&left.join("pipe"), SFlag::S_IFIFO, 0)?;
    fs::hard_link(left.join("pipe"), right.join("pipe"))?;
    symlink("loop-b", folder.join("loop-a"))?;
    symlink("loop-a", folder.join("loop-b"))?;
    symlink(".", folder.join("self"))?;
    symlink("/nowhere/at all", folder.join("dangling"))?;
    symlink(OsStr::from_bytes(b"../\xff"), folder.join("odd"))?;
    symlink(OsString::from("t".repeat(4095)), folder.join("long target"))?;
    Ok(())
}

fn contents(folder: &Path) -> Result<()> {
    fs::write(folder.join("empty"), "")?;
    fs::create_dir(folder.join("empty folder"))?;
    fs::write(folder.join("zeros"), vec![0; 300_000])?;
    fs::write(folder.join("noise"), noise(3_000_000))?;
    for bytes in [
        1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 262_144, 1_000_000,
    ] {
        fs::write(folder.join(format!("{bytes} bytes")), vec![b'x'; bytes])?;
    }
    let sparse = File::create(folder.join("sparse"))?;
    sparse.set_len(SPARSE_BYTES)?;
    sparse.write_at(b"at the start", 0)?;
    sparse.write_at(&noise(100_000), SPARSE_BYTES / 2 + 1)?;
    sparse.write_at(b"at the end", SPARSE_BYTES - 10)?;
    File::create(folder.join("hole alone"))?.set_len(1 << 20)?;
    Ok(())
}

fn attributes(folder: &Path) -> Result<()> {
    let set = |name: &str, key: &str, value: &[u8]| {
        lsetxattr(folder.join(name), key, value, XattrFlags::empty())
            .with_context(|| format!("Set {key} of {name}"))
    };
    for (name, mode) in [
        ("suid", 0o4755),
        ("sgid", 0o2755),
        ("sticky", 0o1777),
        ("none", 0),
        ("all", 0o7777),
    ] {
        fs::write(folder.join(name), name)?;
        chown(folder.join(name), Some(12_345), Some(4_000_000_000))?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode))?;
    }
    for name in ["capable", "listed", "labelled"] {
        fs::write(folder.join(name), name)?;
    }
    set("capable", "security.capability", CAPABILITY)?;
    set("listed", "system.posix_acl_access", ACL)?;
    set("labelled", "user.text", b"value")?;
    set("labelled", "user.empty", b"")?;
    set("labelled", "user.bytes", &noise(2000))?;
    fs::create_dir(folder.join("listed folder"))?;
    set("listed folder", "system.posix_acl_default", ACL)?;
    set("listed folder", "user.of a folder", b"value")?;
    symlink("nowhere", folder.join("owned link"))?;
    std::os::unix::fs::lchown(folder.join("owned link"), Some(7), Some(8))?;
    Ok(())
}

fn nodes(folder: &Path) -> Result<()> {
    let inner = folder.join("nodes");
    fs::create_dir(&inner)?;
    make_node(&inner.join("null"), SFlag::S_IFCHR, makedev(1, 3))?;
    make_node(
        &inner.join("large numbers"),
        SFlag::S_IFCHR,
        makedev(4000, 1_000_000),
    )?;
    make_node(&inner.join("disk"), SFlag::S_IFBLK, makedev(7, 200))?;
    make_node(&inner.join("pipe"), SFlag::S_IFIFO, 0)?;
    make_node(&inner.join("socket"), SFlag::S_IFSOCK, 0)
}

fn make_node(path: &Path, kind: SFlag, device: u64) -> Result<()> {
    let mode = NodeMode::from_bits_truncate(0o640);
    mknod(path, kind, mode, device).with_context(|| format!("Make {}", path.display()))
}

fn times(folder: &Path) -> Result<()> {
    let cases = [
        ("before 1970", -1_000_000_000, 999_999_999),
        ("far away", 9_000_000_000, 1),
        ("epoch", 0, 0),
    ];
    for (name, seconds, nanoseconds) in cases {
        fs::write(folder.join(name), name)?;
        set_time(&folder.join(name), seconds, nanoseconds)?;
    }
    set_time(&folder.join("dangling"), 1_000_000_000, 123_456_789)?;
    set_time(&folder.join("nodes"), 1_111_111_111, 111_111_111)
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("Set the time of {}", path.display()))
}

/// Bytes that do not compress, the same ones every time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8))
        .flat_map(|_| next())
        .take(bytes)
        .collect()
}

const OVERLAY_CASES: [&str; 12] = [
    "removed",
    "replaced by a folder",
    "replaced by a link",
    "changed",
    "appended",
    "chmodded",
    "renamed",
    "linked",
    "removed and made again",
    "touched",
    "attributed",
    "untouched",
];

/// Fills the empty folder with what `change_lower_cases` then changes: to be a lower layer of an overlay.
///
/// # Errors
/// When one of them cannot be made.
pub fn fill_lower_cases(folder: &Path) -> Result<()> {
    for name in OVERLAY_CASES {
        fs::write(folder.join(name), noise(100_000))?;
    }
    for name in [
        "removed folder",
        "opaque folder",
        "folder to file",
        "renamed folder",
        "merged folder",
    ] {
        let inner = folder.join(name);
        fs::create_dir_all(inner.join("inner"))?;
        fs::write(inner.join("one"), name)?;
        fs::write(inner.join("inner/two"), name)?;
    }
    Ok(())
}

/// Changes what `fill_lower_cases` made, through the overlay: whiteouts, opaque folders, replaced types, copies up.
///
/// # Errors
/// When one of the changes fails.
pub fn change_lower_cases(folder: &Path) -> Result<()> {
    let at = |name: &str| folder.join(name);
    for name in [
        "removed",
        "replaced by a folder",
        "replaced by a link",
        "removed and made again",
    ] {
        fs::remove_file(at(name))?;
    }
    fs::create_dir(at("replaced by a folder"))?;
    fs::write(at("replaced by a folder").join("in it"), "new")?;
    symlink("untouched", at("replaced by a link"))?;
    fs::write(at("removed and made again"), "new")?;
    File::options()
        .write(true)
        .open(at("changed"))?
        .write_at(b"changed", 70_000)?;
    let appended = File::options().append(true).open(at("appended"))?;
    rustix::io::write(appended.as_fd(), b"appended")?;
    fs::set_permissions(at("chmodded"), fs::Permissions::from_mode(0o6711))?;
    fs::rename(at("renamed"), at("renamed to this"))?;
    fs::hard_link(at("linked"), at("linked again"))?;
    set_time(&at("touched"), 1_234_567_890, 987_654_321)?;
    lsetxattr(at("attributed"), "user.late", b"value", XattrFlags::empty())?;
    fs::remove_dir_all(at("removed folder"))?;
    fs::remove_dir_all(at("opaque folder"))?;
    fs::create_dir(at("opaque folder"))?;
    fs::write(at("opaque folder").join("three"), "new")?;
    fs::remove_dir_all(at("folder to file"))?;
    fs::write(at("folder to file"), "a file now")?;
    fs::remove_file(at("merged folder").join("one"))?;
    fs::write(at("merged folder").join("three"), "new")?;
    rename_folder(folder)
}

/// An overlay without redirects refuses to rename a folder of a lower layer; what `mv` does then is copy.
fn rename_folder(folder: &Path) -> Result<()> {
    let (from, to) = (
        folder.join("renamed folder"),
        folder.join("renamed folder to this"),
    );
    if fs::rename(&from, &to).is_ok() {
        return Ok(());
    }
    let status = std::process::Command::new("mv")
        .args([&from, &to])
        .status()?;
    anyhow::ensure!(status.success(), "mv of a folder ended with {status}");
    Ok(())
}
