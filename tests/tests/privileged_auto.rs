//! Snapshots that are made by themselves.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use snap_api::{AutoView, EventResult, EventView, SnapshotView};
use snap_tests::{Host, text, wait_for};

const SOON: Duration = Duration::from_secs(60);

fn auto(host: &Host) -> Result<AutoView> {
    let found: Vec<AutoView> = host.snap_json(&["auto", "list"])?;
    found
        .into_iter()
        .next()
        .context("Nothing is made by itself")
}

fn versions(host: &Host) -> Result<Vec<SnapshotView>> {
    host.snap_json(&["list", "--filter", "name=data,state=active"])
}

/// **W1** `snapctl auto set NAME` has a snapshot made under NAME at each time of a calendar expression, in UTC, as `create --name NAME` makes
/// it: it is the next version of NAME, and the policy of NAME is applied. It goes on after a restart of the daemon, until `snapctl auto remove`.
#[test]
fn snapshots_are_made_by_the_calendar() -> Result<()> {
    let mut host = Host::start_without_containerd("")?;
    let folder = host.make_folder("data")?;
    fs::write(folder.join("file"), "one")?;
    host.snap(&["policy", "set", "data", "--keep-last", "2"])?;
    host.snap(&[
        "auto",
        "set",
        "data",
        "--path",
        text(&folder)?,
        "--schedule",
        "*:*:*",
    ])?;
    let reaches = |host: &Host, number: u64| {
        wait_for("versions to be made", SOON, || {
            let newest = versions(host)?.into_iter().next();
            let newest =
                newest.and_then(|one| one.versions.first()?.rsplit_once(':')?.1.parse().ok());
            Ok(newest.filter(|newest: &u64| *newest >= number))
        })
    };
    reaches(&host, 3)?;
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    reaches(&host, 5)?;
    host.snap(&["auto", "remove", "data"])?;
    wait_for("the last job to end", SOON, || {
        let running = host.snap(&["jobs", "list", "-o", "json"])?;
        Ok((!running.contains("\"running\"")).then_some(()))
    })?;
    let made = versions(&host)?;
    assert_eq!(made.len(), 2, "{made:?}");
    assert_eq!(made[0].labels["snapshotd.io/auto"], "schedule");
    assert_eq!(host.snap(&["auto", "list", "-q"])?, "");
    Ok(())
}

/// **W3** An attempt that fails is a job that has failed, and is tried again after a minute, then each time after twice as long, five times at
/// most and not beyond the next time of the calendar. `snapctl auto list` says when the next is, and what came of the last.
#[test]
fn a_failure_is_told_and_the_next_time_comes() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let folder = host.make_folder("data")?;
    host.snap(&[
        "auto",
        "set",
        "data",
        "--path",
        text(&folder)?,
        "--schedule",
        "*:*:*",
    ])?;
    fs::remove_dir(&folder)?;
    let failed = wait_for("an attempt to fail", SOON, || {
        Ok(Some(auto(&host)?).filter(|one| one.failures > 0))
    })?;
    let why = failed.failure.context("No reason is given")?;
    assert!(why.contains("data"), "{why}");
    assert!(failed.next_at.is_some());
    let events = host.snap(&[
        "events",
        "-o",
        "json",
        "--filter",
        "action=create,result=failed",
    ])?;
    let event: EventView = serde_json::from_str(events.lines().next().context("No event")?)?;
    assert_eq!(event.result, EventResult::Failed);
    fs::create_dir(&folder)?;
    wait_for("the next to be made", SOON, || {
        Ok(Some(auto(&host)?).filter(|one| one.failures == 0 && one.last_snapshot.is_some()))
    })?;
    Ok(())
}

/// A folder of a container is captured by no calendar, and what can be done is said.
#[test]
fn a_folder_of_a_container_is_refused_with_what_can_be_done() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let line = "auto set a --container one:/etc --schedule daily";
    let answer = host.snapctl(line.split(' '))?;
    assert_eq!(answer.code, 2, "{answer:?}");
    for said in ["Folder /etc of container one", "snapctl create one:/etc"] {
        assert!(answer.stderr.contains(said), "{answer:?}");
    }
    assert_eq!(host.snap(&["auto", "list", "-q"])?, "");
    Ok(())
}
