//! What is known of collections between them: what the last one found, and what may have died since.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};
use snap_api::{CollectionStatus, LastCollection};
use snap_store::{CollectReport, SnapshotRecord};
use tracing::warn;

use crate::{clock, host::Host};

/// What the last one is remembered by in the catalogue.
const NOTE: &str = "collection";

/// What the daemon knows of collections.
#[derive(Debug, Default)]
pub struct Past {
    last: Mutex<Option<Last>>,
    /// Bytes that snapshots had added which are gone since.
    died_bytes: AtomicU64,
    /// Snapshots that were removed since the start.
    removals: AtomicU64,
}

/// The last collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// Seconds since 1970.
    pub(crate) ended_at: i64,
    pub(crate) live_bytes: u64,
    /// What no snapshot needs and still takes space.
    pub(crate) dead_bytes: u64,
    /// The part of it that waits for its grace period.
    pub(crate) waiting_bytes: u64,
    pub(crate) freed_bytes: u64,
}

/// What had died when a collection began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Died(u64);

impl Past {
    /// Takes up what an earlier daemon has noted.
    pub(crate) fn recall(&self, host: &Host) {
        let noted = host.catalogue.note(NOTE).ok().flatten();
        let last = noted.and_then(|text| serde_json::from_str(&text).ok());
        *self.lock() = last;
    }

    /// Notes that a snapshot is gone.
    pub(crate) fn removed(&self, record: &SnapshotRecord) {
        self.died_bytes.fetch_add(record.stored_bytes, Relaxed);
        self.removals.fetch_add(1, Relaxed);
    }

    /// Snapshots that were removed since the start.
    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Relaxed)
    }

    /// Bytes that may have died since the last collection.
    pub(super) fn died_bytes(&self) -> u64 {
        self.died_bytes.load(Relaxed)
    }

    pub(super) fn died(&self) -> Died {
        Died(self.died_bytes())
    }

    /// The last collection.
    pub(crate) fn last(&self) -> Option<Last> {
        self.lock().clone()
    }

    /// Notes the end of a collection that began when `died` had died.
    pub(super) fn note(&self, host: &Host, died: Died, report: &CollectReport) {
        let last = Last {
            ended_at: clock::now(),
            live_bytes: report.live_bytes,
            dead_bytes: report.dead_bytes.saturating_sub(report.freed_bytes),
            waiting_bytes: report.waiting_bytes,
            freed_bytes: report.freed_bytes,
        };
        let text = serde_json::to_string(&last).expect("numbers are always JSON");
        // On a full disk the next collection comes sooner after a restart than it would have.
        if let Err(error) = host.catalogue.set_note(NOTE, &text) {
            warn!(%error, "Cannot note when the store was collected");
        }
        *self.lock() = Some(last);
        self.died_bytes.fetch_sub(died.0, Relaxed);
    }

    /// How collection is, for `status`.
    pub(crate) fn status(&self, host: &Host) -> CollectionStatus {
        CollectionStatus {
            last: self.last().map(|last| LastCollection {
                ended_at: clock::rfc3339(last.ended_at),
                live_bytes: last.live_bytes,
                dead_bytes: last.dead_bytes,
                waiting_bytes: last.waiting_bytes,
                freed_bytes: last.freed_bytes,
            }),
            next_at: host.dues.collection.next().map(clock::rfc3339),
            failure: host.dues.collection.failure(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
