//! The trash: what is removed goes there first, and from there when its time has come or somebody empties it.

use std::sync::Arc;

use snap_store::{
    Begun, Error as StoreError, Namespace, SnapshotId, Stay, TrashCause, TrashRecord, Undeleted,
    Undeletion,
};
use tracing::{info, warn};

use crate::{blocking, clock, config::Config, error::Result, events::Event, host::Host, removal};

/// How what is removed for this reason goes to the trash; `None` when there is none.
pub(crate) fn stay(config: &Config, cause: TrashCause) -> Option<Stay> {
    let grace_seconds = config.trash_grace.as_secs();
    (grace_seconds > 0).then_some(Stay {
        cause,
        grace_seconds,
    })
}

/// Lets go of what was in the trash for long enough at `now`, in seconds since 1970. What is in use goes another time.
pub(crate) async fn empty_by_time(host: &Arc<Host>, now: i64) {
    let catalogue = Arc::clone(&host.catalogue);
    let due = match blocking(move || catalogue.due_in_trash(now)).await {
        Ok(due) => due,
        Err(error) => return warn!(%error, "Cannot look into the trash"),
    };
    for id in due {
        let task_host = Arc::clone(host);
        let gone = async move { let_go(&task_host, &[id], Some(now)).await };
        match host.change(gone).await {
            Ok(()) => info!(snapshot = %id, "A snapshot has left the trash for good"),
            // Somebody uses it, has taken it back, or was faster.
            Err(crate::Error::Store(StoreError::Busy { .. } | StoreError::NotFound { .. })) => {}
            Err(error) => warn!(snapshot = %id, %error, "Cannot empty the trash"),
        }
    }
}

/// Lets the time of everything in the trash begin anew: the clock was set to `now`, and nobody knows how much of it has passed.
pub(crate) async fn renew(host: &Arc<Host>, now: i64) {
    let catalogue = Arc::clone(&host.catalogue);
    match blocking(move || catalogue.renew_trash(now)).await {
        Ok(0) => {}
        Ok(snapshots) => info!(snapshots, "The time of what is in the trash begins anew"),
        Err(error) => warn!(%error, "Cannot renew the time of what is in the trash"),
    }
}

/// Everything in the trash of a namespace.
pub(crate) async fn all(host: &Arc<Host>, namespace: &Namespace) -> Result<Vec<TrashRecord>> {
    let (catalogue, of) = (Arc::clone(&host.catalogue), namespace.clone());
    blocking(move || catalogue.trash(Some(&of), None, usize::MAX)).await
}

/// Removes from the trash for good, all of them or none; with `due` only those that go by then, in seconds since 1970.
///
/// # Errors
/// `NotFound` when one is not in the trash (any more), `Busy` when one is in use.
pub(crate) async fn let_go(host: &Arc<Host>, ids: &[SnapshotId], due: Option<i64>) -> Result<()> {
    let deleting = ids.to_vec();
    removal::remove_chosen_by(host, ids, "remove", move |catalogue| {
        catalogue.begin_purge(&deleting, due)?;
        let begun = Begun {
            deleting: deleting.clone(),
            ..Begun::default()
        };
        Ok((begun, ()))
    })
    .await
}

/// Takes snapshots back, all of them or none.
///
/// # Errors
/// `NotFound` when one is not in the trash (any more), `Limit` when their namespace has no room for them.
pub(crate) async fn undelete(host: &Arc<Host>, ids: Vec<SnapshotId>) -> Result<Vec<Undeleted>> {
    let now = clock::now();
    let ttl = host.config.default_ttl;
    let how = Undeletion {
        limit: host.config.snapshots_per_namespace,
        now,
        expires_at: ttl.map(|ttl| now.saturating_add_unsigned(ttl.as_secs())),
    };
    let catalogue = Arc::clone(&host.catalogue);
    let back = blocking(move || catalogue.undelete(&ids, &how)).await?;
    for one in &back {
        let id = one.snapshot.id;
        let event = Event::new("undelete", id.to_string()).of(&one.snapshot.namespace);
        host.events.tell(event.about(Some(id)));
    }
    Ok(back)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use snap_store::{ContainerRecord, SnapshotState};

    use super::*;
    use crate::{expiry, fixture};

    const GRACE: u64 = 3600;

    fn host() -> (Arc<Host>, tempfile::TempDir) {
        fixture::host(|config| config.trash_grace = Duration::from_secs(GRACE))
    }

    fn in_trash(host: &Host) -> Vec<SnapshotId> {
        let found = host.catalogue.trash(None, None, 9).unwrap();
        found.iter().map(|one| one.snapshot.id).collect()
    }

    async fn told(host: &Host) -> Vec<String> {
        let told = host.events.after(None, None, 99, Duration::ZERO).await;
        told.events.into_iter().map(|one| one.action).collect()
    }

    #[tokio::test]
    async fn what_is_removed_keeps_its_data_until_its_time_has_come() {
        let (host, _folder) = host();
        let id = fixture::unlike_others(&host, "web");
        removal::remove(&host, &[id]).await.unwrap();
        removal::remove(&host, &[id]).await.unwrap();
        let goes_at = host.catalogue.trash(None, None, 9).unwrap()[0].goes_at;
        assert_eq!(
            host.catalogue.get(&id).unwrap().state,
            SnapshotState::Deleting
        );
        crate::settle::settle(&host).await.unwrap();
        empty_by_time(&host, goes_at - 1).await;
        assert_eq!(in_trash(&host), [id]);
        assert_eq!(host.store.manifests().unwrap(), [id]);
        empty_by_time(&host, goes_at).await;
        assert!(host.store.manifests().unwrap().is_empty());
        assert!(host.catalogue.get(&id).is_err());
        assert_eq!(told(&host).await, ["trash", "remove"]);
    }

    #[tokio::test]
    async fn what_is_used_stays_and_goes_when_it_is_free() {
        let (host, _folder) = host();
        let id = fixture::snapshot(&host, "web", None);
        removal::remove(&host, &[id]).await.unwrap();
        let user = ContainerRecord {
            namespace: "default".parse().unwrap(),
            id: "user".to_owned(),
            snapshot: Some(id),
            folder: "/nowhere".into(),
            is_complete: true,
            created_at: 1,
        };
        host.catalogue.insert_container(&user).unwrap();
        empty_by_time(&host, i64::MAX).await;
        assert_eq!(in_trash(&host), [id]);
        host.catalogue
            .remove_container(&user.namespace, "user", 5)
            .unwrap();
        empty_by_time(&host, i64::MAX).await;
        assert!(in_trash(&host).is_empty());
    }

    /// **U5** After the host's clock was set, what is in the trash stays there for all of its time once more, counted from the next look on.
    #[tokio::test]
    async fn a_clock_that_jumps_empties_no_trash() {
        let (host, _folder) = host();
        let id = fixture::snapshot(&host, "web", None);
        removal::remove(&host, &[id]).await.unwrap();
        let ago = clock::now() - 10 * 365 * 86_400;
        for seconds in [10 * 365 * 86_400, -86_400] {
            // As if it had been put there long before the clock was set.
            host.catalogue.renew_trash(ago).unwrap();
            host.steady.pretend_set(seconds);
            expiry::round(&host).await;
            assert_eq!(in_trash(&host), [id]);
            let left = host.catalogue.trash(None, None, 9).unwrap()[0].goes_at - clock::now();
            assert!((3000..=3600).contains(&left), "{left} s are left");
            expiry::round(&host).await;
            assert_eq!(
                in_trash(&host),
                [id],
                "this look counts from the one before"
            );
        }
        host.catalogue.renew_trash(ago).unwrap();
        expiry::round(&host).await;
        assert!(in_trash(&host).is_empty());
    }

    #[tokio::test]
    async fn what_expires_and_what_no_rule_keeps_goes_there_too() {
        let (host, _folder) = host();
        let expired = fixture::snapshot(&host, "gone", Some(2000));
        for _ in 0..2 {
            fixture::snapshot(&host, "web", None);
        }
        let (namespace, name) = ("default".parse().unwrap(), "web".parse().unwrap());
        let rules = snap_store::KeepRules {
            last: 1,
            ..snap_store::KeepRules::default()
        };
        host.catalogue
            .set_policy(&namespace, &name, &rules, 9)
            .unwrap();
        expiry::round(&host).await;
        let found = host.catalogue.trash(None, None, 9).unwrap();
        let mut causes: Vec<_> = found.iter().map(|one| one.cause.as_str()).collect();
        causes.sort_unstable();
        assert_eq!(causes, ["expire", "forget"]);
        let back = undelete(&host, vec![expired]).await.unwrap();
        assert!(back[0].is_ttl_renewed);
        expiry::round(&host).await;
        assert_eq!(
            host.catalogue.get(&expired).unwrap().state,
            SnapshotState::Active
        );
        assert_eq!(told(&host).await, ["trash", "trash", "undelete"]);
    }

    /// A copy of the catalogue that is put back may have in its trash what has gone for good since.
    #[tokio::test]
    async fn what_lost_its_manifest_leaves_the_trash_at_the_start() {
        let (host, _folder) = host();
        let [kept, lost] = ["a", "b"].map(|name| fixture::snapshot(&host, name, None));
        removal::remove(&host, &[kept, lost]).await.unwrap();
        host.store.remove_manifest(&lost).unwrap();
        crate::settle::settle(&host).await.unwrap();
        assert_eq!(in_trash(&host), [kept]);
        assert!(host.catalogue.get(&lost).is_err());
    }
}
