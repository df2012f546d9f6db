//! Memory, descriptors and threads of the daemon, of the watched mount server and of the holder, over the run.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result, ensure};
use snap_api::Status;

use crate::stage::Stage;

/// How much more memory the last quarter may need than the second: allocators keep what was freed, and what there is to do differs.
const MORE_MEMORY_PERCENT: u64 = 20;
/// And this many KiB on top, for processes that are small.
const MORE_MEMORY_KB: u64 = 6 << 10;
/// Mounts, clients and jobs come and go: so many more descriptors,
const MORE_DESCRIPTORS: u64 = 12;
/// and so many more threads.
const MORE_THREADS: u64 = 8;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) pid: u32,
    /// Its share of memory, in KiB.
    pub(crate) memory_kb: u64,
    /// But for those of packs.
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

#[derive(Clone, Debug)]
struct Sample {
    progress: f64,
    when: &'static str,
    held: [Option<Held>; 3],
}

/// The processes that are looked at.
pub(crate) const PROCESSES: [&str; 3] = ["daemon", "mount server", "holder"];

/// See the module.
#[derive(Debug)]
pub(crate) struct Gauge {
    watched: String,
    before: Held,
    samples: Vec<Sample>,
}

/// The medians of two quarters of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quarters {
    pub(crate) second: Held,
    pub(crate) last: Held,
}

impl Gauge {
    pub(crate) fn new(stage: &Stage, watched: &str) -> Self {
        Self {
            watched: watched.to_owned(),
            before: held(stage.daemon_pid()).unwrap_or_default(),
            samples: Vec::new(),
        }
    }

    /// What the daemon held before anything was done.
    pub(crate) const fn before(&self) -> Held {
        self.before
    }

    pub(crate) fn sample(&mut self, stage: &Stage, when: &'static str) -> Result<()> {
        let status: Status = stage.read(&["status"])?;
        let watched = |pid: &&snap_api::MountStatus| pid.snapshot == self.watched;
        let server = status.mounts.iter().find(watched);
        let pids = [
            Some(status.pid),
            server.and_then(|mount| mount.server_pid),
            stage.host().holders()?.first().copied(),
        ];
        self.samples.push(Sample {
            progress: stage.progress(),
            when,
            // One that was killed just now is looked at the next time.
            held: pids.map(|pid| held(pid?).ok()),
        });
        Ok(())
    }

    /// The medians of a process, of the second quarter and the last.
    pub(crate) fn quarters(&self, process: usize) -> Quarters {
        let quarter = |from: f64, to: f64| {
            let all = self.samples.iter();
            let within =
                all.filter(|one| one.progress >= from && one.progress < to && one.when != "end");
            let held: Vec<Held> = within.filter_map(|one| one.held[process]).collect();
            Held {
                pid: held.last().map_or(0, |held| held.pid),
                memory_kb: median(held.iter().map(|held| held.memory_kb)),
                descriptors: median(held.iter().map(|held| held.descriptors)),
                threads: median(held.iter().map(|held| held.threads)),
            }
        };
        Quarters {
            second: quarter(0.25, 0.5),
            last: quarter(0.75, f64::INFINITY),
        }
    }

    /// The most memory a process was seen with, and what it has at the end, in KiB.
    pub(crate) fn peak_and_final(&self, process: usize) -> (u64, u64) {
        let memory = |one: &Sample| one.held[process].map(|held| held.memory_kb);
        let peak = self.samples.iter().filter_map(memory).max();
        let last = self.samples.iter().filter_map(memory).next_back();
        (peak.unwrap_or_default(), last.unwrap_or_default())
    }

    /// # Errors
    /// When a process has grown.
    pub(crate) fn is_flat(&self) -> Result<()> {
        for (process, name) in PROCESSES.iter().enumerate() {
            let Quarters { second, last } = self.quarters(process);
            let most = second.memory_kb * (100 + MORE_MEMORY_PERCENT) / 100 + MORE_MEMORY_KB;
            ensure!(
                last.memory_kb <= most
                    && last.descriptors <= second.descriptors + MORE_DESCRIPTORS
                    && last.threads <= second.threads + MORE_THREADS,
                "The {name} has grown from {second:?} to {last:?}\n{self}"
            );
        }
        Ok(())
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Sample {
            progress,
            when,
            held,
        } in &self.samples
        {
            write!(f, "{progress:.3} {when}")?;
            for held in held.iter().flatten() {
                let Held {
                    pid,
                    memory_kb,
                    descriptors,
                    threads,
                } = held;
                write!(
                    f,
                    "  {pid}: {memory_kb} KiB {descriptors} fds {threads} threads"
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn median(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// What the process holds now.
///
/// # Errors
/// When it has ended.
pub(crate) fn held(pid: u32) -> Result<Held> {
    let proc = format!("/proc/{pid}");
    let memory = fs::read_to_string(format!("{proc}/smaps_rollup"))?;
    let share = memory.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = share.and_then(|share| share.split_whitespace().next());
    Ok(Held {
        pid,
        memory_kb: number.context("A process has memory")?.parse()?,
        descriptors: fs::read_dir(format!("{proc}/fd"))?
            .filter(|entry| entry.as_ref().is_ok_and(|entry| !is_pack(&entry.path())))
            .count() as u64,
        threads: fs::read_dir(format!("{proc}/task"))?.count() as u64,
    })
}

/// Packs stay open while they are there, and how many there are is for the store to say.
fn is_pack(descriptor: &Path) -> bool {
    let name = fs::read_link(descriptor).unwrap_or_default();
    name.extension().is_some_and(|kind| kind == "pack")
}
