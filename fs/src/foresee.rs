//! Reads ahead what a mount is expected to need, and learns from what it does need.
//!
//! One thread for the first seconds of a mount, behind everybody else: it tells the disk what the trace of an earlier mount names, in
//! long runs, and decodes it before it is asked for. It keeps to a part of the chunk cache, to a bandwidth, and to where the reader is.
//! At the end it writes down what was really needed. Readers do not know of it, and a mount is as right without it.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use snap_store::{Digest, Expected, Manifest, RecordLimits, Recorder, Seen, Store, Trace};
use tracing::{info, warn};

use crate::traces::{TraceFolder, Whose};

mod plan;

use plan::Plan;

/// How long a mount is watched: programs have started by then.
const WATCHED: Duration = Duration::from_secs(20);
/// So many bytes of chunks are read as a whole: enough for a disk to have long runs, little enough that what is needed first does not wait
/// for what is needed later.
const WINDOW_BYTES: u64 = 2 << 20;
/// Windows the disk has been told of and that are not decoded yet: it works while we do.
const TOLD_WINDOWS: usize = 3;
/// How often it is looked where the reader is.
const LOOK: Duration = Duration::from_millis(10);
/// Behind everybody else who wants the processor, but not without any of it: a reader may wait for a chunk that is being decoded here.
const NICE: i32 = 5;

/// How much is read ahead.
#[derive(Clone, Copy, Debug)]
pub struct ForeseeOptions {
    /// Most bytes of chunks that are read ahead, and that are recorded.
    pub most_bytes: u64,
    /// Most bytes that are decoded and not needed yet: a part of the chunk cache.
    pub ahead_bytes: u64,
    /// Most bytes a second that the disk is asked for.
    pub bytes_per_second: u64,
}

/// A mount that is watched.
#[derive(Debug)]
pub struct Foreseeing {
    thread: Option<JoinHandle<()>>,
    recorder: Arc<Recorder>,
    /// Dropped to end the thread.
    stay: Option<Sender<()>>,
}

struct Watch {
    store: Store,
    whose: Whose,
    folder: TraceFolder,
    options: ForeseeOptions,
    recorder: Arc<Recorder>,
    end: Receiver<()>,
    seen: Vec<Seen>,
}

impl Foreseeing {
    /// Begins to read ahead and to record, for a mount of this snapshot that begins now.
    #[must_use]
    pub fn begin(
        store: &Store,
        manifest: &Manifest,
        folder: TraceFolder,
        options: ForeseeOptions,
    ) -> Self {
        let recorder = Arc::new(Recorder::new(RecordLimits {
            time: WATCHED,
            bytes: options.most_bytes,
        }));
        let (stay, end) = bounded(0);
        let watch = Watch {
            store: store.clone(),
            whose: Whose::of(manifest),
            folder,
            options,
            recorder: Arc::clone(&recorder),
            end,
            seen: Vec::new(),
        };
        let thread = match store.record(Arc::clone(&recorder)) {
            true => thread::Builder::new()
                .name("foresee".to_owned())
                .spawn(move || watch.run()),
            false => Err(std::io::Error::other("the store is watched already")),
        };
        if let Err(error) = &thread {
            warn!(%error, "Nothing is read ahead of this mount");
            recorder.end();
        }
        Self {
            thread: thread.ok(),
            recorder,
            stay: Some(stay),
        }
    }

    /// Ends it, and waits until what was needed is written down.
    pub fn end(mut self) {
        self.recorder.end();
        drop(self.stay.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            warn!("What a mount needed is not written down: the thread has panicked");
        }
    }
}

impl Watch {
    fn run(mut self) {
        if let Err(error) = rustix::process::nice(NICE) {
            warn!(%error, "Reading ahead is not put behind others");
        }
        self.store.expect_look_ups();
        let known = self.folder.load(&self.whose);
        self.replay(&known);
        while self.recorder.is_open() && !self.waits(LOOK * 10) {}
        self.recorder.end();
        self.seen.extend(self.recorder.take());
        if !self.seen.is_empty() {
            self.write_down(&known);
        }
    }

    /// Reads ahead until the trace or the time is over.
    fn replay(&mut self, trace: &Trace) {
        let window_bytes = WINDOW_BYTES.min(self.options.ahead_bytes / 4);
        let mut plan = Plan::new(trace.entries(), self.options.most_bytes, window_bytes);
        let (mut told, mut pace) = (VecDeque::new(), Pace::new(self.options.bytes_per_second));
        while self.recorder.is_open() || !told.is_empty() {
            self.look(&mut plan);
            while self.recorder.is_open()
                && told.len() < TOLD_WINDOWS
                && let Some(window) = plan.next(self.options.ahead_bytes)
            {
                let window = self.as_told(window);
                pace.spend(self.store.expect(&window));
                told.push_back(window);
            }
            let wait = match told.pop_front() {
                Some(window) => {
                    for digest in window {
                        self.store.foresee(&digest);
                    }
                    pace.wait()
                }
                None if plan.is_done() => return,
                None => LOOK,
            };
            if self.waits(wait) {
                return;
            }
        }
    }

    /// Those of a window that are as long as the trace says. Limits are kept to by what it says, so a chunk of another length is none of it.
    fn as_told(&self, window: &[Expected]) -> Vec<Digest> {
        let found = window
            .iter()
            .map(|entry| (self.store.length_of(&entry.digest), entry));
        let as_told = found.filter(|(length, entry)| *length == Some(entry.raw_bytes));
        as_told.map(|(_, entry)| entry.digest).collect()
    }

    /// Looks where the reader is.
    fn look(&mut self, plan: &mut Plan<'_>) {
        let seen = self.recorder.take();
        for one in &seen {
            plan.needed(&one.digest);
        }
        self.seen.extend(seen);
    }

    /// Waits for so long; true when the mount is over.
    fn waits(&self, time: Duration) -> bool {
        self.end.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    fn write_down(&self, known: &Trace) {
        let stats = self.store.foresight();
        info!(
            chunks = self.seen.len(),
            foreseen_bytes = stats.foreseen_bytes,
            met_bytes = stats.met_bytes,
            late_bytes = stats.late_bytes,
            "Noted what the mount needed first"
        );
        let learned = known.learned(&self.seen);
        if let Err(error) = self.folder.save(&self.whose, &learned) {
            warn!(%error, "What the mount needed first cannot be written down");
        }
    }
}

/// A bandwidth that is kept to.
struct Pace {
    begun: Instant,
    bytes_per_second: u64,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            begun: Instant::now(),
            bytes_per_second: bytes_per_second.max(1),
            bytes: 0,
        }
    }

    fn spend(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// How long nothing more may be asked for.
    fn wait(&self) -> Duration {
        let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
        due.saturating_sub(self.begun.elapsed())
    }
}

#[cfg(test)]
mod tests;
