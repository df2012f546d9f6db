//! While a container stands still, and just before and after it.

use std::sync::Arc;

use snap_api::MemoryWish;
use snap_fs::capture::Scan;
use snap_store::Progress;
use tracing::warn;

use super::{CreatePlan, parts::Parts};
use crate::{
    error::{Result, in_full},
    hooks::{self, Moment},
    host::Host,
    jobs::JobHandle,
    memory::Capture,
    pause::{PauseGuard, PauseOptions},
};

/// What was taken of it.
#[derive(Debug)]
pub(super) struct Still {
    pub(super) parts: Parts,
    pub(super) scans: Vec<Scan>,
    pub(super) pause_us: u64,
    pub(super) images: Capture,
    /// What went wrong and did no harm to it.
    pub(super) warnings: Vec<String>,
}

impl Still {
    /// Of a folder, which does not stand still for it.
    pub(super) fn not_at_all(parts: Parts, scans: Vec<Scan>) -> Self {
        Self {
            parts,
            scans,
            pause_us: 0,
            images: Capture::Unwanted,
            warnings: Vec::new(),
        }
    }
}

/// Takes what has to be of one instant. Whoever was told that everything is about to stand still is told how it went on, whatever
/// came of the capture.
pub(super) async fn capture(
    host: &Arc<Host>,
    plan: &CreatePlan,
    container: &str,
    parts: Parts,
    job: &JobHandle,
) -> Result<Still> {
    let images = Capture::prepare(host, &plan.namespace, container, plan.memory).await?;
    if let Some(hook) = &plan.hook {
        job.phase("hook");
        hooks::run(host, &plan.namespace, container, hook, Moment::Checkpoint).await?;
    }
    job.phase("pause");
    let stood = stand_still(host, plan, container, images, parts.scan(job)).await;
    let mut warnings = Vec::new();
    let has_ended = plan.stop && stood.is_ok();
    if let Some(hook) = plan.hook.as_deref().filter(|_| !has_ended) {
        let told = hooks::run(host, &plan.namespace, container, hook, Moment::Resume).await;
        if let Err(error) = told {
            let reason = in_full(&error);
            warn!(container, reason, "A hook has failed after a capture");
            warnings.push(reason);
        }
    }
    let (parts, scans, pause_us, images) = stood?;
    Ok(Still {
        parts,
        scans,
        pause_us,
        images,
        warnings,
    })
}

/// What happens during the pause, `scan` and CRIU: files and memory are of one instant.
async fn stand_still(
    host: &Arc<Host>,
    plan: &CreatePlan,
    container: &str,
    images: Capture,
    scan: impl Future<Output = Result<(Parts, Vec<Scan>)>>,
) -> Result<(Parts, Vec<Scan>, u64, Capture)> {
    let options = PauseOptions {
        longest: images.longest_pause(),
        works_in: images.works_in(),
    };
    let guard = PauseGuard::pause(host, &plan.namespace, container, &options).await?;
    let scanned = scan.await;
    let images = match scanned.is_ok() {
        true => images.take(host, &plan.namespace, container).await,
        false => images,
    };
    let images = match plan.memory {
        MemoryWish::Required => images.or_fail(),
        MemoryWish::None | MemoryWish::Wanted => Ok(images),
    };
    if plan.stop && scanned.is_ok() && images.is_ok() {
        host.containerd
            .kill(&plan.namespace, container, KILL)
            .await?;
    }
    let pause_us = guard.thaw().await?;
    let (parts, scans) = scanned?;
    Ok((parts, scans, pause_us, images?))
}

/// Signal 9: what is stopped while it stands still gets no chance to change what was captured.
const KILL: u32 = 9;
