//! What can go wrong in the daemon, and the one place where it becomes a wire error.

use std::{io, path::PathBuf};

use snap_api::{ErrorCode, ErrorReport};
use snap_store::{Error as StoreError, NamingError};

/// The result of every recipe.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A situation in the daemon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store or the catalogue.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A situation that is already described for the client.
    #[error(transparent)]
    Report(#[from] ErrorReport),
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
}

impl Error {
    /// An I/O error with its noun; `map_err(Error::io("bind", path))`.
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

/// The error and what lies beneath it, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        match error {
            Error::Report(report) => report,
            Error::Store(error) => of_store(&error),
            Error::Io { ref source, .. } => {
                let (code, reason, hint) = of_io(source);
                described(code, reason, hint, &error)
            }
        }
    }
}

fn of_store(error: &StoreError) -> ErrorReport {
    let (code, reason, hint) = match error {
        StoreError::NotFound { what, .. } => {
            return described(ErrorCode::NotFound, &slug(what, "not-found"), None, error);
        }
        StoreError::Exists { what, .. } => {
            return described(ErrorCode::Conflict, &slug(what, "exists"), None, error);
        }
        StoreError::Invalid {
            what: "key file", ..
        } => KEY_FILE,
        StoreError::Invalid { what, .. } => {
            return described(ErrorCode::Usage, &slug("invalid", what), None, error);
        }
        StoreError::Naming(naming) => return of_naming(naming),
        StoreError::Ambiguous { .. } => {
            let hint = "Give more digits of the id, or a name";
            (ErrorCode::Usage, "ambiguous", Some(hint))
        }
        StoreError::Busy { .. } => {
            let hint = "Wait until it is done, or end the use, and try again";
            (ErrorCode::Conflict, "busy", Some(hint))
        }
        StoreError::Limit { what, .. } => {
            let hint = to_make_room(what);
            (ErrorCode::Limit, "limit-exceeded", Some(hint))
        }
        StoreError::Corrupt { .. } => {
            let hint = "Run `snapctl verify` to see what else is damaged";
            (ErrorCode::Corrupt, "corrupt", Some(hint))
        }
        StoreError::MissingKey { .. } => KEY_MISSING,
        StoreError::Incompatible { .. } => {
            let hint = "Use a newer release of snapshotd";
            (ErrorCode::Unavailable, "incompatible", Some(hint))
        }
        StoreError::Latched { .. } => {
            let hint = "Look after the disk, then restart snapshotd";
            (ErrorCode::Unavailable, "store-latched", Some(hint))
        }
        StoreError::Cancelled => (ErrorCode::Cancelled, "cancelled", None),
        StoreError::Io { source, .. } => of_io(source),
        StoreError::Database { .. } if error.is_full() => NO_SPACE,
        StoreError::Database { .. } => (ErrorCode::Internal, "catalogue", None),
    };
    described(code, reason, hint, error)
}

/// What to do about a limit, by what there is too much of.
fn to_make_room(what: &str) -> &'static str {
    const HINTS: [(&str, &str); 4] = [
        (
            "Stored bytes",
            "Empty the trash (`snapctl trash empty`), where what was removed counts still, remove more, or raise `stored_bytes_per_namespace`",
        ),
        (
            "Unique bytes",
            "`snapctl stats` says what removing each gives back; empty the trash (`snapctl trash empty`), remove some, or raise `unique_bytes_per_namespace`",
        ),
        (
            "Policies",
            "`snapctl policy show` lists them; remove those that are no longer needed",
        ),
        (
            "Automatic",
            "`snapctl auto list` lists them; remove those that are no longer needed",
        ),
    ];
    let known = HINTS.iter().find(|(begin, _)| what.starts_with(begin));
    known.map_or(
        "Remove snapshots that are no longer needed, or raise `snapshots_per_namespace`",
        |(_, hint)| hint,
    )
}

fn of_naming(error: &NamingError) -> ErrorReport {
    use ErrorCode::{Conflict, NotFound, Usage};
    let look = |name: &str| format!("`snapctl history {name}` lists the versions that are there");
    let (code, reason, hint) = match error {
        NamingError::UnknownName { .. } => (
            NotFound,
            "name-not-found",
            "`snapctl list` shows the names there are".to_owned(),
        ),
        NamingError::NeverMade { name, .. } | NamingError::Gone { name, .. } => {
            (NotFound, "version-not-found", look(name))
        }
        NamingError::NotActive { name, .. } => (Conflict, "not-active", look(name)),
        NamingError::LatestGone { name, .. } => {
            let back = format!("{}, `snapctl rollback {name}` goes back to one", look(name));
            (NotFound, "latest-gone", back)
        }
        NamingError::NoOlder { name, .. } => (Conflict, "no-older-version", look(name)),
        NamingError::NothingToUndo { name } => {
            let moves = format!("`snapctl history {name} --moves` shows where latest went");
            (Conflict, "nothing-to-undo", moves)
        }
        NamingError::MovedSince { name, .. } | NamingError::UndoGone { name } => {
            let other = format!(
                "{}, `snapctl rollback {name} VERSION` goes to one",
                look(name)
            );
            (Conflict, "nothing-to-undo", other)
        }
        NamingError::Immutable { tag, .. } => {
            let hint = format!("Choose another tag; `snapctl untag --force {tag}` takes it away");
            (Conflict, "immutable-tag", hint)
        }
        NamingError::LatestMoves { .. } => {
            (Usage, "invalid-tag", "Give a tag of its own".to_owned())
        }
        NamingError::BearsImmutable { .. } => {
            let hint = "`snapctl remove --force` removes it all the same";
            (Conflict, "immutable-tag", hint.to_owned())
        }
        NamingError::Pinned { snapshot } => {
            let hint = format!("`snapctl unpin {snapshot}` lets it go");
            (Conflict, "pinned", hint)
        }
        NamingError::InTrash { snapshot, .. } => {
            let hint = format!("`snapctl undelete {snapshot}` takes it back");
            (NotFound, "in-trash", hint)
        }
        NamingError::IsVersion { .. } => {
            let hint = "`snapctl remove` removes the snapshot";
            (Usage, "invalid-tag", hint.to_owned())
        }
    };
    ErrorReport::new(code, reason, error.to_string()).hint(hint)
}

type Kind = (ErrorCode, &'static str, Option<&'static str>);

const KEY_FILE: Kind = (
    ErrorCode::Unavailable,
    "memory-key-file",
    Some(
        "`head -c 32 /dev/urandom | base64` makes a key; the file is root's, mode 600, a key a line",
    ),
);

const KEY_MISSING: Kind = (
    ErrorCode::Unavailable,
    "memory-key-missing",
    Some(
        "Add the line of that key, as it is on the host the snapshot was made on, or restore the files alone with --no-memory",
    ),
);

const NO_SPACE: Kind = (
    ErrorCode::Unavailable,
    "no-space",
    Some(
        "Free space on the file system, for example with `snapctl trash empty` or `snapctl remove --permanent`",
    ),
);

fn of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => NO_SPACE,
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorCode::Unavailable,
            "read-only",
            Some("The file system is mounted read-only"),
        ),
        _ => (ErrorCode::Internal, "io", None),
    }
}

fn described(
    code: ErrorCode,
    reason: &str,
    hint: Option<&str>,
    error: &(dyn std::error::Error + 'static),
) -> ErrorReport {
    let mut report = ErrorReport::new(code, reason, error.to_string());
    report.hint = hint.map(str::to_owned);
    match error.source() {
        Some(source) => report.caused_by(source),
        None => report,
    }
}

/// Two words of a reason: `Restored container` and `not-found` are `restored-container-not-found`.
fn slug(first: &str, second: &str) -> String {
    format!("{first}-{second}").to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(error: StoreError) -> ErrorReport {
        Error::Store(error).into()
    }

    #[test]
    fn situations_keep_their_kind_on_the_wire() {
        let name = "x".to_owned();
        let what = "Restored container";
        let missing = report(StoreError::NotFound { what, name });
        assert_eq!(missing.code, ErrorCode::NotFound);
        assert_eq!(missing.reason, "restored-container-not-found");
        let limit = report(StoreError::Limit {
            what: "Snapshots",
            limit: 100,
        });
        assert_eq!(
            (limit.code, &*limit.reason),
            (ErrorCode::Limit, "limit-exceeded")
        );
        assert!(limit.hint.is_some());
        let why = "`X`".to_owned();
        let what = "snapshot name";
        let invalid = report(StoreError::Invalid { what, why });
        assert_eq!(
            (invalid.code, &*invalid.reason),
            (ErrorCode::Usage, "invalid-snapshot-name")
        );
    }

    #[test]
    fn a_full_disk_is_unavailable_and_keeps_its_cause() {
        let full = io::Error::from_raw_os_error(28);
        let report: ErrorReport = Error::io("write", "/store/pack")(full).into();
        assert_eq!(
            (report.code, &*report.reason),
            (ErrorCode::Unavailable, "no-space")
        );
        assert_eq!(report.message, "Cannot write /store/pack");
        assert_eq!(report.causes.len(), 1);
    }
}
