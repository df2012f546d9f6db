//! The one place where a situation becomes an errno, and where damage is logged.

use std::{collections::HashSet, sync::Mutex};

use fuser::Errno;
use tracing::error;

use crate::view::{Error, Number, View};

/// Damaged nodes that are logged; after that the log has said enough.
const MAX_LOGGED: usize = 1024;

/// The errno of a situation.
pub(super) fn errno(error: &Error) -> Errno {
    match error {
        Error::NotADirectory => Errno::ENOTDIR,
        Error::IsADirectory => Errno::EISDIR,
        Error::NotAFile | Error::NotALink => Errno::EINVAL,
        Error::NoAttribute => Errno::ENODATA,
        Error::BeyondEnd => Errno::ENXIO,
        Error::Stale => Errno::ESTALE,
        Error::Store(error) => store_errno(error),
    }
}

/// Whatever the store has to say, the reader of a file can only be told that its bytes cannot be had; memory and
/// descriptors that ran out are the exception, because that passes.
fn store_errno(error: &snap_store::Error) -> Errno {
    use snap_store::Error as Store;
    match error {
        Store::Io { source, .. } => match Errno::from_i32(source.raw_os_error().unwrap_or(0)) {
            passing @ (Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => passing,
            _ => Errno::EIO,
        },
        Store::NotFound { .. }
        | Store::Exists { .. }
        | Store::Ambiguous { .. }
        | Store::Busy { .. }
        | Store::Naming(_)
        | Store::Limit { .. }
        | Store::Invalid { .. }
        | Store::Corrupt { .. }
        | Store::MissingKey { .. }
        | Store::Incompatible { .. }
        | Store::Latched { .. }
        | Store::Cancelled
        | Store::Database { .. } => Errno::EIO,
    }
}

/// Says once for each node that the store cannot give its bytes.
#[derive(Debug, Default)]
pub(super) struct DamageLog {
    logged: Mutex<HashSet<Number>>,
}

impl DamageLog {
    /// Logs `problem` of the node unless it is an ordinary answer or was logged before.
    pub(super) fn note(&self, view: &View, node: Number, problem: &Error) {
        let Error::Store(problem) = problem else {
            return;
        };
        let is_news = {
            let mut logged = self
                .logged
                .lock()
                .expect("no thread panics while it holds the log");
            logged.len() < MAX_LOGGED && logged.insert(node)
        };
        if is_news {
            let (path, snapshot) = (view.path_of(node), view.snapshot());
            error!(%path, %snapshot, error = chain(problem), "Cannot serve a node");
        }
    }
}

/// The error and what lies beneath it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
