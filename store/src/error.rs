//! What can go wrong at rest, by what the caller can do about it.

use std::{io, path::PathBuf};

use crate::{ids::KeyId, naming::NamingError};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A situation, with the noun it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named thing is not there; check the name.
    #[error("{what} {name} was not found")]
    NotFound {
        /// What kind of thing: `Snapshot`, `Chunk`, `Path`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The named thing is there already; choose another name.
    #[error("{what} {name} exists already")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Several things match; give more of the name.
    #[error("{what} {name} is ambiguous: {candidates}")]
    Ambiguous {
        /// What kind of thing.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The first few that match.
        candidates: String,
    },
    /// The thing is in a state or in use in a way that forbids this; wait or end the use.
    #[error("{what} {name} {why}")]
    Busy {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What forbids it: `is being removed`, `is used by container x`.
        why: String,
    },
    /// The rules for names, versions and pins forbid it, or what they lead to is not there; the variant says what to do.
    #[error(transparent)]
    Naming(NamingError),
    /// A limit would be exceeded; remove something or raise the limit.
    #[error("{what} would exceed the limit of {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Input that does not have the form it must have; correct it.
    #[error("Invalid {what}: {why}")]
    Invalid {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Stored bytes do not match their digest or their format; verify the store.
    #[error("{what} {name} is corrupt: {why}")]
    Corrupt {
        /// What kind of thing.
        what: &'static str,
        /// Its name or path.
        name: String,
        /// What does not match.
        why: String,
    },
    /// It is sealed with a key that is not on this host; put the key's line into the file.
    #[error("It is encrypted with key {key}, which is not in {file}", file = file.display())]
    MissingKey {
        /// The key's public name.
        key: KeyId,
        /// Where it is looked for.
        file: PathBuf,
    },
    /// Written by a version this one does not understand; use a newer release.
    #[error("{what} {name} has format {found}, this release reads up to {supported}")]
    Incompatible {
        /// What kind of thing.
        what: &'static str,
        /// Its name or path.
        name: String,
        /// The version or feature found.
        found: u32,
        /// The newest supported.
        supported: u32,
    },
    /// An earlier write or sync failed and nothing may be written until the store is opened again.
    #[error("The store refuses writes after an earlier failure: {why}")]
    Latched {
        /// What had failed.
        why: String,
    },
    /// Somebody cancelled the operation.
    #[error("Cancelled")]
    Cancelled,
    /// The system refused; the source says why.
    #[error("Cannot {op} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The catalogue's database refused; the source says why.
    #[error("Cannot {op} in the catalogue")]
    Database {
        /// What was tried, as a verb.
        op: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    /// True when somebody else has held the catalogue for too long.
    #[must_use]
    pub fn is_busy_database(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match self {
            Self::Database { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(DatabaseBusy | DatabaseLocked)
                )
            }
            _ => false,
        }
    }

    /// True when the file system of the store has no space left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Database { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }

    /// An I/O error with its noun; `map_err(Error::io("open", path))`.
    pub fn io<E: Into<io::Error>>(
        op: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            op,
            path,
            source: source.into(),
        }
    }
}
