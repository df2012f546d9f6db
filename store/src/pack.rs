//! Packs: files that hold many chunks, and are the truth about them.
//!
//! A pack is a header, one frame a chunk, a footer that says where each chunk is, and a trailer that says where the
//! footer is (docs/format.md, "Pack"). Decoding is pure, bounded, and believes nothing: a pack that passes here has
//! a whole footer whose records lie inside the file. Whether a frame holds what its digest says is known only when it is read.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod reader;
mod writer;

use std::path::Path;

use crate::{
    bytes::{Decoded, Fields},
    disk::{Disk, Source},
    error::{Error, Result},
    ids::{Digest, PackId},
};

pub(crate) use reader::{PackFiles, read_stored, unframe, unpack};
pub(crate) use writer::{Framer, PackWriter, SealedPack};

/// Most bytes of one chunk, raw or stored: what a reader is ready to allocate.
pub(crate) const MAX_CHUNK_BYTES: u32 = 16 << 20;
/// Most chunks of one pack a reader is ready to decode: 48 MiB of records.
const MAX_RECORDS: u32 = 1 << 20;

const MAGIC: &[u8; 8] = b"snappack";
const TRAILER_MAGIC: &[u8; 8] = b"kcappans";
const VERSION: u32 = 1;
const HEADER_BYTES: u32 = 16;
const RECORD_BYTES: usize = 48;
const TRAILER_BYTES: usize = 64;
const FLAG_PLAIN: u32 = 1;

/// Where a chunk lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Offset of its first stored byte.
    pub(crate) offset: u32,
    /// Bytes it takes.
    pub(crate) stored_bytes: u32,
    /// Bytes it has.
    pub(crate) raw_bytes: u32,
    /// True when it is stored as it is, false when it is a zstd frame.
    pub(crate) is_plain: bool,
}

/// Bytes a pack takes beside its frames: its header, its trailer, and a line in its footer for each of `chunks`.
pub(crate) fn overhead_bytes(chunks: u64) -> u64 {
    u64::from(HEADER_BYTES) + TRAILER_BYTES as u64 + RECORD_BYTES as u64 * chunks
}

/// One line of a footer.
pub(crate) type Record = (Digest, Frame);

/// A pack's footer, checked.
#[derive(Debug)]
pub(crate) struct Footer {
    /// The pack's identity.
    pub(crate) id: PackId,
    /// Where its chunks are, by ascending digest.
    pub(crate) records: Vec<Record>,
}

impl Footer {
    /// Reads the footer of the pack at `path`.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Self> {
        Self::of(&*disk.open(path)?, path)
    }

    /// The same of an open file; `path` is for messages.
    fn of(file: &dyn Source, path: &Path) -> Result<Self> {
        let corrupt = |why: &str| Error::Corrupt {
            what: "Pack",
            name: path.display().to_string(),
            why: why.to_owned(),
        };
        let length = file.length()?;
        let mut header = [0; HEADER_BYTES as usize];
        let filled = file.read_at(0, &mut header)?;
        check_header(&header[..filled], path)?;
        let Some(trailer_at) = length.checked_sub(TRAILER_BYTES as u64) else {
            return Err(corrupt("it is shorter than a trailer"));
        };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_at(trailer_at, &mut trailer)?;
        let trailer = Trailer::decode(&trailer, trailer_at).map_err(corrupt)?;
        let mut footer = vec![0; trailer.count as usize * RECORD_BYTES];
        file.read_at(trailer.footer_at, &mut footer)?;
        decode_footer(&footer, &trailer).map_err(corrupt)
    }
}

/// The bytes of a header.
fn encode_header() -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

fn check_header(bytes: &[u8], path: &Path) -> Result<()> {
    let mut fields = Fields::new(bytes);
    let name = || path.display().to_string();
    if fields.array().as_ref() != Ok(MAGIC) {
        return Err(Error::Corrupt {
            what: "Pack",
            name: name(),
            why: "it does not begin as a pack".to_owned(),
        });
    }
    let version = fields.u32().unwrap_or(0);
    if version != VERSION || fields.u32() != Ok(0) {
        return Err(Error::Incompatible {
            what: "Pack",
            name: name(),
            found: version,
            supported: VERSION,
        });
    }
    Ok(())
}

/// Sorts the records and returns the footer's bytes, the trailer's bytes, and the identity they give the pack.
fn encode_footer(records: &mut [Record], footer_at: u32) -> (Vec<u8>, PackId) {
    records.sort_unstable_by_key(|record| record.0);
    let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES + TRAILER_BYTES);
    for (digest, frame) in records.iter() {
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&frame.offset.to_le_bytes());
        bytes.extend_from_slice(&frame.stored_bytes.to_le_bytes());
        bytes.extend_from_slice(&frame.raw_bytes.to_le_bytes());
        bytes.extend_from_slice(&(u32::from(frame.is_plain) * FLAG_PLAIN).to_le_bytes());
    }
    let check = Digest::of(&bytes);
    let footer_bytes = bytes.len() as u64;
    let count = u32::try_from(records.len()).expect("a pack is full long before that");
    bytes.extend_from_slice(&u64::from(footer_at).to_le_bytes());
    bytes.extend_from_slice(&footer_bytes.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(check.as_bytes());
    bytes.extend_from_slice(TRAILER_MAGIC);
    (bytes, pack_id(&check))
}

fn pack_id(check: &Digest) -> PackId {
    let first = check.as_bytes().first_chunk();
    PackId::from_bytes(*first.expect("a digest is longer than a pack id"))
}

/// Where the footer is, checked against the length of the file but not yet against the footer.
#[derive(Debug)]
struct Trailer {
    footer_at: u64,
    count: u32,
    check: Digest,
}

impl Trailer {
    /// Decodes the trailer of a file in which it begins at `trailer_at`.
    fn decode(bytes: &[u8; TRAILER_BYTES], trailer_at: u64) -> Decoded<Self> {
        let mut fields = Fields::new(bytes);
        let footer_at = fields.u64()?;
        let footer_bytes = fields.u64()?;
        let count = fields.u32()?;
        let version = fields.u32()?;
        let check = Digest::from_bytes(fields.array()?);
        if fields.array().as_ref() != Ok(TRAILER_MAGIC) {
            return Err("it does not end as a pack");
        }
        if version != VERSION {
            return Err("its trailer has another version than its header");
        }
        if count > MAX_RECORDS || footer_bytes != u64::from(count) * RECORD_BYTES as u64 {
            return Err("its trailer has a footer of an impossible length");
        }
        if footer_at < u64::from(HEADER_BYTES)
            || footer_at.checked_add(footer_bytes) != Some(trailer_at)
        {
            return Err("its trailer has a footer at an impossible place");
        }
        Ok(Self {
            footer_at,
            count,
            check,
        })
    }
}

fn decode_footer(bytes: &[u8], trailer: &Trailer) -> Decoded<Footer> {
    let check = Digest::of(bytes);
    if check != trailer.check {
        return Err("its footer does not match its checksum");
    }
    let records = bytes
        .chunks_exact(RECORD_BYTES)
        .map(|line| decode_record(line, trailer.footer_at))
        .collect::<Decoded<Vec<_>>>()?;
    if !records.is_sorted_by(|a, b| a.0 < b.0) {
        return Err("its footer is out of order");
    }
    Ok(Footer {
        id: pack_id(&check),
        records,
    })
}

fn decode_record(line: &[u8], end: u64) -> Decoded<Record> {
    let mut fields = Fields::new(line);
    let digest = Digest::from_bytes(fields.array()?);
    let frame = Frame {
        offset: fields.u32()?,
        stored_bytes: fields.u32()?,
        raw_bytes: fields.u32()?,
        is_plain: match fields.u32()? {
            0 => false,
            FLAG_PLAIN => true,
            _ => return Err("its footer has a flag nobody knows"),
        },
    };
    let frame_end = u64::from(frame.offset) + u64::from(frame.stored_bytes);
    let fits = frame.offset >= HEADER_BYTES && frame_end <= end && frame.is_possible();
    match fits {
        true => Ok((digest, frame)),
        false => Err("its footer has an impossible record"),
    }
}

impl Frame {
    /// True when its lengths are such as a writer makes.
    pub(crate) fn is_possible(&self) -> bool {
        self.raw_bytes <= MAX_CHUNK_BYTES
            && match self.is_plain {
                true => self.stored_bytes == self.raw_bytes,
                false => self.stored_bytes < self.raw_bytes,
            }
    }
}

#[cfg(test)]
mod tests;
