//! The writer of tests/workloads/hammer.c, and the proof that what it left is one instant.
//!
//! Operation k works on target `k % TARGETS` and leaves its mark in one deciding step. So there must be one K such that
//! every target shows the last of its operations up to K, whole. The one exception is operation K + 1, which may be
//! half done: it was frozen in its middle.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::workload;

const KINDS: u64 = 7;
const EACH: u64 = 9;
const TARGETS: u64 = KINDS * EACH;
const ROUND: u64 = 64;
const BLOCK_BYTES: usize = 4096;
const BLOCKS: u64 = 64;
const PAGES: usize = 16;

/// The program, static, so that it runs in any root file system.
///
/// # Errors
/// When the compiler fails.
pub fn program() -> Result<PathBuf> {
    workload("hammer")
}

/// What the writer left in a folder.
#[derive(Debug)]
pub struct Marks {
    targets: Vec<Target>,
}

/// What is seen of one target.
#[derive(Debug)]
enum Target {
    Log(Vec<u64>),
    Renamed(u64),
    Mapped(u64, u64),
    Length(u64),
    Overwritten(Vec<u64>),
    Presence(bool),
    Moved { left: bool, right: bool },
}

impl Marks {
    /// Reads the folder; a mark that contradicts itself is an error already.
    ///
    /// # Errors
    /// When a file is missing, cannot be read or holds what the writer never wrote.
    pub fn read(folder: &Path) -> Result<Self> {
        let targets = (0..TARGETS).map(|target| {
            Target::read(folder, target % KINDS, target / KINDS)
                .with_context(|| format!("Read target {target}"))
        });
        Ok(Self {
            targets: targets.collect::<Result<_>>()?,
        })
    }

    /// The last whole operation of the one instant all marks agree on.
    ///
    /// # Errors
    /// When there is no such instant; says what contradicts the likeliest one.
    pub fn instant(&self) -> Result<u64> {
        let seen = self.targets.iter().filter_map(Target::highest).max();
        let seen = seen.context("No target shows an operation")?;
        let mut best: Option<(u64, Vec<String>)> = None;
        // The marks of some kinds do not tell their operation, so the last ones may be unseen; and the highest may be half done.
        for last in seen.saturating_sub(1)..seen + TARGETS {
            let wrong = self.contradictions(last);
            if wrong.is_empty() {
                return Ok(last);
            }
            if best
                .as_ref()
                .is_none_or(|(_, fewest)| wrong.len() < fewest.len())
            {
                best = Some((last, wrong));
            }
        }
        let (last, wrong) = best.context("At least one instant was tried")?;
        anyhow::bail!(
            "No instant explains the marks; against operation {last}: {}",
            wrong.join("; ")
        )
    }

    fn contradictions(&self, last: u64) -> Vec<String> {
        let mut found = Vec::new();
        for (target, seen) in (0..).zip(&self.targets) {
            let own = last_of(target, last);
            let is_next = (last + 1) % TARGETS == target;
            let is_half_done = is_next && seen.may_be_in(last + 1);
            if !seen.shows(own) && !is_half_done {
                found.push(format!("target {target} should show {own}, is {seen:.60?}"));
            }
        }
        found
    }
}

/// The last operation up to `last` that worked on `target`.
fn last_of(target: u64, last: u64) -> u64 {
    last - (last + TARGETS - target) % TARGETS
}

impl Target {
    fn read(folder: &Path, kind: u64, index: u64) -> Result<Self> {
        let path = |name: &str| folder.join(format!("{name}{index}"));
        Ok(match kind {
            0 => Self::Log(read_log(&fs::read(path("log"))?)?),
            1 => Self::Renamed(read_renamed(&fs::read(path("renamed"))?)?),
            2 => read_mapped(&fs::read(path("mapped"))?)?,
            3 => Self::Length(fs::metadata(path("length"))?.len()),
            4 => Self::Overwritten(read_overwritten(&fs::read(path("overwritten"))?)?),
            5 => Self::Presence(path("presence").try_exists()?),
            _ => Self::Moved {
                left: path("left/moved").try_exists()?,
                right: path("right/moved").try_exists()?,
            },
        })
    }

    fn highest(&self) -> Option<u64> {
        match self {
            Self::Log(records) => records.last().copied(),
            Self::Renamed(k) => Some(*k),
            Self::Mapped(first, _) => Some(*first),
            Self::Overwritten(blocks) => blocks.iter().max().copied(),
            Self::Length(_) | Self::Presence(_) | Self::Moved { .. } => None,
        }
    }

    /// Whether this is exactly what operation `k`, the target's last, left.
    fn shows(&self, k: u64) -> bool {
        let turn = k / TARGETS;
        match self {
            Self::Log(records) => {
                let since_truncation = turn % ROUND;
                records.len() as u64 == since_truncation
                    && (1..)
                        .zip(records)
                        .all(|(n, seen)| *seen == k - (since_truncation - n) * TARGETS)
            }
            Self::Renamed(seen) => *seen == k,
            Self::Mapped(first, second) => *first == k && *second == k,
            Self::Length(bytes) => *bytes == 1 + k % 65521,
            Self::Overwritten(blocks) => {
                blocks.len() as u64 == BLOCKS.min(turn + 1)
                    && (0..)
                        .zip(blocks)
                        .all(|(n, seen)| *seen == k - (turn - n) % BLOCKS * TARGETS)
            }
            Self::Presence(is_there) => *is_there == turn.is_multiple_of(2),
            Self::Moved { left, right } => *left == turn.is_multiple_of(2) && *right != *left,
        }
    }

    /// Whether operation `k` may be half done like this; the kinds decided by one step are never.
    fn may_be_in(&self, k: u64) -> bool {
        match self {
            Self::Mapped(first, second) => *first == k && *second + TARGETS == k,
            _ => false,
        }
    }
}

fn read_log(bytes: &[u8]) -> Result<Vec<u64>> {
    ensure!(
        bytes.len().is_multiple_of(32),
        "{} bytes are no whole records",
        bytes.len()
    );
    let records = bytes.chunks_exact(32).map(words).map(|record| {
        let k = record[0];
        let expected = [k, mix(k), mix(k + 1), mix(k + 2)];
        ensure!(record == expected, "The record of operation {k} is damaged");
        Ok(k)
    });
    records.collect()
}

fn read_renamed(bytes: &[u8]) -> Result<u64> {
    let words = words(bytes);
    ensure!(
        words.len() > 2 && bytes.len().is_multiple_of(8),
        "{} bytes are too few",
        bytes.len()
    );
    let k = words[0];
    let count = 8 + mix(k) % 25000;
    ensure!(
        words.len() as u64 == count && words[1] == count,
        "Operation {k} wrote {count} words"
    );
    let is_whole = (2..)
        .zip(&words[2..])
        .all(|(n, word)| *word == mix(k.wrapping_add(n)));
    ensure!(is_whole, "The content of operation {k} is damaged");
    Ok(k)
}

fn read_mapped(bytes: &[u8]) -> Result<Target> {
    ensure!(
        bytes.len() == PAGES * BLOCK_BYTES,
        "{} bytes were mapped",
        bytes.len()
    );
    let words = words(bytes);
    let second = (PAGES - 1) * BLOCK_BYTES / 8 + 5;
    let others = (0..).zip(&words).filter(|(n, _)| *n != 0 && *n != second);
    ensure!(
        others.into_iter().all(|(_, word)| *word == 0),
        "A word was stored where none belongs"
    );
    Ok(Target::Mapped(words[0], words[second]))
}

fn read_overwritten(bytes: &[u8]) -> Result<Vec<u64>> {
    ensure!(
        bytes.len().is_multiple_of(BLOCK_BYTES),
        "{} bytes are no whole blocks",
        bytes.len()
    );
    let blocks = bytes.chunks_exact(BLOCK_BYTES).map(words).map(|block| {
        ensure!(
            block.iter().all(|word| *word == block[0]),
            "A block is torn"
        );
        Ok(block[0])
    });
    blocks.collect()
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        .collect()
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread, time::Duration};

    use super::*;

    fn hammered(time: Duration) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Command::new(program().unwrap())
            .arg(folder.path())
            .spawn()
            .unwrap();
        while !folder.path().join("ready").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(time);
        writer.kill().unwrap();
        writer.wait().unwrap();
        folder
    }

    #[test]
    fn a_stopped_writer_leaves_one_instant() {
        for time in [0, 30, 300] {
            let folder = hammered(Duration::from_millis(time));
            let marks = Marks::read(folder.path()).unwrap();
            assert!(marks.instant().unwrap() >= TARGETS);
        }
    }

    #[test]
    fn one_mark_of_another_instant_is_found_out() {
        let folder = hammered(Duration::from_millis(50));
        let last = Marks::read(folder.path()).unwrap().instant().unwrap();
        let length = folder.path().join("length4");
        let bytes = fs::metadata(&length).unwrap().len();
        fs::File::options()
            .write(true)
            .open(&length)
            .unwrap()
            .set_len(bytes + TARGETS)
            .unwrap();
        let told = Marks::read(folder.path()).unwrap().instant().unwrap_err();
        assert!(
            told.to_string().contains("should show"),
            "{told} after {last}"
        );
    }
}
