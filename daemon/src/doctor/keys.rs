//! The keys that memory is encrypted with: which namespaces have one, and whether it can be used.

use snap_api::Check;
use snap_store::{KeyFolder, KeyId, Namespace, Result, SealKey};

use super::{ok, problem, warning};
use crate::config::{Config, EncryptMemory};

const NAME: &str = "memory keys";

/// What was found of a namespace: its keys, the newest last.
type Found = (Namespace, Result<Vec<KeyId>>);

/// Whether memory is encrypted, and with which keys.
pub(super) fn keys(config: &Config) -> Check {
    let folder = KeyFolder::new(&config.memory_keys);
    let found = folder.namespaces().map(|namespaces| {
        let read = |namespace: Namespace| {
            let keys = folder.keys(&namespace);
            let ids = keys.map(|keys| keys.iter().map(SealKey::id).collect());
            (namespace, ids)
        };
        namespaces.into_iter().map(read).collect()
    });
    match found {
        Ok(found) => judge_keys(found, config.encrypt_memory),
        Err(error) => problem(
            NAME,
            error.to_string(),
            "the folder of `memory_keys` must be root's to list",
        ),
    }
}

pub(super) fn judge_keys(found: Vec<Found>, wish: EncryptMemory) -> Check {
    if found.is_empty() && wish == EncryptMemory::Always {
        let found = "none, and `encrypt_memory` is `always`: no memory can be captured";
        return warning(NAME, found, "docs/operations.md says how to make one");
    }
    if found.is_empty() {
        return ok(NAME, "none: memory is stored in clear");
    }
    let mut words = Vec::new();
    for (namespace, keys) in found {
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                let hint =
                    "memory of that namespace is neither captured nor restored until it is right";
                return problem(NAME, error.to_string(), hint);
            }
        };
        let newest = keys.last().map(KeyId::to_string).unwrap_or_default();
        words.push(match keys.len() {
            1 => format!("{namespace}: {newest}"),
            count => format!("{namespace}: {newest}, and {} older", count - 1),
        });
    }
    ok(NAME, words.join("; "))
}

#[cfg(test)]
mod tests {
    use snap_api::CheckResult;
    use snap_store::Error;

    use super::*;

    fn namespace(name: &str) -> Namespace {
        name.parse().unwrap()
    }

    #[test]
    fn keys_are_named_and_what_cannot_be_used_is_a_problem() {
        let key = |number| KeyId::from_bytes([number; 8]);
        let good = || (namespace("a"), Ok(vec![key(1), key(2)]));
        let check = judge_keys(vec![good()], EncryptMemory::Always);
        assert_eq!(check.result, CheckResult::Ok);
        assert_eq!(check.found, "a: 0202020202020202, and 1 older");
        let bad = Err(Error::Invalid {
            what: "key file",
            why: "b.key: it is no file".to_owned(),
        });
        let check = judge_keys(vec![good(), (namespace("b"), bad)], EncryptMemory::WithKey);
        assert_eq!(check.result, CheckResult::Problem);
        assert!(check.found.contains("b.key"), "{}", check.found);
    }

    #[test]
    fn no_key_is_a_warning_only_where_there_must_be_one() {
        let check = judge_keys(Vec::new(), EncryptMemory::WithKey);
        assert_eq!(check.result, CheckResult::Ok);
        let check = judge_keys(Vec::new(), EncryptMemory::Always);
        assert_eq!(check.result, CheckResult::Warning);
    }
}
