//! Restored containers: made, compared, removed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use snap_api::{ContainerView, Restored};
use snap_tests::Tree;

use super::captures::gone;
use crate::{
    client::{CONFLICT, Client, NOT_FOUND, Said, parsed, unexpected},
    ledger::Standing,
    stage::Stage,
    worker::{Place, Use, Worker, equal},
};

impl Worker {
    /// Restores one of the snapshots as up to three containers.
    pub(crate) fn restore(&mut self, stage: &Stage) -> Result<()> {
        let kept = self.ledger.kept();
        let Some(number) = self.pick(&kept) else {
            return Ok(());
        };
        let (id, count) = (self.new_name("r"), 1 + self.dice.below(3));
        let record = &mut self.ledger.records[number];
        let shown = count.to_string();
        let mut arguments = vec!["--output", "json", "restore", &record.id];
        arguments.extend(["--id", &id, "--count", &shown]);
        if self.dice.below(2) == 0 {
            arguments.push("--force");
        }
        let client = match self.dice.below(10) {
            0 => Client::KilledAfter(Duration::from_millis(1 + self.dice.below(1500))),
            _ => Client::Patient,
        };
        match stage.ask(&arguments, client)? {
            Said::Done(text) => self.keep_restored(stage, number, &parsed(&text)?),
            Said::Cut => self.settle_restore(stage, (&id, count), client),
            Said::Refused(answer) if !record.is_container && answer.code == CONFLICT => {
                stage.count("refused: restore a folder's snapshot as a container");
                Ok(())
            }
            // What it was made from went with its container, and nothing fresh can be made.
            Said::Refused(answer)
                if record.has_expired() && answer.stderr.contains("layers to make") =>
            {
                stage.count("refused: restore what has expired and whose image is gone");
                Ok(())
            }
            said => gone(record, said).context("Restore"),
        }
    }

    fn keep_restored(&mut self, stage: &Stage, number: usize, restored: &Restored) -> Result<()> {
        let record = &mut self.ledger.records[number];
        let is_fresh = !restored.restored_from_snapshot;
        ensure!(
            !is_fresh || record.has_expired(),
            "{} has not expired and was not restored",
            record.label
        );
        for ContainerView { id, .. } in &restored.containers {
            let root = match is_fresh {
                true => stage.host().rootfs(id),
                false => stage.host().restored_rootfs(id),
            };
            let tree = match is_fresh {
                true => Arc::new(Tree::read(&root)?),
                false => Arc::clone(&record.tree),
            };
            equal(&tree, &root).with_context(|| format!("{id}, restored from {}", record.label))?;
            record.users += usize::from(!is_fresh);
            self.uses.push(Use {
                place: Place::Container {
                    id: id.clone(),
                    root,
                },
                record: (!is_fresh).then_some(number),
                tree,
            });
        }
        stage.count(match is_fresh {
            true => "restore what has expired, from its image",
            false => "restore",
        });
        stage.add("containers restored", restored.containers.len() as u64);
        Ok(())
    }

    /// A restore that was cut has made all of its containers or none; whichever are there run, and go.
    fn settle_restore(
        &mut self,
        stage: &Stage,
        (id, count): (&str, u64),
        client: Client,
    ) -> Result<()> {
        stage.count("cut: restore");
        if matches!(client, Client::KilledAfter(_)) {
            // The job goes on.
            self.doubts.containers.push(id.to_owned());
            return Ok(());
        }
        let made = restored(stage, id)?;
        ensure!(
            made.is_empty() || made.len() as u64 == count,
            "Of {count} containers that were being restored {made:?} are there"
        );
        made.iter().try_for_each(|one| end_doubtful(stage, one))
    }

    /// Ends one of the containers and mounts.
    pub(crate) fn release(&mut self, stage: &Stage) -> Result<()> {
        let numbers: Vec<_> = (0..self.uses.len()).collect();
        match self.pick(&numbers) {
            Some(number) if !self.doubts.is_captured => self.release_use(stage, number),
            _ => Ok(()),
        }
    }

    pub(crate) fn release_use(&mut self, stage: &Stage, number: usize) -> Result<()> {
        self.uses[number].check()?;
        let used = self.uses.swap_remove(number);
        match &used.place {
            Place::Container { id, .. } if self.dice.below(3) == 0 => {
                stage.host().remove_by_ctr(id)?;
                stage.count("remove a restored container by ctr");
            }
            Place::Container { id, .. } => {
                remove_container(stage, id)?;
                stage.count("remove a restored container");
            }
            Place::Folder { path, .. } => {
                self.unmount(stage, path)?;
                stage.count("unmount");
            }
        }
        if let Some(record) = used.record {
            self.ledger.records[record].users -= 1;
        }
        Ok(())
    }

    /// Reads a snapshot through a mount made for that, and compares it.
    pub(crate) fn look(&mut self, stage: &Stage) -> Result<()> {
        let kept = self.ledger.kept();
        match self.pick(&kept) {
            Some(number) => self.look_at(stage, number),
            None => Ok(()),
        }
    }

    /// The same for one; also while it is mounted elsewhere.
    pub(crate) fn look_at(&mut self, stage: &Stage, number: usize) -> Result<()> {
        let before = self.uses.len();
        while self.ledger.records[number].standing == Standing::Kept && self.uses.len() == before {
            self.mount_record(stage, number, &["--force"])?;
        }
        if self.uses.len() > before {
            self.release_use(stage, before)?;
            stage.count("compare a snapshot");
        }
        Ok(())
    }
}

/// The containers whose ids are what a restore with this id makes.
fn restored(stage: &Stage, id: &str) -> Result<Vec<String>> {
    // Asking the daemon first: when it answers it has settled what the one before it left.
    let _: Vec<ContainerView> = stage.read(&["container", "list"])?;
    let mut all = stage.host().containers()?;
    all.retain(|one| one == id || one.starts_with(&format!("{id}-")));
    Ok(all)
}

/// Ends what a restore has made whose client was killed.
pub(crate) fn end_doubtful_restores(stage: &Stage, id: &str) -> Result<()> {
    restored(stage, id)?
        .iter()
        .try_for_each(|one| end_doubtful(stage, one))
}

fn end_doubtful(stage: &Stage, container: &str) -> Result<()> {
    let said = stage.host().exec(container, "echo runs")?;
    ensure!(said == "runs", "{container} says {said}");
    stage.count("containers of cut restores that were whole");
    remove_container(stage, container)
}

fn remove_container(stage: &Stage, id: &str) -> Result<()> {
    let mut is_cut = false;
    loop {
        match stage.ask(&["container", "remove", id], Client::Patient)? {
            Said::Done(_) => return Ok(()),
            Said::Cut => is_cut = true,
            Said::Refused(answer) if answer.code == NOT_FOUND && is_cut => return Ok(()),
            Said::Refused(answer) => return Err(unexpected(&answer)),
        }
    }
}
