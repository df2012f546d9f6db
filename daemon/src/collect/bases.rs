//! Bases that are of no use any more: remembered trees of layers keep their chunks alive, although no snapshot needs them.
//!
//! To forget one costs the next capture of such a container the reading of its layers; to keep one costs space.

use std::{sync::Arc, time::Duration};

use snap_store::{BaseLayer, RememberedBase};
use tracing::warn;

use super::Reason;
use crate::{blocking, clock, containerd::Fault, error::Result, host::Host};

/// Not built upon for so long, a base is given up although its layer is still there.
const IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The same when the disk is nearly full.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(24 * 60 * 60);

/// The bases that nobody has built upon for long, or whose layer is gone from the host. While containerd does not answer, no
/// layer is.
pub(super) async fn idle(host: &Arc<Host>, reason: Reason) -> Vec<RememberedBase> {
    match find(host, reason).await {
        Ok(idle) => idle,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            warn!(
                error,
                "Cannot look for bases that are of no use, all are kept"
            );
            Vec::new()
        }
    }
}

async fn find(host: &Arc<Host>, reason: Reason) -> Result<Vec<RememberedBase>> {
    let catalogue = Arc::clone(&host.catalogue);
    let bases = blocking(move || catalogue.bases()).await?;
    let limit = match reason {
        Reason::Pressure => IDLE_WHEN_FULL,
        _ => IDLE,
    };
    let latest = clock::now().saturating_sub_unsigned(limit.as_secs());
    let mut is_silent = false;
    let mut idle = Vec::new();
    for base in bases {
        if base.last_used_at <= latest {
            idle.push(base);
            continue;
        }
        let Some(layer) = base.layer.as_ref().filter(|_| !is_silent) else {
            continue;
        };
        match is_gone(host, layer).await {
            Ok(true) => idle.push(base),
            Ok(false) => {}
            // Asking for each of the others as well would only take as long again.
            Err(fault) => is_silent = fault.is_silence(),
        }
    }
    Ok(idle)
}

/// True when containerd says that it has no such layer, or another of that name.
async fn is_gone(host: &Host, layer: &BaseLayer) -> Result<bool, Fault> {
    let BaseLayer {
        namespace,
        snapshotter,
        name,
        created,
    } = layer;
    let asked = host.containerd.snapshot(namespace, snapshotter, name).await;
    let found = Fault::absent_as_none(asked)?;
    Ok(found.is_none_or(|found| found.created_at != *created))
}
