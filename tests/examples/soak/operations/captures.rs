//! Captures, removals and times to live.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use snap_api::{SnapshotState, SnapshotView};
use snap_tests::{Answer, Tree, text};

use crate::{
    client::{CONFLICT, Client, NOT_FOUND, Said, unexpected},
    ledger::{LABEL, Record, Standing},
    source::Source,
    stage::Stage,
    worker::{Place, Worker},
};

/// A capture under way ends within this.
const END_LIMIT: Duration = Duration::from_secs(120);
/// Times are kept in whole seconds, and the second that has begun counts as over.
const CLOCK_GRAIN: Duration = Duration::from_secs(1);
/// A request whose client was killed has most probably been read by then; when it has not, the source stays as it is.
const READ_LIMIT: Duration = Duration::from_secs(2);

impl Worker {
    pub(crate) fn capture_source(&mut self, stage: &Stage) -> Result<()> {
        let (what, root) = (self.source_arguments()?, self.source_root(stage));
        let is_container = matches!(self.source, Source::Container(_));
        let client = self.client();
        self.capture(stage, &what, (&root, is_container), client)
    }

    /// A restored container, or what is mounted somewhere, is captured like anything else.
    pub(crate) fn capture_use(&mut self, stage: &Stage) -> Result<()> {
        let numbers: Vec<_> = (0..self.uses.len()).collect();
        let Some(number) = self.pick(&numbers) else {
            return Ok(());
        };
        let (what, root, is_container) = match &self.uses[number].place {
            Place::Container { id, root } => (vec![id.clone()], root.clone(), true),
            Place::Folder { path, .. } => {
                let what = vec!["--path".to_owned(), text(path)?.to_owned()];
                (what, path.clone(), false)
            }
        };
        // Its end does not wait for a capture that goes on without its client.
        self.capture(stage, &what, (&root, is_container), Client::Patient)
    }

    fn capture(
        &mut self,
        stage: &Stage,
        what: &[String],
        (root, is_container): (&Path, bool),
        client: Client,
    ) -> Result<()> {
        if self.doubts.is_captured {
            return Ok(());
        }
        let label = self.new_name("-");
        let tag = format!("{LABEL}={label}");
        let mut arguments = vec!["create", "--quiet", "--label", &tag];
        arguments.extend(what.iter().map(String::as_str));
        let seconds = 2 + self.dice.below(40);
        let ttl = format!("{seconds}s");
        let is_short = self.dice.below(4) == 0;
        arguments.extend(["--ttl", if is_short { &ttl } else { "never" }]);
        if self.dice.below(8) == 0 {
            arguments.push("--verify");
        }
        let tree = Arc::new(Tree::read(root)?.with_links_inside());
        let begun = Instant::now();
        let said = stage.ask(&arguments, client)?;
        let (id, standing) = match said {
            Said::Done(id) => (id, Standing::Kept),
            Said::Refused(answer) => return Err(unexpected(&answer)),
            Said::Cut => (String::new(), Standing::Doubtful),
        };
        stage.count(match is_container {
            true => "capture a container",
            false => "capture a folder",
        });
        self.ledger.records.push(Record {
            label,
            id,
            standing,
            is_container,
            tree,
            expires: is_short.then(|| begun + Duration::from_secs(seconds) - CLOCK_GRAIN),
            users: 0,
        });
        match standing {
            Standing::Doubtful => self.settle_capture(stage, client),
            _ => Ok(()),
        }
    }

    /// One client in ten does not live long.
    fn client(&mut self) -> Client {
        match self.dice.below(10) {
            0 => Client::KilledAfter(Duration::from_millis(1 + self.dice.below(1200))),
            _ => Client::Patient,
        }
    }

    /// Waits for what became of the capture that was cut just now, the last record.
    fn settle_capture(&mut self, stage: &Stage, client: Client) -> Result<()> {
        stage.count("cut: capture");
        let begun = Instant::now();
        loop {
            let listed: Vec<SnapshotView> = stage.read(&["list"])?;
            let record = self.ledger.records.last_mut().context("It was recorded")?;
            let label = |view: &&SnapshotView| view.labels.get(LABEL) == Some(&record.label);
            let found = listed.iter().find(label);
            match (found.map(|view| view.state), client) {
                (Some(SnapshotState::Failed), _) => {
                    record.went();
                    return remove_failed(stage, &found.context("It was found")?.id);
                }
                (Some(SnapshotState::Active), _) => {
                    record.standing = Standing::Kept;
                    record.id.clone_from(&found.context("It was found")?.id);
                    return Ok(());
                }
                // The next daemon has settled everything before it answers.
                (None, Client::Patient) => {
                    record.went();
                    return Ok(());
                }
                (Some(state), Client::Patient) => bail!("{} is {state:?}", record.label),
                (None, _) if begun.elapsed() > READ_LIMIT => {
                    self.doubts.is_captured = true;
                    return Ok(());
                }
                _ => {}
            }
            ensure!(begun.elapsed() < END_LIMIT, "{} does not end", record.label);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes a snapshot; one that is in use must be refused.
    pub(crate) fn remove(&mut self, stage: &Stage) -> Result<()> {
        let kept = self.ledger.kept();
        let Some(number) = self.pick(&kept) else {
            return Ok(());
        };
        let first = self.client();
        self.remove_record(stage, number, first).map(drop)
    }

    /// True when it is gone.
    pub(crate) fn remove_record(
        &mut self,
        stage: &Stage,
        number: usize,
        first: Client,
    ) -> Result<bool> {
        let record = &mut self.ledger.records[number];
        let arguments = ["remove", record.id.as_str()];
        let (mut said, mut is_cut) = (stage.ask(&arguments, first)?, false);
        while matches!(said, Said::Cut) {
            is_cut = true;
            stage.count("cut: remove");
            said = stage.ask(&arguments, Client::Patient)?;
        }
        match said {
            Said::Refused(answer) if answer.code == CONFLICT => {
                stage.count(match record.users {
                    0 => "refused: remove what a mount that is ending still holds",
                    _ => "refused: remove what is in use",
                });
                return Ok(false);
            }
            Said::Refused(answer) if answer.code == NOT_FOUND => ensure!(
                is_cut || !record.must_be_there(),
                "{} is lost: {}",
                record.label,
                answer.stderr
            ),
            Said::Refused(answer) => return Err(unexpected(&answer)),
            _ => stage.count("remove"),
        }
        ensure!(
            record.users == 0,
            "{} was removed while it was used",
            record.label
        );
        record.went();
        Ok(true)
    }

    pub(crate) fn set_time_to_live(&mut self, stage: &Stage) -> Result<()> {
        let kept = self.ledger.kept();
        let Some(number) = self.pick(&kept) else {
            return Ok(());
        };
        let seconds = 2 + self.dice.below(60);
        let ttl = match self.dice.below(2) {
            0 => "never".to_owned(),
            _ => format!("{seconds}s"),
        };
        let record = &mut self.ledger.records[number];
        let id = record.id.clone();
        let begun = Instant::now();
        let expires = (ttl != "never").then(|| begun + Duration::from_secs(seconds) - CLOCK_GRAIN);
        // Until it is answered either may hold.
        record.expires = record.expires.into_iter().chain(expires).min();
        match stage.insist(&["ttl", &id, &ttl])? {
            Said::Done(_) => record.expires = expires,
            said => return gone(record, said).context("Set a time to live"),
        }
        stage.count("set a time to live");
        Ok(())
    }
}

/// The record is not found, or on its way out: right when it may have expired.
pub(crate) fn gone(record: &mut Record, said: Said) -> Result<()> {
    let goes = |answer: &Answer| {
        answer.code == CONFLICT
            && answer.stderr.contains("is being removed")
            && !record.must_be_there()
    };
    match said {
        // Whoever waits for what has expired sees it go.
        Said::Refused(answer) if goes(&answer) => Ok(()),
        Said::Refused(answer) if answer.code == NOT_FOUND && !record.must_be_there() => {
            record.went();
            Ok(())
        }
        Said::Refused(answer) => Err(unexpected(&answer)),
        other => bail!("{other:?} says nothing of {}", record.label),
    }
}

/// A capture that failed because it was cut is removed like any snapshot.
pub(crate) fn remove_failed(stage: &Stage, id: &str) -> Result<()> {
    stage.count("captures that failed because they were cut");
    match stage.insist(&["remove", id])? {
        // It may have expired meanwhile, or an earlier request was cut behind the removal.
        Said::Refused(answer) if answer.code != NOT_FOUND => Err(unexpected(&answer)),
        _ => Ok(()),
    }
}
