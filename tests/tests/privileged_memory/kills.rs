//! A daemon that is killed in the middle.

use std::{fs, path::PathBuf, process::Stdio, thread, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use snap_api::ContainerView;
use snap_tests::{Dice, Host, rounds, wait_for};

use crate::{LIMIT, cgroups_of, create, goes_on, nothing_is_left, run_witness};

/// **P8** A daemon that is killed while it captures memory leaves the original running, and the next start leaves nothing of the
/// capture.
#[test]
fn a_daemon_killed_while_it_captures_memory_leaves_the_original_running() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    run_witness(&host, "one", "")?;
    for round in 0..rounds(5, 50) {
        let mut command = host
            .snapctl_command()?
            .args(["create", "one", "--memory"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Run snapctl")?;
        let begun = host.state().join("memory");
        let seen = wait_for("images", LIMIT, || {
            let is_over = command.try_wait()?.is_some();
            let has_begun = fs::read_dir(&begun).is_ok_and(|mut all| all.next().is_some());
            Ok((is_over || has_begun).then_some(()))
        });
        thread::sleep(Duration::from_micros(dice.below(300_000)));
        host.take_daemon()?.kill()?;
        seen?;
        command.wait()?;
        host.start_daemon()?;
        let in_round = || format!("In round {round}");
        goes_on(&host.rootfs("one")).with_context(in_round)?;
        nothing_is_left(&host).with_context(in_round)?;
        assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    }
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    host.snap(&["restore", "warm", "--id", "two"])?;
    goes_on(&host.restored_rootfs("two"))
}

/// **P14** A daemon that is killed while it restores memory has restored every container or none after the next start, and leaves
/// nothing else; the original runs on.
#[test]
fn a_daemon_killed_while_it_restores_memory_restores_all_or_nothing() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    run_witness(&host, "one", "")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    for round in 0..rounds(6, 50) {
        let id = format!("r{round}");
        let mut command = host
            .snapctl_command()?
            .args(["restore", "warm", "--count", "2", "--id", &id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Run snapctl")?;
        thread::sleep(Duration::from_micros(dice.below(1_200_000)));
        host.take_daemon()?.kill()?;
        command.wait()?;
        host.start_daemon()?;
        let in_round = || format!("In round {round}");
        let both = [format!("{id}-1"), format!("{id}-2")];
        let settled = wait_for("all or none", LIMIT, || {
            let all = host.containers()?;
            let made: Vec<_> = both.iter().filter(|id| all.contains(id)).collect();
            let listed: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
            let known = listed.iter().filter(|one| both.contains(&one.id)).count();
            Ok((made.len() == known && known != 1).then_some(known))
        });
        let settled = settled.with_context(in_round)?;
        wait_for("images to go", LIMIT, || Ok(nothing_is_left(&host).ok()))
            .with_context(in_round)?;
        for id in both.iter().take(settled) {
            goes_on(&host.restored_rootfs(id)).with_context(in_round)?;
            host.snap(&["container", "remove", id])?;
        }
        for id in &both {
            let left = cgroups_of(&host, id)?;
            assert_eq!(left, Vec::<PathBuf>::new(), "In round {round}");
            assert_eq!(host.task_status(id)?, None, "In round {round}");
        }
        goes_on(&host.rootfs("one")).with_context(in_round)?;
    }
    Ok(())
}

/// A shim that has CRIU make processes answers nobody until they are there. The start that was to undo them gave up then, and they ran on, in a
/// container that nobody could see or remove.
#[test]
fn what_a_killed_daemon_has_half_restored_goes_also_when_its_shim_is_silent_at_the_start()
-> Result<()> {
    let mut host = Host::start()?;
    run_witness(&host, "one", "")?;
    host.exec(
        "one",
        "printf '#!/bin/sh\\ntouch /asked\\nsleep 25\\n' > /bin/hook; chmod +x /bin/hook",
    )?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let mut command = host
        .snapctl_command()?
        .args(["restore", "warm", "--id", "two", "--hook", "/bin/hook"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("Run snapctl")?;
    let asked = host.restored_rootfs("two").join("asked");
    wait_for("the hook", LIMIT, || Ok(asked.exists().then_some(())))?;
    let shim = Pid::from_raw(host.shim("two")?.cast_signed());
    kill(shim, Signal::SIGSTOP)?;
    host.take_daemon()?.kill()?;
    command.wait()?;
    let started = host.start_daemon();
    let is_there = host.containers()?.contains(&"two".to_owned());
    kill(shim, Signal::SIGCONT)?;
    started?;
    assert!(is_there, "It was undone at the start");
    wait_for("the end of what was half restored", LIMIT, || {
        let is_gone = !host.containers()?.contains(&"two".to_owned());
        Ok((is_gone && cgroups_of(&host, "two")?.is_empty()).then_some(()))
    })?;
    wait_for("its mounts to go", LIMIT, || {
        let mounts = host.our_mounts()?;
        Ok(mounts.is_empty().then_some(()))
    })?;
    nothing_is_left(&host)?;
    goes_on(&host.rootfs("one"))
}
