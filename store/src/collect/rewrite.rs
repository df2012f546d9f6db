//! Copying what is needed out of packs that hold little of it.
//!
//! The copies are published like a snapshot's chunks, and only then is there no more need for the packs they came from. These wait
//! like all condemned packs: a reader that looked into the index before finds them where they were.

use std::path::PathBuf;

use tracing::warn;

use super::Collection;
use crate::{
    disk::Disk,
    error::{Error, Result},
    ids::{Digest, PackId},
    layout,
    pack::{Footer, Frame, PackWriter, SealedPack, read_stored},
    store::{SYNC_EACH, Scratch},
};

/// A chunk as it lies in a pack, verified.
struct Copy {
    digest: Digest,
    frame: Frame,
    stored: Vec<u8>,
    is_page: bool,
}

/// New packs that are not published yet, and the packs they stand for.
struct Batch<'a> {
    scratch: Scratch<'a>,
    /// Data, and pages.
    open: [Option<PackWriter>; 2],
    sealed: Vec<SealedPack>,
    next_ordinal: u32,
    sources: Vec<PackId>,
    bytes: u64,
}

impl Collection<'_> {
    /// Copies what is needed of sparse packs, and condemns these.
    pub(super) fn rewrite(&mut self) -> Result<()> {
        self.progress.phase("rewrite");
        let sparse = self.sparse();
        let bytes = sparse.iter().map(|pack| self.tally.live_bytes(pack));
        self.progress.expect_bytes(bytes.sum());
        match self.copy_all(&sparse) {
            Err(error) if error.is_full() => {
                self.report.stopped = Some(super::in_full(&error));
                Ok(())
            }
            result => result,
        }
    }

    fn copy_all(&mut self, packs: &[PackId]) -> Result<()> {
        let store = self.store;
        let mut batch = Batch::new(store.scratch()?);
        for pack in packs {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let Some(copies) = self.needed_of(pack)? else {
                self.kept.insert(*pack);
                continue;
            };
            let bytes = batch.add(&*store.disk(), *pack, &copies)?;
            self.progress.advance(1, bytes);
            if batch.sealed.len() >= SYNC_EACH {
                self.publish(batch)?;
                batch = Batch::new(store.scratch()?);
            }
        }
        self.publish(batch)
    }

    /// What is needed of a pack; `None` when not all of it can be read, in which case the pack stays.
    fn needed_of(&self, pack: &PackId) -> Result<Option<Vec<Copy>>> {
        let path = layout::pack(pack);
        let disk = self.store.disk();
        let footer = match Footer::read(&*disk, &path) {
            Ok(footer) if footer.id == *pack => footer,
            _ => {
                warn!(%pack, "Pack is not rewritten, because its footer cannot be read");
                return Ok(None);
            }
        };
        let file = disk.open(&path)?;
        let mut copies = Vec::new();
        for (digest, frame) in footer.records {
            let Some((row, place)) = self.marks.needed(&digest)? else {
                continue;
            };
            if place.pack != *pack {
                continue;
            }
            let stored = match read_stored(&*file, &frame, &digest, pack) {
                Ok(stored) => stored,
                Err(error) => {
                    warn!(%pack, %error, "Pack is not rewritten, because something needed in it is damaged");
                    return Ok(None);
                }
            };
            let is_page = self.marks.is_page(row);
            copies.push(Copy {
                digest,
                frame,
                stored,
                is_page,
            });
        }
        Ok(Some(copies))
    }

    /// Publishes the copies. The packs they stand for are condemned before: an index that is merged meanwhile keeps the row of a pack
    /// that stays.
    fn publish(&mut self, batch: Batch<'_>) -> Result<()> {
        if batch.sources.is_empty() {
            return Ok(());
        }
        let collector = self.store.collector();
        let index = self.store.index();
        let (scratch, sealed, sources, bytes) = batch.seal()?;
        collector.condemn(index, &sources, self.now)?;
        let published = self.store.publish(&scratch.path, &sealed, None);
        if published.is_err() {
            collector.spare(index, sources.iter().copied())?;
        }
        published?;
        self.written.extend(sealed.iter().map(|pack| pack.id));
        self.report.rewritten_packs += sources.len() as u64;
        self.report.written_bytes += bytes;
        Ok(())
    }
}

impl<'a> Batch<'a> {
    fn new(scratch: Scratch<'a>) -> Self {
        Self {
            scratch,
            open: [None, None],
            sealed: Vec::new(),
            next_ordinal: 0,
            sources: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes on the copies from a pack; returns how many bytes they have.
    fn add(&mut self, disk: &dyn Disk, source: PackId, copies: &[Copy]) -> Result<u64> {
        let mut bytes = 0;
        for copy in copies {
            let kind = usize::from(copy.is_page);
            let mut pack = match self.open[kind].take() {
                Some(pack) => pack,
                None => self.begin_pack(disk)?,
            };
            let raw_bytes = copy.frame.raw_bytes as usize;
            pack.append(copy.digest, &copy.stored, raw_bytes, copy.frame.is_plain)?;
            bytes += copy.stored.len() as u64;
            match pack.is_full() {
                true => self.sealed.push(pack.seal()?),
                false => self.open[kind] = Some(pack),
            }
        }
        self.sources.push(source);
        self.bytes += bytes;
        Ok(bytes)
    }

    fn begin_pack(&mut self, disk: &dyn Disk) -> Result<PackWriter> {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let path: PathBuf = layout::draft_pack(&self.scratch.path, ordinal);
        PackWriter::create(disk, &path, ordinal)
    }

    fn seal(mut self) -> Result<(Scratch<'a>, Vec<SealedPack>, Vec<PackId>, u64)> {
        for pack in self.open.into_iter().flatten() {
            self.sealed.push(pack.seal()?);
        }
        Ok((self.scratch, self.sealed, self.sources, self.bytes))
    }
}
