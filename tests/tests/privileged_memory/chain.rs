//! Snapshots of what was restored, over and over, and on another host.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use snap_api::Restored;
use snap_tests::{Host, Image, wait_for, workload};

use crate::{LIMIT, create, goes_on, nothing_is_left, run_witness};

const LINKS: usize = 20;
/// What processes have in memory, none of which can be compressed.
const HELD_MEGABYTES: u64 = 16;
const PAGE_BYTES: u64 = 4096;
/// Pages that change before each link, by turns.
const CHANGED_PAGES: [u64; 2] = [16, 1024];
/// What a link stores beside what has changed: the rest of the chunks in which that begins and ends, of 256 KiB at most, the stack, registers,
/// descriptors, the files.
const BESIDE_BYTES: u64 = 768 << 10;

/// **P21** A chain of snapshots, each of a container that was restored from the one before and has gone on, stores in each link what has
/// changed, not what there is.
#[test]
fn a_chain_of_snapshots_stores_what_changed_in_each_link() -> Result<()> {
    let host = Host::start()?;
    run_changer(&host, "one")?;
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
        let pages = CHANGED_PAGES[(link + 1) % CHANGED_PAGES.len()];
        change(&host.restored_rootfs(&last), pages, link + 1)?;
    }
    println!("stored by the links of a chain: {stored:?}");
    assert!(stored[0] > HELD_MEGABYTES << 20, "{stored:?}");
    for (link, bytes) in stored.iter().enumerate().skip(1) {
        let changed = CHANGED_PAGES[link % CHANGED_PAGES.len()] * PAGE_BYTES;
        let expected = changed..changed + changed / 16 + BESIDE_BYTES;
        assert!(expected.contains(bytes), "link {link} of {stored:?}");
    }
    // Memory of a chain is not walked: the first links may go.
    for link in 0..LINKS - 1 {
        host.snap(&["remove", &format!("chain:link-{link}")])?;
    }
    let name = format!("chain:link-{}", LINKS - 1);
    host.snap(&["restore", &name, "--id", "after"])?;
    change(&host.restored_rootfs("after"), 1, LINKS)?;
    nothing_is_left(&host)
}

/// A container whose memory changes when it is asked to, and not otherwise.
fn run_changer(host: &Host, id: &str) -> Result<()> {
    const IMAGE: &str = "snap.test/changer:1";
    let layer = host.make_folder("changer")?;
    fs::create_dir(layer.join("bin"))?;
    fs::create_dir(layer.join("work"))?;
    fs::copy(workload("changer")?, layer.join("bin/changer"))?;
    host.import_layers(IMAGE, &[&Image::Busybox.rootfs()?, &layer])?;
    let script = format!("exec /bin/changer {HELD_MEGABYTES} /work");
    host.run(id, IMAGE, &script)?;
    has_changed(&host.rootfs(id), 0)
}

/// Has so many pages changed, which makes it `times` since the beginning.
fn change(rootfs: &Path, pages: u64, times: usize) -> Result<()> {
    let asked = rootfs.join("work/ask.new");
    fs::write(&asked, pages.to_string())?;
    fs::rename(&asked, rootfs.join("work/ask"))?;
    has_changed(rootfs, times)
}

fn has_changed(rootfs: &Path, times: usize) -> Result<()> {
    let (done, times) = (rootfs.join("work/done"), times.to_string());
    wait_for("the change of memory", LIMIT, || {
        let told = fs::read_to_string(&done).unwrap_or_default();
        Ok((told.trim() == times).then_some(()))
    })
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

fn copy(from: &Path, to: &Path) -> Result<()> {
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
