//! Where the bytes of a tree's files come from: the store as it is, or what is sealed there, opened.

use std::{fmt, sync::Arc};

use super::{KeyFolder, SealKey};
use crate::{
    error::{Error, Result},
    ids::Digest,
    manifest::MemoryImages,
    names::Namespace,
    page::{ChunkBytes, PageSource},
    store::{ChunkCache, Store},
};

/// The part of a cache that is left to pages when the chunks have one of their own.
const PAGES_SHARE: u64 = 8;

/// A source of contents; cheap to clone.
#[derive(Clone, Debug)]
pub struct ContentSource {
    store: Store,
    opened: Option<Arc<Opened>>,
}

/// What opens chunks, and those it has opened: in memory alone.
struct Opened {
    key: SealKey,
    chunks: ChunkCache,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.key).finish()
    }
}

impl ContentSource {
    /// Contents as they are in the store. It keeps `cache_bytes` of decoded chunks.
    #[must_use]
    pub fn plain(store: Store, cache_bytes: u64) -> Self {
        store.set_cache_bytes(cache_bytes);
        Self {
            store,
            opened: None,
        }
    }

    /// Contents that are sealed with `key`. It keeps `cache_bytes`, pages and what was opened together.
    #[must_use]
    pub fn sealed(store: Store, key: SealKey, cache_bytes: u64) -> Self {
        let chunks = ChunkCache::new();
        let of_pages = cache_bytes / PAGES_SHARE;
        store.set_cache_bytes(of_pages);
        chunks.limit(cache_bytes - of_pages);
        Self {
            store,
            opened: Some(Arc::new(Opened { key, chunks })),
        }
    }

    /// A chunk whose neighbours in the pack are likely to be needed next ([`Store::get_cached_near`]).
    pub fn chunk_near(&self, digest: &Digest) -> Result<ChunkBytes> {
        match &self.opened {
            None => self.store.get_cached_near(digest),
            Some(_) => self.chunk(digest),
        }
    }

    /// True when the chunk is decoded, and opened, already.
    #[must_use]
    pub fn is_cached(&self, digest: &Digest) -> bool {
        match &self.opened {
            None => self.store.is_cached(digest),
            Some(opened) => opened.chunks.has(digest),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl PageSource for ContentSource {
    fn page(&self, digest: &Digest) -> Result<ChunkBytes> {
        self.store.get_cached_near(digest)
    }

    fn chunk(&self, digest: &Digest) -> Result<ChunkBytes> {
        match &self.opened {
            None => self.store.get_cached(digest),
            Some(opened) => {
                let open = || opened.key.open(digest, &self.store.get(digest)?);
                opened.chunks.get(digest, open).map(|(raw, _)| raw)
            }
        }
    }
}

impl MemoryImages {
    /// The key that opens them; `None` when they lie in clear. `namespace` is that of their snapshot.
    ///
    /// # Errors
    /// What [`KeyFolder::find`] says of the key, and [`Error::Corrupt`] when they are not what was sealed with it.
    pub fn key(&self, namespace: &Namespace, keys: &KeyFolder) -> Result<Option<SealKey>> {
        let Some(seal) = &self.seal else {
            return Ok(None);
        };
        let key = keys.find(namespace, seal.key)?;
        match key.vouches_for(seal, &self.root, self.bytes) {
            true => Ok(Some(key)),
            false => Err(Error::Corrupt {
                what: "Memory",
                name: self.root.digest.to_string(),
                why: format!("it is not what was sealed with key {}", key.id()),
            }),
        }
    }
}
