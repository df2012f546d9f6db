//! Long work: start it, show how far it is, and let Ctrl-C end it.

use std::{
    future::Future,
    io::{IsTerminal, stderr},
    pin::pin,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use snap_api::{
    Client, ErrorCode, ErrorReport, JobOutcome, JobOutputRequest, JobRequest, JobStarted, JobState,
    JobView, JobWaitRequest, MAX_WAIT_MS, ProgressView,
};
use tarpc::client::RpcError;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    failure::Failure,
    screen::{Form, note},
    session::{Session, answer},
    words::{clean, size},
};

/// How much longer than the wait it asks for a `job_wait` call may take.
const WAIT_MARGIN: Duration = Duration::from_secs(30);
/// The longest look at a job.
const LONGEST_WAIT: Duration = Duration::from_millis(MAX_WAIT_MS);
/// No change is newer than this: who waits for one waits for the end.
const NOTHING_NEWER: u64 = u64::MAX;
/// Pauses between two looks, so that a job that reports often does not keep both sides busy. A pause is a look for the end alone, so that
/// nobody sleeps through it.
const FIRST_PACE: Duration = Duration::from_millis(5);
const SLOWEST_PACE: Duration = Duration::from_millis(100);

/// What Ctrl-C does while a job is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// Cancels the job; a second one leaves at once.
    Cancel,
    /// Leaves; the job goes on.
    Leave,
}

/// Whether what a job prints is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    Silent,
    Aloud,
}

/// What became of a job that was started.
#[derive(Debug)]
pub(crate) enum Followed {
    /// Nobody waits for it.
    Detached(JobStarted),
    /// It ended well.
    Ended(JobOutcome),
}

/// Whether the caller waits for the job's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Yes.
    Wait,
    /// No; the job is left to itself.
    Detach,
}

impl From<bool> for Waiting {
    fn from(detach: bool) -> Self {
        if detach { Self::Detach } else { Self::Wait }
    }
}

/// The presses of Ctrl-C, from the moment this is made.
#[derive(Debug)]
struct Interrupts(Signal);

impl Interrupts {
    fn listen() -> Result<Self, Failure> {
        signal(SignalKind::interrupt()).map(Self).map_err(|error| {
            ErrorReport::new(ErrorCode::Internal, "signals", "Cannot listen for Ctrl-C")
                .caused_by(&error)
                .into()
        })
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Starts a job with the call `start` and follows it to its end, unless it is detached.
pub(crate) async fn run(
    session: &Session,
    waiting: Waiting,
    start: impl Future<Output = Result<Result<JobStarted, ErrorReport>, RpcError>>,
) -> Result<Followed, Failure> {
    run_with(session, waiting, Voice::Silent, start).await
}

/// The same, with what the job prints on stderr.
pub(crate) async fn run_aloud(
    session: &Session,
    waiting: Waiting,
    start: impl Future<Output = Result<Result<JobStarted, ErrorReport>, RpcError>>,
) -> Result<Followed, Failure> {
    run_with(session, waiting, Voice::Aloud, start).await
}

async fn run_with(
    session: &Session,
    waiting: Waiting,
    voice: Voice,
    start: impl Future<Output = Result<Result<JobStarted, ErrorReport>, RpcError>>,
) -> Result<Followed, Failure> {
    if waiting == Waiting::Detach {
        return answer(start.await).map(Followed::Detached);
    }
    let mut interrupts = Interrupts::listen()?;
    let mut start = pin!(start);
    let (called, cancel) = tokio::select! {
        called = &mut start => (called, false),
        () = interrupts.next() => {
            note("Cancelling as soon as the daemon has answered; Ctrl-C again leaves at once");
            tokio::select! {
                called = &mut start => (called, true),
                () = interrupts.next() => return Err(left("the job, if it was started")),
            }
        }
    };
    let job = answer(called)?.job;
    if cancel {
        cancel_job(session, &job).await?;
    }
    let how = (OnInterrupt::Cancel, voice);
    let ended = follow(session, &job, how, &mut interrupts).await?;
    outcome(ended).map(Followed::Ended)
}

/// Waits for the end of a job somebody started.
pub(crate) async fn wait(session: &Session, job: &str) -> Result<JobView, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let how = (OnInterrupt::Leave, Voice::Silent);
    follow(session, job, how, &mut interrupts).await
}

/// What came of a job that has ended.
pub(crate) fn outcome(job: JobView) -> Result<JobOutcome, Failure> {
    if let Some(error) = job.error {
        return Err(error.into());
    }
    job.outcome.ok_or_else(|| {
        let message = format!("Job {} ended without saying what came of it", job.job);
        ErrorReport::new(ErrorCode::Internal, "no-outcome", message).into()
    })
}

async fn follow(
    session: &Session,
    job: &str,
    (on_interrupt, voice): (OnInterrupt, Voice),
    interrupts: &mut Interrupts,
) -> Result<JobView, Failure> {
    let bar = Bar::new(session.screen.form());
    let mut watch = pin!(watch(session, job, voice, &bar));
    tokio::select! {
        ended = &mut watch => return ended,
        () = interrupts.next() => {}
    }
    if on_interrupt == OnInterrupt::Leave {
        return Err(left(job));
    }
    bar.say(&format!(
        "Cancelling job {}; Ctrl-C again leaves at once",
        clean(job)
    ));
    let cancelled = async {
        cancel_job(session, job).await?;
        watch.await
    };
    tokio::select! {
        ended = cancelled => ended,
        () = interrupts.next() => Err(left(job)),
    }
}

async fn cancel_job(session: &Session, job: &str) -> Result<(), Failure> {
    let request = JobRequest {
        job: job.to_owned(),
    };
    answer(session.client.job_cancel(session.soon(), request).await).map(drop)
}

/// Passes on what the job has printed behind `offset`; returns where to go on.
async fn tell_output(
    session: &Session,
    job: &str,
    mut offset: u64,
    bar: &Bar,
) -> Result<u64, Failure> {
    loop {
        let request = JobOutputRequest {
            job: job.to_owned(),
            offset,
        };
        let output = answer(session.client.job_output(session.soon(), request).await)?;
        if output.next == offset {
            return Ok(offset);
        }
        if output.missed {
            bar.say("…");
        }
        output.text.lines().for_each(|line| bar.say(&clean(line)));
        offset = output.next;
    }
}

async fn watch(session: &Session, job: &str, voice: Voice, bar: &Bar) -> Result<JobView, Failure> {
    let (mut since_seq, mut max_wait, mut told) = (0, LONGEST_WAIT, 0);
    let mut pace = FIRST_PACE;
    loop {
        let view = look(session, job, since_seq, max_wait).await?;
        if voice == Voice::Aloud && session.screen.form() != Form::Quiet {
            told = tell_output(session, job, told, bar).await?;
        }
        if view.state != JobState::Running {
            return Ok(view);
        }
        bar.update(&view.progress);
        if since_seq == NOTHING_NEWER {
            (since_seq, max_wait) = (view.seq, LONGEST_WAIT);
        } else {
            (since_seq, max_wait) = (NOTHING_NEWER, pace);
            pace = (pace * 2).min(SLOWEST_PACE);
        }
    }
}

/// The job as it stands, as soon as it has something newer than `since_seq`, has ended, or `max_wait` is over.
async fn look(
    session: &Session,
    job: &str,
    since_seq: u64,
    max_wait: Duration,
) -> Result<JobView, Failure> {
    let request = JobWaitRequest {
        job: job.to_owned(),
        since_seq,
        max_wait_ms: u64::try_from(max_wait.as_millis()).unwrap_or(MAX_WAIT_MS),
    };
    let limit = Client::within(max_wait + WAIT_MARGIN);
    match session.client.job_wait(limit, request).await {
        Ok(view) => Ok(view?),
        Err(error) => Err(lost(job, &error)),
    }
}

fn lost(job: &str, error: &RpcError) -> Failure {
    let hint = format!(
        "job {job} goes on without this command as long as the daemon runs; `snapctl jobs wait {job}` follows it"
    );
    Failure::call(error, &hint)
}

fn left(job: &str) -> Failure {
    ErrorReport::new(
        ErrorCode::Cancelled,
        "left",
        "Left before the end of the job",
    )
    .hint(format!(
        "`snapctl jobs` shows what became of {job}; `snapctl jobs cancel ID` stops it"
    ))
    .into()
}

/// A progress bar on a terminal, and nothing anywhere else.
#[derive(Debug)]
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(form: Form) -> Self {
        let is_wanted = form != Form::Quiet && stderr().is_terminal();
        Self(is_wanted.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {msg}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        }))
    }

    fn update(&self, progress: &ProgressView) {
        let Some(bar) = &self.0 else { return };
        if let Some(total) = progress.total_bytes.filter(|&total| total > 0) {
            bar.set_style(style("{spinner} [{bar:30}] {percent}% {msg}"));
            bar.set_length(total);
            bar.set_position(progress.bytes.min(total));
        }
        bar.set_message(describe(progress));
    }

    fn say(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.println(line),
            None => note(line),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// How far a job is, in one line.
pub(crate) fn describe(progress: &ProgressView) -> String {
    let done = match progress.total_bytes {
        Some(total) => format!("{} of {}", size(progress.bytes), size(total)),
        None => size(progress.bytes),
    };
    let files = if progress.files == 1 { "file" } else { "files" };
    let phase = clean(&progress.phase);
    format!("{phase}: {} {files}, {done}", progress.files)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates in this file are well-formed")
}
