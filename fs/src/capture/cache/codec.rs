//! The cache at rest.
//!
//! ```text
//! magic 8 │ version u32 │ count u64 │ records │ blake3 of everything before 32
//! record: device u64 │ inode u64 │ changed i64 u32 │ modified i64 u32 │ size u64 │ payload │ count u16 of attributes │ attributes
//! payload: 0 │ 1 hole │ 2 chunk, digest 32 │ 3 list, digest 32 │ 4 symlink, length u16, target
//! attribute: length u8, name │ length u32, value
//! ```
//!
//! Numbers are little-endian. It never leaves the host and may be lost: another version is read as no cache at all.

use snap_store::{Content, Digest, Timestamp, Xattr};

use super::{Known, Payload};
use crate::capture::stat::InodeId;

const MAGIC: &[u8; 8] = b"SNAPSTAT";
const VERSION: u32 = 1;

/// Longest value of an extended attribute, as Linux has it.
const MAX_XATTR_BYTES: usize = 64 * 1024;
/// Longest target of a symbolic link, as Linux has it.
const MAX_TARGET_BYTES: usize = 4095;
/// Bytes of the smallest record; bounds what a count may claim.
const MIN_RECORD_BYTES: usize = 8 + 8 + 12 + 12 + 8 + 1 + 2;

const NOTHING: u8 = 0;
const HOLE: u8 = 1;
const CHUNK: u8 = 2;
const LIST: u8 = 3;
const SYMLINK: u8 = 4;
const SPARSE_LIST: u8 = 5;

/// The bytes of these records. What exceeds a limit is left out.
pub(super) fn encode(records: &[(InodeId, &Known)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut count = 0u64;
    for (id, known) in records {
        let length = body.len();
        if encode_record(&mut body, *id, known).is_some() {
            count += 1;
        } else {
            body.truncate(length);
        }
    }
    let mut bytes = Vec::with_capacity(body.len() + 64);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(body);
    let digest = Digest::of(&bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

/// The records in `bytes`; `None` when they are damaged or something else.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<(InodeId, Known)>> {
    let (bytes, digest) = bytes.split_last_chunk::<{ Digest::LEN }>()?;
    if Digest::of(bytes).as_bytes() != digest {
        return None;
    }
    let mut from = Reader(bytes);
    if from.array()? != *MAGIC || from.u32()? != VERSION {
        return None;
    }
    let count = usize::try_from(from.u64()?).ok()?;
    if count > bytes.len() / MIN_RECORD_BYTES {
        return None;
    }
    let records: Option<Vec<_>> = (0..count).map(|_| decode_record(&mut from)).collect();
    records.filter(|_| from.0.is_empty())
}

/// What is decoded of `bytes`, encoded again.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::capture) fn recoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let records = decode(bytes)?;
    let records: Vec<_> = records.iter().map(|(id, known)| (*id, known)).collect();
    Some(encode(&records))
}

fn encode_record(to: &mut Vec<u8>, id: InodeId, known: &Known) -> Option<()> {
    to.extend(id.device.to_le_bytes());
    to.extend(id.inode.to_le_bytes());
    for time in [known.changed, known.modified] {
        to.extend(time.seconds.to_le_bytes());
        to.extend(time.nanoseconds.to_le_bytes());
    }
    to.extend(known.size.to_le_bytes());
    match &known.payload {
        Payload::Nothing => to.push(NOTHING),
        Payload::File(Content::Hole) => to.push(HOLE),
        Payload::File(Content::Chunk(digest)) => {
            to.push(CHUNK);
            to.extend(digest.as_bytes());
        }
        Payload::File(Content::List(digest)) => {
            to.push(LIST);
            to.extend(digest.as_bytes());
        }
        Payload::File(Content::SparseList(digest)) => {
            to.push(SPARSE_LIST);
            to.extend(digest.as_bytes());
        }
        Payload::Symlink(target) => {
            to.push(SYMLINK);
            to.extend(length::<u16>(target, MAX_TARGET_BYTES)?.to_le_bytes());
            to.extend(&**target);
        }
    }
    to.extend(u16::try_from(known.xattrs.len()).ok()?.to_le_bytes());
    for Xattr { name, value } in &known.xattrs {
        to.extend(length::<u8>(name, u8::MAX.into())?.to_le_bytes());
        to.extend(&**name);
        to.extend(length::<u32>(value, MAX_XATTR_BYTES)?.to_le_bytes());
        to.extend(&**value);
    }
    Some(())
}

fn decode_record(from: &mut Reader<'_>) -> Option<(InodeId, Known)> {
    let id = InodeId {
        device: from.u64()?,
        inode: from.u64()?,
    };
    let changed = from.timestamp()?;
    let modified = from.timestamp()?;
    let size = from.u64()?;
    let payload = match from.array::<1>()?[0] {
        NOTHING => Payload::Nothing,
        HOLE => Payload::File(Content::Hole),
        CHUNK => Payload::File(Content::Chunk(Digest::from_bytes(from.array()?))),
        LIST => Payload::File(Content::List(Digest::from_bytes(from.array()?))),
        SPARSE_LIST => Payload::File(Content::SparseList(Digest::from_bytes(from.array()?))),
        SYMLINK => {
            let length = u16::from_le_bytes(from.array()?);
            Payload::Symlink(from.bytes(length.into(), MAX_TARGET_BYTES)?)
        }
        _ => return None,
    };
    let count = u16::from_le_bytes(from.array()?);
    let xattrs: Option<Vec<_>> = (0..count).map(|_| from.xattr()).collect();
    let known = Known {
        changed,
        modified,
        size,
        xattrs: xattrs?.into(),
        payload,
    };
    Some((id, known))
}

fn length<T: TryFrom<usize>>(bytes: &[u8], limit: usize) -> Option<T> {
    (bytes.len() <= limit)
        .then(|| T::try_from(bytes.len()).ok())
        .flatten()
}

/// What is left to decode.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        let seconds = self.array().map(i64::from_le_bytes)?;
        let nanoseconds = self.u32().filter(|part| *part < 1_000_000_000)?;
        Some(Timestamp {
            seconds,
            nanoseconds,
        })
    }

    fn bytes(&mut self, length: usize, limit: usize) -> Option<Box<[u8]>> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length <= limit).then(|| bytes.into())
    }

    fn xattr(&mut self) -> Option<Xattr> {
        let length = self.array::<1>()?[0];
        let name = self.bytes(length.into(), u8::MAX.into())?;
        let length = usize::try_from(self.u32()?).ok()?;
        let value = self.bytes(length, MAX_XATTR_BYTES)?;
        Some(Xattr { name, value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn records() -> impl Strategy<Value = Vec<(InodeId, Known)>> {
        let bytes = |limit| vec(any::<u8>(), 0..limit).prop_map(Vec::into_boxed_slice);
        let digest = any::<[u8; 32]>().prop_map(Digest::from_bytes);
        let payload = prop_oneof![
            Just(Payload::Nothing),
            Just(Payload::File(Content::Hole)),
            digest
                .clone()
                .prop_map(|d| Payload::File(Content::Chunk(d))),
            digest.clone().prop_map(|d| Payload::File(Content::List(d))),
            digest.prop_map(|d| Payload::File(Content::SparseList(d))),
            bytes(100).prop_map(Payload::Symlink),
        ];
        let time =
            (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| Timestamp {
                seconds,
                nanoseconds,
            });
        let xattr = (bytes(40), bytes(40)).prop_map(|(name, value)| Xattr { name, value });
        let id = any::<(u64, u64)>().prop_map(|(device, inode)| InodeId { device, inode });
        let known = (time.clone(), time, any::<u64>(), vec(xattr, 0..3), payload).prop_map(
            |(changed, modified, size, xattrs, payload)| Known {
                changed,
                modified,
                size,
                xattrs: xattrs.into(),
                payload,
            },
        );
        vec((id, known), 0..20)
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(records in records()) {
            let borrowed: Vec<_> = records.iter().map(|(id, known)| (*id, known)).collect();
            prop_assert_eq!(decode(&encode(&borrowed)), Some(records));
        }

        #[test]
        fn damage_is_noticed(records in records(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let borrowed: Vec<_> = records.iter().map(|(id, known)| (*id, known)).collect();
            let mut bytes = encode(&borrowed);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn anything_under_a_right_checksum_is_decoded_or_refused(body in vec(any::<u8>(), 0..200), count in any::<u64>()) {
            let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &count.to_le_bytes(), &body].concat();
            bytes.extend(Digest::of(&bytes).as_bytes());
            let _ = decode(&bytes);
        }
    }
}
