//! What become two hundred restores of one snapshot that are asked for at once?
//!
//! The yardstick is as many `ctr run` of the same image, which has its layers unpacked already. It takes minutes and a shim for each
//! container, so it is asked by name (`cargo bench --bench many -- many`), once, and prints a table.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use snap_api::Restored;
use snap_benches::host_of_containers;
use snap_tests::{Host, Image};

const MANY: usize = 200;
const LIMIT: i32 = 5;
const IDLE: &str = "while :; do sleep 1; done";

/// What became of them.
struct Figures {
    done: Vec<Duration>,
    refused: usize,
    /// Bytes of memory they took.
    memory: i64,
}

/// Bytes of memory that are free or could be.
fn available() -> Result<i64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: i64 = number
        .context("Read the memory that is available")?
        .parse()?;
    Ok(kib * 1024)
}

/// Does it so many times at once, noting when each ended; the answer is an exit code.
fn at_once(start: impl Fn(usize) -> Result<i32> + Sync) -> Result<Figures> {
    let (before, begun) = (available()?, Instant::now());
    let (mut done, mut refused) = (Vec::new(), 0);
    let ended: Vec<_> = thread::scope(|scope| {
        let timed = |number| (start(number), begun.elapsed());
        let one = |number| scope.spawn(move || timed(number));
        let all: Vec<_> = (0..MANY).map(one).collect();
        let ended = all.into_iter().map(thread::ScopedJoinHandle::join);
        ended.collect()
    });
    for one in ended {
        let (code, after) = one.expect("waiting does not panic");
        match code? {
            0 => done.push(after),
            LIMIT => refused += 1,
            code => ensure!(false, "A restore ended with {code}"),
        }
    }
    done.sort_unstable();
    let memory = before - available()?;
    Ok(Figures {
        done,
        refused,
        memory,
    })
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn show(what: &str, figures: &Figures) {
    let seconds = |place: usize| {
        let time = figures.done.get(place).copied().unwrap_or_default();
        format!("{:.2} s", time.as_secs_f64())
    };
    let last = figures.done.len().saturating_sub(1);
    println!(
        "| {what} | {} | {} | {} | {} | {} | {} MiB |",
        figures.done.len(),
        figures.refused,
        seconds(0),
        seconds(last / 2),
        seconds(last),
        figures.memory >> 20,
    );
}

fn by_processes(host: &Host) -> Result<()> {
    let figures = at_once(|number| {
        let id = format!("p{number}");
        let answer = host.snapctl(["restore", "site", "--id", &id])?;
        Ok(answer.code)
    })?;
    show(&format!("{MANY} `snapctl restore`"), &figures);
    remove(host)
}

fn by_count(host: &Host) -> Result<()> {
    let (before, begun) = (available()?, Instant::now());
    let count = MANY.to_string();
    let arguments = ["restore", "site", "--id", "c", "--count", &count];
    let restored: Restored = host.snap_json(&arguments)?;
    let figures = Figures {
        done: vec![begun.elapsed(); restored.containers.len()],
        refused: 0,
        memory: before - available()?,
    };
    show(&format!("`snapctl restore --count {MANY}`"), &figures);
    remove(host)
}

fn remove(host: &Host) -> Result<()> {
    let listed = host.snap(&["container", "list", "--quiet"])?;
    let mut arguments = vec!["container", "remove"];
    arguments.extend(listed.lines());
    host.snap(&arguments).map(drop)
}

/// The yardstick.
fn by_ctr(host: &Host) -> Result<()> {
    let image = host.image(Image::Busybox)?;
    let figures = at_once(|number| {
        host.run(&format!("y{number}"), image, IDLE)?;
        Ok(0)
    })?;
    show(&format!("{MANY} `ctr run`, for comparison"), &figures);
    for number in 0..MANY {
        host.remove_by_ctr(&format!("y{number}"))?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn main() -> Result<()> {
    // With everything else only when it is meant: it takes minutes.
    if !std::env::args().any(|word| word == "many") {
        return Ok(());
    }
    let host = host_of_containers()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    println!(
        "| asked for at once | succeeded | refused with a limit | first after | median | last | memory |"
    );
    println!("|---|---|---|---|---|---|---|");
    by_processes(&host)?;
    by_count(&host)?;
    by_ctr(&host)
}
