//! Snapshots that are made by themselves, when a calendar says so.
//!
//! What is due is decided by what is stored and by the time alone. When something is begun, its next time is stored first: whatever becomes of
//! the attempt, and of the daemon, the same time is not met twice. Times that were missed are made up for once, and of one name one is made at a time.

pub(crate) mod calendar;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use snap_api::{JobOutcome, MemoryWish};
use snap_store::{
    AutoEnd, AutoRecord, AutoSource, Error as StoreError, Namespace, SnapshotId, SnapshotName,
};
use tracing::warn;

use self::calendar::Calendar;
use crate::{
    blocking, clock,
    create::{self, CreatePlan, CreateSource},
    error::{Result, in_full},
    host::Host,
    jobs::{JobHandle, JobKind, JobRequest},
};

/// How often is looked at least; a clock that was set is noticed no later.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again; twice as long after each further one.
const FIRST_RETRY_SECONDS: i64 = 60;
/// After so many failures in a row nothing is tried again before its next time.
const MAX_RETRIES: u64 = 5;
/// The label of a snapshot that was made by itself.
const LABEL: &str = "snapshotd.io/auto";
/// Of a failure that is remembered.
const MAX_FAILURE_BYTES: usize = 1000;

/// Makes what is due, for ever.
pub(crate) async fn run(host: Arc<Host>) {
    let running = Running::default();
    loop {
        let wait = round(&host, &running, clock::now()).await;
        tokio::time::sleep(wait).await;
    }
}

/// When the first one is due after `now`, in seconds since 1970.
///
/// # Errors
/// Why `schedule` is none.
pub(crate) fn first_after(schedule: &str, now: i64) -> Result<Option<i64>, String> {
    Ok(schedule.parse::<Calendar>()?.after(now))
}

/// One look at `now`, in seconds since 1970; returns how long until the next.
pub(crate) async fn round(host: &Arc<Host>, running: &Running, now: i64) -> Duration {
    let catalogue = Arc::clone(&host.catalogue);
    let all = match blocking(move || catalogue.autos(None)).await {
        Ok(all) => all,
        Err(error) => {
            warn!(%error, "Cannot look for automatic snapshots");
            return LOOK_EVERY;
        }
    };
    let mut wait = LOOK_EVERY;
    for seen in all {
        match step(host, running, &seen, now).await {
            Ok(Some(next)) => {
                let left = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
                wait = wait.min(Duration::from_secs(left.max(1)));
            }
            Ok(None) => {}
            Err(error) => {
                warn!(name = seen.name.name(), %error, "Cannot make an automatic snapshot");
            }
        }
    }
    wait
}

type Key = (Namespace, SnapshotName);

/// Names of which one is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<Mutex<BTreeSet<Key>>>);

/// The right to make one of a name; given up when it is dropped.
#[derive(Debug)]
struct Making(Running, Key);

impl Running {
    /// `None` while another one of the name is being made.
    fn begin(&self, one: &AutoRecord) -> Option<Making> {
        let key = (one.namespace.clone(), one.name.clone());
        let is_first = self.lock().insert(key.clone());
        is_first.then(|| Making(self.clone(), key))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// What is to be done about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    /// True when a snapshot is made now.
    is_due: bool,
    /// The next time.
    next_at: Option<i64>,
}

/// By the calendar nothing is later than its next time from now: when the clock went back, what is stored is.
fn decide(seen: &AutoRecord, calendar: &Calendar, now: i64) -> Decision {
    let regular = calendar.after(now);
    let is_due = seen.next_at.is_some_and(|next| next <= now);
    let next_at = match (is_due, seen.next_at, regular) {
        (false, Some(next), regular) => Some(regular.map_or(next, |regular| next.min(regular))),
        _ => regular,
    };
    Decision { is_due, next_at }
}

/// When it is tried again after it has failed at `now` for the `failures`-th time in a row.
fn retry_at(regular: Option<i64>, failures: u64, now: i64) -> Option<i64> {
    if failures > MAX_RETRIES {
        return regular;
    }
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let wait = FIRST_RETRY_SECONDS.saturating_mul(2_i64.saturating_pow(doublings));
    let retry = now.saturating_add(wait);
    Some(regular.map_or(retry, |regular| regular.min(retry)))
}

/// Makes one that is due, and returns its next time.
async fn step(
    host: &Arc<Host>,
    running: &Running,
    seen: &AutoRecord,
    now: i64,
) -> Result<Option<i64>> {
    let calendar: Calendar = match seen.schedule.parse() {
        Ok(calendar) => calendar,
        Err(why) => {
            warn!(
                name = seen.name.name(),
                why, "A schedule cannot be understood"
            );
            return Ok(None);
        }
    };
    let Decision { is_due, next_at } = decide(seen, &calendar, now);
    if next_at == seen.next_at && !is_due {
        return Ok(next_at);
    }
    let making = running.begin(seen).filter(|_| is_due);
    if is_due && making.is_none() {
        // What is due stays so until the one before has ended.
        return Ok(Some(now));
    }
    let begun = AutoRecord {
        next_at,
        ..seen.clone()
    };
    let (catalogue, before, after) = (Arc::clone(&host.catalogue), seen.clone(), begun.clone());
    let is_ours = blocking(move || catalogue.update_auto(&before, &after)).await?;
    match making {
        Some(making) if is_ours => start(host, begun, making)?,
        _ => {}
    }
    Ok(next_at)
}

/// Starts the job that makes it.
fn start(host: &Arc<Host>, begun: AutoRecord, making: Making) -> Result<()> {
    let plan = plan(host, &begun);
    let request = JobRequest {
        kind: JobKind::Create,
        namespace: begun.namespace.clone(),
        subject: match &begun.source {
            AutoSource::Container(id) => id.clone(),
            AutoSource::Path(path) => path.display().to_string(),
        },
        snapshot: Some(plan.id),
        key: None,
    };
    let job_host = Arc::clone(host);
    let started = host.jobs.start(request, move |job| async move {
        let id = plan.id;
        let made = make(&job_host, plan, &job).await;
        let result = match &made {
            Ok(_) => Ok(id),
            Err(error) => Err(in_full(error)),
        };
        note(&job_host, &begun, result, clock::now());
        drop(making);
        made
    });
    started.map(drop)
}

async fn make(host: &Arc<Host>, plan: CreatePlan, job: &JobHandle) -> Result<JobOutcome> {
    create::check(host, &plan).await?;
    let created = create::create(host, plan, job).await?;
    Ok(JobOutcome::Created(Box::new(created)))
}

fn plan(host: &Host, begun: &AutoRecord) -> CreatePlan {
    let ttl = host.config.default_ttl;
    CreatePlan {
        id: SnapshotId::random(),
        namespace: begun.namespace.clone(),
        source: match &begun.source {
            AutoSource::Container(id) => CreateSource::Container(id.clone()),
            AutoSource::Path(path) => CreateSource::Path(path.clone()),
        },
        name: Some(begun.name.clone()),
        expires_at: ttl.map(|ttl| clock::now().saturating_add_unsigned(ttl.as_secs())),
        unused_seconds: None,
        labels: BTreeMap::from([(LABEL.to_owned(), "schedule".to_owned())]),
        exclude: Vec::new(),
        include_mounts: Vec::new(),
        stop: false,
        memory: match begun.with_memory {
            true => MemoryWish::Wanted,
            false => MemoryWish::None,
        },
        hook: None,
        verify: false,
    }
}

/// Notes what came of it at `now`, in seconds since 1970, and when it is tried again. What was changed or removed meanwhile stays as it is.
fn note(host: &Host, begun: &AutoRecord, result: Result<SnapshotId, String>, now: i64) {
    let current = match host.catalogue.auto(&begun.namespace, &begun.name) {
        Ok(current) if is_same(&current, begun) => current,
        Ok(_) | Err(StoreError::NotFound { .. }) => return,
        Err(error) => return complain(begun, &error),
    };
    let failures = match &result {
        Ok(_) => 0,
        Err(_) => begun.failures.saturating_add(1),
    };
    let next_at = match failures {
        0 => current.next_at,
        failures => retry_at(current.next_at, failures, now),
    };
    let result = result.map_err(|mut why| {
        let end = (0..=MAX_FAILURE_BYTES.min(why.len())).rev();
        let end = end.into_iter().find(|end| why.is_char_boundary(*end));
        why.truncate(end.unwrap_or(0));
        why
    });
    let ended = AutoRecord {
        next_at,
        last: Some(AutoEnd { at: now, result }),
        failures,
        ..current.clone()
    };
    if let Err(error) = host.catalogue.update_auto(&current, &ended) {
        complain(begun, &error);
    }
}

fn is_same(one: &AutoRecord, other: &AutoRecord) -> bool {
    (&one.source, &one.schedule, one.with_memory)
        == (&other.source, &other.schedule, other.with_memory)
}

fn complain(begun: &AutoRecord, error: &StoreError) {
    warn!(name = begun.name.name(), %error, "Cannot note what came of an automatic snapshot");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// 2026-11-21T22:35:35Z.
    const NOW: i64 = 1_795_300_535;
    const HOUR: i64 = 3600;

    fn record(schedule: &str, next_at: Option<i64>) -> AutoRecord {
        AutoRecord {
            namespace: "default".parse().unwrap(),
            name: "web".parse().unwrap(),
            source: AutoSource::Path("/no/such/folder".into()),
            schedule: schedule.to_owned(),
            with_memory: false,
            next_at,
            last: None,
            failures: 0,
        }
    }

    /// How often it is made when the clock reads these times, one look each.
    fn made_at(schedule: &str, looks: &[i64]) -> Vec<i64> {
        let calendar: Calendar = schedule.parse().unwrap();
        let mut seen = record(schedule, calendar.after(NOW));
        let mut made = Vec::new();
        for now in looks {
            let decision = decide(&seen, &calendar, *now);
            seen.next_at = decision.next_at;
            if decision.is_due {
                made.push(*now);
            }
        }
        made
    }

    /// **W2** What was missed while the daemon was down is made up for once, however often it was missed. A clock that is set makes at most one
    /// snapshot at once, and the next at the next time of the calendar by the clock as it is then.
    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let (hour, day) = (HOUR, 24 * HOUR);
        let next = NOW + 1465;
        assert_eq!(
            made_at("hourly", &[next - 1, next, next + 1, next + hour]),
            [next, next + hour]
        );
        let late = next + 90 * day;
        assert_eq!(made_at("hourly", &[late, late + 1, late + 2]), [late]);
        let back = NOW - 365 * day;
        let again = back + 1465;
        assert_eq!(
            made_at("hourly", &[next, back, back + 1, again, again + 1]),
            [next, again]
        );
        let ahead = NOW + 365 * day;
        assert_eq!(
            made_at("hourly", &[ahead, ahead + 1, NOW, NOW + 1, next]),
            [ahead, next]
        );
        assert_eq!(
            made_at("2027-01-01", &[NOW, NOW + 365 * day, NOW + 366 * day]),
            [NOW + 365 * day]
        );
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_not_for_ever() {
        let regular = Some(NOW + 24 * HOUR);
        let waits: Vec<i64> = (1..=7)
            .map(|failures| retry_at(regular, failures, NOW).unwrap() - NOW)
            .collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 24 * HOUR, 24 * HOUR]);
        assert_eq!(retry_at(Some(NOW + 30), 3, NOW), Some(NOW + 30));
        assert_eq!(retry_at(None, 1, NOW), Some(NOW + 60));
        assert_eq!(retry_at(None, 6, NOW), None);
    }

    #[tokio::test]
    async fn a_failure_is_noted_and_tried_again() {
        let (host, _folder) = fixture::host(|_| {});
        let seen = record("hourly", Some(NOW));
        host.catalogue.set_auto(&seen, 9).unwrap();
        let wait = round(&host, &Running::default(), NOW).await;
        assert_eq!(wait, LOOK_EVERY);
        let found = loop {
            let found = host.catalogue.autos(None).unwrap().remove(0);
            if found.last.is_some() {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(found.failures, 1);
        let why = found.last.unwrap().result.unwrap_err();
        assert!(why.contains("/no/such/folder"), "{why}");
        assert_ne!(found.next_at, Some(NOW));
        let told = host
            .events
            .after(None, None, 9, Duration::from_secs(20))
            .await;
        assert_eq!(told.events[0].action, "create");
        assert!(told.events[0].error.is_some());
    }

    #[tokio::test]
    async fn what_was_changed_meanwhile_stays_as_it_is() {
        let (host, _folder) = fixture::host(|_| {});
        let begun = record("hourly", Some(NOW));
        let changed = record("daily", Some(NOW + 5));
        host.catalogue.set_auto(&changed, 9).unwrap();
        note(&host, &begun, Ok(SnapshotId::random()), NOW);
        assert_eq!(host.catalogue.autos(None).unwrap(), [changed]);
        let running = Running::default();
        assert!(step(&host, &running, &begun, NOW).await.unwrap().is_some());
        assert_eq!(host.jobs.running(), 0, "nothing was begun");
    }

    #[tokio::test]
    async fn of_one_name_one_is_made_at_a_time() {
        let (host, _folder) = fixture::host(|_| {});
        let seen = record("*:*:*", Some(NOW));
        host.catalogue.set_auto(&seen, 9).unwrap();
        let running = Running::default();
        let making = running.begin(&seen).unwrap();
        for _ in 0..3 {
            assert_eq!(round(&host, &running, NOW).await, Duration::from_secs(1));
        }
        let left = host.catalogue.autos(None).unwrap();
        assert_eq!(left, std::slice::from_ref(&seen), "it is due still");
        drop(making);
        round(&host, &running, NOW).await;
        assert_eq!(
            host.catalogue.autos(None).unwrap()[0].next_at,
            Some(NOW + 1)
        );
    }
}
