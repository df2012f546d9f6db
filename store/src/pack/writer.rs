//! Writing packs: chunks become frames, frames are appended, the footer seals them.

use std::path::{Path, PathBuf};

use zstd::zstd_safe::CParameter;

use super::{Frame, HEADER_BYTES, MAX_CHUNK_BYTES, Record, encode_footer, encode_header};
use crate::{
    disk::{Disk, Sink},
    error::{Error, Result},
    ids::{Digest, PackId},
};

/// A pack is full beyond this: large enough for one sync to cover many chunks, small enough to be rewritten.
const FULL_BYTES: u32 = 32 << 20;
/// And beyond this many chunks, so that a footer stays quick to read.
const FULL_RECORDS: usize = 1 << 16;
/// The level at which compression still keeps up with storage; higher ones cost far more than they save.
const LEVEL: i32 = 3;
/// The level for chunks of at most [`SMALL_BYTES`]: 2 % smaller for half as much time again, which with the source trees and packages of
/// `scripts/corpus` is 1.3 MB of 61 and a twentieth of the processor time of a whole capture. For larger chunks it is the usual level under
/// another name.
const SMALL_LEVEL: i32 = 4;
const SMALL_BYTES: usize = 16 << 10;
/// Shortest match that is looked for. The level alone asks for 5 bytes in what is as large as most chunks; with 4 frames of 64 KiB are
/// 1.7 % smaller and take as long to make and to undo (`zstd -b3 -B65536 --zstd=mml=4` on machine code, databases and source text).
const MIN_MATCH: u32 = 4;

/// Makes frames of chunks; holds what is worth keeping from one to the next.
pub(crate) struct Framer {
    usual: zstd::bulk::Compressor<'static>,
    small: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

impl Framer {
    /// A framer with a context of its own.
    pub(crate) fn new() -> Result<Self> {
        let compressor = |level| -> std::io::Result<_> {
            let mut compressor = zstd::bulk::Compressor::new(level)?;
            compressor.set_parameter(CParameter::MinMatch(MIN_MATCH))?;
            Ok(compressor)
        };
        let prepare = || -> std::io::Result<_> {
            Ok(Self {
                usual: compressor(LEVEL)?,
                small: compressor(SMALL_LEVEL)?,
                buffer: Vec::new(),
            })
        };
        prepare().map_err(Error::io("prepare compression for", "packs"))
    }

    /// The bytes to store for `raw`, and whether they are `raw` itself: so when compression saves less than a sixteenth.
    pub(crate) fn frame<'a>(&'a mut self, raw: &'a [u8]) -> Result<(&'a [u8], bool)> {
        self.buffer.clear();
        self.buffer
            .reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let compressor = match raw.len() <= SMALL_BYTES {
            true => &mut self.small,
            false => &mut self.usual,
        };
        let stored = compressor
            .compress_to_buffer(raw, &mut self.buffer)
            .map_err(Error::io("compress for", "packs"))?;
        match stored < raw.len() - raw.len() / 16 {
            true => Ok((&self.buffer, false)),
            false => Ok((raw, true)),
        }
    }
}

/// A pack being written.
#[derive(Debug)]
pub(crate) struct PackWriter {
    sink: Box<dyn Sink>,
    path: PathBuf,
    ordinal: u32,
    records: Vec<Record>,
    end: u32,
}

/// A pack that is whole, but neither durable nor published.
#[derive(Debug)]
pub(crate) struct SealedPack {
    /// Its identity.
    pub(crate) id: PackId,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its open file, to be synced; `None` when there are so many that they are synced together.
    pub(crate) sink: Option<Box<dyn Sink>>,
    /// Its number in the draft.
    pub(crate) ordinal: u32,
    /// Chunks in it.
    pub(crate) chunks: usize,
}

impl PackWriter {
    /// Creates the pack number `ordinal` of a draft at `path`.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, ordinal: u32) -> Result<Self> {
        let mut sink = disk.create(path)?;
        sink.append(&encode_header())?;
        Ok(Self {
            sink,
            path: path.to_owned(),
            ordinal,
            records: Vec::new(),
            end: HEADER_BYTES,
        })
    }

    /// Its number in the draft.
    pub(crate) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Appends the frame `stored` of a chunk of `raw_bytes`; it can be read as soon as this returns.
    pub(crate) fn append(
        &mut self,
        digest: Digest,
        stored: &[u8],
        raw_bytes: usize,
        is_plain: bool,
    ) -> Result<Frame> {
        let length = |bytes: usize| {
            let fits = u32::try_from(bytes).ok().filter(|n| *n <= MAX_CHUNK_BYTES);
            fits.ok_or(Error::Limit {
                what: "Chunk",
                limit: u64::from(MAX_CHUNK_BYTES),
            })
        };
        let frame = Frame {
            offset: self.end,
            stored_bytes: length(stored.len())?,
            raw_bytes: length(raw_bytes)?,
            is_plain,
        };
        self.sink.append(stored)?;
        self.end += frame.stored_bytes;
        self.records.push((digest, frame));
        Ok(frame)
    }

    /// True when it should be sealed.
    pub(crate) fn is_full(&self) -> bool {
        self.end >= FULL_BYTES || self.records.len() >= FULL_RECORDS
    }

    /// Writes the footer.
    pub(crate) fn seal(mut self) -> Result<SealedPack> {
        let (footer, id) = encode_footer(&mut self.records, self.end);
        self.sink.append(&footer)?;
        self.sink.start_write_back();
        Ok(SealedPack {
            id,
            path: self.path,
            sink: Some(self.sink),
            ordinal: self.ordinal,
            chunks: self.records.len(),
        })
    }
}
