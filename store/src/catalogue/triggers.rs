//! Ends of containers that snapshots are made upon: which was met last, when something is due, and what came of it.

use std::str::FromStr;

use rusqlite::{Row, Transaction, params};

use super::{AutoEnd, Catalogue, Failure, rows};
use crate::{error::Result, ids::SnapshotId, names::Namespace};

const TRIGGERS: &str = "SELECT namespace, container, cause, ended_ms, due_at, quiet_until, strikes, held_back, last_at, last_snapshot, failure, failures FROM triggers";

/// Why a container's task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndCause {
    /// By itself.
    Exit,
    /// By a signal.
    Stop,
    /// By its limit of memory.
    Oom,
}

impl EndCause {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Exit, Self::Stop, Self::Oom];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Stop => "stop",
            Self::Oom => "oom",
        }
    }
}

impl FromStr for EndCause {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|cause| cause.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is none of exit, stop and oom"))
    }
}

/// What is known of the ends of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerRecord {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its id.
    pub container: String,
    /// Why it ended last.
    pub cause: EndCause,
    /// When that was, in milliseconds since 1970; no end up to then is met again.
    pub ended_ms: i64,
    /// When a snapshot is due, in seconds since 1970.
    pub due_at: Option<i64>,
    /// Not before then is another one made, in seconds since 1970.
    pub quiet_until: i64,
    /// How often one was made in quick succession.
    pub strikes: u64,
    /// How many ends are waiting for the one that is due.
    pub held_back: u64,
    /// What came of the last.
    pub last: Option<AutoEnd>,
    /// How many have failed since one was made.
    pub failures: u64,
}

impl Catalogue {
    /// Those of one namespace or of every one, by namespace and container.
    pub fn triggers(&self, namespace: Option<&Namespace>) -> Result<Vec<TriggerRecord>> {
        let namespace = namespace.map(Namespace::as_str);
        self.read("list ends of containers", |transaction| {
            let sql = format!(
                "{TRIGGERS} WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, container"
            );
            rows::collect(transaction, &sql, [namespace], decode)
        })
    }

    /// What is known of the ends of one container.
    pub fn trigger(&self, namespace: &Namespace, container: &str) -> Result<Option<TriggerRecord>> {
        self.read("look up the ends of a container", |transaction| {
            of(transaction, namespace, container)
        })
    }

    /// Stores what is known of one now, unless it has changed since it was `seen`; returns whether it was stored.
    pub fn update_trigger(
        &self,
        seen: Option<&TriggerRecord>,
        now: &TriggerRecord,
    ) -> Result<bool> {
        self.write("note the end of a container", |transaction| {
            let found = of(transaction, &now.namespace, &now.container)?;
            if found.as_ref() != seen {
                return Ok(false);
            }
            put(transaction, now)?;
            Ok(true)
        })
    }

    /// Forgets the ends of a container.
    pub fn remove_trigger(&self, namespace: &Namespace, container: &str) -> Result<()> {
        self.write("forget the ends of a container", |transaction| {
            let sql = "DELETE FROM triggers WHERE namespace = ? AND container = ?";
            transaction.execute(sql, [namespace.as_str(), container])?;
            Ok(())
        })
    }
}

fn put(transaction: &Transaction<'_>, record: &TriggerRecord) -> Result<(), Failure> {
    let last = record.last.as_ref();
    let made = last.and_then(|last| last.result.as_ref().ok());
    let failure = last.and_then(|last| last.result.as_ref().err());
    transaction.execute(
        "INSERT OR REPLACE INTO triggers
         (namespace, container, cause, ended_ms, due_at, quiet_until, strikes, held_back, last_at, last_snapshot, failure, failures)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            record.namespace.as_str(),
            record.container,
            record.cause.as_str(),
            record.ended_ms,
            record.due_at,
            record.quiet_until,
            rows::stored(record.strikes),
            rows::stored(record.held_back),
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
    container: &str,
) -> Result<Option<TriggerRecord>, Failure> {
    let sql = format!("{TRIGGERS} WHERE namespace = ? AND container = ?");
    let key = [namespace.as_str(), container];
    Ok(rows::collect(transaction, &sql, key, decode)?.pop())
}

fn decode(row: &Row<'_>) -> Result<TriggerRecord, Failure> {
    let made: Option<[u8; 16]> = row.get(9)?;
    let result = match (made, row.get::<_, Option<String>>(10)?) {
        (Some(id), _) => Ok(SnapshotId::from_bytes(id)),
        (None, failure) => Err(failure.unwrap_or_default()),
    };
    let last_at: Option<i64> = row.get(8)?;
    let cause: String = row.get(2)?;
    Ok(TriggerRecord {
        namespace: rows::parsed(&row.get::<_, String>(0)?)?,
        container: row.get(1)?,
        cause: cause.parse().map_err(Failure::Row)?,
        ended_ms: row.get(3)?,
        due_at: row.get(4)?,
        quiet_until: row.get(5)?,
        strikes: rows::count(row, 6)?,
        held_back: rows::count(row, 7)?,
        last: last_at.map(|at| AutoEnd { at, result }),
        failures: rows::count(row, 11)?,
    })
}
