//! New servers under mounts that are in use: after an upgrade of the package, or when a reload is asked for.

use std::{sync::Arc, time::Instant};

use snap_api::{ErrorReport, MountUpgrade, MountsUpgraded, UpgradeResult};
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::{info, warn};

use super::{
    Mounts, in_task,
    places::{Place, Places},
    served,
    slots::SlotGuard,
};
use crate::{error::Result, host::Host};

/// Servers replaced at once.
const CONCURRENT: usize = 4;

/// Replaces every mount server with the installed binary. One that cannot be replaced keeps none of the others from
/// being replaced: the answer says what became of each.
pub async fn upgrade(host: &Arc<Host>) -> MountsUpgraded {
    let turns = Arc::new(Semaphore::new(CONCURRENT));
    let mut tasks = JoinSet::new();
    for place in host.mounts.places.slots.places() {
        let (host, turns) = (Arc::clone(host), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            host.mounts.upgrade(place).await
        });
    }
    let mut mounts: Vec<MountUpgrade> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(upgraded) => mounts.extend(upgraded),
            Err(panic) => warn!(%panic, "The replacement of a mount server ended unexpectedly"),
        }
    }
    mounts.sort_by(|one, other| one.snapshot.cmp(&other.snapshot));
    let is_failure = |mount: &&MountUpgrade| mount.result == UpgradeResult::Failed;
    let failed = mounts.iter().filter(is_failure).count();
    info!(servers = mounts.len(), failed, "Replaced mount servers");
    MountsUpgraded { mounts }
}

impl Mounts {
    /// `None` when the snapshot is served no longer.
    async fn upgrade(&self, place: Place) -> Option<MountUpgrade> {
        let slot = self.places.slots.lock(place).await;
        let places = Arc::clone(&self.places);
        let upgraded = in_task(async move { Ok(upgrade_one(&places, place, slot).await) });
        match upgraded.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                warn!(mount = %place, %error, "Cannot replace a mount server");
                None
            }
        }
    }
}

async fn upgrade_one(
    places: &Arc<Places>,
    place: Place,
    mut slot: SlotGuard,
) -> Option<MountUpgrade> {
    let served = slot.as_mut()?;
    let (begun, old_pid) = (Instant::now(), served.live_pid());
    let (done, result): (Result<()>, _) = match old_pid {
        Some(_) => (
            served::upgrade(places, place, served).await,
            UpgradeResult::Upgraded,
        ),
        None => (
            served::revive(places, place, served).await,
            UpgradeResult::Started,
        ),
    };
    let error = done.err().map(ErrorReport::from);
    if let Some(error) = &error {
        warn!(mount = %place, %error, "Cannot replace a mount server");
    }
    Some(MountUpgrade {
        snapshot: place.snapshot.to_string(),
        old_pid,
        new_pid: served.live_pid(),
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        result: match error {
            Some(_) => UpgradeResult::Failed,
            None => result,
        },
        error,
    })
}
