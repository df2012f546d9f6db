//! The crash matrix: every crash point of an operation, each looked at by whoever knows what must hold.

use std::{
    collections::HashSet,
    fs,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{MemoryDisk, Recording};

/// Arbitrary images at each step.
const SEEDS: u64 = 8;
const SEEDS_OF_LONG_ROUNDS: u64 = 64;
/// Violations that are worth reading.
const SHOWN_VIOLATIONS: usize = 5;

/// What was tried and what it showed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Crash points tried.
    pub(crate) points: usize,
    /// Different states among them; each was looked at once.
    pub(crate) states: usize,
    /// Where something did not hold.
    pub(crate) violations: Vec<String>,
}

/// Runs an operation on `disk` and tries every crash point of it: `check` gets what is found, and what the operation had
/// returned when it had ended before. Panics when anything did not hold, otherwise writes down how many points there were.
pub(crate) fn crash_everywhere<T>(
    operation: &str,
    disk: &MemoryDisk,
    run: impl FnOnce() -> T,
    check: impl Fn(&MemoryDisk, Option<&T>) -> Result<(), String>,
) -> (Recording, T) {
    let (recording, value) = disk.record(run);
    let outcome = try_points(&recording, |found, is_end| {
        check(found, is_end.then_some(&value))
    });
    conclude(operation, &outcome);
    (recording, value)
}

/// Tries every crash point of a recorded operation; `check` is told whether the operation had ended. A panic is a violation too.
pub(crate) fn try_points(
    recording: &Recording,
    check: impl Fn(&MemoryDisk, bool) -> Result<(), String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    try_until(recording, seeds(), &mut outcome, check, |_| false);
    outcome
}

/// True when some crash point of a recorded operation is a violation.
pub(crate) fn has_violation(
    recording: &Recording,
    check: impl Fn(&MemoryDisk, bool) -> Result<(), String>,
) -> bool {
    let mut outcome = Outcome::default();
    let is_found = |outcome: &Outcome| !outcome.violations.is_empty();
    try_until(recording, seeds(), &mut outcome, check, is_found);
    is_found(&outcome)
}

/// Arbitrary images at each step.
pub(crate) fn seeds() -> u64 {
    match std::env::var("SNAP_ROUNDS").as_deref() {
        Ok("long") => SEEDS_OF_LONG_ROUNDS,
        _ => SEEDS,
    }
}

fn try_until(
    recording: &Recording,
    seeds: u64,
    outcome: &mut Outcome,
    check: impl Fn(&MemoryDisk, bool) -> Result<(), String>,
    is_enough: impl Fn(&Outcome) -> bool,
) {
    let mut seen = HashSet::new();
    recording.points(seeds, |point| {
        outcome.points += 1;
        if !seen.insert((point.disk.digest(), point.is_end)) {
            return ControlFlow::Continue(());
        }
        outcome.states += 1;
        let checked = catch_unwind(AssertUnwindSafe(|| check(&point.disk, point.is_end)));
        let checked = checked.unwrap_or_else(|_| Err("panicked".to_owned()));
        if let Err(why) = checked {
            outcome.violations.push(format!("{}: {why}", point.name));
        }
        match is_enough(outcome) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
}

impl Outcome {
    /// Adds the numbers of one more part of a matrix.
    pub(crate) fn add(&mut self, other: Self) {
        self.points += other.points;
        self.states += other.states;
        self.violations.extend(other.violations);
    }
}

/// Panics when anything did not hold; otherwise writes the numbers below the target folder, where `scripts/test` adds them up.
pub(crate) fn conclude(operation: &str, outcome: &Outcome) {
    let shown: Vec<_> = outcome.violations.iter().take(SHOWN_VIOLATIONS).collect();
    assert!(
        shown.is_empty(),
        "{operation}: {} of {} crash points are violations: {shown:#?}",
        outcome.violations.len(),
        outcome.points
    );
    note(
        &format!("crash-{operation}"),
        outcome.points,
        outcome.states,
    );
}

/// Writes how much was tried in a part of a matrix, and among that.
pub(crate) fn note(part: &str, tried: usize, among: usize) {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let folder = target.join("matrix");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(part), format!("{tried} {among}\n")).unwrap();
}
