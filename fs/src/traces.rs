//! The folder of traces: one file for each snapshot that was mounted lately, the newest few hundred.
//!
//! A file's name says whose it is, `SNAPSHOT-KIN.trace`. A snapshot that has no trace yet is given the newest of its kin: chunks are known by
//! content, and another version of the same thing shares most of them. Nothing here is relied on: a file that is missing, damaged or of
//! another release is no trace, and the whole folder may be removed at any time.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use snap_store::{Digest, Error, Manifest, Origin, Result, SnapshotId, Trace};

/// Traces that are kept.
const MAX_TRACES: usize = 512;
/// Bytes they may take together.
const MAX_TOTAL_BYTES: u64 = 64 << 20;
const SUFFIX: &str = ".trace";
/// Of a file that is being written; one that was left so is replaced by the next, and goes with its snapshot.
const NEW_SUFFIX: &str = ".new";

/// Traces in a folder, which need not exist.
#[derive(Clone, Debug)]
pub struct TraceFolder(PathBuf);

/// Whose trace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose {
    snapshot: SnapshotId,
    /// The same for all versions of one thing.
    kin: u64,
}

/// A trace's file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    whose: Whose,
    modified: SystemTime,
    bytes: u64,
}

impl TraceFolder {
    /// The folder at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// That of the store in `root`.
    #[must_use]
    pub fn of_store(root: &Path) -> Self {
        Self(root.join("cache").join("traces"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is expected of a mount of this snapshot: its own trace, or else the newest of its kin; an empty one when there is none.
    #[must_use]
    pub fn load(&self, whose: &Whose) -> Trace {
        let mut of_kin = self.list();
        of_kin.retain(|found| found.whose.kin == whose.kin);
        let best = of_kin
            .iter()
            .max_by_key(|found| (found.whose == *whose, found.modified));
        let read = best.and_then(|best| read(&best.path).ok());
        read.and_then(|bytes| Trace::decode(&bytes))
            .unwrap_or_default()
    }

    /// Keeps the trace of this snapshot in the place of the one before, and removes those that were not used for longest, if there are
    /// too many.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; the one before stays.
    pub fn save(&self, whose: &Whose, trace: &Trace) -> Result<()> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        made.map_err(Error::io("make", &self.0))?;
        let path = self.0.join(whose.file());
        let new = self.0.join(format!("{}{NEW_SUFFIX}", whose.snapshot));
        // Not synced: what a power cut leaves half written fails its checksum, and is then no trace.
        let written = fs::write(&new, trace.encode()).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            // Nothing more can be done about a file that cannot even be removed.
            let _ = fs::remove_file(&new);
            return Err(Error::io("write", path)(error));
        }
        self.prune()
    }

    /// Removes what is kept of a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be removed.
    pub fn forget(&self, snapshot: &SnapshotId) -> Result<()> {
        self.retain(|id| id != snapshot)
    }

    /// Removes what is kept of all snapshots but these.
    ///
    /// # Errors
    /// As [`TraceFolder::forget`].
    pub fn keep(&self, is_kept: impl Fn(&SnapshotId) -> bool) -> Result<()> {
        self.retain(is_kept)
    }

    fn retain(&self, is_kept: impl Fn(&SnapshotId) -> bool) -> Result<()> {
        let found = self.list().into_iter();
        let whole = found.map(|found| (found.whose.snapshot, found.path));
        let mut gone = whole.chain(self.drafts()).filter(|(id, _)| !is_kept(id));
        gone.try_for_each(|(_, path)| remove(&path))
    }

    /// What is being written, or was when its writer ended.
    fn drafts(&self) -> Vec<(SnapshotId, PathBuf)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let name = entry.file_name();
            let id = name.to_str()?.strip_suffix(NEW_SUFFIX)?.parse().ok()?;
            Some((id, entry.path()))
        });
        found.collect()
    }

    fn prune(&self) -> Result<()> {
        let mut found = self.list();
        found.sort_by_key(|found| std::cmp::Reverse(found.modified));
        let mut total = 0;
        let mut surplus = found.iter().zip(1..).filter(|(found, number)| {
            total += found.bytes;
            *number > MAX_TRACES || total > MAX_TOTAL_BYTES
        });
        surplus.try_for_each(|(found, _)| remove(&found.path))
    }

    fn list(&self) -> Vec<Found> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let whose = Whose::parse(entry.file_name().to_str()?)?;
            let about = entry.metadata().ok()?;
            Some(Found {
                path: entry.path(),
                whose,
                modified: about.modified().ok()?,
                bytes: about.len(),
            })
        });
        found.collect()
    }
}

impl Whose {
    /// That of the snapshot. Its kin is what has the same name, or else what was made from the same folder, or from the same image
    /// and layers.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let namespace = manifest.namespace.as_str();
        let text = match (&manifest.name, &manifest.origin) {
            (Some(name), _) => format!("name\0{namespace}\0{}", name.name()),
            (None, Origin::Path(path)) => format!("path\0{namespace}\0{path}"),
            (None, Origin::Container(config)) => {
                format!("image\0{namespace}\0{}\0{}", config.image, config.parent)
            }
        };
        let digest = Digest::of(text.as_bytes());
        let first = digest.as_bytes().first_chunk();
        Self {
            snapshot: manifest.id,
            kin: u64::from_be_bytes(*first.expect("a digest is longer than eight bytes")),
        }
    }

    fn file(&self) -> String {
        format!("{}-{:016x}{SUFFIX}", self.snapshot, self.kin)
    }

    fn parse(file: &str) -> Option<Self> {
        let (snapshot, kin) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        let whose = Self {
            snapshot: snapshot.parse().ok()?,
            kin: u64::from_str_radix(kin, 16).ok()?,
        };
        (whose.file() == file).then_some(whose)
    }
}

/// The bytes of a file, and one more than a trace can have when there are more.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = Trace::MAX_BYTES as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use snap_store::{LinkTable, Meta, Seen, TreeRef};

    use super::*;
    use crate::sample;

    fn whose(name: Option<&str>) -> Whose {
        let root = TreeRef {
            digest: Digest::of(b""),
            nodes: 1,
        };
        let id = SnapshotId::random();
        Whose::of(&Manifest {
            name: name.map(|name| name.parse().unwrap()),
            ..sample::manifest(id, (root, Meta::default()), LinkTable::default())
        })
    }

    fn trace(word: &str) -> Trace {
        Trace::default().learned(&[Seen {
            digest: Digest::of(word.as_bytes()),
            raw_bytes: 7,
            at_ms: 0,
        }])
    }

    fn folder() -> (tempfile::TempDir, TraceFolder) {
        let top = tempfile::tempdir().unwrap();
        let folder = TraceFolder::of_store(top.path());
        (top, folder)
    }

    /// Makes the trace of a snapshot as old as that.
    fn age(folder: &TraceFolder, whose: &Whose, seconds: u64) {
        let found = folder
            .list()
            .into_iter()
            .find(|found| found.whose == *whose);
        let file = File::options()
            .write(true)
            .open(found.unwrap().path)
            .unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    }

    #[test]
    fn a_snapshot_has_its_own_trace_or_the_newest_of_its_kin() {
        let (_top, folder) = folder();
        let [one, two, three] = ["app:1", "app:2", "app:3"].map(|name| whose(Some(name)));
        let other = whose(Some("other:1"));
        assert_eq!(folder.load(&one), Trace::default());
        folder.save(&one, &trace("one")).unwrap();
        folder.save(&two, &trace("two")).unwrap();
        folder.save(&other, &trace("other")).unwrap();
        age(&folder, &one, 100);
        assert_eq!(folder.load(&one), trace("one"));
        assert_eq!(folder.load(&three), trace("two"));
        assert_eq!(folder.load(&whose(None)), Trace::default());
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let (_top, folder) = folder();
        let all: Vec<_> = (0..MAX_TRACES).map(|_| whose(Some("app:1"))).collect();
        for one in &all {
            folder.save(one, &trace("x")).unwrap();
        }
        age(&folder, &all[7], 1000);
        folder.save(&whose(Some("app:1")), &trace("x")).unwrap();
        let left = folder.list();
        assert_eq!(left.len(), MAX_TRACES);
        assert!(left.iter().all(|found| found.whose != all[7]));
    }

    #[test]
    fn what_is_no_trace_is_none_and_does_no_harm() {
        let (_top, folder) = folder();
        let one = whose(Some("app:1"));
        folder.save(&one, &trace("one")).unwrap();
        let path = folder.list()[0].path.clone();
        for bytes in [Vec::new(), vec![0; 100], vec![7; Trace::MAX_BYTES + 9]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(folder.load(&one), Trace::default());
        }
        fs::write(folder.path().join("stranger"), "").unwrap();
        folder.save(&one, &trace("again")).unwrap();
        assert_eq!(folder.load(&one), trace("again"));
    }

    #[test]
    fn what_is_forgotten_is_gone_and_others_stay() {
        let (_top, folder) = folder();
        let [one, two] = ["app:1", "other:1"].map(|name| whose(Some(name)));
        for whose in [&one, &two] {
            folder.save(whose, &trace("x")).unwrap();
        }
        folder.forget(&one.snapshot).unwrap();
        folder.forget(&one.snapshot).unwrap();
        assert_eq!(folder.load(&one), Trace::default());
        assert_eq!(folder.load(&two), trace("x"));
        folder.keep(|_| false).unwrap();
        assert_eq!(folder.list(), []);
    }

    /// A mount server that is killed while it writes leaves such a file, and nobody writes another when its snapshot is gone.
    #[test]
    fn what_was_half_written_goes_with_its_snapshot() {
        let (_top, folder) = folder();
        let [one, two, three] = ["app:1", "app:2", "app:3"].map(|name| whose(Some(name)));
        folder.save(&one, &trace("one")).unwrap();
        let draft = |whose: &Whose| {
            folder
                .path()
                .join(format!("{}{NEW_SUFFIX}", whose.snapshot))
        };
        for whose in [&one, &two, &three] {
            fs::write(draft(whose), "half").unwrap();
        }
        folder.forget(&one.snapshot).unwrap();
        folder.keep(|id| *id == three.snapshot).unwrap();
        let left = [&one, &two, &three].map(|whose| draft(whose).exists());
        assert_eq!(left, [false, false, true]);
    }
}
