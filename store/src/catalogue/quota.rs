//! What a namespace holds, and whether there is room for more.

use rusqlite::Transaction;

use super::{Catalogue, Failure, rows};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::Namespace,
};

/// What the snapshots of a namespace come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Those that are Creating or Active, without the results of steps of builds and the versions of volumes.
    pub snapshots: u64,
    /// What these and those in the trash added to the store when they were made.
    pub stored_bytes: u64,
    /// Those in the trash.
    pub trashed_snapshots: u64,
    /// The part of the bytes that they added.
    pub trashed_bytes: u64,
}

impl Catalogue {
    /// What is in the trash of every namespace: snapshots, and the bytes they added to the store.
    pub fn trash_size(&self) -> Result<(u64, u64)> {
        self.read("add up the trash", |transaction| trashed(transaction, None))
    }

    /// The snapshots of a namespace that have added to the store, and how many bytes each.
    pub fn stored(&self, namespace: &Namespace) -> Result<Vec<(SnapshotId, u64)>> {
        self.read("add up snapshots", |transaction| {
            let sql =
                "SELECT id, stored_bytes FROM snapshots WHERE namespace = ? AND stored_bytes > 0 AND state <> 'failed'";
            rows::collect(transaction, sql, [namespace.as_str()], |row| {
                Ok((SnapshotId::from_bytes(row.get(0)?), rows::count(row, 1)?))
            })
        })
    }

    /// What a namespace holds.
    pub fn held(&self, namespace: &Namespace) -> Result<Held> {
        self.read("add up a namespace", |transaction| {
            held(transaction, namespace)
        })
    }
}

/// What a namespace holds.
pub(super) fn held(transaction: &Transaction<'_>, namespace: &Namespace) -> Result<Held, Failure> {
    // A sum of integers that is none is an error of SQLite; one of reals is not, and as good as unlimited then.
    let sql =
        "SELECT count(*) FILTER (WHERE json_extract(labels, '$.\"snapshotd.io/step\"') IS NULL
                                  AND json_extract(labels, '$.\"snapshotd.io/volume\"') IS NULL),
               CAST(total(stored_bytes) AS INTEGER) FROM snapshots
               WHERE namespace = ? AND state IN ('creating', 'active')";
    let found = rows::collect(transaction, sql, [namespace.as_str()], |row| {
        Ok((rows::count(row, 0)?, rows::count(row, 1)?))
    })?;
    let (snapshots, stored_bytes) = found.into_iter().next().unwrap_or_default();
    let (trashed_snapshots, trashed_bytes) = trashed(transaction, Some(namespace))?;
    Ok(Held {
        snapshots,
        stored_bytes: stored_bytes.saturating_add(trashed_bytes),
        trashed_snapshots,
        trashed_bytes,
    })
}

/// What the trash of a namespace comes to: snapshots, and bytes they added to the store.
fn trashed(
    transaction: &Transaction<'_>,
    namespace: Option<&Namespace>,
) -> Result<(u64, u64), Failure> {
    let sql = "SELECT count(*), CAST(total(stored_bytes) AS INTEGER) FROM trash
               JOIN snapshots ON snapshots.id = trash.snapshot WHERE ?1 IS NULL OR namespace = ?1";
    let key = [namespace.map(Namespace::as_str)];
    let found = rows::collect(transaction, sql, key, |row| {
        Ok((rows::count(row, 0)?, rows::count(row, 1)?))
    })?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// `Error::Limit` when so many more bytes are too many.
pub(super) fn require_room(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    more_bytes: u64,
    limit: u64,
) -> Result<(), Failure> {
    let held = held(transaction, namespace)?;
    match held.stored_bytes.saturating_add(more_bytes) > limit {
        false => Ok(()),
        true => Err(Failure::Situation(Error::Limit {
            what: "Stored bytes in the namespace",
            limit,
        })),
    }
}
