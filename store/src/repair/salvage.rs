//! Mending packs: what is sound in them is written into packs of its own, and what was lost is looked for elsewhere.
//!
//! Nothing is changed before [`Salvage::finish`]. It publishes what was saved, durably, and only then moves the damaged packs
//! into quarantine; nothing is ever removed. Cut off at any point it leaves every chunk that could be read readable: twice stored
//! at worst.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, MutexGuard},
};

use super::{is_damage, recut::ChunkKind, survey::Survey};
use crate::{
    disk::{Source, is_absent},
    error::{Error, Result},
    ids::{Digest, PackId},
    layout,
    pack::{Footer, Frame, Framer, PackWriter, Record, SealedPack, read_stored},
    progress::Progress,
    store::{SYNC_EACH, Scratch, Store},
};

/// Every pack made here begins with a chunk of so many random bytes that nobody needs, and has an identity of its own by
/// it: it must never take the place of a pack that is damaged.
const MARK_BYTES: usize = 16;

/// What is saved, until it is published or dropped.
pub struct Salvage<'a> {
    store: &'a Store,
    /// Nobody collects meanwhile.
    _alone: MutexGuard<'a, ()>,
    scratch: Scratch<'a>,
    /// The packs that are to go.
    damaged: BTreeSet<PackId>,
    /// Chunks that were lost where they should be, and are had again.
    regained: HashSet<Digest>,
    framer: Framer,
    /// One for each kind of chunk that is put.
    open: [Option<PackWriter>; 2],
    sealed: Vec<SealedPack>,
    next_ordinal: u32,
    /// Nothing is written: what could be done is to be known.
    is_dry: bool,
}

impl<'a> Salvage<'a> {
    /// Nothing saved yet. A dry one finds out what could be had, and cannot be finished.
    ///
    /// # Errors
    /// [`Error::Busy`] while the store is being collected, and whatever the disk says.
    pub fn begin(store: &'a Store, is_dry: bool) -> Result<Self> {
        store.check_writable()?;
        Ok(Self {
            store,
            _alone: store.collector().alone(store.root())?,
            scratch: store.scratch()?,
            damaged: BTreeSet::new(),
            regained: HashSet::new(),
            framer: Framer::new()?,
            open: [None, None],
            sealed: Vec::new(),
            next_ordinal: 0,
            is_dry,
        })
    }

    /// Copies what is sound in every pack that `survey` has found damaged, and looks in all others for what is not.
    pub fn save(&mut self, survey: &mut Survey, progress: &dyn Progress) -> Result<()> {
        let damaged: Vec<PackId> = survey.packs().keys().copied().collect();
        for pack in &damaged {
            let records = survey.records(pack)?;
            self.save_pack(pack, &records, survey, progress)?;
            self.damaged.insert(*pack);
        }
        match survey
            .damaged()
            .all(|digest| self.regained.contains(digest))
        {
            true => Ok(()),
            false => self.look_elsewhere(survey, progress),
        }
    }

    /// True when the chunk had been lost and is had again.
    #[must_use]
    pub fn has_regained(&self, digest: &Digest) -> bool {
        self.regained.contains(digest)
    }

    /// How many chunks had been lost and are had again.
    #[must_use]
    pub fn regained(&self) -> u64 {
        self.regained.len() as u64
    }

    /// True when there is something to be done.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.damaged.is_empty() || !self.regained.is_empty()
    }

    /// Takes on a lost chunk that was found somewhere; one that was taken on before is left.
    pub fn put(&mut self, digest: Digest, kind: ChunkKind, raw: &[u8]) -> Result<()> {
        if Digest::of(raw) != digest {
            return Err(Error::Invalid {
                what: "chunk",
                why: format!("its digest is not {digest}"),
            });
        }
        if !self.regained.insert(digest) || self.is_dry {
            return Ok(());
        }
        let place = kind as usize;
        let mut writer = match self.open[place].take() {
            Some(writer) => writer,
            None => self.create()?,
        };
        let (stored, is_plain) = self.framer.frame(raw)?;
        writer.append(digest, stored, raw.len(), is_plain)?;
        match writer.is_full() {
            true => self.seal(writer)?,
            false => self.open[place] = Some(writer),
        }
        Ok(())
    }

    /// Publishes what was saved, moves the damaged packs into quarantine, and makes the index anew.
    /// Returns the packs that were moved, ascending.
    pub fn finish(mut self, progress: &dyn Progress) -> Result<Vec<PackId>> {
        if self.is_dry {
            return Err(Error::Invalid {
                what: "use of a dry run",
                why: "it can change nothing".to_owned(),
            });
        }
        for writer in std::mem::take(&mut self.open).into_iter().flatten() {
            self.seal(writer)?;
        }
        progress.phase("publish");
        self.store.publish(&self.scratch.path, &self.sealed, None)?;
        let damaged: Vec<PackId> = self.damaged.iter().copied().collect();
        progress.phase("quarantine");
        let quarantined = self.store.quarantine(&damaged)?;
        progress.phase("index");
        self.store.rebuild_index(progress)?;
        Ok(quarantined)
    }

    fn save_pack(
        &mut self,
        pack: &PackId,
        records: &[Record],
        survey: &mut Survey,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(file) = open(self.store, pack)? else {
            return Ok(());
        };
        let mut writer = None;
        let mut saved = HashSet::new();
        for (digest, frame) in records {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            progress.advance(0, u64::from(frame.stored_bytes));
            if saved.contains(digest) {
                continue;
            }
            let Some(stored) = sound(&*file, frame, digest, pack)? else {
                // It may have gone bad since the survey.
                survey.note(digest, pack)?;
                continue;
            };
            saved.insert(*digest);
            if survey.is_damaged(digest) {
                self.regained.insert(*digest);
            }
            if self.is_dry {
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(self.create()?),
            };
            writer.append(*digest, &stored, frame.raw_bytes as usize, frame.is_plain)?;
        }
        writer.map_or(Ok(()), |writer| self.seal(writer))
    }

    /// Looks for lost chunks in the packs that are sound: the index knows but one place of each.
    fn look_elsewhere(&mut self, survey: &Survey, progress: &dyn Progress) -> Result<()> {
        for pack in self.store.packs()? {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if self.damaged.contains(&pack) {
                continue;
            }
            let footer = match Footer::read(&*self.store.disk(), &layout::pack(&pack)) {
                Ok(footer) => footer,
                Err(error) if is_absent(&error) || is_damage(&error) => continue,
                Err(error) => return Err(error),
            };
            let is_wanted =
                |digest: &Digest| survey.is_damaged(digest) && !self.regained.contains(digest);
            let wanted: Vec<Record> = footer
                .records
                .into_iter()
                .filter(|(digest, _)| is_wanted(digest))
                .collect();
            let Some(file) = open(self.store, &pack)?.filter(|_| !wanted.is_empty()) else {
                continue;
            };
            for (digest, frame) in &wanted {
                if sound(&*file, frame, digest, &pack)?.is_some() {
                    self.regained.insert(*digest);
                }
            }
        }
        Ok(())
    }

    fn seal(&mut self, writer: PackWriter) -> Result<()> {
        let mut sealed = writer.seal()?;
        if self.sealed.len() >= SYNC_EACH {
            // So many are synced together, and need not stay open until then.
            sealed.sink = None;
        }
        self.sealed.push(sealed);
        Ok(())
    }

    fn create(&mut self) -> Result<PackWriter> {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let path = layout::draft_pack(&self.scratch.path, ordinal);
        let mut writer = PackWriter::create(&*self.store.disk(), &path, ordinal)?;
        let mut mark = [0; MARK_BYTES];
        getrandom::fill(&mut mark)
            .expect("the kernel's random source does not fail once it is seeded");
        writer.append(Digest::of(&mark), &mark, mark.len(), true)?;
        Ok(writer)
    }
}

/// Opens a pack; `None` when it is not there, or cannot be had.
fn open(store: &Store, pack: &PackId) -> Result<Option<Arc<dyn Source>>> {
    match store.disk().open(&layout::pack(pack)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_absent(&error) || is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The stored bytes of a chunk when they are those of its digest: the very bytes that were compared.
fn sound(
    file: &dyn Source,
    frame: &Frame,
    digest: &Digest,
    pack: &PackId,
) -> Result<Option<Vec<u8>>> {
    match read_stored(file, frame, digest, pack) {
        Ok(stored) => Ok(Some(stored)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
