//! The account of one worker: what was acknowledged, what is in doubt, and what must be gone.

use std::{sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use snap_api::{SnapshotState, SnapshotView};
use snap_tests::Tree;

/// The label that says which record of which worker a snapshot is.
pub(crate) const LABEL: &str = "soak";

/// What is known of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its making was cut: it may be there, and may yet appear.
    Doubtful,
    /// It was acknowledged, or seen: it must be there and equal.
    Kept,
    /// It was removed, or has expired, or was never made: it must not be there.
    Gone,
}

/// One snapshot.
#[derive(Debug)]
pub(crate) struct Record {
    /// The value of its label.
    pub(crate) label: String,
    /// Its id; empty while it is not known.
    pub(crate) id: String,
    pub(crate) standing: Standing,
    pub(crate) is_container: bool,
    /// What it must hold; dropped once it is gone.
    pub(crate) tree: Arc<Tree>,
    /// From then on it may be gone; once this is past for long it must be.
    pub(crate) expires: Option<Instant>,
    /// Containers and folders of ours that stand on it.
    pub(crate) users: usize,
}

impl Record {
    /// True when its time to live may be over.
    pub(crate) fn has_expired(&self) -> bool {
        self.expires
            .is_some_and(|expires| Instant::now() >= expires)
    }

    /// True when nobody may have removed it.
    pub(crate) fn must_be_there(&self) -> bool {
        self.standing == Standing::Kept && (self.users > 0 || !self.has_expired())
    }

    pub(crate) fn is_due(&self) -> bool {
        self.standing == Standing::Kept && self.users == 0 && !self.must_be_there()
    }

    /// It is not there any more, and must not come back.
    pub(crate) fn went(&mut self) {
        self.standing = Standing::Gone;
        self.tree = Arc::default();
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) records: Vec<Record>,
}

impl Ledger {
    /// Those of one standing.
    pub(crate) fn numbers(&self, is_meant: impl Fn(&Record) -> bool) -> Vec<usize> {
        let all = self.records.iter().enumerate();
        all.filter(|(_, record)| is_meant(record))
            .map(|(number, _)| number)
            .collect()
    }

    pub(crate) fn kept(&self) -> Vec<usize> {
        self.numbers(|record| record.standing == Standing::Kept)
    }

    /// Compares the account with a listing that was made while nothing was under way. Returns the failed ones, which are to be
    /// removed.
    ///
    /// # Errors
    /// What was lost, what came back, and what nobody made.
    pub(crate) fn compare(&mut self, worker: &str, listed: &[SnapshotView]) -> Result<Vec<String>> {
        let mut failed = Vec::new();
        let label = |view: &SnapshotView| view.labels.get(LABEL).cloned().unwrap_or_default();
        for view in listed {
            let label = label(view);
            let is_ours = label.starts_with(&format!("{worker}-"));
            let is_known = self.records.iter().any(|record| record.label == label);
            ensure!(is_known || !is_ours, "Nobody has made {view:?}");
        }
        for record in &mut self.records {
            let found = listed.iter().find(|view| label(view) == record.label);
            let state = found.map(|view| view.state);
            match (record.standing, state) {
                (Standing::Gone, None) => {}
                (Standing::Gone, Some(_)) => {
                    anyhow::bail!("{} was removed and is there: {found:?}", record.label)
                }
                (Standing::Kept, Some(SnapshotState::Active)) => {}
                (Standing::Kept, None) if !record.must_be_there() => record.went(),
                // Being removed because it has expired: whoever waits for that sees it go.
                (Standing::Kept, Some(SnapshotState::Deleting)) if !record.must_be_there() => {}
                (Standing::Kept, _) => anyhow::bail!(
                    "{}, snapshot {}, is lost: {found:?}",
                    record.label,
                    record.id
                ),
                (Standing::Doubtful, Some(SnapshotState::Active)) => {
                    record.standing = Standing::Kept;
                    record.id = found.map(|view| view.id.clone()).unwrap_or_default();
                }
                (Standing::Doubtful, Some(SnapshotState::Failed)) => {
                    failed.extend(found.map(|view| view.id.clone()));
                    record.went();
                }
                (Standing::Doubtful, None) => record.went(),
                (Standing::Doubtful, Some(_)) => {
                    anyhow::bail!("{} is not settled: {found:?}", record.label)
                }
            }
        }
        Ok(failed)
    }
}
