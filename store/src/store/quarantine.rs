//! Quarantine: what is damaged is moved out of the way, and kept for whoever wants to look at it.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use crate::{
    disk::is_absent,
    error::Result,
    ids::{PackId, SnapshotId},
    layout,
    store::Store,
};

impl Store {
    /// Moves packs into quarantine, durably, and returns those that were there to be moved. Whatever they alone hold is
    /// then unknown to the store, and stored again by whoever brings it.
    pub(crate) fn quarantine(&self, packs: &[PackId]) -> Result<Vec<PackId>> {
        self.check_writable()?;
        let _turn = self.turn();
        let mut moved = Vec::new();
        let mut folders = BTreeSet::new();
        for pack in packs {
            if self.move_away(&layout::pack(pack), &format!("{pack}.pack"))? {
                moved.push(*pack);
                folders.insert(layout::pack_folder(pack.as_bytes()[0]));
            }
            self.inner.packs.forget(pack);
        }
        self.spare(packs.iter().copied())?;
        self.inner
            .index
            .forget(&packs.iter().copied().collect::<HashSet<_>>())?;
        for folder in &folders {
            self.inner
                .latch
                .watch(self.inner.disk.sync_folder(folder))?;
        }
        Ok(moved)
    }

    /// Moves a manifest that cannot be read into quarantine; false when there is none.
    pub fn quarantine_manifest(&self, id: &SnapshotId) -> Result<bool> {
        self.check_writable()?;
        let _retiring = self.inner.collector.retire(None);
        let is_moved = self.move_away(&layout::manifest(id), &format!("{id}.manifest"))?;
        if is_moved {
            let folder = Path::new(layout::MANIFESTS);
            self.inner
                .latch
                .watch(self.inner.disk.sync_folder(folder))?;
        }
        Ok(is_moved)
    }

    /// Gives a file a place in quarantine, under `name` or one like it that nobody has; false when the file is not there.
    fn move_away(&self, path: &Path, name: &str) -> Result<bool> {
        let (disk, latch) = (&self.inner.disk, &self.inner.latch);
        let folder = Path::new(layout::QUARANTINE);
        match disk.open(path) {
            Err(error) if is_absent(&error) => return Ok(false),
            // One that cannot be opened can be renamed all the same.
            _ => {}
        }
        let taken = match disk.list(folder) {
            Err(error) if is_absent(&error) => {
                disk.create_folder(folder)?;
                latch.watch(disk.sync_folder(Path::new(".")))?;
                Vec::new()
            }
            names => names?,
        };
        latch.watch_unless_full(disk.rename(path, &free(folder, name, &taken)))?;
        latch.watch(disk.sync_folder(folder))?;
        Ok(true)
    }
}

fn free(folder: &Path, name: &str, taken: &[String]) -> PathBuf {
    let mut candidate = name.to_owned();
    for number in 2.. {
        if !taken.contains(&candidate) {
            break;
        }
        candidate = format!("{name}.{number}");
    }
    folder.join(candidate)
}
