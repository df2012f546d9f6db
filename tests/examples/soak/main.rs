//! A soak: everything the product does, at random, for half an hour, against a real containerd, with kills all the time.
//!
//! ```text
//! make soak            SOAK_MINUTES=30  SOAK_SEED=…
//!
//! Stage (host, life of the daemon, tally) ◄── Worker × 4: a source each, its snapshots, mounts, restored containers
//!   ▲                                     ◄── Upkeep: collections, verifications, repairs, backups
//!   └ Gauge, quiet points ── main         ◄── Killer: daemon, mount servers, upgrades, reloads
//! ```
//!
//! Each worker keeps account (`ledger`) of what was acknowledged and of what is in doubt because somebody was killed. At
//! quiet points everybody stands still and the account is compared with what is there; at the end all of it is, then all is removed
//! and nothing may be left. The first quarter of the run is a storm, in which the daemon and every mount server are killed and
//! replaced; after it the daemon and one mount server live to the end, so that their memory says something. The seed decides
//! what each of them chooses; how their choices meet is the machine's affair.

mod checks;
mod client;
mod gauge;
mod killer;
mod ledger;
mod operations;
mod report;
mod source;
mod stage;
mod watched;
mod worker;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use gauge::Gauge;
use killer::Killer;
use operations::Upkeep;
use stage::Stage;
use watched::Watched;
use worker::Worker;

/// Between two looks at memory, descriptors and threads.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(10);
/// Between two quiet points, at most.
const BETWEEN_QUIET_POINTS: Duration = Duration::from_secs(60);

/// What may be chosen, from the environment.
#[derive(Debug)]
struct Settings {
    minutes: f64,
    seed: u64,
}

impl Settings {
    fn read() -> Result<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            minutes: number("SOAK_MINUTES", 30.0)?,
            seed: number("SOAK_SEED", now.as_secs())?,
        })
    }
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> Result<T> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("{variable} is `{text}`, which is not a number"),
        },
        _ => Ok(default),
    }
}

fn main() -> ExitCode {
    match Settings::read().and_then(|settings| soak(&settings)) {
        Ok(table) => {
            let _ = writeln!(io::stdout(), "{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs it and returns the table of what was done.
fn soak(settings: &Settings) -> Result<String> {
    let Settings { minutes, seed } = *settings;
    let again = format!("SOAK_MINUTES={minutes} SOAK_SEED={seed} make soak");
    let _ = writeln!(io::stderr(), "soak: {again}");
    let stage = Stage::begin(Duration::from_secs_f64(minutes * 60.0))?;
    let done = perform(&stage, seed);
    match done {
        Ok(table) => {
            checks::nothing_outlives(stage)?;
            Ok(format!("{again}\n\n{table}"))
        }
        Err(error) => {
            let kept = stage.keep_logs();
            Err(error).with_context(|| format!("{again}\nThe logs are in {kept}"))
        }
    }
}

fn perform(stage: &Stage, seed: u64) -> Result<String> {
    let watched = Watched::make(stage, seed)?;
    let mut workers = Vec::new();
    for number in 0..4 {
        workers.push(Mutex::new(Worker::new(stage, number, seed)?));
    }
    let upkeep = Mutex::new(Upkeep::new(seed));
    let killer = Mutex::new(Killer::new(seed, watched.snapshot()));
    let mut gauge = Gauge::new(stage, watched.snapshot());
    thread::scope(|scope| {
        for worker in &workers {
            scope.spawn(|| stage.rounds(worker, Worker::round));
        }
        scope.spawn(|| stage.rounds(&upkeep, Upkeep::round));
        scope.spawn(|| stage.rounds(&killer, Killer::round));
        scope.spawn(|| stage.note(watched.read_until_over(stage)));
        let conducted = conduct(stage, &workers, (&upkeep, &killer), &mut gauge);
        stage.end();
        conducted
    })?;
    stage.failure()?;
    let mut workers = unlocked(workers);
    checks::everything_is_there(stage, &mut workers, &watched)?;
    checks::everything_goes(stage, &mut workers, watched)?;
    gauge.sample(stage, "end")?;
    let table = report::table(stage, &workers, &gauge);
    gauge.is_flat().with_context(|| table.clone())?;
    checks::nothing_is_held(stage, &gauge)?;
    Ok(table)
}

/// Samples and quiet points, until the time is over or somebody has failed.
fn conduct(
    stage: &Stage,
    workers: &[Mutex<Worker>],
    others: (&Mutex<Upkeep>, &Mutex<Killer>),
    gauge: &mut Gauge,
) -> Result<()> {
    let between = BETWEEN_QUIET_POINTS.min(stage.length() / 8);
    let (mut sampled, mut quiet) = (Instant::now(), Instant::now());
    while !stage.is_over() {
        thread::sleep(Duration::from_millis(100));
        if sampled.elapsed() >= BETWEEN_SAMPLES {
            sampled = Instant::now();
            gauge.sample(stage, "busy")?;
        }
        if quiet.elapsed() >= between {
            // Whoever holds one of these is between two rounds of his.
            let _still = (locked(others.0), locked(others.1));
            let mut held: Vec<_> = workers.iter().map(locked).collect();
            checks::quiet_point(stage, held.iter_mut().map(|worker| &mut **worker))?;
            gauge.sample(stage, "quiet")?;
            quiet = Instant::now();
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("a round does not panic")
}

fn unlocked<T>(mutexes: Vec<Mutex<T>>) -> Vec<T> {
    let inner = |mutex: Mutex<T>| mutex.into_inner().expect("a round does not panic");
    mutexes.into_iter().map(inner).collect()
}
