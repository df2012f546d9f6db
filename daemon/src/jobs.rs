//! Jobs: long work that goes on whatever becomes of the client that asked for it.
//!
//! A job is a task of its own. It waits for its turn in the lane of its kind, reports through a [`JobHandle`]
//! and ends with an outcome or an error; a panic ends it with an error too. Ended jobs are remembered for a
//! day, a thousand at most, in memory alone: what a job leaves half done in the store is settled at the next
//! start, not by its job.

mod attempts;
mod handle;
mod table;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use snap_api::{
    ErrorCode, ErrorReport, JobOutcome, JobOutput, JobStarted, JobState, JobView, MAX_WAIT_MS,
};
use snap_store::{Namespace, Progress, SnapshotId};
use tokio::{sync::Semaphore, task::JoinError};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info, info_span, warn};

pub(crate) use attempts::persistently;
pub use handle::JobHandle;
use table::{End, Job, Table};

use crate::{
    clock,
    error::Result,
    events::{Event, Events},
};

/// Copies, verifications and counts under way at once; each keeps one core and one disk busy.
const CONCURRENT_READERS: usize = 4;
/// Builds of templates under way at once; each runs what its template says.
const CONCURRENT_BUILDS: usize = 4;
/// Changes of volumes under way at once; those of one volume wait for each other.
const CONCURRENT_VOLUMES: usize = 4;
/// Jobs waiting or running at once: more than any client means to start.
const MAX_RUNNING: usize = 1000;
/// How long a waiting client is left in peace while nothing but numbers change.
const PROGRESS_GRAIN: Duration = Duration::from_millis(100);

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Captures a container or a folder.
    Create,
    /// Restores a snapshot.
    Restore,
    /// Copies a path out of a snapshot.
    Copy,
    /// Re-reads stored data.
    Verify,
    /// Gives back the space of what nothing needs.
    Collect,
    /// Mends the store.
    Repair,
    /// Adds up what snapshots need.
    Stats,
    /// Builds a template.
    Build,
    /// Changes a volume, or what a container has of one.
    Volume,
    /// Puts something of the host into a new version.
    Put,
}

impl JobKind {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Restore => "restore",
            Self::Copy => "copy",
            Self::Verify => "verify",
            Self::Collect => "collect",
            Self::Repair => "repair",
            Self::Stats => "stats",
            Self::Build => "build",
            Self::Volume => "volume",
            Self::Put => "put",
        }
    }
}

/// What is known of a job before it starts.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// What it does.
    pub kind: JobKind,
    /// In which namespace.
    pub namespace: Namespace,
    /// On what: a container, a folder or a snapshot, for people.
    pub subject: String,
    /// The snapshot being made.
    pub snapshot: Option<SnapshotId>,
    /// Two requests with the same key are one job.
    pub key: Option<String>,
}

/// The jobs of this daemon; cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    captures: Semaphore,
    restores: Semaphore,
    readers: Semaphore,
    collections: Semaphore,
    builds: Semaphore,
    volumes: Semaphore,
    events: Events,
    tasks: TaskTracker,
}

impl Jobs {
    /// No jobs yet; so many captures and restores at once. Their ends are told as events.
    #[must_use]
    pub fn new(concurrent_captures: usize, concurrent_restores: usize, events: Events) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::default(),
            captures: Semaphore::new(concurrent_captures),
            restores: Semaphore::new(concurrent_restores),
            readers: Semaphore::new(CONCURRENT_READERS),
            collections: Semaphore::new(1),
            builds: Semaphore::new(CONCURRENT_BUILDS),
            volumes: Semaphore::new(CONCURRENT_VOLUMES),
            events,
            tasks: TaskTracker::new(),
        }))
    }

    /// The job that was started with this key, if it is still remembered.
    #[must_use]
    pub fn by_key(&self, key: Option<&str>) -> Option<JobStarted> {
        let table = self.table();
        key.and_then(|key| table.by_key(key))
            .map(|job| job.started())
    }

    /// Starts `work` as a job and returns at once. With a key that is known it starts nothing.
    pub fn start<F>(
        &self,
        request: JobRequest,
        work: impl FnOnce(JobHandle) -> F + Send + 'static,
    ) -> Result<JobStarted>
    where
        F: Future<Output = Result<JobOutcome>> + Send + 'static,
    {
        let mut table = self.table();
        if let Some(job) = request.key.as_deref().and_then(|key| table.by_key(key)) {
            return Ok(job.started());
        }
        if self.0.tasks.is_closed() {
            return Err(stopping().into());
        }
        if table.running() >= MAX_RUNNING {
            return Err(too_many().into());
        }
        let job = table.add(request, clock::now());
        let started = job.started();
        let jobs = self.clone();
        let span = info_span!("job", job = %job.id);
        let run = async move { jobs.run(&job, work).await };
        self.0.tasks.spawn(run.instrument(span));
        Ok(started)
    }

    /// One job as it stands.
    pub fn view(&self, id: &str) -> Result<JobView> {
        Ok(self.job(id)?.view())
    }

    /// Waits until the job has something newer than `since_seq`, has ended, or `limit` has passed.
    pub async fn wait(&self, id: &str, since_seq: u64, limit: Duration) -> Result<JobView> {
        let job = self.job(id)?;
        let until = Instant::now() + limit.min(Duration::from_millis(MAX_WAIT_MS));
        let mut changed = job.handle.changes();
        while !job.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            let is_new = job.handle.seq() > since_seq;
            if left.is_zero() || (since_seq == 0 && is_new) {
                break;
            }
            let grain = left.min(PROGRESS_GRAIN);
            let turned = tokio::time::timeout(grain, changed.changed()).await.is_ok();
            if (turned || is_new) && job.handle.seq() > since_seq {
                break;
            }
        }
        Ok(job.view())
    }

    /// What the job has printed, from so many bytes after its beginning on.
    pub fn output(&self, id: &str, offset: u64) -> Result<JobOutput> {
        let job = self.job(id)?;
        let has_ended = job.has_ended();
        Ok(job.handle.printed(offset, has_ended))
    }

    /// Waits for the job's end, however long it takes.
    ///
    /// # Errors
    /// The job's own.
    pub async fn outcome(&self, id: &str) -> Result<JobOutcome> {
        let job = self.job(id)?;
        let mut changed = job.handle.changes();
        loop {
            if let Some(result) = job.result() {
                return Ok(result.clone()?);
            }
            // The sender lives as long as the job that is held here.
            let _ = changed.changed().await;
        }
    }

    /// Asks the job to stop. One that has ended stays as it is.
    pub fn cancel(&self, id: &str) -> Result<JobView> {
        let job = self.job(id)?;
        if !job.has_ended() {
            info!(job = %job.id, "Cancelling the job");
            job.handle.cancel();
        }
        Ok(job.view())
    }

    /// Jobs of a namespace or of all, newest first, below the number `before`, `limit` at most, each with its number.
    #[must_use]
    pub fn list(
        &self,
        namespace: Option<&Namespace>,
        before: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, JobView)> {
        let mut table = self.table();
        table.prune(clock::now());
        table.list(namespace, before, limit)
    }

    /// Jobs waiting or running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.table().running()
    }

    /// Refuses new jobs, cancels the running ones and waits until they are undone, for `limit` at most.
    pub async fn shut_down(&self, limit: Duration) {
        self.0.tasks.close();
        self.table().cancel_all();
        if tokio::time::timeout(limit, self.0.tasks.wait())
            .await
            .is_err()
        {
            let jobs = self.0.tasks.len();
            warn!(jobs, "Jobs are left for the next start to settle");
        }
    }

    async fn run<F>(&self, job: &Job, work: impl FnOnce(JobHandle) -> F)
    where
        F: Future<Output = Result<JobOutcome>> + Send + 'static,
    {
        let JobRequest {
            kind,
            namespace,
            subject,
            snapshot,
            ..
        } = &job.request;
        let kind = kind.as_str();
        info!(kind, %namespace, subject, "Started the job");
        let begun = Instant::now();
        let result = self.perform(job, work).await;
        let elapsed_ms = begun.elapsed().as_millis();
        match &result {
            Ok(_) => info!(kind, %namespace, subject, elapsed_ms, "Finished the job"),
            Err(error) if error.code == ErrorCode::Cancelled => {
                info!(kind, %namespace, subject, elapsed_ms, "Cancelled the job");
            }
            Err(error) => warn!(
                kind, %namespace, subject, elapsed_ms, reason = error.reason, %error, "The job failed"
            ),
        }
        let event = Event::new(kind, subject).of(namespace).about(*snapshot);
        let event = event.by_job(&job.id, result.as_ref().err());
        job.finish(End {
            at: clock::now(),
            result,
        });
        // Who is told of its end finds it ended.
        self.0.events.tell(event);
    }

    async fn perform<F>(
        &self,
        job: &Job,
        work: impl FnOnce(JobHandle) -> F,
    ) -> Result<JobOutcome, ErrorReport>
    where
        F: Future<Output = Result<JobOutcome>> + Send + 'static,
    {
        let lane = self.lane(job.request.kind);
        let _turn = match lane.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                job.handle.set_phase("waiting");
                tokio::select! {
                    () = job.handle.cancelled() => return Err(cancelled()),
                    turn = lane.acquire() => turn.expect("a lane is never closed"),
                }
            }
        };
        if job.handle.is_cancelled() {
            return Err(cancelled());
        }
        job.handle.set_phase("starting");
        match tokio::spawn(work(job.handle.clone()).in_current_span()).await {
            Ok(result) => result.map_err(ErrorReport::from),
            Err(panic) => Err(panicked(&panic)),
        }
    }

    fn lane(&self, kind: JobKind) -> &Semaphore {
        match kind {
            JobKind::Create | JobKind::Put => &self.0.captures,
            JobKind::Restore => &self.0.restores,
            JobKind::Copy | JobKind::Verify | JobKind::Stats => &self.0.readers,
            JobKind::Collect | JobKind::Repair => &self.0.collections,
            JobKind::Build => &self.0.builds,
            JobKind::Volume => &self.0.volumes,
        }
    }

    fn job(&self, id: &str) -> Result<Arc<Job>> {
        let missing = || {
            ErrorReport::new(
                ErrorCode::NotFound,
                "job-not-found",
                format!("Job {id} was not found"),
            )
            .hint("Jobs are remembered for a day, and not beyond a restart of snapshotd")
        };
        Ok(self.table().by_id(id).ok_or_else(missing)?)
    }

    /// The table is whole between any two statements that change it, so a panic cannot leave it half changed.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report of work that ended in a panic instead of an answer.
pub(crate) fn panicked(panic: &JoinError) -> ErrorReport {
    let message = "The operation ended unexpectedly";
    ErrorReport::new(ErrorCode::Internal, "panic", message)
        .hint("This is a defect of snapshotd; its log has the details")
        .caused_by(panic)
}

fn cancelled() -> ErrorReport {
    ErrorReport::new(ErrorCode::Cancelled, "cancelled", "Cancelled")
}

fn stopping() -> ErrorReport {
    ErrorReport::new(ErrorCode::Unavailable, "stopping", "snapshotd is stopping")
        .hint("Try again once it runs again")
}

fn too_many() -> ErrorReport {
    let message = format!("There are {MAX_RUNNING} jobs under way already");
    ErrorReport::new(ErrorCode::Limit, "too-many-jobs", message).hint("Wait until some have ended")
}
