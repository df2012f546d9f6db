//! The store: opening it, reading chunks and manifests, and beginning drafts.
//!
//! What is published is never changed, only added to and removed. The one writer holds the lock; readers take none, and find
//! what was published after they opened by looking again when they miss something.

mod cache;
mod chunks;
mod foresight;
pub(crate) mod format;
mod known;
mod latch;
mod places;
mod publish;
mod quarantine;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use cache::ChunkCache;
pub use foresight::ForesightStats;
pub(crate) use publish::SYNC_EACH;

use crate::{
    collect::{Collector, Lease, Retiring},
    disk::{Disk, HostDisk, Lock, is_absent},
    draft::Draft,
    entry::Content,
    error::{Error, Result},
    ids::{Digest, PackId, SnapshotId},
    index::Index,
    layout,
    manifest::Manifest,
    pack::PackFiles,
    progress::Progress,
    store::{foresight::Foresight, known::KnownContents, latch::Latch},
};

/// No manifest is larger; one that is, is not read.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;
/// Where the index makes its files while the store is opened or rebuilt.
const INDEX_DRAFT: &str = "index";

/// What a process wants of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read alone; takes no lock, several at once, beside a writer.
    ReadOnly,
    /// Read and write; one process at a time holds the lock. Settles what an earlier writer left half done.
    ReadWrite,
}

/// Sizes of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Packs.
    pub packs: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Bytes they take.
    pub stored_bytes: u64,
}

/// A store; cheap to clone, safe to share between threads.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    index: Index,
    packs: PackFiles,
    cache: ChunkCache,
    foresight: Foresight,
    known: KnownContents,
    latch: Latch,
    /// Held by the draft that is being published: one at a time.
    turn: Mutex<()>,
    collector: Collector,
    next_scratch: AtomicU64,
    /// The writer's lock; `None` when reading alone.
    lock: Option<Box<dyn Lock>>,
}

impl Store {
    /// Makes an empty store in the folder `root`, unless there is one, and opens it for writing.
    pub fn ensure(root: &Path) -> Result<Self> {
        let disk = Arc::new(HostDisk::ensure(root)?);
        format::ensure(&*disk)?;
        Self::open_on(disk, Access::ReadWrite)
    }

    /// Opens the store in the folder `root`.
    pub fn open(root: &Path, access: Access) -> Result<Self> {
        let disk = HostDisk::open(root).map_err(|error| match is_absent(&error) {
            true => no_store(root),
            false => error,
        })?;
        Self::open_on(Arc::new(disk), access)
    }

    /// Opens the store on `disk`.
    pub(crate) fn open_on(disk: Arc<dyn Disk>, access: Access) -> Result<Self> {
        format::check(&*disk, access)?;
        let (lock, index, collector) = match access {
            Access::ReadOnly => (None, Index::open(disk.clone())?, Collector::default()),
            Access::ReadWrite => {
                let lock = disk.lock(Path::new(layout::LOCK))?;
                let index = settle(&disk)?;
                let collector = Collector::open(&*disk, &index)?;
                (Some(lock), index, collector)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                disk,
                index,
                packs: PackFiles::new(),
                cache: ChunkCache::new(),
                foresight: Foresight::default(),
                known: KnownContents::default(),
                latch: Latch::default(),
                turn: Mutex::new(()),
                collector,
                next_scratch: AtomicU64::new(0),
                lock,
            }),
        })
    }

    /// The folder it lies in.
    pub fn root(&self) -> &Path {
        self.inner.disk.root()
    }

    /// True when a chunk of this digest is published, in a pack that is not about to be removed.
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        if self.inner.index.offers(digest)? {
            return Ok(true);
        }
        if self.inner.lock.is_some() {
            return Ok(false);
        }
        self.inner.index.refresh()?;
        self.inner.index.offers(digest)
    }

    /// Grows with everything after which what was found here may no longer be offered: packs that are condemned, lost or found damaged.
    /// As long as it stays the same, whatever a draft relied on may be relied on by one that begins before this is asked again.
    pub fn losses(&self) -> u64 {
        self.inner.index.losses()
    }

    /// True when all of a content was found here and nothing was lost since.
    pub(crate) fn knows(&self, content: &Content, size: u64) -> bool {
        self.inner.known.has(content, size, self.losses())
    }

    /// Remembers a content that was found here whole after the index said `losses`.
    pub(crate) fn note_known(&self, content: &Content, size: u64, losses: u64) {
        if losses == self.losses() {
            self.inner.known.note(content, size, losses);
        }
    }

    /// Begins a snapshot's draft; nothing of it is visible until it is committed.
    pub fn begin(&self, id: SnapshotId) -> Result<Draft> {
        self.check_writable()?;
        let drafts = self.inner.disk.list(Path::new(layout::DRAFTS))?;
        let exists = drafts.contains(&id.to_string())
            || self.inner.disk.open(&layout::manifest(&id)).is_ok();
        match exists {
            true => Err(Error::Exists {
                what: "Snapshot",
                name: id.to_string(),
            }),
            false => Draft::begin(self.clone(), id),
        }
    }

    /// Reads a snapshot's manifest.
    pub fn manifest(&self, id: &SnapshotId) -> Result<Manifest> {
        let corrupt = |why: String| Error::Corrupt {
            what: "Manifest",
            name: id.to_string(),
            why,
        };
        let file = match self.inner.disk.open(&layout::manifest(id)) {
            Err(error) if is_absent(&error) => return Err(not_found("Snapshot", id)),
            file => file?,
        };
        let length = file.length()?;
        if length > MAX_MANIFEST_BYTES {
            return Err(corrupt(format!(
                "it is larger than {MAX_MANIFEST_BYTES} bytes"
            )));
        }
        let mut bytes = vec![0; usize::try_from(length).expect("a gigabyte at most")];
        let filled = file.read_at(0, &mut bytes)?;
        let manifest = Manifest::decode(&bytes[..filled])?;
        match manifest.id == *id {
            true => Ok(manifest),
            false => Err(corrupt(format!("it is that of snapshot {}", manifest.id))),
        }
    }

    /// The ids of all manifests, in no order.
    pub fn manifests(&self) -> Result<Vec<SnapshotId>> {
        layout::manifests(&*self.inner.disk)
    }

    /// Removes a snapshot's manifest for good; no error when it is gone already. Chunks stay until they are collected.
    pub fn remove_manifest(&self, id: &SnapshotId) -> Result<()> {
        self.check_writable()?;
        let _retiring = match self.manifest(id) {
            Ok(manifest) => Some(self.inner.collector.retire(Some(manifest.root.digest))),
            Err(Error::NotFound { .. }) => None,
            Err(_) => Some(self.inner.collector.retire(None)),
        };
        let disk = &self.inner.disk;
        disk.remove(&layout::manifest(id))?;
        let synced = disk.sync_folder(Path::new(layout::MANIFESTS));
        self.inner.latch.watch(synced)
    }

    /// Sizes, from the index.
    pub fn stats(&self) -> Result<StoreStats> {
        if self.inner.lock.is_none() {
            self.inner.index.refresh()?;
        }
        let stats = self.inner.index.stats();
        Ok(StoreStats {
            packs: stats.packs,
            chunks: stats.chunks,
            stored_bytes: stats.stored_bytes,
        })
    }

    /// Rebuilds the index from the packs' footers.
    pub fn rebuild_index(&self, progress: &dyn Progress) -> Result<()> {
        self.check_writable()?;
        let _turn = self.turn();
        let scratch = self.scratch()?;
        self.inner.index.rebuild(&scratch.path, progress)
    }

    /// Claims everything in the store: what is found there while the lease lives is not removed from it, even when no snapshot needs it.
    /// A draft has one of its own.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.inner.collector.lease()
    }

    /// Says that `root`, which is no manifest's, is about to lose what names it to a collection. The answer is dropped when it has: drafts
    /// that took the tree up before may go on with it.
    pub fn retire(&self, root: Digest) -> Retiring<'_> {
        self.inner.collector.retire(Some(root))
    }

    /// Closes files of packs and of the index that a writer has removed since they were opened, so that their space comes back. For
    /// processes that read for long; to be called now and then.
    pub fn close_removed(&self) -> Result<()> {
        self.inner.packs.close_removed();
        self.inner.index.refresh()
    }

    /// The disk it lies on.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        self.inner.disk.clone()
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    pub(crate) fn latch(&self) -> &Latch {
        &self.inner.latch
    }

    pub(crate) fn collector(&self) -> &Collector {
        &self.inner.collector
    }

    /// Closes a pack's file, so that its space is given back once it is removed.
    pub(crate) fn close_pack(&self, pack: &PackId) {
        self.inner.packs.forget(pack);
    }

    /// A folder for files that are not published yet, removed when dropped.
    pub(crate) fn scratch(&self) -> Result<Scratch<'_>> {
        Scratch::create(&self.inner.disk, self.scratch_name())
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.inner.lock.is_none() {
            return Err(Error::Invalid {
                what: "use of the store",
                why: "it was opened for reading alone".to_owned(),
            });
        }
        self.inner.latch.check()
    }

    /// A folder for files of the index that no other such folder has.
    fn scratch_name(&self) -> PathBuf {
        let number = self.inner.next_scratch.fetch_add(1, Ordering::Relaxed);
        Path::new(layout::DRAFTS).join(format!("{INDEX_DRAFT}-{number}"))
    }

    pub(crate) fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        self.inner
            .turn
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Removes what an earlier writer left half done, and opens the index.
fn settle(disk: &Arc<dyn Disk>) -> Result<Index> {
    for left in disk.list(Path::new(layout::DRAFTS))? {
        disk.remove_folder(&Path::new(layout::DRAFTS).join(left))?;
    }
    let scratch = Scratch::create(disk, Path::new(layout::DRAFTS).join(INDEX_DRAFT))?;
    Index::open_and_settle(disk.clone(), &scratch.path)
}

/// A folder for temporary files, removed when dropped.
pub(crate) struct Scratch<'a> {
    disk: &'a Arc<dyn Disk>,
    pub(crate) path: PathBuf,
}

impl<'a> Scratch<'a> {
    fn create(disk: &'a Arc<dyn Disk>, path: PathBuf) -> Result<Self> {
        disk.create_folder(&path)?;
        Ok(Self { disk, path })
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove_folder(&self.path) {
            tracing::warn!(%error, "Files of the index are left over until the store is opened again");
        }
    }
}

fn no_store(root: &Path) -> Error {
    not_found("Store", &root.display())
}

fn not_found(what: &'static str, name: &dyn std::fmt::Display) -> Error {
    Error::NotFound {
        what,
        name: name.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
