//! Events, by `snapctl` against a real daemon and containerd.

use std::{
    fs::{self, File},
    path::Path,
    process::Child,
    time::Duration,
};

use anyhow::{Context, Result};
use snap_api::{ErrorCode, EventResult, EventView};
use snap_tests::{Host, schemas, text, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// `snapctl events --follow`, until it is dropped.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parsed(lines: &str) -> Result<Vec<EventView>> {
    schemas::check(&["events", "-o", "json"].map(str::to_owned), 0, lines)?;
    let parse = |line| serde_json::from_str(line).context("An event is a line of JSON");
    lines.lines().map(parse).collect()
}

impl Follower {
    /// Follows into the file `path`.
    fn start(host: &Host, path: &Path) -> Result<Self> {
        let mut command = host.snapctl_command()?;
        command.args(["events", "--follow", "--output", "json"]);
        Ok(Self(command.stdout(File::create(path)?).spawn()?))
    }
}

/// Changes of every kind; returns what was to be told of them, and the snapshot.
fn change(host: &Host) -> Result<(Vec<(&'static str, String)>, String)> {
    let id = host.snap(&["create", "web", "--quiet", "--name", "site"])?;
    let id = id.trim().to_owned();
    let mut told = vec![("create", "web".to_owned())];
    for (action, arguments) in [
        ("tag", ["tag", "site", "site:good"]),
        ("ttl", ["ttl", "site", "1h"]),
        ("label", ["label", "site", "a=b"]),
    ] {
        host.snap(&arguments)?;
        told.push((
            action,
            arguments[if action == "tag" { 2 } else { 1 }].to_owned(),
        ));
    }
    for (action, subject) in [("untag", "site:good"), ("pin", "site"), ("unpin", "site")] {
        host.snap(&[action, subject])?;
        told.push((action, subject.to_owned()));
    }
    let folder = host.mount("site", "mounted", &[])?;
    let folder = text(&folder)?;
    host.snap(&["unmount", folder])?;
    told.extend(["mount", "unmount"].map(|action| (action, folder.to_owned())));
    for container in ["one", "two"] {
        host.snap(&["restore", "site", "--id", container])?;
        told.push(("restore", id.clone()));
    }
    for action in ["stop", "start"] {
        host.snap(&[action, "one"])?;
        told.push((action, "one".to_owned()));
    }
    host.snap(&["container", "remove", "one"])?;
    host.remove_by_ctr("two")?;
    told.extend(["one", "two"].map(|one| ("remove-container", one.to_owned())));
    Ok((told, id))
}

/// **E1** Each change of state is told as an event, once and in the order of the changes: the end of every job, also of one that
/// failed, and every other change of a snapshot, a name, a mounted folder or a restored container that was answered, or that the
/// daemon made by itself.
#[test]
fn each_change_of_state_is_told_once_and_in_order() -> Result<()> {
    let host = Host::start_with_idle("web")?;
    let path = host.folder().join("followed");
    let _follower = Follower::start(&host, &path)?;
    let (mut expected, id) = change(&host)?;
    let events = || parsed(&fs::read_to_string(&path).context("Read what was told")?);
    // The removal by another is seen when it is seen; a snapshot that is in use cannot be removed.
    wait_for("the removal by another to be told", SOON, || {
        let told = events()?;
        Ok((told.len() == expected.len()).then_some(()))
    })?;
    host.snap(&["remove", "site"])?;
    expected.push(("remove", id.clone()));
    wait_for("the last removal to be told", SOON, || {
        let told = events()?;
        Ok((told.len() == expected.len()).then_some(()))
    })?;

    let events = events()?;
    let pairs = events.iter().map(|one| (&*one.action, one.subject.clone()));
    assert_eq!(pairs.collect::<Vec<_>>(), expected);
    for (number, event) in (1..).zip(&events) {
        assert_eq!((event.seq, event.result), (number, EventResult::Done));
        let is_job = ["create", "restore"].contains(&&*event.action);
        assert_eq!(event.job.is_some(), is_job, "{event:?}");
        let snapshot = event.snapshot.as_ref().unwrap_or(&event.subject);
        assert_eq!(*snapshot, id, "{event:?}");
    }
    let listed = parsed(&host.snap(&["events", "--output", "json"])?)?;
    assert_eq!(listed, events);
    Ok(())
}

/// **E2** What expires is told, and a job that fails is told with its error. `snapctl events` shows what the daemon has told since
/// it started, the last 5000, to whoever may list the namespace.
#[test]
fn what_expires_and_what_fails_is_told() -> Result<()> {
    let host = Host::start_without_containerd("expiry_interval = \"1s\"")?;
    let folder = host.make_folder("data")?;
    fs::write(folder.join("file"), "content")?;
    let made = host.capture(&folder, &["--ttl", "1s"])?;
    wait_for("the snapshot to expire", SOON, || {
        let expired = host.snap(&["events", "--quiet", "--filter", "action=expire"])?;
        Ok((expired.trim() == made.snapshot.id).then_some(()))
    })?;
    let capture = host.begin_held(&[])?;
    let job = capture.job.clone();
    assert_ne!(capture.cancel(&host)?.code, 0);

    let lines = host.snap(&["events", "--filter", "result=failed", "-o", "json"])?;
    let failures = parsed(&lines)?;
    let [failure] = &failures[..] else {
        panic!("one job has failed, not {failures:?}");
    };
    let code = failure.error.as_ref().map(|error| error.code);
    assert_eq!(
        (&*failure.action, code),
        ("create", Some(ErrorCode::Cancelled))
    );
    assert_eq!(failure.job.as_ref(), Some(&job));
    let last = host.snap(&["events", "--lines", "1", "--quiet"])?;
    assert_eq!(last.lines().count(), 1);
    assert_eq!(host.snap(&["--namespace", "other", "events"])?, "");
    assert!(
        !host
            .snap(&["--namespace", "other", "events", "-A"])?
            .is_empty()
    );
    Ok(())
}
