//! What a namespace holds, and whether there is room for more.

use rusqlite::Transaction;

use super::{Catalogue, Failure, rows};
use crate::{
    error::{Error, Result},
    names::Namespace,
};

/// What the snapshots of a namespace that are Creating or Active come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Their number.
    pub snapshots: u64,
    /// What they added to the store when they were made.
    pub stored_bytes: u64,
}

impl Catalogue {
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
    let sql = "SELECT count(*), CAST(total(stored_bytes) AS INTEGER) FROM snapshots
               WHERE namespace = ? AND state IN ('creating', 'active')";
    let found = rows::collect(transaction, sql, [namespace.as_str()], |row| {
        Ok(Held {
            snapshots: rows::count(row, 0)?,
            stored_bytes: rows::count(row, 1)?,
        })
    })?;
    let nothing = Held {
        snapshots: 0,
        stored_bytes: 0,
    };
    Ok(found.into_iter().next().unwrap_or(nothing))
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
