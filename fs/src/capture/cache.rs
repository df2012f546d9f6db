//! What is known of inodes from earlier passes.
//!
//! The cache holds only what may be believed: an inode whose times, size and kind are the same as here has the same
//! content, target and extended attributes. It is never the only copy of anything; a lost one costs a reading.

mod codec;

use std::{
    collections::{HashMap, hash_map::Entry},
    fs, io,
    path::{Path, PathBuf},
};

use snap_store::{Content, Draft, Error, Result, Timestamp, Xattr};

use super::{
    SavedStats, StatCache,
    stat::{InodeId, Kind, Stat},
};

/// Largest file that is read as a cache: ten million inodes.
const MAX_FILE_BYTES: u64 = 1 << 30;

#[cfg(any(test, feature = "fuzz"))]
pub(super) use codec::recoded;

/// What is known of one inode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) changed: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) size: u64,
    /// As the kernel has them, marks of overlayfs among them.
    pub(super) xattrs: Box<[Xattr]>,
    pub(super) payload: Payload,
}

/// What is behind an inode, as far as it takes reading to know.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// Nothing to read: folders, devices, FIFOs, sockets.
    Nothing,
    /// The bytes of a file.
    File(Content),
    /// The target of a symbolic link.
    Symlink(Box<[u8]>),
}

/// A [`Known`] and whether this capture has met it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    known: Known,
    is_met: bool,
}

impl Known {
    /// What is known of the inode that `stat` saw.
    pub(super) fn new(stat: &Stat, xattrs: Box<[Xattr]>, payload: Payload) -> Self {
        Self {
            changed: stat.changed,
            modified: stat.modified,
            size: stat.size,
            xattrs,
            payload,
        }
    }

    fn vouches_for(&self, stat: &Stat) -> bool {
        let is_kind = match self.payload {
            Payload::Nothing => !matches!(stat.kind, Kind::File | Kind::Symlink),
            Payload::File(_) => stat.kind == Kind::File,
            Payload::Symlink(_) => stat.kind == Kind::Symlink,
        };
        is_kind
            && self.changed == stat.changed
            && self.modified == stat.modified
            && self.size == stat.size
    }
}

impl StatCache {
    /// Loads the cache in the file `path`; empty when there is none or it cannot be read.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let mut cache = Self {
            spool: path.parent().map(Path::to_owned),
            ..Self::default()
        };
        let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= MAX_FILE_BYTES);
        let decoded = is_small.then(|| fs::read(path).ok()).flatten();
        if let Some(known) = decoded.and_then(|bytes| codec::decode(&bytes)) {
            let slots = known.into_iter().map(|(id, known)| {
                let is_met = false;
                (id, Slot { known, is_met })
            });
            cache.slots = slots.collect();
            cache.saved = Some(path.to_owned());
        }
        cache
    }

    /// What can be trusted later and was met in the last capture, to be saved in the file `path` ([`SavedStats::save`]).
    pub fn encode(&self, path: &Path) -> SavedStats {
        let bytes = (!self.is_saved(path)).then(|| {
            let mut met: Vec<_> = self
                .slots
                .iter()
                .filter(|(_, slot)| slot.is_met)
                .map(|(id, slot)| (*id, &slot.known))
                .collect();
            met.sort_unstable_by_key(|(id, _)| *id);
            codec::encode(&met)
        });
        SavedStats {
            path: path.to_owned(),
            bytes,
        }
    }

    /// True when the file `path` holds what would be saved there.
    fn is_saved(&self, path: &Path) -> bool {
        self.saved.as_deref() == Some(path)
            && self.slots.values().all(|slot| slot.is_met)
            && path.exists()
    }

    /// What is known of the inode that `stat` sees, if all of what it holds is in the store or in `draft`: it counts as met then. What was
    /// remembered at an earlier capture may have been collected since, and is forgotten when it was.
    pub(super) fn confirm(&mut self, draft: &Draft, stat: &Stat) -> Result<Option<&Known>> {
        let Entry::Occupied(mut entry) = self.slots.entry(stat.id) else {
            return Ok(None);
        };
        let slot = entry.get_mut();
        if !slot.known.vouches_for(stat) {
            return Ok(None);
        }
        if let Payload::File(content) = &slot.known.payload
            && !draft.has_content(content, stat.size)?
        {
            entry.remove();
            self.saved = None;
            return Ok(None);
        }
        slot.is_met = true;
        Ok(Some(&entry.into_mut().known))
    }

    /// What is known of the inode that `stat` sees, unless that is content the first pass has not found whole in the store: what was
    /// remembered at an earlier capture may have been collected since. So it is with a folder that is moved from where the pass
    /// has not been yet to where it has been.
    pub(super) fn get_confirmed(&self, stat: &Stat) -> Option<&Known> {
        let slot = self.slots.get(&stat.id)?;
        let names_chunks = matches!(
            slot.known.payload,
            Payload::File(Content::Chunk(_) | Content::List(_) | Content::SparseList(_))
        );
        let is_confirmed = slot.is_met || !names_chunks;
        (is_confirmed && slot.known.vouches_for(stat)).then_some(&slot.known)
    }

    /// Says that nothing has been met yet.
    pub(super) fn begin(&mut self) {
        for slot in self.slots.values_mut() {
            slot.is_met = false;
        }
    }

    /// Remembers an inode.
    pub(super) fn put(&mut self, id: InodeId, known: Known) {
        let is_met = true;
        let before = self.slots.insert(id, Slot { known, is_met });
        let is_news = before.is_none_or(|before| before.known != self.slots[&id].known);
        if is_news {
            self.saved = None;
        }
    }

    /// Where bytes may be kept aside that do not fit into memory.
    pub(super) fn spool_folder(&self) -> PathBuf {
        self.spool.clone().unwrap_or_else(std::env::temp_dir)
    }
}

impl SavedStats {
    /// Saves it, unless the file has it already. To be called after the draft the cache was used with is committed: the contents it names
    /// must be in the store.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written; the one before stays.
    pub fn save(self) -> Result<()> {
        let Self { path, bytes } = self;
        let Some(bytes) = bytes else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let new = new_path(&path);
        // Not synced: what a power cut leaves half written fails its checksum, and is then read as empty.
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error: io::Error| {
            // Nothing more can be done about a file that cannot even be removed.
            let _ = fs::remove_file(&new);
            Error::io("write", path)(error)
        })
    }
}

/// Maps of inodes.
pub(super) type Slots = HashMap<InodeId, Slot>;

fn new_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use snap_store::Digest;

    use super::*;

    fn stat() -> Stat {
        let here = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        let fd = here.unwrap();
        let stat = Stat::of_fd(std::os::fd::AsFd::as_fd(&fd)).unwrap();
        Stat {
            kind: Kind::File,
            ..stat
        }
    }

    fn knows(cache: &StatCache, stat: &Stat) -> bool {
        let slot = cache.slots.get(&stat.id);
        slot.is_some_and(|slot| slot.known.vouches_for(stat))
    }

    fn cache_of(stat: &Stat) -> StatCache {
        let mut cache = StatCache::default();
        let content = Content::Chunk(Digest::of(b"x"));
        let known = Known::new(stat, Box::default(), Payload::File(content));
        cache.put(stat.id, known);
        cache
    }

    #[test]
    fn a_saved_cache_vouches_for_the_same_inode_and_no_other() {
        let (folder, stat) = (tempfile::tempdir().unwrap(), stat());
        let path = folder.path().join("cache");
        cache_of(&stat).encode(&path).save().unwrap();
        let loaded = StatCache::load(&path);
        assert!(knows(&loaded, &stat));
        let mut changed = stat;
        changed.changed.nanoseconds ^= 1;
        assert!(!knows(&loaded, &changed));
        let kind = Kind::Symlink;
        assert!(!knows(&loaded, &Stat { kind, ..stat }));
    }

    #[test]
    fn what_was_not_met_again_is_forgotten() {
        let (folder, stat) = (tempfile::tempdir().unwrap(), stat());
        let path = folder.path().join("cache");
        cache_of(&stat).encode(&path).save().unwrap();
        StatCache::load(&path).encode(&path).save().unwrap();
        assert!(!knows(&StatCache::load(&path), &stat));
    }

    #[test]
    fn what_the_file_has_is_not_written_again() {
        let (folder, stat) = (tempfile::tempdir().unwrap(), stat());
        let path = folder.path().join("cache");
        let elsewhere = folder.path().join("elsewhere");
        let is_written = |cache: &StatCache, path| cache.encode(path).bytes.is_some();
        let cache = cache_of(&stat);
        assert!(is_written(&cache, &path));
        cache.encode(&path).save().unwrap();
        let met = || {
            let mut cache = StatCache::load(&path);
            cache.slots.values_mut().for_each(|slot| slot.is_met = true);
            cache
        };
        assert!(!is_written(&met(), &path));
        assert!(
            is_written(&StatCache::load(&path), &path),
            "nothing was met"
        );
        assert!(is_written(&met(), &elsewhere));
        let mut same = met();
        let known = same.slots[&stat.id].known.clone();
        same.put(stat.id, known.clone());
        assert!(!is_written(&same, &path));
        let size = known.size + 1;
        same.put(stat.id, Known { size, ..known });
        assert!(is_written(&same, &path));
        let lost = met();
        fs::remove_file(&path).unwrap();
        assert!(is_written(&lost, &path));
    }

    #[test]
    fn a_missing_or_foreign_file_is_an_empty_cache() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        assert!(StatCache::load(&path).slots.is_empty());
        fs::write(&path, b"something else").unwrap();
        assert!(StatCache::load(&path).slots.is_empty());
    }
}
