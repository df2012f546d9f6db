//! Verification: the packs once, then every snapshot with what was found in them.
//!
//! Damage is a finding and does not end it; the answer is bounded, and says when there was more.

use snap_api::{Damage, PackDamage, Verified, WirePath};
use snap_fs::{
    repair::Losses,
    verify::{self, Damaged, Depth, Inspection, Look, Scope},
};
use snap_store::{
    Digest, Error, Manifest, Progress, Result, SnapshotId, SnapshotRecord, SnapshotState, Survey,
};

use crate::{
    host::Host,
    jobs::JobHandle,
    repair::marks::{Mark, Marked},
};

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
    let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
    let findings = look_through(host, &snapshots, look, job)?;
    let (packs, has_more) = damaged_packs(&survey);
    Ok(Verified {
        snapshots: findings.snapshots,
        chunks: survey.chunks(),
        bytes: survey.bytes(),
        truncated: findings.is_truncated || survey.is_truncated() || has_more,
        damage: findings.damage,
        packs,
    })
}

/// The Active snapshots of every namespace, and those in the trash, which may be Active again.
pub(crate) fn active(host: &Host) -> Result<Vec<SnapshotId>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = host.catalogue.list(None, after, PAGE)?;
        let Some(last) = page.last() else {
            let trash = host.catalogue.trash(None, None, usize::MAX)?;
            found.extend(trash.iter().map(|one| one.snapshot.id));
            return Ok(found);
        };
        after = Some((last.created_at, last.id));
        let is_active = |record: &&SnapshotRecord| record.state == SnapshotState::Active;
        found.extend(page.iter().filter(is_active).map(|record| record.id));
    }
}

/// Walks these snapshots and asks `look` of everything they need.
pub(crate) fn look_through(
    host: &Host,
    snapshots: &[SnapshotId],
    look: &mut Look<'_>,
    job: &JobHandle,
) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut inspection = Inspection::new(&host.store, look, job);
    for id in snapshots {
        job.phase(&format!("snapshot {id}"));
        match readable(host, id)? {
            Readable::Yes(manifest) => {
                let each = &mut |damaged| {
                    findings.note(id, damaged);
                    Ok(())
                };
                inspection.snapshot(&manifest, each)?;
            }
            Readable::No(error) => findings.note_snapshot(id, &error),
            Readable::Gone => {}
        }
        findings.snapshots += 1;
    }
    Ok(findings)
}

/// Damaged packs, as many as fit into an answer, and whether there are more.
pub(crate) fn damaged_packs(survey: &Survey) -> (Vec<PackDamage>, bool) {
    let packs = survey.packs();
    let shown = packs.iter().take(MAX_PACKS).map(|(pack, flaw)| PackDamage {
        pack: pack.to_string(),
        problem: flaw.problem.clone(),
        chunks: flaw.chunks,
    });
    (shown.collect(), packs.len() > MAX_PACKS)
}

/// What there is to walk of a snapshot.
enum Readable {
    Yes(Box<Manifest>),
    No(Error),
    /// It was removed after the work began.
    Gone,
}

fn readable(host: &Host, id: &SnapshotId) -> Result<Readable> {
    match host.store.manifest(id) {
        Ok(manifest) => Ok(Readable::Yes(Box::new(manifest))),
        Err(_) if is_gone(host, id) => Ok(Readable::Gone),
        Err(
            error @ (Error::Corrupt { .. } | Error::NotFound { .. } | Error::Incompatible { .. }),
        ) => Ok(Readable::No(error)),
        Err(error) => Err(error),
    }
}

fn is_gone(host: &Host, id: &SnapshotId) -> bool {
    let found = host.catalogue.get(id);
    !found.is_ok_and(|record| record.state == SnapshotState::Active)
}

/// What was found in snapshots, as much of it as fits into an answer; and all of it in figures.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) snapshots: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) is_truncated: bool,
    /// What each snapshot that is hit has lost, in figures.
    pub(crate) marked: Marked,
    /// The same by file, for whoever looks for other copies.
    pub(crate) losses: Losses,
    last: Option<(SnapshotId, Vec<Vec<u8>>)>,
    text_bytes: usize,
}

impl Findings {
    fn note(&mut self, snapshot: &SnapshotId, damaged: Damaged) {
        let last = (*snapshot, damaged.path.clone());
        let is_another_file = self.last.as_ref() != Some(&last);
        self.last = Some(last);
        let mark = self.marked.entry(*snapshot).or_insert_with(Mark::begin);
        mark.add(&damaged, is_another_file);
        self.losses.add(snapshot, &damaged);
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
        let path = damage.path.as_ref();
        let path_bytes = path.map_or(0, |path| path.to_string().len());
        // Ids, digests and names of fields.
        self.text_bytes += path_bytes + damage.problem.len() + 300;
        match self.text_bytes > MAX_DAMAGE_BYTES {
            true => self.is_truncated = true,
            false => self.damage.push(damage),
        }
    }
}
