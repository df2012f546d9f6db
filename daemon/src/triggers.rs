//! Snapshots that are made when a container ends: told by containerd's events, wished by labels and files of policies.
//!
//! An end is written down before a snapshot is made upon it, so none is met twice. What was missed, because the daemon or containerd was
//! away, is found by looking at tasks that have ended and are still there; only what ended since the daemon last began to listen
//! counts, for nobody knows of anything older whether it was wished then.

mod decision;
mod noted;
mod policies;
mod views;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use snap_api::{ErrorCode, ErrorReport, JobOutcome, MemoryWish};
use snap_store::{EndCause, Namespace, SnapshotId, TriggerRecord};
use tokio::sync::Notify;
use tracing::{info, warn};

use self::{
    decision::End,
    noted::{change, note, resume},
    policies::{Ttl, Wish},
};
pub(crate) use self::{policies::Policies, views::views};
use crate::{
    blocking, clock,
    containerd::{Ended, Task, TaskEnd, TaskEvent, TaskStatus},
    create::{self, CreatePlan, CreateSource},
    error::{Result, in_full},
    host::Host,
    jobs::{JobHandle, JobKind, JobRequest},
};

/// Between two attempts to follow containerd's events.
const RECONNECT: Duration = Duration::from_secs(5);
/// How often is looked for what no event has told.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often what is due is looked for at least; a clock that was set is noticed no later.
const DUE_EVERY: Duration = Duration::from_secs(10);
/// How far apart the kernel's word on memory and the end of the task may be.
const TOGETHER: Duration = Duration::from_secs(60);
/// Of a failure that is remembered.
const MAX_FAILURE_BYTES: usize = 1000;
/// The label of a snapshot that was made by itself.
const LABEL: &str = "snapshotd.io/auto";
/// Under which it is noted when listening began.
const NOTE: &str = "triggers-listening-since-ms";

/// What holds for containers that end.
#[derive(Debug)]
pub struct Triggers {
    folder: PathBuf,
    policies: Mutex<Arc<Policies>>,
    changed: Notify,
}

impl Triggers {
    /// Reads the files of `folder`.
    pub(crate) fn read(folder: &Path) -> Self {
        let policies = Policies::read(folder);
        complain(&policies);
        Self {
            folder: folder.to_owned(),
            policies: Mutex::new(Arc::new(policies)),
            changed: Notify::new(),
        }
    }

    /// Reads them again; they hold from now on.
    pub(crate) async fn read_again(&self, host: &Host) {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || Policies::read(&folder)).await;
        let Ok(policies) = read else {
            return warn!("Cannot read the policies of automatic snapshots again");
        };
        complain(&policies);
        info!(
            files = policies.files.len(),
            bad = policies.bad.len(),
            "Read the policies of automatic snapshots"
        );
        *self.policies.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
        begin_to_listen(host, clock_ms());
        self.changed.notify_one();
    }

    /// The files there are.
    pub(crate) fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn complain(policies: &Policies) {
    for bad in &policies.bad {
        warn!(file = %bad.path.display(), why = bad.why, "A policy of automatic snapshots is left out");
    }
}

/// Follows ends of tasks, for ever; connects again after containerd was away.
pub(crate) async fn run(host: Arc<Host>) {
    resume(&host);
    let mut follower = Follower {
        recent: HashMap::new(),
        since_ms: since(&host),
        host,
    };
    loop {
        follower.follow().await;
        tokio::time::sleep(RECONNECT).await;
    }
}

type Key = (Namespace, String);

/// What was told of a container lately: the two come in any order.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// Something in it was killed for its memory.
    OutOfMemory,
    /// It was killed; the end that was told.
    Killed(i64),
}

struct Follower {
    host: Arc<Host>,
    recent: HashMap<Key, (Instant, Told)>,
    /// What ended before is not made up for, in milliseconds since 1970.
    since_ms: i64,
}

impl Follower {
    /// Until containerd goes away.
    async fn follow(&mut self) {
        let mut events = self.host.containerd.subscribe_to_ends();
        let now_ms = clock_ms();
        if self.look().await {
            self.since_ms = now_ms;
            begin_to_listen(&self.host, now_ms);
        }
        let mut looked = Instant::now();
        loop {
            let wait = self.make_due().await;
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.told(event).await,
                    None => return,
                },
                () = self.host.triggers.changed.notified() => self.since_ms = clock_ms(),
                () = tokio::time::sleep(wait) => {}
            }
            if looked.elapsed() > LOOK_EVERY {
                self.look().await;
                looked = Instant::now();
            }
        }
    }

    /// What an event means.
    async fn told(&mut self, event: TaskEvent) {
        self.recent.retain(|_, (at, _)| at.elapsed() < TOGETHER);
        let Ok(namespace) = event.namespace.parse::<Namespace>() else {
            return;
        };
        let key = (namespace, event.container);
        let before = self.recent.remove(&key).map(|(_, told)| told);
        let end = match (event.what, before) {
            (TaskEnd::OutOfMemory, Some(Told::Killed(at_ms))) => End {
                cause: EndCause::Oom,
                at_ms,
            },
            (TaskEnd::OutOfMemory, _) => {
                let told = (Instant::now(), Told::OutOfMemory);
                self.recent.insert(key, told);
                return;
            }
            (TaskEnd::Exited(Ended { at_ms, .. }), Some(Told::OutOfMemory)) => End {
                cause: EndCause::Oom,
                at_ms,
            },
            (TaskEnd::Exited(Ended { status, at_ms }), _) => {
                let cause = decision::cause(status);
                if cause == EndCause::Stop {
                    let told = (Instant::now(), Told::Killed(at_ms));
                    self.recent.insert(key.clone(), told);
                }
                End { cause, at_ms }
            }
        };
        self.tolerate(&key, end).await;
    }

    async fn tolerate(&self, key: &Key, end: End) {
        if let Err(error) = meet(&self.host, key, end, None).await {
            let reason = in_full(&error);
            warn!(namespace = %key.0, container = key.1, reason, "Cannot note that a container has ended");
        }
    }

    /// Looks for ends that nobody has told; returns whether it could. What is known of containers that are gone is forgotten.
    async fn look(&self) -> bool {
        match self.try_to_look().await {
            Ok(()) => true,
            Err(error) => {
                let reason = in_full(&error);
                info!(reason, "Cannot look for containers that have ended");
                false
            }
        }
    }

    async fn try_to_look(&self) -> Result<()> {
        let host = &self.host;
        let policies = host.triggers.policies();
        let all = host.containerd.labels().await?;
        for record in host.catalogue.triggers(None)? {
            if !all.contains_key(&(record.namespace.clone(), record.container.clone())) {
                host.catalogue
                    .remove_trigger(&record.namespace, &record.container)?;
            }
        }
        for (key, labels) in all {
            let Ok(Some(_)) = policies.of(&key.0, &key.1, &labels) else {
                continue;
            };
            let task = host.containerd.task_at_once(&key.0, &key.1).await;
            let Ok(Some(Task {
                ended: Some(ended), ..
            })) = task
            else {
                continue;
            };
            if ended.at_ms >= self.since_ms {
                let end = End {
                    cause: decision::cause(ended.status),
                    at_ms: ended.at_ms,
                };
                meet(host, &key, end, Some(&labels)).await?;
            }
        }
        Ok(())
    }

    /// Begins what is due; returns how long until the next.
    async fn make_due(&self) -> Duration {
        let now = clock::now();
        let catalogue = Arc::clone(&self.host.catalogue);
        let known = match blocking(move || catalogue.triggers(None)).await {
            Ok(known) => known,
            Err(error) => {
                warn!(%error, "Cannot look for automatic snapshots");
                return DUE_EVERY;
            }
        };
        let mut wait = DUE_EVERY;
        for seen in known {
            if let Some(due) = seen.due_at.filter(|due| *due > now) {
                let left = u64::try_from(due.saturating_sub(now)).unwrap_or(0);
                wait = wait.min(Duration::from_secs(left));
            }
            let Some(begun) = decision::begun(&seen, now) else {
                continue;
            };
            if let Err(error) = begin(&self.host, &seen, begun) {
                let reason = in_full(&error);
                warn!(
                    container = seen.container,
                    reason, "Cannot make an automatic snapshot"
                );
            }
        }
        wait
    }
}

/// Notes an end, when a snapshot is wished upon it and it was not met before.
async fn meet(
    host: &Arc<Host>,
    (namespace, id): &Key,
    end: End,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<()> {
    let labels = match labels {
        Some(labels) => labels.clone(),
        None => match host.containerd.find_container(namespace, id).await? {
            Some(info) => info.config.labels,
            None => return Ok(()),
        },
    };
    match host.triggers.policies().of(namespace, id, &labels) {
        Ok(Some(wish)) if wish.on.contains(&end.cause) => {}
        Ok(_) => return Ok(()),
        Err(why) => {
            warn!(%namespace, container = id, why, "An automatic snapshot is wished for in words that cannot be understood");
            return Ok(());
        }
    }
    // What a restore or a build has not finished yet is nobody's container.
    if host
        .catalogue
        .container(namespace, id)
        .is_ok_and(|record| !record.is_complete)
    {
        return Ok(());
    }
    let met =
        |seen: Option<&TriggerRecord>| decision::met(seen, (namespace, id), end, clock::now());
    if let Some(next) = change(host, (namespace, id), met)? {
        let (cause, held_back) = (end.cause.as_str(), next.held_back);
        info!(%namespace, container = id, cause, held_back, "A container has ended that is captured then");
    }
    Ok(())
}

/// Starts the job of an attempt, once it is written down that it begins. What cannot begin now stays due.
fn begin(host: &Arc<Host>, seen: &TriggerRecord, begun: TriggerRecord) -> Result<()> {
    if !host.catalogue.update_trigger(Some(seen), &begun)? {
        return Ok(());
    }
    let id = SnapshotId::random();
    let request = JobRequest {
        kind: JobKind::Create,
        namespace: begun.namespace.clone(),
        subject: begun.container.clone(),
        snapshot: Some(id),
        key: None,
    };
    let (job_host, waits) = (Arc::clone(host), begun.clone());
    let started = host.jobs.start(request, move |job| async move {
        let made = make(&job_host, &begun, id, &job).await;
        let result = match &made {
            Ok(_) => Ok(id),
            Err(error) => Err(shortened(in_full(error))),
        };
        note(&job_host, &begun, &result);
        made
    });
    if started.is_err() {
        host.catalogue.update_trigger(Some(&waits), seen)?;
    }
    started.map(drop)
}

/// The files of a container that has ended. When its task was started again before, it is captured as one that runs.
async fn make(
    host: &Arc<Host>,
    begun: &TriggerRecord,
    id: SnapshotId,
    job: &JobHandle,
) -> Result<JobOutcome> {
    let (namespace, container) = (&begun.namespace, &begun.container);
    let info = host.containerd.container(namespace, container).await?;
    let policies = host.triggers.policies();
    let wish = policies.of(namespace, container, &info.config.labels);
    let Ok(Some(wish)) = wish else {
        let message = format!("No snapshot of container {container} is wished for any more");
        return Err(ErrorReport::new(ErrorCode::Conflict, "not-wished", message).into());
    };
    let task = host.containerd.task(namespace, container).await?;
    let runs =
        task.is_some_and(|task| matches!(task.status, TaskStatus::Running | TaskStatus::Paused));
    let source = match runs {
        true => CreateSource::Container(container.clone()),
        false => CreateSource::AtRest(container.clone()),
    };
    let plan = plan(host, begun, &wish, (id, source));
    create::check(host, &plan).await?;
    let created = create::create(host, plan, job).await?;
    Ok(JobOutcome::Created(Box::new(created)))
}

fn plan(
    host: &Host,
    begun: &TriggerRecord,
    wish: &Wish,
    (id, source): (SnapshotId, CreateSource),
) -> CreatePlan {
    let ttl = match wish.ttl {
        Ttl::Default => host.config.default_ttl,
        Ttl::Set(ttl) => ttl,
    };
    let label = (LABEL.to_owned(), begun.cause.as_str().to_owned());
    CreatePlan {
        id,
        namespace: begun.namespace.clone(),
        source,
        name: Some(wish.name.clone()),
        expires_at: ttl.map(|ttl| clock::now().saturating_add_unsigned(ttl.as_secs())),
        unused_seconds: None,
        labels: BTreeMap::from([label]),
        exclude: Vec::new(),
        include_mounts: Vec::new(),
        stop: false,
        memory: MemoryWish::None,
        hook: None,
        verify: false,
    }
}

/// When the daemon last began to listen, in milliseconds since 1970; now, when it never has.
fn since(host: &Host) -> i64 {
    let noted = host.catalogue.note(NOTE).ok().flatten();
    noted
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(clock_ms)
}

fn begin_to_listen(host: &Host, now_ms: i64) {
    if let Err(error) = host.catalogue.set_note(NOTE, &now_ms.to_string()) {
        warn!(%error, "Cannot note since when ends of containers are listened for");
    }
}

fn clock_ms() -> i64 {
    clock::now().saturating_mul(1000)
}

fn shortened(mut why: String) -> String {
    let end = (0..=MAX_FAILURE_BYTES.min(why.len())).rev();
    let end = end.into_iter().find(|end| why.is_char_boundary(*end));
    why.truncate(end.unwrap_or(0));
    why
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn met_now(host: &Host, id: &str) -> TriggerRecord {
        let namespace = "default".parse().unwrap();
        let end = End {
            cause: EndCause::Exit,
            at_ms: clock_ms(),
        };
        let met =
            |seen: Option<&TriggerRecord>| decision::met(seen, (&namespace, id), end, clock::now());
        change(host, (&namespace, id), met).unwrap().unwrap()
    }

    fn known(host: &Host) -> TriggerRecord {
        host.catalogue.triggers(None).unwrap().remove(0)
    }

    /// When there were too many jobs, or the daemon was stopping, the attempt was written down as begun and never made.
    #[tokio::test]
    async fn what_no_job_can_be_started_for_stays_due() {
        let (host, _folder) = fixture::host(|_| {});
        let waits = met_now(&host, "web");
        host.jobs.shut_down(Duration::ZERO).await;
        let begun = decision::begun(&waits, clock::now()).unwrap();
        begin(&host, &waits, begun).unwrap_err();
        assert_eq!(known(&host), waits);
    }

    /// A daemon that was killed while it captured never came back to it: the end was met, and nothing was due.
    #[tokio::test]
    async fn what_a_killed_daemon_was_at_is_due_again_after_the_next_start() {
        let (host, _folder) = fixture::host(|_| {});
        let waits = met_now(&host, "web");
        let begun = decision::begun(&waits, clock::now()).unwrap();
        host.catalogue.update_trigger(Some(&waits), &begun).unwrap();
        resume(&host);
        let again = known(&host);
        assert_eq!((again.due_at, again.failures), (Some(begun.quiet_until), 1));
        assert!(again.last.is_some_and(|last| last.result.is_err()));
        resume(&host);
        assert_eq!(known(&host).failures, 1, "that was one attempt");
    }

    /// An end that came while the end of an attempt was written down was lost.
    #[test]
    fn an_end_is_not_lost_to_another_change() {
        let (host, _folder) = fixture::host(|_| {});
        let (namespace, now) = ("default".parse().unwrap(), clock::now());
        let first = met_now(&host, "web");
        let mut asked = 0;
        let changed = change(&host, (&namespace, "web"), |seen| {
            asked += 1;
            if asked == 1 {
                let begun = decision::begun(&first, now).unwrap();
                host.catalogue.update_trigger(Some(&first), &begun).unwrap();
            }
            let end = End {
                cause: EndCause::Exit,
                at_ms: first.ended_ms + 1,
            };
            decision::met(seen, (&namespace, "web"), end, now)
        });
        assert_eq!((changed.unwrap().unwrap(), asked), (known(&host), 2));
        assert_eq!(known(&host).ended_ms, first.ended_ms + 1);
    }
}
