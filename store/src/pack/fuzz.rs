//! What a fuzzer does with the bytes of a pack.

use std::path::Path;

use super::{Footer, Frame, RECORD_BYTES, TRAILER_BYTES, decode_record, unframe};
use crate::{disk::Source, ids::Digest};

/// Decodes a pack and reads every chunk its footer has.
pub(crate) fn pack(file: &dyn Source) {
    let Ok(footer) = Footer::of(file, Path::new("pack")) else {
        return;
    };
    for (digest, frame) in footer.records.iter().take(64) {
        if let Ok(raw) = unframe(file, frame, digest, &footer.id) {
            assert_eq!(Digest::of(&raw), *digest);
        }
    }
}

/// Makes the checksum of the footer right, so that what is behind it is reached.
pub(crate) fn seal(bytes: &mut [u8]) {
    let Some(trailer_at) = bytes.len().checked_sub(TRAILER_BYTES) else {
        return;
    };
    let at = u64::from_le_bytes(
        bytes[trailer_at..trailer_at + 8]
            .try_into()
            .expect("8 bytes"),
    );
    let records = usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at..trailer_at));
    if let Some(check) = records.map(Digest::of) {
        bytes[trailer_at + 24..trailer_at + 56].copy_from_slice(check.as_bytes());
    }
}

/// Takes the first bytes for a record, and reads the chunk it names out of all of them.
pub(crate) fn frame(file: &dyn Source, bytes: &[u8]) {
    let Some(line) = bytes.get(..RECORD_BYTES) else {
        return;
    };
    let Ok((digest, frame)) = decode_record(line, bytes.len() as u64) else {
        return;
    };
    let plain = Frame {
        is_plain: true,
        raw_bytes: frame.stored_bytes,
        ..frame
    };
    for frame in [frame, plain] {
        if let Ok(raw) = unframe(file, &frame, &digest, &"pack") {
            assert_eq!(Digest::of(&raw), digest);
        }
    }
}
