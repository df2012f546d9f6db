//! What snapshots were restored for: how often, how many containers came of it, and how much time that saved.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Catalogue, Failure, lookup, naming, rows};
use crate::{error::Result, ids::SnapshotId};

/// Restores of a snapshot, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restores {
    /// How often it was restored.
    pub restores: u64,
    /// Containers that came of it.
    pub containers: u64,
    /// What that took less than copying the data would have, in microseconds.
    pub saved_us: u64,
}

impl Catalogue {
    /// Notes a restore that made so many containers at `now`, in seconds since 1970; it is a use of the snapshot.
    pub fn note_restore(
        &self,
        id: &SnapshotId,
        containers: u64,
        saved_us: u64,
        now: i64,
    ) -> Result<()> {
        self.write("note a restore", |transaction| {
            if naming::touch(transaction, id, now)? == 0 {
                return Err(Failure::Situation(lookup::not_found(id)));
            }
            // Sums of integers that are none would be an error.
            transaction.execute(
                "INSERT INTO restores (snapshot, restores, containers, saved_us) VALUES (?1, 1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET restores = restores + 1,
                 containers = containers + min(excluded.containers, 1 << 40), saved_us = saved_us + excluded.saved_us",
                params![
                    id.as_bytes(),
                    rows::stored(containers),
                    rows::stored(saved_us.min(MOST_SAVED_US)),
                ],
            )?;
            Ok(())
        })
    }

    /// The restores of every snapshot that was restored.
    pub fn restores(&self) -> Result<BTreeMap<SnapshotId, Restores>> {
        self.read("list restores", |transaction| {
            let sql = "SELECT snapshot, restores, containers, saved_us FROM restores";
            let found = rows::collect(transaction, sql, [], |row| {
                let restores = Restores {
                    restores: rows::count(row, 1)?,
                    containers: rows::count(row, 2)?,
                    saved_us: rows::count(row, 3)?,
                };
                Ok((SnapshotId::from_bytes(row.get(0)?), restores))
            })?;
            Ok(found.into_iter().collect())
        })
    }
}

/// What one restore saves at most: a year, so that sums of them stay numbers.
const MOST_SAVED_US: u64 = 365 * 24 * 60 * 60 * 1_000_000;
