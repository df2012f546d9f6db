//! Requests in flight: what each thread is answering, and since when.
//!
//! Noting one costs a few stores to memory of its own and a look at the clock: no lock, no system call. Whoever looks at
//! the table sees each row whole or not at all.

use std::{
    cell::Cell,
    sync::atomic::{
        AtomicI32, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        fence,
    },
    time::{Duration, Instant},
};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// The kernel's number of the request.
    pub(super) unique: u64,
    pub(super) kind: Kind,
    pub(super) node: u64,
    pub(super) offset: u64,
    pub(super) size: u32,
}

impl About {
    /// The same from an offset on, and for so many bytes.
    pub(super) fn at(self, offset: u64, size: u32) -> Self {
        Self {
            offset,
            size,
            ..self
        }
    }
}

/// Kinds of requests that look into the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Attributes,
    Attribute,
    AttributeNames,
    Link,
    List,
    LookUp,
    Read,
    Seek,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Attributes,
        Self::Attribute,
        Self::AttributeNames,
        Self::Link,
        Self::List,
        Self::LookUp,
        Self::Read,
        Self::Seek,
    ];

    /// The word people see.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Attributes => "attributes",
            Self::Attribute => "xattr",
            Self::AttributeNames => "xattr-names",
            Self::Link => "read-link",
            Self::List => "list",
            Self::LookUp => "look-up",
            Self::Read => "read",
            Self::Seek => "seek",
        }
    }
}

/// A request that is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) about: About,
    pub(super) age: Duration,
    /// The thread that answers, as the kernel numbers threads; `None` while the request waits for one.
    pub(super) thread: Option<i32>,
    /// Its deadline is over and it was refused; the thread has not come back yet.
    pub(super) is_refused: bool,
}

/// Nobody's row.
const FREE: u64 = 0;
/// Somebody's, but not written yet.
const CLAIMED: u64 = u64::MAX;
/// Lowest bit of a row's state: it was refused.
const REFUSED: u64 = 1;

/// The table.
#[derive(Debug)]
pub(super) struct Flights {
    rows: Box<[Row]>,
    start: Instant,
    /// Threads whose request was refused and that have not come back.
    lost: AtomicUsize,
}

/// One request; a cache line of its own, so that threads do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Row {
    /// [`FREE`], [`CLAIMED`], or twice the row's turn, and perhaps [`REFUSED`].
    state: AtomicU64,
    /// How often the row was claimed: no two requests look the same.
    turn: AtomicU64,
    /// When it came, in microseconds since the table was made.
    since_us: AtomicU64,
    unique: AtomicU64,
    node: AtomicU64,
    offset: AtomicU64,
    /// The kind above 32 bits of size.
    kind_and_size: AtomicU64,
    thread: AtomicI32,
}

thread_local! {
    /// The number of this thread, and the row it had last.
    static OWN: (i32, Cell<usize>) = (rustix::thread::gettid().as_raw_pid(), Cell::new(0));
}

impl Flights {
    /// A table for as many requests at once.
    pub(super) fn new(rows: usize) -> Self {
        Self {
            rows: (0..rows).map(|_| Row::default()).collect(),
            start: Instant::now(),
            lost: AtomicUsize::new(0),
        }
    }

    /// Notes a request that came at `since` and that this thread answers, until the guard is dropped. `None` when the
    /// table is full.
    pub(super) fn note(&self, about: &About, since: Instant) -> Option<Noted<'_>> {
        let since = since.saturating_duration_since(self.start).as_micros() as u64;
        OWN.with(|(thread, last)| {
            let count = self.rows.len();
            let tried = (0..count).map(|step| (last.get() + step) % count);
            for index in tried {
                let row = &self.rows[index];
                if row.claim() {
                    last.set(index);
                    row.write(about, *thread, since);
                    return Some(Noted { flights: self, row });
                }
            }
            None
        })
    }

    /// What is in flight now, in no order.
    pub(super) fn list(&self) -> Vec<Flight> {
        let now = self.start.elapsed();
        let rows = self.rows.iter();
        rows.filter_map(|row| Some(row.read(now)?.0)).collect()
    }

    /// Marks those as refused that are older than `deadline`, and returns what was marked just now.
    pub(super) fn refuse(&self, deadline: Duration) -> Vec<Flight> {
        let now = self.start.elapsed();
        let rows = self.rows.iter();
        rows.filter_map(|row| {
            let (flight, state) = row.read(now)?;
            let is_overdue = flight.age >= deadline && !flight.is_refused;
            (is_overdue && self.refuse_one(row, state)).then_some(flight)
        })
        .collect()
    }

    /// False when the thread was faster.
    fn refuse_one(&self, row: &Row, state: u64) -> bool {
        // Counted first: the thread may come back at any moment, and counts down then.
        self.lost.fetch_add(1, SeqCst);
        let marked = row
            .state
            .compare_exchange(state, state | REFUSED, AcqRel, Relaxed);
        if marked.is_err() {
            self.lost.fetch_sub(1, SeqCst);
        }
        marked.is_ok()
    }

    /// Threads that have not come back from a request that was refused.
    pub(super) fn lost(&self) -> usize {
        self.lost.load(SeqCst)
    }
}

impl Row {
    fn claim(&self) -> bool {
        self.state
            .compare_exchange(FREE, CLAIMED, Acquire, Relaxed)
            .is_ok()
    }

    fn write(&self, about: &About, thread: i32, since_us: u64) {
        // Who reads what follows finds the row claimed when it looks again.
        fence(Release);
        self.unique.store(about.unique, Relaxed);
        self.node.store(about.node, Relaxed);
        self.offset.store(about.offset, Relaxed);
        let kind = (about.kind as u64) << 32;
        self.kind_and_size
            .store(kind | u64::from(about.size), Relaxed);
        self.thread.store(thread, Relaxed);
        self.since_us.store(since_us, Relaxed);
        let turn = self.turn.load(Relaxed) + 1;
        self.turn.store(turn, Relaxed);
        self.state.store(turn << 1, Release);
    }

    /// What stands in it, and its state; `None` when it is free or just changes hands.
    fn read(&self, now: Duration) -> Option<(Flight, u64)> {
        let state = self.state.load(Acquire);
        if matches!(state, FREE | CLAIMED) {
            return None;
        }
        let kind_and_size = self.kind_and_size.load(Relaxed);
        let about = About {
            unique: self.unique.load(Relaxed),
            kind: *Kind::ALL.get((kind_and_size >> 32) as usize)?,
            node: self.node.load(Relaxed),
            offset: self.offset.load(Relaxed),
            size: kind_and_size as u32,
        };
        let since = Duration::from_micros(self.since_us.load(Relaxed));
        let flight = Flight {
            about,
            age: now.saturating_sub(since),
            thread: Some(self.thread.load(Relaxed)),
            is_refused: state & REFUSED != 0,
        };
        fence(Acquire);
        let is_same = self.state.load(Relaxed) | REFUSED == state | REFUSED;
        is_same.then_some((flight, state))
    }
}

/// A request that stands in the table.
pub(super) struct Noted<'a> {
    flights: &'a Flights,
    row: &'a Row,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if self.row.state.swap(FREE, AcqRel) & REFUSED != 0 {
            self.flights.lost.fetch_sub(1, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        unique: 7,
        kind: Kind::Read,
        node: 3,
        offset: 1 << 40,
        size: u32::MAX,
    };

    #[test]
    fn what_is_noted_is_listed_until_it_is_answered() {
        let flights = Flights::new(2);
        let noted = flights.note(&ABOUT, Instant::now());
        let listed = flights.list();
        assert_eq!((listed.len(), listed[0].about), (1, ABOUT));
        drop(noted);
        assert_eq!(flights.list(), []);
    }

    #[test]
    fn a_full_table_notes_nothing() {
        let flights = Flights::new(1);
        let first = flights.note(&ABOUT, Instant::now());
        assert!(first.is_some());
        assert!(flights.note(&ABOUT, Instant::now()).is_none());
        drop(first);
        assert!(flights.note(&ABOUT, Instant::now()).is_some());
    }

    #[test]
    fn one_that_is_overdue_is_refused_once_and_counted_until_it_comes_back() {
        let flights = Flights::new(2);
        let noted = flights.note(&ABOUT, Instant::now());
        assert_eq!(flights.refuse(Duration::from_secs(60)), []);
        assert_eq!(flights.refuse(Duration::ZERO).len(), 1);
        assert_eq!(flights.refuse(Duration::ZERO), []);
        assert_eq!((flights.lost(), flights.list()[0].is_refused), (1, true));
        drop(noted);
        assert_eq!((flights.lost(), flights.list().len()), (0, 0));
    }

    #[test]
    fn a_row_is_seen_whole_or_not_at_all() {
        let flights = Flights::new(4);
        let note_many = |number: u64| {
            for _ in 0..20_000 {
                let (unique, node, offset) = (number, number, number);
                let about = About {
                    unique,
                    node,
                    offset,
                    ..ABOUT
                };
                drop(flights.note(&about, Instant::now()));
            }
        };
        let is_whole = |flight: Flight| {
            let About {
                unique,
                node,
                offset,
                ..
            } = flight.about;
            unique == node && node == offset
        };
        std::thread::scope(|scope| {
            for number in 1..=3 {
                scope.spawn(move || note_many(number));
            }
            for _ in 0..20_000 {
                assert!(flights.list().into_iter().all(is_whole));
            }
        });
    }
}
