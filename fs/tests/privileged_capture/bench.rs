//! Disks, mounts and a draft for the tests.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use snap_fs::capture::{
    CapturedTree, Exclude, Scan, Source, SourceKind, StatCache, build, read, scan, warm,
};
use snap_store::{
    BaseRecord, ContentReader, Digest, Draft, Entry, Node, Silent, SnapshotId, Store, TreeReader,
};
use tempfile::TempDir;

/// A mount that ends with the test.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn overlay(at: PathBuf, lower: &str, upper: &Path, work: &Path) -> Self {
        for folder in [&*at, upper, work] {
            fs::create_dir_all(folder).unwrap();
        }
        let (upper, work) = (upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let (source, none) = (Some("overlay"), MsFlags::empty());
        mount(source, &at, source, none, Some(&*options)).unwrap();
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// A file system of its own, so that nothing waits for what others write. Mounts are private to the test's thread and
/// end with it.
pub(crate) struct Disk(TempDir);

impl Disk {
    pub(crate) fn new(kind: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("at"));
        File::create(&image).unwrap().set_len(1 << 30).unwrap();
        fs::create_dir(&at).unwrap();
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&at));
        Self(folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("at")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(&self.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A store and the draft everything goes to.
pub(crate) struct Bench {
    pub(crate) draft: Draft,
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new(disk: &Disk) -> Self {
        Self::in_folder(tempfile::tempdir_in(disk.path()).unwrap())
    }

    /// On tmpfs, whose times prove nothing.
    pub(crate) fn in_memory() -> Self {
        Self::in_folder(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn in_folder(folder: TempDir) -> Self {
        let store = Store::ensure(&folder.path().join("store")).unwrap();
        let draft = store.begin(SnapshotId::random()).unwrap();
        Self { draft, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every entry with its path, in order of position.
    pub(crate) fn list(&self, tree: &CapturedTree) -> Vec<(String, Entry)> {
        let reader = TreeReader::over_draft(&self.draft, tree.root);
        let at = |position| {
            let located = reader.at(position).unwrap().unwrap();
            let path = reader.path_of(position).unwrap().join(&b'/');
            let mut entry = Entry::clone(&located.entry);
            if let Node::Directory(below) = &mut entry.node {
                below.digest = Digest::of(b"");
            }
            (String::from_utf8_lossy(&path).into_owned(), entry)
        };
        (1..tree.root.nodes).map(at).collect()
    }

    /// What stands at `path` in `tree`.
    pub(crate) fn entry(&self, tree: &CapturedTree, path: impl AsRef<OsStr>) -> Entry {
        let names: Vec<&[u8]> = path
            .as_ref()
            .as_bytes()
            .split(|byte| *byte == b'/')
            .collect();
        let reader = TreeReader::over_draft(&self.draft, tree.root);
        let located = reader.resolve(&names).unwrap().unwrap();
        Entry::clone(&located.entry)
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, entry: &Entry) -> Vec<u8> {
        let Node::File { size, content, .. } = entry.node else {
            panic!("{entry:?} is no file");
        };
        let (mut bytes, length) = (Vec::new(), usize::try_from(size).unwrap());
        let reader = ContentReader::new(&self.draft, content, size);
        reader.read_into(0, length, &mut bytes).unwrap();
        assert_eq!(bytes.len(), length);
        bytes
    }

    /// All three passes, with nothing known before.
    pub(crate) fn capture(
        &self,
        path: &Path,
        kind: SourceKind,
        base: Option<&CapturedTree>,
    ) -> CapturedTree {
        let folder = Folder::new(path, kind, &[]);
        let mut cache = StatCache::default();
        self.warm(&folder, &mut cache);
        let twice = self.build(folder.scan(&mut cache), base, &mut cache);
        let mut cache = StatCache::default();
        let once = self.build(self.read(&folder, &mut cache), base, &mut cache);
        assert_eq!(format!("{once:?}"), format!("{twice:?}"));
        twice
    }

    /// Both passes in one.
    pub(crate) fn read(&self, folder: &Folder, cache: &mut StatCache) -> Scan {
        read(&self.draft, &folder.source(), cache, &Silent).unwrap()
    }

    /// The first pass.
    pub(crate) fn warm(&self, folder: &Folder, cache: &mut StatCache) {
        warm(&self.draft, &folder.source(), cache, &Silent).unwrap();
    }

    /// The last.
    pub(crate) fn build(
        &self,
        scan: Scan,
        base: Option<&CapturedTree>,
        cache: &mut StatCache,
    ) -> CapturedTree {
        let base = base.map(|base| BaseRecord {
            root: base.root,
            root_meta: base.root_meta.clone(),
            links: base.links.clone(),
            logical_bytes: base.logical_bytes,
        });
        build(&self.draft, scan, base.as_ref(), cache, &Silent).unwrap()
    }
}

/// A folder to be captured.
pub(crate) struct Folder {
    top: File,
    kind: SourceKind,
    exclude: Exclude,
}

impl Folder {
    pub(crate) fn new(path: &Path, kind: SourceKind, exclude: &[&str]) -> Self {
        let patterns: Vec<String> = exclude.iter().map(ToString::to_string).collect();
        Self {
            top: File::open(path).unwrap(),
            kind,
            exclude: Exclude::new(&patterns).unwrap(),
        }
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            folder: self.top.as_fd(),
            kind: self.kind,
            exclude: &self.exclude,
        }
    }

    pub(crate) fn scan(&self, cache: &mut StatCache) -> Scan {
        scan(&self.source(), cache, &Silent).unwrap()
    }
}
