//! A draft: a snapshot being made. Chunks go in from any number of threads; `commit` makes all of it visible
//! at once, dropping it leaves nothing behind.
//!
//! Hashing and looking up happen on the caller's thread, so that only chunks nobody has reach the queue of [`pipeline`].

pub(crate) mod cut;
mod folder;
mod open;
mod pages;
mod pending;
mod pipeline;
mod sealed;
mod spill;

use std::{
    io::Read,
    path::PathBuf,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    collect::Lease,
    draft::{
        cut::{Cutter, Feed, Piece, ReaderFeed, SIZES, SparseFeed},
        folder::DraftFolder,
        pages::PageCutter,
        pipeline::{Kind, PENDING_CHUNKS, Pipeline},
    },
    entry::Content,
    error::{Error, Result},
    ids::{Digest, SnapshotId},
    layout,
    list::{ContentReader, ListWriter},
    manifest::Manifest,
    pack::unframe,
    progress::Progress,
    store::Store,
};

/// What a draft has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DraftStats {
    /// Bytes read from files.
    pub read_bytes: u64,
    /// Chunks the store did not have.
    pub new_chunks: u64,
    /// Bytes in them.
    pub new_bytes: u64,
    /// Bytes they take in packs.
    pub stored_bytes: u64,
    /// Chunks the store, or this draft, had already.
    pub deduplicated_chunks: u64,
}

/// A snapshot being made.
#[derive(Debug)]
pub struct Draft {
    id: SnapshotId,
    // Declared before the folder: the threads end before their files are removed.
    pipeline: Pipeline,
    folder: DraftFolder,
    store: Store,
    /// Read by those who put, written by the one who publishes: what is put is in this publication or the next.
    gate: RwLock<()>,
    /// Windows that are not in use, one a thread that has ever read a file.
    cutters: Mutex<Vec<Cutter>>,
    read_bytes: AtomicU64,
    deduplicated_chunks: AtomicU64,
    /// What the store said of its losses before this relied on anything in it.
    losses: u64,
    /// What it has found in the store stays there until its manifest can be seen.
    _lease: Lease,
}

impl Draft {
    /// Begins the draft of the snapshot `id`, in a folder of its own.
    pub(crate) fn begin(store: Store, id: SnapshotId) -> Result<Self> {
        let lease = store.lease();
        let disk = store.disk();
        let folder = DraftFolder::create(disk.clone(), layout::draft(&id))?;
        Ok(Self {
            id,
            losses: store.losses(),
            pipeline: Pipeline::new(disk, folder.path().to_owned(), PENDING_CHUNKS),
            folder,
            store,
            gate: RwLock::new(()),
            cutters: Mutex::default(),
            read_bytes: AtomicU64::new(0),
            deduplicated_chunks: AtomicU64::new(0),
            _lease: lease,
        })
    }

    /// Puts a chunk of data. Blocks while the compression queue is full.
    pub fn put_data(&self, raw: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&raw);
        self.put(digest, Kind::Data, || raw)
    }

    /// Puts a page of metadata: the same, into packs of its own so that metadata lies together.
    pub fn put_meta(&self, raw: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&raw);
        self.put(digest, Kind::Meta, || raw)
    }

    /// Cuts `reader` into chunks and puts them. Runs of zeros of at least one chunk's minimum become holes.
    /// Returns the content and its length in bytes; the length may differ from what the caller had expected
    /// of a file that changes while it is read.
    pub fn put_content(
        &self,
        reader: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<(Content, u64)> {
        self.put_feed(&mut ReaderFeed(reader), progress)
    }

    /// The same for a sparse file: `extents` are its (offset, length) runs of data in ascending order, everything
    /// between them and up to `size` is a hole; `read_at(offset, buffer)` fills the buffer and returns how much it filled.
    pub fn put_sparse(
        &self,
        size: u64,
        extents: &[(u64, u64)],
        read_at: &mut dyn FnMut(u64, &mut [u8]) -> std::io::Result<usize>,
        progress: &dyn Progress,
    ) -> Result<Content> {
        let mut feed = SparseFeed {
            size,
            extents,
            read_at,
            offset: 0,
        };
        Ok(self.put_feed(&mut feed, progress)?.0)
    }

    /// Cuts a file of memory pages into chunks and puts them: between pages alone, and pages of zeros become holes. Returns the
    /// content and its length in bytes.
    pub fn put_pages(
        &self,
        reader: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<(Content, u64)> {
        let mut cutter = PageCutter::new(reader);
        let mut put_page = |page| self.put_meta(page);
        let mut list = ListWriter::new(&mut put_page);
        let mut length = 0;
        while let Some(piece) = cutter
            .next()
            .map_err(Error::io("read", PathBuf::from("memory")))?
        {
            length += self.put_piece(&mut list, piece, progress)?;
        }
        Ok((list.finish()?, length))
    }

    /// Reads back a metadata page or chunk, published or put into this very draft. Waits for it to be packed if need be.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        if let Some((path, frame)) = self.pipeline.wait_for(digest)? {
            match self.store.disk().open(&path) {
                Ok(file) => return unframe(&*file, &frame, digest, &path.display()),
                // It has been published between the two lines above, and is in the store now.
                Err(error) if crate::disk::is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.store.get(digest)
    }

    /// True when the store or this draft holds the chunk, for a snapshot to rely on.
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.pipeline.has(digest)? || self.store.has(digest)?)
    }

    /// What [`Store::losses`] said when it began.
    pub fn losses_before(&self) -> u64 {
        self.losses
    }

    /// True when what was committed by a draft that began at so many losses is there for this one to rely on.
    pub fn may_rely_since(&self, losses: u64) -> bool {
        self.store.losses() == losses
    }

    /// True when all of a file's content is held: a list that is still there says nothing of its chunks, which may have been
    /// collected since the list was remembered. `size` is the file's length; false when the list does not agree, or cannot be read.
    pub fn has_content(&self, content: &Content, size: u64) -> Result<bool> {
        let losses = self.store.losses();
        if self.store.knows(content, size) {
            return Ok(true);
        }
        let (mut is_whole, mut is_stored) = (true, true);
        let walked = ContentReader::new(self, *content, size).walk(&mut |digest| {
            match self.pipeline.has(digest)? {
                // It is in the store only once this draft is published.
                true => is_stored = false,
                false => is_whole = self.store.has(digest)?,
            }
            match is_whole {
                true => Ok(()),
                false => Err(Error::Cancelled),
            }
        });
        match walked {
            Ok(()) => {
                if is_stored {
                    self.store.note_known(content, size, losses);
                }
                Ok(true)
            }
            Err(_) if !is_whole => Ok(false),
            Err(Error::Corrupt { .. } | Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> DraftStats {
        let (new_chunks, new_bytes, stored_bytes) = self.pipeline.totals();
        DraftStats {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            new_chunks,
            new_bytes,
            stored_bytes,
            deduplicated_chunks: self.deduplicated_chunks.load(Ordering::Relaxed),
        }
    }

    /// Makes everything durable and visible without a manifest: for trees that outlive a failed snapshot (base layers).
    pub fn publish_chunks(&self) -> Result<()> {
        self.publish(|_| Ok(None)).map(drop)
    }

    /// Makes everything durable and visible: packs, index, then the manifest. The manifest's `stored_bytes` is filled in here.
    pub fn commit(self, manifest: Manifest) -> Result<(Manifest, DraftStats)> {
        self.commit_if(manifest, |_| Ok(()))
    }

    /// The same, unless `admit` refuses what it comes to: then nothing is published.
    pub fn commit_if(
        self,
        mut manifest: Manifest,
        admit: impl FnOnce(&DraftStats) -> Result<()>,
    ) -> Result<(Manifest, DraftStats)> {
        if manifest.id != self.id {
            return Err(Error::Invalid {
                what: "manifest",
                why: format!(
                    "it is of snapshot {}, the draft of {}",
                    manifest.id, self.id
                ),
            });
        }
        let stats = self.publish(|stats| {
            admit(stats)?;
            manifest.stored_bytes = stats.stored_bytes;
            readable(&manifest).map(Some)
        })?;
        Ok((manifest, stats))
    }

    fn publish(
        &self,
        manifest: impl FnOnce(&DraftStats) -> Result<Option<Vec<u8>>>,
    ) -> Result<DraftStats> {
        let _nobody_puts = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let packs = self.pipeline.seal()?;
        let stats = self.stats();
        let manifest = manifest(&stats)?.map(|bytes| (self.id, bytes));
        self.store
            .publish(self.folder.path(), &packs, manifest)
            .map_err(|error| self.pipeline.fail(error))?;
        self.pipeline.clear();
        Ok(stats)
    }

    /// Puts the chunk unless somebody has it; `raw` makes its bytes only then.
    fn put(&self, digest: Digest, kind: Kind, raw: impl FnOnce() -> Vec<u8>) -> Result<Digest> {
        self.pipeline.check()?;
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let is_new = !self.pipeline.has(&digest)?
            && !self.store.has(&digest)?
            && self.pipeline.put(digest, raw(), kind)?;
        if !is_new {
            self.deduplicated_chunks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(digest)
    }

    fn put_feed(&self, feed: &mut dyn Feed, progress: &dyn Progress) -> Result<(Content, u64)> {
        let mut cutter = self.take_cutter();
        let content = self.put_pieces(&mut cutter, feed, progress);
        cutter.reset();
        self.cutters().push(cutter);
        content
    }

    fn put_pieces(
        &self,
        cutter: &mut Cutter,
        feed: &mut dyn Feed,
        progress: &dyn Progress,
    ) -> Result<(Content, u64)> {
        let mut put_page = |page| self.put_meta(page);
        let mut list = ListWriter::new(&mut put_page);
        let mut length = 0;
        while let Some(piece) = cutter
            .next(feed)
            .map_err(Error::io("read", PathBuf::from("the file")))?
        {
            length += self.put_piece(&mut list, piece, progress)?;
        }
        Ok((list.finish()?, length))
    }

    /// Puts a piece of a file and adds it to the file's list; returns its length.
    fn put_piece(
        &self,
        list: &mut ListWriter<'_>,
        piece: Piece<'_>,
        progress: &dyn Progress,
    ) -> Result<u64> {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let bytes = match piece {
            Piece::Hole(zeros) => {
                list.push_hole(zeros)?;
                return Ok(zeros);
            }
            Piece::Chunk(bytes) => bytes,
        };
        let digest = Digest::of(bytes);
        self.put(digest, Kind::Data, || bytes.to_vec())?;
        let raw_len = u32::try_from(bytes.len()).expect("a chunk is far smaller");
        list.push_chunk(digest, raw_len)?;
        self.read_bytes
            .fetch_add(u64::from(raw_len), Ordering::Relaxed);
        progress.advance(0, u64::from(raw_len));
        Ok(u64::from(raw_len))
    }

    fn take_cutter(&self) -> Cutter {
        let free = self.cutters().pop();
        free.unwrap_or_else(|| Cutter::new(SIZES))
    }

    fn cutters(&self) -> std::sync::MutexGuard<'_, Vec<Cutter>> {
        self.cutters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a manifest, refused before anything is published when no reader would take them.
fn readable(manifest: &Manifest) -> Result<Vec<u8>> {
    let bytes = manifest.encode();
    Manifest::decode(&bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
