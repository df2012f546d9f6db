//! Who a clone is, and who is told of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use snap_api::{Created, Restored};
use snap_tests::{Host, Image, text, wait_for};

use crate::{LIMIT, UNAVAILABLE, begun, cgroups_of, create, nothing_is_left, shown};

/// Writes down its host name all the time, and says something.
const NAMING: &str = "echo once more >> /begun; i=0; while :; do hostname >> /names; i=$((i + 1)); \
    echo said $i; echo $i > /count.new; mv /count.new /count; sleep 0.01; done";

/// A hook that writes down what it is told, and fails when it shall; and who counts beside it.
const HOOKED: &str = "printf '#!/bin/sh\\necho $1 >> /told\\ntest -e /slow-$1 && sleep 1000\\n\
    echo so it said\\ntest ! -e /fail-$1\\n' > /bin/hook; chmod +x /bin/hook; \
    i=0; while :; do i=$((i + 1)); echo $i > /count.new; mv /count.new /count; sleep 0.02; done";

/// How often each name is in the file.
fn named(rootfs: &Path, name: &str) -> Result<usize> {
    let names = fs::read_to_string(rootfs.join("names")).context("Read the names")?;
    Ok(names.lines().filter(|line| *line == name).count())
}

/// **P17** Each container whose processes go on from memory has a host name of its own, its id, before any of them runs; a cgroup, a log
/// and namespaces of its own; and who it is in `/run/snapshotd/identity.json`. The original keeps what it had.
#[test]
fn each_clone_is_somebody_of_its_own() -> Result<()> {
    let host = Host::start()?;
    host.run("one", host.image(Image::Busybox)?, NAMING)?;
    shown(&host.rootfs("one"), 20)?;
    let name = host.exec("one", "hostname")?;
    let created = create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let target = host.folder().join("names");
    host.snap(&["copy", "warm:/names", text(&target)?])?;
    let captured = fs::read_to_string(&target)?.lines().count();

    host.snap(&["restore", "warm", "--id", "two", "--count", "3"])?;
    let mut namespaces = vec![fs::read_link(format!(
        "/proc/{}/ns/uts",
        host.task_pid("one")?
    ))?];
    for id in ["two-1", "two-2", "two-3"] {
        let rootfs = host.restored_rootfs(id);
        let count = shown(&rootfs, 1)?;
        shown(&rootfs, count + 20)?;
        assert!(named(&rootfs, id)? >= 20);
        assert_eq!(named(&rootfs, &name)?, captured, "{id} ran by another name");
        assert_eq!(host.exec(id, "hostname")?, id);
        let identity = host.exec(id, "cat /run/snapshotd/identity.json")?;
        let identity: Value = serde_json::from_str(&identity)?;
        assert_eq!(identity["id"], id);
        assert_eq!(identity["hostname"], id);
        assert_eq!(identity["origin"], "one");
        assert_eq!(identity["namespace"], host.namespace());
        assert_eq!(identity["snapshot"], created.snapshot.id.as_str());
        assert!(!cgroups_of(&host, id)?.is_empty());
        let log = fs::read_to_string(rootfs.with_file_name("output.log"))?;
        assert!(log.contains("said"), "{id} has no log");
        namespaces.push(fs::read_link(format!(
            "/proc/{}/ns/uts",
            host.task_pid(id)?
        ))?);
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    assert_eq!(namespaces.len(), 4);
    assert_eq!(host.exec("one", "hostname")?, name);
    assert!(
        host.exec("one", "cat /run/snapshotd/identity.json")
            .is_err()
    );
    // Also when its task begins anew.
    host.snap(&["container", "stop", "two-1"])?;
    host.snap(&["container", "start", "two-1"])?;
    let rootfs = host.restored_rootfs("two-1");
    wait_for("a new beginning", LIMIT, || {
        Ok((begun(&rootfs)? == 2).then_some(()))
    })?;
    assert_eq!(host.exec("two-1", "hostname")?, "two-1");
    nothing_is_left(&host)
}

#[test]
fn a_clone_of_a_clone_is_somebody_else_again() -> Result<()> {
    let host = Host::start()?;
    host.run("one", host.image(Image::Busybox)?, NAMING)?;
    let mut last = "one".to_owned();
    for round in 0..3 {
        let name = format!("link-{round}");
        create(&host, &last, &["--memory=required", "--name", &name])?;
        last = format!("clone-{round}");
        host.snap(&["restore", &name, "--id", &last])?;
        let rootfs = host.restored_rootfs(&last);
        let count = shown(&rootfs, 1)?;
        shown(&rootfs, count + 5)?;
        assert_eq!(host.exec(&last, "hostname")?, last);
        let identity = host.exec(&last, "cat /run/snapshotd/identity.json")?;
        assert!(
            identity.contains(&format!("\"id\": \"{last}\"")),
            "{identity}"
        );
    }
    Ok(())
}

fn run_hooked(host: &Host) -> Result<()> {
    host.run("one", host.image(Image::Busybox)?, HOOKED)?;
    shown(&host.rootfs("one"), 3).map(drop)
}

fn told(rootfs: &Path) -> Result<Vec<String>> {
    let told = fs::read_to_string(rootfs.join("told")).unwrap_or_default();
    Ok(told.lines().map(str::to_owned).collect())
}

/// **P18** With `--hook PATH` a program of the container is run before its capture (`PATH checkpoint`) and after it (`PATH resume`), and in
/// each container that is restored (`PATH restore`), within 30 seconds. When it fails before, nothing stands still and there is no
/// snapshot; when it fails in a container that was restored, nothing is restored; when it fails after a capture there is a warning.
#[test]
fn a_hook_is_told_what_becomes_of_its_container() -> Result<()> {
    let host = Host::start()?;
    run_hooked(&host)?;
    let with_hook = ["--memory=required", "--hook", "/bin/hook", "--name", "warm"];
    let typed = [&["create", "one"][..], &with_hook].concat();

    host.exec("one", "touch /fail-checkpoint")?;
    let refused = host.snapctl(&typed)?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("so it said"), "{refused:?}");
    assert!(!host.state().join("pauses").exists(), "It stood still");
    nothing_is_left(&host)?;
    assert_eq!(told(&host.rootfs("one"))?, ["checkpoint"]);
    let missing = host.snapctl(["create", "one", "--hook", "/bin/nothing"])?;
    assert_eq!(missing.code, UNAVAILABLE, "{missing:?}");
    assert!(!host.state().join("pauses").exists(), "It stood still");

    host.exec("one", "rm /fail-checkpoint /told")?;
    let created = create(&host, "one", &with_hook)?;
    assert_eq!(created.warnings, [""; 0]);
    assert_eq!(told(&host.rootfs("one"))?, ["checkpoint", "resume"]);
    let restored: Restored = host.snap_json(&[
        "restore",
        "warm",
        "--id",
        "two",
        "--count",
        "2",
        "--hook",
        "/bin/hook",
    ])?;
    assert!(restored.with_memory);
    for id in ["two-1", "two-2"] {
        let rootfs = host.restored_rootfs(id);
        assert_eq!(told(&rootfs)?, ["checkpoint", "restore"]);
        shown(&rootfs, shown(&rootfs, 1)? + 3)?;
    }
    nothing_is_left(&host)
}

#[test]
fn a_hook_that_fails_afterwards_is_told_of() -> Result<()> {
    let host = Host::start()?;
    run_hooked(&host)?;
    host.exec("one", "touch /fail-resume /fail-restore")?;
    let flags = ["--memory=required", "--hook", "/bin/hook", "--name", "warm"];
    let created: Created = create(&host, "one", &flags)?;
    let warned = created.warnings.join("\n");
    assert!(warned.contains("hook resume` of container one"), "{warned}");
    let refused = host.snapctl(["restore", "warm", "--id", "two", "--hook", "/bin/hook"])?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("it ended with 1"), "{refused:?}");
    assert_eq!(host.containers()?, ["one"]);
    nothing_is_left(&host)?;
    // Whoever is not asked for is not told.
    host.snap(&["restore", "warm", "--id", "two"])?;
    assert_eq!(told(&host.restored_rootfs("two"))?, ["checkpoint"]);
    Ok(())
}

#[test]
fn a_hook_that_does_not_end_is_ended() -> Result<()> {
    let host = Host::start()?;
    run_hooked(&host)?;
    host.exec("one", "touch /slow-checkpoint")?;
    let refused = host.snapctl(["create", "one", "--hook", "/bin/hook"])?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("more than 30 s"), "{refused:?}");
    assert!(!host.state().join("pauses").exists(), "It stood still");
    let left = host.exec("one", "ps | grep -c '[h]ook checkpoint'; true")?;
    assert_eq!(left, "0");
    nothing_is_left(&host)
}

/// Printed without end, it filled the memory of the host, and then that of the daemon, which wanted to know its last line.
#[test]
fn a_hook_that_prints_without_end_is_ended_and_takes_no_memory() -> Result<()> {
    const MOST_BYTES: u64 = 1 << 20;
    let host = Host::start()?;
    run_hooked(&host)?;
    host.exec("one", "printf '#!/bin/sh\\nyes\\n' > /bin/hook")?;
    let mut creating = host.snapctl_command()?;
    creating.args(["create", "one", "--hook", "/bin/hook"]);
    let mut creating = creating.stderr(Stdio::piped()).spawn()?;
    let mut most = 0;
    while creating.try_wait()?.is_none() {
        most = most.max(hook_log_bytes(&host));
        thread::sleep(Duration::from_millis(20));
    }
    let ended = creating.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(UNAVAILABLE), "{said}");
    assert!(said.contains("no room, and said: y"), "{said}");
    assert!(most <= MOST_BYTES, "{most}");
    nothing_is_left(&host)
}

/// What hooks have printed and nobody has read yet.
fn hook_log_bytes(host: &Host) -> u64 {
    let folders = fs::read_dir(host.state().join("memory"));
    let logs = folders.into_iter().flatten().flatten();
    let sizes = logs.filter_map(|one| fs::metadata(one.path().join("output.log")).ok());
    sizes.map(|about| about.len()).sum()
}

/// A process in a mount namespace of its own, with a copy of all mounts.
struct Elsewhere(Child);

impl Elsewhere {
    fn new() -> Result<Self> {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", "echo ready; exec sleep 1000"]);
        let mut shell = shell.stdout(Stdio::piped()).spawn()?;
        let output = shell.stdout.take().context("It has an output")?;
        let elsewhere = Self(shell);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "{line}");
        Ok(elsewhere)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server of the images ends when its mount does, and somebody had a copy of that: the restore waited for as long as he lived.
#[test]
fn a_restore_ends_although_somebody_else_has_a_copy_of_the_mount_of_its_images() -> Result<()> {
    let host = Host::start()?;
    run_hooked(&host)?;
    let hook = "printf '#!/bin/sh\\ntouch /asked\\nwhile test ! -e /go; do sleep 0.1; done\\n' > /bin/hook";
    host.exec("one", hook)?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let mut restoring = host.snapctl_command()?;
    restoring.args(["restore", "warm", "--id", "two", "--hook", "/bin/hook"]);
    let mut restoring = restoring.spawn()?;
    let rootfs = host.restored_rootfs("two");
    wait_for("the hook", LIMIT, || {
        Ok(rootfs.join("asked").exists().then_some(()))
    })?;
    let elsewhere = Elsewhere::new()?;
    fs::write(rootfs.join("go"), "")?;
    let restored = wait_for(
        "the end of the restore",
        LIMIT,
        || Ok(restoring.try_wait()?),
    );
    if restored.is_err() {
        restoring.kill()?;
    }
    assert!(restored?.success());
    assert_eq!(host.image_servers()?, [0_u32; 0]);
    nothing_is_left(&host)?;
    shown(&rootfs, shown(&rootfs, 1)? + 3)?;
    drop(elsewhere);
    Ok(())
}
