//! Snapshots that the daemon makes by itself: of what, when, and what came of it.

use std::path::PathBuf;

use rusqlite::{Row, Transaction, params};

use super::{Catalogue, Failure, rows};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

const AUTOS: &str = "SELECT namespace, name, source, is_container, schedule, memory, next_at, last_at, last_snapshot, failure, failures FROM autos";

/// What is captured by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutoSource {
    /// The container of this id.
    Container(String),
    /// This folder of the host.
    Path(PathBuf),
}

/// Snapshots of a name that are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoRecord {
    /// Its namespace.
    pub namespace: Namespace,
    /// The name, with the tag `latest`.
    pub name: SnapshotName,
    /// What is captured.
    pub source: AutoSource,
    /// When, as it was written.
    pub schedule: String,
    /// Capture memory as well, where it can be had.
    pub with_memory: bool,
    /// When the next is made, in seconds since 1970; `None` for never again.
    pub next_at: Option<i64>,
    /// What came of the last.
    pub last: Option<AutoEnd>,
    /// How many have failed since one was made.
    pub failures: u64,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoEnd {
    /// When, in seconds since 1970.
    pub at: i64,
    /// The snapshot, which may be gone; or why there is none.
    pub result: std::result::Result<SnapshotId, String>,
}

impl Catalogue {
    /// Stores what is to be made by itself, in place of what was stored for the name; unless its namespace has `limit` of them already
    /// (`Error::Limit`).
    pub fn set_auto(&self, record: &AutoRecord, limit: u64) -> Result<()> {
        self.write("store an automatic snapshot", |transaction| {
            let key = [record.namespace.as_str(), record.name.name()];
            let sql = "SELECT count(*) FROM autos WHERE namespace = ? AND name != ?";
            let others: i64 = transaction.query_row(sql, key, |row| row.get(0))?;
            if others >= rows::stored(limit) {
                return Err(Failure::Situation(Error::Limit {
                    what: "Automatic snapshots in the namespace",
                    limit,
                }));
            }
            put(transaction, record)
        })
    }

    /// Forgets it and returns it; `NotFound` when there is none.
    pub fn remove_auto(&self, namespace: &Namespace, name: &SnapshotName) -> Result<AutoRecord> {
        self.write("remove an automatic snapshot", |transaction| {
            let found = of(transaction, namespace, name)?;
            let sql = "DELETE FROM autos WHERE namespace = ? AND name = ?";
            transaction.execute(sql, [namespace.as_str(), name.name()])?;
            Ok(found)
        })
    }

    /// The one of a name; `NotFound` when there is none.
    pub fn auto(&self, namespace: &Namespace, name: &SnapshotName) -> Result<AutoRecord> {
        self.read("read an automatic snapshot", |transaction| {
            of(transaction, namespace, name)
        })
    }

    /// Those of one namespace or of every one, by namespace and name.
    pub fn autos(&self, namespace: Option<&Namespace>) -> Result<Vec<AutoRecord>> {
        let namespace = namespace.map(Namespace::as_str);
        self.read("list automatic snapshots", |transaction| {
            let sql =
                format!("{AUTOS} WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, name");
            rows::collect(transaction, &sql, [namespace], decode)
        })
    }

    /// Changes what is known of one, unless it was changed or removed since it was `seen`; returns whether it was.
    pub fn update_auto(&self, seen: &AutoRecord, now: &AutoRecord) -> Result<bool> {
        self.write("note an automatic snapshot", |transaction| {
            let found = match of(transaction, &seen.namespace, &seen.name) {
                Err(Failure::Situation(Error::NotFound { .. })) => return Ok(false),
                found => found?,
            };
            if found != *seen {
                return Ok(false);
            }
            put(transaction, now)?;
            Ok(true)
        })
    }
}

fn put(transaction: &Transaction<'_>, record: &AutoRecord) -> Result<(), Failure> {
    let (source, is_container) = match &record.source {
        AutoSource::Container(id) => (id.as_bytes(), true),
        AutoSource::Path(path) => (rows::path_bytes(path), false),
    };
    let last = record.last.as_ref();
    let made = last.and_then(|last| last.result.as_ref().ok());
    let failure = last.and_then(|last| last.result.as_ref().err());
    transaction.execute(
        "INSERT OR REPLACE INTO autos
         (namespace, name, source, is_container, schedule, memory, next_at, last_at, last_snapshot, failure, failures)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            record.namespace.as_str(),
            record.name.name(),
            source,
            is_container,
            record.schedule,
            record.with_memory,
            record.next_at,
            last.map(|last| last.at),
            made.map(|id| *id.as_bytes()),
            failure,
            rows::stored(record.failures),
        ],
    )?;
    Ok(())
}

fn of(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<AutoRecord, Failure> {
    let sql = format!("{AUTOS} WHERE namespace = ? AND name = ?");
    let key = [namespace.as_str(), name.name()];
    let found = rows::collect(transaction, &sql, key, decode)?.pop();
    found.ok_or_else(|| {
        Failure::Situation(Error::NotFound {
            what: "Automatic snapshot",
            name: format!("of {} in namespace {namespace}", name.name()),
        })
    })
}

fn decode(row: &Row<'_>) -> Result<AutoRecord, Failure> {
    let source: Vec<u8> = row.get(2)?;
    let source = match row.get(3)? {
        false => AutoSource::Path(rows::path(source)),
        true => AutoSource::Container(
            String::from_utf8(source).map_err(|error| Failure::Row(error.to_string()))?,
        ),
    };
    let made: Option<[u8; 16]> = row.get(8)?;
    let result = match (made, row.get::<_, Option<String>>(9)?) {
        (Some(id), _) => Ok(SnapshotId::from_bytes(id)),
        (None, failure) => Err(failure.unwrap_or_default()),
    };
    let last_at: Option<i64> = row.get(7)?;
    Ok(AutoRecord {
        namespace: rows::parsed(&row.get::<_, String>(0)?)?,
        name: rows::parsed(&row.get::<_, String>(1)?)?,
        source,
        schedule: row.get(4)?,
        with_memory: row.get(5)?,
        next_at: row.get(6)?,
        last: last_at.map(|at| AutoEnd { at, result }),
        failures: rows::count(row, 10)?,
    })
}
