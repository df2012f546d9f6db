//! The survey itself: packs from outside, packs through and through, and what that means for a chunk.

use std::collections::{BTreeMap, HashMap};

use super::{is_damage, wanted::Wanted};
use crate::{
    disk::is_absent,
    error::{Error, Result},
    ids::{Digest, PackId},
    index::Location,
    layout,
    pack::{Footer, Record, unframe},
    progress::Progress,
    store::Store,
};

/// Damaged chunks that are remembered, in some 64 MiB: beyond it a disk is lost rather than damaged.
const MAX_DAMAGED: usize = 1 << 20;
/// Packs without a footer whose chunks are looked up in the index at once; each time the whole index is read.
const PACKS_A_LOOK: usize = 16;

/// What was found so far.
#[derive(Debug)]
pub struct Survey {
    store: Store,
    packs: BTreeMap<PackId, PackFlaw>,
    damaged: HashMap<Digest, PackId>,
    /// What the index says of packs that say nothing themselves.
    indexed: HashMap<PackId, Vec<Record>>,
    chunks: u64,
    bytes: u64,
    is_truncated: bool,
    is_gentle: bool,
}

/// What the beginning and the end of a pack are like.
enum Ends {
    Sound(Footer),
    Flawed,
    /// It was collected since it was listed.
    Collected,
}

/// What is wrong with a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackFlaw {
    /// What is wrong with the file as a whole, when something is.
    pub problem: Option<String>,
    /// Damaged chunks in it, whether or not anybody needs them.
    pub chunks: u64,
}

/// What is wrong with a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The chunk.
    pub digest: Digest,
    /// The pack that should hold it, when one is known.
    pub pack: Option<PackId>,
    /// What is wrong, for people.
    pub problem: String,
}

impl Survey {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            packs: BTreeMap::new(),
            damaged: HashMap::new(),
            indexed: HashMap::new(),
            chunks: 0,
            bytes: 0,
            is_truncated: false,
            is_gentle: false,
        }
    }

    /// The same, which leaves none of what it reads in the system's cache: it shall not push out what others read, and what was read
    /// from the medium a month ago is to be read from the medium again.
    #[must_use]
    pub fn gentle(store: Store) -> Self {
        Self {
            is_gentle: true,
            ..Self::new(store)
        }
    }

    /// Looks at packs from outside: that each is there, begins and ends as a pack, and has the name of its footer.
    pub fn look(&mut self, packs: &[PackId], progress: &dyn Progress) -> Result<()> {
        for pack in packs {
            stop_if_cancelled(progress)?;
            self.footer(pack)?;
        }
        Ok(())
    }

    /// Reads packs from beginning to end and compares their chunks with their digests: all of them, or those `wanted`.
    pub fn read(
        &mut self,
        packs: &[PackId],
        wanted: Option<&Wanted>,
        progress: &dyn Progress,
    ) -> Result<()> {
        for pack in packs {
            let records = match self.footer(pack)? {
                Ends::Sound(footer) => footer.records,
                Ends::Flawed => self.indexed(pack)?,
                Ends::Collected => continue,
            };
            self.read_pack(pack, records, wanted, progress)?;
        }
        Ok(())
    }

    /// What is wrong with the chunk, which should have `raw_bytes` when that is known; `None` when nothing is, as far as was
    /// looked: that it is there in any case.
    pub fn flaw(&self, digest: &Digest, raw_bytes: Option<u64>) -> Result<Option<Flaw>> {
        let flaw = |pack, problem| {
            Ok(Some(Flaw {
                digest: *digest,
                pack,
                problem,
            }))
        };
        if let Some(pack) = self.damaged.get(digest) {
            return flaw(Some(*pack), "its bytes do not match its digest".to_owned());
        }
        let Some((location, length)) = self.place(digest)? else {
            return flaw(None, "no pack holds it".to_owned());
        };
        let pack = Some(location.pack);
        match length {
            Err(error) if is_absent(&error) => flaw(pack, "its pack is missing".to_owned()),
            Err(error) if is_damage(&error) => flaw(pack, in_full(&error)),
            Err(error) => Err(error),
            Ok(length) if location.end() > length => {
                flaw(pack, "its pack ends before it".to_owned())
            }
            Ok(_) if raw_bytes.is_some_and(|raw| raw != u64::from(location.frame.raw_bytes)) => {
                flaw(pack, "its length is not what the file says".to_owned())
            }
            Ok(_) => Ok(None),
        }
    }

    /// Packs with something wrong, ascending.
    #[must_use]
    pub fn packs(&self) -> &BTreeMap<PackId, PackFlaw> {
        &self.packs
    }

    /// Chunks that were found damaged and have no other copy where the index leads to.
    pub(super) fn damaged(&self) -> impl Iterator<Item = &Digest> {
        self.damaged.keys()
    }

    /// True when the chunk is one of them.
    pub(super) fn is_damaged(&self, digest: &Digest) -> bool {
        self.damaged.contains_key(digest)
    }

    /// Every chunk that may be in the pack, by the footer it has, be it another's, and by the index.
    pub(super) fn records(&mut self, pack: &PackId) -> Result<Vec<Record>> {
        let mut records = match Footer::read(&*self.store.disk(), &layout::pack(pack)) {
            Ok(footer) => footer.records,
            Err(error) if is_absent(&error) || is_damage(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        if self
            .packs
            .get(pack)
            .is_some_and(|flaw| flaw.problem.is_some())
        {
            records.extend(self.indexed(pack)?);
        }
        records.sort_unstable_by_key(|(_, frame)| frame.offset);
        Ok(records)
    }

    /// Chunks read.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Stored bytes read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when there was more damage than is remembered.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Where the chunk should be, and the length of that pack; a second look when it was collected after the first.
    fn place(&self, digest: &Digest) -> Result<Option<(Location, Result<u64>)>> {
        let look = || -> Result<_> {
            let location = self.store.whereabouts(digest)?;
            Ok(location.map(|location| (location, self.store.pack_length(&location.pack))))
        };
        match look()? {
            Some((_, Err(error))) if is_absent(&error) => look(),
            place => Ok(place),
        }
    }

    /// Looks at the pack's beginning and its end; notes what is wrong with them.
    fn footer(&mut self, pack: &PackId) -> Result<Ends> {
        let problem = match Footer::read(&*self.store.disk(), &layout::pack(pack)) {
            Ok(footer) if footer.id == *pack => return Ok(Ends::Sound(footer)),
            Ok(footer) => format!("it is pack {} under a wrong name", footer.id),
            Err(error) if is_absent(&error) && !self.store.expects_pack(pack) => {
                return Ok(Ends::Collected);
            }
            Err(error) if is_absent(&error) => {
                self.store.close_missing(pack);
                "it is missing".to_owned()
            }
            Err(Error::Corrupt { why, .. }) => why,
            Err(error) if is_damage(&error) => in_full(&error),
            Err(error) => return Err(error),
        };
        self.packs.entry(*pack).or_default().problem = Some(problem);
        Ok(Ends::Flawed)
    }

    /// The chunks of a pack without a footer, as the index has them.
    fn indexed(&mut self, pack: &PackId) -> Result<Vec<Record>> {
        if !self.indexed.contains_key(pack) {
            let unreadable = self.packs.iter().filter(|(_, flaw)| flaw.problem.is_some());
            let from = unreadable
                .map(|(pack, _)| *pack)
                .filter(|other| other >= pack);
            let packs: Vec<PackId> = from.take(PACKS_A_LOOK).collect();
            self.indexed = self.store.indexed_records(&packs);
        }
        Ok(self.indexed.get(pack).cloned().unwrap_or_default())
    }

    fn read_pack(
        &mut self,
        pack: &PackId,
        mut records: Vec<Record>,
        wanted: Option<&Wanted>,
        progress: &dyn Progress,
    ) -> Result<()> {
        records.retain(|(_, frame)| wanted.is_none_or(|wanted| wanted.has(pack, frame.offset)));
        records.sort_unstable_by_key(|(_, frame)| frame.offset);
        let file = match self.store.disk().open(&layout::pack(pack)) {
            Ok(file) => Some(file),
            Err(error) if is_absent(&error) || is_damage(&error) => None,
            Err(error) => return Err(error),
        };
        for (digest, frame) in &records {
            stop_if_cancelled(progress)?;
            let read = file
                .as_ref()
                .map(|file| unframe(&**file, frame, digest, pack));
            match read {
                Some(Ok(_)) => {}
                Some(Err(error)) if !is_damage(&error) => return Err(error),
                Some(Err(_)) | None => {
                    self.packs.entry(*pack).or_default().chunks += 1;
                    self.note(digest, pack)?;
                }
            }
            let stored_bytes = u64::from(frame.stored_bytes);
            self.chunks += 1;
            self.bytes += stored_bytes;
            progress.advance(0, stored_bytes);
        }
        if let Some(file) = file.filter(|_| self.is_gentle) {
            file.forget_pages();
        }
        Ok(())
    }

    /// A damaged chunk is a loss to somebody only when no other copy is found in its place.
    pub(super) fn note(&mut self, digest: &Digest, pack: &PackId) -> Result<()> {
        if self.damaged.contains_key(digest) {
            return Ok(());
        }
        match self.store.get(digest) {
            Ok(_) => return Ok(()),
            Err(error) if is_damage(&error) || matches!(error, Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.damaged.len() >= MAX_DAMAGED {
            self.is_truncated = true;
            return Ok(());
        }
        self.damaged.insert(*digest, *pack);
        Ok(())
    }
}

fn stop_if_cancelled(progress: &dyn Progress) -> Result<()> {
    match progress.is_cancelled() {
        true => Err(Error::Cancelled),
        false => Ok(()),
    }
}

/// The error with its causes.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
