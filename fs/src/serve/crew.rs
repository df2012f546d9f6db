//! Who answers requests.
//!
//! A request is answered by the thread that took it from the kernel, as long as fewer than `at_once` are being answered.
//! Others wait in line, and whoever has finished goes on with them: of `at_once` threads and one more, there is always one
//! that takes requests. When an answer is slow (a disk that hangs), those in line are given threads of their own, helpers.
//!
//! A request that is older than the deadline is refused. The thread that is at it cannot be called back; it is counted
//! as lost until it comes back by itself, and when all are lost, requests are refused at once.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{
    flights::{About, Flight, Flights},
    standstill,
};

/// An answer that takes longer is slow: those in line get threads of their own.
const SLOW: Duration = Duration::from_secs(1);
/// How long a helper without work stays.
const IDLE: Duration = Duration::from_secs(10);
/// A request that is older has its threads looked at: they may wait for each other.
const OLD: Duration = Duration::from_secs(5);
/// Looks in a row that must show so.
const LOOKS_AT_OLD: u32 = 3;
/// Between two looks at what is in flight.
const LOOKS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(1);

/// How a crew is made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct CrewOptions {
    /// Requests answered at once by the threads that take them.
    pub(super) at_once: usize,
    /// Most helpers.
    pub(super) helpers: usize,
    /// When a request is refused.
    pub(super) deadline: Duration,
    /// Called when threads wait for each other for ever.
    pub(super) on_standstill: fn(),
}

/// Those who answer, out of `T`; cheap to clone.
pub(super) struct Crew<T: 'static>(Arc<Inner<T>>);

/// Told of each request that was refused; answers it if a thread may still be at it.
pub(super) type OnRefusal<T> = Box<dyn Fn(&T, &Flight) + Send + Sync>;
type Job<T> = Box<dyn FnOnce(&T) + Send>;

struct Inner<T> {
    answers: T,
    options: CrewOptions,
    flights: Flights,
    answering: AtomicUsize,
    /// Length of the line, for those who do not want to lock it.
    in_line: AtomicUsize,
    line: Mutex<Line<T>>,
    /// Told when the line has grown and there are helpers.
    grown: Condvar,
    refused: AtomicU64,
    on_refusal: OnRefusal<T>,
}

struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
    helpers: usize,
}

struct Waiting<T> {
    about: About,
    since: Instant,
    job: Job<T>,
}

/// How a crew is doing.
#[derive(Clone, Debug)]
pub(super) struct CrewReport {
    /// What is being answered or waits, oldest first.
    pub(super) flights: Vec<Flight>,
    /// Threads that have not come back from a request that was refused.
    pub(super) lost: usize,
    /// Requests refused since the start.
    pub(super) refused: u64,
}

impl<T> Clone for Crew<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Crew<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("options", &self.0.options)
            .field("flights", &self.0.flights)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync> Crew<T> {
    /// A crew that answers out of `answers`.
    pub(super) fn new(answers: T, options: CrewOptions, on_refusal: OnRefusal<T>) -> Self {
        let inner = Arc::new(Inner {
            answers,
            flights: Flights::new(options.at_once + options.helpers),
            options,
            answering: AtomicUsize::new(0),
            in_line: AtomicUsize::new(0),
            line: Mutex::new(Line {
                waiting: VecDeque::new(),
                helpers: 0,
            }),
            grown: Condvar::new(),
            refused: AtomicU64::new(0),
            on_refusal,
        });
        let watched = Arc::downgrade(&inner);
        let watching = thread::Builder::new()
            .name("deadlines".to_owned())
            .spawn(move || watch(&watched));
        if let Err(error) = watching {
            warn!(%error, "Requests have no deadline");
        }
        Self(inner)
    }

    /// Threads that have to take requests.
    pub(super) fn takers(&self) -> usize {
        self.0.options.at_once + 1
    }

    /// What is answered from.
    pub(super) fn answers(&self) -> &T {
        &self.0.answers
    }

    /// Has `job` done, now or by somebody else; a job that is dropped is one that was refused.
    pub(super) fn submit(&self, about: About, job: impl FnOnce(&T) + Send + 'static) {
        let (inner, since) = (&*self.0, Instant::now());
        if let Some(turn) = inner.turn() {
            inner.answer(&about, since, job);
            inner.go_on(turn);
            return;
        }
        if inner.is_lost() {
            inner.refuse(about, since);
            return;
        }
        let job = Box::new(job);
        inner.line_up(Waiting { about, since, job });
        // Everybody may have finished before it stood in line.
        if let Some(turn) = inner.turn() {
            inner.go_on(turn);
        }
    }

    /// How it is doing.
    pub(super) fn report(&self) -> CrewReport {
        let inner = &*self.0;
        let mut flights = inner.flights.list();
        let waiting = |waiting: &Waiting<T>| flight(waiting.about, waiting.since);
        flights.extend(inner.line().waiting.iter().map(waiting));
        flights.sort_by_key(|flight| std::cmp::Reverse(flight.age));
        CrewReport {
            flights,
            lost: inner.flights.lost(),
            refused: inner.refused.load(Relaxed),
        }
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    /// The right to answer, when not too many do.
    fn turn(&self) -> Option<Turn<'_>> {
        let more = |answering| (answering < self.options.at_once).then_some(answering + 1);
        let got = self.answering.fetch_update(SeqCst, SeqCst, more);
        got.is_ok().then(|| Turn(&self.answering))
    }

    fn answer(&self, about: &About, since: Instant, job: impl FnOnce(&T)) {
        // There is a row for each who may answer, so it is always noted.
        let _noted = self.flights.note(about, since);
        job(&self.answers);
    }

    /// Answers what stands in line, then gives the turn back.
    fn go_on<'a>(&'a self, mut turn: Turn<'a>) {
        loop {
            while let Some(Waiting { about, since, job }) = self.next() {
                self.answer(&about, since, job);
            }
            drop(turn);
            // Somebody may have lined up just before, and have seen no turn to be had.
            if self.in_line.load(SeqCst) == 0 {
                return;
            }
            match self.turn() {
                Some(again) => turn = again,
                None => return,
            }
        }
    }

    fn line_up(&self, waiting: Waiting<T>) {
        let mut line = self.line();
        line.waiting.push_back(waiting);
        self.in_line.store(line.waiting.len(), SeqCst);
        if line.helpers > 0 {
            self.grown.notify_one();
        }
    }

    fn next(&self) -> Option<Waiting<T>> {
        if self.in_line.load(SeqCst) == 0 {
            return None;
        }
        self.line().take(&self.in_line)
    }

    fn line(&self) -> MutexGuard<'_, Line<T>> {
        self.line
            .lock()
            .expect("no thread panics while it holds the line")
    }

    /// True when every thread there may be is lost.
    fn is_lost(&self) -> bool {
        self.flights.lost() >= self.options.at_once + self.options.helpers
    }

    fn refuse(&self, about: About, since: Instant) {
        self.refused.fetch_add(1, Relaxed);
        (self.on_refusal)(&self.answers, &flight(about, since));
    }

    /// Refuses what is overdue, and opens the line's way past what is slow.
    fn look(self: &Arc<Self>) {
        let deadline = self.options.deadline;
        for flight in self.flights.refuse(deadline) {
            self.refused.fetch_add(1, Relaxed);
            (self.on_refusal)(&self.answers, &flight);
        }
        while let Some(Waiting { about, since, job }) = self.overdue(deadline) {
            self.refuse(about, since);
            drop(job);
        }
        let slow = SLOW.min(deadline / 4);
        if self.in_line.load(SeqCst) > 0
            && self.flights.list().iter().any(|flight| flight.age >= slow)
        {
            self.call_helpers();
        }
    }

    /// True when old requests are held up by nothing but each other.
    fn stands_still(&self) -> bool {
        let old = OLD.min(self.options.deadline / 2);
        let is_old = |flight: &Flight| flight.age >= old && !flight.is_refused;
        self.flights.list().iter().any(is_old) && standstill::stands_still()
    }

    fn overdue(&self, deadline: Duration) -> Option<Waiting<T>> {
        if self.in_line.load(SeqCst) == 0 {
            return None;
        }
        let mut line = self.line();
        let first = line.waiting.front()?;
        (first.since.elapsed() >= deadline)
            .then(|| line.take(&self.in_line))
            .flatten()
    }

    /// As many as wait, up to the most there may be.
    fn call_helpers(self: &Arc<Self>) {
        let mut line = self.line();
        let wanted = line.waiting.len().min(self.options.helpers - line.helpers);
        for _ in 0..wanted {
            let inner = Arc::clone(self);
            let name = "helper".to_owned();
            match thread::Builder::new()
                .name(name)
                .spawn(move || inner.help())
            {
                Ok(_) => line.helpers += 1,
                Err(error) => {
                    warn!(%error, "Cannot start a thread beside those that are held up");
                    break;
                }
            }
        }
    }

    /// What a helper does: answers what stands in line until nothing has for a while.
    fn help(&self) {
        let mut line = self.line();
        loop {
            if let Some(Waiting { about, since, job }) = line.take(&self.in_line) {
                drop(line);
                self.answer(&about, since, job);
                line = self.line();
                continue;
            }
            let (again, waited) = self
                .grown
                .wait_timeout(line, IDLE)
                .expect("no thread panics while it holds the line");
            line = again;
            if waited.timed_out() && line.waiting.is_empty() {
                line.helpers -= 1;
                return;
            }
        }
    }
}

impl<T> Line<T> {
    fn take(&mut self, in_line: &AtomicUsize) -> Option<Waiting<T>> {
        let first = self.waiting.pop_front();
        in_line.store(self.waiting.len(), SeqCst);
        first
    }
}

/// The right to answer; given back when dropped.
struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Looks at what is in flight for as long as there is a crew.
fn watch<T: Send + Sync + 'static>(crew: &Weak<Inner<T>>) {
    let mut still = 0;
    while let Some(inner) = crew.upgrade() {
        inner.look();
        still = if inner.stands_still() { still + 1 } else { 0 };
        if still >= LOOKS_AT_OLD {
            (inner.options.on_standstill)();
            still = 0;
        }
        let wait = (inner.options.deadline / 16).clamp(*LOOKS.start(), *LOOKS.end());
        drop(inner);
        thread::sleep(wait);
    }
}

/// A request that no thread is at.
fn flight(about: About, since: Instant) -> Flight {
    Flight {
        about,
        age: since.elapsed(),
        thread: None,
        is_refused: false,
    }
}

#[cfg(test)]
mod tests;
