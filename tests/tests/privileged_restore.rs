//! A restored container is what the original was at the pause, and a container of its own from then on.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use serde_json::Value;
use snap_api::{Created, Restored};
use snap_tests::{Host, Image, Tree, change_lower_cases, fill_lower_cases, fill_nasty, wait_for};

const NO_DIFFERENCE: Vec<String> = Vec::new();

#[test]
fn a_restored_container_equals_the_original_at_the_pause() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "mkdir /data; echo before > /data/file; rm /bin/vi")?;
    let at_pause = Tree::read(&host.rootfs("one"))?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.exec(
        "one",
        "echo after > /data/file; touch /data/later; rm /bin/wget",
    )?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let restored = Tree::read(&host.restored_rootfs("two"))?;
    assert_eq!(at_pause.differences(&restored), NO_DIFFERENCE);
    assert_eq!(host.exec("two", "cat /data/file")?, "before");
    Ok(())
}

/// **H12** In the root of a container, a name that was removed or replaced is removed or replaced in the snapshot:
/// whiteouts and opaque folders of the overlay are resolved, never shown.
#[test]
fn every_nasty_case_of_every_layer_survives_in_a_debian() -> Result<()> {
    let host = Host::start()?;
    let lower = host.make_folder("lower")?;
    fs::create_dir(lower.join("cases"))?;
    fill_lower_cases(&lower.join("cases"))?;
    host.import_layers("snap.test/cases:1", &[&Image::Debian.rootfs()?, &lower])?;
    host.run("one", "snap.test/cases:1", "sleep 10000")?;
    change_lower_cases(&host.rootfs("one").join("cases"))?;
    fs::create_dir(host.rootfs("one").join("nasty"))?;
    fill_nasty(&host.rootfs("one").join("nasty"))?;
    let at_pause = Tree::read(&host.rootfs("one"))?;
    let id = host.snap(&["create", "one", "--quiet"])?;
    host.snap(&["restore", &id, "--id", "two"])?;
    let restored = Tree::read(&host.restored_rootfs("two"))?;
    assert_eq!(at_pause.differences(&restored), NO_DIFFERENCE);
    Ok(())
}

#[test]
fn the_original_goes_on_while_its_restored_twin_runs() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let count = "i=0; while sleep 0.02; do i=$((i+1)); echo $i > /new; mv /new /count; done";
    host.run("one", name, count)?;
    let pid = host.task_pid("one")?;
    let created: Created = host.snap_json(&["create", "one"])?;
    let then: u64 = host.exec("one", "cat /count")?.parse()?;
    host.snap(&["restore", &created.snapshot.id, "--id", "two"])?;
    std::thread::sleep(Duration::from_millis(300));
    let now: u64 = host.exec("one", "cat /count")?.parse()?;
    assert!(now > then, "{now} is not above {then}");
    assert_eq!(host.task_pid("one")?, pid);
    assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    assert_eq!(host.task_status("two")?.as_deref(), Some("RUNNING"));
    assert!(created.pause_us > 0);
    Ok(())
}

#[test]
fn clones_share_one_mount_server_and_nothing_else() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    let restored: Restored =
        host.snap_json(&["restore", "site", "--id", "clone", "--count", "3"])?;
    let ids: Vec<&str> = restored
        .containers
        .iter()
        .map(|one| one.id.as_str())
        .collect();
    assert_eq!(ids, ["clone-1", "clone-2", "clone-3"]);
    assert_eq!(host.mount_servers()?.len(), 1);
    for id in &ids {
        host.exec(id, &format!("echo {id} > /mine"))?;
    }
    for id in &ids {
        assert_eq!(host.exec(id, "cat /mine")?, *id);
    }
    Ok(())
}

/// **R7** Its cgroup is its own, never the original's.
#[test]
fn clones_have_their_own_cgroup_and_network() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "clone", "--count", "2"])?;
    let facts = |id: &str| -> Result<(String, std::path::PathBuf)> {
        let pid = host.task_pid(id)?;
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok((cgroup, fs::read_link(format!("/proc/{pid}/ns/net"))?))
    };
    let all = [facts("one")?, facts("clone-1")?, facts("clone-2")?];
    assert!(all[0].0 != all[1].0 && all[1].0 != all[2].0 && all[0].0 != all[2].0);
    assert!(all[0].1 != all[1].1 && all[1].1 != all[2].1 && all[0].1 != all[2].1);
    Ok(())
}

#[test]
fn the_process_starts_as_it_was_configured() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let flags = [
        "--env",
        "COLOUR=blue",
        "--cwd",
        "/tmp",
        "--cap-drop",
        "CAP_NET_RAW",
    ];
    host.run_with("one", name, "sleep 1000", &flags)?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let pid = host.task_pid("two")?;
    // containerd calls a task running a moment before runc's process has become the container's.
    wait_for("the process to be its own", Duration::from_secs(10), || {
        let command = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        Ok((!command.starts_with("runc")).then_some(()))
    })?;
    let environment = fs::read_to_string(format!("/proc/{pid}/environ"))?;
    assert!(environment.contains("COLOUR=blue"), "{environment}");
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd"))?,
        Path::new("/tmp")
    );
    let capabilities = |pid| -> Result<Option<String>> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(status
            .lines()
            .find(|line| line.starts_with("CapBnd"))
            .map(str::to_owned))
    };
    assert_eq!(capabilities(pid)?, capabilities(host.task_pid("one")?)?);
    Ok(())
}

#[test]
fn a_restored_container_is_snapshotted_and_restored_again() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("first", Image::Busybox)?;
    for (from, to) in [
        ("first", "second"),
        ("second", "third"),
        ("third", "fourth"),
    ] {
        host.exec(from, &format!("echo {from} > /{from}"))?;
        let id = host.snap(&["create", from, "--quiet"])?;
        host.snap(&["restore", &id, "--id", to])?;
    }
    assert_eq!(
        host.exec("fourth", "cat /first /second /third")?,
        "first\nsecond\nthird"
    );
    Ok(())
}

#[test]
fn a_container_that_was_not_started_starts_later() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two", "--no-start"])?;
    assert_eq!(host.task_status("two")?, None);
    host.snap(&["start", "two"])?;
    assert_eq!(host.task_status("two")?.as_deref(), Some("RUNNING"));
    host.snap(&["stop", "two"])?;
    host.snap(&["start", "two"])?;
    assert_eq!(host.exec("two", "echo again")?, "again");
    Ok(())
}

#[test]
fn containerd_itself_can_start_a_restored_container_again() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo kept > /kept")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    host.exec("two", "echo more > /more")?;
    host.kill_task("two")?;
    host.ctr(&["task", "start", "--detach", "--null-io", "two"])?
        .ok()?;
    assert_eq!(host.exec("two", "cat /kept /more")?, "kept\nmore");
    Ok(())
}

#[test]
fn create_with_stop_leaves_the_container_stopped_and_captured() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo last > /last")?;
    host.snap(&["create", "one", "--name", "site", "--stop"])?;
    assert_ne!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("two", "cat /last")?, "last");
    Ok(())
}

/// **M6** A container that was paused by somebody else is captured as it stands and stays paused.
#[test]
fn a_container_its_user_had_paused_stays_paused() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.ctr(&["task", "pause", "one"])?.ok()?;
    host.snap(&["create", "one", "--name", "site"])?;
    assert_eq!(host.task_status("one")?.as_deref(), Some("PAUSED"));
    host.ctr(&["task", "resume", "one"])?.ok()?;
    Ok(())
}

#[test]
fn excluded_paths_are_left_out() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec(
        "one",
        "mkdir -p /cache/deep; echo x > /cache/deep/big; echo y > /kept",
    )?;
    host.snap(&["create", "one", "--name", "site", "--exclude", "cache/*"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("two", "cat /kept; ls /cache")?, "y");
    Ok(())
}

/// **B1** A bind mount that was captured (`--include-mount`) is part of the root and is not mounted again.
/// **B3** Any other one makes the restore fail with a conflict that names it, unless `--keep-mount` or `--drop-mount`
/// decides.
#[test]
fn a_bind_mount_is_included_kept_dropped_or_refused() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "bound")?;
    let mount = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        data.display()
    );
    let name = host.image(Image::Busybox)?;
    host.run_with("one", name, "sleep 1000", &["--mount", &mount])?;
    host.snap(&["create", "one", "--name", "without"])?;
    let refused = host.snapctl(["restore", "without", "--id", "refused"])?;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("/data"), "{refused:?}");
    host.snap(&[
        "restore",
        "without",
        "--id",
        "dropped",
        "--drop-mount",
        "/data",
    ])?;
    assert_eq!(host.exec("dropped", "ls /data")?, "");
    host.snap(&[
        "restore",
        "without",
        "--id",
        "kept",
        "--keep-mount",
        "/data",
    ])?;
    assert_eq!(host.exec("kept", "cat /data/file")?, "bound");
    host.snap(&[
        "create",
        "one",
        "--name",
        "with",
        "--include-mount",
        "/data",
    ])?;
    fs::write(data.join("file"), "changed")?;
    host.snap(&["restore", "with", "--id", "included"])?;
    assert_eq!(host.exec("included", "cat /data/file")?, "bound");
    Ok(())
}

#[test]
fn restored_containers_carry_the_snapshots_label() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    let id = host.snap(&["create", "one", "--quiet"])?;
    host.snap(&["restore", &id, "--id", "two"])?;
    let info: Value = host.ctr(&["container", "info", "two"])?.json()?;
    assert_eq!(info["Labels"]["snapshotd.io/snapshot"], Value::String(id));
    Ok(())
}
