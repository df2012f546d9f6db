//! How fast the scrub may go: so many bytes a day, evenly.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use snap_store::Progress;

const SECONDS_A_DAY: f64 = 24.0 * 60.0 * 60.0;
/// Waits shorter than this are saved up: the clock of the scheduler is no finer.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// A wait is cut into naps, so that the daemon's end need not wait for it.
const NAP: Duration = Duration::from_millis(100);

/// Ends the reading when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Stopper(Arc<AtomicBool>);

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Listens to the reading, and holds it up.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: f64,
    owed: Mutex<Duration>,
    is_stopped: Arc<AtomicBool>,
}

impl Pace {
    /// So many bytes a day, at least one.
    pub(super) fn new(bytes_per_day: u64, stopper: &Stopper) -> Self {
        Self {
            bytes_per_second: bytes_per_day.max(1) as f64 / SECONDS_A_DAY,
            owed: Mutex::default(),
            is_stopped: Arc::clone(&stopper.0),
        }
    }

    /// The wait that is due after so many bytes more.
    fn due(&self, bytes: u64) -> Duration {
        let wait = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        *owed = owed.saturating_add(wait.unwrap_or(Duration::MAX));
        match *owed >= SHORTEST_WAIT {
            true => std::mem::take(&mut owed),
            false => Duration::ZERO,
        }
    }
}

impl Progress for Pace {
    fn phase(&self, _name: &str) {}

    fn advance(&self, _files: u64, bytes: u64) {
        let mut left = self.due(bytes);
        while !left.is_zero() && !self.is_cancelled() {
            let nap = left.min(NAP);
            thread::sleep(nap);
            left -= nap;
        }
    }

    fn expect_bytes(&self, _total_bytes: u64) {}

    fn is_cancelled(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_spread_evenly_over_its_bytes() {
        let pace = Pace::new(24 * 60 * 60 * 1000, &Stopper::default());
        assert_eq!(pace.due(1), Duration::ZERO);
        assert_eq!(pace.due(499), Duration::from_millis(500));
        assert_eq!(pace.due(2000), Duration::from_secs(2));
    }

    #[test]
    fn a_stopped_one_waits_no_longer() {
        let stopper = Stopper::default();
        let pace = Pace::new(1, &stopper);
        assert!(!pace.is_cancelled());
        drop(stopper);
        pace.advance(0, u64::MAX);
        assert!(pace.is_cancelled());
    }
}
