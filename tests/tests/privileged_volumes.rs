//! docs/semantics.md: volumes, in real containers: what they share, what is kept apart, and what becomes of it when something ends.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use snap_api::{AttachedView, ContainerView, SnapshotView, TreeEntry, VolumeChanged, VolumeView};
use snap_store::{Catalogue, MountRecord};
use snap_tests::{Host, Image, text, wait_for};

/// A host with a container's snapshot `app`.
fn host() -> Result<Host> {
    let host = Host::start()?;
    host.run_idle("origin", Image::Busybox)?;
    host.snap(&["create", "origin", "--name", "app"])?;
    Ok(host)
}

fn put(host: &Host, volume: &str, name: &str, content: &str, to: &str) -> Result<VolumeChanged> {
    let file = host.folder().join(name);
    fs::write(&file, content)?;
    host.snap_json(&["volume", "put", volume, text(&file)?, "--to", to])
}

fn restore(host: &Host, id: &str, volume: &str) -> Result<()> {
    host.snap(&["restore", "app", "--id", id, "--volume", volume])
        .map(drop)
}

fn commit(host: &Host, volume: &str, container: &str) -> Result<VolumeChanged> {
    host.snap_json(&["volume", "commit", volume, "--container", container])
}

fn reload(host: &Host, volume: &str, container: &str) -> Result<VolumeChanged> {
    host.snap_json(&["volume", "reload", volume, "--container", container])
}

fn volumes(host: &Host) -> Result<Vec<VolumeView>> {
    host.snap_json(&["volume", "list"])
}

fn attached(host: &Host, id: &str) -> Result<Vec<AttachedView>> {
    let all: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
    let found = all.into_iter().find(|one| one.id == id);
    Ok(found.context("It is listed")?.volumes)
}

/// The paths of a volume with what `cat` says of them in a mount of it.
fn content(host: &Host, volume: &str, path: &str) -> Result<String> {
    let to = host.folder().join("copied");
    host.snap(&["volume", "get", volume, path, text(&to)?])?;
    let read = fs::read_to_string(&to)?;
    fs::remove_file(&to)?;
    Ok(read)
}

/// What is left of changes: no stage, no snapshot that belongs to no version.
fn left_over(host: &Host) -> Result<(usize, usize)> {
    let staging = host.root().join("staging");
    let stages = fs::read_dir(staging).map_or(0, Iterator::count);
    let parts: Vec<SnapshotView> =
        host.snap_json(&["list", "--filter", "label=snapshotd.io/volume"])?;
    let versions: u64 = volumes(host)?.iter().map(|one| one.versions).sum();
    Ok((stages, parts.len() - usize::try_from(versions)?))
}

/// **O1** A volume is a named tree with versions: `snapctl volume put` and `remove` make the next one, of everything they are given or of nothing,
/// and `list` and `get` show the newest. **O2** Versions of volumes are in no listing that does not ask for them, count against no number of
/// snapshots, and cannot be removed by themselves.
#[test]
fn v1_a_volume_is_made_filled_read_and_removed() -> Result<()> {
    let host = Host::start()?;
    let made: VolumeChanged = host.snap_json(&["volume", "create", "data"])?;
    assert_eq!((made.volume.version, made.volume.nodes), (1, 1));
    let first = put(&host, "data", "greeting", "hello", "/a/b")?;
    assert_eq!((first.volume.version, first.files, first.bytes), (2, 1, 5));
    assert!(first.changed && first.new_bytes >= 5);
    put(&host, "data", "other", "more", "/")?;
    assert_eq!(content(&host, "data", "/a/b/greeting")?, "hello");
    let replaced = put(&host, "data", "greeting", "hello again", "/a/b")?;
    assert_eq!(replaced.volume.version, 4);
    assert_eq!(content(&host, "data", "a/b/greeting")?, "hello again");
    let files: Vec<TreeEntry> = host.snap_json(&["volume", "list", "data", "-r"])?;
    let paths: Vec<_> = files.iter().map(|one| one.path.to_string()).collect();
    assert_eq!(paths, ["/a", "/a/b", "/a/b/greeting", "/other"]);
    let digest = files[2].digest.as_deref().context("A file has a digest")?;
    assert_eq!((digest.len(), files[2].size), (64, 11));

    let answer = host.snapctl(["volume", "remove", "data", "/other", "/no/such"])?;
    assert_eq!(answer.code, 3, "{answer:?}");
    host.snap(&["volume", "remove", "data", "/a/b", "/other"])?;
    let files: Vec<TreeEntry> = host.snap_json(&["volume", "list", "data", "-r"])?;
    assert_eq!(files.len(), 1);
    let listed: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert!(listed.is_empty());
    let head = &volumes(&host)?[0];
    let answer = host.snapctl(["remove", &head.snapshot])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stderr.contains("is used by volume"), "{answer:?}");
    assert_eq!(left_over(&host)?, (0, 0));
    host.snap(&["volume", "remove", "data", "--yes"])?;
    assert_eq!(left_over(&host)?, (0, 0));
    assert!(volumes(&host)?.is_empty());
    Ok(())
}

/// **O3** A container that is restored with a volume has its newest version mounted, and what it writes there is its own until it is committed.
/// **O4** A commit makes what a container has written the next version of the volume; another container sees it after a reload, while it runs.
#[test]
fn v1_two_containers_share_a_volume_by_commit_and_reload() -> Result<()> {
    let host = host()?;
    host.snap(&["volume", "create", "data"])?;
    put(&host, "data", "base", "ground", "/")?;
    restore(&host, "one", "data:/data")?;
    restore(&host, "two", "data:/data")?;
    assert_eq!(host.exec("one", "cat /data/base")?, "ground");
    host.exec("one", "echo mine > /data/new; echo changed > /data/base")?;
    assert_eq!(host.exec("two", "cat /data/base; ls /data")?, "groundbase");

    let done = commit(&host, "data", "one")?;
    assert_eq!(
        (done.volume.version, done.changed, done.merged),
        (3, true, false)
    );
    assert!(done.reloaded, "{done:?}");
    assert_eq!(content(&host, "data", "/new")?, "mine\n");
    assert_eq!(
        host.exec("one", "cat /data/new /data/base")?,
        "mine\nchanged"
    );
    assert_eq!(host.exec("two", "cat /data/base")?, "ground");
    let done = reload(&host, "data", "two")?;
    assert!(done.changed && done.reloaded, "{done:?}");
    assert_eq!(
        host.exec("two", "cat /data/base; ls /data")?,
        "changed\nbase\nnew"
    );
    assert_eq!(attached(&host, "two")?[0].version, Some(3));
    assert!(!reload(&host, "data", "two")?.changed);
    let nothing = commit(&host, "data", "two")?;
    assert_eq!((nothing.changed, nothing.volume.version), (false, 3));
    assert_eq!(host.task_status("two")?.as_deref(), Some("RUNNING"));

    // What was committed before is not committed again, and what is written after a reload is.
    host.exec("two", "echo second > /data/second; rm /data/new")?;
    assert_eq!(commit(&host, "data", "two")?.volume.version, 4);
    reload(&host, "data", "one")?;
    assert_eq!(
        host.exec("one", "ls /data; cat /data/second")?,
        "base\nsecond\nsecond"
    );
    assert_eq!(left_over(&host)?, (0, 0));
    Ok(())
}

/// **O5** When others have changed the volume meanwhile, a commit puts both together. What both have changed, and not in the same way, is a
/// conflict that names the paths: then nothing is changed, and the container keeps what it has written.
#[test]
fn v1_concurrent_commits_merge_or_conflict_and_nothing_is_lost() -> Result<()> {
    let host = host()?;
    host.snap(&["volume", "create", "data"])?;
    put(&host, "data", "shared", "0", "/")?;
    for id in ["one", "two", "three"] {
        restore(&host, id, "data:/data")?;
        host.exec(
            id,
            &format!("mkdir /data/{id}; echo {id} > /data/{id}/file"),
        )?;
    }
    host.exec("three", "echo three > /data/shared")?;
    assert!(!commit(&host, "data", "one")?.merged);
    let merged = commit(&host, "data", "two")?;
    assert!(merged.merged && merged.changed);
    host.exec("one", "echo one > /data/shared")?;
    assert_eq!(commit(&host, "data", "one")?.volume.version, 5);
    let answer = host.snapctl(["volume", "commit", "data", "--container", "three"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(
        answer.stderr.contains("/shared") && !answer.stderr.contains("/three"),
        "{answer:?}"
    );
    assert_eq!(volumes(&host)?[0].version, 5);
    assert_eq!(
        host.exec("three", "cat /data/shared /data/three/file")?,
        "three\nthree"
    );
    host.exec(
        "three",
        "mv /data/shared /data/three/shared; echo one > /data/shared",
    )?;
    let answer = host.snapctl(["volume", "reload", "data", "--container", "three"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stderr.contains("not committed"), "{answer:?}");
    host.snap(&[
        "volume",
        "reload",
        "data",
        "--container",
        "three",
        "--discard",
    ])?;
    assert_eq!(
        host.exec("three", "ls /data; cat /data/shared")?,
        "one\nshared\ntwo\none"
    );
    assert_eq!(left_over(&host)?, (0, 0));
    Ok(())
}

/// **O6** A reload of what a process of the container has open is a conflict, and so is one of changes that are not committed, unless `--discard`
/// lets them go; nothing is changed then.
#[test]
fn v1_what_is_open_is_not_taken_away() -> Result<()> {
    let host = host()?;
    host.snap(&["volume", "create", "data"])?;
    put(&host, "data", "file", "first", "/")?;
    restore(&host, "one", "data:/data")?;
    host.exec("one", "(cd /data && exec 3< file && echo > /ready && while [ ! -e /stop ]; do sleep 0.1; done; echo > /stopped) > /dev/null 2>&1 &")?;
    let ready = || Ok(host.exec("one", "ls /ready").ok());
    wait_for("the file to be open", Duration::from_secs(20), ready)?;
    put(&host, "data", "file", "second", "/")?;
    let answer = host.snapctl(["volume", "reload", "data", "--container", "one"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(
        answer.stderr.contains("open") || answer.stderr.contains("working folder"),
        "{answer:?}"
    );
    assert_eq!(host.exec("one", "cat /data/file")?, "first");
    host.exec("one", "echo work > /data/work")?;
    let done = commit(&host, "data", "one")?;
    assert!(done.changed && done.merged && !done.reloaded, "{done:?}");
    host.exec("one", "echo work again > /data/work")?;
    assert_eq!(commit(&host, "data", "one")?.volume.version, 5);
    host.exec("one", "touch /stop")?;
    let stopped = || Ok(host.exec("one", "ls /stopped").ok());
    wait_for("the file to be closed", Duration::from_secs(20), stopped)?;
    reload(&host, "data", "one")?;
    assert_eq!(
        host.exec("one", "cat /data/file /data/work")?,
        "secondwork again"
    );
    Ok(())
}

/// **O7** A volume that a container or a folder has mounted is not removed, nor is the version that is mounted; the end of the container lets go
/// of both.
#[test]
fn v1_the_end_of_a_container_releases_its_volumes() -> Result<()> {
    let host = host()?;
    host.snap(&["volume", "create", "data"])?;
    put(&host, "data", "file", "first", "/")?;
    let before = host.our_mounts()?.len();
    restore(&host, "one", "data:/data")?;
    host.snap(&[
        "restore",
        "app",
        "--id",
        "two",
        "--volume",
        "data:/srv/data:ro",
    ])?;
    assert_eq!(volumes(&host)?[0].containers, ["one", "two"]);
    assert!(host.exec("two", "echo x > /srv/data/x").is_err());
    let answer = host.snapctl(["volume", "commit", "data", "--container", "two"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    let answer = host.snapctl(["volume", "remove", "data", "--yes"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    for round in 0..12 {
        put(&host, "data", "file", &format!("{round}"), "/")?;
    }
    assert_eq!(host.exec("one", "cat /data/file")?, "first");
    host.snap(&["container", "remove", "one"])?;
    host.snap(&["container", "remove", "two"])?;
    assert_eq!(host.our_mounts()?.len(), before);
    put(&host, "data", "file", "last", "/")?;
    assert_eq!(volumes(&host)?[0].versions, 10);
    assert_eq!(left_over(&host)?, (0, 0));
    host.snap(&["volume", "remove", "data", "--yes"])?;
    Ok(())
}

/// **O8** A daemon that is killed or restarted does not disturb what containers have mounted, and what they have written is kept; what a change
/// that was cut off has left is gone after the next start.
#[test]
fn v1_a_killed_daemon_leaves_volumes_and_containers_whole() -> Result<()> {
    let mut host = host()?;
    host.snap(&["volume", "create", "data"])?;
    put(&host, "data", "file", "first", "/")?;
    restore(&host, "one", "data:/data")?;
    host.exec("one", "echo mine > /data/mine")?;
    many_files(&host, 3000)?;
    for round in 0..4u64 {
        let folder = host.folder().join("many");
        let after = Duration::from_millis(40 + round * 250);
        let folder = text(&folder)?.to_owned();
        cut_off(&mut host, &["volume", "put", "data", &folder], after)?;
        assert_eq!(host.exec("one", "cat /data/file /data/mine")?, "firstmine");
        assert_eq!(left_over(&host)?, (0, 0), "round {round}");
        let files: Vec<TreeEntry> = host.snap_json(&["volume", "list", "data", "-r"])?;
        assert!([1, 3002].contains(&files.len()), "{}", files.len());
    }
    host.exec("one", "echo more >> /data/mine")?;
    let done = commit(&host, "data", "one")?;
    assert!(done.changed && done.reloaded, "{done:?}");
    host.take_daemon()?.stop()?;
    assert_eq!(host.exec("one", "cat /data/mine")?, "mine\nmore");
    host.start_daemon()?;
    host.snap(&["stop", "one"])?;
    host.snap(&["start", "one"])?;
    assert_eq!(
        host.exec("one", "cat /data/file /data/mine")?,
        "firstmine\nmore"
    );
    host.exec("one", "echo again > /data/again")?;
    assert!(commit(&host, "data", "one")?.changed);
    Ok(())
}

/// **O8** A daemon that is killed or restarted does not disturb what containers have mounted, and what they have written is kept; what a change
/// that was cut off has left is gone after the next start.
#[test]
fn v1_a_commit_or_a_reload_that_is_cut_off_loses_nothing() -> Result<()> {
    let mut host = host()?;
    host.snap(&["volume", "create", "data"])?;
    for id in ["one", "two"] {
        restore(&host, id, "data:/data")?;
    }
    for round in 0..6u64 {
        let word = format!("word {round}");
        host.exec("one", &format!("echo {word} > /data/work"))?;
        cut_off(
            &mut host,
            &["volume", "commit", "data", "--container", "one"],
            Duration::from_millis(60 + round * 90),
        )?;
        assert_eq!(host.exec("one", "cat /data/work")?, word);
        commit(&host, "data", "one")?;
        assert_eq!(content(&host, "data", "/work")?, format!("{word}\n"));
        assert_eq!(host.exec("one", "cat /data/work")?, word);
        cut_off(
            &mut host,
            &["volume", "reload", "data", "--container", "two"],
            Duration::from_millis(60 + round * 90),
        )?;
        host.exec("two", "echo mine > /data/mine")?;
        assert_eq!(host.exec("two", "cat /data/mine")?, "mine");
        host.snap(&[
            "volume",
            "reload",
            "data",
            "--container",
            "two",
            "--discard",
        ])?;
        assert_eq!(
            host.exec("two", "cat /data/work; ls /data")?,
            format!("{word}\nwork")
        );
        assert_eq!(left_over(&host)?, (0, 0), "round {round}");
    }
    host.exec("one", "echo last > /data/last")?;
    host.power_off(&[])?;
    host.start_containerd()?;
    host.start_daemon()?;
    host.snap(&["start", "one"])?;
    assert_eq!(
        host.exec("one", "cat /data/last /data/work")?,
        "last\nword 5"
    );
    assert!(commit(&host, "data", "one")?.changed);
    Ok(())
}

/// Starts a command, kills the daemon after a while, and starts it again.
fn cut_off(host: &mut Host, arguments: &[&str], after: Duration) -> Result<()> {
    let mut command = host.snapctl_command()?;
    let mut child = command.args(arguments).spawn().context("Run snapctl")?;
    std::thread::sleep(after);
    host.take_daemon()?.kill()?;
    child.wait()?;
    host.start_daemon()
}

fn many_files(host: &Host, count: usize) -> Result<()> {
    let many = host.make_folder("many")?;
    for number in 0..count {
        fs::write(many.join(format!("{number}")), format!("content {number}"))?;
    }
    Ok(())
}

/// Thousands of files at once are one version, and the same files once more are no new one.
#[test]
fn v1_thousands_of_files_are_put_at_once() -> Result<()> {
    let host = Host::start()?;
    host.snap(&["volume", "create", "data"])?;
    many_files(&host, 4000)?;
    let many = host.folder().join("many");
    let single = host.folder().join("single");
    fs::write(&single, "alone")?;
    let arguments = [
        "volume",
        "put",
        "data",
        text(&many)?,
        text(&single)?,
        "--to",
        "/in",
    ];
    let done: VolumeChanged = host.snap_json(&arguments)?;
    assert_eq!((done.volume.version, done.files), (2, 4001));
    assert_eq!(done.volume.nodes, 4001 + 3);
    assert_eq!(content(&host, "data", "/in/many/3999")?, "content 3999");
    let again: VolumeChanged =
        host.snap_json(&["volume", "put", "data", text(&many)?, "--to", "/other"])?;
    assert_eq!((again.volume.version, again.new_bytes < 1 << 20), (3, true));
    Ok(())
}

/// **O9** `restore --mount` mounts a snapshot, or a folder of it, in a new container: what the container writes there is its own and ends with it.
#[test]
fn v1_a_folder_of_a_snapshot_is_mounted_in_a_container() -> Result<()> {
    let host = host()?;
    let data = host.make_folder("tree")?;
    fs::create_dir_all(data.join("train/set"))?;
    fs::write(data.join("train/set/one"), "one")?;
    fs::write(data.join("top"), "top")?;
    host.snap(&["create", "--path", text(&data)?, "--name", "tree"])?;
    let arguments = [
        "restore",
        "app",
        "--id",
        "one",
        "--mount",
        "tree:/train/set:/set",
        "--mount",
        "tree:/all:ro",
        "--mount",
        "app:/other",
    ];
    host.snap(&arguments)?;
    assert_eq!(
        host.exec("one", "cat /set/one /all/top; ls /other/bin/sh")?,
        "onetop/other/bin/sh"
    );
    host.exec("one", "echo mine > /set/mine")?;
    assert!(host.exec("one", "echo x > /all/x").is_err());
    let answer = host.snapctl(["remove", "tree"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    for wrong in ["tree:/top:/x", "tree:/no/such:/x", "nothing:/x"] {
        let answer = host.snapctl(["restore", "app", "--mount", wrong])?;
        assert!([2, 3].contains(&answer.code), "{answer:?}");
    }
    // A capture of the container leaves out what is mounted, and says so.
    let answer = host.snapctl(["create", "one", "--name", "again"])?;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stderr.contains("at /set is not part"), "{answer:?}");
    host.snap(&["restore", "again", "--id", "two"])?;
    assert_eq!(host.exec("two", "ls /set | wc -l")?, "0");
    host.snap(&["container", "remove", "one"])?;
    assert!(Path::new(&data).join("train/set/one").exists());
    host.snap(&["remove", "tree"])?;
    Ok(())
}

/// Named in this order, the volume at `/data` was mounted over the one below it.
#[test]
fn v1_volumes_below_one_another_are_both_seen() -> Result<()> {
    let host = host()?;
    for name in ["inner", "outer"] {
        host.snap(&["volume", "create", name])?;
        put(&host, name, name, name, "/")?;
    }
    host.snap(&[
        "restore",
        "app",
        "--id",
        "one",
        "--volume",
        "inner:/data/in",
        "--volume",
        "outer:/data",
    ])?;
    assert_eq!(
        host.exec("one", "cat /data/in/inner /data/outer")?,
        "innerouter"
    );
    // What stands still for nothing is read in the container's turn.
    host.exec("one", "echo work > /data/in/work")?;
    host.snap(&["stop", "one"])?;
    assert!(commit(&host, "inner", "one")?.changed);
    assert_eq!(content(&host, "inner", "/work")?, "work\n");
    host.snap(&["start", "one"])?;
    assert_eq!(host.exec("one", "cat /data/in/work")?, "work");
    Ok(())
}

/// Between the kernel's two steps of a reload a container has nothing mounted where its volume was. The daemon was killed right there, and
/// the container went on without its volume.
#[test]
fn v1_a_daemon_killed_within_an_exchange_leaves_no_container_without_its_volume() -> Result<()> {
    let mut host = host()?;
    host.snap(&["volume", "create", "data"])?;
    put(&host, "data", "file", "first", "/")?;
    restore(&host, "one", "data:/data")?;
    host.exec("one", "echo mine > /data/mine")?;
    put(&host, "data", "file", "second", "/")?;
    let head = volumes(&host)?[0].snapshot.parse()?;
    host.take_daemon()?.kill()?;
    // As the daemon leaves it: the record of the reload, and the old ground unmounted.
    let target = format!("--target={}", host.task_pid("one")?);
    let ended = std::process::Command::new("nsenter")
        .args([&*target, "--mount", "--root", "umount", "/data"])
        .status()?;
    assert!(ended.success());
    let folder = host.root().join("containers").join(host.namespace());
    let hold = MountRecord {
        path: folder.join("one/volumes/0/1/rootfs"),
        snapshot: head,
        writable: None,
    };
    let (catalogue, _) = Catalogue::open(&host.root().join("catalogue.db"))?;
    catalogue.insert_mount(&hold)?;
    drop(catalogue);
    host.start_daemon()?;
    assert_eq!(host.exec("one", "cat /data/file /data/mine")?, "firstmine");
    assert!(commit(&host, "data", "one")?.changed);
    assert_eq!(host.exec("one", "cat /data/file /data/mine")?, "secondmine");
    Ok(())
}
