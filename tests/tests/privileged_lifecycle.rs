//! Names, times to live, use, removal, and the daemon coming and going.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context, Result};
use snap_api::{ContainerView, Restored, SnapshotDetail, SnapshotState, SnapshotView, Status};
use snap_tests::{Host, HostOptions, Image, wait_for};

const SOON: Duration = Duration::from_secs(15);
const CONFLICT: i32 = 4;
const NOT_FOUND: i32 = 3;

/// A host with an idle container `one` that holds a file.
fn host_with_one() -> Result<Host> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo first > /file")?;
    Ok(host)
}

fn show(host: &Host, reference: &str) -> Result<SnapshotView> {
    let detail: SnapshotDetail = host.snap_json(&["show", reference])?;
    Ok(detail.snapshot)
}

fn seconds(rfc3339: &str) -> Result<u64> {
    let output = Command::new("date")
        .args(["+%s", "--date", rfc3339])
        .output()?;
    String::from_utf8(output.stdout)?
        .trim()
        .parse()
        .context("Read the date")
}

fn nothing_is_held(host: &Host) -> Result<()> {
    wait_for("everything held to be released", SOON, || {
        Ok((host.our_mounts()?.is_empty() && host.mount_servers()?.is_empty()).then_some(()))
    })
    .with_context(|| format!("{:?} {:?}", host.our_mounts(), host.mount_servers()))
}

/// **T1** A snapshot expires its time to live after its creation: 14 days unless the daemon is configured otherwise or
/// `--ttl` says so; `never` and 0 mean that it does not.
#[test]
fn a_snapshot_lives_fourteen_days_unless_told_otherwise() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&["create", "one", "--name", "plain"])?;
    let plain = show(&host, "plain")?;
    let expires = plain.expires_at.context("It expires")?;
    let life = seconds(&expires)? - seconds(&plain.created_at)?;
    assert!(
        (14 * 86_400 - 5..=14 * 86_400 + 5).contains(&life),
        "{life}"
    );
    for (ttl, name) in [("never", "kept"), ("0", "zero")] {
        host.snap(&["create", "one", "--name", name, "--ttl", ttl])?;
        assert_eq!(show(&host, name)?.expires_at, None);
    }
    host.snap(&["ttl", "kept", "2h"])?;
    assert!(show(&host, "kept")?.expires_at.is_some());
    host.snap(&["ttl", "plain", "never"])?;
    assert_eq!(show(&host, "plain")?.expires_at, None);
    Ok(())
}

/// **T1** A snapshot expires its time to live after its creation: 14 days unless the daemon is configured otherwise or
/// `--ttl` says so; `never` and 0 mean that it does not.
#[test]
fn the_default_time_to_live_is_configurable() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "default_ttl = \"never\"\n".to_owned(),
        without_containerd: true,
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    host.snap(&[
        "create",
        "--path",
        &data.to_string_lossy(),
        "--name",
        "data",
    ])?;
    assert_eq!(show(&host, "data")?.expires_at, None);
    Ok(())
}

#[test]
fn the_expired_are_removed_in_time() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "expiry_interval = \"1s\"\n".to_owned(),
        without_containerd: true,
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    let data = data.to_string_lossy();
    host.snap(&["create", "--path", &data, "--name", "short", "--ttl", "1s"])?;
    host.snap(&["create", "--path", &data, "--name", "long"])?;
    wait_for("the expired to go", SOON, || {
        let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
        Ok((all.len() == 1).then_some(()))
    })?;
    assert_eq!(host.snapctl(["show", "short"])?.code, NOT_FOUND);
    show(&host, "long").map(drop)
}

/// **T8** A snapshot that a container or folder uses is not removed; a later look removes it once it is free.
#[test]
fn an_expired_snapshot_that_is_used_is_not_removed() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "expiry_interval = \"1s\"\n".to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "used"])?;
    host.snap(&["restore", "used", "--id", "two"])?;
    host.snap(&["ttl", "used", "1s"])?;
    thread::sleep(Duration::from_secs(4));
    assert_eq!(show(&host, "used")?.state, SnapshotState::Active);
    assert_eq!(host.exec("two", "echo runs")?, "runs");
    host.remove_by_ctr("two")?;
    wait_for("the expired to go", SOON, || {
        Ok((host.snapctl(["show", "used"])?.code == NOT_FOUND).then_some(()))
    })
}

/// **T4** From the moment it expires, restoring a container's snapshot makes fresh containers from the original image
/// and configuration; the answer says `restored_from_snapshot: false` and `ttl_expired: true`.
/// **T5** With `--force` an expired snapshot that still exists is restored as any other; the answer says `ttl_expired:
/// true`.
#[test]
fn an_expired_restore_is_fresh_from_the_image_unless_forced() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&["create", "one", "--name", "short", "--ttl", "1s"])?;
    thread::sleep(Duration::from_secs(2));
    let fresh: Restored = host.snap_json(&["restore", "short", "--id", "fresh"])?;
    assert!(fresh.ttl_expired && !fresh.restored_from_snapshot);
    assert_eq!(
        host.exec("fresh", "ls /file 2>/dev/null || echo none")?,
        "none"
    );
    let forced: Restored = host.snap_json(&["restore", "short", "--id", "forced", "--force"])?;
    assert!(forced.ttl_expired && forced.restored_from_snapshot);
    assert_eq!(host.exec("forced", "cat /file")?, "first");
    let listed: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
    assert!(
        listed
            .iter()
            .any(|one| one.id == "forced" && one.status == "running")
    );
    Ok(())
}

/// **A1** A name is `NAME:TAG`; it points to one snapshot of its namespace at a time, and a snapshot may have any
/// number.
/// **A3** A reference without tag means `NAME:latest`.
/// **A6** Taking the last name away leaves the snapshot under its id.
#[test]
fn a_name_means_its_latest_and_tags_stay() -> Result<()> {
    let host = host_with_one()?;
    let first = host.snap(&["create", "one", "--name", "site:v1", "--quiet"])?;
    let second = host.snap(&["create", "one", "--name", "site:v2", "--quiet"])?;
    for (reference, expected) in [
        ("site", &second),
        ("site:latest", &second),
        ("site:v1", &first),
        ("site:v2", &second),
        (&first[..12], &first),
        (first.as_str(), &first),
    ] {
        assert_eq!(&show(&host, reference)?.id, expected, "{reference}");
    }
    host.snap(&["tag", "site:v1", "site:latest"])?;
    assert_eq!(show(&host, "site")?.id, first);
    host.snap(&["untag", "site:v1"])?;
    assert_eq!(host.snapctl(["show", "site:v1"])?.code, NOT_FOUND);
    assert_eq!(show(&host, &first)?.id, first);
    Ok(())
}

#[test]
fn labels_are_set_changed_and_removed() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&[
        "create", "one", "--name", "site", "--label", "a=1", "--label", "b=2",
    ])?;
    host.snap(&["label", "site", "b=3", "c=x=y", "--remove", "a"])?;
    let labels = show(&host, "site")?.labels;
    let labels: Vec<(&str, &str)> = labels
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(labels, [("b", "3"), ("c", "x=y")]);
    Ok(())
}

#[test]
fn a_snapshot_in_use_is_not_removed() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.snapctl(["remove", "site"])?.code, CONFLICT);
    assert_eq!(host.exec("two", "cat /file")?, "first");
    host.snap(&["container", "remove", "two"])?;
    host.snap(&["remove", "site"])?;
    assert_eq!(host.snapctl(["show", "site"])?.code, NOT_FOUND);
    nothing_is_held(&host)
}

/// **R13** What is removed with other tools than `snapctl` is noticed, and what it held is released.
#[test]
fn what_containerd_removes_the_daemon_releases() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "clone", "--count", "2"])?;
    host.remove_by_ctr("clone-1")?;
    wait_for("the first overlay to go", SOON, || {
        Ok((!host.restored_rootfs("clone-1").exists()).then_some(()))
    })?;
    assert_eq!(host.exec("clone-2", "cat /file")?, "first");
    host.remove_by_ctr("clone-2")?;
    nothing_is_held(&host)
}

/// **R13** What is removed with other tools than `snapctl` is noticed, and what it held is released.
#[test]
fn what_is_removed_while_the_daemon_is_away_is_released_at_its_start() -> Result<()> {
    let mut host = host_with_one()?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    host.take_daemon()?.stop()?;
    host.remove_by_ctr("two")?;
    assert!(!host.our_mounts()?.is_empty());
    host.start_daemon()?;
    nothing_is_held(&host)
}

#[test]
fn events_are_followed_again_after_containerd_was_away() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    host.kill_containerd()?;
    thread::sleep(Duration::from_millis(500));
    host.start_containerd()?;
    assert_eq!(host.exec("two", "cat /file")?, "first");
    host.remove_by_ctr("two")?;
    nothing_is_held(&host)
}

#[test]
fn everything_known_survives_a_restart() -> Result<()> {
    let mut host = host_with_one()?;
    host.snap(&[
        "create", "one", "--name", "site:v1", "--label", "a=1", "--ttl", "3h",
    ])?;
    host.snap(&["restore", "site:v1", "--id", "two"])?;
    let before: Vec<SnapshotView> = host.snap_json(&["list"])?;
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    let after: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(
        serde_json::to_value(&before)?,
        serde_json::to_value(&after)?
    );
    let containers: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
    assert_eq!(containers.len(), 1);
    let status: Status = host.snap_json(&["status"])?;
    assert_eq!(status.mounts.len(), 1);
    Ok(())
}

#[test]
fn a_restored_container_starts_again_after_a_reboot_with_what_it_wrote() -> Result<()> {
    let mut host = host_with_one()?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    host.exec("two", "echo mine > /mine")?;
    host.power_off(&[])?;
    host.start_containerd()?;
    host.start_daemon()?;
    host.snap(&["start", "two"])?;
    assert_eq!(host.exec("two", "cat /file /mine")?, "first\nmine");
    Ok(())
}

#[test]
fn namespaces_do_not_see_each_other() -> Result<()> {
    let host = host_with_one()?;
    host.snap(&["create", "one", "--name", "site"])?;
    assert_eq!(
        host.snapctl(["--namespace", "other", "show", "site"])?.code,
        NOT_FOUND
    );
    assert_eq!(host.snap(&["--namespace", "other", "list", "--quiet"])?, "");
    let all = host.snap(&["list", "--all-namespaces", "--quiet"])?;
    assert_eq!(all.lines().count(), 1);
    Ok(())
}
