//! The scrub: everything stored is read again and again, so slowly that nobody notices, and damage is found while another copy
//! may still be had.
//!
//! Packs are read in their order, one after the other; where it is stands in the catalogue, so that the next daemon goes on from
//! there. It reads through the system's cache and leaves nothing in it. What it finds damaged is mended at once when
//! all of it can be had again; otherwise nothing is changed, the snapshots that are hit are marked, and the operator decides.

mod pace;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use snap_api::{ErrorReport, JobOutcome, ScrubStatus};
use snap_store::{Catalogue, Error as StoreError, PackId, Result as StoreResult, Survey};
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::pace::{Pace, Stopper};
use crate::{
    blocking, clock,
    error::{Error, Result},
    host::Host,
    jobs::{JobHandle, JobKind, JobRequest},
    repair,
};

/// The name of the note that says where the scrub is.
const NOTE: &str = "scrub";
/// A store is not read more often than this, however small it is.
const ROUND_SECONDS: i64 = 7 * 24 * 60 * 60;
/// How often it is looked whether a round is due, and whether damaged snapshots are whole again.
const LOOK: Duration = Duration::from_secs(10 * 60);
/// Packs read before their place is noted.
const PACKS_A_NOTE: usize = 8;
/// Damaged packs that are remembered.
const MAX_DAMAGED: usize = 1000;
/// Everybody else first; the priority of its reads follows from it.
const NICE: i32 = 19;

/// Where the scrub is; noted in the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The last pack that was read in this round.
    after: Option<String>,
    begun_at: Option<i64>,
    completed_at: Option<i64>,
    read_bytes: u64,
    /// Packs that are damaged and have not been mended.
    damaged: BTreeSet<String>,
}

/// The scrub of this store, for those who ask how it is.
#[derive(Debug, Default)]
pub struct Scrub {
    place: Mutex<Place>,
    failure: Mutex<Option<String>>,
}

impl Scrub {
    /// Takes up where an earlier daemon was.
    pub fn load(catalogue: &Catalogue) -> StoreResult<Self> {
        let noted = catalogue.note(NOTE)?;
        // A note that cannot be read costs a round.
        let place = noted.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self {
            place: Mutex::new(place.unwrap_or_default()),
            failure: Mutex::default(),
        })
    }

    /// How it goes; the whole store has `total_bytes`.
    #[must_use]
    pub fn status(&self, bytes_per_day: u64, total_bytes: u64) -> ScrubStatus {
        let place = self.place();
        ScrubStatus {
            bytes_per_day,
            read_bytes: place.read_bytes.min(total_bytes),
            total_bytes,
            begun_at: place.begun_at.map(clock::rfc3339),
            completed_at: place.completed_at.map(clock::rfc3339),
            damaged_packs: place.damaged.len() as u64,
            failure: lock(&self.failure).clone(),
        }
    }

    /// Packs that are known to be damaged and have not been mended.
    #[must_use]
    pub fn damaged_packs(&self) -> u64 {
        self.place().damaged.len() as u64
    }

    /// A repair has looked after everything that was found.
    pub fn forget_damage(&self, catalogue: &Catalogue) -> StoreResult<()> {
        self.change(catalogue, |place| place.damaged.clear())
    }

    fn place(&self) -> Place {
        lock(&self.place).clone()
    }

    fn change(&self, catalogue: &Catalogue, change: impl FnOnce(&mut Place)) -> StoreResult<()> {
        let place = {
            let mut place = lock(&self.place);
            change(&mut place);
            place.clone()
        };
        let text = serde_json::to_string(&place).expect("numbers and text are always JSON");
        catalogue.set_note(NOTE, &text)
    }
}

/// Goes round the store as long as the daemon runs.
pub async fn run(host: Arc<Host>) {
    loop {
        // Those who wait for the daemon after a start come first.
        tokio::time::sleep(LOOK).await;
        let done = one_look(&host).await;
        if let Err(error) = &done {
            warn!(%error, "The scrub was interrupted and goes on later");
        }
        *lock(&host.scrub.failure) = done.err().map(|error| ErrorReport::from(error).to_string());
    }
}

async fn one_look(host: &Arc<Host>) -> Result<()> {
    let look_host = Arc::clone(host);
    blocking(move || {
        look_host
            .marks
            .refresh(&look_host.catalogue, &look_host.store)
    })
    .await?;
    if host.config.scrub_bytes_per_day == 0 {
        return Ok(());
    }
    let place = host.scrub.place();
    let is_due = |begun_at: i64| clock::now().saturating_sub(begun_at) >= ROUND_SECONDS;
    if place.after.is_none() && !place.begun_at.is_none_or(is_due) {
        return Ok(());
    }
    round(host).await
}

/// Reads what is left of the round, in a thread of its own that is told to stop when this is dropped.
async fn round(host: &Arc<Host>) -> Result<()> {
    let (sender, mut found) = mpsc::unbounded_channel();
    let stopper = Stopper::default();
    let pace = Pace::new(host.config.scrub_bytes_per_day, &stopper);
    let thread_host = Arc::clone(host);
    let reading = move || {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            warn!(%error, "The scrub cannot step back behind others");
        }
        let done = read_on(&thread_host, &pace, &|pack| drop(sender.send(Ok(pack))));
        if let Err(error) = done {
            // Nobody listens when the daemon stops.
            let _ = sender.send(Err(error));
        }
    };
    let named = thread::Builder::new().name("scrub".to_owned());
    named
        .spawn(reading)
        .map_err(Error::io("start", "the scrub"))?;
    while let Some(pack) = found.recv().await {
        match pack {
            Ok(pack) => mend(host, pack).await?,
            Err(StoreError::Cancelled) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads packs until the round is done, and tells `each` of every one that is damaged.
fn read_on(host: &Host, pace: &Pace, each: &dyn Fn(PackId)) -> StoreResult<()> {
    let (scrub, catalogue, store) = (&host.scrub, &host.catalogue, &host.store);
    let after = scrub
        .place()
        .after
        .and_then(|pack| pack.parse::<PackId>().ok());
    if after.is_none() {
        scrub.change(catalogue, |place| {
            place.begun_at = Some(clock::now());
            place.read_bytes = 0;
        })?;
    }
    let packs = store.packs()?;
    let left: Vec<PackId> = packs
        .into_iter()
        .filter(|pack| Some(*pack) > after)
        .collect();
    for packs in left.chunks(PACKS_A_NOTE) {
        let mut read_bytes = 0;
        for pack in packs {
            let mut survey = Survey::gentle(store.clone());
            survey.read(&[*pack], None, pace)?;
            read_bytes += survey.bytes();
            if let Some(flaw) = survey.packs().get(pack) {
                warn!(
                    %pack, damaged_chunks = flaw.chunks, problem = flaw.problem,
                    "A pack is damaged; `snapctl repair --dry-run` says what can be done"
                );
                each(*pack);
            }
        }
        scrub.change(catalogue, |place| {
            place.after = packs.last().map(ToString::to_string);
            place.read_bytes += read_bytes;
        })?;
    }
    info!(packs = left.len(), "The scrub has read the whole store");
    scrub.change(catalogue, |place| {
        place.after = None;
        place.completed_at = Some(clock::now());
    })
}

/// Mends what is known to be damaged, if all of it can be had again, as a job that everybody can see.
async fn mend(host: &Arc<Host>, pack: PackId) -> Result<()> {
    host.scrub.change(&host.catalogue, |place| {
        if place.damaged.len() < MAX_DAMAGED {
            place.damaged.insert(pack.to_string());
        }
    })?;
    let request = JobRequest {
        kind: JobKind::Repair,
        namespace: "default".parse().expect("it is a namespace's name"),
        subject: format!("pack {pack}"),
        snapshot: None,
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(request, move |job| async move {
        let repaired = mend_known(&job_host, &job).await?;
        Ok(JobOutcome::Repaired(Box::new(repaired)))
    })?;
    Ok(())
}

async fn mend_known(host: &Arc<Host>, job: &JobHandle) -> Result<snap_api::Repaired> {
    let damaged = host.scrub.place().damaged;
    let packs: Vec<PackId> = damaged
        .iter()
        .filter_map(|pack| pack.parse().ok())
        .collect();
    let repaired = repair::repair_packs(host, packs, job).await?;
    let is_mended = repaired.lost.iter().all(|place| place.pack.is_none());
    if is_mended && !repaired.truncated {
        host.scrub.forget_damage(&host.catalogue)?;
        return Ok(repaired);
    }
    warn!(
        places = repaired.lost.len(),
        "Damage was found that no other copy was found for; see `snapctl repair --dry-run`"
    );
    Ok(repaired)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
