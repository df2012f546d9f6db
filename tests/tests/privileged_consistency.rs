//! A writer hammers the container's files while snapshots are taken: each snapshot is one instant of it, never two mixed.
//!
//! What the writer does and how an instant is recognised is told in `hammer`.

use std::fs;

use anyhow::{Context, Result};
use snap_tests::{Host, HostOptions, Image, LoopFolder, hammer, rounds, wait_for};

const IMAGE: &str = "snap.test/hammer:1";

/// A container whose only work is to change files, beside enough data to keep the first pass busy.
fn run_hammer(host: &Host) -> Result<()> {
    let layer = host.make_folder("layer")?;
    fs::create_dir(layer.join("bin"))?;
    fs::copy(hammer::program()?, layer.join("bin/hammer"))?;
    host.import_layers(IMAGE, &[&Image::Busybox.rootfs()?, &layer])?;
    let script = "mkdir /work /bulk; head -c 30M /dev/urandom > /bulk/data; exec /bin/hammer /work";
    host.run("writer", IMAGE, script)?;
    let ready = host.rootfs("writer").join("work/ready");
    wait_for(
        "the writer's first round",
        std::time::Duration::from_secs(20),
        || Ok(ready.exists().then_some(())),
    )
}

/// Takes a snapshot and returns the last operation in it.
fn instant_of_a_snapshot(host: &Host, mounted: &str) -> Result<u64> {
    let id = host.snap(&["create", "writer", "--quiet"])?;
    host.snap(&["mount", &id, mounted])?;
    let marks = hammer::Marks::read(&std::path::Path::new(mounted).join("work"));
    let instant = marks.and_then(|marks| marks.instant());
    host.snap(&["unmount", mounted])?;
    host.snap(&["remove", &id])?;
    instant.with_context(|| format!("Snapshot {id} is torn"))
}

fn hammer_for(host: &Host, rounds: usize) -> Result<Vec<u64>> {
    run_hammer(host)?;
    let mounted = host.make_folder("mounted")?;
    let mounted = mounted.to_str().context("The folder's path is UTF-8")?;
    (0..rounds)
        .map(|round| {
            instant_of_a_snapshot(host, mounted).with_context(|| format!("In round {round}"))
        })
        .collect()
}

/// **M1** A container's snapshot is its root as it was at one instant within the pause: no file, and no two files, show
/// states of different instants.
/// **M2** What a process wrote before that instant is there, whether it was synced or not, also what was written
/// through a shared mapping.
#[test]
fn a_snapshot_of_a_busy_container_is_one_instant() -> Result<()> {
    let host = Host::start()?;
    let instants = hammer_for(&host, rounds(20, 200))?;
    assert!(instants.is_sorted(), "{instants:?}");
    assert_eq!(host.task_status("writer")?.as_deref(), Some("RUNNING"));
    Ok(())
}

#[test]
fn the_same_holds_on_a_file_system_with_reflinks() -> Result<()> {
    let disk = LoopFolder::new("xfs", 2 << 30)?;
    let host = Host::start_with(&HostOptions {
        parent: Some(disk.path().to_owned()),
        ..HostOptions::default()
    })?;
    let instants = hammer_for(&host, rounds(10, 100))?;
    assert!(instants.is_sorted(), "{instants:?}");
    Ok(())
}
