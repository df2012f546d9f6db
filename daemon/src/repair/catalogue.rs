//! The catalogue against the manifests, which are the truth: rows that lack, rows that have nothing behind them, and a
//! catalogue that cannot be read at all.

use std::{path::PathBuf, sync::Arc};

use snap_api::{GivenUp, Repaired};
use snap_store::{
    Catalogue, Error as StoreError, Result as StoreResult, SnapshotId, SnapshotState, Store,
};
use tracing::warn;

use crate::{blocking, config::Config, error::Result, host, host::Host};

/// Brings rows and manifests into agreement, or says what would be done.
pub(super) async fn agree(host: &Arc<Host>, report: &mut Repaired) -> Result<()> {
    let job_host = Arc::clone(host);
    let mut changed = report.clone();
    *report = blocking(move || -> StoreResult<Repaired> {
        for id in job_host.store.manifests()? {
            one(&job_host, &id, &mut changed)?;
        }
        for record in job_host.catalogue.in_state(SnapshotState::Active)? {
            let manifest = job_host.store.manifest(&record.id);
            if matches!(manifest, Err(StoreError::NotFound { .. })) {
                let reason = "Its manifest is gone";
                give_up(&job_host, &record.id, reason.to_owned(), &mut changed)?;
            }
        }
        Ok(changed)
    })
    .await?;
    Ok(())
}

/// One manifest that is there.
fn one(host: &Host, id: &SnapshotId, report: &mut Repaired) -> StoreResult<()> {
    let state = match host.catalogue.get(id) {
        Ok(record) => Some(record.state),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    // Whoever makes or removes the snapshot is not done with it.
    if matches!(
        state,
        Some(SnapshotState::Creating | SnapshotState::Deleting)
    ) {
        return Ok(());
    }
    match host.store.manifest(id) {
        Ok(_) if state == Some(SnapshotState::Active) => Ok(()),
        Ok(_) => find_again(host, id, state, report),
        Err(StoreError::Corrupt { why, .. }) => {
            let reason = format!("Its manifest cannot be read: {why}");
            if state == Some(SnapshotState::Active) {
                give_up(host, id, reason, report)?;
            } else {
                note(report, id, reason);
            }
            match report.dry_run {
                true => Ok(()),
                false => host.store.quarantine_manifest(id).map(drop),
            }
        }
        // Removed since it was listed, or of a later release.
        Err(StoreError::NotFound { .. } | StoreError::Incompatible { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn find_again(
    host: &Host,
    id: &SnapshotId,
    state: Option<SnapshotState>,
    report: &mut Repaired,
) -> StoreResult<()> {
    if !report.dry_run {
        match state {
            None => host::import_one(&host.store, &host.catalogue, id)?,
            Some(_) => host.catalogue.find_again(id)?,
        }
    }
    report.found_again.push(id.to_string());
    Ok(())
}

fn give_up(host: &Host, id: &SnapshotId, reason: String, report: &mut Repaired) -> StoreResult<()> {
    if !report.dry_run {
        match host.catalogue.lose(id, &reason) {
            // Somebody is removing it.
            Err(StoreError::Busy { .. } | StoreError::NotFound { .. }) => return Ok(()),
            done => done?,
        }
        warn!(snapshot = %id, reason, "Gave a snapshot up");
    }
    note(report, id, reason);
    Ok(())
}

fn note(report: &mut Repaired, id: &SnapshotId, reason: String) {
    report.given_up.push(GivenUp {
        snapshot: id.to_string(),
        reason,
    });
}

/// What was done with a catalogue that could not be read.
#[derive(Debug)]
pub struct MadeAnew {
    /// Where the damaged one is now.
    pub kept: PathBuf,
    /// Snapshots in the new one.
    pub snapshots: u64,
}

/// Moves a catalogue that is damaged into quarantine and makes another one from the manifests, while no daemon runs on the
/// store. `None` when it is sound: then nothing is changed.
pub fn make_catalogue_anew(config: &Config) -> Result<Option<MadeAnew>> {
    // Takes the lock that a running daemon holds.
    let store = Store::ensure(&config.root)?;
    match Catalogue::open(&config.catalogue()) {
        Ok(_) => return Ok(None),
        Err(StoreError::Corrupt { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let kept = Catalogue::set_aside(&config.catalogue())?;
    let (catalogue, _) = Catalogue::open(&config.catalogue())?;
    let snapshots = host::import(&store, &catalogue)?;
    Ok(Some(MadeAnew { kept, snapshots }))
}
