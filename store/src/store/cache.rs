//! Decoded chunks, kept up to a number of bytes.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use quick_cache::sync::DefaultLifecycle;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};

use crate::{
    error::{Error, Result},
    ids::Digest,
    page::ChunkBytes,
};

/// The limit unless another is set.
const DEFAULT_BYTES: u64 = 64 << 20;
/// Roughly what a chunk weighs; sizes the tables only.
const USUAL_BYTES: u64 = 32 << 10;
/// Each shard has its share of the limit and keeps nothing larger, so there must not be as many as a large machine has cores.
const SHARDS: usize = 8;

/// The share of chunks that were asked for more than once. The rest is room for what was read ahead and waits to be asked
/// for: with the library's 97 % it was pushed out before its reader came, and a file read in order was decoded 1.7 times.
const HOT_SHARE: f64 = 0.5;

/// A chunk in the cache.
#[derive(Clone, Debug)]
struct Kept {
    raw: ChunkBytes,
    /// There for a chunk that was read ahead of need: true until it is needed.
    unmet: Option<Arc<AtomicBool>>,
}

impl Kept {
    /// True once, for a chunk that was read ahead of need.
    fn meets_need(&self) -> bool {
        let unmet = self.unmet.as_ref();
        unmet.is_some_and(|unmet| unmet.load(Relaxed) && unmet.swap(false, Relaxed))
    }
}

/// Whence a chunk came that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    /// It had been asked for before.
    Kept,
    /// It had been read ahead of need.
    Foreseen,
    /// It was read now.
    Read,
}

/// Counts bytes, and something for the entry itself.
#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Digest, Kept> for ByBytes {
    fn weight(&self, _digest: &Digest, kept: &Kept) -> u64 {
        kept.raw.len() as u64 + 128
    }
}

/// A cache: one of what lies in a store, which all its handles share, and one of what each opened memory was opened to.
pub(crate) struct ChunkCache {
    chunks: Cache<Digest, Kept, ByBytes>,
}

impl fmt::Debug for ChunkCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkCache")
            .field("chunks", &self.chunks.len())
            .field("bytes", &self.chunks.weight())
            .finish()
    }
}

impl ChunkCache {
    pub(crate) fn new() -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity((DEFAULT_BYTES / USUAL_BYTES) as usize)
            .weight_capacity(DEFAULT_BYTES)
            .shards(SHARDS)
            .hot_allocation(HOT_SHARE)
            .build()
            .expect("both capacities are given");
        Self {
            chunks: Cache::with_options(
                options,
                ByBytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// The chunk; read by one caller when it is not here, while the others who want it wait.
    pub(crate) fn get(
        &self,
        digest: &Digest,
        read: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<(ChunkBytes, Whence)> {
        let mut whence = Whence::Kept;
        let kept = self.chunks.get_or_insert_with(digest, || {
            whence = Whence::Read;
            let (raw, unmet) = (ChunkBytes::new(read()?), None);
            Ok::<_, Error>(Kept { raw, unmet })
        })?;
        if kept.meets_need() {
            whence = Whence::Foreseen;
        }
        Ok((kept.raw, whence))
    }

    /// True when the chunk is here.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.chunks.contains_key(digest)
    }

    /// Reads the chunk before anybody asks for it; `None` when it is here already.
    pub(super) fn foresee(
        &self,
        digest: &Digest,
        read: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Option<u64>> {
        if self.has(digest) {
            return Ok(None);
        }
        let mut bytes = None;
        self.chunks.get_or_insert_with(digest, || {
            let raw = ChunkBytes::new(read()?);
            bytes = Some(raw.len() as u64);
            let unmet = Some(Arc::new(AtomicBool::new(true)));
            Ok::<_, Error>(Kept { raw, unmet })
        })?;
        Ok(bytes)
    }

    /// Limits it to this many bytes.
    pub(crate) fn limit(&self, bytes: u64) {
        self.chunks.set_capacity(bytes);
    }
}
