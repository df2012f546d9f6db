use std::sync::atomic::{AtomicU64, Ordering};

use snap_api::Copied;
use snap_store::Progress;
use tokio::sync::oneshot;

use super::*;
use crate::Error;

const LONG: Duration = Duration::from_secs(20);

fn request(kind: JobKind, key: Option<&str>) -> JobRequest {
    JobRequest {
        kind,
        namespace: "default".parse().unwrap(),
        subject: "web".to_owned(),
        snapshot: None,
        key: key.map(str::to_owned),
    }
}

fn outcome() -> JobOutcome {
    JobOutcome::Copied(Copied { files: 1, bytes: 2 })
}

/// Starts a job that ends when the returned sender sends or is dropped.
fn start_held(jobs: &Jobs, kind: JobKind) -> (String, oneshot::Sender<()>) {
    let (release, held) = oneshot::channel::<()>();
    let work = move |_| async move {
        let _ = held.await;
        Ok(outcome())
    };
    (jobs.start(request(kind, None), work).unwrap().job, release)
}

async fn end(jobs: &Jobs, id: &str) -> JobView {
    let mut view = jobs.view(id).unwrap();
    while view.state == JobState::Running {
        view = jobs.wait(id, view.seq, LONG).await.unwrap();
    }
    view
}

#[tokio::test]
async fn a_job_ends_with_its_outcome() {
    let jobs = Jobs::new(2, 16, Events::default());
    let (id, release) = start_held(&jobs, JobKind::Copy);
    assert_eq!(jobs.view(&id).unwrap().state, JobState::Running);
    assert_eq!(jobs.running(), 1);
    release.send(()).unwrap();
    let view = end(&jobs, &id).await;
    assert_eq!(view.state, JobState::Done);
    assert!(matches!(view.outcome, Some(JobOutcome::Copied(_))));
    assert!(view.ended_at.is_some() && view.error.is_none());
    assert_eq!(jobs.running(), 0);
}

#[tokio::test]
async fn a_panic_fails_the_job_and_nothing_else() {
    let jobs = Jobs::new(1, 1, Events::default());
    let work = |_| async { panic!("on purpose") };
    let id = jobs
        .start(request(JobKind::Create, None), work)
        .unwrap()
        .job;
    let view = end(&jobs, &id).await;
    assert_eq!(view.error.unwrap().code, ErrorCode::Internal);
    let (next, release) = start_held(&jobs, JobKind::Create);
    release.send(()).unwrap();
    assert_eq!(end(&jobs, &next).await.state, JobState::Done);
}

#[tokio::test]
async fn captures_beyond_the_limit_wait_for_their_turn() {
    let jobs = Jobs::new(1, 1, Events::default());
    let (first, release_first) = start_held(&jobs, JobKind::Create);
    jobs.wait(&first, 1, LONG).await.unwrap();
    let (second, release_second) = start_held(&jobs, JobKind::Create);
    let view = jobs.wait(&second, 1, LONG).await.unwrap();
    assert_eq!(view.progress.phase, "waiting");
    let (other, release_other) = start_held(&jobs, JobKind::Restore);
    let view = jobs.wait(&other, 1, LONG).await.unwrap();
    assert_eq!(view.progress.phase, "starting");
    drop((release_first, release_second, release_other));
    assert_eq!(end(&jobs, &second).await.state, JobState::Done);
}

#[tokio::test]
async fn a_cancelled_job_ends_cancelled_also_while_it_waits() {
    let jobs = Jobs::new(1, 1, Events::default());
    let (_first, _held) = start_held(&jobs, JobKind::Create);
    let (waiting, _never) = start_held(&jobs, JobKind::Create);
    tokio::time::sleep(Duration::from_millis(20)).await;
    jobs.cancel(&waiting).unwrap();
    assert_eq!(
        end(&jobs, &waiting).await.error.unwrap().code,
        ErrorCode::Cancelled
    );
    let work = |job: JobHandle| async move {
        job.cancelled().await;
        assert!(job.is_cancelled());
        Err(Error::from(snap_store::Error::Cancelled))
    };
    let id = jobs
        .start(request(JobKind::Verify, None), work)
        .unwrap()
        .job;
    jobs.cancel(&id).unwrap();
    assert_eq!(
        end(&jobs, &id).await.error.unwrap().code,
        ErrorCode::Cancelled
    );
}

#[tokio::test]
async fn the_same_key_is_the_same_job() {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let jobs = Jobs::new(1, 1, Events::default());
    let start = |key| {
        let work = |_| async {
            STARTED.fetch_add(1, Ordering::Relaxed);
            Ok(outcome())
        };
        jobs.start(request(JobKind::Copy, key), work).unwrap().job
    };
    let first = start(Some("a"));
    end(&jobs, &first).await;
    assert_eq!(start(Some("a")), first);
    assert_eq!(jobs.by_key(Some("a")).unwrap().job, first);
    let others = [start(Some("b")), start(None), start(None)];
    for other in &others {
        assert_ne!(*other, first);
        end(&jobs, other).await;
    }
    assert_eq!(STARTED.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn waiting_ends_at_its_limit_and_sees_numbers_move() {
    let jobs = Jobs::new(1, 1, Events::default());
    let work = |job: JobHandle| async move {
        job.phase("reading");
        tokio::time::sleep(Duration::from_millis(300)).await;
        job.expect_bytes(10);
        job.advance(1, 5);
        job.cancelled().await;
        Ok(outcome())
    };
    let id = jobs
        .start(request(JobKind::Create, None), work)
        .unwrap()
        .job;
    let mut view = jobs.wait(&id, 1, LONG).await.unwrap();
    while view.progress.phase != "reading" {
        view = jobs.wait(&id, view.seq, LONG).await.unwrap();
    }
    let still = jobs
        .wait(&id, view.seq, Duration::from_millis(30))
        .await
        .unwrap();
    assert_eq!(still.seq, view.seq);
    let moved = jobs.wait(&id, view.seq, LONG).await.unwrap();
    assert_eq!(
        (moved.progress.bytes, moved.progress.total_bytes),
        (5, Some(10))
    );
    jobs.cancel(&id).unwrap();
}

#[tokio::test]
async fn a_stopping_daemon_cancels_jobs_and_takes_no_new_ones() {
    let jobs = Jobs::new(1, 1, Events::default());
    let work = |job: JobHandle| async move {
        job.cancelled().await;
        Err(Error::from(snap_store::Error::Cancelled))
    };
    let id = jobs
        .start(request(JobKind::Restore, None), work)
        .unwrap()
        .job;
    jobs.shut_down(LONG).await;
    assert_eq!(jobs.view(&id).unwrap().state, JobState::Failed);
    let refused = jobs.start(request(JobKind::Copy, None), |_| async { Ok(outcome()) });
    assert_eq!(ErrorReport::from(refused.unwrap_err()).reason, "stopping");
}

#[tokio::test]
async fn listings_are_newest_first_and_by_namespace() {
    let jobs = Jobs::new(1, 1, Events::default());
    let ids: Vec<String> = (0..5).map(|_| start_held(&jobs, JobKind::Copy).0).collect();
    let page = jobs.list(None, None, 3);
    let rest = jobs.list(None, Some(page[2].0), 3);
    let listed: Vec<&str> = page
        .iter()
        .chain(&rest)
        .map(|(_, view)| &*view.job)
        .collect();
    let newest_first: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    assert_eq!(listed, newest_first);
    assert!(
        jobs.list(Some(&"other".parse().unwrap()), None, 3)
            .is_empty()
    );
}

/// **J3** The end of a job is remembered for a day, a thousand ends at most, and not beyond the daemon's own end.
#[test]
fn ended_jobs_are_forgotten_after_a_day_or_beyond_a_thousand() {
    let mut table = Table::default();
    let ended = |at| End {
        at,
        result: Ok(outcome()),
    };
    let running = table.add(request(JobKind::Copy, None), 0);
    let old = table.add(request(JobKind::Copy, Some("key")), 0);
    old.finish(ended(0));
    for _ in 0..1100 {
        table
            .add(request(JobKind::Copy, None), 90_000)
            .finish(ended(90_000));
    }
    table.prune(90_000);
    assert!(table.by_id(&old.id).is_none() && table.by_key("key").is_none());
    assert!(table.by_id(&running.id).is_some());
    assert_eq!(table.list(None, None, 5000).len(), 1001);
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let jobs = Jobs::new(1, 1, Events::default());
    let error = ErrorReport::from(jobs.wait("nope", 0, LONG).await.unwrap_err());
    assert_eq!(
        (error.code, &*error.reason),
        (ErrorCode::NotFound, "job-not-found")
    );
}
