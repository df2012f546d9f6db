//! The one seam through which the store writes.
//!
//! Paths are relative to the store's folder. Nothing here decides an order: what must be durable before what is
//! said by the recipes of [`crate::store`]. Reads are positional and never mapped, so that a bad sector is an
//! error of one call and not the death of the process.

mod host;

use std::{fmt, io::ErrorKind, ops::Range, path::Path, sync::Arc};

use crate::error::{Error, Result};

pub(crate) use host::HostDisk;

/// A folder with files in it, as far as the store needs one.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Where it is; for messages and for the caller of the store.
    fn root(&self) -> &Path;
    /// Takes the writer's lock, a file; [`Error::Busy`] when another holds it. Dropping the answer gives it back.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>>;
    /// Makes a folder; it may exist already.
    fn create_folder(&self, path: &Path) -> Result<()>;
    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> Result<Box<dyn Sink>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> Result<Arc<dyn Source>>;
    /// Renames a file, over an existing one if need be.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> Result<()>;
    /// Makes everything written so far durable, in one go.
    fn sync_all(&self) -> Result<()>;
    /// Removes a file; it may be gone already.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Removes a folder and everything in it; it may be gone already.
    fn remove_folder(&self, path: &Path) -> Result<()>;
    /// The names in a folder, in no order; names that are not text are left out, none of ours are.
    fn list(&self, path: &Path) -> Result<Vec<String>>;
}

/// The writer's lock, held until dropped.
pub(crate) trait Lock: fmt::Debug + Send + Sync {}

/// A file being written, at its end only.
pub(crate) trait Sink: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
    /// Asks the system to begin writing out what was appended, without waiting for it.
    fn start_write_back(&self);
    /// Makes the bytes durable; the name is durable only with its folder.
    fn sync(&self) -> Result<()>;
}

/// A file open for reading.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Its length now.
    fn length(&self) -> Result<u64>;
    /// Fills `buffer` from `offset` on and returns how much it filled: less than asked for only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;
    /// True when it has lost its name: its space comes back once it is closed.
    fn is_removed(&self) -> Result<bool>;
    /// Asks the system to read a part of the file soon, without waiting for it.
    fn expect(&self, _part: Range<u64>) {}
    /// The same of what lies around an offset; at little cost when that was done just now.
    fn expect_around(&self, _offset: u64) {}
    /// Tells the system that it need not keep what it has read of the file in memory.
    fn forget_pages(&self) {}
}

/// True when the error says that the file or folder is not there.
pub(crate) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// True when the error says that there is no more space, which passes when somebody makes some.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. }
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge))
}

#[cfg(test)]
pub(crate) mod doubles;
