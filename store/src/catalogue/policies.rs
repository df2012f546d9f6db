//! Rules that are stored for names, by which the daemon removes versions by itself.

use rusqlite::{Row, Transaction, params};

use super::{Catalogue, Failure, rows};
use crate::{
    error::{Error, Result},
    names::{Namespace, SnapshotName},
    retention::KeepRules,
};

const POLICIES: &str = "SELECT namespace, name, last, hourly, daily, weekly, monthly, yearly, within_seconds, rests_until FROM policies";

/// The rules that are stored for a name.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRecord {
    /// Its namespace.
    pub namespace: Namespace,
    /// The name, with the tag `latest`.
    pub name: SnapshotName,
    /// What is kept.
    pub rules: KeepRules,
    /// Nothing is removed by it before, in seconds since 1970: what was pinned or tagged after a copy of the catalogue was made is not in
    /// that copy.
    pub rests_until: i64,
}

impl Catalogue {
    /// Stores the rules for a name, which need not have versions, in place of those it had; unless its namespace has `limit` policies
    /// already (`Error::Limit`).
    pub fn set_policy(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
        rules: &KeepRules,
        limit: u64,
    ) -> Result<()> {
        self.write("store a policy", |transaction| {
            let others: i64 = transaction.query_row(
                "SELECT count(*) FROM policies WHERE namespace = ? AND name != ?",
                [namespace.as_str(), name.name()],
                |row| row.get(0),
            )?;
            if others >= rows::stored(limit) {
                return Err(Failure::Situation(Error::Limit {
                    what: "Policies in the namespace",
                    limit,
                }));
            }
            transaction.execute(
                "INSERT OR REPLACE INTO policies
                 (namespace, name, last, hourly, daily, weekly, monthly, yearly, within_seconds)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    namespace.as_str(),
                    name.name(),
                    rules.last,
                    rules.hourly,
                    rules.daily,
                    rules.weekly,
                    rules.monthly,
                    rules.yearly,
                    rows::stored(rules.within_seconds),
                ],
            )?;
            Ok(())
        })
    }

    /// Forgets the rules of a name and returns them; `NotFound` when there are none.
    pub fn remove_policy(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
    ) -> Result<PolicyRecord> {
        self.write("remove a policy", |transaction| {
            let found = of(transaction, namespace, name)?;
            let found = found.ok_or_else(|| Failure::Situation(none(namespace, name)))?;
            transaction.execute(
                "DELETE FROM policies WHERE namespace = ? AND name = ?",
                [namespace.as_str(), name.name()],
            )?;
            Ok(found)
        })
    }

    /// The rules of a name; `NotFound` when there are none.
    pub fn policy(&self, namespace: &Namespace, name: &SnapshotName) -> Result<PolicyRecord> {
        self.read("read a policy", |transaction| {
            let found = of(transaction, namespace, name)?;
            found.ok_or_else(|| Failure::Situation(none(namespace, name)))
        })
    }

    /// The rules of all names, of one namespace or of every one, by namespace and name.
    pub fn policies(&self, namespace: Option<&Namespace>) -> Result<Vec<PolicyRecord>> {
        let namespace = namespace.map(Namespace::as_str);
        self.read("list policies", |transaction| {
            let sql =
                format!("{POLICIES} WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, name");
            rows::collect(transaction, &sql, [namespace], decode)
        })
    }
}

fn of(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<PolicyRecord>, Failure> {
    let sql = format!("{POLICIES} WHERE namespace = ? AND name = ?");
    let key = [namespace.as_str(), name.name()];
    Ok(rows::collect(transaction, &sql, key, decode)?.pop())
}

fn none(namespace: &Namespace, name: &SnapshotName) -> Error {
    Error::NotFound {
        what: "Policy",
        name: format!("of {} in namespace {namespace}", name.name()),
    }
}

fn decode(row: &Row<'_>) -> Result<PolicyRecord, Failure> {
    let most = |column: usize| -> Result<u32, Failure> {
        let count = rows::count(row, column)?;
        u32::try_from(count).map_err(|_| Failure::Row(format!("{count} versions are none to keep")))
    };
    Ok(PolicyRecord {
        namespace: rows::parsed(&row.get::<_, String>(0)?)?,
        name: rows::parsed(&row.get::<_, String>(1)?)?,
        rules: KeepRules {
            last: most(2)?,
            hourly: most(3)?,
            daily: most(4)?,
            weekly: most(5)?,
            monthly: most(6)?,
            yearly: most(7)?,
            within_seconds: rows::count(row, 8)?,
        },
        rests_until: row.get(9)?,
    })
}
