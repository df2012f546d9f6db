//! Whether the wall clock goes as the monotonic one does. What is removed by dates is removed only while it does.
//!
//! The regular look believes the wall clock as it finds it, and then leaves one round out; whoever asks between two looks learns whether the
//! clock was set since the last.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::clock;

/// A wall clock that moved by more than this against the monotonic one has been set.
const TOLERANCE_SECONDS: u64 = 30 * 60;

/// Both clocks as they were at the last look.
#[derive(Debug)]
pub struct Steady {
    last: Mutex<Reading>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    steady: Instant,
    /// Seconds since 1970.
    wall: i64,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What the wall clock should say, in seconds since 1970.
    pub expected: i64,
    /// What it says.
    pub now: i64,
}

impl Default for Steady {
    fn default() -> Self {
        Self {
            last: Mutex::new(Reading::now()),
        }
    }
}

impl Steady {
    /// The time, in seconds since 1970; `None` when the clock was set since the last regular look.
    #[must_use]
    pub fn now(&self) -> Option<i64> {
        let look = self.lock().compare(Reading::now());
        (!look.clock_was_set()).then_some(look.now)
    }

    /// The regular look: what the clock says is believed from now on.
    pub fn look(&self) -> Look {
        let now = Reading::now();
        let mut last = self.lock();
        let look = last.compare(now);
        *last = now;
        look
    }

    /// As if the clock had been set by so many seconds since the last look.
    #[cfg(test)]
    pub(crate) fn pretend_set(&self, seconds: i64) {
        self.lock().wall -= seconds;
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn now() -> Self {
        Self {
            steady: clock::steady(),
            wall: clock::now(),
        }
    }

    fn compare(self, later: Self) -> Look {
        let passed = later.steady.duration_since(self.steady).as_secs();
        Look {
            expected: self.wall.saturating_add_unsigned(passed),
            now: later.wall,
        }
    }
}

impl Look {
    /// True when the wall clock did not go on as the monotonic clock did: what is decided by dates waits for another look then.
    #[must_use]
    pub fn clock_was_set(&self) -> bool {
        self.now.abs_diff(self.expected) > TOLERANCE_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn was_set(expected: i64, now: i64) -> bool {
        Look { expected, now }.clock_was_set()
    }

    /// **T9** After the host's clock was set, one look is left out: a wrong date alone removes nothing.
    #[test]
    fn a_clock_that_was_set_is_noticed_until_the_next_look() {
        assert!(was_set(1_000_000, 1_000_000 + 86_400));
        assert!(was_set(1_000_000, 5));
        assert!(was_set(0, i64::MAX));
        for seconds in [10 * 365 * 86_400, -86_400] {
            let steady = Steady::default();
            assert!(steady.now().is_some());
            steady.pretend_set(seconds);
            assert_eq!(steady.now(), None);
            assert_eq!(steady.now(), None, "asking alone believes nothing");
            assert!(steady.look().clock_was_set());
            assert!(steady.now().is_some());
            assert!(!steady.look().clock_was_set());
        }
    }

    #[test]
    fn a_clock_that_is_slewed_goes_on() {
        assert!(!was_set(1_003_600, 1_003_500));
        assert!(!was_set(1_003_600, 1_005_000));
        assert!(!was_set(i64::MAX, i64::MAX));
    }
}
