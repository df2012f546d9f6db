//! What the last capture of each source came to, so that one which finds the same has no trees to write.
//!
//! In memory alone: after a restart each source is built once more.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use snap_fs::capture::Built;

/// Sources that are remembered.
const MAX_SOURCES: usize = 256;

/// By the file in which each source's stat cache is saved.
#[derive(Debug, Default)]
pub(crate) struct LastTrees(Mutex<HashMap<PathBuf, Built>>);

impl LastTrees {
    /// What the last capture of a source came to.
    pub(super) fn of(&self, source: &Path) -> Option<Built> {
        self.sources().get(source).cloned()
    }

    /// Remembers what a capture came to that is committed.
    pub(super) fn note(&self, built: Vec<(PathBuf, Built)>) {
        let mut sources = self.sources();
        if sources.len() + built.len() > MAX_SOURCES {
            sources.clear();
        }
        sources.extend(built);
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<PathBuf, Built>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
