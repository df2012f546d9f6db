//! Rollback: `latest` goes back to an older version, and forth again when that is undone.

use rusqlite::{Transaction, params};

use super::{
    Catalogue, Failure, Move, MoveCause, MoveEnd, SnapshotState, lookup,
    moves::{self, Moving},
    naming, rows, versions,
};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
    naming::NamingError,
};

/// Where a rollback goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackTo {
    /// To the greatest active version below the one `latest` points to, or last pointed to.
    Older,
    /// To this version.
    Version(u64),
    /// To where `latest` was before the last rollback that was not undone.
    Undo,
}

/// What a rollback did. Both ends are the same when `latest` was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// What `latest` pointed to.
    pub from: Option<MoveEnd>,
    /// What it points to now.
    pub to: MoveEnd,
}

impl Catalogue {
    /// Moves `latest` of a name back, or forth again; `now` in seconds since 1970. `Naming` when there is nothing to go to.
    pub fn roll_back(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
        to: RollbackTo,
        now: i64,
    ) -> Result<Rollback> {
        self.write("roll a name back", |transaction| {
            versions::require_known(transaction, namespace, name)?;
            let moving = Moving {
                namespace,
                name,
                cause: match to {
                    RollbackTo::Undo => MoveCause::Undo,
                    RollbackTo::Older | RollbackTo::Version(_) => MoveCause::Rollback,
                },
                at: now,
            };
            let latest = naming::holder_id(transaction, namespace, &name.latest())?;
            let from = latest
                .map(|id| moves::end(transaction, &moving, &id))
                .transpose()?;
            let target = match to {
                RollbackTo::Older => older(transaction, &moving, from)?,
                RollbackTo::Version(version) => this(transaction, &moving, version)?,
                RollbackTo::Undo => before_rollback(transaction, &moving)?,
            };
            moves::make(transaction, &moving, Some(&target))?;
            let to = moves::end(transaction, &moving, &target)?;
            Ok(Rollback { from, to })
        })
    }
}

/// The greatest active version below the one that `latest` points to, or pointed to before that was gone. When that is no version of the
/// name, every version is below.
fn older(
    transaction: &Transaction<'_>,
    moving: &Moving<'_>,
    from: Option<MoveEnd>,
) -> Result<SnapshotId, Failure> {
    let Moving {
        namespace, name, ..
    } = *moving;
    let current = match from {
        Some(end) => end.version,
        None => {
            let moves = moves::of(transaction, namespace, name)?;
            moves.first().and_then(|last| last.from?.version)
        }
    };
    let sql =
        "SELECT versions.snapshot FROM versions JOIN snapshots ON snapshots.id = versions.snapshot
               WHERE versions.namespace = ?1 AND versions.name = ?2 AND versions.version < ?3
               AND snapshots.state = 'active' ORDER BY versions.version DESC LIMIT 1";
    let below = rows::stored(current.unwrap_or(u64::MAX));
    let key = params![namespace.as_str(), name.name(), below];
    let found = rows::collect(transaction, sql, key, |row| {
        Ok(SnapshotId::from_bytes(row.get(0)?))
    })?;
    found.into_iter().next().ok_or_else(|| {
        let before = current.map_or_else(String::new, |current| format!(" before {current}"));
        NamingError::NoOlder {
            name: name.name().to_owned(),
            before,
        }
        .into()
    })
}

/// The version of this number, which must be active.
fn this(
    transaction: &Transaction<'_>,
    moving: &Moving<'_>,
    version: u64,
) -> Result<SnapshotId, Failure> {
    let Moving {
        namespace, name, ..
    } = *moving;
    match versions::holder(transaction, namespace, name, version)? {
        None => Err(versions::missing(transaction, namespace, name, version)?.into()),
        Some(found) if found.state == SnapshotState::Active => Ok(found.id),
        Some(found) => Err(NamingError::NotActive {
            name: name.name().to_owned(),
            version,
            state: found.state.as_str(),
        }
        .into()),
    }
}

/// What `latest` pointed to before the last rollback that was not undone.
fn before_rollback(
    transaction: &Transaction<'_>,
    moving: &Moving<'_>,
) -> Result<SnapshotId, Failure> {
    let name = moving.name.name().to_owned();
    let moves = moves::of(transaction, moving.namespace, moving.name)?;
    let before = match not_undone(&moves) {
        Ok(rollback) => rollback.from,
        Err(None) => return Err(NamingError::NothingToUndo { name }.into()),
        Err(Some(cause)) => {
            let cause = cause.as_str();
            return Err(NamingError::MovedSince { name, cause }.into());
        }
    };
    let Some(before) = before else {
        return Err(NamingError::UndoGone { name }.into());
    };
    match lookup::one(transaction, &before.snapshot) {
        Ok(found) if found.state == SnapshotState::Active => Ok(found.id),
        Ok(_) | Err(Failure::Situation(Error::NotFound { .. })) => {
            Err(NamingError::UndoGone { name }.into())
        }
        Err(failure) => Err(failure),
    }
}

/// Of the moves, newest first, the last rollback that was not undone; or what has moved `latest` since, by intent.
fn not_undone(moves: &[Move]) -> Result<&Move, Option<MoveCause>> {
    let (mut undone, mut since) = (0_u64, None);
    for one in moves {
        match one.cause {
            MoveCause::Undo => undone += 1,
            MoveCause::Rollback if undone > 0 => undone -= 1,
            MoveCause::Rollback => return since.map_or(Ok(one), |cause| Err(Some(cause))),
            MoveCause::Create | MoveCause::Tag => since = since.or(Some(one.cause)),
            MoveCause::Untag | MoveCause::Removal => {}
        }
    }
    Err(None)
}
