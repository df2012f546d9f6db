//! What a namespace may hold: a refusal beyond it, a warning before.

mod unique;

use std::sync::Arc;

use snap_store::{Error as StoreError, Held, Namespace, Result as StoreResult};
use tracing::warn;

pub(crate) use self::unique::Unique;
use crate::{config::Config, error::Result, host::Host};

/// From this part of a limit on, in hundredths, a create warns.
const WARNING_PERCENT: u128 = 80;

/// Refuses a capture in a namespace that has stored as much as it may already, or alone needs as much.
pub(crate) async fn admit(host: &Arc<Host>, namespace: &Namespace) -> Result<()> {
    let limit = unique_bytes_limit(&host.config);
    if limit != u64::MAX {
        host.unique.look(host, namespace, limit).await?;
    }
    Ok(require_room(host, namespace, 1)?)
}

/// Refuses a capture that would store so many more bytes and exceed what its namespace may have stored.
pub(crate) fn require_room(host: &Host, namespace: &Namespace, more_bytes: u64) -> StoreResult<()> {
    let limit = unique_bytes_limit(&host.config);
    if limit != u64::MAX
        && let Some(held_bytes) = host.unique.assumed(host, namespace)?
        && held_bytes.saturating_add(more_bytes) > limit
    {
        let what = "Unique bytes in the namespace";
        return Err(StoreError::Limit { what, limit });
    }
    let limit = stored_bytes_limit(&host.config);
    let what = "Stored bytes in the namespace";
    match limit {
        u64::MAX => Ok(()),
        limit => {
            let held_bytes = host.catalogue.held(namespace)?.stored_bytes;
            match held_bytes.saturating_add(more_bytes) > limit {
                true => Err(StoreError::Limit { what, limit }),
                false => Ok(()),
            }
        }
    }
}

/// The most bytes the snapshots of one namespace may have stored; `u64::MAX` for no limit.
pub(crate) fn stored_bytes_limit(config: &Config) -> u64 {
    match config.stored_bytes_per_namespace {
        0 => u64::MAX,
        limit => limit,
    }
}

/// The most bytes that nothing but the snapshots of one namespace may need; `u64::MAX` for no limit.
fn unique_bytes_limit(config: &Config) -> u64 {
    match config.unique_bytes_per_namespace {
        0 => u64::MAX,
        limit => limit,
    }
}

/// What is to be said about a namespace that comes near to its limits.
pub(crate) fn warnings(host: &Host, namespace: &Namespace) -> Vec<String> {
    let unique_bytes = host.unique.assumed(host, namespace);
    match host
        .catalogue
        .held(namespace)
        .and_then(|held| Ok((held, unique_bytes?)))
    {
        Ok((held, unique_bytes)) => near(&host.config, namespace, held, unique_bytes),
        Err(error) => {
            warn!(%namespace, %error, "Cannot tell how near a namespace is to its limits");
            Vec::new()
        }
    }
}

/// True from the part of a limit on from which a create warns.
fn is_near(held: u64, limit: u64) -> bool {
    u128::from(held) * 100 >= u128::from(limit) * WARNING_PERCENT
}

fn near(
    config: &Config,
    namespace: &Namespace,
    held: Held,
    unique_bytes: Option<u64>,
) -> Vec<String> {
    let limits = [
        (held.snapshots, config.snapshots_per_namespace, "snapshots"),
        (
            held.stored_bytes,
            stored_bytes_limit(config),
            "stored bytes",
        ),
        (
            unique_bytes.unwrap_or(0),
            unique_bytes_limit(config),
            "unique bytes",
        ),
    ];
    let near = limits
        .into_iter()
        .filter(|(held, limit, _)| is_near(*held, *limit));
    near.map(|(number, limit, what)| {
        let said = format!("Namespace {namespace} holds {number} {what}, and {limit} at most");
        match what {
            "stored bytes" if held.trashed_bytes > 0 => format!(
                "{said}; {} of them are in the trash, which `snapctl trash empty` empties",
                held.trashed_bytes
            ),
            _ => said,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// **L5** From 80 % of such a limit on, the answer of each create carries a warning that says how much is held.
    #[test]
    fn a_namespace_near_its_limits_is_told() {
        let config = Config {
            snapshots_per_namespace: 10,
            stored_bytes_per_namespace: 1000,
            ..Config::default()
        };
        let namespace: Namespace = "default".parse().unwrap();
        let told = |snapshots, stored_bytes| {
            let held = Held {
                snapshots,
                stored_bytes,
                ..Held::default()
            };
            near(&config, &namespace, held, None)
        };
        assert!(told(7, 799).is_empty());
        assert_eq!(
            told(8, 799),
            ["Namespace default holds 8 snapshots, and 10 at most"]
        );
        assert_eq!(
            told(0, 2000),
            ["Namespace default holds 2000 stored bytes, and 1000 at most"]
        );
        let held = Held {
            snapshots: 0,
            stored_bytes: 900,
            trashed_snapshots: 1,
            trashed_bytes: 500,
        };
        let told = near(&config, &namespace, held, None);
        assert!(told[0].contains("500 of them are in the trash"), "{told:?}");
        let unlimited = Config::default();
        let held = Held {
            snapshots: 1,
            stored_bytes: u64::MAX / 2,
            ..Held::default()
        };
        assert!(near(&unlimited, &namespace, held, Some(1)).is_empty());
        let unique = Config {
            unique_bytes_per_namespace: 1000,
            ..Config::default()
        };
        let told = |bytes| near(&unique, &namespace, Held::default(), bytes);
        assert!(told(None).is_empty() && told(Some(799)).is_empty());
        assert_eq!(
            told(Some(800)),
            ["Namespace default holds 800 unique bytes, and 1000 at most"]
        );
    }
}
