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
use crate::{blocking, clock, error::Result, host::Host, jobs::JobHandle};

/// A figure younger than this is not counted again.
const FRESH: Duration = Duration::from_secs(60);

/// What was counted last.
#[derive(Debug, Default)]
pub(crate) struct Unique {
    counted: Mutex<Option<Counted>>,
    /// One pass at a time; held across it.
    turn: AsyncMutex<()>,
}

#[derive(Debug)]
struct Counted {
    /// When the pass began, in seconds since 1970.
    at: i64,
    /// When it ended.
    ended: Instant,
    bytes: BTreeMap<Namespace, u64>,
    /// What it has met that was made in the second it began.
    met: BTreeSet<SnapshotId>,
}

impl Unique {
    /// What is assumed that the namespace alone needs; `None` when nothing was counted yet.
    pub(super) fn assumed(&self, host: &Host, namespace: &Namespace) -> StoreResult<Option<u64>> {
        let Some(at) = self.counted().as_ref().map(|counted| counted.at) else {
            return Ok(None);
        };
        let since = host.catalogue.stored_since(namespace, at)?;
        let counted = self.counted();
        let Some(counted) = &*counted else {
            return Ok(None);
        };
        let is_new = |(id, _): &&(SnapshotId, u64)| !counted.met.contains(id);
        let added = since.iter().filter(is_new).map(|(_, bytes)| *bytes);
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
        let _turn = self.turn.lock().await;
        if let Some(assumed) = self.assumed(host, namespace)?
            && (self.is_fresh() || !is_near(assumed, limit))
        {
            return Ok(assumed);
        }
        let of = Arc::clone(host);
        let counted = blocking(move || count(&of)).await?;
        *self.counted() = Some(counted);
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
    let (at, begun) = (clock::now(), Instant::now());
    let mut groups: BTreeMap<Namespace, Vec<SnapshotId>> = BTreeMap::new();
    let mut met = BTreeSet::new();
    for state in [SnapshotState::Active, SnapshotState::Deleting] {
        for record in host.catalogue.in_state(state)? {
            if record.created_at >= at {
                met.insert(record.id);
            }
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
        at,
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
