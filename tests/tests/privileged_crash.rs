//! The daemon is killed at random points of what it does. Whatever it was: the original runs, the next start settles
//! every state, what is Active is whole, and nothing is left of the rest.

use std::{
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use snap_api::{SnapshotState, SnapshotView, Verified};
use snap_tests::{Dice, Host, Image, rounds, wait_for};

const SETTLE_LIMIT: Duration = Duration::from_secs(20);

fn start_snapctl(host: &Host, arguments: &[&str]) -> Result<Child> {
    host.snapctl_command()?
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("Run snapctl")
}

/// Starts the command, kills the daemon up to `reach_ms` later, and starts it again.
fn kill_within(host: &mut Host, arguments: &[&str], dice: &mut Dice, reach_ms: u64) -> Result<()> {
    let mut command = start_snapctl(host, arguments)?;
    thread::sleep(Duration::from_micros(dice.below(reach_ms * 1000)));
    host.take_daemon()?.kill()?;
    command.wait().context("Wait for snapctl")?;
    host.start_daemon()
}

fn snapshots(host: &Host) -> Result<Vec<SnapshotView>> {
    host.snap_json(&["list"])
}

/// Every state is final, the originals run, and every Active snapshot is whole.
fn settled(host: &Host, original: &str) -> Result<()> {
    wait_for("every state to settle", SETTLE_LIMIT, || {
        let is_final =
            |one: &SnapshotView| matches!(one.state, SnapshotState::Active | SnapshotState::Failed);
        Ok(snapshots(host)?.iter().all(is_final).then_some(()))
    })?;
    let status = host.task_status(original)?;
    ensure!(
        status.as_deref() == Some("RUNNING"),
        "The original is {status:?}"
    );
    let verified: Verified = host.snap_json(&["verify"])?;
    ensure!(verified.damage.is_empty(), "Damaged: {:?}", verified.damage);
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let Ok(list) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    list.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// **S2** Once it is `active` it survives a crash of the daemon and a loss of power.
#[test]
fn a_daemon_killed_during_create_leaves_the_original_running_and_the_store_whole() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    host.run_idle("one", Image::Busybox)?;
    for round in 0..rounds(10, 50) {
        host.exec("one", "head -c 4000000 /dev/urandom > /data; date > /when")?;
        kill_within(&mut host, &["create", "one"], &mut dice, 400)?;
        settled(&host, "one").with_context(|| format!("In round {round}"))?;
        assert_eq!(entries(&host.root().join("drafts"))?, Vec::<String>::new());
        assert_eq!(entries(&host.state().join("pauses"))?, Vec::<String>::new());
    }
    let id = host.snap(&["create", "one", "--quiet"])?;
    host.snap(&["restore", &id, "--id", "two"])?;
    assert_eq!(host.exec("two", "wc -c < /data")?, "4000000");
    Ok(())
}

#[test]
fn a_daemon_killed_during_restore_leaves_whole_containers_or_none() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    for round in 0..rounds(10, 50) {
        let id = format!("r{round}");
        kill_within(
            &mut host,
            &["restore", "site", "--id", &id, "--count", "2"],
            &mut dice,
            600,
        )?;
        settled(&host, "one").with_context(|| format!("In round {round}"))?;
        for container in host
            .containers()?
            .iter()
            .filter(|container| *container != "one")
        {
            assert_eq!(
                host.exec(container, "echo runs")?,
                "runs",
                "in round {round}"
            );
            host.snap(&["container", "remove", container])?;
        }
        wait_for("every mount to go", SETTLE_LIMIT, || {
            Ok(host.our_mounts()?.is_empty().then_some(()))
        })
        .with_context(|| format!("In round {round}: {:?}", host.our_mounts()))?;
    }
    assert_eq!(host.mount_servers()?, Vec::<u32>::new());
    Ok(())
}

#[test]
fn a_daemon_killed_during_remove_ends_it_at_the_next_start() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    let folder = host.make_folder("data")?;
    std::fs::write(folder.join("file"), "content")?;
    let path = folder.to_str().context("The folder's path is UTF-8")?;
    for round in 0..rounds(5, 50) {
        let id = host.snap(&["create", "--path", path, "--quiet"])?;
        kill_within(&mut host, &["remove", &id], &mut dice, 30)?;
        let left = wait_for("the removal to settle", SETTLE_LIMIT, || {
            let all = snapshots(&host)?;
            let is_deleting = all.iter().any(|one| one.state == SnapshotState::Deleting);
            Ok((!is_deleting).then_some(all))
        })?;
        assert!(left.len() <= 1, "in round {round}: {left:?}");
        for one in left {
            host.snap(&["remove", &one.id])?;
        }
    }
    Ok(())
}

/// **M5** A container is never left paused: not when the capture fails or is cancelled, and not when the daemon is
/// killed, whose next start thaws before anything else.
#[test]
fn a_container_left_paused_is_thawed_at_the_next_start() -> Result<()> {
    let mut host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "for i in $(seq 1 4000); do echo $i > /f$i; done")?;
    let mut was_paused = false;
    for _ in 0..40 {
        let mut command = start_snapctl(&host, &["create", "one"])?;
        let paused = wait_for("a pause", Duration::from_secs(3), || {
            let records = entries(&host.state().join("pauses"))?;
            Ok((!records.is_empty()).then_some(()))
        });
        host.take_daemon()?.kill()?;
        was_paused |= paused.is_ok() && host.task_status("one")?.as_deref() == Some("PAUSED");
        command.wait()?;
        host.start_daemon()?;
        assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
        if was_paused {
            return Ok(());
        }
    }
    anyhow::bail!("In no round was the daemon killed during the pause")
}

/// **R14** The daemon's end, restart or upgrade does not disturb a restored container.
#[test]
fn restored_containers_run_on_without_the_daemon_and_are_adopted() -> Result<()> {
    let mut host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "head -c 3000000 /dev/urandom > /data")?;
    let digest = host.exec("one", "sha256sum /data")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let pid = host.task_pid("two")?;
    host.take_daemon()?.kill()?;
    assert_eq!(host.exec("two", "sha256sum /data")?, digest);
    host.start_daemon()?;
    assert_eq!(host.task_pid("two")?, pid);
    assert_eq!(host.mount_servers()?.len(), 1);
    host.snap(&["restore", "site", "--id", "three"])?;
    assert_eq!(host.mount_servers()?.len(), 1);
    assert_eq!(host.exec("three", "sha256sum /data")?, digest);
    Ok(())
}
