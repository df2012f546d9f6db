//! How soon a server that died is started again: at once, unless it keeps dying.

use std::time::{Duration, Instant};

/// A server that lived so long was well.
const CALM: Duration = Duration::from_secs(1);
/// Deaths in a row that are answered at once.
const FREE: u32 = 5;
/// The first delay; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(200);
/// The longest delay. It never ends altogether: what was wrong may be put right.
const LONGEST: Duration = Duration::from_secs(30);

/// Deaths and failed starts in a row.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    in_a_row: u32,
    started: Option<Instant>,
}

impl Setbacks {
    /// A server serves.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// It died, or did not start; how long to wait before the next.
    pub(super) fn next_delay(&mut self, now: Instant) -> Duration {
        let lived = self
            .started
            .take()
            .map(|started| now.duration_since(started));
        if lived.is_some_and(|lived| lived >= CALM) {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        match self.in_a_row.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST
                .saturating_mul(2_u32.saturating_pow(doublings))
                .min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_deaths_are_answered_at_once_and_more_of_them_ever_later() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let delays: Vec<_> = (0..40)
            .map(|_| {
                setbacks.started(now);
                setbacks.next_delay(now)
            })
            .collect();
        assert!(delays[..5].iter().all(Duration::is_zero));
        assert_eq!(delays[5..7], [FIRST, 2 * FIRST]);
        assert_eq!(delays[39], LONGEST);
    }

    #[test]
    fn a_server_that_lived_is_started_again_at_once() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        for _ in 0..20 {
            setbacks.next_delay(now);
        }
        setbacks.started(now);
        assert_eq!(setbacks.next_delay(now + CALM), Duration::ZERO);
    }

    #[test]
    fn starts_that_fail_are_not_taken_for_a_long_life() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let mut delay = Duration::ZERO;
        for failure in 0..20 {
            delay = setbacks.next_delay(now + failure * 2 * LONGEST);
        }
        assert_eq!(delay, LONGEST);
    }
}
