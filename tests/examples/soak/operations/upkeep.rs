//! What keeps the store in order, and looks after it: none of it may find anything wrong.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use snap_api::{BackedUp, Collected, DoctorReport, Repaired, SnapshotView, Status, Verified};
use snap_tests::{Dice, text};

use crate::{
    client::{Client, NOT_FOUND, Said, parsed, unexpected},
    stage::Stage,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Upkeep {
    dice: Dice,
}

impl Upkeep {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            dice: Dice::from_seed(seed ^ 0x5eed),
        }
    }

    /// Does one thing; returns how long to wait before the next.
    pub(crate) fn round(&mut self, stage: &Stage) -> Result<Duration> {
        match self.dice.below(20) {
            0..4 => self.collect(stage, &["--grace", "0"]),
            4..6 => self.collect(stage, &["--grace", "3s"]),
            6 => self.collect(stage, &["--grace", "1h"]),
            7 => self.collect(stage, &["--dry-run"]),
            8..10 => self.verify(stage, &[]),
            10..13 => self.verify(stage, &["--quick"]),
            13 => verify_one(stage),
            14 => repair(stage, &[]),
            15 => repair(stage, &["--dry-run"]),
            16 => backup(stage),
            17 => stage.read::<DoctorReport>(&["doctor"]).map(drop),
            18 => stage.read::<Status>(&["status"]).map(drop),
            _ => self.diff(stage),
        }
        .with_context(|| format!("Upkeep at {:.3} of the run", stage.progress()))?;
        Ok(Duration::from_millis(200 + self.dice.below(2000)))
    }

    fn collect(&mut self, stage: &Stage, flags: &[&str]) -> Result<()> {
        let arguments = [&["--output", "json", "collect"], flags].concat();
        let client = match self.dice.below(6) {
            0 => Client::KilledAfter(Duration::from_millis(self.dice.below(500) + 1)),
            _ => Client::Patient,
        };
        let kind = format!("collect {}", flags.join(" "));
        if let Some(text) = tried(stage, &arguments, client, &kind)? {
            let done: Collected = parsed(&text)?;
            ensure!(is_sound(&done), "{done:?}");
            stage.add(
                "bytes collected",
                if done.dry_run { 0 } else { done.freed_bytes },
            );
        }
        Ok(())
    }

    fn verify(&mut self, stage: &Stage, flags: &[&str]) -> Result<()> {
        let arguments = [&["--output", "json", "verify"], flags].concat();
        let kind = format!("verify everything {}", flags.join(" "));
        if let Some(text) = tried(stage, &arguments, Client::Patient, &kind)? {
            let done: Verified = parsed(&text)?;
            ensure!(done.damage.is_empty() && done.packs.is_empty(), "{done:?}");
        }
        Ok(())
    }

    /// Any two snapshots; either may be gone before it is looked at.
    fn diff(&mut self, stage: &Stage) -> Result<()> {
        let listed: Vec<SnapshotView> = stage.read(&["list"])?;
        let mut pick = || listed.get(self.dice.below(listed.len() as u64) as usize);
        let (Some(one), Some(other)) = (pick(), pick()) else {
            return Ok(());
        };
        match stage.insist(&["diff", &one.id, &other.id])? {
            Said::Refused(answer) if !matches!(answer.code, 3 | 4) => Err(unexpected(&answer)),
            _ => {
                stage.count("diff");
                Ok(())
            }
        }
    }
}

/// Nothing is damaged, missing or unreadable.
pub(crate) fn is_sound(done: &Collected) -> bool {
    done.unreadable.is_empty()
        && !done.incomplete
        && done.damaged_packs == 0
        && done.missing_chunks == 0
        && done.stopped.is_none()
}

/// What it printed, unless it was cut.
fn tried(stage: &Stage, arguments: &[&str], client: Client, kind: &str) -> Result<Option<String>> {
    match stage.ask(arguments, client)? {
        Said::Done(text) => {
            stage.count(kind.trim());
            Ok(Some(text))
        }
        Said::Cut => {
            stage.count(&format!("cut: {}", arguments[2]));
            Ok(None)
        }
        Said::Refused(answer) => Err(unexpected(&answer).context(answer.stdout)),
    }
}

fn verify_one(stage: &Stage) -> Result<()> {
    let listed: Vec<SnapshotView> = stage.read(&["list"])?;
    let Some(one) = listed.first() else {
        return Ok(());
    };
    match stage.insist(&["verify", &one.id])? {
        // Removed, or not active, by the time it is looked for.
        Said::Refused(answer) if !matches!(answer.code, 3 | 4) => {
            Err(unexpected(&answer).context(answer.stdout))
        }
        _ => {
            stage.count("verify one snapshot");
            Ok(())
        }
    }
}

fn repair(stage: &Stage, flags: &[&str]) -> Result<()> {
    let arguments = [&["--output", "json", "repair"], flags].concat();
    let kind = format!("repair {}", flags.join(" "));
    if let Some(text) = tried(stage, &arguments, Client::Patient, &kind)? {
        let done: Repaired = parsed(&text)?;
        ensure!(done.is_whole(), "{done:?}");
    }
    Ok(())
}

fn backup(stage: &Stage) -> Result<()> {
    let path = stage.host().folder().join("copy.db");
    let arguments = ["--output", "json", "backup", text(&path)?];
    if let Some(answer) = tried(
        stage,
        &arguments,
        Client::Patient,
        "backup of the catalogue",
    )? {
        let done: BackedUp = parsed(&answer)?;
        ensure!(fs::metadata(&path)?.len() == done.bytes, "{done:?}");
    }
    Ok(())
}

/// Used by nobody but the one who looks whether a thing is gone.
pub(crate) fn is_gone(stage: &Stage, id: &str) -> Result<bool> {
    match stage.insist(&["show", id])? {
        Said::Refused(answer) if answer.code == NOT_FOUND => Ok(true),
        Said::Refused(answer) => Err(unexpected(&answer)),
        _ => Ok(false),
    }
}
