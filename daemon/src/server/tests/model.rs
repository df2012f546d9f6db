//! Random sequences of every command of the lifecycle, with clocks that go on, that jump, and with restarts, against a plain model: the same
//! answers, nothing removed that a rule protects, everything removed that none does.
//!
//! Recipes are called below the socket, with the requests and answers of the API. What needs containerd or a mount is left out: whoever uses a
//! snapshot is a record in the catalogue, as a restore or a mount makes it. A step is a number (`calls.rs`), so that a sequence is known by
//! its seed, and any part of it can be tried by itself.
//!
//! `SNAP_ROUNDS=long` tries ten times as many steps, `SNAP_MODEL_STEPS` so many, and `SNAP_MODEL_SEED` another sequence.

mod calls;
mod check;
mod dice;
mod plain;
mod real;

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use self::{
    calls::Call,
    dice::Dice,
    plain::{Limits, Plain},
    real::Real,
};

/// Steps of one sequence; there are eight.
const STEPS: usize = 25_000;
/// Everything is compared after so many steps, and after a start.
const STRETCH: usize = 200;
/// When the clock begins: a Friday in the year 2026, in seconds since 1970.
const BEGIN: i64 = 1_795_000_000;
/// How long a sequence that has failed is made shorter.
const SHRINKING: Duration = Duration::from_secs(60);
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

const USUAL: Limits = Limits {
    snapshots: 14,
    stored_bytes: 0,
    grace: DAY,
    default_ttl: Some(14 * DAY),
};
const WITHOUT_TRASH: Limits = Limits { grace: 0, ..USUAL };
const FEW_BYTES: Limits = Limits {
    stored_bytes: 1500,
    ..USUAL
};
const LONG_TRASH: Limits = Limits {
    snapshots: 6,
    grace: 20 * DAY,
    default_ttl: None,
    ..USUAL
};

/// A sequence that has failed.
struct Failure {
    why: String,
    calls: Vec<Call>,
}

/// A folder that somebody has a snapshot mounted at.
fn folder(number: usize) -> String {
    format!("/nowhere/{number}")
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

fn try_sequence(limits: Limits, seed: u64) {
    let seed = from_environment("SNAP_MODEL_SEED").unwrap_or(seed);
    let more = match env::var("SNAP_ROUNDS").as_deref() {
        Ok("long") => 10,
        _ => 1,
    };
    let length = from_environment("SNAP_MODEL_STEPS").unwrap_or(STEPS * more);
    let mut dice = Dice::new(seed);
    let steps: Vec<u64> = (0..length).map(|_| dice.roll()).collect();
    let Err(failure) = attempt(limits, &steps) else {
        return;
    };
    let length = failure.calls.len();
    let failure = shrunk(limits, steps, failure);
    let calls = failure.calls.iter().map(|call| format!("{call:?}\n"));
    panic!(
        "SNAP_MODEL_SEED={seed} SNAP_MODEL_STEPS={length}, shrunk to {} steps:\n{}{}",
        failure.calls.len(),
        calls.collect::<String>(),
        failure.why
    );
}

/// Tries a sequence from the beginning.
fn attempt(limits: Limits, steps: &[u64]) -> Result<(), Failure> {
    let mut calls = Vec::new();
    let trying = AssertUnwindSafe(|| {
        // Steps come one after the other: a second thread would only be one more to wake.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build();
        runtime.unwrap().block_on(go(limits, steps, &mut calls));
    });
    panic::catch_unwind(trying).map_err(|panic| Failure {
        why: match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(why), _) => why.clone(),
            (None, why) => why.copied().unwrap_or("it panicked").to_owned(),
        },
        calls,
    })
}

async fn go(limits: Limits, steps: &[u64], calls: &mut Vec<Call>) {
    let mut real = Real::start(limits).await;
    let mut plain = Plain::new(limits, BEGIN);
    for (number, step) in steps.iter().enumerate() {
        let mut call = Call::draw(*step, &plain);
        real.adapt(&mut call);
        calls.push(call.clone());
        check::step(&mut real, &mut plain, &call).await;
        let is_start = matches!(call, Call::Restart | Call::Rebuild);
        if is_start || number % STRETCH == 0 {
            check::everything(&mut real, &mut plain).await;
        }
    }
    check::end(&mut real, &mut plain).await;
}

/// The same failure, or another, after fewer steps.
fn shrunk(limits: Limits, steps: Vec<u64>, first: Failure) -> Failure {
    let until = Instant::now() + SHRINKING;
    panic::set_hook(Box::new(|_| {}));
    let (mut steps, mut failure) = (steps, first);
    steps.truncate(failure.calls.len());
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < steps.len() && Instant::now() < until {
            let mut fewer = steps.clone();
            fewer.drain(at..steps.len().min(at + size));
            match attempt(limits, &fewer) {
                Ok(()) => at += size,
                Err(other) => {
                    fewer.truncate(other.calls.len());
                    (steps, failure) = (fewer, other);
                }
            }
        }
        size /= 2;
    }
    drop(panic::take_hook());
    failure
}

#[test]
fn the_lifecycle_agrees_with_a_plain_model_1() {
    try_sequence(USUAL, 1);
}

#[test]
fn the_lifecycle_agrees_with_a_plain_model_2() {
    try_sequence(USUAL, 2);
}

#[test]
fn the_lifecycle_agrees_with_a_plain_model_3() {
    try_sequence(USUAL, 3);
}

#[test]
fn the_lifecycle_without_a_trash_agrees_with_a_plain_model_1() {
    try_sequence(WITHOUT_TRASH, 4);
}

#[test]
fn the_lifecycle_without_a_trash_agrees_with_a_plain_model_2() {
    try_sequence(WITHOUT_TRASH, 5);
}

#[test]
fn the_lifecycle_with_few_bytes_agrees_with_a_plain_model() {
    try_sequence(FEW_BYTES, 6);
}

#[test]
fn the_lifecycle_with_a_long_trash_agrees_with_a_plain_model_1() {
    try_sequence(LONG_TRASH, 7);
}

#[test]
fn the_lifecycle_with_a_long_trash_agrees_with_a_plain_model_2() {
    try_sequence(LONG_TRASH, 8);
}
