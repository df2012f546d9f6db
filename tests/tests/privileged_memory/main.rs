//! Memory with files: captured by CRIU within one pause, restored beside the original.
//!
//! The workload compares what it has in memory with its files before each step, so that a restored process itself finds out whether
//! both are of one instant (`tests/workloads/witness.c`).

mod capture;
mod chain;
mod contents;
mod identity;
mod keys;
mod kills;
mod refusals;
mod restore;
mod verdicts;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use snap_api::{Created, MemoryView};
use snap_tests::{Host, Image, wait_for, workload};

const IMAGE: &str = "snap.test/witness:1";
/// Far longer than anything takes that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Says that it has begun, counts in a variable of the shell, and shows it in a file.
const COUNTING: &str = "echo once more >> /begun; i=0; \
    while :; do i=$((i + 1)); echo $i > /count.new; mv /count.new /count; sleep 0.02; done";
pub(crate) const CONFLICT: i32 = 4;
pub(crate) const DENIED: i32 = 6;
pub(crate) const UNAVAILABLE: i32 = 7;

/// A shell that counts in its memory.
pub(crate) fn run_counting(host: &Host, id: &str) -> Result<()> {
    let image = host.image(Image::Busybox)?;
    host.run(id, image, COUNTING)?;
    shown(&host.rootfs(id), 3).map(drop)
}

/// How often the counting shell whose root this is has begun.
pub(crate) fn begun(rootfs: &Path) -> Result<usize> {
    let text = fs::read_to_string(rootfs.join("begun")).context("Read what has begun")?;
    Ok(text.lines().count())
}

/// Waits until the counting shell whose root this is shows at least `least`.
pub(crate) fn shown(rootfs: &Path, least: u64) -> Result<u64> {
    wait_for(&format!("a count of {least}"), LIMIT, || {
        let text = fs::read_to_string(rootfs.join("count")).unwrap_or_default();
        let count: Option<u64> = text.trim().parse().ok();
        Ok(count.filter(|count| *count >= least))
    })
}

/// A container of the witness.
pub(crate) fn run_witness(host: &Host, id: &str, how: &str) -> Result<()> {
    let layer = host.make_folder("layer")?;
    fs::create_dir(layer.join("bin"))?;
    fs::create_dir(layer.join("work"))?;
    fs::copy(workload("witness")?, layer.join("bin/witness"))?;
    host.import_layers(IMAGE, &[&Image::Busybox.rootfs()?, &layer])?;
    host.run(id, IMAGE, &format!("exec /bin/witness /work {how}"))?;
    let ready = host.rootfs(id).join("work/ready");
    wait_for("the witness", LIMIT, || Ok(ready.exists().then_some(())))
}

/// The witness's count.
pub(crate) fn witnessed(rootfs: &Path) -> Result<u64> {
    let torn = rootfs.join("work/torn");
    if let Ok(what) = fs::read_to_string(torn) {
        bail!("Memory and files are apart: {what}");
    }
    let bytes = fs::read(rootfs.join("work/file"))?;
    let first: [u8; 8] = bytes[..8].try_into()?;
    Ok(u64::from_le_bytes(first))
}

/// Waits until the witness has made some steps from now on.
pub(crate) fn goes_on(rootfs: &Path) -> Result<()> {
    let before = witnessed(rootfs)?;
    wait_for("more steps", LIMIT, || {
        Ok((witnessed(rootfs)? > before + 5).then_some(()))
    })
}

pub(crate) fn create(host: &Host, id: &str, flags: &[&str]) -> Result<Created> {
    host.snap_json(&[&["create", id], flags].concat())
}

pub(crate) fn memory_of(created: &Created) -> Result<&MemoryView> {
    created
        .snapshot
        .memory
        .as_ref()
        .context("It says nothing of memory")
}

/// Control groups of the container `id`, in whichever hierarchy.
pub(crate) fn cgroups_of(host: &Host, id: &str) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    for entry in fs::read_dir("/sys/fs/cgroup")? {
        folders.push(entry?.path());
    }
    let groups = folders
        .into_iter()
        .map(|folder| folder.join(host.namespace()).join(id));
    Ok(groups.filter(|group| group.exists()).collect())
}

/// Neither images nor records of pauses, nor mounts for images, are left.
pub(crate) fn nothing_is_left(host: &Host) -> Result<()> {
    for folder in ["memory", "pauses"] {
        let entries = fs::read_dir(host.state().join(folder))
            .into_iter()
            .flatten();
        let left: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "Left in {folder}: {left:?}");
    }
    let images = host.state().join("memory");
    let mounts = host.our_mounts()?;
    ensure!(
        !mounts.iter().any(|mount| mount.starts_with(&images)),
        "Mounted: {mounts:?}"
    );
    Ok(())
}
