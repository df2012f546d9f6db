//! Answers out of a view, and what is said where there is none.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use fuser::{Errno, INodeNo};
use tracing::error;

use super::{
    crew::CrewReport,
    errors::{DamageLog, errno},
    flights::Flight,
    pulse::{InFlight, MAX_LISTED, Pulse},
    refusal::{Namer, waits_for},
};
use crate::view::{Name, Result, View};

/// Entries fetched at once for a listing; about a kernel buffer full.
const LISTING_BATCH: usize = 128;
/// Longer paths are cut: there are many in one answer.
const MAX_PATH_BYTES: usize = 1024;
/// Younger requests are shown without their path: most of them are gone before anybody reads it.
const NAMED_FROM_MS: u64 = 500;

/// What the crew answers from.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) view: Arc<View>,
    damage: DamageLog,
    namer: Namer,
}

impl Answers {
    pub(super) fn new(view: View) -> Self {
        let view = Arc::new(view);
        Self {
            damage: DamageLog::default(),
            namer: Namer::new(Arc::clone(&view)),
            view,
        }
    }

    /// Asks the view; a panic ends this request alone, not the thread that answers requests.
    pub(super) fn ask<T>(
        &self,
        node: INodeNo,
        question: impl FnOnce(&View) -> Result<T>,
    ) -> Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(|| question(&self.view))) {
            Ok(answer) => answer.map_err(|problem| {
                self.damage.note(&self.view, node.0, &problem);
                errno(&problem)
            }),
            Err(_) => {
                error!(node = node.0, snapshot = %self.view.snapshot(), "A request panicked");
                Err(Errno::EIO)
            }
        }
    }

    /// Calls `add` for the names of a folder from `offset` on until it says that its buffer is full.
    pub(super) fn list(
        &self,
        folder: INodeNo,
        mut offset: u64,
        mut add: impl FnMut(&Name) -> bool,
    ) -> Result<(), Errno> {
        loop {
            let names = self.ask(folder, |view| view.entries(folder.0, offset, LISTING_BATCH))?;
            let Some(last) = names.last() else {
                return Ok(());
            };
            offset = last.next;
            if names.iter().any(&mut add) {
                return Ok(());
            }
        }
    }

    /// Says in the log which request was refused because it waited too long, and for what.
    pub(super) fn tell_of_refusal(&self, flight: &Flight) {
        let shown = self.in_flight(flight);
        let path = shown.path.unwrap_or_else(|| format!("node {}", shown.node));
        let waits_for = waits_for(flight.thread, self.view.root());
        error!(
            %path,
            kind = shown.kind,
            offset = shown.offset,
            bytes = shown.size,
            waited_ms = shown.age_ms,
            waits_for,
            snapshot = %self.view.snapshot(),
            "A request was not answered in time and is refused with an input/output error"
        );
    }

    /// How the server is.
    pub(super) fn pulse(&self, report: &CrewReport) -> Pulse {
        let listed = report.flights.iter().take(MAX_LISTED);
        let foresight = self.view.foresight();
        Pulse {
            pid: std::process::id(),
            in_flight: report.flights.len() as u64,
            refused: report.refused,
            lost_threads: report.lost as u64,
            foreseen_bytes: foresight.foreseen_bytes,
            met_bytes: foresight.met_bytes,
            late_bytes: foresight.late_bytes,
            requests: listed.map(|flight| self.in_flight(flight)).collect(),
        }
    }

    fn in_flight(&self, flight: &Flight) -> InFlight {
        let (about, age_ms) = (&flight.about, flight.age.as_millis() as u64);
        let path = (age_ms >= NAMED_FROM_MS).then(|| self.namer.path_of(about.node));
        let path = path.flatten().map(|mut path| {
            // It is escaped, and so has a byte a letter.
            path.truncate(MAX_PATH_BYTES);
            path
        });
        InFlight {
            kind: about.kind.as_str().to_owned(),
            node: about.node,
            path,
            offset: about.offset,
            size: about.size,
            age_ms,
            refused: flight.is_refused,
        }
    }
}
