//! Where the tag `latest` of a name went, when and why: the last moves of each name, also when what they lead to is gone.

use rusqlite::{Row, Transaction, params};

use super::{Catalogue, Failure, naming, rows, versions};
use crate::{
    error::Result,
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

/// Moves of a name that are kept.
const KEPT: i64 = 100;
const MOVES: &str =
    "SELECT moved_at, cause, from_id, from_version, to_id, to_version, number FROM moves";

/// Why `latest` moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveCause {
    /// A snapshot was made under the name.
    Create,
    /// Somebody gave it.
    Tag,
    /// Somebody took it away.
    Untag,
    /// A rollback.
    Rollback,
    /// A rollback was undone.
    Undo,
    /// What it pointed to was removed or has expired.
    Removal,
}

impl MoveCause {
    const ALL: [Self; 6] = [
        Self::Create,
        Self::Tag,
        Self::Untag,
        Self::Rollback,
        Self::Undo,
        Self::Removal,
    ];

    /// The cause as one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Tag => "tag",
            Self::Untag => "untag",
            Self::Rollback => "rollback",
            Self::Undo => "undo",
            Self::Removal => "removal",
        }
    }
}

/// One end of a move. The snapshot may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveEnd {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Which version of the name it was; `None` when it was none.
    pub version: Option<u64>,
}

/// A move of `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// When, in seconds since 1970; for a create, when the snapshot was made.
    pub at: i64,
    /// Why.
    pub cause: MoveCause,
    /// What it pointed to before.
    pub from: Option<MoveEnd>,
    /// What it points to since.
    pub to: Option<MoveEnd>,
}

/// A move that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving<'a> {
    pub(super) namespace: &'a Namespace,
    /// The name, whatever its tag.
    pub(super) name: &'a SnapshotName,
    pub(super) cause: MoveCause,
    /// Seconds since 1970.
    pub(super) at: i64,
}

impl Catalogue {
    /// The moves of `latest` of a name, newest first: the last hundred. `Naming` when there was never such a name.
    pub fn moves(&self, namespace: &Namespace, name: &SnapshotName) -> Result<Vec<Move>> {
        self.read("list moves", |transaction| {
            versions::require_known(transaction, namespace, name)?;
            of(transaction, namespace, name)
        })
    }

    /// Every move of every name.
    pub(super) fn all_moves(&self) -> Result<Vec<Move>> {
        self.read("list all moves", |transaction| {
            let sql = format!("{MOVES} ORDER BY namespace, name, number");
            rows::collect(transaction, &sql, [], decode)
        })
    }
}

/// The moves of a name, newest first.
pub(super) fn of(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Vec<Move>, Failure> {
    let sql = format!("{MOVES} WHERE namespace = ? AND name = ? ORDER BY number DESC");
    rows::collect(transaction, &sql, [namespace.as_str(), name.name()], decode)
}

/// Moves `latest` to a snapshot, or takes it away, and notes that. Nothing is noted when it is there already.
pub(super) fn make(
    transaction: &Transaction<'_>,
    moving: &Moving<'_>,
    to: Option<&SnapshotId>,
) -> Result<(), Failure> {
    let (namespace, latest) = (moving.namespace, moving.name.latest());
    let from = naming::holder_id(transaction, namespace, &latest)?;
    if from.as_ref() == to {
        return Ok(());
    }
    note(transaction, moving, from.as_ref(), to)?;
    match to {
        Some(id) => naming::put(transaction, namespace, &latest, id),
        None => naming::take(transaction, namespace, &latest),
    }
}

/// One end of a move, with the number that the snapshot has under the name.
pub(super) fn end(
    transaction: &Transaction<'_>,
    moving: &Moving<'_>,
    id: &SnapshotId,
) -> Result<MoveEnd, Failure> {
    Ok(MoveEnd {
        snapshot: *id,
        version: versions::number_of(transaction, moving.namespace, moving.name, id)?,
    })
}

fn note(
    transaction: &Transaction<'_>,
    moving: &Moving<'_>,
    from: Option<&SnapshotId>,
    to: Option<&SnapshotId>,
) -> Result<(), Failure> {
    let ended = |id: Option<&SnapshotId>| id.map(|id| end(transaction, moving, id)).transpose();
    let (from, to) = (ended(from)?, ended(to)?);
    let key = [moving.namespace.as_str(), moving.name.name()];
    let number: i64 = transaction.query_row(
        "SELECT coalesce(max(number), 0) + 1 FROM moves WHERE namespace = ? AND name = ?",
        key,
        |row| row.get(0),
    )?;
    transaction.execute(
        "INSERT INTO moves (namespace, name, number, moved_at, cause, from_id, from_version, to_id, to_version)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            key[0],
            key[1],
            number,
            moving.at,
            moving.cause.as_str(),
            from.map(|end| *end.snapshot.as_bytes()),
            from.and_then(|end| end.version).map(rows::stored),
            to.map(|end| *end.snapshot.as_bytes()),
            to.and_then(|end| end.version).map(rows::stored),
        ],
    )?;
    transaction.execute(
        "DELETE FROM moves WHERE namespace = ? AND name = ? AND number <= ?",
        params![key[0], key[1], number - KEPT],
    )?;
    Ok(())
}

fn decode(row: &Row<'_>) -> Result<Move, Failure> {
    let word: String = row.get(1)?;
    let cause = MoveCause::ALL
        .into_iter()
        .find(|cause| cause.as_str() == word);
    let end = |id: usize, version: usize| -> Result<Option<MoveEnd>, Failure> {
        let Some(id) = row.get::<_, Option<[u8; 16]>>(id)? else {
            return Ok(None);
        };
        let version = match row.get::<_, Option<i64>>(version)? {
            Some(_) => Some(rows::count(row, version)?),
            None => None,
        };
        Ok(Some(MoveEnd {
            snapshot: SnapshotId::from_bytes(id),
            version,
        }))
    };
    let _number: i64 = row.get(6)?;
    Ok(Move {
        at: row.get(0)?,
        cause: cause.ok_or_else(|| Failure::Row(format!("`{word}` is no cause of a move")))?,
        from: end(2, 3)?,
        to: end(4, 5)?,
    })
}
