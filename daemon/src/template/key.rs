//! Keys: the digest of everything a result depends on.

use sha2::{Digest, Sha256};

/// Tells keys of this making from those of another, should what goes into them ever change.
const KIND: &str = "snapshotd template 1";

/// A key of these parts, in their order; two lists of parts never read alike.
pub(super) fn of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&KIND).chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
