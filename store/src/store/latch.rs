//! The latch: after a sync or a rename has failed, nobody knows what the disk holds, and nothing more is written
//! until the store is opened again and has looked.

use std::sync::OnceLock;

use crate::{
    disk::is_full,
    error::{Error, Result},
};

/// Open until something fails.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    why: OnceLock<String>,
}

impl Latch {
    /// Fails when the latch has closed.
    pub(super) fn check(&self) -> Result<()> {
        match self.why.get() {
            Some(why) => Err(Error::Latched { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Passes `result` on; an error closes the latch.
    pub(crate) fn watch<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            let why = match error {
                Error::Io { source, .. } => format!("{error}: {source}"),
                other => other.to_string(),
            };
            // The first failure is the one to tell.
            let _first = self.why.set(why);
        })
    }

    /// The same for a step before which nothing was visible: a full disk is not held against the store, because
    /// whatever did not fit is thrown away with the draft.
    pub(crate) fn watch_unless_full<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if is_full(&error) => Err(error),
            result => self.watch(result),
        }
    }
}
