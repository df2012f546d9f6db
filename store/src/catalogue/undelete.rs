//! Back from the trash: as much of what a snapshot was called as nobody else is called meanwhile.

use rusqlite::{Transaction, params};

use super::{
    Failure, MoveCause, SnapshotRecord, TrashRecord, lookup, moves, naming, quota, versions,
};
use crate::{
    error::Error,
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

/// How snapshots come back.
#[derive(Clone, Copy, Debug)]
pub struct Undeletion {
    /// Snapshots that their namespace may hold.
    pub limit: u64,
    /// Seconds since 1970.
    pub now: i64,
    /// When those expire from now on whose time to live is over, in seconds since 1970; `None` for never.
    pub expires_at: Option<i64>,
}

/// A snapshot that is back.
#[derive(Clone, Debug, PartialEq)]
pub struct Undeleted {
    /// The snapshot as it is now.
    pub snapshot: SnapshotRecord,
    /// Names and versions it had that are another's now, or that point to nothing by somebody's will.
    pub lost: Vec<SnapshotName>,
    /// True when its time to live was over, and it has a new one.
    pub is_ttl_renewed: bool,
}

/// Makes what was in the trash Active.
pub(super) fn give_back(
    transaction: &Transaction<'_>,
    trashed: TrashRecord,
    how: &Undeletion,
) -> Result<Undeleted, Failure> {
    let was = trashed.snapshot;
    if quota::held(transaction, &was.namespace)?.snapshots >= how.limit {
        return Err(Failure::Situation(Error::Limit {
            what: "Snapshots in the namespace",
            limit: how.limit,
        }));
    }
    let is_ttl_renewed = was.expires_at.is_some_and(|at| at <= how.now);
    let expires_at = match is_ttl_renewed {
        true => how.expires_at,
        false => was.expires_at,
    };
    transaction.execute(
        "UPDATE snapshots SET state = 'active', expires_at = ?2,
         unused_since = CASE WHEN unused_seconds IS NULL THEN unused_since ELSE ?3 END WHERE id = ?1",
        params![was.id.as_bytes(), expires_at, how.now],
    )?;
    let mut lost = Vec::new();
    for version in &was.versions {
        if !number(transaction, &was, version)? {
            lost.push(version.clone());
        }
    }
    for name in &was.names {
        if !name_again(transaction, &was, name)? {
            lost.push(name.clone());
        }
    }
    Ok(Undeleted {
        snapshot: lookup::one(transaction, &was.id)?,
        lost,
        is_ttl_renewed,
    })
}

/// Gives a version its number again; false when another has it. Only a catalogue that was put back can have given it twice.
fn number(
    transaction: &Transaction<'_>,
    was: &SnapshotRecord,
    version: &SnapshotName,
) -> Result<bool, Failure> {
    let Some(number) = version.number() else {
        return Ok(false);
    };
    let namespace = &was.namespace;
    if versions::holder(transaction, namespace, version, number)?.is_some() {
        return Ok(false);
    }
    versions::give(transaction, namespace, version, Some(number), &was.id)?;
    Ok(true)
}

/// Gives a name back that is nobody's; false when it is another's.
fn name_again(
    transaction: &Transaction<'_>,
    was: &SnapshotRecord,
    name: &SnapshotName,
) -> Result<bool, Failure> {
    let namespace = &was.namespace;
    if naming::holder_id(transaction, namespace, name)?.is_some() {
        return Ok(false);
    }
    if name.tag() == SnapshotName::LATEST && !undo_removal(transaction, namespace, name, &was.id)? {
        return Ok(false);
    }
    naming::put(transaction, namespace, name, &was.id)?;
    if was.immutable.contains(name) {
        naming::keep(transaction, namespace, name)?;
    }
    Ok(true)
}

/// Forgets that `latest` lost this snapshot, when nothing has moved it since: it is as if that had not been removed.
fn undo_removal(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    id: &SnapshotId,
) -> Result<bool, Failure> {
    let moves = moves::of(transaction, namespace, name)?;
    let is_undone = moves.first().is_some_and(|last| {
        last.cause == MoveCause::Removal && last.from.is_some_and(|from| from.snapshot == *id)
    });
    if is_undone {
        transaction.execute(
            "DELETE FROM moves WHERE namespace = ?1 AND name = ?2
             AND number = (SELECT max(number) FROM moves WHERE namespace = ?1 AND name = ?2)",
            [namespace.as_str(), name.name()],
        )?;
    }
    Ok(is_undone)
}
