//! Clocks that a test sets: time that passes moves both, a jump moves the wall clock alone.
//!
//! There is one pair for the whole process, because recipes ask for the time on threads of their own. So a test that begins with it must have
//! its process to itself, as under nextest.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

static CLOCKS: Mutex<Option<Clocks>> = Mutex::new(None);

#[derive(Clone, Copy, Debug)]
struct Clocks {
    /// Seconds since 1970.
    wall: i64,
    steady: Instant,
}

/// From now on the time is what is said here; `wall` in seconds since 1970.
pub(crate) fn begin(wall: i64) {
    let mode = std::env::var("NEXTEST_EXECUTION_MODE");
    assert_eq!(
        mode.as_deref(),
        Ok("process-per-test"),
        "one clock for every test of the process: run this one with `cargo nextest run`"
    );
    let steady = Instant::now();
    *lock() = Some(Clocks { wall, steady });
}

/// Lets so many seconds pass.
pub(crate) fn pass(seconds: u64) {
    if let Some(clocks) = &mut *lock() {
        clocks.wall = clocks.wall.saturating_add_unsigned(seconds);
        clocks.steady += Duration::from_secs(seconds);
    }
}

/// Sets the wall clock, as an administrator does; in seconds since 1970.
pub(crate) fn set(wall: i64) {
    if let Some(clocks) = &mut *lock() {
        clocks.wall = wall;
    }
}

/// `None` while no test has begun.
pub(super) fn now() -> Option<i64> {
    lock().map(|clocks| clocks.wall)
}

/// `None` while no test has begun.
pub(super) fn steady() -> Option<Instant> {
    lock().map(|clocks| clocks.steady)
}

fn lock() -> MutexGuard<'static, Option<Clocks>> {
    CLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}
