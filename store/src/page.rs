//! Metadata pages: what tree pages and extent-list pages have in common (docs/format.md, "Pages").

use std::sync::Arc;

use crate::{
    bytes::{Decoded, Fields},
    draft::Draft,
    error::Result,
    ids::Digest,
    store::Store,
};

/// No page is larger; one that is, is not read.
pub(crate) const MAX_PAGE_BYTES: usize = 2 << 20;
/// Levels are cut so that every page but the last has many rows: no real thing is higher.
pub(crate) const MAX_LEVEL: u8 = 12;
/// Bytes before the fields of the kind.
pub(crate) const HEADER_BYTES: usize = 12;

const MAGIC: [u8; 4] = *b"SNPG";
const VERSION: u8 = 1;

/// The bytes of a chunk, shared by those who read it. A vector within, because it is what decoding fills: bytes beside the
/// counters would have to be copied there.
pub type ChunkBytes = Arc<Vec<u8>>;

/// Where pages come from.
pub trait PageSource: Send + Sync {
    /// The page's bytes, verified against its digest.
    fn page(&self, digest: &Digest) -> Result<ChunkBytes>;

    /// The bytes of a file's chunk.
    fn chunk(&self, digest: &Digest) -> Result<ChunkBytes> {
        self.page(digest)
    }
}

impl PageSource for Store {
    fn page(&self, digest: &Digest) -> Result<ChunkBytes> {
        self.get_cached_near(digest)
    }
}

impl PageSource for &Draft {
    fn page(&self, digest: &Digest) -> Result<ChunkBytes> {
        self.get(digest).map(Arc::new)
    }
}

/// What a page is a page of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageKind {
    Tree = 1,
    List = 2,
}

/// What a page needs, by digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A page, which needs more.
    Page(Digest),
    /// A chunk of a file.
    Chunk(Digest),
}

impl PageKind {
    /// The kind a page says that it is of; its decoder checks everything else.
    pub(crate) fn of(bytes: &[u8]) -> Decoded<Self> {
        match bytes.get(MAGIC.len() + 1) {
            Some(1) => Ok(Self::Tree),
            Some(2) => Ok(Self::List),
            _ => Err("it is no page"),
        }
    }
}

/// The header every page begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: PageKind,
    pub(crate) level: u8,
    pub(crate) count: u32,
}

impl Header {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend([VERSION, self.kind as u8, self.level, 0]);
        out.extend(self.count.to_le_bytes());
    }

    /// Decodes the header of a page that must be of this kind.
    pub(crate) fn decode(kind: PageKind, bytes: &[u8]) -> Decoded<Self> {
        if bytes.len() > MAX_PAGE_BYTES {
            return Err("it is larger than a page may be");
        }
        let mut fields = Fields::new(bytes);
        if fields.array()? != MAGIC {
            return Err("it is no page");
        }
        let [version, found, level, zero] = fields.array()?;
        if version != VERSION {
            return Err("its version is unknown");
        }
        if found != kind as u8 || zero != 0 {
            return Err("it is another kind of page");
        }
        if level > MAX_LEVEL {
            return Err("its level is too high");
        }
        let count = fields.u32()?;
        Ok(Self { kind, level, count })
    }
}
