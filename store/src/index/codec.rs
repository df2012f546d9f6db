//! The bytes of a segment's header, rows and trailer (docs/format.md, "Index segment").

use crate::{
    bytes::{Decoded, Fields},
    ids::{Digest, PackId},
    pack::Frame,
};

const MAGIC: &[u8; 8] = b"snapsegm";
pub(super) const TRAILER_MAGIC: &[u8; 8] = b"mgespans";
const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: u64 = 16;
pub(super) const ROW_BYTES: usize = 48;
pub(super) const TRAILER_BYTES: usize = 136;
/// The low bits of a row's last field are the raw length, the high ones flags.
pub(super) const RAW_BITS: u32 = 28;
/// The fanout table is cut so that a run has about this many rows.
pub(super) const ROWS_A_RUN: u64 = 64;
/// And never finer than this: 256 MiB of table would be no index any more.
pub(super) const MAX_FANOUT_BITS: u32 = 26;
const MAX_PACKS: u32 = 1 << 26;
const MAX_REPLACED: u32 = 1 << 16;

/// One row, as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) digest: Digest,
    /// The pack, by its number in the segment's table.
    pub(super) pack: u32,
    pub(super) frame: Frame,
}

impl Row {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let flags = u32::from(self.frame.is_plain) << RAW_BITS;
        out.extend_from_slice(self.digest.as_bytes());
        out.extend_from_slice(&self.pack.to_le_bytes());
        out.extend_from_slice(&self.frame.offset.to_le_bytes());
        out.extend_from_slice(&self.frame.stored_bytes.to_le_bytes());
        out.extend_from_slice(&(self.frame.raw_bytes | flags).to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut fields = Fields::new(bytes);
        let digest = Digest::from_bytes(fields.array()?);
        let pack = fields.u32()?;
        let offset = fields.u32()?;
        let stored_bytes = fields.u32()?;
        let last = fields.u32()?;
        let frame = Frame {
            offset,
            stored_bytes,
            raw_bytes: last & ((1 << RAW_BITS) - 1),
            is_plain: last >> RAW_BITS == 1,
        };
        match last >> RAW_BITS <= 1 && frame.is_possible() {
            true => Ok(Self {
                digest,
                pack,
                frame,
            }),
            false => Err("it has an impossible row"),
        }
    }
}

/// The bytes of a header.
pub(super) fn encode_header() -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// The run `digest` belongs to when there are `1 << bits` of them.
pub(super) fn run_of(digest: &Digest, bits: u32) -> usize {
    let first = digest.as_bytes().first_chunk();
    let first = u32::from_be_bytes(*first.expect("a digest is longer than four bytes"));
    // Widened, because a shift by all 32 bits is what no table at all needs.
    (u64::from(first) >> (32 - bits)) as usize
}

/// What the trailer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) rows: u64,
    pub(super) stored_bytes: u64,
    pub(super) fanout_bits: u32,
    pub(super) packs: u32,
    pub(super) replaced: u32,
    pub(super) rows_check: Digest,
    pub(super) tables_check: Digest,
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TRAILER_BYTES);
        bytes.extend_from_slice(&self.rows.to_le_bytes());
        bytes.extend_from_slice(&self.stored_bytes.to_le_bytes());
        for word in [self.fanout_bits, self.packs, self.replaced, VERSION] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(self.rows_check.as_bytes());
        bytes.extend_from_slice(self.tables_check.as_bytes());
        let check = Digest::of(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..32]);
        bytes.extend_from_slice(TRAILER_MAGIC);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut fields = Fields::new(bytes);
        let trailer = Self {
            rows: fields.u64()?,
            stored_bytes: fields.u64()?,
            fanout_bits: fields.u32()?,
            packs: fields.u32()?,
            replaced: fields.u32()?,
            rows_check: {
                if fields.u32()? != VERSION {
                    return Err("its version is unknown");
                }
                Digest::from_bytes(fields.array()?)
            },
            tables_check: Digest::from_bytes(fields.array()?),
        };
        let check = trailer_check(bytes);
        if fields.array()? != *check.as_bytes() || fields.array()? != *TRAILER_MAGIC {
            return Err("its trailer does not match its checksum");
        }
        let fits = trailer.rows <= u64::from(u32::MAX)
            && trailer.fanout_bits <= MAX_FANOUT_BITS
            && trailer.packs <= MAX_PACKS
            && trailer.replaced <= MAX_REPLACED;
        match fits {
            true => Ok(trailer),
            false => Err("its trailer has impossible counts"),
        }
    }

    pub(super) fn fanout_bytes(&self) -> usize {
        ((1 << self.fanout_bits) + 1) * 4
    }

    pub(super) fn table_bytes(&self) -> usize {
        self.fanout_bytes() + self.packs as usize * PackId::LEN + self.replaced as usize * 16
    }

    pub(super) fn file_bytes(&self) -> u64 {
        HEADER_BYTES
            + self.rows * ROW_BYTES as u64
            + self.table_bytes() as u64
            + TRAILER_BYTES as u64
    }
}

/// The checksum of everything in a trailer before its checksum.
pub(super) fn trailer_check(trailer: &[u8]) -> Digest {
    Digest::of(&trailer[..TRAILER_BYTES - Digest::LEN - TRAILER_MAGIC.len()])
}

/// The part of a checksum that goes into a name.
pub(super) fn check_word(check: &Digest) -> u64 {
    let first = check.as_bytes().first_chunk();
    u64::from_be_bytes(*first.expect("a digest is longer than eight bytes"))
}
