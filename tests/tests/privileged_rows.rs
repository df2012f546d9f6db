//! The rows that users of sandbox snapshots in an orchestrator have asked for, each from beginning to end through `snapctl`, against a real containerd.
//!
//! docs/testing.md lists them.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use snap_api::{JobView, Restored, SnapshotDetail, SnapshotState, SnapshotView, Status};
use snap_tests::{Host, HostOptions, Image, noise, program, text, wait_for};

const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const LIMIT: i32 = 5;
const CANCELLED: i32 = 10;
const SOON: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;

/// A host with an idle container `one` that holds a file.
fn host_with_one(config: &str) -> Result<Host> {
    let host = Host::start_with(&HostOptions {
        config: config.to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo first > /file")?;
    Ok(host)
}

fn ids(host: &Host, arguments: &[&str]) -> Result<Vec<String>> {
    let all: Vec<SnapshotView> = host.snap_json(arguments)?;
    Ok(all.into_iter().map(|one| one.id).collect())
}

/// Seconds since 1970.
fn seconds(rfc3339: &str) -> Result<u64> {
    let output = Command::new("date")
        .args(["+%s", "--date", rfc3339])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().context("Read the date")
}

/// Row I1: Create, list (all, of one sandbox), get, delete, restore, with persistence across restarts.
#[test]
fn i1_snapshots_are_created_listed_shown_removed_and_restored_also_after_a_restart() -> Result<()> {
    let mut host = host_with_one("")?;
    host.run_idle("other", Image::Busybox)?;
    let first = host.snap(&["create", "one", "--quiet"])?;
    let second = host.snap(&["create", "other", "--quiet"])?;
    for is_restarted in [false, true] {
        if is_restarted {
            host.take_daemon()?.kill()?;
            host.start_daemon()?;
        }
        assert_eq!(ids(&host, &["list"])?.len(), 2);
        let of_one = ids(&host, &["list", "--source", "one"])?;
        assert_eq!(of_one, std::slice::from_ref(&first));
        let shown: SnapshotDetail = host.snap_json(&["show", &first])?;
        assert_eq!(
            (&*shown.snapshot.source, shown.snapshot.state),
            ("one", SnapshotState::Active)
        );
    }
    host.snap(&["restore", &first, "--id", "two"])?;
    assert_eq!(host.exec("two", "cat /file")?, "first");
    host.snap(&["remove", &second])?;
    assert_eq!(host.snapctl(["show", &second])?.code, NOT_FOUND);
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    assert_eq!(ids(&host, &["list"])?, [first]);
    assert_eq!(host.exec("two", "cat /file")?, "first");
    Ok(())
}

/// Row I2: Creating becomes Active or Failed, Deleting becomes gone; no state is a dead end, not when the executor dies, not when the daemon dies.
#[test]
fn i2_no_state_is_a_dead_end_whoever_dies() -> Result<()> {
    let mut host = host_with_one("")?;
    host.make_folder("folder")?;
    let held = host.begin_held(&[])?;
    let active = held.snapshot.clone();
    assert_eq!(host.state_of(&active)?.0, SnapshotState::Creating);
    held.finish(&host)?.ok()?;
    assert_eq!(host.state_of(&active)?.0, SnapshotState::Active);

    let held = host.begin_held(&[])?;
    let cancelled = held.snapshot.clone();
    assert_eq!(held.cancel(&host)?.code, CANCELLED);
    assert_failed(&host, &cancelled)?;

    let held = host.begin_held(&[])?;
    let orphan = held.snapshot.clone();
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    assert_failed(&host, &orphan)?;
    drop(held);

    host.snap(&["remove", &active, &cancelled, &orphan])?;
    assert_eq!(ids(&host, &["list"])?, Vec::<String>::new());
    without_containerd(&host)?;
    Ok(())
}

fn assert_failed(host: &Host, id: &str) -> Result<()> {
    let (state, reason) = host.state_of(id)?;
    assert_eq!((state, reason.is_some()), (SnapshotState::Failed, true));
    Ok(())
}

/// containerd dies while a container is captured.
fn without_containerd(host: &Host) -> Result<()> {
    host.exec("one", "head -c 60000000 /dev/urandom > /bulk")?;
    let mut creating = host
        .snapctl_command()?
        .args(["create", "one"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait_for("the capture to begin", SOON, || {
        Ok((!ids(host, &["list"])?.is_empty()).then_some(()))
    })?;
    host.kill_containerd()?;
    let succeeded = creating.wait()?.success();
    host.start_containerd()?;
    let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
    let expected = match succeeded {
        true => SnapshotState::Active,
        false => SnapshotState::Failed,
    };
    let states: Vec<_> = all.iter().map(|one| one.state).collect();
    assert_eq!(states, [expected]);
    assert_eq!(host.exec("one", "cat /file")?, "first");
    host.snap(&["create", "one"])?;
    let jobs: Vec<JobView> = host.snap_json(&["jobs"])?;
    assert!(jobs.iter().all(|job| job.ended_at.is_some()));
    Ok(())
}

/// Row I3: Time to live: 14 days unless told otherwise, 0 for never; an expired snapshot makes a fresh sandbox from the original configuration unless
/// forced; the answer says `restored_from_snapshot` and `ttl_expired`.
#[test]
fn i3_an_expired_snapshot_makes_a_fresh_container_unless_forced() -> Result<()> {
    let host = host_with_one("")?;
    host.snap(&["create", "one", "--name", "usual"])?;
    let usual = host.show("usual")?.snapshot;
    let expires_at = usual.expires_at.context("It expires")?;
    let life = seconds(&expires_at)? - seconds(&usual.created_at)?;
    assert!((14 * DAY - 60..=14 * DAY).contains(&life), "{life}");
    host.snap(&["create", "one", "--name", "always", "--ttl", "0"])?;
    assert_eq!(host.show("always")?.snapshot.expires_at, None);
    host.snap(&["create", "one", "--name", "short", "--ttl", "1s"])?;
    wait_for("it to expire", SOON, || {
        Ok(host.show("short")?.snapshot.expired.then_some(()))
    })?;
    for (reference, flag, from_snapshot, expired) in [
        ("usual", None, true, false),
        ("short", None, false, true),
        ("short", Some("--force"), true, true),
    ] {
        let mut arguments = vec!["restore", reference, "--id", "new"];
        arguments.extend(flag);
        let restored: Restored = host.snap_json(&arguments)?;
        assert_eq!(
            (restored.restored_from_snapshot, restored.ttl_expired),
            (from_snapshot, expired),
            "{arguments:?}"
        );
        let file = host.exec("new", "cat /file 2> /dev/null || echo fresh")?;
        let expected = match from_snapshot {
            true => "first",
            false => "fresh",
        };
        assert_eq!(file, expected, "{arguments:?}");
        host.snap(&["container", "remove", "new"])?;
    }
    Ok(())
}

/// Row I4: A cleanup loop, by the hour unless it is configured otherwise, removes the expired.
#[test]
fn i4_what_has_expired_is_removed_by_itself() -> Result<()> {
    let host = host_with_one("")?;
    let shown = Command::new(program("snapshotd")?)
        .args(["--check-config", "--config"])
        .arg(host.config())
        .output()?;
    let shown = String::from_utf8(shown.stdout)?;
    assert!(shown.contains("expiry_interval = \"1h\""), "{shown}");
    drop(host);

    let host = host_with_one("expiry_interval = \"1s\"\n")?;
    let short = host.snap(&["create", "one", "--ttl", "1s", "--quiet"])?;
    let long = host.snap(&["create", "one", "--ttl", "1h", "--quiet"])?;
    wait_for("the expired to go", SOON, || {
        Ok((ids(&host, &["list"])? == [long.clone()]).then_some(()))
    })?;
    assert_eq!(host.snapctl(["show", &short])?.code, NOT_FOUND);
    let status: Status = host.snap_json(&["status"])?;
    assert!(status.next_expiry_at.is_some(), "it goes on");
    Ok(())
}

/// Row I5: Namespaces, at most 100 snapshots in each by default, configurable; a tag on creation.
#[test]
fn i5_a_namespace_holds_a_hundred_snapshots_unless_configured_otherwise() -> Result<()> {
    for (config, most) in [("", 100), ("snapshots_per_namespace = 3\n", 3)] {
        let host = Host::start_without_containerd(config)?;
        let folder = host.make_folder("folder")?;
        let folder = text(&folder)?;
        for number in 0..most {
            let name = format!("site:v{number}.0");
            host.snap(&["create", "--path", folder, "--name", &name])?;
        }
        let refused = host.snapctl(["create", "--path", folder])?;
        assert_eq!(refused.code, LIMIT, "{refused:?}");
        let words = format!("{most}");
        assert!(refused.stderr.contains(&words), "{refused:?}");
        host.snap(&["--namespace", "other", "create", "--path", folder])?;
        assert_eq!(ids(&host, &["list"])?.len(), most);
        let first = host.show("site:v0.0")?.snapshot;
        assert_eq!(first.names, ["site:v0.0"]);
        host.snap(&["remove", "site:v0.0"])?;
        host.snap(&["create", "--path", folder, "--name", "site:again"])?;
        assert_eq!(ids(&host, &["list", "--all-namespaces"])?.len(), most + 1);
    }
    Ok(())
}

/// Row I6: The sandbox must be running, a clear conflict otherwise; limit exceeded, not found and not active each have their own error.
#[test]
fn i6_each_refusal_is_an_error_of_its_own() -> Result<()> {
    let host = host_with_one("snapshots_per_namespace = 2\n")?;
    host.run_idle("ended", Image::Busybox)?;
    host.kill_task("ended")?;
    let refuse = |arguments: &[&str], code: i32, words: &str| -> Result<()> {
        let answer = host.snapctl(arguments)?;
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(answer.stderr.contains(words), "{answer:?}");
        Ok(())
    };
    refuse(&["create", "ended"], CONFLICT, "not running")?;
    refuse(&["create", "nobody"], NOT_FOUND, "nobody")?;
    refuse(&["restore", "nothing"], NOT_FOUND, "was not found")?;
    host.make_folder("folder")?;
    let held = host.begin_held(&[])?;
    refuse(
        &["restore", &held.snapshot],
        CONFLICT,
        "is still being made",
    )?;
    host.snap(&["create", "one", "--name", "site"])?;
    refuse(&["create", "one"], LIMIT, "limit")?;
    let failed = held.snapshot.clone();
    assert_eq!(held.cancel(&host)?.code, CANCELLED);
    refuse(&["restore", &failed], CONFLICT, "could not be made")?;
    noise(&host.folder().join("folder/more"), 1000)?;
    host.snap(&["restore", "site", "--id", "two"])?;
    Ok(())
}
