//! Publishing a draft: the one place where what is made becomes what is there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    disk::{Disk, Sink},
    error::Result,
    ids::{PackId, SnapshotId},
    index::Written,
    layout,
    pack::{Footer, SealedPack},
    store::Store,
};

/// Up to this many packs or folders are synced one by one; beyond it one sync of the file system costs less.
pub(crate) const SYNC_EACH: usize = 8;

impl Store {
    /// Publishes packs that lie in a draft's folder, and then the manifest that needs them. When it returns, all of it is durable;
    /// when it fails, no manifest is visible, and what else may be is harmless.
    pub(crate) fn publish(
        &self,
        folder: &Path,
        packs: &[SealedPack],
        manifest: Option<(SnapshotId, Vec<u8>)>,
    ) -> Result<()> {
        self.check_writable()?;
        let _turn = self.turn();
        let latch = &self.inner.latch;
        self.spare(packs.iter().map(|pack| pack.id))?;
        let segment = self.write_segment(folder, packs)?;
        let manifest = match manifest {
            Some((id, bytes)) => Some(self.write_manifest(folder, id, &bytes)?),
            None => None,
        };
        latch.watch_unless_full(self.sync_files(packs, segment.as_ref(), manifest.as_ref()))?;
        self.publish_packs(packs)?;
        if let Some(segment) = &segment {
            latch.watch_unless_full(self.inner.index.install(segment))?;
        }
        if let Some(manifest) = &manifest {
            self.publish_manifest(manifest)?;
        }
        if let Err(error) = self.inner.index.tidy(folder) {
            tracing::warn!(%error, "Index segments stay as they are");
        }
        Ok(())
    }

    fn write_segment(&self, folder: &Path, packs: &[SealedPack]) -> Result<Option<Written>> {
        let mut build = self.inner.index.begin(folder);
        for pack in packs {
            build.add_footer(Footer::read(&*self.inner.disk, &pack.path)?)?;
        }
        match build.is_empty() {
            true => Ok(None),
            false => build.write().map(Some),
        }
    }

    fn write_manifest(&self, folder: &Path, id: SnapshotId, bytes: &[u8]) -> Result<ManifestFile> {
        let path = folder.join("manifest");
        let mut sink = self.inner.disk.create(&path)?;
        sink.append(bytes)?;
        Ok(ManifestFile { id, path, sink })
    }

    fn sync_files(
        &self,
        packs: &[SealedPack],
        segment: Option<&Written>,
        manifest: Option<&ManifestFile>,
    ) -> Result<()> {
        let others = segment.map(|segment| &segment.sink);
        let others = others.into_iter().chain(manifest.map(|file| &file.sink));
        let packs: Option<Vec<_>> = packs.iter().map(|pack| pack.sink.as_ref()).collect();
        match packs {
            Some(packs) if packs.len() <= SYNC_EACH => packs
                .into_iter()
                .chain(others)
                .try_for_each(|file| file.sync()),
            _ => self.inner.disk.sync_all(),
        }
    }

    /// Renames the packs into place and makes that durable; undone when the disk turns out to be full.
    fn publish_packs(&self, packs: &[SealedPack]) -> Result<()> {
        let disk = &*self.inner.disk;
        let mut renamed = Renamed::new(disk);
        let mut folders = BTreeSet::new();
        for pack in packs {
            let path = layout::pack(&pack.id);
            let is_there = disk.open(&path).is_ok();
            let result = disk.rename(&pack.path, &path);
            self.inner.latch.watch_unless_full(result)?;
            folders.insert(pack.id.as_bytes()[0]);
            // Another draft has made the very same pack; it is not ours to take back.
            if !is_there {
                renamed.packs.push(pack.id);
            }
        }
        let synced = match folders.len() <= SYNC_EACH {
            true => folders
                .iter()
                .try_for_each(|first| disk.sync_folder(&layout::pack_folder(*first))),
            false => disk.sync_all(),
        };
        let result = self.inner.latch.watch(synced);
        renamed.keep();
        result
    }

    fn publish_manifest(&self, manifest: &ManifestFile) -> Result<()> {
        let disk = &*self.inner.disk;
        let latch = &self.inner.latch;
        latch.watch_unless_full(disk.rename(&manifest.path, &layout::manifest(&manifest.id)))?;
        latch.watch(disk.sync_folder(Path::new(layout::MANIFESTS)))
    }
}

/// A manifest that is written but neither durable nor published.
struct ManifestFile {
    id: SnapshotId,
    path: PathBuf,
    sink: Box<dyn Sink>,
}

/// Packs that were renamed into place, and are removed again unless all of them were.
struct Renamed<'a> {
    disk: &'a dyn Disk,
    packs: Vec<PackId>,
}

impl<'a> Renamed<'a> {
    fn new(disk: &'a dyn Disk) -> Self {
        Self {
            disk,
            packs: Vec::new(),
        }
    }

    fn keep(mut self) {
        self.packs.clear();
    }
}

impl Drop for Renamed<'_> {
    fn drop(&mut self) {
        for pack in &self.packs {
            if let Err(error) = self.disk.remove(&layout::pack(pack)) {
                tracing::warn!(%pack, %error, "Pack is left over until it is collected");
            }
        }
    }
}
