//! What people may change of a snapshot: names, labels, times, and whether it and its names stay.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::{
    Catalogue, Failure, MoveCause, SnapshotRecord,
    SnapshotState::{Active, Creating, Failed},
    lifecycle::require,
    lookup,
    moves::{self, Moving},
    rows, versions,
};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
    naming::NamingError,
};

/// Whether a name that is given may be moved and taken away later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may.
    Movable,
    /// It stays until it is taken away by force.
    Immutable,
}

/// Whether immutable names stand in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// They do.
    No,
    /// They do not.
    Yes,
}

impl Catalogue {
    /// Sets when a snapshot expires.
    pub fn set_expiry(&self, id: &SnapshotId, expires_at: Option<i64>) -> Result<()> {
        self.write("set an expiry", |transaction| {
            require(transaction, id, &[Creating, Active, Failed])?;
            transaction.execute(
                "UPDATE snapshots SET expires_at = ?2 WHERE id = ?1",
                params![id.as_bytes(), expires_at],
            )?;
            Ok(())
        })
    }

    /// Sets how long a snapshot may go without a use, in seconds, counted from `now` (seconds since 1970) at the earliest.
    pub fn set_unused(&self, id: &SnapshotId, unused_seconds: Option<u64>, now: i64) -> Result<()> {
        self.write("set a time without use", |transaction| {
            require(transaction, id, &[Creating, Active, Failed])?;
            transaction.execute(
                "UPDATE snapshots SET unused_seconds = ?2, unused_since = ?3 WHERE id = ?1",
                params![id.as_bytes(), unused_seconds.map(rows::stored), now],
            )?;
            Ok(())
        })
    }

    /// Gives a snapshot, which must be Active, all of these names or none; `now` in seconds since 1970. A name that another one has is
    /// moved; `Naming` when that is immutable. What is immutable already stays so.
    pub fn set_names(
        &self,
        id: &SnapshotId,
        names: &[SnapshotName],
        hold: Hold,
        now: i64,
    ) -> Result<()> {
        self.write("set names", |transaction| {
            require(transaction, id, &[Active])?;
            let namespace = lookup::one(transaction, id)?.namespace;
            for name in names {
                require_movable(transaction, &namespace, name, id)?;
                point(transaction, &namespace, name, (MoveCause::Tag, now), id)?;
                if hold == Hold::Immutable {
                    keep(transaction, &namespace, name)?;
                }
            }
            Ok(())
        })
    }

    /// `Naming` when a snapshot that is made under this name could not have it, because it is immutable.
    pub fn require_free(&self, namespace: &Namespace, name: &SnapshotName) -> Result<()> {
        self.read("look at a name", |transaction| {
            match immutable_holder(transaction, namespace, name)? {
                None => Ok(()),
                Some(holder) => Err(immutable(name, holder)),
            }
        })
    }

    /// Takes a name away and returns what it pointed to; `now` in seconds since 1970. `NotFound` when there is none, `Naming` when it is
    /// immutable, unless by force.
    pub fn remove_name(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
        force: Force,
        now: i64,
    ) -> Result<SnapshotId> {
        self.write("remove a name", |transaction| {
            let Some(holder) = holder_id(transaction, namespace, name)? else {
                return Err(no_name(transaction, namespace, name)?);
            };
            if force == Force::No && immutable_holder(transaction, namespace, name)?.is_some() {
                return Err(immutable(name, holder));
            }
            if name.tag() == SnapshotName::LATEST {
                let moving = Moving {
                    namespace,
                    name,
                    cause: MoveCause::Untag,
                    at: now,
                };
                moves::make(transaction, &moving, None)?;
            }
            take(transaction, namespace, name)?;
            Ok(holder)
        })
    }

    /// Lets an Active snapshot neither expire nor be removed. No error when it is pinned already.
    pub fn pin(&self, id: &SnapshotId) -> Result<()> {
        self.write("pin a snapshot", |transaction| {
            require(transaction, id, &[Active])?;
            let sql = "UPDATE snapshots SET is_pinned = 1 WHERE id = ?";
            transaction.execute(sql, [id.as_bytes()])?;
            Ok(())
        })
    }

    /// Lets a snapshot expire and be removed again. No error when it is not pinned.
    pub fn unpin(&self, id: &SnapshotId) -> Result<()> {
        self.write("unpin a snapshot", |transaction| {
            require(transaction, id, &[Creating, Active, Failed])?;
            let sql = "UPDATE snapshots SET is_pinned = 0 WHERE id = ?";
            transaction.execute(sql, [id.as_bytes()])?;
            Ok(())
        })
    }

    /// Sets and removes labels.
    pub fn set_labels(
        &self,
        id: &SnapshotId,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<()> {
        self.write("set labels", |transaction| {
            require(transaction, id, &[Creating, Active, Failed])?;
            let mut labels = lookup::one(transaction, id)?.labels;
            labels.retain(|key, _| !remove.contains(key));
            labels.extend(set.clone());
            transaction.execute(
                "UPDATE snapshots SET labels = ?2 WHERE id = ?1",
                params![id.as_bytes(), rows::labels_text(&labels)],
            )?;
            Ok(())
        })
    }

    /// Notes that a snapshot was used.
    pub fn touch(&self, id: &SnapshotId, now: i64) -> Result<()> {
        self.write("note a use", |transaction| {
            match touch(transaction, id, now)? {
                0 => Err(Failure::Situation(lookup::not_found(id))),
                _ => Ok(()),
            }
        })
    }
}

/// Notes that a snapshot was used, and returns how many there are. A clock that went back makes no use older.
pub(super) fn touch(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
    now: i64,
) -> Result<usize, Failure> {
    let sql =
        "UPDATE snapshots SET last_used_at = max(coalesce(last_used_at, ?2), ?2) WHERE id = ?1";
    Ok(transaction.execute(sql, params![id.as_bytes(), now])?)
}

/// Makes a name point to a snapshot, wherever it pointed before; where `latest` goes is noted.
pub(super) fn point(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    (cause, at): (MoveCause, i64),
    id: &SnapshotId,
) -> Result<(), Failure> {
    if name.tag() != SnapshotName::LATEST {
        return put(transaction, namespace, name, id);
    }
    let moving = Moving {
        namespace,
        name,
        cause,
        at,
    };
    moves::make(transaction, &moving, Some(id))
}

/// The same, but for an immutable name, which stays where it is.
pub(super) fn point_if_movable(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    why: (MoveCause, i64),
    id: &SnapshotId,
) -> Result<(), Failure> {
    match immutable_holder(transaction, namespace, name)? {
        None => point(transaction, namespace, name, why, id),
        Some(_) => Ok(()),
    }
}

/// Writes that a name points to a snapshot.
pub(super) fn put(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    id: &SnapshotId,
) -> Result<(), Failure> {
    transaction.execute(
        "INSERT INTO names (namespace, name, tag, snapshot) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET snapshot = excluded.snapshot",
        params![namespace.as_str(), name.name(), name.tag(), id.as_bytes()],
    )?;
    Ok(())
}

/// Writes that a name points to nothing.
pub(super) fn take(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<(), Failure> {
    transaction.execute(
        "DELETE FROM names WHERE namespace = ? AND name = ? AND tag = ?",
        params![namespace.as_str(), name.name(), name.tag()],
    )?;
    Ok(())
}

/// Takes every name and version of a snapshot that is removed at `now`.
pub(super) fn take_all(
    transaction: &Transaction<'_>,
    record: &SnapshotRecord,
    now: i64,
) -> Result<(), Failure> {
    let is_latest = |name: &&SnapshotName| name.tag() == SnapshotName::LATEST;
    for name in record.names.iter().filter(is_latest) {
        let moving = Moving {
            namespace: &record.namespace,
            name,
            cause: MoveCause::Removal,
            at: now,
        };
        moves::make(transaction, &moving, None)?;
    }
    for table in ["names", "versions"] {
        let sql = format!("DELETE FROM {table} WHERE snapshot = ?");
        transaction.execute(&sql, [record.id.as_bytes()])?;
    }
    Ok(())
}

/// `Naming` when a snapshot is pinned, or bears an immutable name and there is no force.
pub(super) fn require_removable(record: &SnapshotRecord, force: Force) -> Result<(), Failure> {
    let snapshot = record.id;
    if record.is_pinned {
        return Err(NamingError::Pinned { snapshot }.into());
    }
    match record.immutable.first() {
        Some(tag) if force == Force::No => Err(NamingError::BearsImmutable {
            snapshot,
            tag: tag.clone(),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Makes a name immutable.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<(), Failure> {
    if name.tag() == SnapshotName::LATEST {
        return Err(NamingError::LatestMoves { tag: name.clone() }.into());
    }
    transaction.execute(
        "UPDATE names SET is_immutable = 1 WHERE namespace = ? AND name = ? AND tag = ?",
        params![namespace.as_str(), name.name(), name.tag()],
    )?;
    Ok(())
}

/// `Naming` when the name is immutable and points to another snapshot.
fn require_movable(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    id: &SnapshotId,
) -> Result<(), Failure> {
    match immutable_holder(transaction, namespace, name)? {
        Some(holder) if holder != *id => Err(immutable(name, holder)),
        _ => Ok(()),
    }
}

fn immutable(name: &SnapshotName, snapshot: SnapshotId) -> Failure {
    let tag = name.clone();
    NamingError::Immutable { tag, snapshot }.into()
}

/// There is no such name to take away.
fn no_name(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Failure, Failure> {
    if let Some(number) = name.number()
        && versions::holder(transaction, namespace, name, number)?.is_some()
    {
        return Ok(NamingError::IsVersion { name: name.clone() }.into());
    }
    Ok(Failure::Situation(Error::NotFound {
        what: "Name",
        name: format!("{name} in namespace {namespace}"),
    }))
}

/// The snapshot a name points to.
pub(super) fn holder(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<SnapshotRecord>, Failure> {
    let found = rows::snapshots(
        transaction,
        "WHERE id = (SELECT snapshot FROM names WHERE namespace = ? AND name = ? AND tag = ?)",
        params![namespace.as_str(), name.name(), name.tag()],
    )?;
    Ok(found.into_iter().next())
}

/// The id of the snapshot a name points to.
pub(super) fn holder_id(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<SnapshotId>, Failure> {
    id_of(transaction, namespace, name, "")
}

/// The same, when the name is immutable.
fn immutable_holder(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<SnapshotId>, Failure> {
    id_of(transaction, namespace, name, "AND is_immutable")
}

fn id_of(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    also: &str,
) -> Result<Option<SnapshotId>, Failure> {
    let sql =
        format!("SELECT snapshot FROM names WHERE namespace = ? AND name = ? AND tag = ? {also}");
    let key = params![namespace.as_str(), name.name(), name.tag()];
    let found = rows::collect(transaction, &sql, key, |row| {
        Ok(SnapshotId::from_bytes(row.get(0)?))
    })?;
    Ok(found.into_iter().next())
}
