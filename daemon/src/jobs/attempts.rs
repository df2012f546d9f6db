//! Work that is tried again when it has failed for a passing reason: containerd or a shim does not answer, or something is busy. A
//! full disk, a conflict or a limit does not pass by itself.

use std::{io, time::Duration};

use snap_api::{ErrorCode, RetryView};
use snap_store::{Error as StoreError, Progress};
use tracing::warn;

use super::JobHandle;
use crate::{
    clock,
    containerd::Fault,
    error::{Error, Result, in_full},
};

/// Attempts of one job.
pub(crate) const MAX_ATTEMPTS: u32 = 6;
/// How long after the first failure it is tried again; twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Does `attempt` until it succeeds, fails for good, or has failed often enough. What an attempt has half done it undoes itself.
///
/// # Errors
/// That of the last attempt; `Cancelled` when the job is cancelled while it waits.
pub(crate) async fn persistently<T, F>(job: &JobHandle, attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    repeat(job, wait_after, attempt).await
}

async fn repeat<T, F>(
    job: &JobHandle,
    wait_after: fn(u32) -> Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut number = 1;
    loop {
        let error = match attempt().await {
            Err(error) if number < MAX_ATTEMPTS && is_passing(&error) && !job.is_cancelled() => {
                error
            }
            done => return done,
        };
        let (wait, reason) = (wait_after(number), in_full(&error));
        warn!(
            attempt = number,
            reason,
            wait_ms = wait.as_millis(),
            "An attempt has failed for a passing reason"
        );
        number += 1;
        job.set_retry(Some(RetryView {
            attempt: number,
            max_attempts: MAX_ATTEMPTS,
            reason: reason.clone(),
            next_at: Some(clock::rfc3339(
                clock::now().saturating_add_unsigned(wait.as_secs()),
            )),
        }));
        job.phase("waiting to try again");
        tokio::select! {
            () = job.cancelled() => return Err(StoreError::Cancelled.into()),
            () = tokio::time::sleep(wait) => {}
        }
        job.set_retry(Some(RetryView {
            attempt: number,
            max_attempts: MAX_ATTEMPTS,
            reason,
            next_at: None,
        }));
    }
}

fn wait_after(attempt: u32) -> Duration {
    let doublings = 2_u32.saturating_pow(attempt.saturating_sub(1));
    FIRST_WAIT.saturating_mul(doublings).min(LONGEST_WAIT)
}

/// True when the same may succeed a little later with nobody's help.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Report(report) => {
            report.code == ErrorCode::Unavailable && Fault::SILENCE.contains(&&*report.reason)
        }
        Error::Store(StoreError::Io { source, .. }) | Error::Io { source, .. } => is_busy(source),
        Error::Store(error) => error.is_busy_database(),
    }
}

fn is_busy(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, ResourceBusy, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        Interrupted | ResourceBusy | TimedOut | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use snap_api::ErrorReport;

    use super::*;

    fn at_once(_: u32) -> Duration {
        Duration::ZERO
    }

    fn away() -> Error {
        Fault::Unavailable {
            path: "/run/c.sock".into(),
            why: "Connection refused".to_owned(),
        }
        .into()
    }

    /// **I12** A create, and a restore that has made nothing yet, that fail because containerd does not answer or something is busy are tried again,
    /// after two seconds, then after twice as long each time and half a minute at most, six times in all. `snapctl jobs` says which attempt it is,
    /// why the last one has failed and when the next begins. Anything else ends them at once.
    #[tokio::test]
    async fn what_passes_is_tried_again_a_few_times() {
        let waits: Vec<u64> = (1..MAX_ATTEMPTS)
            .map(|number| wait_after(number).as_secs())
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 30]);
        let job = JobHandle::new();
        let mut seen = Vec::new();
        let ended: Result<()> = repeat(&job, at_once, || {
            seen.push(job.retry().map(|it| it.attempt));
            async { Err(away()) }
        })
        .await;
        ended.unwrap_err();
        assert_eq!(seen, [None, Some(2), Some(3), Some(4), Some(5), Some(6)]);
        let mut attempts = 0;
        let done = repeat(&job, at_once, || {
            attempts += 1;
            let is_enough = attempts == 3;
            async move { is_enough.then_some(7).ok_or_else(away) }
        });
        assert_eq!(done.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_does_not_pass_and_what_is_cancelled_ends() {
        let job = JobHandle::new();
        let mut attempts = 0;
        let full = || Error::io("write", "/x")(io::Error::from_raw_os_error(28));
        let ended: Result<()> = persistently(&job, || {
            attempts += 1;
            async { Err(full()) }
        })
        .await;
        assert!(ended.is_err() && attempts == 1);
        let busy = Error::io("open", "/x")(io::Error::from_raw_os_error(16));
        assert!(is_passing(&busy) && is_passing(&away()));
        let conflict = ErrorReport::new(ErrorCode::Conflict, "not-running", "It does not run");
        assert!(!is_passing(&conflict.into()));
        let waiting = job.clone();
        let cancelled =
            tokio::spawn(
                async move { persistently(&waiting, || async { Err::<(), _>(away()) }).await },
            );
        while job.retry().is_none() {
            tokio::task::yield_now().await;
        }
        job.cancel();
        let error = cancelled.await.unwrap().unwrap_err();
        assert!(
            matches!(error, Error::Store(StoreError::Cancelled)),
            "{error}"
        );
    }
}
