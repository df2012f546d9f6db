//! Snapshots that are made when a container ends.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use snap_api::{
    CheckResult, DoctorReport, JobState, JobView, SnapshotDetail, SnapshotView, TriggerView,
};
use snap_tests::{Host, HostOptions, Image, text, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// Runs `script` in a new container with this label for when it is captured.
fn run(host: &Host, id: &str, on: &str, script: &str) -> Result<()> {
    let image = host.image(Image::Busybox)?;
    let label = format!("snapshotd.io/auto-on={on}");
    host.run_with(id, image, script, &["--label", &label])
}

fn made(host: &Host, name: &str) -> Result<Vec<SnapshotView>> {
    host.snap_json(&["list", "--filter", &format!("name={name},state=active")])
}

fn wait_for_one(host: &Host, name: &str) -> Result<SnapshotView> {
    wait_for("a snapshot to be made", SOON, || {
        Ok(made(host, name)?.into_iter().next())
    })
}

fn trigger(host: &Host, container: &str) -> Result<Option<TriggerView>> {
    let all: Vec<TriggerView> = host.snap_json(&["auto", "triggers"])?;
    Ok(all.into_iter().find(|one| one.container == container))
}

/// Waits until the end of the container was met and nothing is under way.
fn wait_until_met(host: &Host, container: &str) -> Result<TriggerView> {
    wait_for("an end to be met", SOON, || {
        let found = trigger(host, container)?;
        Ok(found.filter(|one| one.last_at.is_some()))
    })
}

/// **I7** A container whose label `snapshotd.io/auto-on` says so, or a policy file, is captured when its task ends: `exit` by itself, `stop` by a
/// signal, `oom` killed for its limit of memory. The snapshot holds files alone, is the next version of the name that is wished, its label
/// `snapshotd.io/auto` says why it was made, and the policy of the name is applied.
#[test]
fn i1_a_container_is_captured_when_it_exits_or_is_stopped() -> Result<()> {
    let host = Host::start()?;
    // The subscription has to stand; what comes before is found by looking, a minute later at most.
    run(
        &host,
        "short",
        "exit",
        "echo last words > /words; sleep 1; exit 3",
    )?;
    let snapshot = wait_for_one(&host, "short")?;
    assert_eq!(snapshot.labels["snapshotd.io/auto"], "exit");
    assert_eq!(snapshot.versions, ["short:1"]);
    assert!(snapshot.memory.is_none() && snapshot.is_container);
    let words = host.mount("short", "mounted", &[])?.join("words");
    assert_eq!(fs::read_to_string(words)?, "last words\n");

    run(&host, "served", "stop", "while :; do sleep 0.2; done")?;
    run(&host, "other", "exit", "while :; do sleep 0.2; done")?;
    for id in ["served", "other"] {
        host.ctr(&["task", "kill", "--signal", "KILL", id])?.ok()?;
    }
    let snapshot = wait_for_one(&host, "served")?;
    assert_eq!(snapshot.labels["snapshotd.io/auto"], "stop");
    let other = trigger(&host, "other")?.context("It has a label")?;
    assert_eq!((other.on, other.last_at), (vec!["exit".to_owned()], None));
    assert!(made(&host, "other")?.is_empty());
    let told = host.snap(&["events", "--filter", "action=create"])?;
    assert!(told.contains("served"), "{told}");
    Ok(())
}

/// **I8** What ended while the daemon was down is made up for at its next start, when containerd still has the task and says when and how it
/// ended; of anything else nothing is made. No end is met twice.
#[test]
fn i2_what_ended_while_the_daemon_was_down_is_made_up_for_once() -> Result<()> {
    let mut host = Host::start()?;
    run(&host, "first", "exit", "exit 0")?;
    wait_for_one(&host, "first")?;
    run(
        &host,
        "missed",
        "exit",
        "while [ ! -e /end ]; do sleep 0.1; done",
    )?;
    run(
        &host,
        "gone",
        "exit",
        "while [ ! -e /end ]; do sleep 0.1; done",
    )?;
    host.take_daemon()?.kill()?;
    for id in ["missed", "gone"] {
        fs::write(host.rootfs(id).join("end"), "")?;
        wait_for("a task to end", SOON, || {
            Ok((host.task_status(id)?.as_deref() == Some("STOPPED")).then_some(()))
        })?;
    }
    host.ctr(&["task", "delete", "gone"])?.ok()?;
    host.start_daemon()?;
    wait_for_one(&host, "missed")?;
    assert!(
        trigger(&host, "gone")?
            .context("It has a label")?
            .last_at
            .is_none()
    );
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    run(&host, "later", "exit", "exit 0")?;
    wait_for_one(&host, "later")?;
    for name in ["first", "missed", "later"] {
        assert_eq!(made(&host, name)?.len(), 1, "{name}");
    }
    Ok(())
}

/// **I9** A container that ends again and again is captured at once the first time, then not before a minute has passed, and each further time
/// not before twice as long, an hour in the end; what ended meanwhile is made up for once. After it has not ended for as long again, it
/// begins anew.
#[test]
fn i6_a_crash_loop_makes_no_storm() -> Result<()> {
    let host = Host::start()?;
    run(&host, "loop", "exit", "echo x >> /count; exit 1")?;
    wait_until_met(&host, "loop")?;
    for _ in 0..5 {
        wait_for("the task to end", SOON, || {
            Ok((host.task_status("loop")?.as_deref() == Some("STOPPED")).then_some(()))
        })?;
        host.ctr(&["task", "delete", "loop"])?;
        let pipes = host.folder().join("pipes");
        host.ctr(&[
            "task",
            "start",
            "--detach",
            "--fifo-dir",
            text(&pipes)?,
            "loop",
        ])?
        .ok()?;
    }
    let held = wait_for("ends to be held back", SOON, || {
        let found = trigger(&host, "loop")?;
        Ok(found.filter(|one| one.held_back > 0))
    })?;
    assert!(
        held.due_at.is_some() && held.due_at == held.quiet_until,
        "{held:?}"
    );
    // The next is due a minute after the first, and is the last for two minutes whatever ends.
    let second = wait_for("what was held back to be made up for", SOON, || {
        Ok(Some(made(&host, "loop")?).filter(|made| made.len() == 2))
    })?;
    assert_eq!(second[0].labels["snapshotd.io/auto"], "exit");
    let after = wait_until_met(&host, "loop")?;
    assert_eq!((after.held_back, after.due_at), (0, None));
    Ok(())
}

/// **I10** Policy files are read at the start and with SIGHUP. One that cannot be understood is left out and named by `snapctl doctor`; the others
/// hold.
#[test]
fn i7_policies_are_files_that_are_read_again() -> Result<()> {
    let mut host = Host::prepare(&HostOptions::default())?;
    let folder = host.make_folder("auto.d")?;
    let config = format!(
        "disk_high_percent = 100\ntrash_grace = \"0\"\nauto_policies = \"{}\"\n",
        folder.display()
    );
    fs::write(host.folder().join("config.toml"), config)?;
    fs::write(
        folder.join("bad.toml"),
        "container = \"*\"\non = [\"start\"]\n",
    )?;
    host.start_daemon()?;
    let check = |host: &Host| -> Result<_> {
        let answer = host.snapctl(["doctor", "-o", "json"])?;
        let report: DoctorReport = serde_json::from_str(&answer.stdout)?;
        let mut checks = report.checks.into_iter();
        checks
            .find(|check| check.name == "automatic snapshots")
            .context("It is looked at")
    };
    let told = check(&host)?;
    assert_eq!(told.result, CheckResult::Warning);
    assert!(told.found.contains("bad.toml"), "{}", told.found);
    fs::remove_file(folder.join("bad.toml"))?;
    let policy = format!(
        "namespace = \"{}\"\ncontainer = \"job-*\"\non = [\"exit\"]\nname = \"jobs\"\nttl = \"2h\"\n",
        host.namespace()
    );
    fs::write(folder.join("jobs.toml"), policy)?;
    let pid = host.take_daemon()?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.pid().cast_signed()),
        nix::sys::signal::Signal::SIGHUP,
    )?;
    wait_for("the files to be read again", SOON, || {
        Ok((check(&host)?.result == CheckResult::Ok).then_some(()))
    })?;
    let image = host.image(Image::Busybox)?;
    host.run("job-1", image, "sleep 1; exit 0")?;
    let snapshot = wait_for_one(&host, "jobs")?;
    assert_eq!(snapshot.versions, ["jobs:1"]);
    assert!(snapshot.expires_at.is_some());
    let held = trigger(&host, "job-1")?.context("A file names it")?;
    assert!(held.from.context("It says who")?.ends_with("jobs.toml"));
    drop(pid);
    Ok(())
}

/// **I7** A container whose label `snapshotd.io/auto-on` says so, or a policy file, is captured when its task ends: `exit` by itself, `stop` by a
/// signal, `oom` killed for its limit of memory. The snapshot holds files alone, is the next version of the name that is wished, its label
/// `snapshotd.io/auto` says why it was made, and the policy of the name is applied.
#[test]
fn i1_a_container_is_captured_when_it_is_killed_for_its_memory() -> Result<()> {
    let host = Host::start()?;
    let image = host.image(Image::Busybox)?;
    host.snap(&["policy", "set", "hungry", "--keep-last", "1"])?;
    let flags = [
        "--label",
        "snapshotd.io/auto-on=oom",
        "--label",
        "snapshotd.io/auto-name=hungry",
        "--memory-limit",
        "33554432",
    ];
    host.run_with(
        "eater",
        image,
        "echo eaten > /words; sleep 1; exec tail /dev/zero",
        &flags,
    )?;
    let snapshot = wait_for_one(&host, "hungry")?;
    assert_eq!(snapshot.labels["snapshotd.io/auto"], "oom");
    assert_eq!(snapshot.source, "eater");
    Ok(())
}

/// What was read while a container was started again was made the newest version, the policy let the ones before go for it, and then it was
/// removed: of the name nothing was left.
#[test]
fn i1_a_container_that_starts_while_it_is_captured_loses_no_version() -> Result<()> {
    let host = Host::start()?;
    let script = "[ -e /end ] || { while [ ! -e /end ]; do sleep 0.1; done; dd if=/dev/urandom of=/data bs=1M count=400; exit 0; }; while :; do sleep 0.2; done";
    run(&host, "work", "exit", script)?;
    host.snap(&["policy", "set", "work", "--keep-last", "1"])?;
    host.snap(&["create", "work", "--name", "work"])?;
    fs::write(host.rootfs("work").join("end"), "")?;
    let job = wait_for("a capture to begin", SOON, || {
        let jobs: Vec<JobView> = host.snap_json(&["jobs"])?;
        let is_it = |job: &JobView| job.kind == "create" && job.state == JobState::Running;
        Ok(jobs.into_iter().find(is_it))
    })?;
    host.ctr(&["task", "delete", "work"])?.ok()?;
    let pipes = host.folder().join("pipes");
    let fifos = ["--fifo-dir", text(&pipes)?];
    host.ctr(&[&["task", "start", "--detach"], &fifos[..], &["work"]].concat())?
        .ok()?;
    let ended = wait_for("the capture to end", SOON, || {
        let jobs: Vec<JobView> = host.snap_json(&["jobs"])?;
        let has_ended = |one: &JobView| one.job == job.job && one.state != JobState::Running;
        Ok(jobs.into_iter().find(has_ended))
    })?;
    // On a machine that reads faster than it starts containers the capture was over before.
    let expected = match ended.error {
        Some(error) if error.reason == "started-again" => "work:1",
        Some(error) => anyhow::bail!("{error:?}"),
        None => "work:2",
    };
    let left = made(&host, "work")?;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].versions, [expected]);
    let latest: SnapshotDetail = host.snap_json(&["show", "work"])?;
    assert_eq!(latest.snapshot.id, left[0].id);
    Ok(())
}
