//! Volumes and their versions.
//!
//! A version is a snapshot that nobody can remove as long as it has a row here. The greatest version is never thinned out, so no number
//! is given twice.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Catalogue, Failure, SnapshotRecord, lookup, rows, users};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    manifest::{MAX_VERSION, Manifest},
    names::{Namespace, SnapshotName},
};

/// Marks a snapshot that is part of a volume and nobody's own: its value is the volume's name.
pub const VOLUME_LABEL: &str = "snapshotd.io/volume";
/// The number of the version that it was made as.
pub const VOLUME_VERSION_LABEL: &str = "snapshotd.io/volume-version";

/// A snapshot that a container or a folder stands on.
const IN_USE: &str =
    "SELECT ground FROM attached UNION SELECT base FROM attached UNION SELECT snapshot FROM mounts
     UNION SELECT snapshot FROM containers WHERE snapshot IS NOT NULL";

/// A volume as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRecord {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name, with the tag `latest`.
    pub name: SnapshotName,
    /// Seconds since 1970.
    pub created_at: i64,
    /// The number of its newest version.
    pub head: u64,
    /// That version.
    pub snapshot: SnapshotRecord,
    /// How many versions are there.
    pub versions: u64,
    /// Ids of the containers it is mounted in, sorted.
    pub containers: Vec<String>,
}

/// A version that a volume gets.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVolumeVersion {
    /// Its number: one more than that of the newest.
    pub number: u64,
    /// Its snapshot, Active.
    pub snapshot: SnapshotId,
    /// Seconds since 1970.
    pub made_at: i64,
}

impl Catalogue {
    /// Adds a volume whose first version is `first`; `Exists` when there is one of that name, `Limit` when its namespace has `limit`.
    pub fn add_volume(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
        first: &NewVolumeVersion,
        limit: u64,
    ) -> Result<()> {
        self.write("add a volume", |transaction| {
            let others: i64 = transaction.query_row(
                "SELECT count(*) FROM volumes WHERE namespace = ?",
                [namespace.as_str()],
                |row| row.get(0),
            )?;
            if others >= rows::stored(limit) {
                return Err(Failure::Situation(Error::Limit {
                    what: "Volumes in the namespace",
                    limit,
                }));
            }
            let added = transaction.execute(
                "INSERT INTO volumes (namespace, name, created_at, head) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![namespace.as_str(), name.name(), first.made_at, rows::stored(first.number)],
            )?;
            if added == 0 {
                return Err(Failure::Situation(Error::Exists {
                    what: "Volume",
                    name: shown(namespace, name),
                }));
            }
            insert_version(transaction, namespace, name, first)
        })
    }

    /// Makes `version` the newest of a volume. `committed` is the container and the destination that it was committed from, and what
    /// changes are counted from there from now on.
    pub fn add_volume_version(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
        version: &NewVolumeVersion,
        committed: Option<(&str, &str, &SnapshotId)>,
    ) -> Result<()> {
        self.write("add a version of a volume", |transaction| {
            insert_version(transaction, namespace, name, version)?;
            let moved = transaction.execute(
                "UPDATE volumes SET head = ?3 WHERE namespace = ?1 AND name = ?2 AND head < ?3",
                params![namespace.as_str(), name.name(), rows::stored(version.number)],
            )?;
            if moved == 0 {
                return Err(Failure::Situation(none(namespace, name)));
            }
            if let Some((container, destination, base)) = committed {
                transaction.execute(
                    "UPDATE attached SET base = ?4 WHERE namespace = ?1 AND container = ?2 AND destination = ?3",
                    params![namespace.as_str(), container, destination, base.as_bytes()],
                )?;
            }
            Ok(())
        })
    }

    /// One volume; `NotFound` when there is none.
    pub fn volume(&self, namespace: &Namespace, name: &SnapshotName) -> Result<VolumeRecord> {
        self.read("read a volume", |transaction| {
            of(transaction, Some(namespace), Some(name))?
                .pop()
                .ok_or_else(|| Failure::Situation(none(namespace, name)))
        })
    }

    /// Volumes of one namespace or of every one, by namespace and name, `limit` at most; those behind `after`, which need not be there.
    pub fn volumes(
        &self,
        namespace: Option<&Namespace>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>> {
        self.read("list volumes", |transaction| {
            some(transaction, (namespace, None), after, limit)
        })
    }

    /// Forgets a volume with its versions; `Busy` while one of them is mounted, `NotFound` when there is none.
    pub fn remove_volume(
        &self,
        namespace: &Namespace,
        name: &SnapshotName,
    ) -> Result<VolumeRecord> {
        self.write("remove a volume", |transaction| {
            let found = of(transaction, Some(namespace), Some(name))?.pop();
            let found = found.ok_or_else(|| Failure::Situation(none(namespace, name)))?;
            let key = [namespace.as_str(), name.name()];
            let sql = format!(
                "SELECT count(*) FROM volume_versions WHERE namespace = ? AND volume = ? AND snapshot IN ({IN_USE})"
            );
            let used: i64 = transaction.query_row(&sql, key, |row| row.get(0))?;
            if used > 0 || !found.containers.is_empty() {
                let why = match found.containers.first() {
                    Some(container) => format!("is mounted in container {container}"),
                    None => "is mounted at a folder".to_owned(),
                };
                return Err(Failure::Situation(Error::Busy {
                    what: "Volume",
                    name: shown(namespace, name),
                    why,
                }));
            }
            transaction.execute(
                "DELETE FROM volume_versions WHERE namespace = ? AND volume = ?",
                key,
            )?;
            transaction.execute("DELETE FROM volumes WHERE namespace = ? AND name = ?", key)?;
            Ok(found)
        })
    }

    /// Forgets versions beyond the newest `keep` that nobody uses.
    pub fn thin_volume(&self, namespace: &Namespace, name: &SnapshotName, keep: u64) -> Result<()> {
        self.write("thin a volume out", |transaction| {
            let sql = format!(
                "DELETE FROM volume_versions WHERE namespace = ?1 AND volume = ?2 AND snapshot NOT IN ({IN_USE})
                 AND number NOT IN (SELECT number FROM volume_versions WHERE namespace = ?1 AND volume = ?2
                                    ORDER BY number DESC LIMIT ?3)"
            );
            transaction.execute(
                &sql,
                params![namespace.as_str(), name.name(), rows::stored(keep.max(1))],
            )?;
            Ok(())
        })
    }

    /// Snapshots that belong to volumes and that nobody has any use for: what an operation left that was cut off, and versions that were
    /// forgotten. Of one volume, or of all.
    pub fn unowned_of_volumes(
        &self,
        volume: Option<(&Namespace, &SnapshotName)>,
    ) -> Result<Vec<SnapshotId>> {
        self.read("list what volumes have left", |transaction| {
            let found = rows::snapshots(
                transaction,
                &format!(
                    "WHERE json_extract(labels, '$.\"snapshotd.io/volume\"') IS NOT NULL
                     AND (?1 IS NULL OR namespace = ?1 AND json_extract(labels, '$.\"snapshotd.io/volume\"') = ?2)
                     AND state IN ('active', 'failed') AND id NOT IN ({IN_USE})
                     AND id NOT IN (SELECT snapshot FROM volume_versions)"
                ),
                [
                    volume.map(|(namespace, _)| namespace.as_str()),
                    volume.map(|(_, name)| name.name()),
                ],
            )?;
            Ok(found.into_iter().map(|record| record.id).collect())
        })
    }

    /// Has volumes stand on versions that are whole, where their newest is lost.
    pub fn settle_volumes(&self) -> Result<()> {
        self.write("settle volumes", |transaction| {
            transaction.execute(
                "UPDATE volumes SET head = coalesce(
                     (SELECT max(number) FROM volume_versions JOIN snapshots ON snapshots.id = volume_versions.snapshot
                      WHERE volume_versions.namespace = volumes.namespace AND volume = name AND state = 'active'), head)",
                [],
            )?;
            Ok(())
        })
    }

    /// The number that the next version of a volume gets.
    pub fn next_volume_version(&self, namespace: &Namespace, name: &SnapshotName) -> Result<u64> {
        self.read("number a version of a volume", |transaction| {
            let newest: Option<i64> = transaction.query_row(
                "SELECT max(number) FROM volume_versions WHERE namespace = ? AND volume = ?",
                [namespace.as_str(), name.name()],
                |row| row.get(0),
            )?;
            Ok(u64::try_from(newest.unwrap_or_default()).unwrap_or_default() + 1)
        })
    }
}

/// Makes a snapshot that a manifest tells of a version of its volume again, when the catalogue has lost it.
pub(super) fn adopt(transaction: &Transaction<'_>, manifest: &Manifest) -> Result<(), Failure> {
    let labels = &manifest.labels;
    let (Some(name), Some(number)) = (labels.get(VOLUME_LABEL), labels.get(VOLUME_VERSION_LABEL))
    else {
        return Ok(());
    };
    let number = number.parse::<u64>().ok();
    let number = number.filter(|number| (1..=MAX_VERSION).contains(number));
    let (Ok(name), Some(number)) = (name.parse::<SnapshotName>(), number) else {
        return Ok(());
    };
    let namespace = manifest.namespace.as_str();
    transaction.execute(
        "INSERT INTO volumes (namespace, name, created_at, head) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET head = max(head, ?4), created_at = min(created_at, ?3)",
        params![
            namespace,
            name.name(),
            manifest.created_at,
            rows::stored(number)
        ],
    )?;
    transaction.execute(
        "INSERT INTO volume_versions (namespace, volume, number, snapshot, made_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
        params![
            namespace,
            name.name(),
            rows::stored(number),
            manifest.id.as_bytes(),
            manifest.created_at,
        ],
    )?;
    Ok(())
}

/// All of a namespace or of every one, or the one of that name.
pub(super) fn of(
    transaction: &Transaction<'_>,
    namespace: Option<&Namespace>,
    name: Option<&SnapshotName>,
) -> Result<Vec<VolumeRecord>, Failure> {
    some(transaction, (namespace, name), None, usize::MAX)
}

fn some(
    transaction: &Transaction<'_>,
    (namespace, name): (Option<&Namespace>, Option<&SnapshotName>),
    after: Option<(&str, &str)>,
    limit: usize,
) -> Result<Vec<VolumeRecord>, Failure> {
    let sql = "SELECT volumes.namespace, volumes.name, volumes.created_at, head, snapshot,
               (SELECT count(*) FROM volume_versions AS all_of_it
                WHERE all_of_it.namespace = volumes.namespace AND all_of_it.volume = volumes.name)
               FROM volumes JOIN volume_versions ON volume_versions.namespace = volumes.namespace
               AND volume = name AND number = head
               WHERE (?1 IS NULL OR volumes.namespace = ?1) AND (?2 IS NULL OR name = ?2)
               AND (?3 IS NULL OR (volumes.namespace, name) > (?3, ?4))
               ORDER BY volumes.namespace, name LIMIT ?5";
    let key = params![
        namespace.map(Namespace::as_str),
        name.map(SnapshotName::name),
        after.map(|(namespace, _)| namespace),
        after.map(|(_, name)| name),
        i64::try_from(limit).unwrap_or(i64::MAX),
    ];
    let found = rows::collect(transaction, sql, key, |row| {
        Ok((
            rows::parsed::<Namespace>(&row.get::<_, String>(0)?)?,
            rows::parsed::<SnapshotName>(&row.get::<_, String>(1)?)?,
            row.get::<_, i64>(2)?,
            rows::count(row, 3)?,
            SnapshotId::from_bytes(row.get(4)?),
            rows::count(row, 5)?,
        ))
    })?;
    let mut all = Vec::with_capacity(found.len());
    for (namespace, name, created_at, head, snapshot, versions) in found {
        let sql = "SELECT DISTINCT container FROM attached WHERE namespace = ? AND volume = ? ORDER BY container";
        let key = [namespace.as_str(), name.name()];
        let containers = rows::collect(transaction, sql, key, |row| Ok(row.get::<_, String>(0)?))?;
        all.push(VolumeRecord {
            snapshot: lookup::one(transaction, &snapshot)?,
            namespace,
            name,
            created_at,
            head,
            versions,
            containers,
        });
    }
    Ok(all)
}

fn insert_version(
    transaction: &Transaction<'_>,
    namespace: &Namespace,
    name: &SnapshotName,
    version: &NewVolumeVersion,
) -> Result<(), Failure> {
    let known: Option<i64> = transaction
        .query_row(
            "SELECT head FROM volumes WHERE namespace = ? AND name = ?",
            [namespace.as_str(), name.name()],
            |row| row.get(0),
        )
        .optional()?;
    if known.is_none() {
        return Err(Failure::Situation(none(namespace, name)));
    }
    users::require_usable(transaction, &version.snapshot)?;
    transaction.execute(
        "INSERT INTO volume_versions (namespace, volume, number, snapshot, made_at) VALUES (?, ?, ?, ?, ?)",
        params![
            namespace.as_str(),
            name.name(),
            rows::stored(version.number),
            version.snapshot.as_bytes(),
            version.made_at,
        ],
    )?;
    Ok(())
}

fn shown(namespace: &Namespace, name: &SnapshotName) -> String {
    format!("{} in namespace {namespace}", name.name())
}

pub(super) fn none(namespace: &Namespace, name: &SnapshotName) -> Error {
    Error::NotFound {
        what: "Volume",
        name: shown(namespace, name),
    }
}
