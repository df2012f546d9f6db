//! Questions about snapshots.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::{Catalogue, Failure, SnapshotRecord, SnapshotState, naming, rows, trash, versions};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, Reference, SnapshotName},
};

/// Candidates an ambiguous prefix names in its error.
const SHOWN_CANDIDATES: usize = 3;
/// What is in the trash is found there alone.
const NOT_TRASHED: &str = "NOT EXISTS (SELECT 1 FROM trash WHERE trash.snapshot = snapshots.id)";

impl Catalogue {
    /// The snapshot a user means; `NotFound`, `Naming` or `Ambiguous`.
    ///
    /// A whole id comes first, then a name, then a version, then a prefix of an id: what somebody chose to call a snapshot
    /// must not change its meaning because a random id begins alike.
    pub fn resolve(&self, namespace: &Namespace, reference: &Reference) -> Result<SnapshotRecord> {
        self.read("resolve a reference", |transaction| {
            let missing = || {
                Failure::Situation(Error::NotFound {
                    what: "Snapshot",
                    name: format!("{reference} in namespace {namespace}"),
                })
            };
            let by_name = |name: &SnapshotName| by_name(transaction, namespace, name);
            let found = match reference {
                Reference::Id(id) => match within(transaction, namespace, id)? {
                    Some(record) => Some(record),
                    None => by_name(&rows::parsed(&id.to_string())?)?,
                },
                Reference::Name(name) => by_name(name)?,
                Reference::IdPrefixOrName(prefix, name) => match by_name(name)? {
                    Some(record) => Some(record),
                    None => by_prefix(transaction, namespace, prefix)?,
                },
            };
            // The trash may hold as much as the rest: only what is nowhere else is looked for there.
            if found.is_none()
                && let Some(trashed) = trash::explain(transaction, namespace, reference)?
            {
                return Err(trashed.into());
            }
            match (found, reference) {
                (Some(found), _) => Ok(found),
                (None, Reference::Name(name) | Reference::IdPrefixOrName(_, name)) => {
                    let known = versions::explain(transaction, namespace, name)?;
                    Err(known.map_or_else(missing, Failure::from))
                }
                (None, Reference::Id(_)) => Err(missing()),
            }
        })
    }

    /// One snapshot by its id.
    pub fn get(&self, id: &SnapshotId) -> Result<SnapshotRecord> {
        self.read("read a snapshot", |transaction| one(transaction, id))
    }

    /// Snapshots of one namespace or of all, newest first, `limit` at most. `after` is the creation time and
    /// the id of the last one of the page before; it need not exist any more.
    pub fn list(
        &self,
        namespace: Option<&Namespace>,
        after: Option<(i64, SnapshotId)>,
        limit: usize,
    ) -> Result<Vec<SnapshotRecord>> {
        let (seconds, id) = match after {
            Some((seconds, id)) => (seconds, id.as_bytes().to_vec()),
            // Blobs sort by their bytes: 17 times 0xff is above every id.
            None => (i64::MAX, vec![0xff; SnapshotId::LEN + 1]),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("list snapshots", |transaction| match namespace {
            Some(namespace) => rows::snapshots(
                transaction,
                &format!(
                    "WHERE namespace = ?1 AND (created_at, id) < (?2, ?3) AND {NOT_TRASHED}
                     ORDER BY created_at DESC, id DESC LIMIT ?4"
                ),
                params![namespace.as_str(), seconds, id, limit],
            ),
            None => rows::snapshots(
                transaction,
                &format!(
                    "WHERE (created_at, id) < (?1, ?2) AND {NOT_TRASHED}
                     ORDER BY created_at DESC, id DESC LIMIT ?3"
                ),
                params![seconds, id, limit],
            ),
        })
    }

    /// Snapshots in one state, of every namespace; not those in the trash.
    pub fn in_state(&self, state: SnapshotState) -> Result<Vec<SnapshotRecord>> {
        self.read("list snapshots by state", |transaction| {
            rows::snapshots(
                transaction,
                &format!("WHERE state = ? AND {NOT_TRASHED} ORDER BY created_at, id"),
                [state.as_str()],
            )
        })
    }

    /// Active and Failed snapshots that are not pinned and have expired at `now`, the longest expired first.
    pub fn expired(&self, now: i64) -> Result<Vec<SnapshotRecord>> {
        let may_have = self.read("list expired snapshots", |transaction| {
            rows::snapshots(
                transaction,
                "WHERE (expires_at <= ? OR unused_seconds IS NOT NULL) AND NOT is_pinned
                 AND state IN ('active', 'failed')",
                [now],
            )
        })?;
        let have = may_have.into_iter().filter(|one| one.has_expired(now));
        let mut expired: Vec<_> = have.collect();
        expired.sort_unstable_by_key(|one| (one.expiry().map(|(at, _)| at), one.id));
        Ok(expired)
    }

    /// Number of snapshots by state, without the trash; every state is there.
    pub fn count_by_state(&self) -> Result<BTreeMap<&'static str, u64>> {
        let mut counts: BTreeMap<_, _> = SnapshotState::ALL
            .into_iter()
            .map(|state| (state.as_str(), 0))
            .collect();
        let found = self.read("count snapshots", |transaction| {
            let sql =
                format!("SELECT state, count(*) FROM snapshots WHERE {NOT_TRASHED} GROUP BY state");
            rows::collect(transaction, &sql, [], |row| {
                Ok((
                    rows::state(&row.get::<_, String>(0)?)?,
                    rows::count(row, 1)?,
                ))
            })
        })?;
        counts.extend(
            found
                .into_iter()
                .map(|(state, count)| (state.as_str(), count)),
        );
        Ok(counts)
    }
}

/// The snapshot called `id`, or `NotFound`.
pub(super) fn one(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
) -> Result<SnapshotRecord, Failure> {
    rows::snapshots(transaction, "WHERE id = ?", [id.as_bytes()])?
        .pop()
        .ok_or_else(|| Failure::Situation(not_found(id)))
}

/// There is no such snapshot.
pub(super) fn not_found(id: &SnapshotId) -> Error {
    Error::NotFound {
        what: "Snapshot",
        name: id.to_string(),
    }
}

fn within(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    id: &SnapshotId,
) -> Result<Option<SnapshotRecord>, Failure> {
    let found = rows::snapshots(
        transaction,
        &format!("WHERE id = ? AND namespace = ? AND {NOT_TRASHED}"),
        params![id.as_bytes(), namespace.as_str()],
    )?;
    Ok(found.into_iter().next())
}

/// What a name points to, or the version it means. A name that an earlier release allowed to be digits alone comes first.
fn by_name(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<SnapshotRecord>, Failure> {
    match (naming::holder(transaction, namespace, name)?, name.number()) {
        (None, Some(number)) => versions::holder(transaction, namespace, name, number),
        (found, _) => Ok(found),
    }
}

fn by_prefix(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    prefix: &str,
) -> Result<Option<SnapshotRecord>, Failure> {
    let bound = |filler: &str| -> Result<SnapshotId, Failure> {
        let missing = (SnapshotId::LEN * 2).saturating_sub(prefix.len());
        rows::parsed(&format!("{prefix}{}", filler.repeat(missing)))
    };
    let mut found = rows::snapshots(
        transaction,
        &format!(
            "WHERE namespace = ?1 AND id BETWEEN ?2 AND ?3 AND {NOT_TRASHED} ORDER BY id LIMIT ?4"
        ),
        params![
            namespace.as_str(),
            bound("0")?.as_bytes(),
            bound("f")?.as_bytes(),
            SHOWN_CANDIDATES as i64 + 1
        ],
    )?;
    if found.len() <= 1 {
        return Ok(found.pop());
    }
    let shown: Vec<String> = found
        .iter()
        .take(SHOWN_CANDIDATES)
        .map(|record| record.id.to_string())
        .collect();
    let more = if found.len() > SHOWN_CANDIDATES {
        ", …"
    } else {
        ""
    };
    Err(Failure::Situation(Error::Ambiguous {
        what: "Snapshot",
        name: prefix.to_owned(),
        candidates: format!("{}{more}", shown.join(", ")),
    }))
}
