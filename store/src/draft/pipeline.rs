//! From chunks to packs: a bounded queue, a thread a core that compresses, and the packs that are open.
//!
//! Open packs are not bound to threads ([`super::open`]): there are only as many as threads that append at the same moment, which is
//! far fewer than threads that compress.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    open::OpenPacks,
    pending::{Pending, Slot},
    spill::Spill,
};
use crate::{
    disk::Disk,
    error::{Error, Result},
    ids::Digest,
    layout,
    pack::{Frame, Framer, PackWriter, SealedPack},
    store::SYNC_EACH,
};

/// Chunks on their way: enough to keep every thread busy, little enough memory (16 MiB at the largest size).
const QUEUE_CHUNKS: usize = 64;

/// Chunks of sealed packs remembered in memory, some 64 MiB; beyond it they go into a table on disk.
pub(super) const PENDING_CHUNKS: usize = 1 << 19;

/// What a chunk is part of; pages have packs of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Meta,
    /// Data that is compressed already, and encrypted: another attempt would cost and gain nothing.
    Sealed,
}

#[derive(Debug)]
struct Job {
    digest: Digest,
    raw: Vec<u8>,
    kind: Kind,
}

/// The threads and what they share; dropping it ends them.
#[derive(Debug)]
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    workers: Mutex<Option<Workers>>,
}

#[derive(Debug)]
struct Workers {
    sender: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    pending: Pending,
    spill: Spill,
    open: [OpenPacks; 2],
    sealed: Mutex<Vec<SealedPack>>,
    next_ordinal: AtomicU32,
    new_chunks: AtomicU64,
    new_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    flow: Mutex<Flow>,
    moved: Condvar,
    /// The same as `flow.failure.is_some()`, without its lock.
    has_failed: AtomicBool,
    is_abandoned: AtomicBool,
}

/// How the work stands.
#[derive(Debug, Default)]
struct Flow {
    /// Chunks taken on and not packed yet.
    under_way: u64,
    failure: Option<Error>,
}

impl Pipeline {
    /// A pipeline that makes packs in `folder`; its threads start with the first chunk.
    /// No more than about `pending_chunks` are remembered in memory.
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, pending_chunks: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                disk,
                folder,
                pending: Pending::new(),
                spill: Spill::new(pending_chunks),
                open: Default::default(),
                sealed: Mutex::default(),
                next_ordinal: AtomicU32::new(0),
                new_chunks: AtomicU64::new(0),
                new_bytes: AtomicU64::new(0),
                stored_bytes: AtomicU64::new(0),
                flow: Mutex::default(),
                moved: Condvar::new(),
                has_failed: AtomicBool::new(false),
                is_abandoned: AtomicBool::new(false),
            }),
            workers: Mutex::new(None),
        }
    }

    /// Fails when packing has failed.
    pub(super) fn check(&self) -> Result<()> {
        match self.shared.has_failed.load(Ordering::Acquire) {
            true => self.shared.flow().check(),
            false => Ok(()),
        }
    }

    /// True when the chunk is in this draft.
    pub(super) fn has(&self, digest: &Digest) -> Result<bool> {
        let shared = &self.shared;
        Ok(shared.pending.get(digest).is_some() || shared.spill.lookup(digest)?.is_some())
    }

    /// Takes on a chunk nobody has; false when somebody was faster.
    pub(super) fn put(&self, digest: Digest, raw: Vec<u8>, kind: Kind) -> Result<bool> {
        let sender = self.sender()?;
        if !self.shared.pending.claim(digest) {
            return Ok(false);
        }
        self.shared.new_chunks.fetch_add(1, Ordering::Relaxed);
        self.shared
            .new_bytes
            .fetch_add(raw.len() as u64, Ordering::Relaxed);
        self.shared.flow().under_way += 1;
        sender
            .send(Job { digest, raw, kind })
            .expect("the threads end after the last sender");
        Ok(true)
    }

    /// Where the draft's own chunk lies, once it does; `None` when it is not the draft's.
    pub(super) fn wait_for(&self, digest: &Digest) -> Result<Option<(PathBuf, Frame)>> {
        let mut flow = self.shared.flow();
        loop {
            match self.shared.pending.get(digest) {
                None => break,
                Some(Slot::Packed(ordinal, frame)) => {
                    return Ok(Some((self.shared.pack_path(ordinal), frame)));
                }
                Some(Slot::Queued) => flow.check()?,
            }
            flow = self.shared.wait(flow);
        }
        drop(flow);
        let found = self.shared.spill.lookup(digest)?;
        Ok(found.map(|(ordinal, frame)| (self.shared.pack_path(ordinal), frame)))
    }

    /// Waits until everything is packed, and seals the packs.
    pub(super) fn seal(&self) -> Result<Vec<SealedPack>> {
        let mut flow = self.shared.flow();
        while flow.under_way > 0 {
            flow = self.shared.wait(flow);
        }
        flow.check()?;
        drop(flow);
        for kind in [Kind::Data, Kind::Meta] {
            for pack in self.shared.open(kind).take_all() {
                let sealed = pack.seal().map_err(|error| self.shared.fail(error))?;
                self.shared.keep(sealed);
            }
        }
        Ok(std::mem::take(&mut *self.shared.sealed()))
    }

    /// Notes a failure of what comes after packing, so that nothing is built on chunks that were lost with it.
    pub(super) fn fail(&self, error: Error) -> Error {
        self.shared.fail(error)
    }

    /// Forgets the chunks, because they are published.
    pub(super) fn clear(&self) {
        self.shared.pending.clear();
        self.shared.spill.clear();
    }

    /// Chunks and bytes taken on, and bytes they take.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        (
            read(&shared.new_chunks),
            read(&shared.new_bytes),
            read(&shared.stored_bytes),
        )
    }

    /// A way into the queue; starts the threads unless they run.
    fn sender(&self) -> Result<Sender<Job>> {
        let mut workers = lock(&self.workers);
        if let Some(workers) = &*workers {
            return Ok(workers.sender.clone());
        }
        let (sender, receiver) = bounded(QUEUE_CHUNKS);
        let mut threads = Vec::new();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for number in 0..cores {
            let shared = Arc::clone(&self.shared);
            let receiver = receiver.clone();
            let framer = Framer::new()?;
            let thread = thread::Builder::new()
                .name(format!("pack-{number}"))
                .spawn(move || shared.work(&receiver, framer))
                .map_err(Error::io("start a thread for", &self.shared.folder))?;
            threads.push(thread);
        }
        *workers = Some(Workers {
            sender: sender.clone(),
            threads,
        });
        Ok(sender)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.is_abandoned.store(true, Ordering::Relaxed);
        if let Some(Workers { sender, threads }) = lock(&self.workers).take() {
            drop(sender);
            for thread in threads {
                // A panic has been told by the panic hook, and the draft has failed with it.
                let _panic = thread.join();
            }
        }
    }
}

impl Shared {
    fn work(&self, jobs: &Receiver<Job>, mut framer: Framer) {
        for job in jobs {
            let _done = Done(self);
            let is_useless = self.has_failed.load(Ordering::Relaxed)
                || self.is_abandoned.load(Ordering::Relaxed);
            if is_useless {
                continue;
            }
            if let Err(error) = self.pack(&job, &mut framer) {
                self.fail(error);
            }
        }
    }

    fn pack(&self, job: &Job, framer: &mut Framer) -> Result<()> {
        let (stored, is_plain) = match job.kind {
            Kind::Sealed => (&job.raw[..], true),
            Kind::Data | Kind::Meta => framer.frame(&job.raw)?,
        };
        let mut taken = self.open(job.kind).take();
        // One that fails is not given back.
        let mut pack = match taken.pack.take() {
            Some(pack) => pack,
            None => self.begin_pack()?,
        };
        let frame = pack.append(job.digest, stored, job.raw.len(), is_plain)?;
        taken.bytes = u64::from(frame.stored_bytes);
        let ordinal = pack.ordinal();
        self.stored_bytes
            .fetch_add(u64::from(frame.stored_bytes), Ordering::Relaxed);
        self.pending.packed(job.digest, ordinal, frame);
        match pack.is_full() {
            true => self.retire(pack.seal()?),
            false => {
                taken.pack = Some(pack);
                Ok(())
            }
        }
    }

    /// Puts a full pack aside, and what is remembered of it too when that has become much.
    fn retire(&self, pack: SealedPack) -> Result<()> {
        let batch = self.spill.add(&pack);
        self.keep(pack);
        if let Some(batch) = batch {
            self.spill.write(&*self.disk, &self.folder, &batch)?;
            // Only now: whoever does not find a chunk among the pending looks into the tables next.
            self.pending.forget(&batch.ordinals().collect());
        }
        Ok(())
    }

    fn keep(&self, pack: SealedPack) {
        let mut sealed = self.sealed();
        sealed.push(pack);
        if sealed.len() > SYNC_EACH {
            // They will be synced together, and there may be more of them than a process may have open.
            for pack in &mut *sealed {
                pack.sink = None;
            }
        }
    }

    fn begin_pack(&self) -> Result<PackWriter> {
        let ordinal = self.next_ordinal.fetch_add(1, Ordering::Relaxed);
        PackWriter::create(&*self.disk, &self.pack_path(ordinal), ordinal)
    }

    fn pack_path(&self, ordinal: u32) -> PathBuf {
        layout::draft_pack(&self.folder, ordinal)
    }

    /// Notes the first failure; what comes after it is a consequence. Returns what the caller is to see.
    fn fail(&self, error: Error) -> Error {
        let seen = again(&error);
        let mut flow = self.flow();
        flow.failure.get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
        self.moved.notify_all();
        seen
    }

    fn open(&self, kind: Kind) -> &OpenPacks {
        &self.open[usize::from(kind == Kind::Meta)]
    }

    fn sealed(&self) -> MutexGuard<'_, Vec<SealedPack>> {
        lock(&self.sealed)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        lock(&self.flow)
    }

    fn wait<'a>(&self, flow: MutexGuard<'a, Flow>) -> MutexGuard<'a, Flow> {
        self.moved
            .wait(flow)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    fn check(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(again(failure)),
            None => Ok(()),
        }
    }
}

/// Counts a job as done however it ends, so that nobody waits for one that panicked.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::Latched {
                why: "a thread that packs chunks has panicked".to_owned(),
            });
        }
        self.0.flow().under_way -= 1;
        self.0.moved.notify_all();
    }
}

/// The same error once more, for everybody who meets a failure that happened once.
fn again(error: &Error) -> Error {
    match error {
        Error::Io { op, path, source } => Error::Io {
            op,
            path: path.clone(),
            source: match source.raw_os_error() {
                Some(number) => std::io::Error::from_raw_os_error(number),
                None => std::io::Error::new(source.kind(), source.to_string()),
            },
        },
        Error::Limit { what, limit } => Error::Limit {
            what,
            limit: *limit,
        },
        other => Error::Latched {
            why: other.to_string(),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
