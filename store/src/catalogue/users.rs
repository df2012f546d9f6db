//! Who uses snapshots: restored containers and mounted folders.

use std::path::Path;

use rusqlite::{Row, Transaction, params};

use super::{
    Attachment, Catalogue, ContainerRecord, Failure, MountRecord, SnapshotState, attached,
    lifecycle::require, naming, rows, trash,
};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    names::Namespace,
};

const CONTAINERS: &str =
    "SELECT namespace, id, snapshot, folder, is_complete, created_at FROM containers";
const MOUNTS: &str = "SELECT path, snapshot, writable FROM mounts";
/// Users that an error names before it says how many more there are.
const SHOWN_USERS: usize = 3;

impl Catalogue {
    /// Adds a restored container; `Exists` when there is one of that id, `Busy` when the snapshot is neither Active nor in the trash.
    pub fn insert_container(&self, record: &ContainerRecord) -> Result<()> {
        self.write("insert a container", |transaction| {
            if let Some(snapshot) = &record.snapshot {
                require_usable(transaction, snapshot)?;
            }
            let added = transaction.execute(
                "INSERT INTO containers (namespace, id, snapshot, folder, is_complete, created_at)
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![
                    record.namespace.as_str(),
                    record.id,
                    record.snapshot.as_ref().map(SnapshotId::as_bytes),
                    rows::path_bytes(&record.folder),
                    record.is_complete,
                    record.created_at,
                ],
            )?;
            require_added(added, "Container", || {
                format!("{}/{}", record.namespace, record.id)
            })
        })
    }

    /// Marks them complete, all or none.
    pub fn complete_containers(&self, records: &[ContainerRecord]) -> Result<()> {
        self.write("complete containers", |transaction| {
            for ContainerRecord { namespace, id, .. } in records {
                let changed = transaction.execute(
                    "UPDATE containers SET is_complete = 1 WHERE namespace = ? AND id = ?",
                    [namespace.as_str(), id],
                )?;
                require_known(changed, namespace, id)?;
            }
            Ok(())
        })
    }

    /// Forgets it, and that its snapshot was used until `now`, in seconds since 1970; `NotFound` when it is not known.
    pub fn remove_container(&self, namespace: &Namespace, id: &str, now: i64) -> Result<()> {
        self.write("forget a container", |transaction| {
            let sql = format!("{CONTAINERS} WHERE namespace = ? AND id = ?");
            let found = rows::collect(transaction, &sql, [namespace.as_str(), id], container)?;
            for snapshot in found.iter().filter_map(|record| record.snapshot.as_ref()) {
                naming::touch(transaction, snapshot, now)?;
            }
            attached::touch_grounds(transaction, (namespace, id), now)?;
            let removed = transaction.execute(
                "DELETE FROM containers WHERE namespace = ? AND id = ?",
                [namespace.as_str(), id],
            )?;
            require_known(removed, namespace, id)
        })
    }

    /// One of them.
    pub fn container(&self, namespace: &Namespace, id: &str) -> Result<ContainerRecord> {
        self.read("read a container", |transaction| {
            let sql = format!("{CONTAINERS} WHERE namespace = ? AND id = ?");
            rows::collect(transaction, &sql, [namespace.as_str(), id], container)?
                .pop()
                .ok_or_else(|| Failure::Situation(unknown(namespace, id)))
        })
    }

    /// All of them, by namespace and id.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        self.read("list containers", |transaction| {
            let sql = format!("{CONTAINERS} ORDER BY namespace, id");
            rows::collect(transaction, &sql, [], container)
        })
    }

    /// Adds a mounted folder; `Exists` when it is one already, `Busy` when the snapshot is neither Active nor in the trash.
    pub fn insert_mount(&self, record: &MountRecord) -> Result<()> {
        self.write("insert a mount", |transaction| {
            add_mount(transaction, record)
        })
    }

    /// The same, and that the snapshot is used from `now` on, in seconds since 1970.
    pub fn begin_mount(&self, record: &MountRecord, now: i64) -> Result<()> {
        self.write("insert a mount", |transaction| {
            add_mount(transaction, record)?;
            naming::touch(transaction, &record.snapshot, now).map(drop)
        })
    }

    /// Forgets it, and that its snapshot was used until `now`, in seconds since 1970; `NotFound` when it is none.
    pub fn remove_mount(&self, path: &Path, now: i64) -> Result<MountRecord> {
        self.write("forget a mount", |transaction| {
            let sql = format!("{MOUNTS} WHERE path = ?");
            let key = [rows::path_bytes(path)];
            let Some(record) = rows::collect(transaction, &sql, key, mount)?.pop() else {
                return Err(Failure::Situation(Error::NotFound {
                    what: "Mount at",
                    name: path.display().to_string(),
                }));
            };
            naming::touch(transaction, &record.snapshot, now)?;
            transaction.execute("DELETE FROM mounts WHERE path = ?", key)?;
            Ok(record)
        })
    }

    /// All of them, by path.
    pub fn mounts(&self) -> Result<Vec<MountRecord>> {
        self.read("list mounts", |transaction| {
            rows::collect(transaction, &format!("{MOUNTS} ORDER BY path"), [], mount)
        })
    }

    /// Who uses a snapshot.
    pub fn attachments(&self, id: &SnapshotId) -> Result<Vec<Attachment>> {
        self.read("list users", |transaction| of(transaction, id))
    }
}

fn add_mount(transaction: &Transaction<'_>, record: &MountRecord) -> Result<(), Failure> {
    require_usable(transaction, &record.snapshot)?;
    let added = transaction.execute(
        "INSERT INTO mounts (path, snapshot, writable) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        params![
            rows::path_bytes(&record.path),
            record.snapshot.as_bytes(),
            record.writable.as_deref().map(rows::path_bytes),
        ],
    )?;
    require_added(added, "Mount at", || record.path.display().to_string())
}

/// `Busy` unless a snapshot is Active or in the trash, where whoever uses it keeps it.
pub(super) fn require_usable(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
) -> Result<(), Failure> {
    match trash::holds(transaction, id)? {
        true => Ok(()),
        false => require(transaction, id, &[SnapshotState::Active]),
    }
}

/// `Busy`, naming who, when a snapshot is in use.
pub(super) fn require_unused(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
) -> Result<(), Failure> {
    let users = of(transaction, id)?;
    if users.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = users
        .iter()
        .take(SHOWN_USERS)
        .map(ToString::to_string)
        .collect();
    let more = match users.len().saturating_sub(SHOWN_USERS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Failure::Situation(Error::Busy {
        what: "Snapshot",
        name: id.to_string(),
        why: format!("is used by {}{more}", shown.join(", ")),
    }))
}

/// Who uses a snapshot.
pub(super) fn of(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
) -> Result<Vec<Attachment>, Failure> {
    let sql = format!("{CONTAINERS} WHERE snapshot = ? ORDER BY namespace, id");
    let containers = rows::collect(transaction, &sql, [id.as_bytes()], container)?;
    let sql = format!("{MOUNTS} WHERE snapshot = ? ORDER BY path");
    let mounts = rows::collect(transaction, &sql, [id.as_bytes()], mount)?;
    let containers = containers
        .into_iter()
        .map(|record| Attachment::Container(record.namespace, record.id));
    let mounts = mounts
        .into_iter()
        .map(|record| Attachment::Folder(record.path));
    let mut users: Vec<_> = containers.chain(mounts).collect();
    users.extend(attached::users(transaction, id)?);
    Ok(users)
}

fn container(row: &Row<'_>) -> Result<ContainerRecord, Failure> {
    Ok(ContainerRecord {
        namespace: rows::parsed(&row.get::<_, String>(0)?)?,
        id: row.get(1)?,
        snapshot: row.get::<_, Option<_>>(2)?.map(SnapshotId::from_bytes),
        folder: rows::path(row.get(3)?),
        is_complete: row.get(4)?,
        created_at: row.get(5)?,
    })
}

fn mount(row: &Row<'_>) -> Result<MountRecord, Failure> {
    Ok(MountRecord {
        path: rows::path(row.get(0)?),
        snapshot: SnapshotId::from_bytes(row.get(1)?),
        writable: row.get::<_, Option<_>>(2)?.map(rows::path),
    })
}

fn require_added(
    added: usize,
    what: &'static str,
    name: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match added {
        0 => Err(Failure::Situation(Error::Exists { what, name: name() })),
        _ => Ok(()),
    }
}

fn require_known(changed: usize, namespace: &Namespace, id: &str) -> Result<(), Failure> {
    match changed {
        0 => Err(Failure::Situation(unknown(namespace, id))),
        _ => Ok(()),
    }
}

fn unknown(namespace: &Namespace, id: &str) -> Error {
    Error::NotFound {
        what: "Restored container",
        name: format!("{namespace}/{id}"),
    }
}
