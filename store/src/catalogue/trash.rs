//! The trash: what was removed and can be taken back until it goes.
//!
//! A snapshot in the trash is Deleting and has no names any more; what it was called lies in a table beside. Its manifest stays, so
//! nothing it needs is collected. Nobody finds it who does not ask for the trash. Containers may be restored from it, and keep it from going.

use rusqlite::{Row, Transaction, params};

use super::{
    Catalogue, Failure, SnapshotRecord, lookup, naming, rows,
    undelete::{self, Undeleted, Undeletion},
    users,
};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, Reference, SnapshotName},
    naming::NamingError,
};

const TRASH: &str =
    "SELECT snapshot, cause, trashed_at, goes_at, trash.names, trash.immutable, trash.versions
    FROM trash JOIN snapshots ON snapshots.id = trash.snapshot";
/// Candidates an ambiguous reference names in its error.
const SHOWN_CANDIDATES: usize = 3;

/// Why a snapshot is in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrashCause {
    /// Somebody removed it.
    Remove,
    /// No rule kept it.
    Forget,
    /// It has expired.
    Expire,
}

impl TrashCause {
    const ALL: [Self; 3] = [Self::Remove, Self::Forget, Self::Expire];

    /// The cause as one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Forget => "forget",
            Self::Expire => "expire",
        }
    }
}

/// How a snapshot goes to the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Why.
    pub cause: TrashCause,
    /// How long it stays, in seconds; at least one.
    pub grace_seconds: u64,
}

/// What has begun with a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Snapshots that are in the trash now.
    pub trashed: Vec<SnapshotId>,
    /// Those that are Deleting, and are to be finished.
    pub deleting: Vec<SnapshotId>,
}

/// Something in the trash.
#[derive(Clone, Debug, PartialEq)]
pub struct TrashRecord {
    /// The snapshot, with the names and versions it had.
    pub snapshot: SnapshotRecord,
    /// Why it is there.
    pub cause: TrashCause,
    /// Since when, in seconds since 1970.
    pub trashed_at: i64,
    /// When it goes at the earliest, in seconds since 1970.
    pub goes_at: i64,
}

impl Catalogue {
    /// What is in the trash of one namespace or of all, by when it goes, `limit` at most; behind the one that goes at this time when
    /// that is given.
    pub fn trash(
        &self,
        namespace: Option<&Namespace>,
        after: Option<(i64, SnapshotId)>,
        limit: usize,
    ) -> Result<Vec<TrashRecord>> {
        let (seconds, id) = match after {
            Some((seconds, id)) => (seconds, id.as_bytes().to_vec()),
            // Blobs sort by their bytes: none is below every id.
            None => (i64::MIN, Vec::new()),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let namespace = namespace.map(Namespace::as_str);
        self.read("list the trash", |transaction| {
            let rest = "WHERE (?1 IS NULL OR namespace = ?1) AND (goes_at, snapshot) > (?2, ?3)
                        ORDER BY goes_at, snapshot LIMIT ?4";
            select(transaction, rest, params![namespace, seconds, id, limit])
        })
    }

    /// What is to go from the trash at `now`, in seconds since 1970.
    pub fn due_in_trash(&self, now: i64) -> Result<Vec<SnapshotId>> {
        self.read("look for what is to go", |transaction| {
            let sql = "SELECT snapshot FROM trash WHERE goes_at <= ? ORDER BY goes_at, snapshot";
            rows::collect(transaction, sql, [now], |row| {
                Ok(SnapshotId::from_bytes(row.get(0)?))
            })
        })
    }

    /// What a user means of the trash: by its id, the beginning of that, or a name or a version that it had. `NotFound` or `Ambiguous`.
    pub fn resolve_trashed(
        &self,
        namespace: &Namespace,
        reference: &Reference,
    ) -> Result<TrashRecord> {
        self.read("look into the trash", |transaction| {
            let mut found = matching(transaction, namespace, reference)?;
            match found.len() {
                0 => Err(Failure::Situation(Error::NotFound {
                    what: "Snapshot in the trash",
                    name: format!("{reference} in namespace {namespace}"),
                })),
                1 => Ok(found.remove(0)),
                many => {
                    let shown = found.iter().take(SHOWN_CANDIDATES);
                    let shown: Vec<_> = shown.map(|one| one.snapshot.id.to_string()).collect();
                    let more = if many > shown.len() { ", …" } else { "" };
                    Err(Failure::Situation(Error::Ambiguous {
                        what: "Snapshot in the trash",
                        name: reference.to_string(),
                        candidates: format!("{}{more}", shown.join(", ")),
                    }))
                }
            }
        })
    }

    /// Takes snapshots out of the trash, so that they are Deleting and to be finished; all of them or none. `NotFound` when one is not
    /// there, or goes after `due` (seconds since 1970); `Busy` when one is in use.
    pub fn begin_purge(&self, ids: &[SnapshotId], due: Option<i64>) -> Result<()> {
        self.write("empty the trash", |transaction| {
            for id in ids {
                let found = one(transaction, id)?;
                let found = found.filter(|one| due.is_none_or(|due| one.goes_at <= due));
                if found.is_none() {
                    return Err(Failure::Situation(not_there(id)));
                }
                users::require_unused(transaction, id)?;
                take(transaction, id)?;
            }
            Ok(())
        })
    }

    /// Lets the time of everything in the trash begin anew at `now`, in seconds since 1970: nobody knows how much of it has passed.
    pub fn renew_trash(&self, now: i64) -> Result<usize> {
        self.write("renew the trash", |transaction| {
            let sql = "UPDATE trash SET goes_at = ? + grace_seconds";
            Ok(transaction.execute(sql, [now])?)
        })
    }

    /// Takes snapshots back from the trash: they are Active again, all of them or none. `NotFound` when one is not there, `Limit` when their
    /// namespace has no room for them.
    pub fn undelete(&self, ids: &[SnapshotId], how: &Undeletion) -> Result<Vec<Undeleted>> {
        self.write("take snapshots back", |transaction| {
            let back = |id: &SnapshotId| {
                let found = one(transaction, id)?;
                let found = found.ok_or_else(|| Failure::Situation(not_there(id)))?;
                take(transaction, id)?;
                undelete::give_back(transaction, found, how)
            };
            ids.iter().map(back).collect()
        })
    }
}

/// Puts an Active snapshot into the trash at `now`, in seconds since 1970; its names are taken away.
pub(super) fn put(
    transaction: &Transaction<'_>,
    record: &SnapshotRecord,
    stay: Stay,
    now: i64,
) -> Result<(), Failure> {
    let joined = |names: &[SnapshotName]| {
        let texts: Vec<_> = names.iter().map(ToString::to_string).collect();
        texts.join(" ")
    };
    transaction.execute(
        "INSERT INTO trash (snapshot, cause, trashed_at, goes_at, grace_seconds, names, immutable, versions)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            record.id.as_bytes(),
            stay.cause.as_str(),
            now,
            now.saturating_add_unsigned(stay.grace_seconds),
            rows::stored(stay.grace_seconds),
            joined(&record.names),
            joined(&record.immutable),
            joined(&record.versions),
        ],
    )?;
    naming::take_all(transaction, record, now)
}

/// Whether a snapshot is in the trash.
pub(super) fn holds(transaction: &Transaction<'_>, id: &SnapshotId) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM trash WHERE snapshot = ?)";
    Ok(transaction.query_row(sql, [id.as_bytes()], |row| row.get(0))?)
}

/// Forgets that a snapshot is in the trash.
pub(super) fn take(transaction: &Transaction<'_>, id: &SnapshotId) -> Result<(), Failure> {
    transaction.execute("DELETE FROM trash WHERE snapshot = ?", [id.as_bytes()])?;
    Ok(())
}

/// Why a snapshot is not found, when it is in the trash.
pub(super) fn explain(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    reference: &Reference,
) -> Result<Option<NamingError>, Failure> {
    let found = matching(transaction, namespace, reference)?;
    Ok(found.first().map(|one| NamingError::InTrash {
        reference: reference.to_string(),
        snapshot: one.snapshot.id,
    }))
}

/// What may be meant by a reference; names come before the beginnings of ids, as everywhere.
fn matching(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    reference: &Reference,
) -> Result<Vec<TrashRecord>, Failure> {
    let all = match reference {
        Reference::Id(id) => {
            let rest = "WHERE namespace = ? AND snapshot = ?";
            select(
                transaction,
                rest,
                params![namespace.as_str(), id.as_bytes()],
            )?
        }
        _ => {
            let rest = "WHERE namespace = ? ORDER BY goes_at, snapshot";
            select(transaction, rest, [namespace.as_str()])?
        }
    };
    let with = |wanted: &dyn Fn(&SnapshotRecord) -> bool| -> Vec<TrashRecord> {
        let found = all.iter().filter(|one| wanted(&one.snapshot));
        found.cloned().collect()
    };
    let named =
        |name: &SnapshotName| with(&|one| one.names.contains(name) || one.versions.contains(name));
    Ok(match reference {
        Reference::Id(id) => with(&|one| one.id == *id),
        Reference::Name(name) => named(name),
        Reference::IdPrefixOrName(prefix, name) => match named(name) {
            found if found.is_empty() => with(&|one| one.id.to_string().starts_with(prefix)),
            found => found,
        },
    })
}

fn one(transaction: &Transaction<'_>, id: &SnapshotId) -> Result<Option<TrashRecord>, Failure> {
    Ok(select(transaction, "WHERE snapshot = ?", [id.as_bytes()])?.pop())
}

fn not_there(id: &SnapshotId) -> Error {
    Error::NotFound {
        what: "Snapshot in the trash",
        name: id.to_string(),
    }
}

/// What `rest` (everything after the tables) selects of the trash.
fn select(
    transaction: &Transaction<'_>,
    rest: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<TrashRecord>, Failure> {
    let sql = format!("{TRASH} {rest}");
    rows::collect(transaction, &sql, params, |row| decode(transaction, row))
}

fn decode(transaction: &Transaction<'_>, row: &Row<'_>) -> Result<TrashRecord, Failure> {
    let word: String = row.get(1)?;
    let cause = TrashCause::ALL
        .into_iter()
        .find(|cause| cause.as_str() == word);
    let id = SnapshotId::from_bytes(row.get(0)?);
    Ok(TrashRecord {
        snapshot: SnapshotRecord {
            names: rows::names(row.get(4)?)?,
            immutable: rows::names(row.get(5)?)?,
            versions: rows::names(row.get(6)?)?,
            ..lookup::one(transaction, &id)?
        },
        cause: cause
            .ok_or_else(|| Failure::Row(format!("`{word}` puts nothing into the trash")))?,
        trashed_at: row.get(2)?,
        goes_at: row.get(3)?,
    })
}
