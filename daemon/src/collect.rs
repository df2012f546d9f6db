//! The recipe of collection: giving back the space of what no snapshot and no remembered base needs.
//!
//! Bases that are of no use any more are forgotten first. What has a manifest, is a remembered base or may be relied on by
//! a capture under way stays; the store sees to that (`snap_store::Store::collect`). One collection runs at a time, as a job.

mod bases;
pub(crate) mod past;
mod regular;
pub(crate) mod relief;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use snap_api::{Collected, JobOutcome, JobStarted, Unreadable};
use snap_store::{
    CollectOptions, CollectReport, Digest, Holder, Namespace, Progress, RememberedBase,
    Result as StoreResult,
};
use tracing::{info, warn};

use crate::{
    blocking,
    config::Config,
    error::Result,
    host::Host,
    jobs::{JobHandle, JobKind, JobRequest},
};

pub use regular::run;

/// A pack is rewritten when less of it is needed than this.
const REWRITE_BELOW_PERCENT: u8 = 50;
/// The same on a disk that is nearly full: rewriting takes space before it gives some.
const REWRITE_BELOW_PERCENT_WHEN_FULL: u8 = 20;

/// Why the store is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked for it.
    Asked,
    /// It was time.
    Regular,
    /// Much was removed.
    Removals,
    /// The disk is nearly full.
    Pressure,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Regular => "regular",
            Self::Removals => "removals",
            Self::Pressure => "disk-pressure",
        }
    }
}

/// How the store is collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectPlan {
    /// Why.
    pub reason: Reason,
    /// Only look and count.
    pub dry_run: bool,
    /// How long a pack stays after nothing in it was needed.
    pub grace: Duration,
}

impl CollectPlan {
    /// What the daemon does by itself for this reason.
    #[must_use]
    pub fn by_itself(reason: Reason, config: &Config) -> Self {
        Self {
            reason,
            dry_run: false,
            grace: match reason {
                Reason::Pressure => Duration::ZERO,
                _ => config.collect_grace,
            },
        }
    }

    fn options(&self) -> CollectOptions {
        CollectOptions {
            grace: self.grace,
            rewrite_below_percent: match self.reason {
                Reason::Pressure => REWRITE_BELOW_PERCENT_WHEN_FULL,
                _ => REWRITE_BELOW_PERCENT,
            },
            dry_run: self.dry_run,
        }
    }
}

/// Starts a collection as a job.
///
/// # Errors
/// When no more jobs are taken.
pub fn start(host: &Arc<Host>, namespace: Namespace, plan: CollectPlan) -> Result<JobStarted> {
    let request = JobRequest {
        kind: JobKind::Collect,
        namespace,
        subject: plan.reason.as_str().to_owned(),
        snapshot: None,
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(request, move |job| async move {
        let collected = collect(&job_host, plan, &job).await?;
        Ok(JobOutcome::Collected(Box::new(collected)))
    })
}

/// Collects as the daemon does by itself, and waits for the end.
async fn by_itself(host: &Arc<Host>, reason: Reason) -> Result<()> {
    let namespace = "default".parse().expect("it is a name");
    let plan = CollectPlan::by_itself(reason, &host.config);
    let started = start(host, namespace, plan)?;
    host.jobs.outcome(&started.job).await.map(drop)
}

async fn collect(host: &Arc<Host>, plan: CollectPlan, job: &JobHandle) -> Result<Collected> {
    let started = Instant::now();
    let reason = plan.reason.as_str();
    info!(
        reason,
        dry_run = plan.dry_run,
        grace_seconds = plan.grace.as_secs(),
        "Collecting"
    );
    job.phase("bases");
    let idle = bases::idle(host, plan.reason).await;
    let died = host.past.died();
    let (work_host, work_job) = (Arc::clone(host), job.clone());
    let (report, forgotten) = blocking(move || sweep(&work_host, &plan, &idle, &work_job)).await?;
    if !plan.dry_run {
        host.past.note(host, died, &report);
    }
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    info!(
        reason,
        dry_run = plan.dry_run,
        snapshots = report.snapshots,
        live_bytes = report.live_bytes,
        dead_bytes = report.dead_bytes,
        removed_packs = report.removed_packs,
        freed_bytes = report.freed_bytes,
        rewritten_packs = report.rewritten_packs,
        waiting_bytes = report.waiting_bytes,
        forgotten_bases = forgotten,
        elapsed_us,
        "Collected"
    );
    for damage in &report.damage {
        warn!(
            holder = holder(&damage.holder),
            why = damage.why,
            "Not everything could be read that is in use"
        );
    }
    Ok(view(plan, report, forgotten, elapsed_us))
}

/// Forgets what is idle and collects; returns how many bases were forgotten.
fn sweep(
    host: &Host,
    plan: &CollectPlan,
    idle: &[RememberedBase],
    job: &JobHandle,
) -> StoreResult<(CollectReport, u64)> {
    let mut forgotten = match plan.dry_run {
        true => idle.len(),
        false => forget(host, idle)?,
    };
    let report = mark_and_sweep(host, plan, idle, job)?;
    if plan.dry_run || !report.is_incomplete {
        return Ok((report, forgotten as u64));
    }
    // A base is only remembered: one that cannot be read must not keep everything else from being collected.
    let broken = broken_bases(host, &report)?;
    if broken.is_empty() {
        return Ok((report, forgotten as u64));
    }
    warn!(bases = broken.len(), "Forgetting bases that cannot be read");
    forgotten += forget(host, &broken)?;
    let report = mark_and_sweep(host, plan, idle, job)?;
    Ok((report, forgotten as u64))
}

/// On a disk so full that nothing can be written they stay: the rest is what makes room.
fn forget(host: &Host, bases: &[RememberedBase]) -> StoreResult<usize> {
    // A capture under way may stand on one of them.
    let roots = bases.iter().map(|base| base.root.digest);
    let _retiring: Vec<_> = roots.map(|root| host.store.retire(root)).collect();
    match host.catalogue.forget_unused_bases(bases) {
        Err(error) if error.is_full() => {
            warn!(%error, "Bases that are of no use stay for now");
            Ok(0)
        }
        forgotten => forgotten,
    }
}

fn mark_and_sweep(
    host: &Host,
    plan: &CollectPlan,
    idle: &[RememberedBase],
    job: &JobHandle,
) -> StoreResult<CollectReport> {
    // In a dry run the idle ones are still remembered.
    let is_idle = |base: &RememberedBase| plan.dry_run && idle.contains(base);
    let roots = || -> StoreResult<Vec<Digest>> {
        let bases = host.catalogue.bases()?;
        let kept = bases.iter().filter(|base| !is_idle(base));
        Ok(kept.map(|base| base.root.digest).collect())
    };
    host.store.collect(&plan.options(), &roots, job)
}

fn broken_bases(host: &Host, report: &CollectReport) -> StoreResult<Vec<RememberedBase>> {
    let is_broken = |base: &RememberedBase| {
        let holder = Holder::Root(base.root.digest);
        report.damage.iter().any(|damage| damage.holder == holder)
    };
    let bases = host.catalogue.bases()?;
    Ok(bases.into_iter().filter(is_broken).collect())
}

fn view(plan: CollectPlan, report: CollectReport, forgotten: u64, elapsed_us: u64) -> Collected {
    Collected {
        dry_run: plan.dry_run,
        snapshots: report.snapshots,
        packs: report.packs,
        live_chunks: report.live_chunks,
        live_bytes: report.live_bytes,
        dead_chunks: report.dead_chunks,
        dead_bytes: report.dead_bytes,
        removed_packs: report.removed_packs,
        freed_bytes: report.freed_bytes,
        rewritten_packs: report.rewritten_packs,
        written_bytes: report.written_bytes,
        waiting_packs: report.waiting_packs,
        waiting_bytes: report.waiting_bytes,
        damaged_packs: report.damaged_packs,
        missing_chunks: report.missing_chunks,
        forgotten_bases: forgotten,
        unreadable: report
            .damage
            .into_iter()
            .map(|damage| Unreadable {
                holder: holder(&damage.holder),
                problem: damage.why,
            })
            .collect(),
        incomplete: report.is_incomplete,
        stopped: report.stopped,
        elapsed_us,
    }
}

fn holder(holder: &Holder) -> String {
    match holder {
        Holder::Snapshot(id) => format!("snapshot {id}"),
        Holder::Root(digest) => format!("base {digest}"),
        Holder::Removed => "a snapshot that was just removed".to_owned(),
    }
}

/// Upkeep has nobody to answer to.
fn complain(error: &crate::Error) {
    let error: &dyn std::error::Error = error;
    warn!(error, "Cannot make space now");
}
