//! Now and then: letting go of files of the store that a collection has removed. Until their last reader closes them the disk does not
//! give their space back, and who reads little would keep them for ever.

use std::{thread, time::Duration};

use snap_store::Store;
use tracing::warn;

/// How often it is looked; some hundred calls of `fstat` at most.
const INTERVAL: Duration = Duration::from_secs(60);

/// Looks after the store's open files until the process ends.
pub(crate) fn start(store: Store) {
    let look = move || {
        loop {
            thread::sleep(INTERVAL);
            if let Err(error) = store.close_removed() {
                warn!(%error, "Cannot look for files of the store that are gone");
            }
        }
    };
    let spawned = thread::Builder::new().name("upkeep".to_owned()).spawn(look);
    if let Err(error) = spawned {
        warn!(%error, "Files of the store that are removed stay open");
    }
}
