//! Versions of names, the way back to older ones, tags that stay, and pins, by `snapctl` against a real daemon.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use snap_api::{MoveCause, MoveEnd, MoveView, Restored, RolledBack, SnapshotView, VersionView};
use snap_tests::{Answer, Host, HostOptions, Image, text, wait_for};

const SOON: Duration = Duration::from_secs(20);
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;

/// A host without containerd, and a folder to capture.
fn host_with_folder(config: &str) -> Result<(Host, PathBuf)> {
    let host = Host::start_without_containerd(config)?;
    let folder = host.make_folder("data")?;
    fs::write(folder.join("file"), "content")?;
    Ok((host, folder))
}

/// The same with so many versions of `data`, and their ids.
fn host_with_versions(count: usize) -> Result<(Host, PathBuf, Vec<String>)> {
    let (host, folder) = host_with_folder("")?;
    let mut ids = Vec::new();
    for _ in 0..count {
        let made = host.capture(&folder, &["--name", "data"])?;
        ids.push(made.snapshot.id);
    }
    Ok((host, folder, ids))
}

fn id_of(host: &Host, reference: &str) -> Result<String> {
    Ok(host.show(reference)?.snapshot.id)
}

/// The numbers of the versions of a name, and the current one.
fn history(host: &Host, name: &str) -> Result<(Vec<u64>, Option<u64>)> {
    let versions: Vec<VersionView> = host.snap_json(&["history", name])?;
    let current = versions.iter().find(|version| version.current);
    let current = current.map(|version| version.version);
    Ok((versions.iter().map(|one| one.version).collect(), current))
}

/// The version a rollback went to.
fn roll_back(host: &Host, arguments: &[&str]) -> Result<Option<u64>> {
    let mut all = vec!["rollback"];
    all.extend(arguments);
    let done: RolledBack = host.snap_json(&all)?;
    Ok(done.to.version)
}

/// Waits until the daemon has looked for what has expired: what expired before is looked at before this.
fn await_look(host: &Host) -> Result<()> {
    let folder = host.make_folder("look")?;
    let id = host.capture(&folder, &["--ttl", "1s"])?.snapshot.id;
    wait_for("a look at what has expired", SOON, || {
        Ok((host.snapctl(["show", &id])?.code == NOT_FOUND).then_some(()))
    })
}

fn assert_refused(answer: &Answer, code: i32, words: &str) {
    let said = answer.stderr.contains(words);
    assert!(answer.code == code && said, "{words}: {answer:?}");
}

/// **A7** Each `create` under a name makes the next version of it: 1, 2, 3 and so on. A snapshot has its number from the
/// moment it is active, and a number is never given twice, also not after its snapshot is gone.
/// **A10** `snapctl history NAME` lists the versions that are there, the newest first; with `--moves` the last hundred
/// moves of `NAME:latest`, also those to what is gone.
/// **A11** `snapctl rollback NAME` moves `NAME:latest` to the greatest active version below the one it points to or last
/// pointed to, with a VERSION to that one, and changes nothing else.
#[test]
fn a_container_has_versions_and_goes_back_to_an_older_one() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    for content in ["first", "second", "third"] {
        host.exec("one", &format!("echo {content} > /file"))?;
        host.snap(&["create", "one", "--name", "site"])?;
    }
    host.snap(&["restore", "site", "--id", "newest"])?;
    assert_eq!(history(&host, "site")?, (vec![3, 2, 1], Some(3)));
    let undo = host.snap(&["rollback", "site"])?;
    assert!(
        undo.ends_with("Undo with  snapctl rollback site --undo"),
        "{undo}"
    );
    assert_eq!(history(&host, "site")?, (vec![3, 2, 1], Some(2)));
    host.snap(&["restore", "site", "--id", "older"])?;
    assert_eq!(host.exec("older", "cat /file")?, "second");
    assert_eq!(host.exec("newest", "cat /file")?, "third");
    host.snap(&["restore", "site:1", "--id", "oldest"])?;
    assert_eq!(host.exec("oldest", "cat /file")?, "first");
    host.snap(&["container", "remove", "newest"])?;
    host.snap(&["remove", "site:3"])?;
    host.snap(&["create", "one", "--name", "site"])?;
    assert_eq!(history(&host, "site")?, (vec![4, 2, 1], Some(4)));
    let moves: Vec<MoveView> = host.snap_json(&["history", "site", "--moves"])?;
    let ends = |one: &MoveView| {
        let number = |end: &Option<MoveEnd>| end.as_ref().and_then(|end| end.version);
        (one.cause, number(&one.from), number(&one.to))
    };
    let told: Vec<_> = moves.iter().map(ends).collect();
    let expected = [
        (MoveCause::Create, Some(2), Some(4)),
        (MoveCause::Rollback, Some(3), Some(2)),
        (MoveCause::Create, Some(2), Some(3)),
        (MoveCause::Create, Some(1), Some(2)),
        (MoveCause::Create, None, Some(1)),
    ];
    assert_eq!(told, expected);
    Ok(())
}

/// **A7** Each `create` under a name makes the next version of it: 1, 2, 3 and so on. A snapshot has its number from the
/// moment it is active, and a number is never given twice, also not after its snapshot is gone.
#[test]
fn numbers_are_given_with_the_state_and_never_twice() -> Result<()> {
    let (mut host, folder, _) = host_with_versions(2)?;
    let held = host.begin_held(&["--name", "data:held"])?;
    assert_eq!(history(&host, "data")?, (vec![2, 1], Some(2)));
    assert_eq!(host.snapctl(["show", "data:3"])?.code, NOT_FOUND);
    held.cancel(&host)?;
    host.snap(&["remove", "data:1", "data:2"])?;
    assert_eq!(history(&host, "data")?, (vec![], None));
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    let third = host.capture(&folder, &["--name", "data:v3"])?.snapshot;
    assert_eq!(third.versions, ["data:3"]);
    let elsewhere = ["--namespace", "other", "--name", "data"];
    assert_eq!(
        host.capture(&folder, &elsewhere)?.snapshot.versions,
        ["data:1"]
    );
    Ok(())
}

/// **A8** `NAME:3` is version 3 of NAME. A tag of digits alone cannot be given; one that an earlier release gave stays,
/// and comes before the version of that number, until it is taken away.
#[test]
fn digits_alone_are_a_version_and_no_tag() -> Result<()> {
    let (host, folder, ids) = host_with_versions(2)?;
    assert_eq!(id_of(&host, "data:1")?, ids[0]);
    assert_eq!(id_of(&host, "data:2")?, ids[1]);
    let before = host.snap(&["list", "-o", "json"])?;
    for arguments in [
        &["create", "--path", text(&folder)?, "--name", "data:7"][..],
        &["tag", "data:1", "data:7"],
        &["tag", "data:1", "data:a", "data:007"],
    ] {
        let answer = host.snapctl(arguments)?;
        assert_refused(&answer, USAGE, "digits alone");
    }
    assert_refused(&host.snapctl(["untag", "data:1"])?, USAGE, "not a tag");
    assert_refused(&host.snapctl(["show", "data:3"])?, NOT_FOUND, "never made");
    assert_eq!(host.snap(&["list", "-o", "json"])?, before);
    Ok(())
}

/// **A9** `NAME:latest` moves with each `create` under NAME, with `snapctl rollback`, with `snapctl tag`, with the `snapctl undelete` of what it pointed to, and with
/// nothing else: when what it points to is removed or expires it points to nothing, and whoever asks for it is told so.
#[test]
fn latest_does_not_fall_back_and_says_so() -> Result<()> {
    let (host, folder) = host_with_folder("expiry_interval = \"1s\"\n")?;
    host.capture(&folder, &["--name", "data"])?;
    host.capture(&folder, &["--name", "data", "--ttl", "1s"])?;
    wait_for("the second version to expire", SOON, || {
        Ok((history(&host, "data")?.0 == [1]).then_some(()))
    })?;
    let answer = host.snapctl(["restore", "data"])?;
    assert_refused(&answer, NOT_FOUND, "version 2 was removed or has expired");
    assert_refused(&answer, NOT_FOUND, "`snapctl history data`");
    assert_refused(&host.snapctl(["show", "data:2"])?, NOT_FOUND, "is gone");
    assert_eq!(roll_back(&host, &["data"])?, Some(1));
    host.snap(&["untag", "data"])?;
    let answer = host.snapctl(["show", "data"])?;
    assert_refused(&answer, NOT_FOUND, "`untag`");
    host.snap(&["tag", "data:1", "data:latest"])?;
    host.snap(&["ttl", "data", "3h"])?;
    host.snap(&["label", "data", "a=b"])?;
    assert_eq!(history(&host, "data")?, (vec![1], Some(1)));
    Ok(())
}

/// **A11** `snapctl rollback NAME` moves `NAME:latest` to the greatest active version below the one it points to or last
/// pointed to, with a VERSION to that one, and changes nothing else.
/// **A12** `snapctl rollback NAME --undo` moves `NAME:latest` to where it was before the last rollback that was not
/// undone. When a `create` or a `tag` has moved it since, that is a conflict.
#[test]
fn rollbacks_go_anywhere_and_are_undone_one_after_the_other() -> Result<()> {
    let (host, folder, ids) = host_with_versions(4)?;
    let refused = |arguments: &[&str], code: i32, words: &str| -> Result<()> {
        assert_refused(&host.snapctl(arguments)?, code, words);
        Ok(())
    };
    refused(&["rollback", "data", "--undo"], CONFLICT, "no rollback")?;
    refused(&["rollback", "nothing"], NOT_FOUND, "no name nothing")?;
    refused(&["history", "nothing"], NOT_FOUND, "no name nothing")?;
    refused(&["history", "data:latest"], USAGE, "the name alone")?;
    refused(&["rollback", "data", "9"], NOT_FOUND, "its greatest is 4")?;
    host.snap(&["remove", "data:3"])?;
    refused(&["rollback", "data", "3"], NOT_FOUND, "is gone")?;
    let before: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(roll_back(&host, &["data"])?, Some(2));
    assert_eq!(roll_back(&host, &["data", "1"])?, Some(1));
    refused(
        &["rollback", "data"],
        CONFLICT,
        "no active version before 1",
    )?;
    assert_eq!(roll_back(&host, &["data", "--undo"])?, Some(2));
    assert_eq!(roll_back(&host, &["data", "--undo"])?, Some(4));
    refused(&["rollback", "data", "--undo"], CONFLICT, "no rollback")?;
    let after: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(
        serde_json::to_value(before)?,
        serde_json::to_value(after)?,
        "and changes nothing else"
    );
    roll_back(&host, &["data"])?;
    host.capture(&folder, &["--name", "data"])?;
    refused(
        &["rollback", "data", "--undo"],
        CONFLICT,
        "moved by `create`",
    )?;
    host.snap(&["tag", &ids[0], "data"])?;
    refused(&["rollback", "data", "--undo"], CONFLICT, "moved by `tag`")?;
    Ok(())
}

/// **A13** `snapctl tag` gives all the names it is asked for or none.
/// **A14** An immutable tag stays where it is until `snapctl untag --force`: what would move it or take it away is a
/// conflict, and its snapshot is removed by `snapctl remove --force` alone, also after it has expired.
#[test]
fn an_immutable_tag_stays_until_it_is_taken_by_force() -> Result<()> {
    let (host, folder) = host_with_folder("expiry_interval = \"1s\"\n")?;
    let first = host.capture(&folder, &["--name", "data", "--ttl", "2s"])?;
    let first = first.snapshot.id;
    host.snap(&["tag", "data", "data:v1", "release:v1", "--immutable"])?;
    host.capture(&folder, &["--name", "data"])?;
    let path = text(&folder)?;
    for arguments in [
        &["tag", "data:2", "data:new", "data:v1"][..],
        &["untag", "data:v1"],
        &["create", "--path", path, "--name", "data:v1"],
        &["remove", "data:2", "data:1"],
    ] {
        assert_refused(&host.snapctl(arguments)?, CONFLICT, "immutable");
    }
    let answer = host.snapctl(["tag", "data:2", "data", "--immutable"])?;
    assert_refused(&answer, USAGE, "cannot be immutable");
    assert_eq!(host.snapctl(["show", "data:new"])?.code, NOT_FOUND);
    wait_for("the first version to expire", SOON, || {
        Ok(host.show(&first)?.snapshot.expired.then_some(()))
    })?;
    await_look(&host)?;
    assert_eq!(id_of(&host, "release:v1")?, first);
    host.snap(&["untag", "data:v1", "--force"])?;
    host.snap(&["tag", "data:2", "data:v1"])?;
    host.snap(&["ttl", &first, "never"])?;
    assert_refused(&host.snapctl(["remove", &first])?, CONFLICT, "release:v1");
    host.snap(&["remove", &first, "--force"])?;
    assert_eq!(host.snapctl(["show", "release:v1"])?.code, NOT_FOUND);
    Ok(())
}

/// **A15** A catalogue that is made anew from the manifests has the same versions, and counts on from the greatest that
/// is there.
#[test]
fn versions_outlive_the_catalogue() -> Result<()> {
    let (mut host, folder, ids) = host_with_versions(4)?;
    host.snap(&["remove", "data:2"])?;
    host.take_daemon()?.stop()?;
    for end in ["", "-wal", "-shm"] {
        let path = host.root().join(format!("catalogue.db{end}"));
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    host.start_daemon()?;
    assert_eq!(history(&host, "data")?, (vec![4, 3, 1], Some(4)));
    for (number, id) in [(1, &ids[0]), (3, &ids[2]), (4, &ids[3])] {
        assert_eq!(&id_of(&host, &format!("data:{number}"))?, id);
    }
    let next = host.capture(&folder, &["--name", "data"])?.snapshot;
    assert_eq!(next.versions, ["data:5"]);
    Ok(())
}

/// **T10** A pinned snapshot neither expires nor can be removed until it is unpinned; its time to live is then what it
/// was.
#[test]
fn a_pinned_snapshot_stays_until_it_is_unpinned() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "expiry_interval = \"1s\"\n".to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo kept > /file")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["pin", "site"])?;
    host.snap(&["ttl", "site", "1s"])?;
    await_look(&host)?;
    assert!(host.snap(&["list"])?.contains("  pinned  "));
    let shown = host.show("site")?.snapshot;
    assert!(shown.pinned && !shown.expired, "{shown:?}");
    let restored: Restored = host.snap_json(&["restore", "site", "--id", "two"])?;
    assert!(restored.restored_from_snapshot && !restored.ttl_expired);
    assert_eq!(host.exec("two", "cat /file")?, "kept");
    host.snap(&["container", "remove", "two"])?;
    for arguments in [&["remove", "site"][..], &["remove", "site", "--force"]] {
        let answer = host.snapctl(arguments)?;
        assert_refused(&answer, CONFLICT, "is pinned");
        assert_refused(&answer, CONFLICT, "snapctl unpin");
    }
    host.snap(&["unpin", "site"])?;
    wait_for("the expired to go", SOON, || {
        Ok((host.snapctl(["show", "site"])?.code == NOT_FOUND).then_some(()))
    })
    .context("Its time to live is what it was")
}

/// **Q1** `snapctl list` shows what passes its filters: of several `state`, `container`, `path`, `source`, `image` or
/// `name` filters of one kind one must hold, of all others each.
/// **Q2** Pages, and `--limit`, count what passes the filters, in the order that was asked for.
/// **Q3** What is no filter is a usage error that names it and tells which there are.
#[test]
fn lists_are_filtered_sorted_and_limited() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    let folder = host.make_folder("data")?;
    fs::write(folder.join("file"), [7; 4096])?;
    for name in ["b", "a", "c"] {
        host.capture(
            &folder,
            &["--name", name, "--label", &format!("name={name}")],
        )?;
    }
    host.snap(&["create", "one", "--name", "box", "--ttl", "never"])?;
    host.snap(&["pin", "a"])?;
    let listed = |arguments: &[&str]| -> Result<String> {
        let mut all = vec!["list", "-o", "json"];
        all.extend(arguments);
        let found: Vec<SnapshotView> = host.snap_json(&all)?;
        let names = found.iter().map(|one| one.names[0].replace(":latest", ""));
        Ok(names.collect::<Vec<_>>().join(" "))
    };
    let path = format!("path={}", text(&folder)?);
    for (arguments, expected) in [
        (&["--sort", "name"][..], "a b box c"),
        (&["--sort", "name:desc", "--limit", "2"], "c box"),
        (&["--sort", "name", "--filter", &path], "a b c"),
        (&["--sort", "name", "--filter", "name=b*"], "b box"),
        (
            &["--sort", "name", "--filter", "name=a,name=c,created<1d"],
            "a c",
        ),
        (
            &["--sort", "name", "--label", "name", "--limit", "2"],
            "a b",
        ),
        (&["--filter", "label=name=c"], "c"),
        (&["--filter", "pinned=true"], "a"),
        (
            &["--filter", "container=o*,image=*busybox*,state=active"],
            "box",
        ),
        (&["--filter", "expires>300d,pinned=false"], "box"),
        (&["--sort", "name", "--filter", "expires<300d"], "b c"),
        (&["--filter", "size>4K"], "box"),
        (&["--filter", "created>1d"], ""),
        (&["--source", "one"], "box"),
        (&["--filter", "state=failed,name=a"], ""),
    ] {
        assert_eq!(listed(arguments)?, expected, "{arguments:?}");
    }
    let answer = host.snapctl(["list", "--filter", "pinned=true,colour=red"])?;
    assert_refused(&answer, USAGE, "`colour=red` is no filter");
    assert_refused(&answer, USAGE, "created>AGE");
    Ok(())
}
