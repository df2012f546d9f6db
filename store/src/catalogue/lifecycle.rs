//! From Creating to gone: every change of state, each allowed from named states alone.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    Begun, Catalogue, Failure, Force, MemoryMark, MoveCause, SnapshotRecord, SnapshotState, Stay,
    lookup, naming, quota, rows, trash, users, versions, volumes,
};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
    manifest::{Manifest, Origin},
    names::SnapshotName,
};

/// How snapshots are removed.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// Whether immutable names stand in the way.
    pub force: Force,
    /// Seconds since 1970.
    pub now: i64,
    /// How they go to the trash; `None` when they do not.
    pub stay: Option<Stay>,
}

impl Catalogue {
    /// Adds a snapshot in state Creating, unless its namespace holds `limit` snapshots already (`Error::Limit`).
    ///
    /// What counts against the limit is Creating and Active: a Failed snapshot holds no data, and one that is
    /// Deleting is on its way out. The record's names are given when the snapshot becomes Active.
    pub fn insert(&self, record: &SnapshotRecord, limit: u64) -> Result<()> {
        self.write("insert a snapshot", |transaction| {
            if quota::held(transaction, &record.namespace)?.snapshots >= limit {
                return Err(Failure::Situation(Error::Limit {
                    what: "Snapshots in the namespace",
                    limit,
                }));
            }
            add(transaction, record, SnapshotState::Creating)
        })
    }

    /// Creating → Active: takes sizes from the manifest, makes it the next version of its name, moves the name and `latest`. A name that has
    /// become immutable meanwhile stays where it is.
    pub fn activate(&self, manifest: &Manifest) -> Result<SnapshotRecord> {
        self.activate_within(manifest, u64::MAX)
    }

    /// The same, unless what its namespace has stored would come to more than `stored_bytes_limit` (`Error::Limit`).
    pub fn activate_within(
        &self,
        manifest: &Manifest,
        stored_bytes_limit: u64,
    ) -> Result<SnapshotRecord> {
        self.write("activate a snapshot", |transaction| {
            require(transaction, &manifest.id, &[SnapshotState::Creating])?;
            let (namespace, more_bytes) = (&manifest.namespace, manifest.stored_bytes);
            quota::require_room(transaction, namespace, more_bytes, stored_bytes_limit)?;
            let memory = MemoryMark::of(manifest);
            let (memory_bytes, memory_failure, is_sealed) = rows::memory_columns(memory.as_ref());
            transaction.execute(
                "UPDATE snapshots SET state = 'active', reason = NULL, created_at = ?2, nodes = ?3,
                 logical_bytes = ?4, stored_bytes = ?5, pause_us = ?6, memory_bytes = ?7, memory_failure = ?8,
                 memory_is_sealed = ?9 WHERE id = ?1",
                params![
                    manifest.id.as_bytes(),
                    manifest.created_at,
                    rows::stored(manifest.root.nodes),
                    rows::stored(manifest.logical_bytes),
                    rows::stored(manifest.stored_bytes),
                    rows::stored(manifest.pause_us),
                    memory_bytes,
                    memory_failure,
                    is_sealed,
                ],
            )?;
            if let Some(name) = &manifest.name {
                let (namespace, id) = (&manifest.namespace, &manifest.id);
                versions::give(transaction, namespace, name, manifest.version, id)?;
                let why = (MoveCause::Create, manifest.created_at);
                for name in BTreeSet::from([name.clone(), name.latest()]) {
                    naming::point_if_movable(transaction, namespace, &name, why, id)?;
                }
            }
            lookup::one(transaction, &manifest.id)
        })
    }

    /// Fills a new catalogue from manifests, in any order: a name goes to the newest that claims it. A manifest without the number of its
    /// version gets the next one, so those should come in the order they were made. What the catalogue knows already stays as it is.
    pub fn import(&self, manifest: &Manifest) -> Result<()> {
        self.write("import a manifest", |transaction| {
            if state(transaction, &manifest.id)?.is_some() {
                return Ok(());
            }
            add(transaction, &described(manifest), SnapshotState::Active)?;
            volumes::adopt(transaction, manifest)?;
            let Some(name) = &manifest.name else {
                return Ok(());
            };
            let (namespace, id) = (&manifest.namespace, &manifest.id);
            versions::give(transaction, namespace, name, manifest.version, id)?;
            let why = (MoveCause::Create, manifest.created_at);
            for name in BTreeSet::from([name.clone(), name.latest()]) {
                if is_after_holder(transaction, &name, manifest)? {
                    naming::point_if_movable(transaction, namespace, &name, why, id)?;
                }
            }
            Ok(())
        })
    }

    /// Creating → Failed.
    pub fn fail(&self, id: &SnapshotId, reason: &str) -> Result<()> {
        self.write("fail a snapshot", |transaction| {
            require(transaction, id, &[SnapshotState::Creating])?;
            transaction.execute(
                "UPDATE snapshots SET state = 'failed', reason = ?2 WHERE id = ?1",
                params![id.as_bytes(), reason],
            )?;
            Ok(())
        })
    }

    /// Active → Failed: its manifest is gone. Names and users stay.
    pub fn lose(&self, id: &SnapshotId, reason: &str) -> Result<()> {
        self.write("give a snapshot up", |transaction| {
            require(transaction, id, &[SnapshotState::Active])?;
            transaction.execute(
                "UPDATE snapshots SET state = 'failed', reason = ?2 WHERE id = ?1",
                params![id.as_bytes(), reason],
            )?;
            Ok(())
        })
    }

    /// Failed → Active: its manifest is there again.
    pub fn find_again(&self, id: &SnapshotId) -> Result<()> {
        self.write("take a snapshot back", |transaction| {
            require(transaction, id, &[SnapshotState::Failed])?;
            transaction.execute(
                "UPDATE snapshots SET state = 'active', reason = NULL WHERE id = ?",
                [id.as_bytes()],
            )?;
            Ok(())
        })
    }

    /// Active or Failed → Deleting, names taken away; `now` in seconds since 1970. All of them or none: `Busy` when one is Creating or
    /// attached, `Naming` when one is pinned or, without force, bears an immutable name.
    /// One that is Deleting already may be among them, so that a removal that was cut short can be asked for again.
    pub fn begin_removal(&self, ids: &[SnapshotId], force: Force, now: i64) -> Result<()> {
        let stay = None;
        self.remove_to(ids, &Removal { force, now, stay }).map(drop)
    }

    /// The same, by way of the trash when `removal` says so; what is Failed holds nothing and does not go there. One that is in the trash
    /// already stays there as it is, unless it is to go for good.
    pub fn remove_to(&self, ids: &[SnapshotId], removal: &Removal) -> Result<Begun> {
        self.write("begin a removal", |transaction| {
            let mut begun = Begun::default();
            for id in ids {
                delete(transaction, id, removal, &mut begun)?;
            }
            Ok(begun)
        })
    }

    /// The same for one that has expired at `now`; `NotFound` when it has not, or no longer: somebody has pinned it or made its
    /// time to live longer since it was listed.
    pub fn begin_expiry(&self, id: &SnapshotId, now: i64) -> Result<()> {
        self.expire_to(id, now, None).map(drop)
    }

    /// The same, by way of the trash when `stay` says so.
    pub fn expire_to(&self, id: &SnapshotId, now: i64, stay: Option<Stay>) -> Result<Begun> {
        self.write("begin the removal of an expired snapshot", |transaction| {
            if !lookup::one(transaction, id)?.has_expired(now) {
                return Err(Failure::Situation(Error::NotFound {
                    what: "Expired snapshot",
                    name: id.to_string(),
                }));
            }
            let (mut begun, force) = (Begun::default(), Force::No);
            delete(transaction, id, &Removal { force, now, stay }, &mut begun)?;
            Ok(begun)
        })
    }

    /// Deleting → gone.
    pub fn finish_removal(&self, id: &SnapshotId) -> Result<()> {
        self.write("finish a removal", |transaction| {
            require(transaction, id, &[SnapshotState::Deleting])?;
            if trash::holds(transaction, id)? {
                return Err(Failure::Situation(Error::Busy {
                    what: "Snapshot",
                    name: id.to_string(),
                    why: "is in the trash".to_owned(),
                }));
            }
            transaction.execute("DELETE FROM snapshots WHERE id = ?", [id.as_bytes()])?;
            Ok(())
        })
    }
}

/// Active or Failed → Deleting, as [`Catalogue::remove_to`] says.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
    removal: &Removal,
    begun: &mut Begun,
) -> Result<(), Failure> {
    use SnapshotState::{Active, Deleting, Failed};
    require(transaction, id, &[Active, Failed, Deleting])?;
    let is_trashed = trash::holds(transaction, id)?;
    if is_trashed && removal.stay.is_some() {
        return Ok(());
    }
    users::require_unused(transaction, id)?;
    let record = lookup::one(transaction, id)?;
    naming::require_removable(&record, removal.force)?;
    match removal.stay.filter(|_| record.state == Active) {
        Some(stay) => {
            trash::put(transaction, &record, stay, removal.now)?;
            begun.trashed.push(*id);
        }
        None => {
            trash::take(transaction, id)?;
            naming::take_all(transaction, &record, removal.now)?;
            begun.deleting.push(*id);
        }
    }
    transaction.execute(
        "UPDATE snapshots SET state = 'deleting' WHERE id = ?",
        [id.as_bytes()],
    )?;
    Ok(())
}

fn add(
    transaction: &Transaction<'_>,
    record: &SnapshotRecord,
    state: SnapshotState,
) -> Result<(), Failure> {
    if self::state(transaction, &record.id)?.is_some() {
        return Err(Failure::Situation(Error::Exists {
            what: "Snapshot",
            name: record.id.to_string(),
        }));
    }
    let (memory_bytes, memory_failure, is_sealed) = rows::memory_columns(record.memory.as_ref());
    transaction.execute(
        "INSERT INTO snapshots (id, namespace, state, reason, labels, source, is_container, image,
         created_at, expires_at, last_used_at, nodes, logical_bytes, stored_bytes, pause_us,
         memory_bytes, memory_failure, memory_is_sealed, unused_seconds)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            record.id.as_bytes(),
            record.namespace.as_str(),
            state.as_str(),
            record.reason,
            rows::labels_text(&record.labels),
            record.source,
            record.is_container,
            record.image,
            record.created_at,
            record.expires_at,
            record.last_used_at,
            rows::stored(record.nodes),
            rows::stored(record.logical_bytes),
            rows::stored(record.stored_bytes),
            rows::stored(record.pause_us),
            memory_bytes,
            memory_failure,
            is_sealed,
            record.unused_seconds.map(rows::stored),
        ],
    )?;
    Ok(())
}

/// Whether a manifest was made after what a name points to: by the numbers they were given where it has one of its own, because several
/// may be made in one second, and otherwise by their times.
fn is_after_holder(
    transaction: &Transaction<'_>,
    name: &SnapshotName,
    manifest: &Manifest,
) -> Result<bool, Failure> {
    let namespace = &manifest.namespace;
    let Some(holder) = naming::holder(transaction, namespace, name)? else {
        return Ok(true);
    };
    let number = |id| versions::number_of(transaction, namespace, name, id);
    let own = manifest.version.and(number(&manifest.id)?);
    Ok(match (number(&holder.id)?, own) {
        (Some(theirs), Some(own)) => theirs < own,
        _ => (holder.created_at, holder.id) < (manifest.created_at, manifest.id),
    })
}

/// The record of a manifest that nothing else is known of.
fn described(manifest: &Manifest) -> SnapshotRecord {
    let (source, image) = match &manifest.origin {
        Origin::Path(path) => (path.clone(), None),
        Origin::Container(config) => (
            config.id.clone(),
            Some(config.image.clone()).filter(|image| !image.is_empty()),
        ),
    };
    SnapshotRecord {
        state: SnapshotState::Active,
        labels: manifest.labels.clone(),
        is_container: matches!(manifest.origin, Origin::Container(_)),
        image,
        expires_at: manifest.expires_at,
        nodes: manifest.root.nodes,
        logical_bytes: manifest.logical_bytes,
        stored_bytes: manifest.stored_bytes,
        pause_us: manifest.pause_us,
        memory: MemoryMark::of(manifest),
        ..SnapshotRecord::creating(
            manifest.id,
            manifest.namespace.clone(),
            source,
            manifest.created_at,
        )
    }
}

fn state(transaction: &Transaction<'_>, id: &SnapshotId) -> Result<Option<SnapshotState>, Failure> {
    let word: Option<String> = transaction
        .query_row(
            "SELECT state FROM snapshots WHERE id = ?",
            [id.as_bytes()],
            |row| row.get(0),
        )
        .optional()?;
    word.as_deref().map(rows::state).transpose()
}

/// `NotFound` or `Busy` unless the snapshot is in one of the states `allowed`.
pub(super) fn require(
    transaction: &Transaction<'_>,
    id: &SnapshotId,
    allowed: &[SnapshotState],
) -> Result<(), Failure> {
    let Some(state) = state(transaction, id)? else {
        return Err(Failure::Situation(lookup::not_found(id)));
    };
    if allowed.contains(&state) {
        return Ok(());
    }
    let why = match state {
        SnapshotState::Creating => "is still being made",
        SnapshotState::Active => "is active already",
        SnapshotState::Failed => "could not be made",
        SnapshotState::Deleting => "is being removed",
    };
    Err(Failure::Situation(Error::Busy {
        what: "Snapshot",
        name: id.to_string(),
        why: why.to_owned(),
    }))
}
