//! Regular work: when it is due next, and why it came to nothing last time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock,
    error::{Result, in_full},
};

/// One kind of regular work, for those who ask how it is.
#[derive(Debug, Default)]
pub struct Due {
    /// Seconds since 1970; 0 while it is not known.
    next: AtomicI64,
    failure: Mutex<Option<String>>,
}

/// Everything the daemon does again and again.
#[derive(Debug, Default)]
pub struct Dues {
    /// Looking for expired snapshots.
    pub expiry: Due,
    /// Copying the catalogue.
    pub backup: Due,
    /// Collecting what no snapshot needs.
    pub collection: Due,
}

impl Due {
    /// When it is done next, in seconds since 1970.
    #[must_use]
    pub fn next(&self) -> Option<i64> {
        Some(self.next.load(Ordering::Relaxed)).filter(|next| *next != 0)
    }

    /// Why it came to nothing last time.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Notes how it ended.
    pub fn ended<T>(&self, result: &Result<T>) {
        *self.lock() = result.as_ref().err().map(|error| in_full(error));
    }

    /// Says when it is done next: after `wait`, or never.
    pub fn expect_in(&self, wait: Option<Duration>) {
        let next = wait.map_or(0, |wait| {
            clock::now().saturating_add_unsigned(wait.as_secs())
        });
        self.next.store(next, Ordering::Relaxed);
    }

    /// Waits for `wait`, and says so.
    pub async fn wait(&self, wait: Duration) {
        self.expect_in(Some(wait));
        tokio::time::sleep(wait).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait after a start for what was done at `last` and is done every `interval`; `first` when it is overdue, was
/// never done, or was done in what is now the future.
#[must_use]
pub fn first_wait(last: Option<i64>, interval: Duration, first: Duration) -> Duration {
    let age = last.and_then(|last| u64::try_from(clock::now().saturating_sub(last)).ok());
    let left = age.map_or(Duration::ZERO, |age| {
        interval.saturating_sub(Duration::from_secs(age))
    });
    left.max(first.min(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn work_goes_on_in_its_rhythm_after_a_restart() {
        let ago = |seconds| Some(clock::now() - seconds);
        let left = first_wait(ago(1800), HOUR, SOON);
        assert!(left <= HOUR / 2 && left > HOUR / 3, "{left:?}");
        for overdue in [None, ago(7200), ago(-7200), Some(i64::MIN), Some(i64::MAX)] {
            assert_eq!(first_wait(overdue, HOUR, SOON), SOON);
        }
        let short = Duration::from_secs(1);
        assert_eq!(first_wait(ago(5), short, SOON), short);
    }

    #[tokio::test]
    async fn a_failure_is_remembered_until_it_goes_well() {
        let due = Due::default();
        assert_eq!((due.next(), due.failure()), (None, None));
        let failed = std::fs::read("/no/such").map_err(crate::Error::io("read", "/no/such"));
        due.ended(&failed);
        assert!(
            due.failure()
                .is_some_and(|why| why.contains("No such file"))
        );
        due.ended(&Ok(()));
        assert_eq!(due.failure(), None);
        due.wait(Duration::from_millis(1)).await;
        assert!(due.next().is_some());
    }
}
