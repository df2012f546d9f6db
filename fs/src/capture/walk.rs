//! The walk all passes make: every folder below the top, each opened from the one above it by a single name.
//!
//! It has two stages. The lister ([`lister`]) opens folders and looks at what is in them; the teller ([`steps`]) tells a visitor of it. Where
//! there is more than one processor each has a thread of its own, and the lister is a few steps ahead. The visitor is told the same
//! in the same order either way: steps are told one by one, in the order in which they were taken, and before an error all that
//! were taken before it.
//!
//! How far ahead is bounded, in names and in open folders. What was told may be gone or another by the time a visitor opens it, as it
//! may be whenever a name is looked at first and opened then.

mod lister;
mod steps;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    panic,
    path::PathBuf,
    thread,
};

use crossbeam_channel::bounded;
use rustix::fs::{Mode, OFlags, openat};
use snap_store::{Error, Progress, Result};

use self::{lister::list, steps::Teller};
use super::{Source, stat::Stat};

/// Batches of steps that wait to be told. With the one being made and the one being told, so many times
/// [`steps::BATCH_FOLDERS`] folders are open beside those of the lister.
const QUEUE: usize = 4;

/// An inode that was met.
#[derive(Debug)]
pub(super) struct Met<'a> {
    /// Number of the folder it is in; of itself for the top.
    pub(super) parent: usize,
    /// The folder it is in; for a folder that was entered, the folder itself.
    pub(super) folder: BorrowedFd<'a>,
    /// Its name; empty for the top.
    pub(super) name: &'a [u8],
    /// Its metadata.
    pub(super) stat: &'a Stat,
    path: &'a [u8],
}

impl Met<'_> {
    /// Its path from the top, for people.
    pub(super) fn path(&self) -> PathBuf {
        to_path(self.path)
    }
}

/// What a pass does with what is met.
///
/// A folder's entries are told before anything in them is: a folder has a smaller number than what is below it.
pub(super) trait Visitor {
    /// A folder, numbered `number`, was entered.
    fn folder(&mut self, met: &Met<'_>, number: usize) -> Result<()>;
    /// Anything else.
    fn entry(&mut self, met: &Met<'_>) -> Result<()>;
    /// Something with another file system mounted on it, which is not looked into. A folder takes the number `number`.
    fn mount(&mut self, met: &Met<'_>, number: Option<usize>) -> Result<()>;
    /// Something the patterns leave out.
    fn excluded(&mut self, met: &Met<'_>) -> Result<()>;
    /// Something at `path` that was there a moment ago.
    fn vanished(&mut self, path: PathBuf);
}

/// On how many threads the stages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// The lister's steps are told as soon as there is a batch of them.
    One,
    /// The lister goes on while its steps are told.
    Two,
}

impl Threads {
    /// As many as there are processors for.
    pub(super) fn at_hand() -> Self {
        match thread::available_parallelism().map_or(1, usize::from) {
            1 => Self::One,
            _ => Self::Two,
        }
    }
}

/// Walks `source`.
pub(super) fn walk(
    threads: Threads,
    source: &Source<'_>,
    visitor: &mut dyn Visitor,
    progress: &dyn Progress,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(source.folder, c".", flags, Mode::empty()).map_err(Error::io("open", "/"))?;
    let mut teller = Teller::new(visitor, progress);
    if threads == Threads::One {
        return list(source, top, &mut |batch| teller.tell(batch));
    }
    let (sender, batches) = bounded(QUEUE);
    thread::scope(|scope| {
        let lister = scope.spawn(move || {
            let mut send = |batch| sender.send(batch).map_err(|_| Error::Cancelled);
            list(source, top, &mut send)
        });
        // The receiver goes with this statement: a lister that nobody listens to any more ends.
        let told = batches.into_iter().try_for_each(|batch| teller.tell(batch));
        let listed = lister.join();
        told.and(listed.unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn to_path(path: &[u8]) -> PathBuf {
    let path = if path.is_empty() { b"/" } else { path };
    OsStr::from_bytes(path).into()
}
