//! Extraction onto a real file system.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::fs::{lgetxattr, lsetxattr, openat};
use snap_store::{DeviceNumber, LinkGroup, LinkTable, Silent, Timestamp, Xattr};

use super::*;
use crate::sample::{Sample, Tree, folder, lost_file, mode};

/// Extracts `path` of `manifest` as `name` into a folder.
fn write(
    sample: &Sample,
    manifest: &Manifest,
    path: &[&[u8]],
    into: (&Path, &OsStr),
) -> Result<Extracted> {
    let fd = File::open(into.0).unwrap();
    extract(&sample.store, manifest, path, fd.as_fd(), into.1, &Silent)
}

fn whole(sample: &Sample, tree: &Tree, links: LinkTable) -> (tempfile::TempDir, Extracted) {
    let manifest = sample.snapshot(tree, links);
    let target = tempfile::tempdir().unwrap();
    let done = write(sample, &manifest, &[], (target.path(), OsStr::new("out"))).unwrap();
    (target, done)
}

fn meta(bits: u16, xattrs: &[(&str, &[u8])]) -> Meta {
    let xattr = |(name, value): &(&str, &[u8])| Xattr {
        name: name.as_bytes().into(),
        value: (*value).into(),
    };
    Meta {
        uid: 12_345,
        gid: 54_321,
        modified: Timestamp {
            seconds: 1_000_000_007,
            nanoseconds: 123_456_789,
        },
        xattrs: xattrs.iter().map(xattr).collect(),
        ..mode(bits)
    }
}

/// cap_net_raw=ep, as `setcap` writes it.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// u::rwx,u:7:r,g::rx,m::rwx,o::-, as `setfacl` writes it.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

fn is_as_meta(path: &Path, meta: &Meta) -> bool {
    let stat = fs::symlink_metadata(path).unwrap();
    let is_link = stat.file_type().is_symlink();
    let xattr = |xattr: &Xattr| {
        let mut buffer = vec![0; 1 << 16];
        let length = lgetxattr(path, &*xattr.name, &mut *buffer).unwrap();
        buffer[..length] == *xattr.value
    };
    (is_link || stat.mode() & 0o7777 == u32::from(meta.mode))
        && (stat.uid(), stat.gid()) == (meta.uid, meta.gid)
        && (stat.mtime(), stat.mtime_nsec())
            == (meta.modified.seconds, i64::from(meta.modified.nanoseconds))
        && meta.xattrs.iter().all(xattr)
}

/// One node of every kind, as full of metadata as it may be.
fn one_of_each() -> [(&'static [u8], Tree); 8] {
    let device = Node::CharDevice(DeviceNumber { major: 1, minor: 3 });
    let block = Node::BlockDevice(DeviceNumber {
        major: 7,
        minor: 300,
    });
    [
        (
            &b"file"[..],
            Tree::File(
                meta(0o6755, &[("security.capability", CAPABILITY)]),
                b"data".to_vec(),
            ),
        ),
        (
            b"acl",
            Tree::File(meta(0o770, &[("system.posix_acl_access", ACL)]), Vec::new()),
        ),
        (
            b"symlink",
            Tree::Node(
                meta(0o777, &[("trusted.x", b"\0\xff")]),
                Node::Symlink((*b"/no\xff").into()),
            ),
        ),
        (b"char", Tree::Node(meta(0o620, &[]), device)),
        (b"block", Tree::Node(meta(0o1660, &[]), block)),
        (
            b"fifo",
            Tree::Node(meta(0o600, &[("trusted.y", b"z")]), Node::Fifo),
        ),
        (b"so\xffcket", Tree::Node(meta(0o755, &[]), Node::Socket)),
        (
            b"empty",
            Tree::Folder(
                meta(0o3777, &[("system.posix_acl_default", ACL)]),
                BTreeMap::new(),
            ),
        ),
    ]
}

#[test]
fn every_kind_of_node_comes_back_with_all_its_metadata() {
    let nodes = one_of_each();
    let tree = Tree::Folder(
        meta(0o2751, &[]),
        nodes
            .clone()
            .map(|(name, node)| (name.to_vec(), node))
            .into(),
    );
    let sample = Sample::new();
    let (target, done) = whole(&sample, &tree, LinkTable::default());
    let out = target.path().join("out");
    assert_eq!((done.files, done.bytes), (9, 4));
    assert!(is_as_meta(&out, &meta(0o2751, &[])));
    for (name, node) in &nodes {
        let path = out.join(OsStr::from_bytes(name));
        let (Tree::File(meta, _) | Tree::Node(meta, _) | Tree::Folder(meta, _)) = node;
        assert!(is_as_meta(&path, meta), "{}", path.display());
    }
    let stat = |name: &[u8]| fs::symlink_metadata(out.join(OsStr::from_bytes(name))).unwrap();
    assert!(stat(b"fifo").file_type().is_fifo() && stat(b"so\xffcket").file_type().is_socket());
    assert_eq!(stat(b"char").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(stat(b"block").rdev(), rustix::fs::makedev(7, 300));
    assert_eq!(
        fs::read_link(out.join("symlink")).unwrap(),
        Path::new(OsStr::from_bytes(b"/no\xff"))
    );
    assert_eq!(fs::read(out.join("file")).unwrap(), b"data");
}

#[test]
fn holes_stay_holes() {
    let mut bytes = vec![0; 9 << 20];
    bytes[4 << 20..][..5].copy_from_slice(b"lorem");
    let sample = Sample::new();
    let tree = folder([(b"sparse", Tree::File(mode(0o644), bytes.clone()))]);
    let (target, _) = whole(&sample, &tree, LinkTable::default());
    let path = target.path().join("out/sparse");
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 2 << 20);
}

#[test]
fn hard_links_are_one_file_also_when_the_first_name_is_outside() {
    let file = |bytes: &[u8]| Tree::File(mode(0o644), bytes.to_vec());
    // Positions: a 1, d 2, d/b 3, d/e 4, d/e/c 5, z 6.
    let tree = folder([
        (b"a", file(b"1")),
        (
            b"d",
            folder([(b"b", file(b"1")), (b"e", folder([(b"c", file(b"1"))]))]),
        ),
        (b"z", file(b"2")),
    ]);
    let links = LinkTable::new(&[LinkGroup(vec![1, 3, 5])]);
    let sample = Sample::new();
    let (target, done) = whole(&sample, &tree, links.clone());
    let stat = |path: &str| fs::metadata(target.path().join(path)).unwrap();
    assert_eq!(
        (stat("out/a").nlink(), stat("out/z").nlink(), done.bytes),
        (3, 1, 2)
    );
    assert_eq!(stat("out/a").ino(), stat("out/d/e/c").ino());
    let manifest = sample.snapshot(&tree, links);
    write(
        &sample,
        &manifest,
        &[b"d"],
        (target.path(), OsStr::new("part")),
    )
    .unwrap();
    assert_eq!(
        (stat("part/b").nlink(), stat("part/b").ino()),
        (2, stat("part/e/c").ino())
    );
}

#[test]
fn folders_deeper_than_any_path_or_descriptor_limit_are_written_and_removed() {
    let deep = |bottom: Tree| (0..1500).fold(bottom, |tree, _| folder([(b"deeper", tree)]));
    let body = move || {
        let sample = Sample::new();
        let (target, done) = whole(&sample, &deep(folder([])), LinkTable::default());
        assert_eq!(done.files, 1501);
        let fd = File::open(target.path()).unwrap();
        drop(Made::new(fd.as_fd(), OsStr::new("out"), MadeWhat::Folder));
        let lost = folder([(b"x", lost_file(b"gone"))]);
        let manifest = sample.snapshot(&deep(lost), LinkTable::default());
        let into = (target.path(), OsStr::new("failed"));
        assert!(write(&sample, &manifest, &[], into).is_err());
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    };
    // The sample itself is built by recursion.
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    thread.spawn(body).unwrap().join().unwrap();
}

#[test]
fn a_destination_that_is_not_an_empty_folder_is_left_alone() {
    let sample = Sample::new();
    let tree = folder([(b"a", Tree::File(mode(0o600), b"new".to_vec()))]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let target = tempfile::tempdir().unwrap();
    fs::create_dir(target.path().join("full")).unwrap();
    fs::write(target.path().join("full/a"), "old").unwrap();
    fs::write(target.path().join("file"), "old").unwrap();
    std::os::unix::fs::symlink("full", target.path().join("link")).unwrap();
    for name in ["full", "file", "link"] {
        for path in [&[][..], &[&b"a"[..]]] {
            let refused = write(&sample, &manifest, path, (target.path(), OsStr::new(name)));
            assert!(
                matches!(refused, Err(Error::Exists { .. })),
                "{name}: {refused:?}"
            );
        }
    }
    assert!(write(&sample, &manifest, &[], (target.path(), OsStr::new(".."))).is_err());
    assert_eq!(fs::read(target.path().join("full/a")).unwrap(), b"old");
    assert_eq!(fs::read(target.path().join("file")).unwrap(), b"old");
}

#[test]
fn an_empty_folder_is_filled_and_after_a_failure_is_as_before() {
    let sample = Sample::new();
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out");
    fs::create_dir(&out).unwrap();
    lsetxattr(
        target.path(),
        "system.posix_acl_default",
        ACL,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let before = fs::metadata(&out).unwrap();
    let bad = sample.snapshot(&folder([(b"a", lost_file(b"x"))]), LinkTable::default());
    assert!(write(&sample, &bad, &[], (target.path(), OsStr::new("out"))).is_err());
    let after = fs::metadata(&out).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.ino()),
        (before.mode(), before.uid(), before.ino())
    );
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    let good = sample.snapshot(&folder([(b"a", folder([]))]), LinkTable::default());
    write(&sample, &good, &[], (target.path(), OsStr::new("out"))).unwrap();
    write(&sample, &good, &[b"a"], (target.path(), OsStr::new("a"))).unwrap();
    for path in ["out", "out/a", "a"] {
        let mut list = [0; 256];
        assert_eq!(
            rustix::fs::llistxattr(target.path().join(path), &mut list),
            Ok(0),
            "{path}"
        );
    }
}

#[test]
fn a_single_file_is_written_or_nothing() {
    let sample = Sample::new();
    let tree = folder([
        (b"good", Tree::File(meta(0o640, &[]), b"1".to_vec())),
        (b"lost", lost_file(b"x")),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let target = tempfile::tempdir().unwrap();
    let into = (target.path(), OsStr::new("file"));
    assert!(write(&sample, &manifest, &[b"lost"], into).is_err());
    assert!(!target.path().join("file").exists());
    write(&sample, &manifest, &[b"good"], into).unwrap();
    assert!(is_as_meta(&target.path().join("file"), &meta(0o640, &[])));
    let missing = write(&sample, &manifest, &[b"good", b"x"], into);
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

/// Cancels after it has been asked so many times.
struct Countdown(AtomicU32);

impl Progress for Countdown {
    fn phase(&self, _name: &str) {}
    fn advance(&self, _files: u64, _bytes: u64) {}
    fn expect_bytes(&self, _total_bytes: u64) {}
    fn is_cancelled(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

#[test]
fn a_cancelled_extraction_leaves_nothing() {
    let sample = Sample::new();
    let file = || Tree::File(mode(0o644), b"x".to_vec());
    let tree = folder([
        (b"a", file()),
        (b"b", folder([(b"c", file())])),
        (b"d", file()),
    ]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let target = tempfile::tempdir().unwrap();
    let into = openat(
        rustix::fs::CWD,
        target.path(),
        OFlags::RDONLY,
        Mode::empty(),
    )
    .unwrap();
    for count in 0..9 {
        let progress = Countdown(AtomicU32::new(count));
        let name = OsStr::new("out");
        let cancelled = extract(&sample.store, &manifest, &[], into.as_fd(), name, &progress);
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{count}");
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }
}
