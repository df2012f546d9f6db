//! The first pass: everything that is not known yet is read and put, while it may go on changing.
//!
//! Whatever goes wrong with a file here is no error: it is not remembered, and the second pass deals with it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{SeekFrom, fdatasync, seek};
use snap_store::{Content, Draft, Error, Progress, Result, Xattr};

use super::{
    Source, StatCache,
    cache::{Known, Payload},
    inspect::{Held, data_runs, xattrs_of},
    stat::{InodeId, Kind, Stat},
    trust::{Trust, is_settled, now},
    walk::{Met, Visitor, walk},
};

/// Threads that read files: one waits for the disk while another hashes.
const READERS: usize = 2;

/// Files that wait for a reader; each holds a descriptor.
const QUEUE: usize = 64;

/// Does the first pass.
pub(super) fn warm(
    draft: &Draft,
    source: &Source<'_>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<()> {
    progress.phase("read");
    cache.begin();
    // Where times prove nothing, everything is read while it stands still; reading it here as well would gain nothing.
    let Some(trust) = Trust::begin(source.folder)? else {
        return Ok(());
    };
    let has_failed = AtomicBool::new(false);
    let (sender, queue) = bounded(QUEUE);
    let (walked, read) = thread::scope(|scope| {
        let start = |queue: Receiver<Job>| {
            let has_failed = &has_failed;
            scope.spawn(move || read_all(draft, trust, &queue, has_failed, progress))
        };
        let readers: Vec<_> = (0..READERS).map(|_| start(queue.clone())).collect();
        // The readers' own receivers are all there are, so that sending fails when the readers are gone.
        drop(queue);
        let walked = walk(
            source,
            &mut Warmer {
                draft,
                cache,
                has_failed: &has_failed,
                linked: HashSet::new(),
                queue: sender,
                progress,
            },
            progress,
        );
        let joined = readers.into_iter().map(|reader| {
            reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        (walked, joined.collect::<Vec<_>>())
    });
    // A reader's error is the cause, the walk's its consequence.
    for known in read {
        for (id, known) in known? {
            cache.put(id, known);
        }
    }
    walked
}

/// Finds what is to be read, and reads what is not a file by itself.
struct Warmer<'a> {
    draft: &'a Draft,
    cache: &'a mut StatCache,
    has_failed: &'a AtomicBool,
    /// Files with several names that are dealt with.
    linked: HashSet<InodeId>,
    queue: Sender<Job>,
    progress: &'a dyn Progress,
}

struct Job {
    held: Held,
    path: PathBuf,
}

impl Warmer<'_> {
    /// True when the inode is known, and all of what it holds is in the store.
    fn is_known(&mut self, stat: &Stat) -> Result<bool> {
        let is_stored = match self.cache.get(stat).map(|known| &known.payload) {
            None => return Ok(false),
            Some(Payload::File(content)) => self.draft.has_content(content, stat.size)?,
            Some(_) => true,
        };
        if is_stored {
            self.cache.meet(stat.id);
        } else {
            self.cache.forget(stat.id);
        }
        Ok(is_stored)
    }
}

impl Visitor for Warmer<'_> {
    fn folder(&mut self, met: &Met<'_>, _number: usize) -> Result<()> {
        self.progress.advance(1, 0);
        if self.is_known(met.stat)? {
            return Ok(());
        }
        let moment = now();
        if let Some(known) = learn(met.stat, || Ok((xattrs_of(met.folder)?, Payload::Nothing)))
            && is_settled(met.stat.changed, moment)
        {
            self.cache.put(met.stat.id, known);
        }
        Ok(())
    }

    fn entry(&mut self, met: &Met<'_>) -> Result<()> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if met.stat.is_linked() && !self.linked.insert(met.stat.id) {
            return Ok(());
        }
        if self.is_known(met.stat)? {
            self.progress.advance(1, met.stat.size);
            return Ok(());
        }
        let moment = now();
        let Ok(held) = Held::new(met.folder, met.name) else {
            return Ok(());
        };
        let stat = held.stat;
        if stat.kind == Kind::File {
            let path = met.path();
            // Nobody receives any more when the readers have failed; `warm` returns why.
            let sent = self.queue.send(Job { held, path });
            return sent.map_err(|_| Error::Cancelled);
        }
        self.progress.advance(1, 0);
        let read = || {
            let payload = match stat.kind {
                Kind::Symlink => Payload::Symlink(held.target()?),
                _ => Payload::Nothing,
            };
            Ok((held.xattrs()?, payload))
        };
        if let Some(known) = learn(&stat, read)
            && is_settled(stat.changed, moment)
        {
            self.cache.put(stat.id, known);
        }
        Ok(())
    }

    fn mount(&mut self, _met: &Met<'_>, _number: Option<usize>) -> Result<()> {
        Ok(())
    }

    fn excluded(&mut self, _met: &Met<'_>) -> Result<()> {
        Ok(())
    }

    fn vanished(&mut self, _path: PathBuf) {}
}

fn learn(
    stat: &Stat,
    read: impl FnOnce() -> rustix::io::Result<(Box<[Xattr]>, Payload)>,
) -> Option<Known> {
    let (xattrs, payload) = read().ok()?;
    Some(Known::new(stat, xattrs, payload))
}

/// A reader's life.
fn read_all(
    draft: &Draft,
    trust: Trust,
    queue: &Receiver<Job>,
    has_failed: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Vec<(InodeId, Known)>> {
    let mut all = Vec::new();
    for job in queue {
        match read_one(draft, trust, &job, progress) {
            Ok(known) => all.extend(known.map(|known| (job.held.stat.id, known))),
            Err(error) => {
                has_failed.store(true, Ordering::Relaxed);
                // The walk must not wait for room in a queue that nobody empties.
                while queue.recv().is_ok() {}
                return Err(error);
            }
        }
        progress.advance(1, 0);
    }
    Ok(all)
}

/// Reads and puts one file; `None` when what was read cannot be trusted later. Errors are the draft's.
fn read_one(
    draft: &Draft,
    trust: Trust,
    job: &Job,
    progress: &dyn Progress,
) -> Result<Option<Known>> {
    trust.settle(job.held.stat.changed);
    let moment = now();
    let Ok((file, before, xattrs)) = prepare(trust, job) else {
        return Ok(None);
    };
    let Some(content) = put_file(draft, &file, &before, &job.path, progress)? else {
        return Ok(None);
    };
    let is_steady = Stat::of_fd(file.as_fd()).is_ok_and(|after| after.is_unchanged(&before));
    let is_trusted = is_steady && is_settled(before.changed, moment);
    Ok(is_trusted.then(|| Known::new(&before, xattrs, Payload::File(content))))
}

/// Opens a file so that what is read from now on shows in its times when it changes.
fn prepare(trust: Trust, job: &Job) -> rustix::io::Result<(File, Stat, Box<[Xattr]>)> {
    let file = job.held.open()?;
    // Asked anew: the file may have changed, and settled, while it waited to be read.
    if trust.needs_sync(Stat::of_fd(file.as_fd())?.changed) {
        fdatasync(&file)?;
    }
    // Waits for a write under way; beyond the end there is no data, which is fine.
    if seek(&file, SeekFrom::Data(0)).is_ok() {
        seek(&file, SeekFrom::Start(0))?;
    }
    let stat = Stat::of_fd(file.as_fd())?;
    let xattrs = xattrs_of(file.as_fd())?;
    Ok((file, stat, xattrs))
}

/// Puts the bytes of a file; `None` when they could not be read or were not as many as `stat` says.
fn put_file(
    draft: &Draft,
    file: &File,
    stat: &Stat,
    path: &Path,
    progress: &dyn Progress,
) -> Result<Option<Content>> {
    if stat.is_sparse() {
        let Ok(runs) = data_runs(file, stat.size) else {
            return Ok(None);
        };
        if runs != [(0, stat.size)] {
            return put_runs(draft, file, stat.size, &runs, progress);
        }
    }
    let mut reader = Noted {
        inner: file.take(stat.size),
        has_failed: false,
    };
    match draft.put_content(&mut reader, progress) {
        Ok((content, length)) => Ok((length == stat.size).then_some(content)),
        Err(_) if reader.has_failed => {
            tracing::debug!(path = %path.display(), "A file could not be read while it was in use");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn put_runs(
    draft: &Draft,
    file: &File,
    size: u64,
    runs: &[(u64, u64)],
    progress: &dyn Progress,
) -> Result<Option<Content>> {
    let mut has_failed = false;
    let mut read_at = |offset, buffer: &mut [u8]| match rustix::io::pread(file, buffer, offset) {
        Ok(0) => {
            has_failed = true;
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        read => {
            has_failed |= read.is_err();
            Ok(read?)
        }
    };
    match draft.put_sparse(size, runs, &mut read_at, progress) {
        Ok(content) => Ok(Some(content)),
        Err(_) if has_failed => Ok(None),
        Err(error) => Err(error),
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
