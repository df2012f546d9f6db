//! What people may change of a snapshot: names, labels, times.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::{
    Catalogue, Failure, SnapshotRecord,
    SnapshotState::{Active, Creating, Failed},
    lifecycle::require,
    lookup, rows,
};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

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

    /// Moves a name to a snapshot, which must be Active.
    pub fn set_name(&self, id: &SnapshotId, name: &SnapshotName) -> Result<()> {
        self.write("set a name", |transaction| {
            require(transaction, id, &[Active])?;
            let namespace = lookup::one(transaction, id)?.namespace;
            point(transaction, &namespace, name, id)
        })
    }

    /// Takes a name away; `NotFound` when there is none.
    pub fn remove_name(&self, namespace: &Namespace, name: &SnapshotName) -> Result<SnapshotId> {
        self.write("remove a name", |transaction| {
            let Some(record) = holder(transaction, namespace, name)? else {
                return Err(Failure::Situation(Error::NotFound {
                    what: "Name",
                    name: format!("{name} in namespace {namespace}"),
                }));
            };
            transaction.execute(
                "DELETE FROM names WHERE namespace = ? AND name = ? AND tag = ?",
                params![namespace.as_str(), name.name(), name.tag()],
            )?;
            Ok(record.id)
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
            let touched = transaction.execute(
                "UPDATE snapshots SET last_used_at = ?2 WHERE id = ?1",
                params![id.as_bytes(), now],
            )?;
            match touched {
                0 => Err(Failure::Situation(lookup::not_found(id))),
                _ => Ok(()),
            }
        })
    }
}

/// Makes a name point to a snapshot, wherever it pointed before.
pub(super) fn point(
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
