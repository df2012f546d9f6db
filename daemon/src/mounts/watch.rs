//! Looking after what is served: a server that gives no sign of life is replaced, a holder that died is started again, a
//! mount that lingered and was let go is ended.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use snap_fs::serve::Pulse;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::{
    Mounts, holding, in_task,
    keeper::Death,
    places::Place,
    pulse::{self, Sign},
    served,
    server::{self, ServerId},
};
use crate::{error::Result, host::Host};

/// Between two looks at everything.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that has not answered for so long is asked once more.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long that last question waits: it may be this process that did not run.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// Looks between two looks at the holder.
const LOOKS_PER_HOLDER: u64 = 5;

/// Looks after everything for as long as it runs. To be run once.
pub async fn watch(host: Arc<Host>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u64;
    loop {
        ticks.tick().await;
        let places = host.mounts.places.slots.places();
        let looking = places.into_iter().map(|place| look(&host, place));
        join_all(looking).await;
        looks += 1;
        if looks.is_multiple_of(LOOKS_PER_HOLDER) {
            host.mounts.hold_all().await;
        }
    }
}

async fn look(host: &Host, place: Place) {
    if let Err(error) = host.mounts.look(host, place).await {
        let error: &dyn std::error::Error = &error;
        warn!(mount = %place, error, "Cannot look after a mount");
    }
}

impl Mounts {
    async fn look(&self, host: &Host, place: Place) -> Result<()> {
        if place.lingers() && self.end_if_let_go(host, place).await? {
            return Ok(());
        }
        // Whoever has the lock begins, replaces or ends the server just now.
        let server = match self.places.slots.try_lock(place) {
            Some(slot) => slot.as_ref().and_then(served::Served::server),
            None => None,
        };
        let Some(server) = server else {
            return Ok(());
        };
        if !server.is_alive() {
            // The end of a server that lingers was awaited under its mount's earlier name.
            if place.lingers() {
                let _ = self.places.deaths.send(Death { place, server });
            }
            return Ok(());
        }
        let socket = self.places.pulse(place);
        let mut sign = pulse::ask(&socket, PATIENCE).await;
        if sign == Sign::Silence {
            sign = pulse::ask(&socket, LAST_PATIENCE).await;
        }
        match sign {
            Sign::Silence => self.replace_silent(place, server).await,
            Sign::Pulse(pulse) => {
                self.note(place, &pulse);
                Ok(())
            }
            Sign::Nobody => Ok(()),
        }
    }

    /// Forgets what was wrong with a server that answers, and says in the daemon's log what it could not serve.
    fn note(&self, place: Place, pulse: &Pulse) {
        let Some(mut slot) = self.places.slots.try_lock(place) else {
            return;
        };
        let Some(served) = slot.as_mut() else { return };
        served.failure = None;
        if pulse.refused > served.refused {
            let said = server::last_words(&self.places.log(place));
            let Pulse {
                refused,
                lost_threads,
                ..
            } = pulse;
            warn!(mount = %place, refused, lost_threads, said, "The store does not answer a mount server in time");
        }
        served.refused = pulse.refused;
    }

    /// Has another server take over from one that is silent, unless somebody else was faster.
    async fn replace_silent(&self, place: Place, silent: ServerId) -> Result<()> {
        let (places, mut slot) = (self.places.clone(), self.places.slots.lock(place).await);
        in_task(async move {
            match slot.as_mut() {
                Some(served) if served.server() == Some(silent) && silent.is_alive() => {
                    served::replace_silent(&places, place, served).await
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Has every device held that is not, by a new holder if there is none.
    async fn hold_all(&self) {
        let places = self.places.slots.places();
        if places.is_empty() {
            return;
        }
        let held = holding::list(&self.places).await;
        for place in places {
            if held.contains(&place.to_string()) {
                continue;
            }
            let slot = self.places.slots.try_lock(place);
            let device = slot.as_ref().and_then(|slot| slot.as_ref()?.device());
            if let Some(device) = device {
                info!(mount = %place, "Having a device held again");
                holding::put(&self.places, place, device).await;
            }
        }
    }
}
