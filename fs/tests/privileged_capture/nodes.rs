//! Everything a folder can hold.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, XattrFlags, lsetxattr, makedev, mkdirat, mknodat, openat,
};
use snap_fs::capture::{CapturedTree, SourceKind, StatCache};
use snap_store::{Content, DeviceNumber, LinkGroup, Node, Timestamp, Xattr};

use crate::bench::{Bench, Disk, Folder, Mounted, run};

/// A folder to put things into, on a file system that proves nothing by its times.
fn bench() -> (Bench, PathBuf) {
    let bench = Bench::in_memory();
    let top = bench.path("top");
    fs::create_dir(&top).unwrap();
    (bench, top)
}

fn plain(bench: &Bench, top: &Path) -> CapturedTree {
    bench.capture(top, SourceKind::Plain, None)
}

#[test]
fn special_files_survive() {
    let (bench, top) = bench();
    let make = |name: &str, kind, device| {
        mknodat(CWD, top.join(name), kind, Mode::RUSR, device).unwrap();
    };
    make("fifo", FileType::Fifo, 0);
    make("char", FileType::CharacterDevice, makedev(1, 3));
    make("block", FileType::BlockDevice, makedev(259, 70_000));
    make("zero", FileType::CharacterDevice, 0);
    let _listener = UnixListener::bind(top.join("socket")).unwrap();
    let tree = plain(&bench, &top);
    let device = |major, minor| DeviceNumber { major, minor };
    for (name, node) in [
        ("fifo", Node::Fifo),
        ("char", Node::CharDevice(device(1, 3))),
        ("block", Node::BlockDevice(device(259, 70_000))),
        ("zero", Node::CharDevice(device(0, 0))),
        ("socket", Node::Socket),
    ] {
        assert_eq!(bench.entry(&tree, name).node, node, "{name}");
    }
}

#[test]
fn metadata_survives_to_the_nanosecond() {
    let (bench, top) = bench();
    let path = top.join("file");
    fs::write(&path, "x").unwrap();
    std::os::unix::fs::chown(&path, Some(70_000), Some(80_000)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6751)).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 987_654_321);
    File::open(&path).unwrap().set_modified(modified).unwrap();
    let tree = plain(&bench, &top);
    let meta = bench.entry(&tree, "file").meta;
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o6751, 70_000, 80_000));
    let expected = Timestamp {
        seconds: 1_234_567_890,
        nanoseconds: 987_654_321,
    };
    assert_eq!(meta.modified, expected);
}

#[test]
fn attributes_of_every_kind_of_node_survive() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = bench.path("top");
    fs::create_dir_all(top.join("folder")).unwrap();
    fs::write(top.join("file"), "").unwrap();
    symlink("nowhere", top.join("link")).unwrap();
    mknodat(CWD, top.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let large = vec![7; 3000];
    for name in ["folder", "file", "link", "fifo"] {
        for (attribute, value) in [("trusted.b", &large[..]), ("trusted.a", b"")] {
            lsetxattr(top.join(name), attribute, value, XattrFlags::empty()).unwrap();
        }
    }
    let tree = plain(&bench, &top);
    let xattr = |name: &[u8], value: &[u8]| Xattr {
        name: name.into(),
        value: value.into(),
    };
    let expected = [xattr(b"trusted.a", b""), xattr(b"trusted.b", &large)];
    for name in ["folder", "file", "link", "fifo"] {
        assert_eq!(bench.entry(&tree, name).meta.xattrs, expected, "{name}");
    }
}

#[test]
fn names_and_targets_are_bytes() {
    let (bench, top) = bench();
    let long = OsString::from("n".repeat(255));
    let odd = OsStr::from_bytes(b"\xff\xfe\n ");
    fs::write(top.join(odd), "odd").unwrap();
    fs::write(top.join(&long), "long").unwrap();
    symlink(odd, top.join("link")).unwrap();
    symlink("loop", top.join("loop")).unwrap();
    let tree = plain(&bench, &top);
    assert_eq!(bench.bytes(&bench.entry(&tree, odd)), b"odd");
    assert_eq!(bench.bytes(&bench.entry(&tree, &long)), b"long");
    let target = Node::Symlink(odd.as_bytes().into());
    assert_eq!(bench.entry(&tree, "link").node, target);
}

#[test]
fn hard_links_are_one_file_and_count_once() {
    let (bench, top) = bench();
    fs::create_dir(top.join("b")).unwrap();
    fs::write(top.join("a"), "12345").unwrap();
    fs::hard_link(top.join("a"), top.join("b/c")).unwrap();
    fs::hard_link(top.join("a"), top.join("d")).unwrap();
    symlink("x", top.join("s1")).unwrap();
    fs::hard_link(top.join("s1"), top.join("s2")).unwrap();
    let tree = plain(&bench, &top);
    let groups = [LinkGroup(vec![1, 3, 4]), LinkGroup(vec![5, 6])];
    assert_eq!(tree.links.groups(), groups);
    assert_eq!(tree.logical_bytes, 5);
}

#[test]
fn holes_stay_holes_also_when_kept_aside() {
    let (bench, top) = bench();
    let file = File::create(top.join("sparse")).unwrap();
    file.set_len(10 << 30).unwrap();
    file.write_all_at(&[1; 3 << 20], 5 << 30).unwrap();
    file.write_all_at(b"small", 1 << 30).unwrap();
    let tree = plain(&bench, &top);
    assert_eq!(tree.logical_bytes, 10 << 30);
    assert!(bench.draft.stats().new_bytes < 4 << 20);
    let Node::File { size, content, .. } = bench.entry(&tree, "sparse").node else {
        panic!();
    };
    let reader = snap_store::ContentReader::new(&bench.draft, content, size);
    for (offset, expected) in [
        ((1 << 30) - 1, b"\0small\0"),
        ((5 << 30) - 6, b"\0\0\0\0\0\0\x01"),
    ] {
        let mut buffer = Vec::new();
        reader.read_into(offset, 7, &mut buffer).unwrap();
        assert_eq!(buffer, expected);
    }
}

#[test]
fn an_empty_file_is_a_hole() {
    let (bench, top) = bench();
    fs::write(top.join("empty"), "").unwrap();
    let tree = plain(&bench, &top);
    let expected = Node::File {
        size: 0,
        content: Content::Hole,
        linked: false,
    };
    assert_eq!(bench.entry(&tree, "empty").node, expected);
}

#[test]
fn ten_thousand_folders_in_each_other_are_walked() {
    let (bench, top) = bench();
    let mut folder = rustix::fs::open(&top, OFlags::PATH, Mode::empty()).unwrap();
    for depth in 0..10_000 {
        // Two in each, so that every folder is come back to.
        for name in ["a", "b"] {
            mkdirat(&folder, name, Mode::RWXU).unwrap();
        }
        let name = if depth % 2 == 0 { "a" } else { "b" };
        folder = openat(&folder, name, OFlags::PATH, Mode::empty()).unwrap();
    }
    let tree = plain(&bench, &top);
    // Taking so deep a folder down again is beyond the standard library.
    run(std::process::Command::new("rm").arg("-rf").arg(&top));
    assert_eq!(tree.root.nodes, 20_001);
    assert!(tree.warnings.is_empty(), "{:?}", tree.warnings);
}

#[test]
fn excluded_paths_are_left_out() {
    let (bench, top) = bench();
    fs::create_dir_all(top.join("keep/cache")).unwrap();
    fs::write(top.join("keep/cache/x"), "x").unwrap();
    fs::write(top.join("keep/a.log"), "x").unwrap();
    fs::write(top.join("keep/a"), "x").unwrap();
    let folder = Folder::new(&top, SourceKind::Plain, &["*.log", "cache/"]);
    let mut cache = StatCache::default();
    let tree = bench.build(folder.scan(&mut cache), None, &mut cache);
    let names: Vec<String> = bench
        .list(&tree)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(names, ["keep", "keep/a"]);
}

#[test]
fn what_a_layer_excludes_is_absent_from_the_whole() {
    let (bench, top) = bench();
    let upper = bench.path("upper");
    for folder in [&top, &upper] {
        fs::create_dir_all(folder.join("logs")).unwrap();
        fs::write(folder.join("logs/a.log"), "x").unwrap();
    }
    let base = bench.capture(&top, SourceKind::OverlayLayer, None);
    let folder = Folder::new(&upper, SourceKind::OverlayLayer, &["*.log"]);
    let mut cache = StatCache::default();
    let tree = bench.build(folder.scan(&mut cache), Some(&base), &mut cache);
    assert_eq!((tree.root.nodes, tree.logical_bytes), (2, 0));
}

#[test]
fn whiteouts_as_files_with_an_attribute_delete_names() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let (lower, upper) = (bench.path("lower"), bench.path("upper"));
    for folder in [&lower, &upper] {
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::write(folder.join("a/gone"), "").unwrap();
        fs::write(folder.join("a/empty"), "").unwrap();
    }
    let set = |path: &str, name: &str, value: &[u8]| {
        lsetxattr(upper.join(path), name, value, XattrFlags::empty()).unwrap();
    };
    set("a", "trusted.overlay.opaque", b"x");
    set("a/gone", "trusted.overlay.whiteout", b"y");
    let base = bench.capture(&lower, SourceKind::OverlayLayer, None);
    let tree = bench.capture(&upper, SourceKind::OverlayLayer, Some(&base));
    let names: Vec<String> = bench
        .list(&tree)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(names, ["a", "a/empty"]);
}

#[test]
fn redirected_folders_are_refused_by_name() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let upper = bench.path("upper");
    fs::create_dir_all(upper.join("moved")).unwrap();
    let name = "trusted.overlay.redirect";
    lsetxattr(upper.join("moved"), name, b"/old", XattrFlags::empty()).unwrap();
    let folder = Folder::new(&upper, SourceKind::OverlayLayer, &[]);
    let refused = snap_fs::capture::scan(
        &folder.source(),
        &mut StatCache::default(),
        &snap_store::Silent,
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("moved") && message.contains("redirect_dir"),
        "{message}"
    );
}

#[test]
fn what_is_mounted_in_the_folder_is_left_out_with_a_warning() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = bench.path("top");
    fs::create_dir_all(top.join("inner")).unwrap();
    let lower = bench.path("store").display().to_string();
    let (upper, work) = (bench.path("up"), bench.path("work"));
    let mounted = Mounted::overlay(top.join("inner"), &lower, &upper, &work);
    assert!(fs::read_dir(&mounted.0).unwrap().count() > 0);
    let tree = plain(&bench, &top);
    assert_eq!(tree.root.nodes, 2);
    assert_eq!(tree.warnings.len(), 1, "{:?}", tree.warnings);
}

#[test]
fn a_dense_file_reads_back_as_it_was() {
    let (bench, top) = bench();
    let bytes: Vec<u8> = (0..5_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(top.join("large"), &bytes).unwrap();
    fs::write(top.join("small"), &bytes[..70_000]).unwrap();
    let tree = plain(&bench, &top);
    assert_eq!(bench.bytes(&bench.entry(&tree, "large")), bytes);
    assert_eq!(bench.bytes(&bench.entry(&tree, "small")), &bytes[..70_000]);
}
