//! Servers that died are started again, on the device that was kept.

use std::{sync::Arc, time::Instant};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};
use tracing::warn;

use super::{Mounts, Users, in_task, places::Place, served, server::ServerId};
use crate::{error::Result, host::Host};

/// The end of a server that nobody told to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) place: Place,
    pub(super) server: ServerId,
}

pub(super) type Deaths = UnboundedReceiver<Death>;
pub(super) type DeathNotice = UnboundedSender<Death>;

/// Starts mount servers again that died, for as long as it runs. To be run once.
pub async fn keep(host: Arc<Host>) {
    let Some(mut deaths) = host.mounts.take_deaths() else {
        return;
    };
    let mut revivals = JoinSet::new();
    loop {
        tokio::select! {
            death = deaths.recv() => match death {
                Some(death) => { revivals.spawn(revive(Arc::clone(&host), death)); }
                None => return,
            },
            Some(_) = revivals.join_next() => {}
        }
    }
}

/// Tries until the mount is served again, or needs no server any more.
async fn revive(host: Arc<Host>, death: Death) {
    while let Some(delay) = host.mounts.next_try(death).await {
        tokio::time::sleep(delay).await;
        match host.mounts.revive(&host, death).await {
            Ok(()) => return,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(mount = %death.place, error, "Cannot start a mount server again yet");
            }
        }
    }
}

impl Mounts {
    /// How long to wait before the server is started again; `None` when another has taken its place.
    async fn next_try(&self, death: Death) -> Option<std::time::Duration> {
        let mut slot = self.places.slots.lock(death.place).await;
        let served = slot.as_mut()?;
        (served.server() == Some(death.server)).then(|| served.setbacks.next_delay(Instant::now()))
    }

    /// Starts a server in the place of the one that died; ends the mount when nobody uses it.
    async fn revive(&self, host: &Host, death: Death) -> Result<()> {
        let (place, places) = (death.place, self.places.clone());
        if place.lingers() {
            if self.end_if_let_go(host, place).await? {
                return Ok(());
            }
        } else if Users::of(host, &place.snapshot).count(&places).await? == 0 {
            return self.release(host, &place.snapshot).await;
        }
        let mut slot = self.places.slots.lock(place).await;
        in_task(async move {
            match slot.as_mut() {
                Some(served) if served.server() == Some(death.server) => {
                    served::revive(&places, place, served).await
                }
                _ => Ok(()),
            }
        })
        .await
    }
}
