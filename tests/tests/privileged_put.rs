//! A file or a folder of the host in the next version of a name.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    thread,
};

use anyhow::{Context, Result};
use snap_api::{Created, VersionView};
use snap_tests::{Host, Tree, noise, text};

const NO_DIFFERENCE: Vec<String> = Vec::new();

fn put(host: &Host, source: &Path, to: &str) -> Result<Created> {
    host.snap_json(&["copy", text(source)?, to])
}

/// A host with a folder `data` and its snapshot, the first version of `data`.
fn host_with_data() -> Result<(Host, std::path::PathBuf)> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    fs::create_dir_all(data.join("a/b"))?;
    fs::write(data.join("a/b/old"), "old")?;
    fs::hard_link(data.join("a/b/old"), data.join("a/linked"))?;
    fs::hard_link(data.join("a/b/old"), data.join("zz"))?;
    fs::write(data.join("file"), "first")?;
    host.capture(&data, &["--name", "data", "--label", "kept=yes"])?;
    Ok((host, data))
}

/// **I4** `snapctl copy SRC NAME:/PATH` makes the next version of NAME: the newest one with the file or folder SRC of the host at PATH, in the
/// place of what was there. Every other node of it, and every earlier version, stays as it is.
#[test]
fn i1_what_is_put_in_is_in_the_next_version_alone() -> Result<()> {
    let (host, data) = host_with_data()?;
    let before = Tree::read(&data)?;
    let new = host.make_folder("new")?;
    fs::write(new.join("file"), "second, and longer")?;
    fs::set_permissions(new.join("file"), fs::Permissions::from_mode(0o4751))?;
    let made = put(&host, &new.join("file"), "data:/file")?;
    assert_eq!(made.snapshot.versions, ["data:2"]);
    assert_eq!(made.snapshot.names, ["data:latest"]);
    assert_eq!(made.snapshot.labels["kept"], "yes");
    assert_eq!(made.snapshot.source, text(&data)?);
    let (first, second) = (
        host.mount("data:1", "first", &[])?,
        host.mount("data:2", "second", &[])?,
    );
    assert_eq!(before.differences(&Tree::read(&first)?), NO_DIFFERENCE);
    let (beside, after) = (before.without(&["file"]), Tree::read(&second)?);
    assert_eq!(beside.differences(&after.without(&["file"])), NO_DIFFERENCE);
    assert_eq!(
        fs::read_to_string(second.join("file"))?,
        "second, and longer"
    );
    let (ours, theirs) = (
        fs::metadata(new.join("file"))?,
        fs::metadata(second.join("file"))?,
    );
    assert_eq!(ours.permissions(), theirs.permissions());
    assert_eq!(ours.modified()?, theirs.modified()?);
    Ok(())
}

/// **I4** `snapctl copy SRC NAME:/PATH` makes the next version of NAME: the newest one with the file or folder SRC of the host at PATH, in the
/// place of what was there. Every other node of it, and every earlier version, stays as it is.
#[test]
fn i1_a_folder_takes_the_place_of_what_was_there() -> Result<()> {
    let (host, _) = host_with_data()?;
    let new = host.make_folder("new")?;
    fs::create_dir(new.join("deep"))?;
    fs::write(new.join("deep/one"), "one")?;
    symlink("deep/one", new.join("soft"))?;
    put(&host, &new, "data:/a/b")?;
    assert_eq!(
        host.paths_in("data", "/a")?,
        [
            "/a/b",
            "/a/b/deep",
            "/a/b/deep/one",
            "/a/b/soft",
            "/a/linked"
        ]
    );
    // Folders that are missing are made, a file gives way to a folder, and a link is followed here, on the host.
    symlink(&new, host.folder().join("link"))?;
    put(&host, &host.folder().join("link"), "data:/x/y/z")?;
    put(&host, &new.join("deep"), "data:/file")?;
    assert_eq!(host.paths_in("data:4", "/x/y/z/deep")?, ["/x/y/z/deep/one"]);
    assert_eq!(host.paths_in("data:4", "/file")?, ["/file/one"]);
    assert_eq!(host.paths_in("data:3", "/file")?, ["/file"]);
    host.snap(&["verify", "data:4"])?;
    let copy = host.folder().join("copy");
    host.snap(&["copy", "data:4:/", text(&copy)?])?;
    assert_eq!(fs::read_to_string(copy.join("a/linked"))?, "old");
    let history: Vec<VersionView> = host.snap_json(&["history", "data"])?;
    assert_eq!(history.len(), 4);
    host.snap(&["rollback", "data", "1"])?;
    // The newest version is what is built upon, wherever latest points.
    put(&host, &new.join("deep/one"), "data:/last")?;
    assert_eq!(host.paths_in("data", "/file")?, ["/file/one"]);
    Ok(())
}

/// **I5** Of what is put in, only what the store does not have is stored.
#[test]
fn i5_only_new_bytes_are_stored() -> Result<()> {
    let (host, data) = host_with_data()?;
    let new = host.make_folder("new")?;
    noise(&new.join("large"), 4 << 20)?;
    let first = put(&host, &new.join("large"), "data:/large")?;
    assert!(first.new_bytes >= 4 << 20, "{first:?}");
    let again = put(&host, &new, "data:/twice")?;
    assert!(again.new_bytes < 64 << 10, "{again:?}");
    fs::copy(new.join("large"), data.join("copy"))?;
    let captured = host.capture(&data, &["--name", "other"])?;
    assert!(captured.new_bytes < 64 << 10, "{captured:?}");
    Ok(())
}

/// **I6** Of several puts into one name at once, each builds on the one before: none is lost.
#[test]
fn i1_puts_at_once_follow_one_another() -> Result<()> {
    let (host, _) = host_with_data()?;
    let new = host.make_folder("new")?;
    let number = 6;
    for each in 0..number {
        fs::write(new.join(each.to_string()), format!("content {each}"))?;
    }
    let put_one = |each: i32| {
        put(
            &host,
            &new.join(each.to_string()),
            &format!("data:/in/{each}"),
        )
    };
    thread::scope(|scope| -> Result<()> {
        let all: Vec<_> = (0..number)
            .map(|each| scope.spawn(move || put_one(each)))
            .collect();
        for one in all {
            one.join().ok().context("A put has panicked")??;
        }
        Ok(())
    })?;
    let expected: Vec<String> = (0..number).map(|each| format!("/in/{each}")).collect();
    assert_eq!(
        host.paths_in(&format!("data:{}", number + 1), "/in")?,
        expected
    );
    Ok(())
}

#[test]
fn a_version_of_a_container_can_be_restored_with_what_was_put_in() -> Result<()> {
    let host = Host::start_with_idle("web")?;
    host.snap(&["create", "web", "--name", "web"])?;
    let file = host.folder().join("motd");
    fs::write(&file, "put in")?;
    put(&host, &file, "web:/etc/motd")?;
    host.snap(&["restore", "web", "--id", "clone"])?;
    assert_eq!(host.exec("clone", "cat /etc/motd")?, "put in");
    Ok(())
}
