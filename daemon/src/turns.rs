//! Turns: one at a time does something with a thing, such as a name or a folder.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A turn; it ends when dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// The turns of all things that somebody is at.
#[derive(Debug)]
pub struct Turns<K> {
    table: Mutex<HashMap<K, Weak<AsyncMutex<()>>>>,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Waits until nobody else is at the thing.
    pub(crate) async fn wait(&self, thing: &K) -> Turn {
        self.place(thing).lock_owned().await
    }

    /// True while nobody is at the thing.
    #[cfg(test)]
    pub(crate) fn is_free(&self, thing: &K) -> bool {
        self.place(thing).try_lock().is_ok()
    }

    fn place(&self, thing: &K) -> Arc<AsyncMutex<()>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, place| place.strong_count() > 0);
        table.get(thing).and_then(Weak::upgrade).unwrap_or_else(|| {
            let place = Arc::default();
            table.insert(thing.clone(), Arc::downgrade(&place));
            place
        })
    }
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_has_the_turn() {
        let turns = Turns::default();
        let first = turns.wait(&"app").await;
        let _other = turns.wait(&"other").await;
        let mut second = Box::pin(turns.wait(&"app"));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        let _third = turns.wait(&"third").await;
        assert_eq!(
            turns.table.lock().unwrap().len(),
            2,
            "those that are over are forgotten"
        );
    }
}
