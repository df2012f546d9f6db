//! Thinning out the versions of a name: what rules keep, what else holds a version, and the removal of the rest.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::{
    Attachment, Begun, Catalogue, Failure, Force, Removal, SnapshotRecord, SnapshotState, Stay,
    lifecycle, rows, users, versions,
};
use crate::{
    error::Result,
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
    retention::{Dated, KeepRule, KeepRules},
};

/// What keeps a version although no rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is pinned.
    Pinned,
    /// A name points to it, `latest` among them.
    Tag(SnapshotName),
    /// It is a version of another name too.
    Version(SnapshotName),
    /// Somebody uses it.
    User(Attachment),
    /// It is not active.
    State(SnapshotState),
    /// It came to be removable since it was looked at.
    Changed,
}

/// What becomes of a version when its name is thinned out.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its number.
    pub number: u64,
    /// Its snapshot, as it was before.
    pub snapshot: SnapshotRecord,
    /// The rules that keep it; none for what is not active, which no rule looks at.
    pub rules: Vec<KeepRule>,
    /// What else holds it.
    pub obstacles: Vec<Obstacle>,
}

/// What is asked: how the versions of a name are thinned out.
#[derive(Clone, Debug)]
pub struct Thinning {
    /// The namespace of the name.
    pub namespace: Namespace,
    /// The name, whatever its tag.
    pub name: SnapshotName,
    /// What is kept.
    pub rules: KeepRules,
    /// Seconds since 1970.
    pub now: i64,
    /// How what is not kept goes to the trash; `None` when it does not.
    pub stay: Option<Stay>,
}

impl Verdict {
    /// True when nothing keeps it.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.rules.is_empty() && self.obstacles.is_empty()
    }
}

impl Catalogue {
    /// What becomes of each version of a name, the newest first. Nothing is changed. `Naming` when there was never such a name.
    pub fn judge(&self, thinning: &Thinning) -> Result<Vec<Verdict>> {
        self.read("judge versions", |transaction| judge(transaction, thinning))
    }

    /// Active → Deleting, in the trash or not, for those versions of a name that nothing keeps and that are among `prepared`, all of them or none. Whether
    /// something keeps them is asked in the change itself. Returns what became of each version.
    pub fn begin_forgetting(
        &self,
        thinning: &Thinning,
        prepared: &BTreeSet<SnapshotId>,
    ) -> Result<Vec<Verdict>> {
        self.write("forget versions", |transaction| {
            let mut verdicts = judge(transaction, thinning)?;
            let removal = Removal {
                force: Force::No,
                now: thinning.now,
                stay: thinning.stay,
            };
            let mut begun = Begun::default();
            for verdict in verdicts.iter_mut().filter(|one| one.is_removed()) {
                let id = &verdict.snapshot.id;
                match prepared.contains(id) {
                    true => lifecycle::delete(transaction, id, &removal, &mut begun)?,
                    false => verdict.obstacles.push(Obstacle::Changed),
                }
            }
            Ok(verdicts)
        })
    }

    /// The names that have versions, sorted, each with the tag `latest`.
    pub fn names_with_versions(&self, namespace: &Namespace) -> Result<Vec<SnapshotName>> {
        self.read("list names", |transaction| {
            let sql = "SELECT DISTINCT name FROM versions WHERE namespace = ? ORDER BY name";
            rows::collect(transaction, sql, [namespace.as_str()], |row| {
                rows::parsed(&row.get::<_, String>(0)?)
            })
        })
    }
}

fn judge(transaction: &Transaction<'_>, thinning: &Thinning) -> Result<Vec<Verdict>, Failure> {
    let Thinning {
        namespace,
        name,
        rules,
        now,
        ..
    } = thinning;
    versions::require_known(transaction, namespace, name)?;
    let found = of_name(transaction, namespace, name)?;
    let active = found
        .iter()
        .filter(|(_, snapshot)| snapshot.state == SnapshotState::Active);
    let dated: Vec<Dated> = active
        .map(|(number, snapshot)| Dated {
            number: *number,
            created_at: snapshot.created_at,
        })
        .collect();
    let kept = rules.choose(&dated, *now);
    let verdict = |(number, snapshot): (u64, SnapshotRecord)| -> Result<Verdict, Failure> {
        let rules = kept.get(&number).into_iter().flatten().copied();
        Ok(Verdict {
            number,
            rules: rules.collect(),
            obstacles: obstacles(transaction, name, &snapshot)?,
            snapshot,
        })
    };
    found.into_iter().map(verdict).collect()
}

/// The versions of a name, the newest first.
fn of_name(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Vec<(u64, SnapshotRecord)>, Failure> {
    let found = rows::snapshots(
        transaction,
        "WHERE id IN (SELECT snapshot FROM versions WHERE namespace = ? AND name = ?)",
        params![namespace.as_str(), name.name()],
    )?;
    let number = |snapshot: &SnapshotRecord| {
        let of_name = snapshot
            .versions
            .iter()
            .find(|version| version.name() == name.name());
        of_name.and_then(SnapshotName::number)
    };
    let mut numbered: Vec<_> = found
        .into_iter()
        .filter_map(|snapshot| Some((number(&snapshot)?, snapshot)))
        .collect();
    numbered.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(numbered)
}

/// What holds a version whatever the rules say.
fn obstacles(
    transaction: &Transaction<'_>,
    name: &SnapshotName,
    snapshot: &SnapshotRecord,
) -> Result<Vec<Obstacle>, Failure> {
    let mut found = Vec::new();
    if snapshot.state != SnapshotState::Active {
        found.push(Obstacle::State(snapshot.state));
    }
    if snapshot.is_pinned {
        found.push(Obstacle::Pinned);
    }
    found.extend(snapshot.names.iter().cloned().map(Obstacle::Tag));
    let versions = snapshot.versions.iter();
    let others = versions.filter(|version| version.name() != name.name());
    found.extend(others.cloned().map(Obstacle::Version));
    let users = users::of(transaction, &snapshot.id)?;
    found.extend(users.into_iter().map(Obstacle::User));
    Ok(found)
}
