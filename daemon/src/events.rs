//! Events: what has happened, remembered in order for whoever follows it.
//!
//! In memory alone: the log is the record for good. A cursor names the daemon's life and a place in it, so that nobody takes
//! what another daemon has told for the continuation.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use snap_api::{ErrorReport, EventResult, EventView, Events as Answer, MAX_WAIT_MS};
use snap_store::{Namespace, SnapshotId};
use tokio::sync::watch;

use crate::clock;

/// Events that are remembered; a few hundred bytes each.
const REMEMBERED: usize = 5000;
/// JSON of the events of one answer: far below the largest frame.
const ANSWER_BYTES: usize = 1 << 20;

/// Something that has just happened.
#[derive(Clone, Debug)]
pub struct Event {
    action: &'static str,
    subject: String,
    namespace: Option<Namespace>,
    snapshot: Option<SnapshotId>,
    job: Option<String>,
    error: Option<ErrorReport>,
}

impl Event {
    /// `action` was done to `subject`, both as in [`EventView`].
    #[must_use]
    pub fn new(action: &'static str, subject: impl Into<String>) -> Self {
        Self {
            action,
            subject: subject.into(),
            namespace: None,
            snapshot: None,
            job: None,
            error: None,
        }
    }

    /// It belongs to this namespace.
    #[must_use]
    pub fn of(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// It is about this snapshot.
    #[must_use]
    pub fn about(mut self, snapshot: Option<SnapshotId>) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// A job did it, or failed to.
    #[must_use]
    pub fn by_job(mut self, job: &str, error: Option<&ErrorReport>) -> Self {
        self.job = Some(job.to_owned());
        self.error = error.cloned();
        self
    }

    fn view(self, seq: u64, at: i64) -> EventView {
        EventView {
            seq,
            at: clock::rfc3339(at),
            action: self.action.to_owned(),
            result: match self.error {
                None => EventResult::Done,
                Some(_) => EventResult::Failed,
            },
            namespace: self.namespace.map(|namespace| namespace.to_string()),
            subject: self.subject,
            snapshot: self.snapshot.map(|id| id.to_string()),
            job: self.job,
            error: self.error,
        }
    }
}

/// What has happened in this daemon's life; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Random, another one for each daemon.
    life: String,
    told: Mutex<Told>,
    /// The number of the last event.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Told {
    events: VecDeque<EventView>,
    last: u64,
}

/// Where somebody who follows stands: after the event of this number.
#[derive(Debug)]
struct Place {
    after: u64,
    missed: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Shared {
            life: SnapshotId::random().to_string(),
            told: Mutex::default(),
            last: watch::Sender::new(0),
        }))
    }
}

impl Events {
    /// Remembers it and wakes those who wait.
    pub fn tell(&self, event: Event) {
        let mut told = self.told();
        told.last += 1;
        let seq = told.last;
        told.events.push_back(event.view(seq, clock::now()));
        if told.events.len() > REMEMBERED {
            told.events.pop_front();
        }
        drop(told);
        self.0.last.send_replace(seq);
    }

    /// Events after `cursor`, `limit` at most; when there is none, those that come within `wait`. Of one namespace also what belongs
    /// to none.
    pub async fn after(
        &self,
        cursor: Option<&str>,
        namespace: Option<&Namespace>,
        limit: usize,
        wait: Duration,
    ) -> Answer {
        let mut place = self.place(cursor);
        let mut last = self.0.last.subscribe();
        let until = Instant::now() + wait.min(Duration::from_millis(MAX_WAIT_MS));
        loop {
            last.mark_unchanged();
            let events = self.take(&mut place, namespace, limit);
            let left = until.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Answer {
                    events,
                    cursor: format!("{}-{}", self.0.life, place.after),
                    missed: place.missed,
                };
            }
            // The sender lives as long as the events that are held here; an end of the wait is looked at above.
            let _ = tokio::time::timeout(left, last.changed()).await;
        }
    }

    fn place(&self, cursor: Option<&str>) -> Place {
        let Some(cursor) = cursor else {
            let (after, missed) = (0, false);
            return Place { after, missed };
        };
        let told = self.told();
        let number = cursor
            .rsplit_once('-')
            .filter(|(life, _)| *life == self.0.life)
            .and_then(|(_, number)| number.parse().ok())
            .filter(|number| *number <= told.last);
        let (after, missed) = (number.unwrap_or(0), number.is_none());
        Place { after, missed }
    }

    fn take(
        &self,
        place: &mut Place,
        namespace: Option<&Namespace>,
        limit: usize,
    ) -> Vec<EventView> {
        let told = self.told();
        let oldest = told.last - told.events.len() as u64;
        // Whoever begins at the beginning asks for what is remembered, and misses nothing of it.
        place.missed |= place.after > 0 && place.after < oldest;
        place.after = place.after.max(oldest);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let skipped = (place.after - oldest) as usize;
        for event in told.events.iter().skip(skipped) {
            if taken.len() >= limit || bytes >= ANSWER_BYTES {
                break;
            }
            place.after = event.seq;
            let of = event.namespace.as_deref();
            if namespace.is_none_or(|wanted| of.is_none_or(|of| of == wanted.as_str())) {
                bytes += serde_json::to_vec(event).map_or(0, |json| json.len());
                taken.push(event.clone());
            }
        }
        taken
    }

    /// The list is whole between any two statements that change it.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn told(count: usize) -> Events {
        let events = Events::default();
        for number in 1..=count {
            events.tell(Event::new("mount", number.to_string()));
        }
        events
    }

    fn numbers(answer: &Answer) -> Vec<u64> {
        answer.events.iter().map(|event| event.seq).collect()
    }

    #[tokio::test]
    async fn they_are_told_once_and_in_order() {
        let events = told(5);
        let first = events.after(None, None, 3, NOW).await;
        assert_eq!(numbers(&first), [1, 2, 3]);
        let second = events.after(Some(&first.cursor), None, 3, NOW).await;
        assert_eq!(numbers(&second), [4, 5]);
        let third = events.after(Some(&second.cursor), None, 3, NOW).await;
        assert!(third.events.is_empty() && third.cursor == second.cursor);
        assert!(!first.missed && !second.missed && !third.missed);
    }

    #[tokio::test]
    async fn who_waits_is_told_at_once() {
        let events = told(1);
        let cursor = events.after(None, None, 9, NOW).await.cursor;
        let (waiting, begun) = (events.clone(), Instant::now());
        let told = tokio::spawn(async move {
            let limit = Duration::from_secs(20);
            waiting.after(Some(&cursor), None, 9, limit).await
        });
        tokio::task::yield_now().await;
        events.tell(Event::new("mount", "now"));
        assert_eq!(numbers(&told.await.unwrap()), [2]);
        assert!(begun.elapsed() < Duration::from_secs(19));
    }

    #[tokio::test]
    async fn what_is_forgotten_or_another_daemons_is_said_to_be_missed() {
        let events = told(2);
        let old = events.after(None, None, 1, NOW).await.cursor;
        for number in 0..REMEMBERED {
            events.tell(Event::new("mount", number.to_string()));
        }
        let answer = events.after(Some(&old), None, 2, NOW).await;
        assert_eq!((numbers(&answer), answer.missed), (vec![3, 4], true));
        let fresh = events.after(None, None, 1, NOW).await;
        assert_eq!((numbers(&fresh), fresh.missed), (vec![3], false));
        for cursor in [
            told(9).after(None, None, 9, NOW).await.cursor.as_str(),
            "",
            "x-",
        ] {
            let answer = events.after(Some(cursor), None, 1, NOW).await;
            assert!(answer.missed, "{cursor}");
        }
        let future = format!("{}-{}", events.0.life, u64::MAX);
        assert!(events.after(Some(&future), None, 1, NOW).await.missed);
    }

    #[tokio::test]
    async fn a_namespace_has_its_own_and_what_belongs_to_none() {
        let (events, one) = (Events::default(), "one".parse().unwrap());
        events.tell(Event::new("create", "web").of(&one));
        events.tell(Event::new("create", "web").of(&"other".parse().unwrap()));
        events.tell(Event::new("unmount", "/mnt"));
        let answer = events.after(None, Some(&one), 9, NOW).await;
        assert_eq!(numbers(&answer), [1, 3]);
        let rest = events.after(Some(&answer.cursor), Some(&one), 9, NOW).await;
        assert!(rest.events.is_empty() && !rest.missed);
    }
}
