//! Decoded chunks, kept up to a number of bytes.

use std::fmt;

use quick_cache::sync::DefaultLifecycle;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};

use crate::{error::Result, ids::Digest, page::ChunkBytes};

/// The limit unless another is set.
const DEFAULT_BYTES: u64 = 64 << 20;
/// Roughly what a chunk weighs; sizes the tables only.
const USUAL_BYTES: u64 = 32 << 10;
/// Each shard has its share of the limit and keeps nothing larger, so there must not be as many as a large machine has cores.
const SHARDS: usize = 8;

/// The share of chunks that were asked for more than once. The rest is room for what was read ahead and waits to be asked
/// for: with the library's 97 % it was pushed out before its reader came, and a file read in order was decoded 1.7 times.
const HOT_SHARE: f64 = 0.5;

/// Counts bytes, and something for the entry itself.
#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Digest, ChunkBytes> for ByBytes {
    fn weight(&self, _digest: &Digest, raw: &ChunkBytes) -> u64 {
        raw.len() as u64 + 128
    }
}

/// A cache: one of what lies in a store, which all its handles share, and one of what each opened memory was opened to.
pub(crate) struct ChunkCache {
    chunks: Cache<Digest, ChunkBytes, ByBytes>,
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
    ) -> Result<ChunkBytes> {
        self.chunks
            .get_or_insert_with(digest, || read().map(ChunkBytes::new))
    }

    /// Limits it to this many bytes.
    pub(crate) fn limit(&self, bytes: u64) {
        self.chunks.set_capacity(bytes);
    }
}
