//! Snapshots of what was restored, over and over, and on another host.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use snap_api::Restored;
use snap_tests::{Host, Image, wait_for};

use crate::{LIMIT, begun, create, goes_on, nothing_is_left, run_witness, shown};

const LINKS: usize = 20;

/// **P21** A chain of snapshots, each of a container that was restored from the one before and has gone on, stores in each link what has
/// changed, not what there is.
#[test]
fn a_chain_of_snapshots_stores_what_changed_in_each_link() -> Result<()> {
    // A shell that holds eight million bytes of noise and counts.
    const HOLDING: &str = "echo once more >> /begun; x=$(head -c 8000000 /dev/urandom | base64); i=0; \
        while :; do i=$((i + 1)); echo $i > /count.new; mv /count.new /count; sleep 0.02; done";
    let host = Host::start()?;
    host.run("one", host.image(Image::Busybox)?, HOLDING)?;
    let mut count = shown(&host.rootfs("one"), 3)?;
    let mut last = "one".to_owned();
    let mut stored = Vec::new();
    for link in 0..LINKS {
        let name = format!("chain:link-{link}");
        let created = create(&host, &last, &["--memory=required", "--name", &name])?;
        stored.push(created.stored_bytes);
        if link > 0 {
            host.snap(&["container", "remove", &last])?;
        }
        last = format!("link-{link}");
        let restored: Restored = host.snap_json(&["restore", &name, "--id", &last])?;
        ensure!(restored.with_memory, "{restored:?}");
        let rootfs = host.restored_rootfs(&last);
        count = shown(&rootfs, count + 3)?;
        assert_eq!(begun(&rootfs)?, 1, "in link {link}");
    }
    println!("stored by the links of a chain: {stored:?}");
    assert!(stored[0] > 5_000_000, "{stored:?}");
    for (link, bytes) in stored.iter().enumerate().skip(1) {
        assert!(*bytes < stored[0] / 10, "link {link} of {stored:?}");
    }
    // Memory of a chain is not walked: the first links may go.
    for link in 0..LINKS - 1 {
        host.snap(&["remove", &format!("chain:link-{link}")])?;
    }
    let name = format!("chain:link-{}", LINKS - 1);
    host.snap(&["restore", &name, "--id", "after"])?;
    let rootfs = host.restored_rootfs("after");
    shown(&rootfs, shown(&rootfs, 1)? + 3)?;
    nothing_is_left(&host)
}

/// **P22** A store that is copied to another host restores files and memory there, with a containerd and a daemon that have never seen the
/// container or its image.
#[test]
fn a_copied_store_restores_on_another_host() -> Result<()> {
    let scratch = tempfile::tempdir_in("/var/tmp")?;
    let copied = scratch.path().join("store");
    {
        let mut first = Host::start()?;
        run_witness(&first, "one", "")?;
        create(&first, "one", &["--memory=required", "--name", "warm"])?;
        first.take_daemon()?.stop()?;
        copy(first.root(), &copied)?;
    }
    let mut second = Host::start()?;
    second.take_daemon()?.stop()?;
    fs::remove_dir_all(second.root()).context("Remove the other store")?;
    copy(&copied, second.root())?;
    second.start_daemon()?;
    assert_eq!(second.containers()?, [""; 0]);
    let restored: Restored =
        second.snap_json(&["restore", "warm", "--id", "two", "--count", "2"])?;
    assert!(restored.with_memory, "{restored:?}");
    for id in ["two-1", "two-2"] {
        goes_on(&second.restored_rootfs(id)).with_context(|| format!("In {id}"))?;
    }
    let restored: Restored =
        second.snap_json(&["restore", "warm", "--id", "cold", "--no-memory"])?;
    assert!(!restored.with_memory);
    let rootfs = second.restored_rootfs("cold");
    wait_for("a new beginning", LIMIT, || Ok(goes_on(&rootfs).ok()))?;
    nothing_is_left(&second)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let copied = Command::new("cp")
        .arg("--archive")
        .args([from, to])
        .status();
    ensure!(
        copied.context("Run cp")?.success(),
        "{} was not copied",
        from.display()
    );
    Ok(())
}
