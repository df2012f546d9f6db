//! Repair: what is damaged is made whole where another copy can be had, and what is lost is named.
//!
//! 1. The catalogue and the manifests are brought into agreement.
//! 2. Every pack is read, and every snapshot walked: what is damaged, and whose files are hit?
//! 3. Sound chunks of damaged packs are copied into new ones; lost ones are looked for in other packs, in layers and
//!    containers of this host, and in folders that were captured.
//! 4. The new packs are published, the damaged ones moved into quarantine, the index made anew.
//! 5. What is still missing is lost, and the snapshots that are hit are marked. Everything else of them can be read.
//!
//! Until step 4 no pack is touched, and whatever cuts it short leaves the store no worse than it was.

mod catalogue;
pub mod marks;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use snap_api::Repaired;
use snap_fs::{
    repair::{ChunkSource, Losses},
    verify::{self, Depth, Inspection, Scope},
};
use snap_store::{Digest, PackId, Progress, Result as StoreResult, Salvage, SnapshotId, Survey};
use tracing::info;

use crate::{
    blocking,
    error::Result,
    host::Host,
    jobs::JobHandle,
    verify::{Findings, active, damaged_packs, look_through},
};

pub use catalogue::make_catalogue_anew;

/// How far a repair may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing is changed.
    DryRun,
    /// Everything is mended that can be; what is lost is lost.
    Full,
    /// Nothing is changed unless everything damaged can be had again.
    OnlyWhole,
}

type Sources = HashMap<SnapshotId, Vec<Box<dyn ChunkSource>>>;

/// Mends the store, or says what would be done.
pub async fn repair(host: &Arc<Host>, extent: Extent, job: &JobHandle) -> Result<Repaired> {
    let begun = Instant::now();
    let mut report = Repaired {
        dry_run: extent == Extent::DryRun,
        ..Repaired::default()
    };
    catalogue::agree(host, &mut report).await?;
    let found = find(host, None, job).await?;
    let report = mend(host, found, report, extent, job).await?;
    if extent == Extent::Full {
        host.scrub.forget_damage(&host.catalogue)?;
    }
    Ok(timed(report, begun))
}

/// Mends these packs if everything in them that somebody needs can be had again; otherwise marks the snapshots that are hit, and
/// changes nothing else.
pub async fn repair_packs(
    host: &Arc<Host>,
    packs: Vec<PackId>,
    job: &JobHandle,
) -> Result<Repaired> {
    let begun = Instant::now();
    let found = find(host, Some(packs), job).await?;
    let report = mend(host, found, Repaired::default(), Extent::OnlyWhole, job).await?;
    Ok(timed(report, begun))
}

fn timed(report: Repaired, begun: Instant) -> Repaired {
    info!(
        damaged_packs = report.packs.len(),
        regained_chunks = report.regained_chunks,
        lost_places = report.lost.len(),
        dry_run = report.dry_run,
        "Looked after what is damaged"
    );
    Repaired {
        elapsed_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        ..report
    }
}

/// What is damaged, and who is hit.
struct Found {
    snapshots: Vec<SnapshotId>,
    survey: Survey,
    losses: Losses,
}

/// Reads these packs, or all of them, and walks every snapshot.
async fn find(host: &Arc<Host>, packs: Option<Vec<PackId>>, job: &JobHandle) -> Result<Found> {
    let (host, job) = (Arc::clone(host), job.clone());
    blocking(move || -> StoreResult<_> {
        let snapshots = active(&host)?;
        job.phase("packs");
        let survey = match packs {
            None => verify::survey(&host.store, Scope::Everything, Depth::Bytes, &job)?,
            Some(packs) => {
                let mut survey = Survey::new(host.store.clone());
                survey.read(&packs, None, &job)?;
                survey
            }
        };
        let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
        let losses = look_through(&host, &snapshots, look, &job)?.losses;
        Ok(Found {
            snapshots,
            survey,
            losses,
        })
    })
    .await
}

async fn mend(
    host: &Arc<Host>,
    found: Found,
    mut report: Repaired,
    extent: Extent,
    job: &JobHandle,
) -> Result<Repaired> {
    let sources = sources::of(host, &found.losses, job).await;
    let (host, job) = (Arc::clone(host), job.clone());
    blocking(move || -> StoreResult<_> {
        let Found {
            snapshots,
            mut survey,
            losses,
        } = found;
        let store = &host.store;
        report.index = store.check_index()?;
        let mut salvage = Salvage::begin(store, extent == Extent::DryRun)?;
        job.phase("salvage");
        salvage.save(&mut survey, &job)?;
        report.regained_from = fetch(&losses, &sources, &mut salvage, &job)?;
        let look = &mut |digest: &Digest, raw_bytes| match salvage.has_regained(digest) {
            true => Ok(None),
            false => survey.flaw(digest, raw_bytes),
        };
        let lost = look_through(&host, &snapshots, look, &job)?;
        report.regained_chunks = salvage.regained();
        let may_change = match extent {
            Extent::DryRun => false,
            Extent::Full => true,
            // What no pack holds was lost before.
            Extent::OnlyWhole => {
                !lost.is_truncated && lost.damage.iter().all(|place| place.pack.is_none())
            }
        };
        if may_change {
            finish(&host, salvage, &report, &job)?;
        }
        describe(&mut report, &survey, &lost);
        if may_change && !report.is_whole() {
            forget_damaged_bases(&host, &job)?;
        }
        if extent != Extent::DryRun {
            mark(&host, lost, may_change)?;
        }
        Ok(report)
    })
    .await
}

/// Asks the sources of every snapshot that is hit.
fn fetch(
    losses: &Losses,
    sources: &Sources,
    salvage: &mut Salvage<'_>,
    job: &JobHandle,
) -> StoreResult<BTreeMap<String, u64>> {
    let mut regained = BTreeMap::new();
    for id in losses.snapshots() {
        let Some(sources) = sources.get(id) else {
            continue;
        };
        job.phase(&format!("sources of {id}"));
        for (name, chunks) in losses.fetch(id, sources, salvage, job)? {
            *regained.entry(name).or_default() += chunks;
        }
    }
    Ok(regained)
}

fn finish(
    host: &Host,
    salvage: Salvage<'_>,
    report: &Repaired,
    job: &JobHandle,
) -> StoreResult<()> {
    if salvage.has_work() {
        let packs = salvage.finish(job)?;
        for pack in packs {
            info!(%pack, "Moved a damaged pack into quarantine");
        }
        return Ok(());
    }
    drop(salvage);
    match report.index.is_empty() {
        true => Ok(()),
        false => host.store.rebuild_index(job),
    }
}

/// A remembered base that has lost something is captured anew by the next who needs it, as long as its layers are there; and with it
/// comes back what snapshots have lost.
fn forget_damaged_bases(host: &Host, job: &JobHandle) -> StoreResult<()> {
    let survey = Survey::new(host.store.clone());
    let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
    let mut inspection = Inspection::new(&host.store, look, job);
    for base in host.catalogue.bases()? {
        let mut is_damaged = false;
        inspection.tree(base.root, &mut |_| {
            is_damaged = true;
            Ok(())
        })?;
        if is_damaged {
            info!(
                base = base.key,
                "Forgot a damaged base: the next capture reads it again"
            );
            // A capture under way may stand on it.
            let _retiring = host.store.retire(base.root.digest);
            host.catalogue.forget_bases(&base.root.digest)?;
        }
    }
    Ok(())
}

fn describe(report: &mut Repaired, survey: &Survey, lost: &Findings) {
    let (packs, has_more) = damaged_packs(survey);
    report.snapshots = lost.snapshots;
    report.chunks = survey.chunks();
    report.bytes = survey.bytes();
    report.packs = packs;
    report.lost.clone_from(&lost.damage);
    report.truncated = lost.is_truncated || survey.is_truncated() || has_more;
}

/// Notes which snapshots are hit. What is not mended yet is damaged, not lost.
fn mark(host: &Host, lost: Findings, is_mended: bool) -> StoreResult<()> {
    let mut marked = lost.marked;
    if is_mended {
        marked.values_mut().for_each(marks::Mark::lose);
    }
    host.marks.replace(&host.catalogue, marked)
}
