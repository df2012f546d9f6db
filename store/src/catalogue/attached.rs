//! What is mounted in restored containers beside their roots: volumes, and folders of snapshots.
//!
//! Which snapshot a container gets is decided in the change that records it: a version of a volume cannot go in between.

use rusqlite::{Row, Transaction, params};

use super::{Attachment, Catalogue, Failure, naming, rows, users, volumes};
use crate::{
    error::Result,
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

const ATTACHED: &str =
    "SELECT namespace, container, destination, volume, version, ground, base, subfolder,
     is_read_only, place, generation FROM attached";
/// Something that a new container is to have mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct Attaching {
    /// Where, in the container.
    pub destination: String,
    /// What.
    pub what: AttachingWhat,
    /// The container may not write to it.
    pub is_read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq)]
pub enum AttachingWhat {
    /// The newest version of a volume.
    Volume(SnapshotName),
    /// A folder of a snapshot: names with slashes between, empty for all of it.
    Snapshot(SnapshotId, Vec<u8>),
}

/// Something that a container has mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachedRecord {
    /// The container's namespace.
    pub namespace: Namespace,
    /// The container's id.
    pub container: String,
    /// Where, in the container.
    pub destination: String,
    /// The volume; none for a snapshot's folder.
    pub volume: Option<SnapshotName>,
    /// The version of it that is mounted.
    pub version: Option<u64>,
    /// The snapshot that is mounted.
    pub ground: SnapshotId,
    /// What changes are counted from.
    pub base: SnapshotId,
    /// The folder of the ground: names with slashes between, empty for all of it.
    pub subfolder: Vec<u8>,
    /// The container may not write to it.
    pub is_read_only: bool,
    /// Tells it from others of the container.
    pub place: u32,
    /// Grows with each ground it is given.
    pub generation: u64,
}

impl Catalogue {
    /// Notes what a container is to have mounted, each with the ground it gets; the container is known and has none yet.
    pub fn attach(
        &self,
        (namespace, container): (&Namespace, &str),
        all: &[Attaching],
    ) -> Result<Vec<AttachedRecord>> {
        self.write("attach volumes", |transaction| {
            let mut attached = Vec::with_capacity(all.len());
            for (place, one) in all.iter().enumerate() {
                let mut record = AttachedRecord {
                    namespace: namespace.clone(),
                    container: container.to_owned(),
                    destination: one.destination.clone(),
                    volume: None,
                    version: None,
                    ground: SnapshotId::from_bytes([0; SnapshotId::LEN]),
                    base: SnapshotId::from_bytes([0; SnapshotId::LEN]),
                    subfolder: Vec::new(),
                    is_read_only: one.is_read_only,
                    place: u32::try_from(place).unwrap_or(u32::MAX),
                    generation: 0,
                };
                match &one.what {
                    AttachingWhat::Volume(name) => {
                        let found = volumes::of(transaction, Some(namespace), Some(name))?.pop();
                        let found = found
                            .ok_or_else(|| Failure::Situation(volumes::none(namespace, name)))?;
                        record.volume = Some(name.clone());
                        record.version = Some(found.head);
                        record.ground = found.snapshot.id;
                    }
                    AttachingWhat::Snapshot(id, subfolder) => {
                        record.ground = *id;
                        record.subfolder.clone_from(subfolder);
                    }
                }
                users::require_usable(transaction, &record.ground)?;
                record.base = record.ground;
                insert_attached(transaction, &record)?;
                attached.push(record);
            }
            Ok(attached)
        })
    }

    /// What a container has mounted, by place.
    pub fn attached(&self, namespace: &Namespace, container: &str) -> Result<Vec<AttachedRecord>> {
        self.read("read what is attached", |transaction| {
            let sql = format!("{ATTACHED} WHERE namespace = ? AND container = ? ORDER BY place");
            rows::collect(transaction, &sql, [namespace.as_str(), container], attached)
        })
    }

    /// What all containers have mounted.
    pub fn all_attached(&self) -> Result<Vec<AttachedRecord>> {
        self.read("list what is attached", |transaction| {
            let sql = format!("{ATTACHED} ORDER BY namespace, container, place");
            rows::collect(transaction, &sql, [], attached)
        })
    }

    /// Gives what a container has mounted the ground, base, version and generation of `record`; its old ground was used until `now`, in
    /// seconds since 1970.
    pub fn reground(&self, record: &AttachedRecord, now: i64) -> Result<()> {
        self.write("give a volume another ground", |transaction| {
            touch_grounds(transaction, (&record.namespace, &record.container), now)?;
            transaction.execute(
                "UPDATE attached SET ground = ?4, base = ?5, version = ?6, generation = ?7
                 WHERE namespace = ?1 AND container = ?2 AND destination = ?3",
                params![
                    record.namespace.as_str(),
                    record.container,
                    record.destination,
                    record.ground.as_bytes(),
                    record.base.as_bytes(),
                    record.version.map(rows::stored),
                    rows::stored(record.generation),
                ],
            )?;
            Ok(())
        })
    }
}

/// Who holds a snapshot on account of a volume, or of something that a container has mounted.
pub(super) fn users(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
) -> Result<Vec<Attachment>, Failure> {
    let sql = format!("{ATTACHED} WHERE ground = ?1 OR base = ?1 ORDER BY namespace, container");
    let mut users: Vec<Attachment> = Vec::new();
    for record in rows::collect(transaction, &sql, [id.as_bytes()], attached)? {
        users.push(match (record.ground == *id, record.volume) {
            (false, Some(volume)) => Attachment::Volume(record.namespace, volume.name().to_owned()),
            _ => Attachment::Container(record.namespace, record.container),
        });
    }
    let sql = "SELECT namespace, volume FROM volume_versions WHERE snapshot = ? ORDER BY namespace, volume";
    let volumes = rows::collect(transaction, sql, [id.as_bytes()], |row| {
        let namespace = rows::parsed(&row.get::<_, String>(0)?)?;
        Ok(Attachment::Volume(namespace, row.get(1)?))
    })?;
    users.extend(volumes);
    Ok(users)
}

/// Says that what a container has mounted is used until `now`.
pub(super) fn touch_grounds(
    transaction: &Transaction<'_>,
    (namespace, container): (&Namespace, &str),
    now: i64,
) -> Result<(), Failure> {
    let sql = format!("{ATTACHED} WHERE namespace = ? AND container = ?");
    for record in rows::collect(transaction, &sql, [namespace.as_str(), container], attached)? {
        naming::touch(transaction, &record.ground, now)?;
    }
    Ok(())
}

fn insert_attached(transaction: &Transaction<'_>, record: &AttachedRecord) -> Result<(), Failure> {
    transaction.execute(
        "INSERT INTO attached (namespace, container, destination, volume, version, ground, base, subfolder,
         is_read_only, place, generation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            record.namespace.as_str(),
            record.container,
            record.destination,
            record.volume.as_ref().map(SnapshotName::name),
            record.version.map(rows::stored),
            record.ground.as_bytes(),
            record.base.as_bytes(),
            record.subfolder,
            record.is_read_only,
            record.place,
            rows::stored(record.generation),
        ],
    )?;
    Ok(())
}

fn attached(row: &Row<'_>) -> Result<AttachedRecord, Failure> {
    let volume: Option<String> = row.get(3)?;
    let version: Option<i64> = row.get(4)?;
    Ok(AttachedRecord {
        namespace: rows::parsed(&row.get::<_, String>(0)?)?,
        container: row.get(1)?,
        destination: row.get(2)?,
        volume: volume.as_deref().map(rows::parsed).transpose()?,
        version: match version {
            Some(_) => Some(rows::count(row, 4)?),
            None => None,
        },
        ground: SnapshotId::from_bytes(row.get(5)?),
        base: SnapshotId::from_bytes(row.get(6)?),
        subfolder: row.get(7)?,
        is_read_only: row.get(8)?,
        place: row.get(9)?,
        generation: rows::count(row, 10)?,
    })
}
