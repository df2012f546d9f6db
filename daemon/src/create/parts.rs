//! The folders one capture reads: the root, and each included bind mount. All of them are warmed before the pause,
//! scanned within it, and built after it; or, where there is no pause, read and built.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use snap_fs::capture::{
    self, Built, CapturedTree, Exclude, SavedStats, Scan, Source, SourceKind, StatCache,
};
use snap_store::{BaseRecord, Draft, Error, Result as StoreResult};

use super::{
    folders,
    subject::{Root, Subject},
};
use crate::{blocking, error::Result, host::Host, jobs::JobHandle};

/// Most first passes: each later one only reads what changed during the one before.
const MAX_WARM_PASSES: usize = 3;
/// A pass that read less than this leaves nothing worth another pass.
const SETTLED_BYTES: u64 = 4 << 20;

/// Everything one capture reads.
#[derive(Debug)]
pub(super) struct Parts {
    root: Part,
    included: Vec<(PathBuf, Part)>,
    base: Option<BaseRecord>,
    /// The folder that alone is wanted, from the root on; `/` for all.
    top: PathBuf,
}

/// One folder.
#[derive(Debug)]
struct Part {
    folder: OwnedFd,
    kind: SourceKind,
    exclude: Exclude,
    cache: StatCache,
    cache_path: PathBuf,
    /// What the capture before came to, then what this one did.
    built: Option<Built>,
}

impl Parts {
    /// Opens the folders of `subject` and loads what is remembered of them.
    pub(super) async fn open(
        host: &Arc<Host>,
        subject: &Subject,
        base: Option<BaseRecord>,
        exclude: Exclude,
    ) -> Result<Self> {
        let (host, key) = (Arc::clone(host), subject.key.clone());
        let (place, kind) = match &subject.root {
            Root::Folder(folder) => (Place::Folder(folder.clone()), SourceKind::Plain),
            Root::Overlay { upper, .. } | Root::Restored { upper, .. } => {
                (Place::Folder(upper.clone()), SourceKind::OverlayLayer)
            }
            Root::Foreign(mount) => {
                let folder = host.config.state.join("captures");
                (Place::Mount(mount.clone(), folder), SourceKind::Plain)
            }
            Root::Trees(_) => unreachable!("trees are merged and not read"),
        };
        let (included, top) = (subject.included.clone(), subject.top.clone());
        let exclude = exclude.all_but(&names(&top));
        let opening = move || -> StoreResult<Self> {
            let part =
                |folder, kind, exclude, key: &str| Part::new(&host, folder, kind, exclude, key);
            let root = part(place.open()?, kind, exclude, &key)?;
            let included = included.into_iter().map(|mount| {
                let destination = PathBuf::from(&mount.destination);
                let folder = open(Path::new(&mount.source))?;
                let key = format!("{key} {}", mount.destination);
                let wanted = top.strip_prefix(&destination).unwrap_or(Path::new(""));
                let exclude = Exclude::default().all_but(&names(wanted));
                let part = part(folder, SourceKind::Plain, exclude, &key)?;
                Ok((destination, part))
            });
            Ok(Self {
                root,
                included: included.collect::<StoreResult<_>>()?,
                base,
                top,
            })
        };
        blocking(opening).await
    }

    /// First pass, repeated while much changes under it, for the pause after it is to be short.
    pub(super) async fn warm(mut self, draft: Draft, job: &JobHandle) -> Result<(Draft, Self)> {
        let job = job.clone();
        let warming = move || -> StoreResult<_> {
            for _ in 0..MAX_WARM_PASSES {
                let before = draft.stats().read_bytes;
                for part in self.each_mut() {
                    let (source, cache) = part.source();
                    capture::warm(&draft, &source, cache, &job)?;
                }
                if draft.stats().read_bytes.saturating_sub(before) < SETTLED_BYTES {
                    break;
                }
            }
            Ok((draft, self))
        };
        blocking(warming).await
    }

    /// Both passes in one, where nothing stands still.
    pub(super) async fn read(
        mut self,
        draft: Draft,
        job: &JobHandle,
    ) -> Result<(Draft, Self, Vec<Scan>)> {
        let job = job.clone();
        let reading = move || -> StoreResult<_> {
            let scans = self.each_mut().map(|part| {
                let (source, cache) = part.source();
                capture::read(&draft, &source, cache, &job)
            });
            let scans = scans.collect::<StoreResult<_>>()?;
            Ok((draft, self, scans))
        };
        blocking(reading).await
    }

    /// Second pass: every part's, the root's first.
    pub(super) async fn scan(mut self, job: &JobHandle) -> Result<(Self, Vec<Scan>)> {
        let job = job.clone();
        let scanning = move || -> StoreResult<_> {
            let scans = self.each_mut().map(|part| {
                let (source, cache) = part.source();
                capture::scan(&source, cache, &job)
            });
            let scans = scans.collect::<StoreResult<_>>()?;
            Ok((self, scans))
        };
        blocking(scanning).await
    }

    /// The trees of `scans`, put together as the container sees them.
    pub(super) async fn build(
        mut self,
        draft: Draft,
        scans: Vec<Scan>,
        job: &JobHandle,
    ) -> Result<(Draft, Self, CapturedTree)> {
        let job = job.clone();
        let building = move || -> StoreResult<_> {
            let mut scans = scans.into_iter();
            let mut next = || scans.next().expect("every part was scanned");
            let mut tree = self.root.build(&draft, next(), self.base.as_ref(), &job)?;
            for (destination, part) in &mut self.included {
                let graft = part.build(&draft, next(), None, &job)?;
                let names = names(destination);
                let mut joined = capture::graft(&draft, &tree, &names, &graft)?;
                joined.warnings = tree.warnings;
                joined.warnings.extend(graft.warnings);
                tree = joined;
            }
            let tree = wanted(&draft, tree, &self.top)?;
            Ok((draft, self, tree))
        };
        blocking(building).await
    }

    /// What each came to, to be remembered once it is committed.
    pub(super) fn built(&self) -> Vec<(PathBuf, Built)> {
        let included = self.included.iter().map(|(_, part)| part);
        let parts = std::iter::once(&self.root).chain(included);
        let built = parts.filter_map(|part| Some((part.cache_path.clone(), part.built.clone()?)));
        built.collect()
    }

    /// What is known of the files now, for the next capture.
    pub(super) async fn encode(self) -> Result<Remembered> {
        let encoding = move || -> StoreResult<_> {
            let Self { root, included, .. } = self;
            let parts = std::iter::once(root).chain(included.into_iter().map(|(_, part)| part));
            let encode = |part: Part| part.cache.encode(&part.cache_path);
            Ok(Remembered(parts.map(encode).collect()))
        };
        blocking(encoding).await
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        let included = self.included.iter_mut().map(|(_, part)| part);
        std::iter::once(&mut self.root).chain(included)
    }
}

/// What is known of the files of a capture, to be saved.
#[derive(Debug)]
pub(super) struct Remembered(Vec<SavedStats>);

impl Remembered {
    /// Saves it. Not before the snapshot is whole: it names chunks.
    pub(super) async fn save(self) -> Result<()> {
        blocking(move || self.0.into_iter().try_for_each(SavedStats::save)).await
    }
}

impl Part {
    fn new(
        host: &Host,
        folder: OwnedFd,
        kind: SourceKind,
        exclude: Exclude,
        key: &str,
    ) -> StoreResult<Self> {
        let (folder, root) = (File::from(folder), &host.config.root);
        let identity = folder.metadata().map_err(Error::io("look at", root))?;
        let cache_path = folders::cache_path(root, key, (identity.dev(), identity.ino()));
        Ok(Self {
            folder: folder.into(),
            kind,
            exclude,
            cache: StatCache::load(&cache_path),
            built: host.last_trees.of(&cache_path),
            cache_path,
        })
    }

    fn build(
        &mut self,
        draft: &Draft,
        scan: Scan,
        base: Option<&BaseRecord>,
        job: &JobHandle,
    ) -> StoreResult<CapturedTree> {
        let last = self.built.take();
        let (tree, built) = capture::build_after(draft, scan, (base, last), &mut self.cache, job)?;
        self.built = built;
        Ok(tree)
    }

    fn source(&mut self) -> (Source<'_>, &mut StatCache) {
        let source = Source {
            folder: self.folder.as_fd(),
            kind: self.kind,
            exclude: &self.exclude,
        };
        (source, &mut self.cache)
    }
}

/// A folder to be opened.
enum Place {
    /// It is there.
    Folder(PathBuf),
    /// It has to be mounted below the folder first.
    Mount(crate::containerd::Mount, PathBuf),
}

impl Place {
    fn open(self) -> StoreResult<OwnedFd> {
        match self {
            Self::Folder(folder) => open(&folder),
            Self::Mount(mount, folder) => foreign::open(&mount, &folder),
        }
    }
}

/// Opens a folder.
pub(super) fn open(folder: &Path) -> StoreResult<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).map_err(Error::io("open", folder))
}

/// What is wanted of a tree.
fn wanted(draft: &Draft, tree: CapturedTree, top: &Path) -> StoreResult<CapturedTree> {
    let part = capture::part(draft, tree, &names(top));
    let part = part.map(capture::Part::into_tree);
    match part {
        Ok(Some(tree)) => Ok(tree),
        // It is what something was mounted on that is not known of, or it went away meanwhile.
        Ok(None) | Err(Error::NotFound { .. }) => Err(Error::NotFound {
            what: "Folder",
            name: format!("{} in the container's own files", top.display()),
        }),
        Err(error) => Err(error),
    }
}

/// The names on the way to `destination`.
pub(super) fn names(destination: &Path) -> Vec<&[u8]> {
    use std::os::unix::ffi::OsStrExt;
    let names = destination.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    });
    names.collect()
}

mod foreign {
    //! File systems of snapshotters that name a device rather than a folder.

    use std::{
        fs,
        os::fd::OwnedFd,
        path::Path,
        sync::atomic::{AtomicU64, Ordering},
    };

    use nix::mount::{MntFlags, MsFlags};
    use snap_store::{Error, Result};

    use crate::containerd::Mount;

    static NEXT: AtomicU64 = AtomicU64::new(0);

    /// Mounts, opens the top and detaches the mount at once: it lives as long as the descriptor, on every path.
    pub(super) fn open(mount: &Mount, folder: &Path) -> Result<OwnedFd> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let target = folder.join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&target).map_err(Error::io("create", &target))?;
        let (flags, data) = options(&mount.options);
        let opened = nix::mount::mount(
            Some(mount.source.as_str()),
            &target,
            Some(mount.kind.as_str()),
            flags | MsFlags::MS_NOATIME,
            Some(data.as_str()),
        )
        .map_err(Error::io("mount the container's file system at", &target))
        .and_then(|()| {
            let top = super::open(&target);
            let detached = nix::mount::umount2(&target, MntFlags::MNT_DETACH);
            detached.map_err(Error::io("unmount", &target)).and(top)
        });
        fs::remove_dir(&target).map_err(Error::io("remove", &target))?;
        opened
    }

    /// Splits options into the kernel's flags and the file system's own. It stays writable, as the container has it
    /// mounted: the kernel refuses to mount one device both ways.
    fn options(options: &[String]) -> (MsFlags, String) {
        let mut flags = MsFlags::empty();
        let mut data = Vec::new();
        for option in options {
            match option.as_str() {
                "ro" => flags |= MsFlags::MS_RDONLY,
                "rw" | "defaults" => {}
                "nosuid" => flags |= MsFlags::MS_NOSUID,
                "nodev" => flags |= MsFlags::MS_NODEV,
                "noexec" => flags |= MsFlags::MS_NOEXEC,
                own => data.push(own),
            }
        }
        (flags, data.join(","))
    }
}
