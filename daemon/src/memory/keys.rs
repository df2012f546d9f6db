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

/// Refuses memory whose key is not here, and memory that lies in clear where none may: whoever can write to the store could have put it in the
/// place of what was sealed.
///
/// # Errors
/// `memory-in-clear`, `memory-key-missing`, `memory-key-file`, and `corrupt` when it is not what was sealed with that key.
pub(crate) fn check(config: &Config, namespace: &Namespace, images: &MemoryImages) -> Result<()> {
    if images.seal.is_none() && config.encrypt_memory == EncryptMemory::Always {
        let message =
            "The memory of this snapshot is not encrypted, and `encrypt_memory` is `always`";
        return Err(
            ErrorReport::new(ErrorCode::Conflict, "memory-in-clear", message)
                .hint("Restore the files alone with --no-memory, or set `encrypt_memory` to `with-key` if you trust whoever could write to the store")
                .into(),
        );
    }
    let keys = KeyFolder::new(&config.memory_keys);
    Ok(images.key(namespace, &keys).map(drop)?)
}

#[cfg(test)]
mod tests {
    use snap_store::{Digest, MemoryFacts, TreeRef};

    use super::*;

    /// **Z7** Where `encrypt_memory` is `always`, memory that lies in clear is not restored, and nothing is changed.
    #[test]
    fn memory_in_clear_is_not_restored_where_all_memory_is_encrypted() {
        // Who can write to a store could make it hold other memory by a manifest that says nothing of a key.
        let images = MemoryImages {
            root: TreeRef {
                digest: Digest::of(b"tree"),
                nodes: 1,
            },
            bytes: 7,
            facts: MemoryFacts {
                criu: "4.2".to_owned(),
                cgroup_version: 2,
                cpu_flags: Vec::new(),
            },
            seal: None,
        };
        let namespace = "default".parse().unwrap();
        let mut config = Config::default();
        check(&config, &namespace, &images).unwrap();
        config.encrypt_memory = EncryptMemory::Always;
        let report = ErrorReport::from(check(&config, &namespace, &images).unwrap_err());
        assert_eq!(report.reason, "memory-in-clear");
    }
}
