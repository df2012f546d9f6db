//! Verification: the packs once, then every snapshot with what was found in them.
//!
//! Damage is a finding and does not end it; the answer is bounded, and says when there was more.

use snap_api::{Damage, PackDamage, Verified, WirePath};
use snap_fs::verify::{self, Damaged, Depth, Inspection, Scope};
use snap_store::{
    Digest, Error, Progress, Result, SnapshotId, SnapshotRecord, SnapshotState, Survey,
};

use crate::{host::Host, jobs::JobHandle};

/// Damage an outcome lists, in bytes of its text: it has to fit into one answer.
const MAX_DAMAGE_BYTES: usize = 512 << 10;
/// Damaged packs an outcome lists.
const MAX_PACKS: usize = 1000;
/// Snapshots that are looked up at once.
const PAGE: usize = 100;

/// Checks one snapshot, or everything in the store.
pub fn verify(
    host: &Host,
    one: Option<SnapshotId>,
    depth: Depth,
    job: &JobHandle,
) -> Result<Verified> {
    let snapshots = match one {
        Some(id) => vec![id],
        None => active(host)?,
    };
    job.phase("packs");
    let scope = match one {
        Some(_) => Scope::Snapshots(&snapshots),
        None => Scope::Everything,
    };
    let survey = verify::survey(&host.store, scope, depth, job)?;
    let mut findings = Findings::default();
    look_through(host, &snapshots, &survey, &mut findings, job)?;
    Ok(findings.verified(&survey))
}

/// The Active snapshots of every namespace.
pub(crate) fn active(host: &Host) -> Result<Vec<SnapshotId>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = host.catalogue.list(None, after, PAGE)?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        after = Some((last.created_at, last.id));
        let is_active = |record: &&SnapshotRecord| record.state == SnapshotState::Active;
        found.extend(page.iter().filter(is_active).map(|record| record.id));
    }
}

/// Walks these snapshots with what is known of the packs.
fn look_through(
    host: &Host,
    snapshots: &[SnapshotId],
    survey: &Survey,
    findings: &mut Findings,
    job: &JobHandle,
) -> Result<()> {
    let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
    let mut inspection = Inspection::new(&host.store, look, job);
    for id in snapshots {
        job.phase(&format!("snapshot {id}"));
        let walked = host.store.manifest(id).and_then(|manifest| {
            let each = &mut |damaged| {
                findings.note(id, damaged);
                Ok(())
            };
            inspection.snapshot(&manifest, each)
        });
        match walked {
            Ok(()) => {}
            Err(_) if is_gone(host, id) => {}
            Err(
                error @ (Error::Corrupt { .. }
                | Error::NotFound { .. }
                | Error::Incompatible { .. }),
            ) => findings.note_snapshot(id, &error),
            Err(error) => return Err(error),
        }
        findings.snapshots += 1;
    }
    Ok(())
}

/// True when the snapshot was removed after the work began.
fn is_gone(host: &Host, id: &SnapshotId) -> bool {
    let found = host.catalogue.get(id);
    !found.is_ok_and(|record| record.state == SnapshotState::Active)
}

/// What was found, as much of it as fits into an answer.
#[derive(Debug, Default)]
struct Findings {
    snapshots: u64,
    damage: Vec<Damage>,
    text_bytes: usize,
    is_truncated: bool,
}

impl Findings {
    fn note(&mut self, snapshot: &SnapshotId, damaged: Damaged) {
        let path = damaged.path.join(&b'/');
        let range = damaged.range.as_ref();
        self.push(Damage {
            snapshot: snapshot.to_string(),
            path: Some(WirePath::new([&b"/"[..], &path].concat())),
            offset_bytes: range.map(|range| range.start),
            length_bytes: range.map(|range| range.end - range.start),
            digest: damaged.digest.map(|digest| digest.to_string()),
            pack: damaged.pack.map(|pack| pack.to_string()),
            problem: damaged.problem,
        });
    }

    /// The snapshot's manifest cannot be read.
    fn note_snapshot(&mut self, snapshot: &SnapshotId, error: &Error) {
        self.push(Damage {
            snapshot: snapshot.to_string(),
            path: None,
            offset_bytes: None,
            length_bytes: None,
            digest: None,
            pack: None,
            problem: error.to_string(),
        });
    }

    fn push(&mut self, damage: Damage) {
        let path_bytes = damage
            .path
            .as_ref()
            .map_or(0, |path| path.to_string().len());
        // Ids, digests and names of fields.
        self.text_bytes += path_bytes + damage.problem.len() + 300;
        match self.text_bytes > MAX_DAMAGE_BYTES {
            true => self.is_truncated = true,
            false => self.damage.push(damage),
        }
    }

    fn verified(self, survey: &Survey) -> Verified {
        let packs = survey.packs();
        let shown = packs.iter().take(MAX_PACKS).map(|(pack, flaw)| PackDamage {
            pack: pack.to_string(),
            problem: flaw.problem.clone(),
            chunks: flaw.chunks,
        });
        Verified {
            snapshots: self.snapshots,
            chunks: survey.chunks(),
            bytes: survey.bytes(),
            damage: self.damage,
            packs: shown.collect(),
            truncated: self.is_truncated || survey.is_truncated() || packs.len() > MAX_PACKS,
        }
    }
}
