//! What a fuzzer does with stat caches and patterns.

use snap_store::Digest;

use super::{Exclude, cache};

/// Decodes a stat cache; what is decoded is encoded to the same bytes.
pub(crate) fn stat_cache(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    if let Some(at) = sealed.len().checked_sub(Digest::LEN) {
        let check = Digest::of(&sealed[..at]);
        sealed[at..].copy_from_slice(check.as_bytes());
    }
    for bytes in [bytes, &sealed] {
        if let Some(again) = cache::recoded(bytes) {
            assert_eq!(again, bytes);
        }
    }
}

/// Matches a path, as a folder and as something else.
pub(crate) fn exclude(exclude: &Exclude, path: &[u8]) {
    let as_file = exclude.matches(path, false);
    assert!(
        !as_file || exclude.matches(path, true),
        "a pattern for files alone"
    );
}
