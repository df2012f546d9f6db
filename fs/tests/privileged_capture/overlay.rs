//! Captured layers against what the kernel makes of them: the tree of a layer over its base is the tree of the mounted
//! overlay, read as a plain folder.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use proptest::{prelude::*, test_runner::TestRunner};
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, lsetxattr, mknodat};
use snap_fs::capture::SourceKind;

use crate::bench::{Bench, Disk, Mounted};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Something done to a folder; what cannot be done there is not done.
#[derive(Clone, Debug)]
enum Op {
    Write(String, u16),
    Append(String),
    Truncate(String, u16),
    MakeFolder(String),
    Remove(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String),
    Fifo(String),
    Mode(String, u16),
    Owner(String, u8),
    Attribute(String, u8),
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|names| names.join("/"))
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (path(), any::<u16>()).prop_map(|(path, size)| Op::Write(path, size)),
        2 => path().prop_map(Op::Append),
        1 => (path(), any::<u16>()).prop_map(|(path, size)| Op::Truncate(path, size)),
        6 => path().prop_map(Op::MakeFolder),
        3 => path().prop_map(Op::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        3 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        1 => path().prop_map(Op::Symlink),
        1 => path().prop_map(Op::Fifo),
        1 => (path(), 0..0o7777u16).prop_map(|(path, mode)| Op::Mode(path, mode)),
        1 => (path(), any::<u8>()).prop_map(|(path, uid)| Op::Owner(path, uid)),
        1 => (path(), any::<u8>()).prop_map(|(path, value)| Op::Attribute(path, value)),
    ];
    prop::collection::vec(op, 0..40)
}

fn apply(top: &Path, op: &Op) -> std::io::Result<()> {
    match op {
        Op::Write(path, size) => {
            let mut file = open(&top.join(path), OFlags::CREATE | OFlags::TRUNC)?;
            file.write_all(path.repeat(usize::from(*size) / 8).as_bytes())
        }
        Op::Append(path) => open(&top.join(path), OFlags::APPEND)?.write_all(b"more"),
        Op::Truncate(path, size) => {
            open(&top.join(path), OFlags::empty())?.set_len(u64::from(*size) * 16)
        }
        Op::MakeFolder(path) => fs::create_dir(top.join(path)),
        Op::Remove(path) => {
            let path = top.join(path);
            match path.symlink_metadata()?.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            }
        }
        Op::Rename(from, to) => fs::rename(top.join(from), top.join(to)),
        Op::Link(from, to) => fs::hard_link(top.join(from), top.join(to)),
        Op::Symlink(path) => symlink("../somewhere", top.join(path)),
        Op::Fifo(path) => Ok(mknodat(CWD, top.join(path), FileType::Fifo, Mode::RUSR, 0)?),
        Op::Mode(path, mode) => {
            fs::set_permissions(top.join(path), fs::Permissions::from_mode((*mode).into()))
        }
        Op::Owner(path, uid) => chown(top.join(path), Some((*uid).into()), None),
        Op::Attribute(path, value) => {
            let (path, flags) = (top.join(path), XattrFlags::empty());
            Ok(lsetxattr(path, "user.mark", &[*value], flags)?)
        }
    }
}

/// Opens a file for writing; a FIFO without a reader is an error.
fn open(path: &Path, more: OFlags) -> std::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | more;
    Ok(rustix::fs::open(path, flags, Mode::from(0o644))?.into())
}

fn apply_all(top: &Path, ops: &[Op]) {
    for op in ops {
        // Most operations find nothing to work on now and then.
        let _ = apply(top, op);
    }
}

#[test]
fn layers_over_their_base_are_the_mounted_overlay() {
    let disk = Disk::new("ext4");
    let config = ProptestConfig {
        cases: 64,
        max_shrink_iters: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let compare = |(lower, middle, upper): (Vec<Op>, Vec<Op>, Vec<Op>)| {
        let bench = Bench::new(&disk);
        let [low, mid, up, work, at] =
            ["low", "mid", "up", "work", "at"].map(|name| bench.path(name));
        fs::create_dir(&low).unwrap();
        apply_all(&low, &lower);
        let below = low.display().to_string();
        {
            let mounted = Mounted::overlay(at.clone(), &below, &mid, &work);
            apply_all(&mounted.0, &middle);
        }
        fs::remove_dir_all(&work).unwrap();
        let both = format!("{}:{below}", mid.display());
        let mounted = Mounted::overlay(at, &both, &up, &work);
        apply_all(&mounted.0, &upper);

        let expected = bench.capture(&mounted.0, SourceKind::Plain, None);
        let base = bench.capture(&low, SourceKind::OverlayLayer, None);
        let base = bench.capture(&mid, SourceKind::OverlayLayer, Some(&base));
        let layered = bench.capture(&up, SourceKind::OverlayLayer, Some(&base));
        prop_assert_eq!(bench.list(&layered), bench.list(&expected));
        prop_assert_eq!(&layered.root_meta, &expected.root_meta);
        prop_assert_eq!(layered.root, expected.root);
        prop_assert_eq!(&layered.links, &expected.links);
        prop_assert_eq!(layered.logical_bytes, expected.logical_bytes);
        Ok(())
    };
    TestRunner::new(config)
        .run(&(ops(), ops(), ops()), compare)
        .unwrap();
}
