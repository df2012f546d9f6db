//! Keys that memory is sealed with in the store: read from their folder at each use, and before anything is changed.

use snap_api::{ErrorCode, ErrorReport};
use snap_store::{KeyFolder, MemoryImages, Namespace, SealKey};

use crate::{
    config::{Config, EncryptMemory},
    error::Result,
};

/// The key that seals memory of `namespace`; none when it is to lie in clear.
///
/// # Errors
/// `memory-key-file` when its file is not fit to hold a key, `no-memory-key` when there is none and there must be one.
pub(super) fn newest(config: &Config, namespace: &Namespace) -> Result<Option<SealKey>> {
    let keys = KeyFolder::new(&config.memory_keys);
    match (keys.newest(namespace)?, config.encrypt_memory) {
        (None, EncryptMemory::Always) => {
            let file = keys.file(namespace);
            let message = format!(
                "Memory is to be encrypted, and namespace {namespace} has no key in {}",
                file.display()
            );
            Err(
                ErrorReport::new(ErrorCode::Unavailable, "no-memory-key", message)
                    .hint("`head -c 32 /dev/urandom | base64` makes a key; the file is root's, mode 600")
                    .into(),
            )
        }
        (key, _) => Ok(key),
    }
}

/// Refuses memory whose key is not here.
///
/// # Errors
/// `memory-key-missing`, `memory-key-file`, and `corrupt` when it is not what was sealed with that key.
pub(crate) fn check(config: &Config, namespace: &Namespace, images: &MemoryImages) -> Result<()> {
    let keys = KeyFolder::new(&config.memory_keys);
    Ok(images.key(namespace, &keys).map(drop)?)
}
