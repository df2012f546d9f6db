//! Reading chunks: where they are now, whatever has become of where they were.

use std::sync::Arc;

use super::{Store, cache::Whence, not_found};
use crate::{
    disk::{Source, is_absent},
    error::{Error, Result},
    ids::Digest,
    index::Location,
    layout,
    pack::unframe,
    page::ChunkBytes,
};

/// How often a chunk is looked for anew because the pack it was in has been rewritten meanwhile.
const PLACE_ATTEMPTS: u32 = 16;

/// What else the disk is asked for when a chunk is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Nothing,
    /// What lies around it in its pack.
    Neighbours,
}

impl Store {
    /// The raw bytes of a published chunk, verified against its digest; decoded afresh at every call.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.fetch(digest, Around::Nothing)
    }

    fn fetch(&self, digest: &Digest, around: Around) -> Result<Vec<u8>> {
        let (location, file) = self.place(digest)?;
        if around == Around::Neighbours {
            file.expect_around(u64::from(location.frame.offset));
        }
        if let Ok(raw) = unframe(&*file, &location.frame, digest, &location.pack) {
            return Ok(raw);
        }
        // The pack may have been replaced since it was opened, or since it was indexed; only then is it damage.
        self.inner.packs.forget(&location.pack);
        if let Some(location) = self.inner.index.doubt(digest, &location)? {
            return self.read(digest, &location);
        }
        // Or it was damaged, and has been mended since: then the chunk is elsewhere by now.
        let (location, file) = self.place(digest)?;
        unframe(&*file, &location.frame, digest, &location.pack)
    }

    /// The same through the bounded cache: decoded once whoever waits.
    pub fn get_cached(&self, digest: &Digest) -> Result<ChunkBytes> {
        self.get_noted(digest, Around::Nothing)
    }

    /// The same of a chunk whose neighbours in the pack are likely to be needed next, as those of pages and small files are: the disk is
    /// asked for them too.
    pub fn get_cached_near(&self, digest: &Digest) -> Result<ChunkBytes> {
        self.get_noted(digest, Around::Neighbours)
    }

    fn get_noted(&self, digest: &Digest, around: Around) -> Result<ChunkBytes> {
        let read = || self.fetch(digest, around);
        let (raw, whence) = self.inner.cache.get(digest, read)?;
        if whence != Whence::Kept {
            self.inner.foresight.needed(digest, raw.len(), whence);
        }
        Ok(raw)
    }

    /// True when the chunk is decoded already.
    #[must_use]
    pub fn is_cached(&self, digest: &Digest) -> bool {
        self.inner.cache.has(digest)
    }

    /// Limits the decoded-chunk cache to this many bytes; 64 MiB unless set.
    pub fn set_cache_bytes(&self, bytes: u64) {
        self.inner.cache.limit(bytes);
    }

    /// Checks that the chunk is where the index says, and its bytes too when `full`. For verify.
    pub fn check(&self, digest: &Digest, full: bool) -> Result<()> {
        if full {
            return self.get(digest).map(drop);
        }
        let (location, file) = self.place(digest)?;
        match location.end() <= file.length()? {
            true => Ok(()),
            false => Err(corrupt_chunk(
                digest,
                format!("pack {} ends before it", location.pack),
            )),
        }
    }

    fn locate(&self, digest: &Digest) -> Result<Location> {
        if let Some(location) = self.inner.index.find(digest)? {
            return Ok(location);
        }
        match self.inner.index.unreadable_packs().first() {
            None => Err(not_found("Chunk", digest)),
            Some(pack) => Err(corrupt_chunk(
                digest,
                format!("no pack is known to hold it, and pack {pack} cannot be read"),
            )),
        }
    }

    /// Where the chunk is, and the open pack: packs that are gone since they were indexed are passed over.
    fn place(&self, digest: &Digest) -> Result<(Location, Arc<dyn Source>)> {
        let mut gone = None;
        for _ in 0..PLACE_ATTEMPTS {
            let location = self.locate(digest)?;
            match self.open_pack(&location) {
                Err(error) if is_absent(&error) => {
                    self.inner.index.vanished(location.pack)?;
                    gone = Some(error);
                }
                file => return Ok((location, file?)),
            }
        }
        Err(gone.expect("every attempt but a successful one finds a pack gone"))
    }

    /// Reads the chunk at a place, verified.
    pub(crate) fn read(&self, digest: &Digest, location: &Location) -> Result<Vec<u8>> {
        let file = self.open_pack(location)?;
        unframe(&*file, &location.frame, digest, &location.pack)
    }

    pub(super) fn open_pack(&self, location: &Location) -> Result<Arc<dyn Source>> {
        let path = layout::pack(&location.pack);
        self.inner
            .packs
            .get(&*self.inner.disk, &location.pack, &path)
    }
}

fn corrupt_chunk(digest: &Digest, why: String) -> Error {
    Error::Corrupt {
        what: "Chunk",
        name: digest.to_string(),
        why,
    }
}
