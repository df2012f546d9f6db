//! Contents of files that were found whole in the store, so that a capture which meets them again need not ask for each chunk.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{entry::Content, ids::Digest};

/// Contents that are remembered: as many as a table of 5 MiB holds.
const MAX_KNOWN: usize = 7 << 14;

/// What is remembered, as long as nothing is lost.
#[derive(Debug, Default)]
pub(super) struct KnownContents(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What [`crate::index::Index::losses`] said when these were asked for.
    losses: u64,
    contents: HashSet<Key>,
}

/// A content and the length of its file, without which a list is not that file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    digest: Digest,
    size: u64,
    is_list: bool,
}

impl Key {
    /// `None` for what has no chunk.
    fn of(content: &Content, size: u64) -> Option<Self> {
        let (digest, is_list) = match content {
            Content::Hole => return None,
            Content::Chunk(digest) => (*digest, false),
            Content::List(digest) | Content::SparseList(digest) => (*digest, true),
        };
        Some(Self {
            digest,
            size,
            is_list,
        })
    }
}

impl KnownContents {
    /// True when the content was found whole and nothing was lost since; `losses` is what the index says now.
    pub(super) fn has(&self, content: &Content, size: u64, losses: u64) -> bool {
        let known = self.known();
        let key = Key::of(content, size);
        known.losses == losses && key.is_some_and(|key| known.contents.contains(&key))
    }

    /// Remembers a content that was found whole; `losses` is what the index said before it was asked. To be called only as long as it
    /// says the same.
    pub(super) fn note(&self, content: &Content, size: u64, losses: u64) {
        let mut known = self.known();
        if known.losses > losses {
            return;
        }
        if known.losses < losses || known.contents.len() >= MAX_KNOWN {
            known.contents = HashSet::new();
            known.losses = losses;
        }
        known.contents.extend(Key::of(content, size));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_forgotten_with_the_first_loss() {
        let known = KnownContents::default();
        let (chunk, list) = (Digest::of(b"x"), Digest::of(b"y"));
        known.note(&Content::Chunk(chunk), 1, 0);
        known.note(&Content::List(list), 9, 0);
        assert!(known.has(&Content::Chunk(chunk), 1, 0));
        assert!(known.has(&Content::SparseList(list), 9, 0));
        assert!(!known.has(&Content::List(list), 8, 0), "another length");
        assert!(!known.has(&Content::List(chunk), 1, 0), "another kind");
        assert!(!known.has(&Content::Hole, 1, 0));
        assert!(!known.has(&Content::Chunk(chunk), 1, 1));
        known.note(&Content::List(list), 9, 1);
        known.note(&Content::Chunk(chunk), 1, 0);
        assert!(known.has(&Content::List(list), 9, 1));
        assert!(
            !known.has(&Content::Chunk(chunk), 1, 1),
            "found before the loss"
        );
    }
}
