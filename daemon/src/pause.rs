//! The pause: a container stands still exactly as long as the guard lives, and a record on disk lets the next start thaw it.
//!
//! Behind each guard a keeper task waits for the guard to go, whichever way it goes, and thaws. It asks containerd
//! first, because the shim keeps a state of its own; when containerd is away it writes the cgroup's freezer, and
//! leaves the record, so that the shim's state is put right later. No pause outlives `LONGEST_PAUSE`.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use snap_api::{ErrorCode, ErrorReport};
use snap_store::Namespace;
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::{error, info, warn};

use self::record::PauseRecord;
use crate::{
    containerd::{Containerd, Fault, TaskStatus},
    error::Result,
    host::Host,
    memory::{self, strays},
};

mod freezer;
mod record;

/// A scan reads metadata alone and takes milliseconds; whatever keeps a container still for this long is stuck.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two attempts to put right what containerd believes of a container that its freezer has thawed.
const RETRY: Duration = Duration::from_secs(2);
/// How often containerd is asked before the freezer is written instead.
const ATTEMPTS: usize = 3;
/// How often a pause is tried: runc gives up when processes that are busy do not stand still soon enough.
const PAUSE_ATTEMPTS: u32 = 5;
/// Between the first two tries, and so much longer before each further one.
const PAUSE_RETRY: Duration = Duration::from_millis(50);

/// A paused container. Dropping it thaws; `thaw` thaws and says for how long it stood still.
#[derive(Debug)]
pub struct PauseGuard {
    /// `None` when the container's user had paused it: it is nobody's here to thaw.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct Keeper {
    /// Dropped, it tells the keeper to thaw.
    hold: oneshot::Sender<()>,
    outcome: JoinHandle<Outcome>,
    record: PauseRecord,
    longest: Duration,
}

/// What goes on while a container stands still.
#[derive(Clone, Debug, Default)]
pub struct PauseOptions {
    /// After this long it is thawed in any case; as long as for files alone when absent.
    pub longest: Option<Duration>,
    /// The folder CRIU works in, which is waited for before a container left paused is thawed.
    pub works_in: Option<PathBuf>,
}

#[derive(Debug)]
struct Outcome {
    pause: Duration,
    in_time: bool,
}

impl PauseGuard {
    /// Writes the record, then pauses; tries again when containerd would not. A container its user had paused already is left
    /// alone and stays paused.
    ///
    /// # Errors
    /// `not-running` when it has no running task; it is never left paused by a call that fails.
    pub async fn pause(
        host: &Arc<Host>,
        namespace: &Namespace,
        container: &str,
        options: &PauseOptions,
    ) -> Result<Self> {
        for attempt in 1..PAUSE_ATTEMPTS {
            match Self::try_pause(host, namespace, container, options).await? {
                Ok(guard) => return Ok(guard),
                Err(fault) if fault.is_silence() => return Err(fault.into()),
                Err(fault) => warn!(container, error = %fault, "Cannot pause a container yet"),
            }
            tokio::time::sleep(PAUSE_RETRY * attempt).await;
        }
        Ok(Self::try_pause(host, namespace, container, options).await??)
    }

    async fn try_pause(
        host: &Arc<Host>,
        namespace: &Namespace,
        container: &str,
        options: &PauseOptions,
    ) -> Result<Result<Self, Fault>> {
        let task = host.containerd.task(namespace, container).await?;
        let pid = match task {
            Some(task) if task.status == TaskStatus::Paused => {
                return Ok(Ok(Self { keeper: None }));
            }
            Some(task) if task.status == TaskStatus::Running => task.pid,
            _ => return Err(not_running(container)),
        };
        let record = PauseRecord::new(namespace, container, pid, options.works_in.clone());
        let folder = host.config.state.join("pauses");
        let record = crate::blocking(move || record.write(&folder)).await?;
        let since = Instant::now();
        let paused = host.containerd.pause(namespace, container).await;
        let (hold, released) = oneshot::channel();
        let frozen = Frozen {
            record: record.clone(),
            is_thawed: false,
        };
        let longest = options.longest.unwrap_or(LONGEST_PAUSE);
        let containerd = host.containerd.clone();
        let kept = keep(containerd, frozen, since, longest, released);
        let guard = Self {
            keeper: Some(Keeper {
                hold,
                outcome: tokio::spawn(kept),
                record,
                longest,
            }),
        };
        match paused {
            Ok(()) => Ok(Ok(guard)),
            Err(fault) => {
                guard.thaw().await?;
                Ok(Err(fault))
            }
        }
    }

    /// Thaws, removes the record and returns the pause in microseconds.
    ///
    /// # Errors
    /// `pause-too-long` when the container was thawed before, because it stood still for too long: what was
    /// captured is then not of one instant.
    pub async fn thaw(self) -> Result<u64> {
        let Some(Keeper {
            hold,
            outcome,
            record,
            longest,
        }) = self.keeper
        else {
            return Ok(0);
        };
        drop(hold);
        let outcome = outcome.await.map_err(|panic| {
            let message = "The task that thaws the container has ended early";
            ErrorReport::new(ErrorCode::Internal, "thaw-lost", message).caused_by(&panic)
        })?;
        if !outcome.in_time {
            thaw_behind_criu(&record, longest).await;
            let message = format!(
                "The container stood still for more than {} s and was thawed before its capture ended",
                longest.as_secs()
            );
            return Err(ErrorReport::new(ErrorCode::TimedOut, "pause-too-long", message).into());
        }
        Ok(u64::try_from(outcome.pause.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Thaws every container an earlier daemon left paused. Called first at start; containers containerd cannot resume now
/// (it is away) are thawed through their cgroup, and the record goes once that is done. Returns the folders that CRIU still writes to: they
/// are left to it, and removed when it has ended.
///
/// # Errors
/// When the folder of records cannot be read.
pub async fn thaw_leftovers(host: &Arc<Host>) -> Result<Vec<PathBuf>> {
    thaw_leftovers_within(host, LONGEST_PAUSE).await
}

/// The same; waits so long for each CRIU.
async fn thaw_leftovers_within(host: &Arc<Host>, patience: Duration) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let folder = host.config.state.join("pauses");
    let records = crate::blocking(move || PauseRecord::read_all(&folder)).await?;
    for record in records {
        info!(
            namespace = record.namespace(),
            container = record.container(),
            "Thawing a container left paused"
        );
        let frozen = Frozen {
            record,
            is_thawed: false,
        };
        if frozen.is_criu_gone(patience).await {
            thaw_for_good(&host.containerd, frozen).await;
            continue;
        }
        warn!(
            container = frozen.record.container(),
            "CRIU still works on a container that is thawed now, and again when it has ended"
        );
        written.extend(frozen.record.works_in().map(PathBuf::from));
        resume(&host.containerd, &frozen.record).await;
        frozen.thaw_by_cgroup();
        tokio::spawn(thaw_after_criu(host.containerd.clone(), frozen));
    }
    Ok(written)
}

/// Waits for CRIU, which leaves the container as it has found it, thaws once more, and removes what CRIU has written.
async fn thaw_after_criu(containerd: Containerd, frozen: Frozen) {
    while !frozen.is_criu_gone(LONGEST_PAUSE).await {}
    let folder = frozen.record.works_in().map(PathBuf::from);
    thaw_for_good(&containerd, frozen).await;
    let removed = folder.map(|folder| crate::blocking(move || memory::remove_folder(&folder)));
    if let Some(removed) = removed
        && let Err(error) = removed.await
    {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Images of memory stay until the next start");
    }
}

/// The situation of a container that cannot be captured because nothing runs in it.
pub(crate) fn not_running(container: &str) -> crate::Error {
    ErrorReport::new(
        ErrorCode::Conflict,
        "not-running",
        format!("Container {container} is not running"),
    )
    .hint("Start its task first")
    .into()
}

/// Waits for the guard to go, or for the longest pause, and thaws.
async fn keep(
    containerd: Containerd,
    frozen: Frozen,
    since: Instant,
    longest: Duration,
    released: oneshot::Receiver<()>,
) -> Outcome {
    let in_time = tokio::time::timeout(longest, released).await.is_ok();
    if !in_time {
        error!(
            container = frozen.record.container(),
            "A pause has lasted too long and is ended"
        );
    }
    thaw_for_good(&containerd, frozen).await;
    Outcome {
        pause: since.elapsed(),
        in_time,
    }
}

/// Thaws by whatever means there are; returns as soon as the container runs.
async fn thaw_for_good(containerd: &Containerd, frozen: Frozen) {
    for _ in 0..ATTEMPTS {
        match resume(containerd, &frozen.record).await {
            Resumed::Yes => {
                if frozen.record.works_in().is_some() {
                    // The shim may know nothing of what CRIU has frozen.
                    frozen.thaw_by_cgroup();
                }
                return frozen.finish();
            }
            Resumed::Refused => {}
            Resumed::Unanswered => break,
        }
    }
    warn!(
        container = frozen.record.container(),
        "containerd does not resume the container, its freezer is written instead"
    );
    frozen.thaw_by_cgroup();
    let containerd = containerd.clone();
    tokio::spawn(async move {
        while resume(&containerd, &frozen.record).await != Resumed::Yes {
            frozen.thaw_by_cgroup();
            tokio::time::sleep(RETRY).await;
        }
        frozen.finish();
    });
}

/// What came of asking containerd to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resumed {
    /// The container runs, or is gone, and containerd believes so too.
    Yes,
    /// containerd would not.
    Refused,
    /// containerd is away.
    Unanswered,
}

async fn resume(containerd: &Containerd, record: &PauseRecord) -> Resumed {
    let Ok(namespace) = record.namespace().parse::<Namespace>() else {
        return Resumed::Yes;
    };
    match containerd.resume(&namespace, record.container()).await {
        Ok(()) => return Resumed::Yes,
        Err(fault) if fault.is_silence() => return Resumed::Unanswered,
        Err(_) => {}
    }
    match containerd
        .task_at_once(&namespace, record.container())
        .await
    {
        Ok(Some(task)) if task.status == TaskStatus::Paused => {}
        Ok(_) => return Resumed::Yes,
        Err(_) => return Resumed::Unanswered,
    }
    // The shim refuses to resume what it finds thawed already, and would call it paused for ever.
    record.refreeze();
    match containerd.resume(&namespace, record.container()).await {
        Ok(()) => Resumed::Yes,
        Err(_) => Resumed::Refused,
    }
}

/// Thaws once more what was thawed while CRIU worked on it: CRIU leaves it as it has found it.
async fn thaw_behind_criu(record: &PauseRecord, limit: Duration) {
    let Some(folder) = record.works_in() else {
        return;
    };
    if !strays::gone(folder, limit).await {
        warn!(
            container = record.container(),
            "CRIU still works on a container that is thawed"
        );
    }
    if let Err(error) = record.thaw() {
        let error: &dyn std::error::Error = &error;
        warn!(
            container = record.container(),
            error, "Cannot write the container's freezer"
        );
    }
}

/// A container that stands still and its record. Should the runtime end before the keeper has thawed, the freezer
/// is written on the way out; the record stays for the next start.
#[derive(Debug)]
struct Frozen {
    record: PauseRecord,
    is_thawed: bool,
}

impl Frozen {
    fn thaw_by_cgroup(&self) {
        if let Err(error) = self.record.thaw() {
            let error: &dyn std::error::Error = &error;
            warn!(
                container = self.record.container(),
                error, "Cannot write the container's freezer"
            );
        }
    }

    /// True once no CRIU works on the container, or never did.
    async fn is_criu_gone(&self, limit: Duration) -> bool {
        match self.record.works_in() {
            Some(folder) => strays::gone(folder, limit).await,
            None => true,
        }
    }

    fn finish(mut self) {
        self.is_thawed = true;
        if let Err(error) = self.record.remove() {
            let error: &dyn std::error::Error = &error;
            warn!(
                container = self.record.container(),
                error, "Cannot remove the record of a pause"
            );
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.is_thawed {
            self.thaw_by_cgroup();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::fixture;

    /// CRIU had more to write than a start waits for: the container was thawed under it, CRIU froze it again at its end, and nobody
    /// thawed it any more.
    #[tokio::test]
    async fn a_container_that_criu_freezes_at_its_end_is_thawed_after_a_start_that_did_not_wait() {
        let (host, folder) = fixture::host(|_| {});
        let (cgroup, images) = (
            folder.path().join("cgroup"),
            host.config.state.join("memory/images"),
        );
        for made in [&cgroup, &images, &host.config.state.join("pauses")] {
            fs::create_dir_all(made).unwrap();
        }
        let freezer = cgroup.join("cgroup.freeze");
        let is = |word: &str| fs::read_to_string(&freezer).unwrap() == word;
        // A namespace that is none: its container is gone, as far as containerd is asked.
        let record = serde_json::json!({
            "namespace": "-", "container": "web", "pid": 1, "freezer": { "v2": cgroup }, "works_in": images,
        });
        let path = host.config.state.join("pauses/-:web.json");
        fs::write(&path, record.to_string()).unwrap();
        fs::write(&freezer, "1").unwrap();
        let mut criu = Command::new("cat")
            .current_dir(&images)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let written = thaw_leftovers_within(&host, Duration::ZERO).await.unwrap();
        assert_eq!(written, std::slice::from_ref(&images));
        assert!(is("0") && path.exists() && images.exists());
        fs::write(&freezer, "1").unwrap();
        drop(criu.stdin.take());
        criu.wait().unwrap();
        while !is("0") || path.exists() || images.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
