//! What a namespace alone needs of the store, as far as its limit asks for it.
//!
//! Adding it up is a pass over the metadata of every snapshot there is, so it is done when a limit needs it and not before: at the first
//! create after a start, and then only near the limit, a minute apart at least. In between the last figure stands, and everything that was
//! added since comes to it: what is assumed is never too little but for data that another namespace has given up since, and never refuses
//! anybody before it was counted again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use snap_store::{Namespace, Result as StoreResult, SnapshotId, SnapshotState};
use tokio::sync::Mutex as AsyncMutex;
use tracing::info;

use super::is_near;
use crate::{blocking, error::Result, host::Host, jobs::JobHandle};

/// A figure younger than this is not counted again.
const FRESH: Duration = Duration::from_secs(60);

/// What was counted last.
#[derive(Debug, Default)]
pub(crate) struct Unique {
    counted: Mutex<Option<Counted>>,
    /// One pass at a time; held across it.
    turn: Arc<AsyncMutex<()>>,
}

#[derive(Debug)]
struct Counted {
    /// When it ended.
    ended: Instant,
    bytes: BTreeMap<Namespace, u64>,
    /// What it has met. By their times those made since could not be told: clocks are set.
    met: BTreeSet<SnapshotId>,
}

impl Unique {
    /// What is assumed that the namespace alone needs; `None` when nothing was counted yet.
    pub(super) fn assumed(&self, host: &Host, namespace: &Namespace) -> StoreResult<Option<u64>> {
        if self.counted().is_none() {
            return Ok(None);
        }
        let stored = host.catalogue.stored(namespace)?;
        let counted = self.counted();
        let Some(counted) = &*counted else {
            return Ok(None);
        };
        let is_new = |(id, _): &&(SnapshotId, u64)| !counted.met.contains(id);
        let added = stored.iter().filter(is_new).map(|(_, bytes)| *bytes);
        let bytes = counted.bytes.get(namespace).copied().unwrap_or(0);
        Ok(Some(added.fold(bytes, u64::saturating_add)))
    }

    /// The same, counted anew when it is near `limit` and not fresh.
    pub(super) async fn look(
        &self,
        host: &Arc<Host>,
        namespace: &Namespace,
        limit: u64,
    ) -> Result<u64> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(assumed) = self.assumed(host, namespace)?
            && (self.is_fresh() || !is_near(assumed, limit))
        {
            return Ok(assumed);
        }
        let of = Arc::clone(host);
        // It goes on when whoever asks has waited for long enough: the next one finds what it came to.
        blocking(move || -> StoreResult<()> {
            let _turn = turn;
            let counted = count(&of)?;
            *of.unique.counted() = Some(counted);
            Ok(())
        })
        .await?;
        Ok(self.assumed(host, namespace)?.unwrap_or(0))
    }

    fn is_fresh(&self) -> bool {
        let counted = self.counted();
        let ended = counted.as_ref().map(|counted| counted.ended);
        ended.is_some_and(|ended| ended.elapsed() < FRESH)
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pass. What is in the trash is on the disk still, and counts.
fn count(host: &Host) -> StoreResult<Counted> {
    let begun = Instant::now();
    let mut groups: BTreeMap<Namespace, Vec<SnapshotId>> = BTreeMap::new();
    let mut found = host.catalogue.in_state(SnapshotState::Active)?;
    found.extend(host.catalogue.in_state(SnapshotState::Deleting)?);
    let trashed = host.catalogue.trash(None, None, usize::MAX)?;
    found.extend(trashed.into_iter().map(|one| one.snapshot));
    let mut met = BTreeSet::new();
    for record in found {
        // One that goes to the trash meanwhile is found twice.
        if met.insert(record.id) {
            groups.entry(record.namespace).or_default().push(record.id);
        }
    }
    let ids: Vec<_> = groups.values().cloned().collect();
    let usage = host.store.usage(&ids, false, &JobHandle::new())?;
    let unique = usage.groups.iter().map(|group| group.unique.stored_bytes);
    let bytes: BTreeMap<_, _> = groups.into_keys().zip(unique).collect();
    let elapsed_ms = begun.elapsed().as_millis();
    info!(
        namespaces = bytes.len(),
        elapsed_ms, "Counted what namespaces alone need"
    );
    Ok(Counted {
        ended: Instant::now(),
        bytes,
        met,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, quota};

    #[tokio::test]
    async fn it_is_counted_when_a_limit_asks_for_it() {
        let (host, _folder) = fixture::host(|config| config.unique_bytes_per_namespace = 1 << 30);
        let namespace: Namespace = "default".parse().unwrap();
        assert_eq!(host.unique.assumed(&host, &namespace).unwrap(), None);
        fixture::unlike_others(&host, "web");
        quota::admit(&host, &namespace).await.unwrap();
        let counted = host.unique.assumed(&host, &namespace).unwrap().unwrap();
        assert!(counted > 0);
        let other: Namespace = "other".parse().unwrap();
        assert_eq!(host.unique.assumed(&host, &other).unwrap(), Some(0));
        // Far from the limit nothing is counted again.
        let ended = host.unique.counted().as_ref().unwrap().ended;
        quota::admit(&host, &namespace).await.unwrap();
        assert_eq!(host.unique.counted().as_ref().unwrap().ended, ended);
    }

    /// In a large store it takes longer than a client waits, and each one that came after that began anew.
    #[tokio::test]
    async fn what_nobody_waits_for_is_counted_to_the_end() {
        let (host, _folder) = fixture::host(|config| config.unique_bytes_per_namespace = 1 << 30);
        let namespace: Namespace = "default".parse().unwrap();
        let mut asked = Box::pin(host.unique.look(&host, &namespace, 1 << 30));
        assert!(futures::poll!(&mut asked).is_pending());
        drop(asked);
        let _turn = host.unique.turn.lock().await;
        assert_eq!(host.unique.assumed(&host, &namespace).unwrap(), Some(0));
    }

    /// What was in the trash was counted for nobody: a namespace that removed what it had made could make as much again.
    #[tokio::test]
    async fn what_is_in_the_trash_counts() {
        let (host, _folder) = fixture::host(|config| {
            config.unique_bytes_per_namespace = 1 << 30;
            config.trash_grace = Duration::from_secs(3600);
        });
        let namespace: Namespace = "default".parse().unwrap();
        let id = fixture::unlike_others(&host, "web");
        let before = count(&host).unwrap().bytes[&namespace];
        crate::removal::remove(&host, &[id]).await.unwrap();
        assert_eq!(count(&host).unwrap().bytes[&namespace], before);
    }

    /// What was made after the clock was set back seemed to be older than the count, and came to nothing.
    #[tokio::test]
    async fn what_was_made_since_counts_whatever_the_clock_says() {
        let (host, _folder) = fixture::host(|config| config.unique_bytes_per_namespace = 1 << 30);
        let namespace: Namespace = "default".parse().unwrap();
        quota::admit(&host, &namespace).await.unwrap();
        // The fixture's snapshots are of 1970.
        let id = fixture::unlike_others(&host, "web");
        let stored_bytes = host.catalogue.get(&id).unwrap().stored_bytes;
        let assumed = host.unique.assumed(&host, &namespace).unwrap();
        assert_eq!((assumed, stored_bytes > 0), (Some(stored_bytes), true));
    }

    #[tokio::test]
    async fn beyond_the_limit_nothing_is_admitted() {
        let (host, _folder) = fixture::host(|config| config.unique_bytes_per_namespace = 1);
        let namespace: Namespace = "default".parse().unwrap();
        quota::admit(&host, &namespace).await.unwrap();
        assert!(quota::require_room(&host, &namespace, 2).is_err());
        // One was counted with nothing there: what is added since comes to it only when it was stored since.
        *host.unique.counted() = None;
        fixture::unlike_others(&host, "web");
        let refused = quota::admit(&host, &namespace).await.unwrap_err();
        let report = snap_api::ErrorReport::from(refused);
        assert_eq!(report.code, snap_api::ErrorCode::Limit);
        assert!(report.hint.unwrap().contains("unique_bytes_per_namespace"));
    }
}
