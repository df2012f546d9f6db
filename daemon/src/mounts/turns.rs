//! One change of a folder at a time: an unmount that came between the record of a mount and the mount itself would leave a
//! mounted folder that nobody knows.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The turns of all folders that somebody is at.
#[derive(Debug, Default)]
pub(super) struct Turns {
    table: Mutex<HashMap<PathBuf, Weak<AsyncMutex<()>>>>,
}

impl Turns {
    /// Waits until nobody mounts or unmounts at `path`, a path without symbolic links.
    pub(super) async fn wait(&self, path: &Path) -> OwnedMutexGuard<()> {
        self.turn(path).lock_owned().await
    }

    fn turn(&self, path: &Path) -> Arc<AsyncMutex<()>> {
        let mut table = self
            .table
            .lock()
            .expect("nobody panics while holding the table of turns");
        table.retain(|_, turn| turn.strong_count() > 0);
        table.get(path).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turn = Arc::default();
            table.insert(path.to_owned(), Arc::downgrade(&turn));
            turn
        })
    }
}
