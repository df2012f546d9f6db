//! Traces: which chunks a mount needed first, in order (docs/format.md, "Traces").
//!
//! A trace is a guess about the next mount and nothing else: it is bounded, it may be lost or wrong, and what is read because of it is
//! compared with its digest as every chunk is. It says nothing of where a chunk lies, so it outlives a rewritten pack and helps every
//! snapshot that has the chunk.

mod recorder;

use std::collections::HashSet;

use crate::{
    bytes::{Decoded, Fields},
    ids::Digest,
    pack::MAX_CHUNK_BYTES,
};

pub use recorder::{RecordLimits, Recorder, Seen};

const MAGIC: &[u8; 8] = b"snaptrac";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = Digest::LEN + 9;

/// Most chunks of a trace: 64 MiB of chunks of 4 KiB.
pub(crate) const MAX_ENTRIES: usize = 1 << 14;
/// After so many mounts in a row that did not need it, a chunk is forgotten.
const MAX_IDLE: u8 = 3;

/// A chunk that is expected to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The chunk.
    pub digest: Digest,
    /// Its length.
    pub raw_bytes: u32,
    /// When it was needed, in milliseconds since the mount.
    pub at_ms: u32,
    /// How many mounts since did not need it.
    idle: u8,
}

/// What a mount is expected to need, in the order in which it will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    entries: Vec<Expected>,
}

impl Trace {
    /// Length of the largest trace, in bytes; a longer file is none.
    pub const MAX_BYTES: usize = HEADER_BYTES + MAX_ENTRIES * ENTRY_BYTES + Digest::LEN;

    /// The chunks, those that were needed last time first.
    #[must_use]
    pub fn entries(&self) -> &[Expected] {
        &self.entries
    }

    /// What is expected after a mount that needed `seen`: that, and then what was expected before and not needed now, unless that has
    /// happened too often. So programs that are started in turn do not make each other's chunks forgotten.
    #[must_use]
    pub fn learned(&self, seen: &[Seen]) -> Self {
        let mut known = HashSet::new();
        let needed = seen.iter().map(|seen| Expected {
            digest: seen.digest,
            raw_bytes: seen.raw_bytes,
            at_ms: seen.at_ms,
            idle: 0,
        });
        let others = self.entries.iter().map(|entry| Expected {
            idle: entry.idle + 1,
            ..*entry
        });
        let all = needed.chain(others.filter(|entry| entry.idle < MAX_IDLE));
        let new = all.filter(|entry| known.insert(entry.digest));
        Self {
            entries: new.take(MAX_ENTRIES).collect(),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.entries.len()).expect("a trace has a limit");
        let mut bytes = Vec::with_capacity(Self::MAX_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(entry.digest.as_bytes());
            bytes.extend_from_slice(&entry.raw_bytes.to_le_bytes());
            bytes.extend_from_slice(&entry.at_ms.to_le_bytes());
            bytes.push(entry.idle);
        }
        let check = Digest::of(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    /// The trace of these bytes; `None` when they are damaged or something else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes).ok()
    }
}

fn decode(bytes: &[u8]) -> Decoded<Trace> {
    let mut fields = Fields::new(bytes);
    if fields.array()? != *MAGIC {
        return Err("it does not begin as a trace");
    }
    if fields.u32()? != VERSION {
        return Err("its version is unknown");
    }
    let count = fields.u32()? as usize;
    if count > MAX_ENTRIES || bytes.len() != HEADER_BYTES + count * ENTRY_BYTES + Digest::LEN {
        return Err("its length does not match its entries");
    }
    let (body, check) = bytes.split_at(bytes.len() - Digest::LEN);
    if Digest::of(body).as_bytes().as_slice() != check {
        return Err("it does not match its checksum");
    }
    let entries = (0..count).map(|_| decode_entry(&mut fields));
    Ok(Trace {
        entries: entries.collect::<Decoded<_>>()?,
    })
}

fn decode_entry(fields: &mut Fields<'_>) -> Decoded<Expected> {
    let entry = Expected {
        digest: Digest::from_bytes(fields.array()?),
        raw_bytes: fields.u32()?,
        at_ms: fields.u32()?,
        idle: fields.u8()?,
    };
    match entry.raw_bytes <= MAX_CHUNK_BYTES && entry.idle < MAX_IDLE {
        true => Ok(entry),
        false => Err("it has an impossible entry"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn seen(number: u8) -> Seen {
        Seen {
            digest: Digest::of(&[number]),
            raw_bytes: 1000,
            at_ms: u32::from(number),
        }
    }

    fn learned(numbers: &[u8]) -> Trace {
        let seen: Vec<_> = numbers.iter().map(|number| seen(*number)).collect();
        Trace::default().learned(&seen)
    }

    fn digests(trace: &Trace) -> Vec<Digest> {
        trace.entries.iter().map(|entry| entry.digest).collect()
    }

    #[test]
    fn what_was_needed_last_comes_first_and_each_chunk_once() {
        let trace = learned(&[1, 2, 3]).learned(&[seen(3), seen(4), seen(3)]);
        assert_eq!(digests(&trace), digests(&learned(&[3, 4, 1, 2])));
    }

    #[test]
    fn what_is_not_needed_again_and_again_is_forgotten() {
        let mut trace = learned(&[1, 2]);
        for _ in 1..MAX_IDLE {
            trace = trace.learned(&[seen(2)]);
            assert_eq!(digests(&trace), digests(&learned(&[2, 1])));
        }
        trace = trace.learned(&[seen(2)]);
        assert_eq!(digests(&trace), digests(&learned(&[2])));
    }

    #[test]
    fn a_trace_has_a_limit() {
        let seen: Vec<_> = (0..MAX_ENTRIES as u32 + 10)
            .map(|number| Seen {
                digest: Digest::of(&number.to_le_bytes()),
                raw_bytes: 1,
                at_ms: 0,
            })
            .collect();
        let trace = Trace::default().learned(&seen);
        assert_eq!(trace.entries.len(), MAX_ENTRIES);
        let bytes = trace.encode();
        assert_eq!(bytes.len(), Trace::MAX_BYTES);
        assert_eq!(Trace::decode(&bytes), Some(trace));
    }

    #[test]
    fn no_flipped_or_missing_byte_goes_unnoticed() {
        let bytes = learned(&[1, 2, 3]).encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x21;
            assert_eq!(Trace::decode(&flipped), None, "byte {at}");
            assert_eq!(Trace::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn an_impossible_entry_is_refused_under_a_right_checksum() {
        for (at, value) in [(HEADER_BYTES + 35, 0xff), (HEADER_BYTES + 40, MAX_IDLE)] {
            let mut bytes = learned(&[1]).encode();
            bytes[at] = value;
            let end = bytes.len() - Digest::LEN;
            let check = Digest::of(&bytes[..end]);
            bytes[end..].copy_from_slice(check.as_bytes());
            assert_eq!(Trace::decode(&bytes), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(numbers in vec(any::<u8>(), 0..50), again in vec(any::<u8>(), 0..50)) {
            let again: Vec<_> = again.into_iter().map(seen).collect();
            let trace = learned(&numbers).learned(&again);
            prop_assert_eq!(Trace::decode(&trace.encode()), Some(trace));
        }

        #[test]
        fn anything_under_a_right_checksum_is_decoded_or_refused(count in any::<u32>(), body in vec(any::<u8>(), 0..200)) {
            let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &count.to_le_bytes(), &body].concat();
            bytes.extend(Digest::of(&bytes).as_bytes());
            let _ = Trace::decode(&bytes);
        }
    }
}
