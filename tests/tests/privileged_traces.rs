//! docs/semantics.md: what a mount needs first is read ahead by the next one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use snap_api::{MountStatus, Status};
use snap_tests::{Host, text, wait_for};

const A_WHILE: Duration = Duration::from_secs(60);
const FILES: usize = 12;

/// A folder that is captured and mounted.
struct Bench {
    host: Host,
    data: PathBuf,
    point: PathBuf,
}

impl Bench {
    fn start(config: &str) -> Result<Self> {
        let host = Host::start_without_containerd(config)?;
        let (data, point) = (host.make_folder("data")?, host.make_folder("point")?);
        for number in 0..FILES {
            fs::write(data.join(number.to_string()), content(number))?;
        }
        let bench = Self { host, data, point };
        bench.capture("app")?;
        Ok(bench)
    }

    fn capture(&self, name: &str) -> Result<()> {
        self.host.capture(&self.data, &["--name", name]).map(drop)
    }

    fn mount(&self, reference: &str) -> Result<()> {
        self.host
            .snap(&["mount", reference, text(&self.point)?])
            .map(drop)
    }

    fn unmount(&self) -> Result<()> {
        self.host.snap(&["unmount", text(&self.point)?]).map(drop)
    }

    fn read(&self, files: &[usize]) -> Result<()> {
        for number in files {
            let read = fs::read(self.point.join(number.to_string()))?;
            ensure!(read == content(*number), "file {number} is not what it was");
        }
        Ok(())
    }

    /// What the daemon says of the one mount there is.
    fn status(&self) -> Result<MountStatus> {
        let status: Status = self.host.snap_json(&["status"])?;
        let mut mounts = status.mounts.into_iter();
        mounts.next().context("A snapshot is served")
    }

    /// Waits until so many bytes were read ahead.
    fn foresees(&self, bytes: u64) -> Result<MountStatus> {
        wait_for("what is read ahead", A_WHILE, || {
            let status = self.status()?;
            Ok((status.foreseen_bytes >= bytes).then_some(status))
        })
    }

    /// Mounts, reads and unmounts; returns how many bytes that took.
    fn use_once(&self, reference: &str, files: &[usize]) -> Result<u64> {
        self.mount(reference)?;
        self.read(files)?;
        let status = self.status()?;
        self.unmount()?;
        Ok(status.met_bytes + status.late_bytes)
    }

    fn traces(&self) -> Result<Vec<PathBuf>> {
        files_in(&self.host.root().join("cache/traces"))
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn content(number: usize) -> Vec<u8> {
    let lines = (0..20_000).flat_map(|line| format!("{number} {line}\n").into_bytes());
    lines.collect()
}

/// **X1** A mount of a snapshot that was mounted before reads ahead what that mount needed in its first 20 seconds, and so
/// does the first mount of a later version of the same name. What is shown does not depend on it.
#[test]
fn the_second_mount_and_the_next_version_read_ahead_what_the_first_mount_needed() -> Result<()> {
    let bench = Bench::start("")?;
    let needed = bench.use_once("app", &[3, 8])?;
    bench.mount("app")?;
    let before = bench.foresees(needed)?;
    bench.read(&[3, 8])?;
    let after = bench.status()?;
    assert_eq!(after.late_bytes, before.late_bytes);
    assert!(after.met_bytes > needed / 2);
    bench.read(&[0, 1, 2])?;
    bench.unmount()?;
    fs::write(bench.data.join("new"), "new")?;
    bench.capture("app")?;
    bench.mount("app:2")?;
    // All but the page of the folder, which has changed.
    bench.foresees(needed / 2)?;
    bench.read(&(0..FILES).collect::<Vec<_>>())?;
    bench.unmount()
}

/// **X2** What was noted of a mount is never relied on: damaged, removed or made up, it changes neither what a mount shows
/// nor whether it works.
#[test]
fn a_damaged_or_missing_trace_does_no_harm() -> Result<()> {
    let bench = Bench::start("")?;
    bench.use_once("app", &[3, 8])?;
    let path = bench.traces()?.remove(0);
    let sound = fs::read(&path)?;
    let mut flipped = sound.clone();
    flipped[20] ^= 1;
    for bytes in [&flipped[..], &sound[..40], b"", &vec![9; 3 << 20]] {
        fs::write(&path, bytes)?;
        bench.use_once("app", &[1, 2])?;
    }
    fs::remove_dir_all(bench.host.root().join("cache"))?;
    bench.use_once("app", &[1, 2])?;
    assert_eq!(bench.traces()?.len(), 1);
    Ok(())
}

/// **X3** What was noted of the mounts of a snapshot goes with the snapshot.
#[test]
fn a_trace_goes_with_its_snapshot() -> Result<()> {
    let bench = Bench::start("")?;
    bench.capture("other")?;
    bench.use_once("app", &[1])?;
    bench.use_once("other", &[1])?;
    assert_eq!(bench.traces()?.len(), 2);
    bench.host.snap(&["remove", "app"])?;
    assert_eq!(bench.traces()?.len(), 1);
    bench.host.snap(&["remove", "other"])?;
    assert_eq!(bench.traces()?, Vec::<PathBuf>::new());
    Ok(())
}

/// **X4** With `prefetch_bytes = "0"` nothing is read ahead because of earlier mounts, nothing is noted, and the daemon's
/// start removes what was.
#[test]
fn it_can_be_turned_off() -> Result<()> {
    let mut bench = Bench::start("")?;
    bench.use_once("app", &[1])?;
    assert_eq!(bench.traces()?.len(), 1);
    let config = fs::read_to_string(bench.host.config())?;
    fs::write(
        bench.host.config(),
        format!("{config}\nprefetch_bytes = \"0\"\n"),
    )?;
    bench.host.start_daemon()?;
    assert_eq!(bench.traces()?, Vec::<PathBuf>::new());
    bench.mount("app")?;
    bench.read(&[1])?;
    assert_eq!(bench.status()?.foreseen_bytes, 0);
    bench.unmount()?;
    assert_eq!(bench.traces()?, Vec::<PathBuf>::new());
    Ok(())
}
