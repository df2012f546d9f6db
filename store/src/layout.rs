//! Where things lie in the store's folder; nobody else spells a path (docs/format.md, "Folders").

use std::path::{Path, PathBuf};

use crate::{
    disk::Disk,
    error::Result,
    ids::{PackId, SnapshotId},
};

/// Says that the folder is a store, and of which version.
pub(crate) const FORMAT: &str = "store.format";
/// Locked by the one writer.
pub(crate) const LOCK: &str = "lock";
/// Published packs, in folders by the first byte of their ids.
pub(crate) const PACKS: &str = "packs";
/// Published index segments.
pub(crate) const INDEX: &str = "index";
/// Manifests of snapshots.
pub(crate) const MANIFESTS: &str = "manifests";
/// Packs that are to be removed.
pub(crate) const TOMBSTONES: &str = "tombstones";
/// What is not published yet; whatever a new writer finds here is left over.
pub(crate) const DRAFTS: &str = "drafts";

/// What was damaged and has been replaced; never read, never removed by us.
pub(crate) const QUARANTINE: &str = "quarantine";

/// The folder of packs whose ids begin with `first`.
pub(crate) fn pack_folder(first: u8) -> PathBuf {
    Path::new(PACKS).join(format!("{first:02x}"))
}

/// The published pack `id`.
pub(crate) fn pack(id: &PackId) -> PathBuf {
    pack_folder(id.as_bytes()[0]).join(format!("{id}.pack"))
}

/// The published manifest of the snapshot `id`.
pub(crate) fn manifest(id: &SnapshotId) -> PathBuf {
    Path::new(MANIFESTS).join(format!("{id}.manifest"))
}

/// The folder of the draft of the snapshot `id`.
pub(crate) fn draft(id: &SnapshotId) -> PathBuf {
    Path::new(DRAFTS).join(id.to_string())
}

/// The pack number `ordinal` of a draft in `folder`.
pub(crate) fn draft_pack(folder: &Path, ordinal: u32) -> PathBuf {
    folder.join(format!("{ordinal}.pack"))
}

/// The ids of all published packs, ascending.
pub(crate) fn packs(disk: &dyn Disk) -> Result<Vec<PackId>> {
    let mut found = Vec::new();
    for folder in disk.list(Path::new(PACKS))? {
        for name in disk.list(&Path::new(PACKS).join(&folder))? {
            let id: Option<PackId> = name.strip_suffix(".pack").and_then(|id| id.parse().ok());
            found.extend(id);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The ids of all published manifests, in no order.
pub(crate) fn manifests(disk: &dyn Disk) -> Result<Vec<SnapshotId>> {
    let names = disk.list(Path::new(MANIFESTS))?;
    let ids = names
        .iter()
        .filter_map(|name| name.strip_suffix(".manifest"));
    Ok(ids.filter_map(|id| id.parse().ok()).collect())
}
