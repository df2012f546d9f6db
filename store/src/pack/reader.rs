//! Reading chunks out of packs: open packs are kept, but only so many.

use std::{cell::RefCell, fmt, path::Path, sync::Arc};

use quick_cache::sync::Cache;

use super::Frame;
use crate::{
    disk::{Disk, Source},
    error::{Error, Result},
    ids::{Digest, PackId},
};

/// Packs kept open; far below the usual limit of 1024 descriptors.
const OPEN_PACKS: usize = 256;

/// Open packs, by identity.
pub(crate) struct PackFiles {
    open: Cache<PackId, Arc<dyn Source>>,
}

impl fmt::Debug for PackFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackFiles")
            .field("open", &self.open.len())
            .finish()
    }
}

impl PackFiles {
    /// None open yet.
    pub(crate) fn new() -> Self {
        Self {
            open: Cache::new(OPEN_PACKS),
        }
    }

    /// The pack `id`, opened at `path` unless it is open.
    pub(crate) fn get(&self, disk: &dyn Disk, id: &PackId, path: &Path) -> Result<Arc<dyn Source>> {
        self.open.get_or_insert_with(id, || disk.open(path))
    }

    /// Closes packs that have been removed since they were opened; one that cannot be looked at stays open.
    pub(crate) fn close_removed(&self) {
        self.open
            .retain(|_, file| !file.is_removed().unwrap_or(false));
    }

    /// Forgets the pack, so that the next reader opens it anew.
    pub(crate) fn forget(&self, id: &PackId) {
        self.open.remove(id);
    }
}

/// Reads the chunk `digest` from its frame in `file`, and checks it; `pack` is for the message.
pub(crate) fn unframe(
    file: &dyn Source,
    frame: &Frame,
    digest: &Digest,
    pack: &dyn fmt::Display,
) -> Result<Vec<u8>> {
    let corrupt = |why: &str| Error::Corrupt {
        what: "Chunk",
        name: digest.to_string(),
        why: format!("{why} in pack {pack}"),
    };
    if !frame.is_possible() {
        return Err(corrupt("its place has impossible lengths"));
    }
    let raw = match frame.is_plain {
        true => read_exact(file, frame)?,
        false => decompress(file, frame)?,
    };
    match raw {
        Some(raw) if Digest::of(&raw) == *digest => Ok(raw),
        Some(_) => Err(corrupt("its bytes do not match its digest")),
        None => Err(corrupt("its frame is cut short or cannot be decompressed")),
    }
}

/// The stored bytes of the chunk `digest`, found to hold it, for copying them into another pack.
pub(crate) fn read_stored(
    file: &dyn Source,
    frame: &Frame,
    digest: &Digest,
    pack: &dyn fmt::Display,
) -> Result<Vec<u8>> {
    let stored = match frame.is_possible() {
        true => read_exact(file, frame)?,
        false => None,
    };
    let is_whole = |stored: &[u8]| match frame.is_plain {
        true => Ok(Digest::of(stored) == *digest),
        false => UNFRAMER.with_borrow_mut(|unframer| {
            let raw = inflate(ensure(&mut unframer.context)?, stored, frame.raw_bytes);
            Ok(raw.is_some_and(|raw| Digest::of(&raw) == *digest))
        }),
    };
    match stored {
        Some(stored) if is_whole(&stored)? => Ok(stored),
        _ => Err(Error::Corrupt {
            what: "Chunk",
            name: digest.to_string(),
            why: format!("its bytes do not match its digest in pack {pack}"),
        }),
    }
}

fn read_exact(file: &dyn Source, frame: &Frame) -> Result<Option<Vec<u8>>> {
    let mut stored = vec![0; frame.stored_bytes as usize];
    let filled = file.read_at(u64::from(frame.offset), &mut stored)?;
    Ok((filled == stored.len()).then_some(stored))
}

/// A decompression context and a buffer, one of each a thread: both cost more to make than a frame to decode.
struct Unframer {
    context: Option<zstd::bulk::Decompressor<'static>>,
    stored: Vec<u8>,
}

thread_local! {
    static UNFRAMER: RefCell<Unframer> = const {
        RefCell::new(Unframer { context: None, stored: Vec::new() })
    };
}

fn ensure<'a>(
    context: &'a mut Option<zstd::bulk::Decompressor<'static>>,
) -> Result<&'a mut zstd::bulk::Decompressor<'static>> {
    match context {
        Some(context) => Ok(context),
        None => Ok(context.insert(
            zstd::bulk::Decompressor::new()
                .map_err(Error::io("prepare decompression of", "packs"))?,
        )),
    }
}

fn decompress(file: &dyn Source, frame: &Frame) -> Result<Option<Vec<u8>>> {
    UNFRAMER.with_borrow_mut(|Unframer { context, stored }| {
        let context = ensure(context)?;
        stored.resize(frame.stored_bytes as usize, 0);
        if file.read_at(u64::from(frame.offset), stored)? != stored.len() {
            return Ok(None);
        }
        Ok(inflate(context, stored, frame.raw_bytes))
    })
}

/// The bytes of a zstd frame that lies in memory; `None` when it is none of `raw_bytes`, which the caller holds to be possible.
pub(crate) fn unpack(stored: &[u8], raw_bytes: u32) -> Result<Option<Vec<u8>>> {
    UNFRAMER
        .with_borrow_mut(|unframer| Ok(inflate(ensure(&mut unframer.context)?, stored, raw_bytes)))
}

/// `None` when the bytes are no zstd frame of as many bytes as the place says.
fn inflate(
    context: &mut zstd::bulk::Decompressor<'static>,
    stored: &[u8],
    raw_bytes: u32,
) -> Option<Vec<u8>> {
    let raw_bytes = raw_bytes as usize;
    let mut raw = Vec::with_capacity(raw_bytes);
    let filled = context.decompress_to_buffer(stored, &mut raw);
    filled.ok().filter(|n| *n == raw_bytes).map(|_| raw)
}
