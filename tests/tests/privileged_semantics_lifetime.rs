//! docs/semantics.md: how long snapshots live, what they are called, what removes them and what limits them.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result};
use snap_api::{JobView, SnapshotState};
use snap_tests::{Host, HostOptions, LoopFolder, noise, text, wait_for};

const USAGE: i32 = 2;
const CANCELLED: i32 = 10;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const LIMIT: i32 = 5;
const UNAVAILABLE: i32 = 7;
const SOON: Duration = Duration::from_secs(30);
/// Takes much longer to read than to look for.
const LARGE_BYTES: u64 = 200 << 20;

/// A host with a small folder.
fn host_with_folder(config: &str) -> Result<(Host, PathBuf)> {
    let host = Host::start_without_containerd(config)?;
    let small = host.make_folder("small")?;
    fs::write(small.join("file"), "content")?;
    Ok((host, small))
}

/// Seconds from now until it expires.
fn left(host: &Host, reference: &str) -> Result<i64> {
    let expires = host
        .show(reference)?
        .snapshot
        .expires_at
        .context("It expires")?;
    let output = std::process::Command::new("date")
        .args(["+%s", "--date", &expires])
        .output()?;
    let at: i64 = String::from_utf8(output.stdout)?.trim().parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(at - now.as_secs().cast_signed())
}

/// **T2** `snapctl ttl` counts from now and holds from then on.
/// **T3** A time to live is between one second and a hundred years; anything else is a usage error.
#[test]
fn a_time_to_live_counts_from_now_within_its_bounds() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    host.capture(&data, &["--name", "data", "--ttl", "1h"])?;
    thread::sleep(Duration::from_secs(2));
    host.snap(&["ttl", "data", "1h"])?;
    assert!((3599..=3600).contains(&left(&host, "data")?));
    for (ttl, seconds) in [("1s", 1), ("36500d", 36_500 * 86_400)] {
        host.snap(&["ttl", "data", ttl])?;
        assert!(
            (seconds - 1..=seconds).contains(&left(&host, "data")?),
            "{ttl}"
        );
    }
    for ttl in ["999ms", "36501d", "-1s", "1", "soon", ""] {
        let created = host.snapctl(["create", "--path", text(&data)?, "--ttl", ttl])?;
        assert_eq!(created.code, USAGE, "{created:?}");
        let changed = host.snapctl(["ttl", "data", ttl])?;
        assert_eq!(changed.code, USAGE, "{changed:?}");
    }
    assert_eq!(host.snap(&["list", "--quiet"])?.lines().count(), 1);
    assert!(left(&host, "data")? > 36_499 * 86_400);
    Ok(())
}

/// **T6** Mounting an expired snapshot is a conflict without `--force`.
#[test]
fn an_expired_snapshot_is_mounted_by_force_alone() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "content")?;
    host.capture(&data, &["--name", "data", "--ttl", "1s"])?;
    thread::sleep(Duration::from_millis(1500));
    let folder = host.make_folder("mounted")?;
    let refused = host.snapctl(["mount", "data", text(&folder)?])?;
    assert_eq!(refused.code, CONFLICT, "{refused:?}");
    host.snap(&["mount", "data", text(&folder)?, "--force"])?;
    assert_eq!(fs::read_to_string(folder.join("file"))?, "content");
    Ok(())
}

/// **T7** Expired snapshots are removed by the daemon's next look, every hour unless it is configured otherwise, failed
/// ones too.
#[test]
fn expired_snapshots_go_also_failed_ones() -> Result<()> {
    let (host, small) = host_with_folder("expiry_interval = \"1s\"\n")?;
    let held = host.begin_held(&["--ttl", "3s"])?;
    let failed = held.snapshot.clone();
    assert_eq!(held.cancel(&host)?.code, CANCELLED);
    assert_eq!(host.state_of(&failed)?.0, SnapshotState::Failed);
    host.capture(&small, &["--name", "short", "--ttl", "1s"])?;
    host.capture(&small, &["--name", "kept"])?;
    wait_for("the expired to go", SOON, || {
        Ok((host.snap(&["list", "--quiet"])?.lines().count() == 1).then_some(()))
    })?;
    assert_eq!(host.state_of("kept")?.0, SnapshotState::Active);
    assert!(left(&host, "kept")? > 13 * 86_400);
    Ok(())
}

/// **D1** Removing several snapshots removes all of them or none.
/// **D2** A snapshot that is being made, or that a restored container or a mounted folder uses, is not removed: that is
/// a conflict.
/// **D3** A removed snapshot cannot be found under its id or any name from then on.
#[test]
fn snapshots_are_removed_all_or_none_and_for_good() -> Result<()> {
    let (host, small) = host_with_folder("")?;
    let first = host.capture(&small, &["--name", "small:v1"])?.snapshot.id;
    host.capture(&small, &["--name", "used:v1"])?;
    let mounted = host.mount("used:v1", "mounted", &[])?;
    let held = host.begin_held(&[])?;
    let creating = held.snapshot.clone();
    for (other, code) in [
        ("used:v1", CONFLICT),
        (&creating, CONFLICT),
        ("nothing", NOT_FOUND),
    ] {
        let answer = host.snapctl(["remove", "small:v1", other])?;
        assert_eq!(answer.code, code, "{answer:?}");
        assert_eq!(host.state_of("small:v1")?.0, SnapshotState::Active);
    }
    held.cancel(&host)?;
    host.snap(&["unmount", text(&mounted)?])?;
    host.snap(&["remove", "small:v1", "used:v1", &creating])?;
    for gone in ["small:v1", "small", "used", &first, &first[..12], &creating] {
        assert_eq!(host.snapctl(["show", gone])?.code, NOT_FOUND, "{gone}");
    }
    assert_eq!(host.snap(&["list", "--quiet"])?, "");
    Ok(())
}

/// **D2** A snapshot that is being made, or that a restored container or a mounted folder uses, is not removed: that is
/// a conflict.
#[test]
fn a_snapshot_that_a_container_stands_on_is_not_removed() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    host.kill_task("two")?;
    assert_eq!(host.snapctl(["remove", "site"])?.code, CONFLICT);
    host.snap(&["container", "remove", "two"])?;
    host.snap(&["remove", "site"])?;
    Ok(())
}

/// **A2** `create --name NAME:TAG` moves `NAME:TAG` and `NAME:latest` to the new snapshot when it becomes active, and
/// not before; a capture that fails moves nothing.
#[test]
fn names_move_when_the_snapshot_is_active_and_not_before() -> Result<()> {
    let (host, small) = host_with_folder("")?;
    let first = host.capture(&small, &["--name", "data:v1"])?.snapshot.id;
    let points_to = |name: &str| -> Result<String> { Ok(host.show(name)?.snapshot.id) };
    let held = host.begin_held(&["--name", "data:v1"])?;
    assert_eq!(
        [points_to("data:v1")?, points_to("data")?],
        [first.clone(), first.clone()]
    );
    held.cancel(&host)?;
    assert_eq!(
        [points_to("data:v1")?, points_to("data")?],
        [first.clone(), first]
    );
    let second = host.capture(&small, &["--name", "data:v1"])?.snapshot.id;
    assert_eq!(
        [points_to("data:v1")?, points_to("data")?],
        [second.clone(), second]
    );
    Ok(())
}

/// **A5** Snapshots of different namespaces never meet: neither names nor ids nor limits reach across.
#[test]
fn namespaces_share_neither_names_nor_ids_nor_limits() -> Result<()> {
    let host = Host::start_without_containerd("snapshots_per_namespace = 1\n")?;
    let data = host.make_folder("data")?;
    let own = host.capture(&data, &["--name", "data"])?.snapshot.id;
    let flags = ["--namespace", "other", "--name", "data"];
    let other = host.capture(&data, &flags)?.snapshot.id;
    assert_eq!(host.show("data")?.snapshot.id, own);
    assert_eq!(
        host.snap(&["--namespace", "other", "list", "--quiet"])?,
        other
    );
    for reference in [&own, &own[..12]] {
        let answer = host.snapctl(["--namespace", "other", "show", reference])?;
        assert_eq!(answer.code, NOT_FOUND, "{answer:?}");
        let answer = host.snapctl(["--namespace", "other", "remove", reference])?;
        assert_eq!(answer.code, NOT_FOUND, "{answer:?}");
    }
    host.snap(&["--namespace", "other", "remove", "data"])?;
    assert_eq!(host.show("data")?.snapshot.id, own);
    Ok(())
}

/// **L1** A namespace holds 100 snapshots at most, those being made counted and failed ones not, unless it is
/// configured otherwise; the next create is refused with `limit`, before anything is read.
#[test]
fn the_limit_counts_what_is_being_made_and_not_what_failed() -> Result<()> {
    let (host, small) = host_with_folder("snapshots_per_namespace = 1\n")?;
    let held = host.begin_held(&[])?;
    let refused = host.snapctl(["create", "--path", text(&small)?])?;
    assert_eq!(refused.code, LIMIT, "{refused:?}");
    held.cancel(&host)?;
    host.capture(&small, &[])?;
    let before = host.stored_files()?;
    let refused = host.snapctl(["create", "--path", text(&small)?])?;
    assert_eq!(refused.code, LIMIT, "{refused:?}");
    assert_eq!(host.stored_files()?, before);
    assert_eq!(host.snap(&["list", "--quiet"])?.lines().count(), 2);
    let jobs: Vec<JobView> = host.snap_json(&["jobs"])?;
    assert_eq!(jobs[0].progress.bytes, 0, "nothing was read");
    Ok(())
}

/// **L2** A capture that would leave less free space than the configured reserve fails with `unavailable`, and leaves
/// nothing half done behind.
#[test]
fn the_reserve_is_kept_and_a_capture_that_reaches_it_leaves_nothing() -> Result<()> {
    const RESERVE_BYTES: u64 = 100 << 20;
    let disk = LoopFolder::new("ext4", 300 << 20)?;
    let host = Host::start_with(&HostOptions {
        without_containerd: true,
        config: format!("reserve_bytes = {RESERVE_BYTES}\n"),
        root: Some(disk.path().join("store")),
        ..HostOptions::default()
    })?;
    let large = host.make_folder("large")?;
    noise(&large.join("file"), LARGE_BYTES)?;
    let before = host.stored_files()?;
    let answer = host.snapctl(["create", "--path", text(&large)?])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    assert_eq!(host.stored_files()?, before);
    let data = host.make_folder("data")?;
    host.capture(&data, &["--name", "data"])?;
    noise(&disk.path().join("other"), 180 << 20)?;
    let answer = host.snapctl(["create", "--path", text(&data)?])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    Ok(())
}

/// **L3** Requests beyond the limits of [configuration.md](configuration.md) are refused whole, never cut short.
#[test]
fn requests_beyond_a_limit_are_refused_whole() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.snap(&["create", "one", "--name", "site", "--label", "kept=1"])?;
    let before = (
        host.stored_files()?,
        host.containers()?,
        host.snap(&["list", "-o", "json"])?,
    );
    let many = host.snapctl(["restore", "site", "--count", "1001"])?;
    assert!([USAGE, LIMIT].contains(&many.code), "{many:?}");
    let labels: Vec<String> = (0..65).map(|number| format!("key{number}=x")).collect();
    let long = [
        format!("{}=x", "k".repeat(129)),
        format!("k={}", "v".repeat(4097)),
    ];
    for labels in [&labels[..], &long[..1], &long[1..]] {
        let flags = labels.iter().flat_map(|label| ["--label", label]);
        let created = host.snapctl(["create", "one"].into_iter().chain(flags))?;
        assert_eq!(created.code, USAGE, "{created:?}");
        let words = ["label", "site"]
            .into_iter()
            .chain(labels.iter().map(String::as_str));
        assert_eq!(host.snapctl(words)?.code, USAGE);
    }
    let after = (
        host.stored_files()?,
        host.containers()?,
        host.snap(&["list", "-o", "json"])?,
    );
    assert_eq!(after, before);
    Ok(())
}

/// **J3** The end of a job is remembered for a day, a thousand ends at most, and not beyond the daemon's own end.
#[test]
fn ends_of_jobs_are_forgotten_with_the_daemon() -> Result<()> {
    let mut host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    let job = host.snap(&["create", "--path", text(&data)?, "--detach", "--quiet"])?;
    for _ in 0..2 {
        host.snap(&["jobs", "wait", &job])?;
    }
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    assert_eq!(host.snapctl(["jobs", "wait", &job])?.code, NOT_FOUND);
    assert_eq!(host.snap(&["jobs", "--quiet"])?, "");
    Ok(())
}

/// **J2** A cancelled job undoes what it had half done, and ends with `cancelled`.
#[test]
fn a_cancelled_job_leaves_nothing_of_what_it_did() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let large = host.make_folder("large")?;
    noise(&large.join("file"), LARGE_BYTES)?;
    let before = host.stored_files()?;
    let arguments = ["create", "--path", text(&large)?, "--detach", "--quiet"];
    let job = host.snap(&arguments)?;
    wait_for("something to be stored", SOON, || {
        Ok((host.stored_files()? != before).then_some(()))
    })?;
    host.snap(&["jobs", "cancel", &job])?;
    assert_eq!(host.snapctl(["jobs", "wait", &job])?.code, CANCELLED);
    assert_eq!(host.stored_files()?, before);
    Ok(())
}
