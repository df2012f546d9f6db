//! Collections by the daemon itself: in their rhythm, after many removals, and when the disk is nearly full.
//!
//! All of it is counted by the monotonic clock; the wall clock only says how long ago an earlier daemon collected.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Reason, by_itself, complain, relief};
use crate::{blocking, due, host::Host};

/// How often the disk and the removals are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The first collection after a start, when one is due.
const FIRST_LOOK: Duration = Duration::from_secs(120);
/// Between two collections that removals are the reason of, and after one that failed.
const PAUSE: Duration = Duration::from_secs(10 * 60);
/// So much has to have died at least.
const DIED_BYTES: u64 = 64 << 20;
/// And this part of the store.
const DIED_PART: u64 = 8;

/// Looks after the space of the store, for ever.
pub async fn run(host: Arc<Host>) {
    let interval = host.config.collect_interval;
    let look = interval.map_or(LOOK, |interval| interval.min(LOOK));
    let last = host.past.last().map(|last| last.ended_at);
    let first = interval.map(|interval| due::first_wait(last, interval, FIRST_LOOK));
    let mut rhythm = Rhythm::begin(&host, first);
    loop {
        tokio::time::sleep(look).await;
        relief::watch(&host).await;
        let Some(reason) = rhythm.reason(&host).await else {
            continue;
        };
        let collected = by_itself(&host, reason).await;
        host.dues.collection.ended(&collected);
        let wait = match &collected {
            Ok(()) => interval.map(|interval| interval.min(until_grace_is_over(&host, interval))),
            Err(error) => {
                complain(error);
                Some(PAUSE)
            }
        };
        rhythm = Rhythm::begin(&host, wait);
    }
}

/// What was condemned just now goes with the first collection after its grace period.
fn until_grace_is_over(host: &Host, interval: Duration) -> Duration {
    let is_waiting = host.past.last().is_some_and(|last| last.waiting_bytes > 0);
    match is_waiting {
        true => host.config.collect_grace + PAUSE,
        false => interval,
    }
}

/// When the next collection is due.
#[derive(Debug)]
struct Rhythm {
    begun: Instant,
    wait: Option<Duration>,
}

impl Rhythm {
    fn begin(host: &Host, wait: Option<Duration>) -> Self {
        host.dues.collection.expect_in(wait);
        Self {
            begun: Instant::now(),
            wait,
        }
    }

    /// Why the store is to be collected now.
    async fn reason(&self, host: &Arc<Host>) -> Option<Reason> {
        let elapsed = self.begun.elapsed();
        if self.wait.is_some_and(|wait| elapsed >= wait) {
            return Some(Reason::Regular);
        }
        // Whoever turned the regular ones off wants none by themselves.
        self.wait?;
        let died = host.past.died_bytes();
        if died < DIED_BYTES || elapsed < PAUSE {
            return None;
        }
        let store = host.store.clone();
        let stats = blocking(move || store.stats()).await.ok()?;
        (died >= stats.stored_bytes / DIED_PART).then_some(Reason::Removals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn past(elapsed: Duration, wait: Option<Duration>) -> Rhythm {
        Rhythm {
            begun: Instant::now()
                .checked_sub(elapsed)
                .expect("the machine runs for longer"),
            wait,
        }
    }

    #[tokio::test]
    async fn it_is_time_when_the_interval_is_over_or_much_has_died() {
        let (host, _folder) = fixture::host(|_| {});
        let day = Some(Duration::from_secs(86_400));
        let second = Duration::from_secs(1);
        assert_eq!(past(second, day).reason(&host).await, None);
        assert_eq!(
            past(second, Some(second)).reason(&host).await,
            Some(Reason::Regular)
        );
        let id = fixture::snapshot(&host, "large", None);
        let mut record = host.catalogue.get(&id).unwrap();
        record.stored_bytes = DIED_BYTES;
        host.past.removed(&record);
        assert_eq!(past(second, day).reason(&host).await, None, "so soon");
        assert_eq!(past(PAUSE, day).reason(&host).await, Some(Reason::Removals));
        assert_eq!(past(PAUSE, None).reason(&host).await, None, "turned off");
    }
}
