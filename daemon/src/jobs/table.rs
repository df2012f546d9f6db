//! The jobs that are remembered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use snap_api::{ErrorReport, JobOutcome, JobStarted};
use snap_store::{Namespace, SnapshotId};

use super::{JobHandle, JobRequest, JobState, JobView};
use crate::clock;

/// Ended jobs that are remembered.
const REMEMBERED_JOBS: usize = 1000;
/// For how long.
const REMEMBERED_SECONDS: i64 = 24 * 60 * 60;
/// What ended jobs have printed that is kept, of all of them together.
const KEPT_OUTPUT_BYTES: usize = 32 << 20;
/// Hexadecimal digits of a job's id: 64 random bits.
const ID_DIGITS: usize = 16;

/// One job.
#[derive(Debug)]
pub(super) struct Job {
    /// Its id on the wire. Random, so that an id from before a restart is never another job's.
    pub(super) id: String,
    pub(super) request: JobRequest,
    pub(super) handle: JobHandle,
    started_at: i64,
    end: OnceLock<End>,
}

/// How a job ended.
#[derive(Debug)]
pub(super) struct End {
    /// Seconds since 1970.
    pub(super) at: i64,
    pub(super) result: Result<JobOutcome, ErrorReport>,
}

impl Job {
    pub(super) fn started(&self) -> JobStarted {
        JobStarted {
            job: self.id.clone(),
            snapshot: self.request.snapshot.as_ref().map(SnapshotId::to_string),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// How it ended, once it has.
    pub(super) fn result(&self) -> Option<&Result<JobOutcome, ErrorReport>> {
        self.end.get().map(|end| &end.result)
    }

    /// Ends it; a job ends once.
    pub(super) fn finish(&self, end: End) {
        if self.end.set(end).is_ok() {
            self.handle.turn();
        }
    }

    pub(super) fn view(&self) -> JobView {
        // Read first: a number that is too old makes the client ask once more, one too new would hide a change.
        let seq = self.handle.seq();
        let end = self.end.get();
        let (state, outcome, error) = match end.map(|end| &end.result) {
            None => (JobState::Running, None, None),
            Some(Ok(outcome)) => (JobState::Done, Some(outcome.clone()), None),
            Some(Err(error)) => (JobState::Failed, None, Some(error.clone())),
        };
        JobView {
            job: self.id.clone(),
            kind: self.request.kind.as_str().to_owned(),
            namespace: self.request.namespace.to_string(),
            subject: self.request.subject.clone(),
            state,
            seq,
            started_at: clock::rfc3339(self.started_at),
            ended_at: end.map(|end| clock::rfc3339(end.at)),
            progress: self.handle.view(),
            retry: self.handle.retry(),
            outcome,
            error,
        }
    }
}

/// Jobs by number (their order), by id and by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    jobs: BTreeMap<u64, Arc<Job>>,
    numbers: HashMap<String, u64>,
    keys: HashMap<String, u64>,
}

impl Table {
    pub(super) fn add(&mut self, request: JobRequest, now: i64) -> Arc<Job> {
        self.prune(now);
        let mut id = SnapshotId::random().to_string();
        id.truncate(ID_DIGITS);
        let number = self.next;
        self.next += 1;
        self.numbers.insert(id.clone(), number);
        if let Some(key) = &request.key {
            self.keys.insert(key.clone(), number);
        }
        let job = Arc::new(Job {
            id,
            request,
            handle: JobHandle::new(),
            started_at: now,
            end: OnceLock::new(),
        });
        self.jobs.insert(number, Arc::clone(&job));
        job
    }

    pub(super) fn by_id(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs.get(self.numbers.get(id)?).cloned()
    }

    pub(super) fn by_key(&self, key: &str) -> Option<Arc<Job>> {
        self.jobs.get(self.keys.get(key)?).cloned()
    }

    pub(super) fn running(&self) -> usize {
        self.jobs.values().filter(|job| !job.has_ended()).count()
    }

    pub(super) fn cancel_all(&self) {
        self.jobs
            .values()
            .filter(|job| !job.has_ended())
            .for_each(|job| job.handle.cancel());
    }

    pub(super) fn list(
        &self,
        namespace: Option<&Namespace>,
        before: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, JobView)> {
        let before = before.unwrap_or(u64::MAX);
        let in_namespace =
            |job: &Job| namespace.is_none_or(|namespace| job.request.namespace == *namespace);
        let jobs = self.jobs.range(..before).rev();
        jobs.filter(|(_, job)| in_namespace(job))
            .take(limit)
            .map(|(number, job)| (*number, job.view()))
            .collect()
    }

    /// Forgets ended jobs that are too old or too many, the oldest first.
    pub(super) fn prune(&mut self, now: i64) {
        let ended: Vec<(u64, i64)> = self
            .jobs
            .iter()
            .filter_map(|(number, job)| Some((*number, job.end.get()?.at)))
            .collect();
        let surplus = ended.len().saturating_sub(REMEMBERED_JOBS);
        for (position, (number, ended_at)) in ended.into_iter().enumerate() {
            if position < surplus || ended_at.saturating_add(REMEMBERED_SECONDS) < now {
                self.forget(number);
            }
        }
        self.prune_output();
    }

    /// The output of the jobs that ended last is kept, as far as there is room for it.
    fn prune_output(&mut self) {
        let mut kept_bytes = 0;
        for job in self.jobs.values().rev().filter(|job| job.has_ended()) {
            kept_bytes += job.handle.output_bytes();
            if kept_bytes > KEPT_OUTPUT_BYTES {
                kept_bytes -= job.handle.output_bytes();
                job.handle.forget_output();
            }
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(job) = self.jobs.remove(&number) else {
            return;
        };
        self.numbers.remove(&job.id);
        if let Some(key) = &job.request.key {
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use snap_api::ErrorCode;

    use super::*;
    use crate::jobs::JobKind;

    /// A thousand builds that each print a megabyte kept a gigabyte of memory for a day.
    #[test]
    fn what_ended_jobs_have_printed_takes_bounded_memory() {
        let mut table = Table::default();
        let request = || JobRequest {
            kind: JobKind::Build,
            namespace: "default".parse().unwrap(),
            subject: "web".to_owned(),
            snapshot: None,
            key: None,
        };
        let jobs: Vec<_> = (0..40).map(|_| table.add(request(), 1)).collect();
        for job in &jobs {
            job.handle.print(&vec![b'x'; 1 << 20]);
            job.finish(End {
                at: 1,
                result: Err(ErrorReport::new(ErrorCode::Conflict, "failed", "It failed")),
            });
        }
        table.prune(2);
        let kept = jobs.iter().map(|job| job.handle.output_bytes() >> 20);
        let kept: Vec<_> = kept.collect();
        assert_eq!((kept[..8].iter().sum(), kept[8..].iter().sum()), (0, 32));
        assert!(jobs[0].handle.printed(0, true).missed);
        assert_eq!(table.jobs.len(), 40);
    }
}
