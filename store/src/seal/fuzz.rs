//! What a fuzzer does with the bytes of an envelope.

use super::{Envelope, SealKey, seal_body};
use crate::ids::Digest;

/// Opens the bytes as an envelope, and once more what they are the contents of, with the seal made right: no fuzzer guesses one.
pub(crate) fn envelope(bytes: &[u8]) {
    let key = SealKey::new(&[7; 32]);
    let digest = Digest::of(bytes);
    let _decoded = Envelope::decode(bytes).map(|sealed| sealed.body.len());
    assert!(key.open(&digest, bytes).is_err(), "nobody sealed it");
    let Some((length, body)) = bytes.split_first_chunk() else {
        return;
    };
    let raw_bytes = u32::from_le_bytes(*length) as usize % (1 << 21);
    if let Ok(envelope) = seal_body(&key, body, raw_bytes, false)
        && let Ok(raw) = key.open(&digest, &envelope)
    {
        assert_eq!(raw.len(), raw_bytes);
    }
    let envelope = seal_body(&key, body, body.len(), true).expect("it is no longer than a chunk");
    assert_eq!(key.open(&digest, &envelope).expect("it was sealed"), body);
}

/// Reads the bytes as a file of keys.
pub(crate) fn keys(bytes: &[u8]) {
    let _keys = super::keys::parse(bytes);
}
