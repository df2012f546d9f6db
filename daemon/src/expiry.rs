//! By the hour: what has expired goes, to the trash when there is one, and what was there for long enough for good; what an earlier
//! removal could not finish is finished, and policies are applied.

use std::{sync::Arc, time::Duration};

use snap_store::{Error as StoreError, SnapshotId, SnapshotState, TrashCause};
use tracing::{info, warn};

use crate::{blocking, clock, error::Result, host::Host, removal, retention, trash};

/// The first look after a start comes soon, or a daemon that is restarted often would never look.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// Removes one that had expired at `now`. Whether it still has is asked again in the change itself: a longer time to live
/// or a pin that was acknowledged since the look holds.
async fn expire(host: &Arc<Host>, id: SnapshotId, now: i64) -> Result<()> {
    let stay = trash::stay(&host.config, TrashCause::Expire);
    removal::remove_chosen_by(host, &[id], "expire", move |catalogue| {
        Ok((catalogue.expire_to(&id, now, stay)?, ()))
    })
    .await
}

/// Removes what has expired and neither is in use nor bears an immutable name, for ever, every `expiry_interval`.
pub async fn run(host: Arc<Host>) {
    let interval = host.config.expiry_interval;
    let mut wait = interval.min(FIRST_LOOK);
    loop {
        host.dues.expiry.wait(wait).await;
        round(&host).await;
        wait = interval;
    }
}

/// One look, unless the clock was set since the last.
pub(crate) async fn round(host: &Arc<Host>) {
    let clocks = host.steady.look();
    match clocks.clock_was_set() {
        true => {
            warn!(
                expected = clock::rfc3339(clocks.expected),
                now = clock::rfc3339(clocks.now),
                "The clock was set; nothing expires until the next look"
            );
            trash::renew(host, clocks.now).await;
        }
        false => {
            look(host, clocks.now).await;
            trash::empty_by_time(host, clocks.now).await;
            retention::apply_all(host, clocks.now).await;
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    removed: u64,
    in_use: u64,
    immutable: u64,
    failed: u64,
}

async fn look(host: &Arc<Host>, now: i64) {
    let mut counts = Counts::default();
    let found = tokio::join!(expired(host, now), left_over(host));
    let (expired, left_over) = match found {
        (Ok(expired), Ok(left_over)) => (expired, left_over),
        (Err(error), _) | (_, Err(error)) => {
            warn!(%error, "Cannot look for expired snapshots");
            return;
        }
    };
    for id in left_over {
        let result = removal::finish(host, id, "remove").await;
        counts.add(id, result);
    }
    for id in expired {
        let task_host = Arc::clone(host);
        let result = host
            .change(async move { expire(&task_host, id, now).await })
            .await;
        counts.add(id, result);
    }
    let Counts {
        removed,
        in_use,
        immutable,
        failed,
    } = counts;
    if removed + in_use + immutable + failed > 0 {
        info!(
            removed,
            in_use, immutable, failed, "Looked for expired snapshots"
        );
    }
}

impl Counts {
    fn add(&mut self, id: SnapshotId, result: Result<()>) {
        match result {
            Ok(()) => {
                info!(snapshot = %id, "Removed an expired snapshot");
                self.removed += 1;
            }
            Err(crate::Error::Store(StoreError::Busy { .. })) => self.in_use += 1,
            Err(crate::Error::Store(StoreError::Naming(_))) => self.immutable += 1,
            // Somebody else was faster, has made its time to live longer or pinned it.
            Err(crate::Error::Store(StoreError::NotFound { .. })) => {}
            Err(error) => {
                warn!(snapshot = %id, %error, "Cannot remove a snapshot");
                self.failed += 1;
            }
        }
    }
}

async fn expired(host: &Arc<Host>, now: i64) -> Result<Vec<SnapshotId>> {
    let catalogue = Arc::clone(&host.catalogue);
    let found = blocking(move || catalogue.expired(now)).await?;
    Ok(found.into_iter().map(|record| record.id).collect())
}

/// What an earlier removal could not finish.
async fn left_over(host: &Arc<Host>) -> Result<Vec<SnapshotId>> {
    let catalogue = Arc::clone(&host.catalogue);
    let found = blocking(move || catalogue.in_state(SnapshotState::Deleting)).await?;
    Ok(found.into_iter().map(|record| record.id).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use snap_store::{Force, MountRecord};

    use super::*;
    use crate::{error::Error, fixture};

    #[tokio::test]
    async fn the_expired_go_and_what_is_in_use_stays() {
        let (host, _folder) = fixture::host(|_| {});
        let gone = fixture::snapshot(&host, "gone", Some(2000));
        let used = fixture::snapshot(&host, "used", Some(2000));
        let later = fixture::snapshot(&host, "later", Some(4000));
        let never = fixture::snapshot(&host, "never", None);
        let mount = MountRecord {
            path: "/mnt".into(),
            snapshot: used,
            writable: None,
        };
        host.catalogue.insert_mount(&mount).unwrap();
        look(&host, 3000).await;
        let mut left = host.store.manifests().unwrap();
        let mut expected = vec![used, later, never];
        left.sort_unstable();
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(matches!(
            host.catalogue.get(&gone),
            Err(StoreError::NotFound { .. })
        ));
        assert_eq!(
            host.catalogue.get(&used).unwrap().state,
            SnapshotState::Active
        );
    }

    /// A look lists what has expired and removes one after the other, which takes its time. One that was given a longer time to
    /// live meanwhile was removed all the same, although that had been acknowledged.
    #[tokio::test]
    async fn a_time_to_live_that_was_made_longer_since_the_look_holds() {
        let (host, _folder) = fixture::host(|_| {});
        let kept = fixture::snapshot(&host, "kept", Some(2000));
        let later = fixture::snapshot(&host, "later", Some(2000));
        assert_eq!(expired(&host, 3000).await.unwrap(), {
            let mut both = vec![kept, later];
            both.sort_unstable();
            both
        });
        host.catalogue.set_expiry(&kept, None).unwrap();
        host.catalogue.set_expiry(&later, Some(3001)).unwrap();
        for id in [kept, later] {
            let refused = expire(&host, id, 3000).await.unwrap_err();
            let is_left = matches!(refused, Error::Store(StoreError::NotFound { .. }));
            assert!(is_left, "{refused}");
            let state = host.catalogue.get(&id).unwrap().state;
            assert_eq!(state, SnapshotState::Active);
        }
        expire(&host, later, 3001).await.unwrap();
        assert!(host.catalogue.get(&later).is_err());
    }

    #[tokio::test]
    async fn a_removal_that_was_cut_short_is_finished() {
        let (host, _folder) = fixture::host(|_| {});
        let cut = fixture::snapshot(&host, "cut", None);
        let asked_again = fixture::snapshot(&host, "again", None);
        let both = [cut, asked_again];
        host.catalogue.begin_removal(&both, Force::No, 0).unwrap();
        removal::remove(&host, &[asked_again]).await.unwrap();
        look(&host, 0).await;
        assert!(host.catalogue.list(None, None, 10).unwrap().is_empty());
        assert!(host.store.manifests().unwrap().is_empty());
        let told = host.events.after(None, None, 9, Duration::ZERO).await;
        let told = told.events.iter().map(|one| one.subject.clone());
        let both = [asked_again, cut].map(|id| id.to_string());
        assert_eq!(told.collect::<Vec<_>>(), both);
    }

    #[tokio::test]
    async fn the_look_goes_on_by_itself() {
        let (host, _folder) = fixture::host(|config| {
            config.expiry_interval = Duration::from_secs(1);
        });
        fixture::snapshot(&host, "gone", Some(2000));
        let looking = tokio::spawn(run(Arc::clone(&host)));
        let until = Instant::now() + Duration::from_secs(20);
        while !host.catalogue.list(None, None, 10).unwrap().is_empty() {
            assert!(Instant::now() < until, "nothing expired");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(host.dues.expiry.next().is_some());
        looking.abort();
    }
}
