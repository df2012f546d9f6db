//! Thinning out the versions of names: what rules keep stays, and so does what anything else holds.

use std::{collections::BTreeSet, sync::Arc};

use snap_store::{
    Begun, Error as StoreError, Namespace, PolicyRecord, SnapshotName, Thinning, TrashCause,
    Verdict,
};
use tracing::{info, warn};

use crate::{blocking, error::Result, host::Host, removal, trash};

/// What becomes of each version, the newest first; nothing is changed.
pub(crate) async fn judge(host: &Arc<Host>, thinning: &Thinning) -> Result<Vec<Verdict>> {
    let (catalogue, it) = (Arc::clone(&host.catalogue), thinning.clone());
    blocking(move || catalogue.judge(&it)).await
}

/// Removes those of `judged` that nothing keeps, now that this is asked again, and returns what became of them.
///
/// # Errors
/// When the system refuses; what had begun to be removed then goes with the next look for expired snapshots.
pub(crate) async fn thin_out(
    host: &Arc<Host>,
    thinning: &Thinning,
    judged: &[Verdict],
) -> Result<Vec<Verdict>> {
    let seen: BTreeSet<u64> = judged.iter().map(|one| one.number).collect();
    let removed = judged.iter().filter(|one| one.is_removed());
    let ids: BTreeSet<_> = removed.map(|one| one.snapshot.id).collect();
    if ids.is_empty() {
        return Ok(judged.to_vec());
    }
    let (it, prepared) = (thinning.clone(), ids.clone());
    let ids: Vec<_> = ids.into_iter().collect();
    let mut done = removal::remove_chosen_by(host, &ids, "forget", move |catalogue| {
        let done = catalogue.begin_forgetting(&it, &prepared)?;
        let removed = done.iter().filter(|one| one.is_removed());
        let removed = removed.map(|one| one.snapshot.id).collect();
        let mut begun = Begun::default();
        match it.stay {
            Some(_) => begun.trashed = removed,
            None => begun.deleting = removed,
        }
        Ok((begun, done))
    })
    .await?;
    done.retain(|one| seen.contains(&one.number));
    Ok(done)
}

/// Applies every policy. One that fails keeps no other from being applied; it is said in the log.
pub(crate) async fn apply_all(host: &Arc<Host>, now: i64) {
    let catalogue = Arc::clone(&host.catalogue);
    let policies = match blocking(move || catalogue.policies(None)).await {
        Ok(policies) => policies,
        Err(error) => return warn!(%error, "Cannot look for policies"),
    };
    for policy in policies {
        let task_host = Arc::clone(host);
        let applied = async move { Ok(apply(&task_host, policy, now).await) };
        if let Err(error) = host.change(applied).await {
            warn!(%error, "Cannot apply a policy");
        }
    }
}

/// Applies the policy of a name under which a snapshot was just made, if it has one; returns the numbers of the versions that went.
///
/// After the clock was set this is left to a later look for expired snapshots.
pub(crate) async fn apply_to(
    host: &Arc<Host>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Vec<u64> {
    let (catalogue, key) = (
        Arc::clone(&host.catalogue),
        (namespace.clone(), name.clone()),
    );
    let policy = match blocking(move || catalogue.policy(&key.0, &key.1)).await {
        Ok(policy) => policy,
        Err(crate::Error::Store(StoreError::NotFound { .. })) => return Vec::new(),
        Err(error) => {
            warn!(%name, %error, "Cannot look for a policy");
            return Vec::new();
        }
    };
    match host.steady.now() {
        Some(now) => apply(host, policy, now).await,
        None => {
            warn!(%name, "The clock was set; a policy is not applied until a look for expired snapshots has come");
            Vec::new()
        }
    }
}

/// Removes what a policy does not keep; returns the numbers of the versions that went.
async fn apply(host: &Arc<Host>, policy: PolicyRecord, now: i64) -> Vec<u64> {
    if now < policy.rests_until {
        return Vec::new();
    }
    let thinning = Thinning {
        namespace: policy.namespace,
        name: policy.name,
        rules: policy.rules,
        now,
        stay: trash::stay(&host.config, TrashCause::Forget),
    };
    let removed = match thinned_out(host, &thinning).await {
        Ok(removed) => removed,
        // A policy may be there before the first version is.
        Err(crate::Error::Store(StoreError::Naming(_))) => Vec::new(),
        Err(error) => {
            warn!(namespace = %thinning.namespace, name = thinning.name.name(), %error, "Cannot apply a policy");
            Vec::new()
        }
    };
    if !removed.is_empty() {
        let (namespace, name) = (&thinning.namespace, thinning.name.name());
        info!(%namespace, name, versions = ?removed, "Removed versions that the policy of their name does not keep");
    }
    removed
}

async fn thinned_out(host: &Arc<Host>, thinning: &Thinning) -> Result<Vec<u64>> {
    let judged = judge(host, thinning).await?;
    let done = thin_out(host, thinning, &judged).await?;
    let removed = done.iter().filter(|one| one.is_removed());
    Ok(removed.map(|one| one.number).collect())
}

#[cfg(test)]
mod tests {
    use snap_store::KeepRules;

    use super::*;
    use crate::fixture;

    const NOW: i64 = 1_800_000_000;

    fn name(text: &str) -> SnapshotName {
        text.parse().unwrap()
    }

    /// A host with three versions of `web` and of `db`, and a policy for `web` that keeps one.
    fn host_with_policy() -> (Arc<Host>, tempfile::TempDir) {
        let (host, folder) = fixture::host(|_| {});
        for name in ["web", "db"] {
            for _ in 0..3 {
                fixture::snapshot(&host, name, None);
            }
        }
        set_policy(&host, "web");
        (host, folder)
    }

    fn set_policy(host: &Host, of: &str) {
        let rules = KeepRules {
            last: 1,
            ..KeepRules::default()
        };
        let namespace = "default".parse().unwrap();
        host.catalogue
            .set_policy(&namespace, &name(of), &rules, 10)
            .unwrap();
    }

    fn left(host: &Host, of: &str) -> Vec<u64> {
        let namespace = "default".parse().unwrap();
        let versions = host.catalogue.versions(&namespace, &name(of), None, 10);
        versions.unwrap().iter().map(|one| one.number).collect()
    }

    #[tokio::test]
    async fn a_round_applies_every_policy_and_touches_nothing_else() {
        let (host, _folder) = host_with_policy();
        set_policy(&host, "nothing-yet");
        apply_all(&host, NOW).await;
        assert_eq!(
            (left(&host, "web"), left(&host, "db")),
            (vec![3], vec![3, 2, 1])
        );
        assert_eq!(host.store.manifests().unwrap().len(), 4);
    }

    /// **G7** After the host's clock was set, policies wait as expiry does: neither the next look nor a create before it
    /// removes anything by them.
    #[tokio::test]
    async fn after_the_clock_was_set_a_create_removes_nothing() {
        let (host, _folder) = host_with_policy();
        let namespace = "default".parse().unwrap();
        for seconds in [86_400, -86_400] {
            host.steady.pretend_set(seconds);
            let removed = apply_to(&host, &namespace, &name("web")).await;
            assert!(removed.is_empty());
            assert!(host.steady.look().clock_was_set(), "this look is left out");
        }
        assert_eq!(left(&host, "web"), [3, 2, 1]);
        assert!(apply_to(&host, &namespace, &name("db")).await.is_empty());
        assert_eq!(apply_to(&host, &namespace, &name("web")).await, [2, 1]);
    }

    #[tokio::test]
    async fn a_policy_of_a_catalogue_that_was_put_back_rests() {
        let (host, _folder) = host_with_policy();
        let namespace = "default".parse().unwrap();
        let mut policy = host.catalogue.policy(&namespace, &name("web")).unwrap();
        policy.rests_until = NOW + 1;
        assert!(apply(&host, policy.clone(), NOW).await.is_empty());
        assert_eq!(apply(&host, policy, NOW + 1).await, [2, 1]);
    }
}
