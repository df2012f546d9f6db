//! Disk pressure: what is done when the file system of the store is nearly full.
//!
//! Above the high mark caches are dropped and the store is collected at once. When that does not bring it below the mark,
//! captures are refused until something was removed or somebody made room. Below the low mark all is as usual again.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::fs::statvfs;
use snap_api::{DiskPressure, DiskStatus, ErrorCode, ErrorReport};
use snap_store::Progress;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{Reason, by_itself, complain};
use crate::{
    ballast, blocking,
    config::Config,
    error::{Error, Result},
    files,
    host::Host,
    jobs::JobHandle,
};

/// A collection is not tried again sooner while nothing was removed.
const RETRY: Duration = Duration::from_secs(10 * 60);
/// The same when packs wait for the end of captures under way.
const RETRY_WAITING: Duration = Duration::from_secs(30);

/// How far the daemon has come with a disk that is nearly full.
#[derive(Debug, Default)]
pub struct Relief {
    is_pressed: AtomicBool,
    /// Held while space is made; the last time that was done.
    last: Mutex<Option<Attempt>>,
}

/// Everything was collected that could be.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    /// Removals there had been.
    removals: u64,
}

impl Attempt {
    fn is_recent(&self, host: &Host) -> bool {
        let is_waiting = host.past.last().is_some_and(|last| last.waiting_bytes > 0);
        let retry = if is_waiting { RETRY_WAITING } else { RETRY };
        self.at.elapsed() < retry && self.removals == host.past.removals()
    }
}

/// How full a file system is, as `df` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) used_bytes: u64,
    /// Those and the ones that are free for us.
    pub(crate) total_bytes: u64,
}

impl Usage {
    /// Looks at the file system of `root`.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let stat = statvfs(root).map_err(Error::io("measure", root))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let used_bytes = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
        Ok(Self {
            used_bytes,
            total_bytes: used_bytes.saturating_add(bytes(stat.f_bavail)),
        })
    }

    /// The used part in hundredths, rounded down.
    pub(crate) fn percent(&self) -> u8 {
        let percent = u128::from(self.used_bytes) * 100 / u128::from(self.total_bytes.max(1));
        u8::try_from(percent).unwrap_or(100)
    }

    pub(super) fn is_above_high(&self, config: &Config) -> bool {
        config.disk_high_percent < 100 && self.percent() >= config.disk_high_percent
    }

    pub(super) fn is_below_low(&self, config: &Config) -> bool {
        self.percent() < config.disk_low_percent
    }
}

/// Looks at the disk, and makes space when it is nearly full; keeps a little for the catalogue.
pub(super) async fn watch(host: &Arc<Host>) {
    let config = host.config.clone();
    let held = tokio::task::spawn_blocking(move || ballast::hold(&config)).await;
    held.unwrap_or_else(|panic| warn!(%panic, "Cannot keep space for the catalogue"));
    match look(host).await {
        Ok(usage) if usage.is_above_high(&host.config) => relieve(host).await,
        Ok(_) => {}
        Err(error) => warn!(%error, "Cannot look how full the disk is"),
    }
}

/// Refuses a capture when the disk is nearly full and it is known that nothing can be done about it.
pub(crate) async fn admit(host: &Arc<Host>) -> Result<()> {
    let usage = look(host).await?;
    match usage.is_above_high(&host.config) && is_exhausted(host) {
        true => Err(refusal(host, usage)),
        false => Ok(()),
    }
}

/// Makes space for a capture when the disk is nearly full.
///
/// # Errors
/// `Limit` when that does not help.
pub(crate) async fn make_room(host: &Arc<Host>, job: &JobHandle) -> Result<()> {
    if !look(host).await?.is_above_high(&host.config) {
        return Ok(());
    }
    job.phase("make room");
    tokio::select! {
        () = relieve(host) => {}
        () = job.cancelled() => return Err(snap_store::Error::Cancelled.into()),
    }
    let usage = look(host).await?;
    match usage.is_above_high(&host.config) {
        true => Err(refusal(host, usage)),
        false => Ok(()),
    }
}

/// How full the disk is, for `status`.
pub(crate) fn status(host: &Host) -> Result<DiskStatus> {
    let config = &host.config;
    let usage = Usage::of(&config.root)?;
    let pressure = match (usage.is_above_high(config), is_exhausted(host)) {
        (true, true) => DiskPressure::Full,
        (true, false) => DiskPressure::High,
        (false, _) if host.relief.is_pressed.load(Relaxed) && !usage.is_below_low(config) => {
            DiskPressure::High
        }
        (false, _) => DiskPressure::None,
    };
    Ok(DiskStatus {
        used_percent: usage.percent(),
        high_percent: config.disk_high_percent,
        low_percent: config.disk_low_percent,
        pressure,
    })
}

/// How full the disk is; says when that has passed one of the marks.
async fn look(host: &Arc<Host>) -> Result<Usage> {
    let root = host.config.root.clone();
    let usage = blocking(move || Usage::of(&root)).await?;
    let (config, is_pressed) = (&host.config, &host.relief.is_pressed);
    let used_percent = usage.percent();
    if usage.is_above_high(config) && !is_pressed.swap(true, Relaxed) {
        let high_percent = config.disk_high_percent;
        warn!(
            used_percent,
            high_percent, "The disk of the store is nearly full"
        );
    } else if usage.is_below_low(config) && is_pressed.swap(false, Relaxed) {
        info!(used_percent, "The disk of the store has room again");
    }
    Ok(usage)
}

/// Drops caches and collects, unless that was done just now and nothing was removed since. Whether it has helped is seen at
/// the disk.
async fn relieve(host: &Arc<Host>) {
    let mut last = host.relief.last.lock().await;
    if last.is_some_and(|attempt| attempt.is_recent(host)) {
        return;
    }
    let removals = host.past.removals();
    let caches = host.config.root.join("cache");
    // What is remembered of files costs a reading when it is lost. Captures under way have theirs in memory.
    if let Err(error) = blocking(move || files::remove_folder(&caches)).await {
        complain(&error);
    }
    if let Err(error) = by_itself(host, Reason::Pressure).await {
        complain(&error);
    }
    // One that failed, or that somebody has cancelled, is not tried again at once either.
    *last = Some(Attempt {
        at: Instant::now(),
        removals,
    });
}

/// True when everything has been collected that could be; false while that is being done.
fn is_exhausted(host: &Host) -> bool {
    let last = host.relief.last.try_lock();
    last.is_ok_and(|last| last.is_some_and(|attempt| attempt.is_recent(host)))
}

fn refusal(host: &Host, usage: Usage) -> Error {
    let (config, percent) = (&host.config, usage.percent());
    let message = format!(
        "The disk of {} is {percent} % full, and nothing is captured from {} % on",
        config.root.display(),
        config.disk_high_percent
    );
    ErrorReport::new(ErrorCode::Limit, "disk-pressure", message)
        .hint("Empty the trash (`snapctl trash empty`), remove snapshots with `--permanent`, make room there otherwise, or raise `disk_high_percent`")
        .into()
}
