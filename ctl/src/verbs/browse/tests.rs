//! Modes and lines of what a snapshot holds.

use snap_api::WirePath;

use super::*;

fn entry(kind: &str, mode: &str) -> TreeEntry {
    TreeEntry {
        digest: None,
        path: WirePath::new("/x"),
        kind: kind.to_owned(),
        mode: mode.to_owned(),
        uid: 0,
        gid: 0,
        size: 0,
        modified_at: "2020-01-02T03:04:05.000000006Z".to_owned(),
        target: None,
        device: None,
        xattrs: Vec::new(),
    }
}

#[test]
fn modes_read_as_ls_writes_them() {
    for (kind, mode, expected) in [
        ("file", "0644", "-rw-r--r--"),
        ("directory", "1777", "drwxrwxrwt"),
        ("file", "4755", "-rwsr-xr-x"),
        ("file", "2644", "-rw-r-Sr--"),
        ("symlink", "0777", "lrwxrwxrwx"),
        ("fifo", "0000", "p---------"),
        ("directory", "1000", "d--------T"),
        ("newer-kind", "0600", "?rw-------"),
    ] {
        assert_eq!(permissions(kind, mode), expected);
    }
}

#[test]
fn a_device_shows_its_numbers_and_a_link_its_target() {
    let device = TreeEntry {
        device: Some("1:3".to_owned()),
        ..entry("char-device", "0666")
    };
    let line = tree_line(Form::Table, &device);
    assert_eq!(
        line,
        "crw-rw-rw-      0     0       1, 3 2020-01-02 03:04:05 /x"
    );
    let link = TreeEntry {
        target: Some(WirePath::new("../\x07")),
        ..entry("symlink", "0777")
    };
    assert!(tree_line(Form::Table, &link).ends_with(" /x -> ../\\x07"));
}

#[test]
fn attributes_are_marked() {
    let with_attributes = TreeEntry {
        xattrs: vec![WirePath::new("security.capability")],
        ..entry("file", "0755")
    };
    assert!(tree_line(Form::Table, &with_attributes).starts_with("-rwxr-xr-x+ "));
    assert_eq!(tree_line(Form::Quiet, &with_attributes), "/x");
}
