//! Mounted and copied folders.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use snap_tests::text;

use super::captures::gone;
use crate::{
    client::{CONFLICT, Client, NOT_FOUND, Said, unexpected},
    stage::{Stage, is_absent},
    worker::{Place, Use, Worker, equal},
};

impl Worker {
    /// Mounts a snapshot, to be looked at until it is unmounted.
    pub(crate) fn mount(&mut self, stage: &Stage) -> Result<()> {
        let kept = self.ledger.kept();
        let Some(number) = self.pick(&kept) else {
            return Ok(());
        };
        let flags: &[&str] = match self.dice.below(4) {
            0 => &[],
            1 => &["--force"],
            _ => &["--force", "--writable"],
        };
        self.mount_record(stage, number, flags)
    }

    pub(crate) fn mount_record(
        &mut self,
        stage: &Stage,
        number: usize,
        flags: &[&str],
    ) -> Result<()> {
        let path = stage.host().make_folder(&self.new_name("m"))?;
        let id = self.ledger.records[number].id.clone();
        let arguments = [&["mount", &id, text(&path)?], flags].concat();
        let client = match self.dice.below(20) {
            0 => Client::KilledAfter(Duration::from_millis(1 + self.dice.below(300))),
            _ => Client::Patient,
        };
        let record = &mut self.ledger.records[number];
        match stage.ask(&arguments, client)? {
            Said::Done(_) => {}
            Said::Cut => {
                stage.count("cut: mount");
                self.doubts.folders.push(path.clone());
                return end_doubtful_mount(stage, &path);
            }
            Said::Refused(answer) => {
                fs::remove_dir(&path)?;
                if answer.code == CONFLICT && !flags.contains(&"--force") {
                    ensure!(record.expires.is_some(), "{}", unexpected(&answer));
                    stage.count("refused: mount what has expired");
                    return Ok(());
                }
                return gone(record, Said::Refused(answer)).context("Mount");
            }
        }
        record.users += 1;
        let one = Use {
            place: Place::Folder {
                path,
                is_writable: flags.contains(&"--writable"),
            },
            record: Some(number),
            tree: Arc::clone(&record.tree),
        };
        one.check()
            .with_context(|| format!("{} mounted", record.label))?;
        self.uses.push(one);
        stage.count("mount");
        Ok(())
    }

    pub(crate) fn unmount(&mut self, stage: &Stage, path: &Path) -> Result<()> {
        let (arguments, mut is_cut) = (["unmount", text(path)?], false);
        loop {
            match stage.ask(&arguments, Client::Patient)? {
                Said::Done(_) => break,
                Said::Cut => is_cut = true,
                Said::Refused(answer) if answer.code == NOT_FOUND && is_cut => break,
                Said::Refused(answer) => return Err(unexpected(&answer)),
            }
        }
        fs::remove_dir(path).with_context(|| format!("Remove {}", path.display()))
    }

    /// Copies a snapshot out and compares the copy.
    pub(crate) fn copy(&mut self, stage: &Stage) -> Result<()> {
        let kept = self.ledger.kept();
        let Some(number) = self.pick(&kept) else {
            return Ok(());
        };
        let name = self.new_name("copy");
        let path = stage.host().folder().join(name);
        let record = &mut self.ledger.records[number];
        let what = format!("{}:/", record.id);
        let said = stage.ask(&["copy", &what, text(&path)?], Client::Patient)?;
        match said {
            Said::Done(_) => {
                equal(&record.tree, &path).with_context(|| format!("Copy of {}", record.label))?;
                stage.count("copy");
            }
            Said::Cut => stage.count("cut: copy"),
            said => return gone(record, said).context("Copy"),
        }
        match is_absent(&path) {
            true => Ok(()),
            false => fs::remove_dir_all(&path).context("Remove a copy"),
        }
    }
}

/// Unmounts what may be mounted.
pub(crate) fn end_doubtful_mount(stage: &Stage, path: &Path) -> Result<()> {
    match stage.insist(&["unmount", text(path)?])? {
        Said::Refused(answer) if answer.code != NOT_FOUND => Err(unexpected(&answer)),
        _ => Ok(()),
    }
}
