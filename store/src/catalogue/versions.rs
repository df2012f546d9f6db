//! Versions: the numbers that a name gives to what is made under it, each once.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Catalogue, Failure, MoveCause, SnapshotRecord, moves, rows};
use crate::{
    error::Result,
    ids::SnapshotId,
    manifest::MAX_VERSION,
    names::{Namespace, SnapshotName},
    naming::NamingError,
};

/// A version that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRecord {
    /// Its number.
    pub number: u64,
    /// Its snapshot.
    pub snapshot: SnapshotRecord,
}

impl Catalogue {
    /// The versions of a name that are there, the greatest first, `limit` at most, those below `before` when one is given.
    /// `Naming` when there was never such a name.
    pub fn versions(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<VersionRecord>> {
        self.read("list versions", |transaction| {
            require_known(transaction, namespace, name)?;
            let sql = "SELECT version, snapshot FROM versions
                       WHERE namespace = ?1 AND name = ?2 AND version < ?3 ORDER BY version DESC LIMIT ?4";
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let below = rows::stored(before.unwrap_or(u64::MAX));
            let key = params![namespace.as_str(), name.name(), below, limit];
            let found = rows::collect(transaction, sql, key, |row| {
                Ok((rows::count(row, 0)?, SnapshotId::from_bytes(row.get(1)?)))
            })?;
            let version = |(number, id)| -> Result<VersionRecord, Failure> {
                Ok(VersionRecord {
                    number,
                    snapshot: super::lookup::one(transaction, &id)?,
                })
            };
            found.into_iter().map(version).collect()
        })
    }

    /// The number that the next snapshot made under a name gets, if none comes between; `None` beyond the last.
    pub fn next_version(&self, namespace: &Namespace, name: &SnapshotName) -> Result<Option<u64>> {
        self.read("look at a counter", |transaction| {
            let next = last(transaction, namespace, name)? + 1;
            Ok((next <= MAX_VERSION).then_some(next))
        })
    }

    /// The greatest number each name has given, by namespace and name.
    pub(super) fn counters(&self) -> Result<BTreeMap<(String, String), u64>> {
        self.read("list counters", |transaction| {
            let sql = "SELECT namespace, name, last FROM counters";
            let rows = rows::collect(transaction, sql, [], |row| {
                Ok(((row.get(0)?, row.get(1)?), rows::count(row, 2)?))
            })?;
            Ok(rows.into_iter().collect())
        })
    }
}

/// Makes a snapshot the next version of a name: the one that is `claimed`, unless that is another snapshot's. Beyond the greatest number
/// there is, it stays without.
pub(super) fn give(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    claimed: Option<u64>,
    id: &SnapshotId,
) -> Result<(), Failure> {
    let next = last(transaction, namespace, name)? + 1;
    let number = match claimed {
        Some(claimed) if holder(transaction, namespace, name, claimed)?.is_none() => claimed,
        _ => next,
    };
    if number > MAX_VERSION {
        return Ok(());
    }
    let key = params![
        namespace.as_str(),
        name.name(),
        rows::stored(number),
        id.as_bytes()
    ];
    transaction.execute(
        "INSERT INTO versions (namespace, name, version, snapshot) VALUES (?, ?, ?, ?)",
        key,
    )?;
    transaction.execute(
        "INSERT INTO counters (namespace, name, last) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
        params![namespace.as_str(), name.name(), rows::stored(number)],
    )?;
    Ok(())
}

/// The snapshot that is this version.
pub(super) fn holder(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    number: u64,
) -> Result<Option<SnapshotRecord>, Failure> {
    let found = rows::snapshots(
        transaction,
        "WHERE id = (SELECT snapshot FROM versions WHERE namespace = ? AND name = ? AND version = ?)",
        params![namespace.as_str(), name.name(), rows::stored(number)],
    )?;
    Ok(found.into_iter().next())
}

/// The number of a snapshot under a name.
pub(super) fn number_of(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    id: &SnapshotId,
) -> Result<Option<u64>, Failure> {
    let sql = "SELECT version FROM versions WHERE snapshot = ?1 AND namespace = ?2 AND name = ?3";
    let key = params![id.as_bytes(), namespace.as_str(), name.name()];
    let found = rows::collect(transaction, sql, key, |row| rows::count(row, 0))?;
    Ok(found.into_iter().next())
}

/// The greatest number a name has given; 0 for none.
pub(super) fn last(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<u64, Failure> {
    let sql = "SELECT last FROM counters WHERE namespace = ? AND name = ?";
    let key = [namespace.as_str(), name.name()];
    let found = rows::collect(transaction, sql, key, |row| rows::count(row, 0))?;
    Ok(found.into_iter().next().unwrap_or(0))
}

/// `Naming` when nothing was ever called so.
pub(super) fn require_known(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<(), Failure> {
    let known: Option<i64> = transaction
        .query_row(
            "SELECT 1 FROM counters WHERE namespace = ?1 AND name = ?2
             UNION SELECT 1 FROM names WHERE namespace = ?1 AND name = ?2
             UNION SELECT 1 FROM moves WHERE namespace = ?1 AND name = ?2",
            [namespace.as_str(), name.name()],
            |row| row.get(0),
        )
        .optional()?;
    match known {
        Some(_) => Ok(()),
        None => Err(NamingError::UnknownName {
            name: name.name().to_owned(),
            namespace: namespace.clone(),
        }
        .into()),
    }
}

/// There is no such version: it was never made, or is gone.
pub(super) fn missing(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    version: u64,
) -> Result<NamingError, Failure> {
    let last = last(transaction, namespace, name)?;
    let name = name.name().to_owned();
    Ok(match (1..=last).contains(&version) {
        true => NamingError::Gone { name, version },
        false => NamingError::NeverMade {
            name,
            version,
            last,
        },
    })
}

/// Why a name that was looked up leads nowhere, when more is known than that there is none.
pub(super) fn explain(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<NamingError>, Failure> {
    if let Some(number) = name.number() {
        let is_known = last(transaction, namespace, name)? > 0;
        return match is_known {
            true => missing(transaction, namespace, name, number).map(Some),
            false => Ok(None),
        };
    }
    if name.tag() != SnapshotName::LATEST {
        return Ok(None);
    }
    let moves = moves::of(transaction, namespace, name)?;
    Ok(moves.first().map(|last| {
        let what = match last.from.and_then(|end| end.version) {
            Some(version) => format!("version {version}"),
            None => "the snapshot it pointed to".to_owned(),
        };
        let why = match last.cause {
            MoveCause::Untag => "it was taken away with `untag`".to_owned(),
            _ => format!("{what} was removed or has expired"),
        };
        NamingError::LatestGone {
            name: name.name().to_owned(),
            why,
        }
    }))
}
