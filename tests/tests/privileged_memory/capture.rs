//! What is captured, and what it costs.

use std::path::Path;

use anyhow::{Context, Result};
use snap_api::Restored;
use snap_tests::{Host, Image, Tree, rounds, wait_for};

use crate::{
    LIMIT, begun, create, goes_on, memory_of, nothing_is_left, run_counting, run_witness, shown,
    witnessed,
};

/// **P1** With `--memory` the processes of a container are captured as well, and a restored container's processes go on from where
/// they were, while the original runs on.
/// **P3** Each of the containers restored from one snapshot has processes of its own.
#[test]
fn a_counting_shell_goes_on_from_its_number_in_eight_clones() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    let created = create(&host, "one", &["--memory=required", "--name", "warm"])?;
    assert!(memory_of(&created)?.captured);
    assert!(created.pause_us > 0);
    let original = shown(&host.rootfs("one"), 1)?;
    shown(&host.rootfs("one"), original + 3)?;

    let restored: Restored = host.snap_json(&["restore", "warm", "--id", "two", "--count", "8"])?;
    assert!(restored.with_memory);
    let clones: Vec<String> = (1..=8).map(|number| format!("two-{number}")).collect();
    for id in &clones {
        let rootfs = host.restored_rootfs(id);
        let count = shown(&rootfs, 3)?;
        shown(&rootfs, count + 3)?;
        assert_eq!(begun(&rootfs)?, 1);
        assert_eq!(host.task_status(id)?.as_deref(), Some("RUNNING"));
        assert!(host.exec(id, "cat /proc/1/cmdline")?.contains("while"));
    }
    shown(&host.rootfs("one"), original + 6)?;
    nothing_is_left(&host)?;
    for id in &clones {
        host.snap(&["container", "remove", id])?;
    }
    wait_for("every mount to go", LIMIT, || {
        Ok(host.our_mounts()?.is_empty().then_some(()))
    })
}

/// **P2** Files and memory of a snapshot are of one instant: a restored process finds its files as it left them.
#[test]
fn memory_and_files_are_never_apart() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "")?;
    let mut second_bytes = 0;
    for round in 0..rounds(20, 200) {
        let created = create(&host, "one", &["--memory=required"])?;
        if round == 1 {
            second_bytes = created.stored_bytes;
        }
        let id = &created.snapshot.id;
        let container = format!("r{round}");
        host.snap(&["restore", id, "--id", &container])?;
        goes_on(&host.restored_rootfs(&container)).with_context(|| format!("In round {round}"))?;
        host.snap(&["container", "remove", &container])?;
        host.snap(&["remove", id])?;
    }
    println!(
        "stored by the second snapshot of a process that goes on writing: {second_bytes} bytes"
    );
    goes_on(&host.rootfs("one"))?;
    nothing_is_left(&host)
}

/// **P4** Memory is stored as files are: a second snapshot of processes that did nothing meanwhile adds next to nothing.
#[test]
fn a_second_snapshot_of_an_idle_process_adds_next_to_nothing() -> Result<()> {
    let host = Host::start()?;
    let image = host.image(Image::Busybox)?;
    // A pipe of 8 MB of noise held in memory by the shell that reads it, as text.
    let script =
        "x=$(head -c 8000000 /dev/urandom | base64); echo > /ready; while :; do sleep 1000; done";
    host.run("one", image, script)?;
    let ready = host.rootfs("one").join("ready");
    wait_for("the noise", LIMIT, || Ok(ready.exists().then_some(())))?;
    let first = create(&host, "one", &["--memory=required"])?;
    let second = create(&host, "one", &["--memory=required"])?;
    let image_bytes = memory_of(&first)?.bytes;
    println!(
        "images {image_bytes} bytes; stored first {}, second {}; pauses {} and {} us",
        first.stored_bytes, second.stored_bytes, first.pause_us, second.pause_us
    );
    assert!(image_bytes > 8_000_000, "{image_bytes}");
    assert!(first.stored_bytes > 5_000_000, "{}", first.stored_bytes);
    assert!(
        second.stored_bytes < first.stored_bytes / 10,
        "{}",
        second.stored_bytes
    );
    nothing_is_left(&host)
}

/// **P7** Memory is never part of what is mounted, listed or copied.
#[test]
fn images_of_memory_are_in_nothing_that_users_see() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    create(&host, "one", &["--name", "cold"])?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let listed = |name: &str| host.paths_in(name, "/");
    assert_eq!(listed("warm")?, listed("cold")?);
    assert!(host.snap(&["diff", "cold", "warm"])?.trim().is_empty());
    let copied = |name: &str| {
        let target = host.folder().join(name);
        let target = snap_tests::text(&target)?;
        host.snap(&["copy", &format!("{name}:/"), target])?;
        Tree::read(Path::new(target))
    };
    let cold = copied("cold")?;
    assert_eq!(copied("warm")?.differences(&cold), [""; 0]);
    let mounted = host.mount("warm", "mounted", &[])?;
    assert_eq!(Tree::read(&mounted)?.differences(&cold), [""; 0]);
    host.snap(&["unmount", snap_tests::text(&mounted)?])?;
    Ok(())
}

/// **P12** With `--stop` nothing happens to the processes between the capture of their memory and their end.
#[test]
fn what_was_stopped_goes_on_where_it_ended() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "")?;
    create(
        &host,
        "one",
        &["--memory=required", "--stop", "--name", "warm"],
    )?;
    let last = witnessed(&host.rootfs("one"))?;
    assert_eq!(host.task_status("one")?.as_deref(), Some("STOPPED"));
    host.snap(&["restore", "warm", "--id", "two"])?;
    let rootfs = host.restored_rootfs("two");
    goes_on(&rootfs)?;
    assert!(witnessed(&rootfs)? > last);
    nothing_is_left(&host)
}
