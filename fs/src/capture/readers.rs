//! Threads that read files, hash what is in them and put it, while somebody else walks.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{SeekFrom, fdatasync, seek};
use snap_store::{Content, Draft, Error, Progress, Result, Timestamp, Xattr};

use super::{
    cache::{Known, Payload},
    inspect::{Held, data_runs, xattrs_of},
    stat::Stat,
    trust::{Synced, Trust, is_settled, now},
};

/// Threads that read files: one waits for the disk while another hashes.
const READERS: usize = 2;

/// Files that wait for a reader; each holds a descriptor.
const QUEUE: usize = 64;

/// How often a file that changes while it is read is read again, where what was read is to be kept.
const ATTEMPTS: usize = 3;

/// Files this large are remembered at the price of a wait; reading a smaller one again next time takes less.
const WORTH_WAITING_BYTES: u64 = 64 << 20;

/// How much is made of a file that will not be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Nothing: another pass deals with it.
    Lenient,
    /// It is read again a few times, then taken as it is; what cannot be read at all is an error.
    Strict,
}

/// A file to be read.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) held: Held,
    /// For people.
    pub(super) path: PathBuf,
}

/// What came of reading a file once.
#[derive(Debug)]
pub(super) struct Reading {
    /// From before its first byte was read.
    pub(super) stat: Stat,
    /// As the kernel has them.
    pub(super) xattrs: Box<[Xattr]>,
    pub(super) content: Content,
    /// Bytes in the content.
    pub(super) size: u64,
    /// The file's path, for people, when somebody has written to it meanwhile.
    pub(super) unsteady: Option<PathBuf>,
    /// When reading began.
    moment: Timestamp,
}

impl Reading {
    /// What may be believed of the inode from now on; `None` when that is nothing.
    pub(super) fn known(&self) -> Option<Known> {
        let is_trusted = self.unsteady.is_none() && is_settled(self.stat.changed, self.moment);
        is_trusted.then(|| {
            let payload = Payload::File(self.content);
            Known::new(&self.stat, self.xattrs.clone(), payload)
        })
    }
}

/// What readers have in common.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) draft: &'a Draft,
    /// `None` where times prove nothing.
    pub(super) trust: Option<&'a Trust>,
    pub(super) manner: Manner,
    pub(super) progress: &'a dyn Progress,
}

/// The way to the readers, for whoever walks.
pub(super) struct Queue<'a> {
    sender: Sender<(usize, Job)>,
    has_failed: &'a AtomicBool,
    /// How many files were given away.
    given: usize,
}

impl Queue<'_> {
    /// Gives a file away to be read and returns its number. Blocks while many wait.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the readers have failed; [`Reader::run`] returns why.
    pub(super) fn give(&mut self, job: Job) -> Result<usize> {
        let number = self.given;
        let sent = self.sender.send((number, job));
        sent.map_err(|_| Error::Cancelled)?;
        self.given += 1;
        Ok(number)
    }

    /// Fails as [`Queue::give`] does, without a file.
    pub(super) fn check(&self) -> Result<()> {
        match self.has_failed.load(Ordering::Relaxed) {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

impl Reader<'_> {
    /// Reads what `walk` gives away while it runs. Returns the walk's own result, and what was read by number, in no order.
    ///
    /// # Errors
    /// What went wrong with a reader, for it is the cause and the walk's failure its consequence; then the walk's.
    pub(super) fn run<T>(
        self,
        walk: impl FnOnce(&mut Queue<'_>) -> Result<T>,
    ) -> Result<(T, Vec<(usize, Reading)>)> {
        let has_failed = &AtomicBool::new(false);
        let (sender, jobs) = bounded(QUEUE);
        thread::scope(|scope| {
            let start = |jobs: Receiver<_>| scope.spawn(move || self.read_all(&jobs, has_failed));
            let readers: Vec<_> = (0..READERS).map(|_| start(jobs.clone())).collect();
            // The readers' own receivers are all there are, so that sending fails when the readers are gone.
            drop(jobs);
            let walked = walk(&mut Queue {
                sender,
                has_failed,
                given: 0,
            });
            let joined = readers.into_iter().map(|reader| {
                reader
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let read = joined.collect::<Vec<_>>();
            let read = read.into_iter().collect::<Result<Vec<_>>>()?;
            Ok((walked?, read.into_iter().flatten().collect()))
        })
    }

    /// A reader's life.
    fn read_all(
        &self,
        jobs: &Receiver<(usize, Job)>,
        has_failed: &AtomicBool,
    ) -> Result<Vec<(usize, Reading)>> {
        let mut all = Vec::new();
        for (number, job) in jobs {
            match self.read(&job) {
                Ok(reading) => all.extend(reading.map(|reading| (number, reading))),
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    // The walk must not wait for room in a queue that nobody empties.
                    while jobs.recv().is_ok() {}
                    return Err(error);
                }
            }
            self.progress.advance(1, 0);
        }
        Ok(all)
    }

    /// Reads and puts one file; `None` when nothing is to be made of it.
    fn read(&self, job: &Job) -> Result<Option<Reading>> {
        let attempts = match self.manner {
            Manner::Lenient => 1,
            Manner::Strict => ATTEMPTS,
        };
        for attempt in 1..=attempts {
            let reading = match self.read_once(job) {
                Ok(reading) => reading,
                Err(Failure::Draft(error)) => return Err(error),
                Err(Failure::File(error)) if self.manner == Manner::Strict => {
                    return Err(Error::io("read", &job.path)(error));
                }
                Err(Failure::File(error)) => {
                    tracing::debug!(path = %job.path.display(), %error, "A file could not be read while it was in use");
                    return Ok(None);
                }
            };
            if reading.unsteady.is_none() || (self.manner == Manner::Strict && attempt == attempts)
            {
                return Ok(Some(reading));
            }
        }
        Ok(None)
    }

    fn read_once(&self, job: &Job) -> Result<Reading, Failure> {
        let synced = self.trust.map(Trust::sync).transpose();
        let synced = synced.map_err(Failure::Draft)?;
        if let Some(synced) = synced
            && self.is_worth_waiting_for(&job.held.stat)
        {
            synced.settle(job.held.stat.changed);
        }
        let moment = now();
        let (file, stat, xattrs) = Self::prepare(job, synced)?;
        let (content, size, is_whole) = self.put(&file, &stat)?;
        let is_unchanged =
            || Stat::of_fd(file.as_fd()).is_ok_and(|after| after.is_unchanged(&stat));
        let is_steady = is_whole && is_unchanged();
        Ok(Reading {
            unsteady: (!is_steady).then(|| job.path.clone()),
            stat,
            xattrs,
            content,
            size,
            moment,
        })
    }

    /// Whether a file that changed just now is to settle before it is read, so that it can be remembered. What is read before a pause is
    /// better remembered, or the pause would have to copy it.
    fn is_worth_waiting_for(&self, stat: &Stat) -> bool {
        self.manner == Manner::Lenient || stat.size >= WORTH_WAITING_BYTES
    }

    /// Opens a file so that what is read from now on shows in its times when it changes.
    fn prepare(
        job: &Job,
        synced: Option<Synced>,
    ) -> rustix::io::Result<(File, Stat, Box<[Xattr]>)> {
        let file = job.held.open()?;
        if let Some(synced) = synced {
            // Asked anew: the file may have changed, and settled, while it waited to be read.
            if synced.needs_sync(Stat::of_fd(file.as_fd())?.changed) {
                fdatasync(&file)?;
            }
            // Waits for a write under way; beyond the end there is no data, which is fine.
            if seek(&file, SeekFrom::Data(0)).is_ok() {
                seek(&file, SeekFrom::Start(0))?;
            }
        }
        let stat = Stat::of_fd(file.as_fd())?;
        let xattrs = xattrs_of(file.as_fd())?;
        Ok((file, stat, xattrs))
    }

    /// Puts the bytes of a file: its content, how many bytes that has, and whether these were all that `stat` says.
    fn put(&self, file: &File, stat: &Stat) -> Result<(Content, u64, bool), Failure> {
        if stat.is_sparse() {
            let runs = data_runs(file, stat.size)?;
            if runs != [(0, stat.size)] {
                let (content, is_whole) = self.put_runs(file, stat.size, &runs)?;
                return Ok((content, stat.size, is_whole));
            }
        }
        let mut reader = Noted {
            inner: file.take(stat.size),
            has_failed: false,
        };
        let put = self.draft.put_content(&mut reader, self.progress);
        let (content, size) = put.map_err(|error| Failure::of(error, reader.has_failed))?;
        Ok((content, size, size == stat.size))
    }

    fn put_runs(
        &self,
        file: &File,
        size: u64,
        runs: &[(u64, u64)],
    ) -> Result<(Content, bool), Failure> {
        let (mut has_failed, mut is_whole) = (false, true);
        let mut read_at = |offset, buffer: &mut [u8]| {
            let read = rustix::io::pread(file, buffer, offset);
            has_failed |= read.is_err();
            is_whole &= read != Ok(0);
            Ok(read?)
        };
        let put = self
            .draft
            .put_sparse(size, runs, &mut read_at, self.progress);
        let content = put.map_err(|error| Failure::of(error, has_failed))?;
        Ok((content, is_whole))
    }
}

/// Why a file could not be read and put.
enum Failure {
    /// Its own fault.
    File(io::Error),
    /// Not: the draft's, or the file system's.
    Draft(Error),
}

impl Failure {
    /// What the draft said, which hands on what a file said.
    fn of(error: Error, is_files: bool) -> Self {
        match error {
            Error::Io { source, .. } if is_files => Self::File(source),
            error => Self::Draft(error),
        }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::File(errno.into())
    }
}

/// A reader that remembers whether it failed, to tell its errors from the draft's.
struct Noted<R> {
    inner: R,
    has_failed: bool,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        let is_failure = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        self.has_failed |= read.as_ref().is_err_and(is_failure);
        read
    }
}
