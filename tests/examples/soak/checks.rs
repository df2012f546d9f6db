//! Quiet points, and the end: everything that was acknowledged is there, then everything goes and nothing is left.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use snap_api::{Collected, ContainerView, SnapshotView, Status};
use snap_tests::{Image, wait_for};

use crate::{
    client::Client,
    gauge::{Gauge, Held, held},
    killer::upgrade,
    ledger::LABEL,
    operations::{end_doubtful_mount, end_doubtful_restores, is_sound, remove_failed},
    stage::{Stage, is_absent},
    watched::Watched,
    worker::{Use, Worker},
};

/// Longer than any of it takes on a loaded machine.
const SOON: Duration = Duration::from_secs(120);
/// Connections of commands that have just ended.
const FEW_DESCRIPTORS: u64 = 4;

/// Compares the accounts with what is there. Nobody may do anything meanwhile.
pub(crate) fn quiet_point<'a>(
    stage: &Stage,
    workers: impl Iterator<Item = &'a mut Worker>,
) -> Result<()> {
    let mut workers: Vec<&mut Worker> = workers.collect();
    wait_for("every job to end", SOON, || {
        Ok((stage.read::<Status>(&["status"])?.running_jobs == 0).then_some(()))
    })?;
    for worker in &mut workers {
        worker.settle_doubts(stage)?;
    }
    let listed: Vec<SnapshotView> = stage.read(&["list"])?;
    for worker in &mut workers {
        worker.settle_account(stage, &listed)?;
    }
    let is_known = |view: &&SnapshotView| {
        let label = view.labels.get(LABEL).map_or("", String::as_str);
        label == "watched" || workers.iter().any(|worker| label.starts_with(&worker.name))
    };
    let unknown = listed.iter().find(|view| !is_known(view));
    ensure!(unknown.is_none(), "Nobody has made {unknown:?}");
    for worker in &mut workers {
        worker.await_the_expired(stage)?;
        worker.look(stage)?;
        worker.uses.iter().try_for_each(Use::check)?;
    }
    stage.count("quiet points");
    Ok(())
}

impl Worker {
    fn settle_doubts(&mut self, stage: &Stage) -> Result<()> {
        for id in std::mem::take(&mut self.doubts.containers) {
            end_doubtful_restores(stage, &id)?;
        }
        for path in std::mem::take(&mut self.doubts.folders) {
            end_doubtful_mount(stage, &path)?;
            fs::remove_dir(&path).with_context(|| format!("Remove {}", path.display()))?;
        }
        Ok(())
    }

    fn settle_account(&mut self, stage: &Stage, listed: &[SnapshotView]) -> Result<()> {
        let failed = self.ledger.compare(&self.name, listed)?;
        self.doubts.is_captured = false;
        failed.iter().try_for_each(|id| remove_failed(stage, id))
    }

    /// What has expired and is not used goes by itself.
    fn await_the_expired(&mut self, stage: &Stage) -> Result<()> {
        let due = self.ledger.numbers(crate::ledger::Record::is_due);
        for number in due {
            let record = &mut self.ledger.records[number];
            wait_for("an expired snapshot to go", SOON, || {
                Ok(crate::operations::is_gone(stage, &record.id)?.then_some(()))
            })
            .with_context(|| record.label.clone())?;
            record.went();
            stage.count("expired");
        }
        Ok(())
    }
}

/// Every snapshot that was acknowledged, byte for byte, also under mount servers that were just replaced.
pub(crate) fn everything_is_there(
    stage: &Stage,
    workers: &mut [Worker],
    watched: &Watched,
) -> Result<()> {
    quiet_point(stage, workers.iter_mut())?;
    upgrade(stage)?;
    for worker in &mut *workers {
        for number in worker.ledger.kept() {
            worker.look_at(stage, number)?;
        }
        worker.uses.iter().try_for_each(Use::check)?;
    }
    watched.check()
}

/// Removes everything, by what the product and containerd offer; then nothing may be left.
pub(crate) fn everything_goes(
    stage: &Stage,
    workers: &mut [Worker],
    watched: Watched,
) -> Result<()> {
    for worker in &mut *workers {
        while !worker.uses.is_empty() {
            worker.release_use(stage, 0)?;
        }
        // What a killed client has asked for last.
        worker.settle_doubts(stage)?;
        worker.end_source(stage)?;
    }
    watched.end(stage)?;
    for worker in &mut *workers {
        for number in worker.ledger.kept() {
            wait_for("a snapshot to be free", SOON, || {
                Ok(worker
                    .remove_record(stage, number, Client::Patient)?
                    .then_some(()))
            })?;
        }
    }
    let host = stage.host();
    let containers: Vec<ContainerView> = stage.read(&["container", "list"])?;
    ensure!(containers.is_empty(), "Left: {containers:?}");
    ensure!(
        host.containers()?.is_empty(),
        "Left: {:?}",
        host.containers()
    );
    host.ctr(&["images", "remove", "--sync", Image::Busybox.name()])?
        .ok()?;
    nothing_is_listed(stage)?;
    nothing_is_stored(stage)
}

fn nothing_is_listed(stage: &Stage) -> Result<()> {
    let listed: Vec<SnapshotView> = stage.read(&["list", "--all-namespaces"])?;
    ensure!(listed.is_empty(), "Left: {listed:?}");
    Ok(())
}

/// Layers that are gone from containerd keep no base, so the store is empty: no pack, no manifest, no draft.
fn nothing_is_stored(stage: &Stage) -> Result<()> {
    let mut last = None;
    wait_for("the store to be empty", SOON, || {
        let done: Collected = stage.read(&["collect", "--grace", "0"])?;
        ensure!(is_sound(&done), "{done:?}");
        stage.add("bytes collected", done.freed_bytes);
        let status: Status = stage.read(&["status"])?;
        last = Some((done, status.packs));
        Ok((status.packs == 0).then_some(()))
    })
    .with_context(|| format!("{last:?}"))?;
    let status: Status = stage.read(&["status"])?;
    let stored = (status.packs, status.chunks, status.store_bytes);
    ensure!(
        stored == (0, 0, 0),
        "The store holds {stored:?} packs, chunks, bytes"
    );
    let root = stage.host().root();
    for folder in ["packs", "manifests", "drafts", "quarantine"] {
        no_files(&root.join(folder))?;
    }
    let files: Vec<_> = stage.host().stored_files()?;
    let outside_index = files.iter().find(|(path, _)| !path.contains("/index/"));
    ensure!(outside_index.is_none(), "Left: {outside_index:?}");
    Ok(())
}

fn no_files(folder: &Path) -> Result<()> {
    if is_absent(folder) {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        ensure!(
            entry.file_type()?.is_dir(),
            "{} is left",
            entry.path().display()
        );
        no_files(&entry.path())?;
    }
    Ok(())
}

/// No mount, no process but the daemon, no folder of a container, no record; the daemon holds what it held at its start.
pub(crate) fn nothing_is_held(stage: &Stage, gauge: &Gauge) -> Result<()> {
    let host = stage.host();
    let mut seen = String::new();
    wait_for("everything held to be let go", SOON, || {
        let (mounts, servers) = (host.our_mounts()?, host.mount_servers()?);
        let (holders, now) = (host.holders()?, held(stage.daemon_pid())?);
        seen = format!("{mounts:?}, servers {servers:?}, holders {holders:?}, {now:?}");
        let is_free = mounts.is_empty() && servers.is_empty() && holders.is_empty();
        let Held { descriptors, .. } = gauge.before();
        Ok((is_free && now.descriptors <= descriptors + FEW_DESCRIPTORS).then_some(()))
    })
    .with_context(|| format!("{seen}, {:?} before", gauge.before()))?;
    for folder in [
        host.root().join("containers"),
        host.root().join("writable"),
        host.state().join("pauses"),
        host.state().join("mounts"),
        host.state().join("lingering"),
    ] {
        let mut left = Vec::new();
        files_below(&folder, &mut left);
        ensure!(left.is_empty(), "Left: {left:?}");
    }
    Ok(())
}

fn files_below(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        files_below(&entry.path(), found);
    }
}

/// After the daemon and containerd have been stopped nothing is left on the machine.
pub(crate) fn nothing_outlives(stage: Stage) -> Result<()> {
    let host = stage.into_host()?;
    let (folder, namespace) = (host.folder().to_owned(), host.namespace().to_owned());
    drop(host);
    let shown = folder.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&shown), "Mounts are left below {shown}");
    for entry in fs::read_dir("/proc")? {
        let command = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // The guard waits for the end of this process.
        let is_left = command.contains(&shown)
            && !command.contains(" guard ")
            && !command.contains("tail --pid");
        ensure!(!is_left, "`{command}` is left");
    }
    for cgroups in ["/sys/fs/cgroup", "/run/containerd/runc"] {
        let left = Path::new(cgroups).join(&namespace);
        ensure!(is_absent(&left), "{} is left", left.display());
    }
    ensure!(is_absent(&folder), "{shown} is left");
    Ok(())
}
