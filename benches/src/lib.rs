//! What the benchmarks share: hosts, data, clocks and the names of the yardsticks.
//!
//! A benchmark's group is its question. In a group, `OURS` is measured beside its yardstick: the plain way to the same
//! end, run on the same machine in the same minute. Absolute times do not travel, their ratio does; `scripts/bench`
//! prints it. Everything goes through the commands a user types, so that both sides pay for a process and a connection.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use criterion::Criterion;
use snap_tests::{Host, HostOptions};

/// The name of our side in every group.
pub const OURS: &str = "snapshotd";

/// Megabytes a snapshot holds beside its root file system.
pub const SIZES_MB: [u64; 3] = [1, 100, 2000];

/// Few samples: each is a whole operation on real parts, and two minutes a group are enough.
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .without_plots()
        .configure_from_args()
}

/// A host without containerd, for what is measured on folders.
///
/// # Errors
/// When it does not start.
pub fn host_of_folders() -> Result<Host> {
    Host::start_with(&HostOptions {
        config: "snapshots_per_namespace = 100000\n".to_owned(),
        without_containerd: true,
        ..HostOptions::default()
    })
}

/// A host with containerd.
///
/// # Errors
/// When it does not start.
pub fn host_of_containers() -> Result<Host> {
    Host::start_with(&HostOptions {
        config: "snapshots_per_namespace = 100000\n".to_owned(),
        ..HostOptions::default()
    })
}

/// The time `operate` takes, `times` over, without what `prepare` and `clear` take around it.
///
/// # Panics
/// When one of them fails: there is nothing to measure then.
pub fn timed<P, T>(
    times: u64,
    mut prepare: impl FnMut() -> Result<P>,
    mut operate: impl FnMut(&P) -> Result<T>,
    mut clear: impl FnMut(P, T) -> Result<()>,
) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..times {
        let prepared = prepare().expect("the preparation works");
        let start = Instant::now();
        let done = operate(&prepared).expect("the measured operation works");
        sum += start.elapsed();
        clear(prepared, done).expect("the clearing up works");
    }
    sum
}

/// Writes bytes that do not compress.
///
/// # Errors
/// When they cannot be written.
pub fn write_noise(path: &Path, bytes: u64) -> Result<()> {
    let mut random = File::open("/dev/urandom")?.take(bytes);
    let mut file = File::create(path).with_context(|| format!("Make {}", path.display()))?;
    io::copy(&mut random, &mut file)?;
    file.sync_all().context("Sync the noise")
}

/// A copy of the folder with everything in it.
///
/// # Errors
/// When `cp` fails.
pub fn copy_tree(from: &Path, to: &Path) -> Result<PathBuf> {
    run(Command::new("cp").arg("--archive").arg(from).arg(to))?;
    Ok(to.to_owned())
}

/// Runs a command that must end well.
///
/// # Errors
/// When it does not.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("Run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Makes the kernel forget what it has read.
///
/// # Errors
/// When this is not root.
pub fn drop_caches() -> Result<()> {
    run(&mut Command::new("sync"))?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("Drop the page cache")
}
