//! What a fuzzer does with the bytes of an index segment.

use std::sync::Arc;

use super::{
    codec::{HEADER_BYTES, TRAILER_BYTES, TRAILER_MAGIC, check_word, trailer_check},
    segment::{Segment, SegmentName},
};
use crate::{disk::Source, ids::Digest};

/// Opens a segment under the name it should have, looks things up in it and reads all of it.
pub(crate) fn segment(file: Arc<dyn Source>, bytes: &[u8]) {
    let Some(trailer) = bytes.len().checked_sub(TRAILER_BYTES) else {
        return;
    };
    let name = SegmentName {
        sequence: 1,
        check: check_word(&trailer_check(&bytes[trailer..])),
    };
    assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    let Ok(segment) = Segment::of(file, name) else {
        return;
    };
    let row = bytes
        .get(HEADER_BYTES as usize..)
        .and_then(<[u8]>::first_chunk);
    for digest in [[0; 32], [255; 32]].iter().chain(row) {
        let _found = segment.lookup(&Digest::from_bytes(*digest));
    }
    let _sound = segment.verify();
}

/// Makes the checksums right, so that what is behind them is reached.
pub(crate) fn seal(bytes: &mut [u8]) {
    let Some(trailer) = bytes.len().checked_sub(TRAILER_BYTES) else {
        return;
    };
    let rows = u64::from_le_bytes(bytes[trailer..trailer + 8].try_into().expect("8 bytes"));
    let rows_end = rows
        .checked_mul(48)
        .and_then(|length| length.checked_add(HEADER_BYTES))
        .and_then(|end| usize::try_from(end).ok())
        .filter(|end| *end <= trailer);
    if let Some(end) = rows_end {
        let checks = [
            Digest::of(&bytes[HEADER_BYTES as usize..end]),
            Digest::of(&bytes[end..trailer]),
        ];
        for (check, at) in checks.iter().zip([32, 64]) {
            bytes[trailer + at..trailer + at + 32].copy_from_slice(check.as_bytes());
        }
    }
    let check = trailer_check(&bytes[trailer..]);
    bytes[trailer + 96..trailer + 128].copy_from_slice(check.as_bytes());
    bytes[trailer + 128..].copy_from_slice(TRAILER_MAGIC);
}
