//! The power goes, or the process is killed, at every step of everything that writes. What was acknowledged is whole
//! afterwards, what was not is either whole or gone, and the store goes on.
//!
//! What is found afterwards is what had been synced and an arbitrary part of what had not; `disk/doubles` makes it.

mod faults;
mod index;
mod opening;
mod snapshots;
mod teeth;

use super::*;
use crate::disk::doubles::crash_everywhere;
pub(crate) use teeth::bite;

/// What a check says of something that does not hold.
pub(crate) type Checked = Result<(), String>;

/// A store with so many segments that the next commit merges them.
fn store_before(disk: &MemoryDisk) -> (Store, Vec<SnapshotId>) {
    let store = store_on(disk);
    let ids = (0..3)
        .map(|seed| commit(&store, &[text(seed, 3000), noise(seed, 100)]).unwrap())
        .collect();
    (store, ids)
}

fn new_chunks() -> Vec<Vec<u8>> {
    vec![text(100, 30_000), noise(101, 5000), text(0, 3000)]
}

/// Reads everything of these snapshots back.
pub(crate) fn whole(store: &Store, ids: &[SnapshotId]) -> Checked {
    for id in ids {
        let chunks = chunks_of(store, id).map_err(|error| format!("snapshot {id}: {error}"))?;
        let list = store.get(&store.manifest(id).map_err(told)?.root.digest);
        if list.map_err(told)?.len() / Digest::LEN != chunks.len() {
            return Err(format!("snapshot {id} lacks chunks"));
        }
    }
    Ok(())
}

/// Opens what is left, looks at everything in it and uses it: every acknowledged snapshot and every other that can be seen is whole.
pub(crate) fn sound(disk: &MemoryDisk, acknowledged: &[SnapshotId]) -> Checked {
    let open = |access| Store::open_on(Arc::new(disk.clone()), access).map_err(told);
    let reader = open(Access::ReadOnly)?;
    whole(&reader, acknowledged)?;
    let store = open(Access::ReadWrite)?;
    whole(&store, acknowledged)?;
    whole(&store, &store.manifests().map_err(told)?)?;
    let left = disk.list(Path::new(layout::DRAFTS)).map_err(told)?;
    if !left.is_empty() {
        return Err(format!("left in drafts: {left:?}"));
    }
    let id = commit(&store, &new_chunks()).map_err(told)?;
    match chunks_of(&store, &id).map_err(told)? == new_chunks() {
        true => whole(&reader, &[id]),
        false => Err("a new snapshot has other bytes".to_owned()),
    }
}

/// An error with its cause.
pub(crate) fn told(error: Error) -> String {
    match error {
        Error::Io { ref source, .. } => format!("{error}: {source}"),
        other => other.to_string(),
    }
}
