//! The job's side of progress.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use snap_api::{JobOutput, ProgressView, RetryView};
use snap_store::Progress;
use tokio::sync::{Notify, watch};
use tracing::debug;

/// Stands for a total that is not known.
const UNKNOWN: u64 = u64::MAX;
/// What is kept of the output of a job, in bytes, and what one answer holds of it.
const KEPT_BYTES: usize = 1 << 20;
const ANSWER_BYTES: usize = 128 << 10;

/// The job's side of progress: the recipe reports through it and learns of cancellation.
///
/// Reporting is a few relaxed additions, because it is called for every file and every chunk.
#[derive(Clone, Debug)]
pub struct JobHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Mutex<String>,
    files: AtomicU64,
    bytes: AtomicU64,
    total_bytes: AtomicU64,
    /// Grows with every change; 1 before the first.
    seq: AtomicU64,
    /// Told of new phases and of the end, not of every number.
    turns: watch::Sender<()>,
    is_cancelled: AtomicBool,
    cancel: Notify,
    output: Mutex<Output>,
    retry: Mutex<Option<RetryView>>,
}

/// The end of what a job has printed.
#[derive(Debug, Default)]
struct Output {
    /// How many bytes went before.
    gone: u64,
    bytes: VecDeque<u8>,
}

impl JobHandle {
    /// A handle that nobody looks at: for recipes that are not run as jobs.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                phase: Mutex::default(),
                files: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                total_bytes: AtomicU64::new(UNKNOWN),
                seq: AtomicU64::new(1),
                turns: watch::Sender::new(()),
                is_cancelled: AtomicBool::new(false),
                cancel: Notify::new(),
                output: Mutex::default(),
                retry: Mutex::default(),
            }),
        }
    }

    /// Waits until somebody cancels the job.
    pub async fn cancelled(&self) {
        let notified = self.inner.cancel.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Bytes dealt with so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Relaxed)
    }

    /// Adds to what the job has printed.
    pub fn print(&self, bytes: &[u8]) {
        let mut output = self.output();
        output.bytes.extend(bytes);
        let over = output.bytes.len().saturating_sub(KEPT_BYTES);
        output.bytes.drain(..over);
        output.gone += over as u64;
        drop(output);
        self.turn();
    }

    /// A part of what it has printed, from so many bytes after its beginning on. Characters are never cut while more may come.
    pub(super) fn printed(&self, offset: u64, has_ended: bool) -> JobOutput {
        let output = self.output();
        let begin = offset.clamp(output.gone, output.gone + output.bytes.len() as u64);
        let skipped = usize::try_from(begin - output.gone).unwrap_or(usize::MAX);
        let part = output.bytes.iter().skip(skipped).take(ANSWER_BYTES);
        let mut part: Vec<u8> = part.copied().collect();
        let cut = std::str::from_utf8(&part).err();
        if let Some(cut) = cut.filter(|cut| !has_ended && cut.error_len().is_none()) {
            part.truncate(cut.valid_up_to());
        }
        JobOutput {
            text: String::from_utf8_lossy(&part).into_owned(),
            next: begin + part.len() as u64,
            missed: offset < output.gone,
        }
    }

    /// How many bytes of its output are kept.
    pub(super) fn output_bytes(&self) -> usize {
        self.output().bytes.len()
    }

    /// Forgets what it has printed.
    pub(super) fn forget_output(&self) {
        let mut output = self.output();
        output.gone += output.bytes.len() as u64;
        output.bytes = VecDeque::new();
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        let output = self.inner.output.lock();
        output.unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the recipe to stop.
    pub fn cancel(&self) {
        self.inner.is_cancelled.store(true, Relaxed);
        self.inner.cancel.notify_waiters();
    }

    /// Says that an attempt has failed and another one comes, or is under way.
    pub(super) fn set_retry(&self, retry: Option<RetryView>) {
        *self.retry_place() = retry;
        self.turn();
    }

    /// At which attempt it is, when one has failed.
    pub(super) fn retry(&self) -> Option<RetryView> {
        self.retry_place().clone()
    }

    fn retry_place(&self) -> MutexGuard<'_, Option<RetryView>> {
        let retry = self.inner.retry.lock();
        retry.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_phase(&self, name: &str) {
        let mut phase = self
            .inner
            .phase
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        name.clone_into(&mut phase);
        drop(phase);
        self.turn();
    }

    /// Something that a waiting client wants to know at once.
    pub(super) fn turn(&self) {
        self.inner.seq.fetch_add(1, Relaxed);
        self.inner.turns.send_replace(());
    }

    pub(super) fn seq(&self) -> u64 {
        self.inner.seq.load(Relaxed)
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.inner.turns.subscribe()
    }

    pub(super) fn view(&self) -> ProgressView {
        let phase = self
            .inner
            .phase
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let total_bytes = self.inner.total_bytes.load(Relaxed);
        ProgressView {
            phase: phase.clone(),
            files: self.inner.files.load(Relaxed),
            bytes: self.inner.bytes.load(Relaxed),
            total_bytes: (total_bytes != UNKNOWN).then_some(total_bytes),
        }
    }
}

impl Default for JobHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for JobHandle {
    fn phase(&self, name: &str) {
        debug!(phase = name, "The job goes on");
        self.set_phase(name);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.inner.files.fetch_add(files, Relaxed);
        self.inner.bytes.fetch_add(bytes, Relaxed);
        self.inner.seq.fetch_add(1, Relaxed);
    }

    fn expect_bytes(&self, total_bytes: u64) {
        self.inner.total_bytes.store(total_bytes, Relaxed);
        self.inner.seq.fetch_add(1, Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled.load(Relaxed)
    }
}
