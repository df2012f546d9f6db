//! What goes on where it is restored, and for whom.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use snap_api::Restored;
use snap_tests::{Host, Image, wait_for};

use crate::{
    DENIED, LIMIT, UNAVAILABLE, begun, cgroups_of, create, nothing_is_left, run_counting, shown,
};

/// Holds a file of a bind mount open.
const HOLDING: &str =
    "exec 3> /data/held; echo before >&3; echo > /ready; while :; do sleep 1000; done";

/// **P6** With `--no-memory` a snapshot that holds memory is restored as one of files alone.
#[test]
fn without_its_memory_a_snapshot_is_one_of_files_whose_processes_begin_anew() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    for (id, flag) in [("two", "--no-memory"), ("three", "--no-start")] {
        let restored: Restored = host.snap_json(&["restore", "warm", "--id", id, flag])?;
        assert!(!restored.with_memory);
        assert_eq!(restored.warnings.is_empty(), flag == "--no-memory");
    }
    host.snap(&["container", "start", "three"])?;
    for id in ["two", "three"] {
        let rootfs = host.restored_rootfs(id);
        wait_for("a second beginning", LIMIT, || {
            Ok((begun(&rootfs)? == 2).then_some(()))
        })?;
        shown(&rootfs, 1)?;
    }
    nothing_is_left(&host)
}

/// **P9** Whoever is not root cannot restore the memory of a snapshot, only its files.
#[test]
fn memory_is_for_root_alone_to_restore() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    host.let_everybody_in()?;
    for flag in ["--force", "--fallback"] {
        let refused = host.snapctl_as_nobody(&["restore", "warm", flag])?;
        assert_eq!(refused.code, DENIED, "{refused:?}");
        assert!(refused.stderr.contains("--no-memory"), "{refused:?}");
    }
    assert_eq!(host.containers()?, ["one"]);
    host.snapctl_as_nobody(&["restore", "warm", "--id", "two", "--no-memory"])?
        .ok()?;
    Ok(())
}

/// **P10** When memory cannot be restored, the error carries the reason CRIU gives and nothing is left of what was half made; with
/// `--fallback` the files alone are restored, with that reason as a warning.
#[test]
fn a_restore_that_criu_refuses_is_undone_or_falls_back_to_files() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    let mount = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        data.display()
    );
    let image = host.image(Image::Busybox)?;
    host.run_with("one", image, HOLDING, &["--mount", &mount])?;
    let ready = host.rootfs("one").join("ready");
    wait_for("the file", LIMIT, || Ok(ready.exists().then_some(())))?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;

    let restore = ["restore", "warm", "--keep-mount", "/data", "--id"];
    let ids = ["two", "--count", "2"];
    host.snap(&[&restore[..], &ids].concat())?;
    for id in ["two-1", "two-2"] {
        host.snap(&["container", "remove", id])?;
    }
    // CRIU finds an open file with another size than it had.
    fs::write(data.join("held"), "something else")?;
    let refused = host.snapctl([&restore[..], &ids].concat())?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("has bad size"), "{refused:?}");
    assert_eq!(host.containers()?, ["one"]);
    for id in ["two-1", "two-2"] {
        assert_eq!(host.task_status(id)?, None);
        assert_eq!(cgroups_of(&host, id)?, Vec::<PathBuf>::new());
    }
    nothing_is_left(&host)?;

    let fallen = [&restore[..], &["three", "--fallback"]].concat();
    let restored: Restored = host.snap_json(&fallen)?;
    assert!(!restored.with_memory);
    let warned = restored.warnings.join("\n");
    assert!(warned.contains("has bad size"), "{warned}");
    wait_for("a new beginning", LIMIT, || {
        let held = fs::read_to_string(data.join("held"))?;
        Ok((held == "before\n").then_some(()))
    })?;
    assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    nothing_is_left(&host)
}

/// **P13** Loopback is up before a process goes on, connections it had are closed, and sockets it listened on are there.
/// **P19** With `--tcp-established` connections whose ends are both in the container go on in each container that is restored.
#[test]
fn loopback_is_up_where_processes_go_on() -> Result<()> {
    // A server, a client that stays, and who looks at the interface all the time.
    const NETWORK: &str = "nc -ll -p 8000 -e /bin/sh -c 'echo x >> /served; read line; echo $line' & \
        until echo | nc -w 5 127.0.0.1 8000; do :; done; rm /served; sleep 1000 | nc 127.0.0.1 8000 & \
        while :; do ifconfig lo | grep -q UP || echo down >> /down; echo x >> /looked; sleep 0.01; done";
    const ESTABLISHED: &str = "cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 01 '; true";
    let host = Host::start()?;
    host.run("one", host.image(Image::Busybox)?, NETWORK)?;
    let served = host.rootfs("one").join("served");
    wait_for("the client that stays", LIMIT, || {
        let is_served = served.exists() && host.exec("one", ESTABLISHED)? == "2";
        Ok(is_served.then_some(()))
    })?;
    let looked = |rootfs: &Path| fs::metadata(rootfs.join("looked")).map_or(0, |about| about.len());
    let goes_on = |rootfs: &Path| {
        let before = looked(rootfs);
        wait_for("more looks", LIMIT, || {
            Ok((looked(rootfs) > before + 10).then_some(()))
        })
    };
    goes_on(&host.rootfs("one"))?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    host.snap(&["restore", "warm", "--id", "two"])?;
    let rootfs = host.restored_rootfs("two");
    goes_on(&rootfs)?;
    assert!(!rootfs.join("down").exists());
    assert_eq!(host.exec("two", ESTABLISHED)?, "0");
    assert_eq!(
        host.exec("two", "echo heard | nc -w 5 127.0.0.1 8000")?,
        "heard"
    );
    host.snap(&[
        "restore",
        "warm",
        "--id",
        "kept",
        "--count",
        "2",
        "--tcp-established",
    ])?;
    for id in ["kept-1", "kept-2"] {
        goes_on(&host.restored_rootfs(id))?;
        assert_eq!(host.exec(id, ESTABLISHED)?, "2", "{id}");
    }
    assert_eq!(host.exec("one", ESTABLISHED)?, "2");
    Ok(())
}
