//! The harness of the tests and benchmarks that need the real parts: FUSE, overlayfs, containerd, runc.
//!
//! ```text
//! Host ── a folder on a disk ──► private containerd   (scripts/containerd)
//!   │                       └──► private snapshotd    (Daemon)
//!   ├─ snapctl(…) ─► Answer      rpc(…) ─► the typed client
//!   └─ run, exec, rootfs         containers, through ctr
//! Tree::read ─► Tree::differences      fill_nasty ─► what file systems can hold      hammer ─► a checkable writer
//! ```
//!
//! Helpers build and report, tests assert. Whatever a host started ends with it, also after a panic or a kill.

mod answer;
mod compare;
mod containers;
mod daemon;
mod fixtures;
pub mod hammer;
mod held;
mod host;
mod loops;
mod nasty;
mod nobody;
pub mod schemas;
mod snapshots;

pub use answer::Answer;
pub use compare::{Kind, Node, Tree};
pub use daemon::Daemon;
pub use fixtures::{Image, fixture_folder, program, script, workload};
pub use held::HeldCapture;
pub use host::{Host, HostOptions};
pub use loops::LoopFolder;
pub use nasty::{change_lower_cases, fill_lower_cases, fill_nasty};
pub use snapshots::{noise, text};

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Asks `ready` again and again until it says something, for `limit` at most; `what` names it in the error.
///
/// # Errors
/// When the limit is over, or as `ready` says.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready().with_context(|| format!("Waiting for {what}"))? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("Waited {limit:?} for {what} in vain");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers that look random, a fresh row of them for each test run.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice whose row begins somewhere new; a failure does not depend on it alone.
    #[must_use]
    pub fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = now.map_or(1, |since| u64::from(since.subsec_nanos()));
        Self(seed)
    }

    /// Dice whose row is that of the seed, so that it can be thrown again.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

/// How many rounds a random test runs: `short` in `make test`, `long` in `make test-long`, or what `SNAP_ROUNDS` says.
#[must_use]
pub fn rounds(short: usize, long: usize) -> usize {
    match std::env::var("SNAP_ROUNDS").as_deref() {
        Ok("long") => long,
        Ok(number) => number.parse().unwrap_or(short),
        Err(_) => short,
    }
}
