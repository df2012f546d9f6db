//! The trash: what is removed can be taken back until it goes.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use snap_api::{
    EventView, Removed, SnapshotView, Status, TrashCause, TrashEmptied, TrashView, Undeleted,
};
use snap_tests::{Host, HostOptions, Image, noise, text, wait_for};

const SOON: Duration = Duration::from_secs(30);
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const LIMIT: i32 = 5;

/// A host for folders with a trash, and a folder with something in it.
fn host_with_trash(config: &str) -> Result<(Host, PathBuf)> {
    let config = format!("trash_grace = \"1h\"\n{config}");
    let host = Host::start_without_containerd(&config)?;
    let folder = host.make_folder("data")?;
    fs::write(folder.join("file"), "one")?;
    Ok((host, folder))
}

fn trash(host: &Host) -> Result<Vec<TrashView>> {
    host.snap_json(&["trash", "list"])
}

fn actions(host: &Host) -> Result<Vec<String>> {
    let events = host.snap(&["events", "-o", "json"])?;
    let events = events.lines().map(serde_json::from_str::<EventView>);
    let actions = events.map(|event| Ok(event?.action));
    actions.collect()
}

/// **U1** A snapshot that is removed, forgotten or has expired goes to the trash; the first look for expired snapshots after `trash_grace` is
/// over lets it go for good. It is gone at once with `snapctl remove --permanent`, with `trash_grace = "0"`, and when it has failed.
#[test]
fn what_goes_is_in_the_trash_first() -> Result<()> {
    let (host, folder) = host_with_trash("expiry_interval = \"1s\"\n")?;
    for name in ["web", "web", "gone", "lasting"] {
        host.capture(&folder, &["--name", name])?;
    }
    host.capture(&folder, &["--name", "short", "--ttl", "1s"])?;
    let removed: Removed = host.snap_json(&["remove", "gone"])?;
    assert!(removed.in_trash_until.is_some());
    host.snap(&["forget", "web", "--keep-last", "1"])?;
    wait_for("what has expired to be in the trash", SOON, || {
        Ok((trash(&host)?.len() == 3).then_some(()))
    })?;
    let mut found: Vec<_> = trash(&host)?
        .into_iter()
        .map(|one| (one.snapshot.versions[0].clone(), one.cause))
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("gone:1".to_owned(), TrashCause::Remove),
        ("short:1".to_owned(), TrashCause::Expire),
        ("web:1".to_owned(), TrashCause::Forget),
    ];
    assert_eq!(found, expected);
    let removed: Removed = host.snap_json(&["remove", "lasting", "--permanent"])?;
    assert_eq!(removed.in_trash_until, None);
    assert_eq!(trash(&host)?.len(), 3);
    assert_eq!(host.snapctl(["undelete", "lasting"])?.code, NOT_FOUND);
    let told = actions(&host)?;
    assert_eq!(told.iter().filter(|one| *one == "trash").count(), 3);
    assert_eq!(told.iter().filter(|one| *one == "remove").count(), 1);
    Ok(())
}

#[test]
fn it_goes_by_itself_when_its_time_is_over() -> Result<()> {
    let config = "trash_grace = \"2s\"\nexpiry_interval = \"1s\"\n";
    let host = Host::start_without_containerd(config)?;
    let folder = host.make_folder("data")?;
    let id = host.capture(&folder, &[])?.snapshot.id;
    host.snap(&["remove", &id])?;
    wait_for("the trash to be empty", SOON, || {
        Ok(trash(&host)?.is_empty().then_some(()))
    })?;
    assert_eq!(fs::read_dir(host.root().join("manifests"))?.count(), 0);
    let told = actions(&host)?;
    assert_eq!(told[1..], ["trash", "remove"]);
    Ok(())
}

/// **U2** What is in the trash is found by `snapctl trash`, `snapctl undelete` and `snapctl restore --from-trash` alone, and loses nothing
/// there; whoever asks for it elsewhere is told that it is there.
#[test]
fn what_is_in_the_trash_loses_nothing_and_comes_back_whole() -> Result<()> {
    let (mut host, folder) = host_with_trash("")?;
    noise(&folder.join("noise"), 1 << 20)?;
    let id = host
        .capture(&folder, &["--name", "web:v1", "--label", "a=b"])?
        .snapshot
        .id;
    let before: SnapshotView = host.show("web")?.snapshot;
    host.snap(&["remove", "web"])?;
    for reference in ["web", "web:v1", "web:1", &id[..8], &id] {
        for verb in ["show", "restore", "remove"] {
            let answer = host.snapctl([verb, reference])?;
            assert_eq!(answer.code, NOT_FOUND, "{answer:?}");
            assert!(answer.stderr.contains("is in the trash"), "{answer:?}");
            assert!(answer.stderr.contains("snapctl undelete"), "{answer:?}");
        }
    }
    assert_eq!(host.snap(&["list", "-A", "-q"])?, "");
    host.snap(&["collect", "--grace", "0s"])?;
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    host.snap(&["collect", "--grace", "0s"])?;
    let status: Status = host.snap_json(&["status"])?;
    assert_eq!(status.trash.snapshots, 1);
    let back: Undeleted = host.snap_json(&["undelete", "web:1"])?;
    assert_eq!((back.snapshots.len(), back.snapshots[0].lost.len()), (1, 0));
    let after = host.show("web")?.snapshot;
    assert_eq!(
        serde_json::to_value(&after)?,
        serde_json::to_value(&before)?
    );
    host.snap(&["verify", "web:v1"])?;
    let created = host.capture(&folder, &["--name", "web"])?;
    assert_eq!(created.snapshot.versions, ["web:2"]);
    Ok(())
}

/// **U6** `snapctl trash empty` removes for good what is named of the trash, all of it or nothing, or everything in the trash of a
/// namespace that nobody uses.
#[test]
fn the_trash_is_emptied_as_asked() -> Result<()> {
    let (host, folder) = host_with_trash("collect_grace = \"0s\"\n")?;
    for name in ["a", "b", "c"] {
        fs::write(folder.join("file"), name)?;
        noise(&folder.join("noise"), 1 << 20)?;
        host.capture(&folder, &["--name", name])?;
        fs::remove_file(folder.join("noise"))?;
    }
    host.capture(&folder, &["--namespace", "other"])?;
    host.snap(&["remove", "a", "b", "c"])?;
    assert_eq!(host.snapctl(["trash", "empty", "a", "z"])?.code, NOT_FOUND);
    assert_eq!(trash(&host)?.len(), 3);
    let one: TrashEmptied = host.snap_json(&["trash", "empty", "a"])?;
    assert_eq!((one.ids.len(), trash(&host)?.len()), (1, 2));
    let said = host.snap(&["trash", "empty"])?;
    assert!(said.starts_with("2 snapshots gone for good"), "{said}");
    assert!(trash(&host)?.is_empty());
    let before: Status = host.snap_json(&["status"])?;
    host.snap(&["collect"])?;
    let after: Status = host.snap_json(&["status"])?;
    assert!(
        after.store_bytes + (3 << 20) <= before.store_bytes,
        "{after:?}"
    );
    Ok(())
}

/// **U7** `snapctl restore --from-trash` restores what is in the trash, whether it has expired or not, and leaves it there; as long as a
/// restored container stands on it, it does not go.
#[test]
fn what_is_in_the_trash_can_be_restored_there() -> Result<()> {
    let mut host = Host::start_with(&HostOptions {
        config: "trash_grace = \"1h\"\n".to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo kept > /kept")?;
    host.snap(&["create", "one", "--name", "web", "--ttl", "1s"])?;
    std::thread::sleep(Duration::from_millis(1500));
    host.snap(&["remove", "web"])?;
    host.snap(&["restore", "web", "--from-trash", "--id", "two"])?;
    assert_eq!(host.exec("two", "cat /kept")?, "kept");
    assert_eq!(host.snapctl(["trash", "empty", "web"])?.code, CONFLICT);
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    let found = trash(&host)?;
    assert!(found.len() == 1 && found[0].snapshot.in_use, "{found:?}");
    let kept: TrashEmptied = host.snap_json(&["trash", "empty"])?;
    assert_eq!((kept.ids.len(), kept.in_use.len()), (0, 1));
    assert_eq!(host.exec("two", "cat /kept")?, "kept");
    host.snap(&["container", "remove", "two"])?;
    let gone: TrashEmptied = host.snap_json(&["trash", "empty", "web"])?;
    assert_eq!(gone.ids.len(), 1);
    Ok(())
}

/// **U8** What is in the trash counts for `stored_bytes_per_namespace`, until it is gone, and not for `snapshots_per_namespace`; what comes
/// back needs room there.
#[test]
fn the_bytes_of_the_trash_count_and_its_number_does_not() -> Result<()> {
    let limits = "stored_bytes_per_namespace = \"1MiB\"\nsnapshots_per_namespace = \"1\"\n";
    let (host, folder) = host_with_trash(limits)?;
    noise(&folder.join("noise"), 700 << 10)?;
    host.capture(&folder, &["--name", "first"])?;
    host.snap(&["remove", "first"])?;
    noise(&folder.join("noise"), 700 << 10)?;
    let create = ["create", "--path", text(&folder)?, "--name", "second"];
    let refused = host.snapctl(create)?;
    assert!(
        refused.code == LIMIT && refused.stderr.contains("snapctl trash empty"),
        "{refused:?}"
    );
    host.snap(&["trash", "empty"])?;
    host.snap(&create)?;
    host.snap(&["remove", "second"])?;
    fs::remove_file(folder.join("noise"))?;
    host.capture(&folder, &["--name", "third"])?;
    assert_eq!(host.snapctl(["undelete", "second"])?.code, LIMIT);
    host.snap(&["remove", "third", "--permanent"])?;
    host.snap(&["undelete", "second"])?;
    assert_eq!(host.show("second")?.snapshot.versions, ["second:1"]);
    Ok(())
}
