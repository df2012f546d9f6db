//! Templates that are registered: how an environment is made, and what the last build came to.

use rusqlite::{Row, Transaction, params};

use super::{Catalogue, Failure, SnapshotRecord, rows};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

const TEMPLATES: &str =
    "SELECT namespace, name, definition, key, snapshot, built_at FROM templates";

/// Marks the result of a build's step, which is no snapshot of anybody's own: its value is the key of the step.
pub const STEP_LABEL: &str = "snapshotd.io/step";
/// Names the template a snapshot was made by.
pub const TEMPLATE_LABEL: &str = "snapshotd.io/template";

/// A template as it was last built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRecord {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name, with the tag `latest`.
    pub name: SnapshotName,
    /// How it is made, in words the catalogue does not read.
    pub definition: String,
    /// What the last build was made of.
    pub key: String,
    /// What the last build made; it may be gone.
    pub snapshot: SnapshotId,
    /// When, in seconds since 1970.
    pub built_at: i64,
}

impl Catalogue {
    /// Stores a template in place of the one of that name, unless its namespace has `limit` others already (`Error::Limit`).
    pub fn set_template(&self, record: &TemplateRecord, limit: u64) -> Result<()> {
        let (namespace, name) = (record.namespace.as_str(), record.name.name());
        self.write("store a template", |transaction| {
            let others: i64 = transaction.query_row(
                "SELECT count(*) FROM templates WHERE namespace = ? AND name != ?",
                [namespace, name],
                |row| row.get(0),
            )?;
            if others >= rows::stored(limit) {
                return Err(Failure::Situation(Error::Limit {
                    what: "Templates in the namespace",
                    limit,
                }));
            }
            transaction.execute(
                "INSERT OR REPLACE INTO templates (namespace, name, definition, key, snapshot, built_at)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    namespace,
                    name,
                    record.definition,
                    record.key,
                    record.snapshot.as_bytes(),
                    record.built_at,
                ],
            )?;
            Ok(())
        })
    }

    /// Forgets a template and returns it; `NotFound` when there is none.
    pub fn remove_template(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
    ) -> Result<TemplateRecord> {
        self.write("remove a template", |transaction| {
            let found = of(transaction, namespace, name)?;
            let found = found.ok_or_else(|| Failure::Situation(none(namespace, name)))?;
            transaction.execute(
                "DELETE FROM templates WHERE namespace = ? AND name = ?",
                [namespace.as_str(), name.name()],
            )?;
            Ok(found)
        })
    }

    /// One template; `NotFound` when there is none.
    pub fn template(&self, namespace: &Namespace, name: &SnapshotName) -> Result<TemplateRecord> {
        self.read("read a template", |transaction| {
            let found = of(transaction, namespace, name)?;
            found.ok_or_else(|| Failure::Situation(none(namespace, name)))
        })
    }

    /// All templates, of one namespace or of every one, by namespace and name.
    pub fn templates(&self, namespace: Option<&Namespace>) -> Result<Vec<TemplateRecord>> {
        let namespace = namespace.map(Namespace::as_str);
        self.read("list templates", |transaction| {
            let sql =
                format!("{TEMPLATES} WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, name");
            rows::collect(transaction, &sql, [namespace], decode)
        })
    }

    /// The results of steps in a namespace, the newest first: those with this key, or all of them.
    pub fn steps(&self, namespace: &Namespace, key: Option<&str>) -> Result<Vec<SnapshotRecord>> {
        self.read("list the results of steps", |transaction| {
            rows::snapshots(
                transaction,
                "WHERE namespace = ?1 AND json_extract(labels, '$.\"snapshotd.io/step\"') IS NOT NULL
                 AND (?2 IS NULL OR json_extract(labels, '$.\"snapshotd.io/step\"') = ?2)
                 ORDER BY created_at DESC, id DESC",
                params![namespace.as_str(), key],
            )
        })
    }
}

fn of(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<TemplateRecord>, Failure> {
    let sql = format!("{TEMPLATES} WHERE namespace = ? AND name = ?");
    let key = [namespace.as_str(), name.name()];
    Ok(rows::collect(transaction, &sql, key, decode)?.pop())
}

fn none(namespace: &Namespace, name: &SnapshotName) -> Error {
    Error::NotFound {
        what: "Template",
        name: format!("{} in namespace {namespace}", name.name()),
    }
}

fn decode(row: &Row<'_>) -> Result<TemplateRecord, Failure> {
    let id: Vec<u8> = row.get(4)?;
    let id: [u8; SnapshotId::LEN] = id
        .try_into()
        .map_err(|_| Failure::Row("a template's snapshot is no id".to_owned()))?;
    Ok(TemplateRecord {
        namespace: rows::parsed(&row.get::<_, String>(0)?)?,
        name: rows::parsed(&row.get::<_, String>(1)?)?,
        definition: row.get(2)?,
        key: row.get(3)?,
        snapshot: SnapshotId::from_bytes(id),
        built_at: row.get(5)?,
    })
}
