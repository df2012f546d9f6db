//! The catalogue's records as clients see them.

use snap_api::{
    ContainerFolder, ExpiryCause as WireCause, MemoryView, SnapshotState as WireState, SnapshotView,
};
use snap_store::{ExpiryCause, MemoryMark, SnapshotRecord, SnapshotState};

use crate::{
    clock::{now, rfc3339},
    host::Host,
};

/// What a listing shows of a snapshot.
pub(crate) fn snapshot(record: &SnapshotRecord) -> SnapshotView {
    let expiry = record.expiry();
    SnapshotView {
        id: record.id.to_string(),
        namespace: record.namespace.to_string(),
        state: match record.state {
            SnapshotState::Creating => WireState::Creating,
            SnapshotState::Active => WireState::Active,
            SnapshotState::Failed => WireState::Failed,
            SnapshotState::Deleting => WireState::Deleting,
        },
        reason: record.reason.clone(),
        names: record.names.iter().map(ToString::to_string).collect(),
        immutable: record.immutable.iter().map(ToString::to_string).collect(),
        versions: record.versions.iter().map(ToString::to_string).collect(),
        pinned: record.is_pinned,
        labels: record.labels.clone(),
        source: record.source.clone(),
        is_container: record.is_container,
        container_folder: container_folder(record).map(|(container, path)| ContainerFolder {
            container: container.to_owned(),
            path: path.to_owned(),
        }),
        image: record.image.clone(),
        created_at: rfc3339(record.created_at),
        expires_at: expiry.map(|(at, _)| rfc3339(at)),
        expires_by: expiry.map(|(_, cause)| match cause {
            ExpiryCause::Ttl => WireCause::Ttl,
            ExpiryCause::Unused => WireCause::Unused,
        }),
        unused_seconds: record.unused_seconds,
        in_use: record.is_used,
        expired: record.has_expired(now()),
        last_used_at: record.last_used_at.map(rfc3339),
        nodes: record.nodes,
        logical_bytes: record.logical_bytes,
        stored_bytes: record.stored_bytes,
        pause_us: record.pause_us,
        damage: None,
        memory: record.memory.as_ref().map(memory),
    }
}

/// The container and the folder in it that a snapshot was made from. The path of a folder of the host begins with a slash, the id of a
/// container never does.
pub(crate) fn container_folder(record: &SnapshotRecord) -> Option<(&str, &str)> {
    let is_folder = !record.is_container && !record.source.starts_with('/');
    record.source.split_once(':').filter(|_| is_folder)
}

fn memory(mark: &MemoryMark) -> MemoryView {
    match mark {
        MemoryMark::Captured { bytes, is_sealed } => MemoryView {
            captured: true,
            bytes: *bytes,
            encrypted: *is_sealed,
            reason: None,
        },
        MemoryMark::Failed(reason) => MemoryView {
            captured: false,
            bytes: 0,
            encrypted: false,
            reason: Some(reason.clone()),
        },
    }
}

/// The same with what is known to be damaged in it.
pub(crate) fn snapshot_of(host: &Host, record: &SnapshotRecord) -> SnapshotView {
    SnapshotView {
        damage: host.marks.of(&record.id),
        ..snapshot(record)
    }
}
