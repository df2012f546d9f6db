//! docs/semantics.md: the moment that is captured, and the states of a snapshot.

use std::{fs, time::Duration};

use anyhow::Result;
use snap_api::{Created, SnapshotState, SnapshotView};
use snap_tests::{Host, Image, Tree, text, wait_for};

const CONFLICT: i32 = 4;
const CANCELLED: i32 = 10;
const SOON: Duration = Duration::from_secs(30);
/// Takes much longer to read than to look for.
const LARGE_BYTES: u64 = 200 << 20;

/// Starts a capture and waits until it is under way; returns its job and its snapshot.
fn begin(host: &Host, arguments: &[&str]) -> Result<(String, SnapshotView)> {
    let before: Vec<SnapshotView> = host.snap_json(&["list"])?;
    let job = host.snap(&[&["create", "--detach", "--quiet"], arguments].concat())?;
    let begun = wait_for("the capture to begin", SOON, || {
        let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
        Ok(all
            .into_iter()
            .find(|one| before.iter().all(|old| old.id != one.id)))
    })?;
    Ok((job, begun))
}

/// **M4** The pause does not grow with the amount of data: it walks metadata, and sets aside what changed since the
/// capture began.
/// **M9** `pause_us` is how long the container stood still, 0 for a folder.
#[test]
fn the_pause_does_not_grow_with_the_data() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    let capture = || host.snap_json::<Created>(&["create", "one"]);
    let small = capture()?;
    assert!(small.pause_us > 0 && small.pause_us < small.elapsed_us);
    assert_eq!(small.snapshot.pause_us, small.pause_us);
    host.exec(
        "one",
        &format!("head -c {LARGE_BYTES} /dev/urandom > /large"),
    )?;
    let large = capture()?;
    assert!(large.read_bytes >= LARGE_BYTES);
    let (pause, whole) = (large.pause_us, large.elapsed_us);
    assert!(
        pause < whole / 4,
        "{pause} of {whole} µs, and {} for little",
        small.pause_us
    );
    let data = host.make_folder("data")?;
    assert_eq!(host.capture(&data, &[])?.pause_us, 0);
    Ok(())
}

/// **M6** A container that was paused by somebody else is captured as it stands and stays paused.
#[test]
fn a_paused_container_is_captured_as_it_stands() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    host.run(
        "one",
        name,
        "while :; do date +%s%N > /new; mv /new /count; done",
    )?;
    wait_for("the first count", SOON, || {
        Ok(host.rootfs("one").join("count").exists().then_some(()))
    })?;
    host.ctr(&["task", "pause", "one"])?.ok()?;
    let paused = Tree::read(&host.rootfs("one"))?;
    host.snap(&["create", "one", "--name", "site"])?;
    assert_eq!(host.task_status("one")?.as_deref(), Some("PAUSED"));
    let mounted = host.mount("site", "mounted", &[])?;
    assert_eq!(
        paused.differences(&Tree::read(&mounted)?),
        Vec::<String>::new()
    );
    host.ctr(&["task", "resume", "one"])?.ok()?;
    Ok(())
}

/// **M7** Only a running or paused container can be captured; any other is a conflict, and nothing changes.
#[test]
fn what_does_not_run_is_not_captured() -> Result<()> {
    let host = Host::start_with_idle("ended")?;
    host.ctr(&["task", "kill", "--signal", "KILL", "ended"])?
        .ok()?;
    wait_for("the task to end", SOON, || {
        Ok((host.task_status("ended")?.as_deref() == Some("STOPPED")).then_some(()))
    })?;
    host.ctr(&["container", "create", Image::Busybox.name(), "taskless"])?
        .ok()?;
    let before = (host.stored_files()?, host.containers()?);
    for id in ["ended", "taskless"] {
        assert_eq!(
            host.snapctl(["create", id, "--name", "site"])?.code,
            CONFLICT
        );
    }
    assert_eq!((host.stored_files()?, host.containers()?), before);
    assert_eq!(host.snap(&["list", "--quiet"])?, "");
    assert_eq!(host.task_status("ended")?.as_deref(), Some("STOPPED"));
    Ok(())
}

/// **M8** With `--stop` the task ends within the pause: nothing is written after the instant of the snapshot.
#[test]
fn a_stopped_container_wrote_nothing_after_its_snapshot() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let script = "[ -e /count ] && sleep 1000; i=0; while :; do i=$((i+1)); echo $i > /new; mv /new /count; done";
    host.run("one", name, script)?;
    wait_for("the first count", SOON, || {
        Ok(host.rootfs("one").join("count").exists().then_some(()))
    })?;
    host.snap(&["create", "one", "--name", "site", "--stop"])?;
    assert_ne!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    host.kill_task("one")?;
    host.ctr(&["task", "start", "--detach", "one"])?.ok()?;
    let left = host.exec("one", "cat /count")?;
    let mounted = host.mount("site", "mounted", &[])?;
    assert_eq!(fs::read_to_string(mounted.join("count"))?.trim(), left);
    Ok(())
}

/// **S1** A snapshot is `creating`, then `active` or `failed`; then `deleting`, then gone.
/// **S4** Only an `active` snapshot can be restored, mounted, looked into or copied from; any other is a conflict.
#[test]
fn a_snapshot_is_used_only_while_it_is_active() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    host.make_folder("folder")?;
    let held = host.begin_held(&["--name", "data"])?;
    let begun = host.show(&held.snapshot)?.snapshot;
    assert_eq!(begun.state, SnapshotState::Creating);
    refused(&host, &begun.id)?;
    held.finish(&host)?.ok()?;
    assert_eq!(host.state_of(&begun.id)?.0, SnapshotState::Active);
    host.snap(&["tree", &begun.id])?;
    let held = host.begin_held(&[])?;
    let failing = held.snapshot.clone();
    assert_eq!(held.cancel(&host)?.code, CANCELLED);
    let (state, reason) = host.state_of(&failing)?;
    assert_eq!((state, reason.is_some()), (SnapshotState::Failed, true));
    refused(&host, &failing)?;
    host.snap(&["remove", &failing, &begun.id])?;
    assert_eq!(host.snap(&["list", "--quiet"])?, "");
    Ok(())
}

fn refused(host: &Host, id: &str) -> Result<()> {
    let (folder, copy) = (host.folder().join("folder"), host.folder().join("copy"));
    let (folder, copy) = (text(&folder)?, text(&copy)?);
    let inside = format!("{id}:/");
    for arguments in [
        &["restore", id][..],
        &["mount", id, folder],
        &["tree", id],
        &["diff", id, id],
        &["copy", &inside, copy],
        &["verify", id],
    ] {
        let answer = host.snapctl(arguments)?;
        assert_eq!(answer.code, CONFLICT, "{answer:?}");
    }
    Ok(())
}

/// **S3** A snapshot that was `creating` when the daemon ended is `failed` after the next start, with the reason, or
/// `active` when everything of it was stored already; one that was `deleting` is gone.
#[test]
fn an_unfinished_snapshot_has_failed_after_the_next_start() -> Result<()> {
    let mut host = Host::start_without_containerd("")?;
    let held = host.begin_held(&[])?;
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    let (state, reason) = host.state_of(&held.snapshot)?;
    assert_eq!(state, SnapshotState::Failed);
    assert!(reason.is_some_and(|reason| reason.contains("daemon ended")));
    assert!(fs::read_dir(host.root().join("drafts"))?.next().is_none());
    Ok(())
}

/// **M5** A container is never left paused: not when the capture fails or is cancelled, and not when the daemon is
/// killed, whose next start thaws before anything else.
/// **S5** A failed capture leaves the container as it was.
#[test]
fn a_failed_capture_leaves_the_container_as_it_was() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let bulk = format!("head -c {LARGE_BYTES} /dev/urandom > /bulk; ");
    // Written in place: a name that comes and goes would be gone between the walk of the comparison and its read.
    let count = "i=0; while sleep 0.02; do i=$((i+1)); echo $i > /count; done";
    host.run("one", name, &(bulk + count))?;
    let count = host.rootfs("one").join("count");
    wait_for("the first count", SOON, || Ok(count.exists().then_some(())))?;
    let (pid, before) = (host.task_pid("one")?, Tree::read(&host.rootfs("one"))?);
    for _ in 0..2 {
        let (job, begun) = begin(&host, &["one"])?;
        host.snap(&["jobs", "cancel", &job])?;
        assert_eq!(host.snapctl(["jobs", "wait", &job])?.code, CANCELLED);
        assert_eq!(host.state_of(&begun.id)?.0, SnapshotState::Failed);
        assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    }
    let then = fs::read_to_string(&count)?;
    wait_for("the count to go on", SOON, || {
        Ok((fs::read_to_string(&count)? != then).then_some(()))
    })?;
    assert_eq!(host.task_pid("one")?, pid);
    let after = Tree::read(&host.rootfs("one"))?.without(&["count"]);
    let differences = before.without(&["count"]).differences(&after);
    assert_eq!(differences, Vec::<String>::new());
    Ok(())
}
