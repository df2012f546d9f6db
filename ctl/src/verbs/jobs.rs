//! `jobs`: long work, whoever started it.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use snap_api::{JobRequest, JobState, JobView, JobWaitRequest, ListRequest, RetryView};

use crate::{
    failure::Failure,
    follow,
    screen::{Form, JsonArray, facts, table},
    session::{Session, answer},
    verbs::outcome,
    words::{clean, moment, relative, wire_word},
};

/// Lists, follows and cancels jobs.
///
/// Creating, restoring, copying, verifying, collecting, repairing and adding up are jobs of the daemon: they go on whatever becomes of the
/// command that started them. Without a verb the jobs are listed, newest first. The daemon remembers jobs for a while after their end, but not
/// beyond its own; a snapshot's state in `snapctl list` stays.
///
/// What fails for a reason that passes, because containerd does not answer for example, is tried again: DETAIL says which attempt comes, and when.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl jobs
  snapctl jobs show 7c1e
  snapctl jobs wait 7c1e
  snapctl jobs cancel 7c1e")]
pub(crate) struct JobsArgs {
    #[command(subcommand)]
    verb: Option<JobsVerb>,
}

#[derive(Debug, Subcommand)]
enum JobsVerb {
    #[command(visible_alias = "ls")]
    List(JobsListArgs),
    #[command(visible_alias = "follow")]
    Wait(JobsWaitArgs),
    Show(JobsShowArgs),
    Cancel(JobsCancelArgs),
}

/// Lists the jobs the daemon remembers, newest first.
#[derive(Debug, Default, Args)]
#[command(after_long_help = "Examples:
  snapctl jobs list -A
  snapctl jobs list -o json | jq '.[] | select(.state == \"running\").job'

With --quiet it prints ids alone; with --output json an array of jobs.")]
struct JobsListArgs {
    /// The jobs of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Waits for a job's end and shows what came of it.
///
/// The output and the exit code are those of the verb that started it; with --output json it is the whole job. Ctrl-C leaves
/// the job alone.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  id=$(snapctl create web --detach -q) && snapctl jobs wait $id")]
struct JobsWaitArgs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
}

/// Shows a job as it stands, without waiting.
///
/// With --output json it is the whole job, whatever became of it; the exit code is 0 in any case.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl jobs show 7c1e0a4c7c51a0b2
  snapctl jobs show 7c1e0a4c7c51a0b2 -o json | jq .retry")]
struct JobsShowArgs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
}

/// Asks a job to stop; what it had half done is undone.
///
/// The answer does not wait for its end: `snapctl jobs wait` does.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl jobs cancel 7c1e0a4c7c51a0b2")]
struct JobsCancelArgs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs `jobs`.
pub(crate) async fn jobs(session: &Session, args: JobsArgs) -> Result<(), Failure> {
    match args.verb {
        None => list(session, JobsListArgs::default()).await,
        Some(JobsVerb::List(args)) => list(session, args).await,
        Some(JobsVerb::Wait(args)) => wait(session, &args.id).await,
        Some(JobsVerb::Show(args)) => show(session, args.id).await,
        Some(JobsVerb::Cancel(args)) => cancel(session, args.id).await,
    }
}

async fn list(session: &Session, args: JobsListArgs) -> Result<(), Failure> {
    let jobs = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                limit: 0,
                ..ListRequest::default()
            };
            answer(session.client.job_list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => jobs.iter().try_for_each(|job| screen.line(&job.job)),
        Form::Table => screen.text(&render(&jobs, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            jobs.iter().try_for_each(|job| array.push(job))?;
            array.finish()
        }
    }
}

async fn wait(session: &Session, id: &str) -> Result<(), Failure> {
    let job = follow::wait(session, id).await?;
    if session.screen.form() == Form::Json {
        session.screen.json(&job)?;
        return match job.error {
            Some(error) => Err(Failure::Found(error.code)),
            None => Ok(()),
        };
    }
    outcome::show(&session.screen, &follow::outcome(job)?)
}

async fn show(session: &Session, id: String) -> Result<(), Failure> {
    let request = JobWaitRequest {
        job: id,
        since_seq: 0,
        max_wait_ms: 0,
    };
    let job = answer(session.client.job_wait(session.soon(), request).await)?;
    session
        .screen
        .show(&job, &[&job.job], || render_one(&job, SystemTime::now()))
}

fn render_one(job: &JobView, now: SystemTime) -> String {
    let mut lines = vec![
        ("Job", job.job.clone()),
        ("Kind", job.kind.clone()),
        ("Namespace", job.namespace.clone()),
        ("Subject", clean(&job.subject)),
        ("State", wire_word(job.state)),
        ("Started", moment(&job.started_at, now)),
    ];
    if let Some(at) = &job.ended_at {
        lines.push(("Ended", moment(at, now)));
    }
    lines.push(("Progress", follow::describe(&job.progress)));
    if let Some(retry) = &job.retry {
        lines.push((
            "Attempt",
            format!("{} of {}", retry.attempt, retry.max_attempts),
        ));
        lines.push(("Failed before", clean(&retry.reason)));
    }
    if let Some(at) = job.retry.as_ref().and_then(|retry| retry.next_at.as_ref()) {
        lines.push(("Next", moment(at, now)));
    }
    if let Some(error) = &job.error {
        lines.push(("Error", clean(&error.message)));
    }
    facts(&lines)
}

/// Which attempt it is, in a few words.
fn attempt(retry: &RetryView, now: SystemTime) -> String {
    let RetryView {
        attempt,
        max_attempts,
        reason,
        next_at,
    } = retry;
    let when = next_at
        .as_ref()
        .map_or_else(|| "now".to_owned(), |at| relative(at, now));
    format!(
        "attempt {attempt} of {max_attempts} {when}, before: {}",
        clean(reason)
    )
}

async fn cancel(session: &Session, id: String) -> Result<(), Failure> {
    let request = JobRequest { job: id };
    let job = answer(session.client.job_cancel(session.soon(), request).await)?;
    session.screen.show(&job, &[&job.job], || {
        let said = match job.state {
            JobState::Running => "asked to stop",
            JobState::Done | JobState::Failed => "had ended already",
        };
        facts(&[("Job", job.job.clone()), ("State", said.to_owned())])
    })
}

fn render(jobs: &[JobView], now: SystemTime) -> String {
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let detail = match (&job.error, job.state, &job.retry) {
                (Some(error), _, _) => error.message.clone(),
                (None, JobState::Running, Some(retry)) => attempt(retry, now),
                (None, JobState::Running, None) => follow::describe(&job.progress),
                (None, _, _) => String::new(),
            };
            vec![
                job.job.clone(),
                job.kind.clone(),
                job.subject.clone(),
                wire_word(job.state),
                relative(&job.started_at, now),
                detail,
            ]
        })
        .collect();
    table(
        &["JOB", "KIND", "SUBJECT", "STATE", "STARTED", "DETAIL"],
        &rows,
        &[],
    )
}
