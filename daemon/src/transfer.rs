//! Files of the host to a stage of a template or of a volume: their digest, and copies of them.
//!
//! The source is walked by descriptors, folder by folder, and no link in it is followed; what is written goes below the stage's root, in
//! which links cannot lead outside, and nothing runs there meanwhile. Both walks are one, so that what is copied is what was digested.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    },
    io::Errno,
};
use sha2::{Digest, Sha256};
use snap_api::{ErrorCode, ErrorReport};
use snap_fs::capture::Exclude;
use snap_store::{Error as StoreError, Progress};

use crate::{
    error::{Error, Result},
    jobs::JobHandle,
};

/// Folders within folders; each takes two descriptors while it is walked.
const MAX_DEPTH: usize = 200;
/// Files, folders and links of one step.
const MAX_ENTRIES: u64 = 2_000_000;
const BUFFER_BYTES: usize = 256 << 10;
/// What a copy keeps of a mode: nothing of the host sets ids in a container.
const MODE_BITS: u32 = 0o1777;

/// The digest of a file or folder: names, kinds, modes, contents and targets of links.
pub(crate) fn digest(from: &Path, exclude: &Exclude, job: &JobHandle) -> Result<String> {
    Ok(walk(from, exclude, None, job)?.digest)
}

/// Copies a file or folder to the path `to` below a root, for this owner. A folder that is there takes up what is
/// copied; anything else that is in the way is replaced.
pub(crate) fn copy(
    from: &Path,
    exclude: &Exclude,
    (rootfs, to): (&Path, &str),
    owner: (u32, u32),
    job: &JobHandle,
) -> Result<Copied> {
    let root = File::open(rootfs).map_err(Error::io("open", rootfs))?;
    let to = Path::new(to);
    let folder = ensure_parents(root.as_fd(), to)?;
    let name = to.file_name().unwrap_or_default().as_bytes().to_vec();
    let sink = Sink { owner };
    walk(from, exclude, Some((&sink, folder.as_fd(), &name)), job)
}

/// What was copied.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    /// As [`digest`] has it.
    pub(crate) digest: String,
    /// Regular files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Where a walk writes to.
struct Sink {
    owner: (u32, u32),
}

/// A place to write to: a folder, and a name in it.
type Place<'a> = (&'a Sink, BorrowedFd<'a>, &'a [u8]);

struct Walk<'a> {
    from: &'a Path,
    exclude: &'a Exclude,
    job: &'a JobHandle,
    hash: Sha256,
    entries: u64,
    files: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

fn walk(from: &Path, exclude: &Exclude, to: Option<Place<'_>>, job: &JobHandle) -> Result<Copied> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened =
        rustix::fs::open(from, flags, Mode::empty()).map_err(|error| not_there(from, error))?;
    let mut walk = Walk {
        from,
        exclude,
        job,
        hash: Sha256::new(),
        entries: 0,
        files: 0,
        bytes: 0,
        buffer: vec![0; BUFFER_BYTES],
    };
    let about = rustix::fs::fstat(&opened).map_err(|error| walk.failed("look at", b"", error))?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => walk.folder(&opened, &about, b"", to)?,
        FileType::RegularFile => walk.file(opened, &about, b"", to)?,
        _ => return Err(walk.strange(b"")),
    }
    let digest = walk.hash.finalize();
    Ok(Copied {
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        files: walk.files,
        bytes: walk.bytes,
    })
}

impl Walk<'_> {
    fn folder(
        &mut self,
        folder: &OwnedFd,
        about: &Stat,
        path: &[u8],
        to: Option<Place<'_>>,
    ) -> Result<()> {
        if path.iter().filter(|byte| **byte == b'/').count() > MAX_DEPTH {
            let message = format!("{} is deeper than {MAX_DEPTH} folders", self.shown(path));
            return Err(ErrorReport::new(ErrorCode::Usage, "too-deep", message).into());
        }
        self.note(b'd', path, about.st_mode)?;
        let made = to.map(|place| make_folder(place)).transpose();
        let made = made.map_err(|error| self.failed("copy", path, error))?;
        let mut names = Vec::new();
        let listing = Dir::read_from(folder).map_err(|error| self.failed("list", path, error))?;
        for entry in listing {
            let entry = entry.map_err(|error| self.failed("list", path, error))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        for name in &names {
            let place = to.zip(made.as_ref());
            let place = place.map(|((sink, _, _), made)| (sink, made.as_fd(), name.as_slice()));
            self.entry(folder, name, path, place)?;
        }
        match (to, made) {
            (Some((sink, _, _)), Some(made)) => self.dress(sink, &made, about, path),
            _ => Ok(()),
        }
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        above: &[u8],
        to: Option<Place<'_>>,
    ) -> Result<()> {
        let path = [above, if above.is_empty() { b"" } else { b"/" }, name].concat();
        let about = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let about = about.map_err(|error| self.failed("look at", &path, error))?;
        let kind = FileType::from_raw_mode(about.st_mode);
        if self.exclude.matches(&path, kind == FileType::Directory) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match kind {
            FileType::Symlink => self.link(folder, name, &path, to),
            FileType::Directory | FileType::RegularFile => {
                let opened = rustix::fs::openat(folder, name, flags, Mode::empty());
                let opened = opened.map_err(|error| self.failed("open", &path, error))?;
                let about = rustix::fs::fstat(&opened);
                let about = about.map_err(|error| self.failed("look at", &path, error))?;
                match FileType::from_raw_mode(about.st_mode) {
                    FileType::Directory => self.folder(&opened, &about, &path, to),
                    FileType::RegularFile => self.file(opened, &about, &path, to),
                    _ => Err(self.strange(&path)),
                }
            }
            _ => Err(self.strange(&path)),
        }
    }

    fn link(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &[u8],
        to: Option<Place<'_>>,
    ) -> Result<()> {
        let target = rustix::fs::readlinkat(folder, name, Vec::new());
        let target = target.map_err(|error| self.failed("read", path, error))?;
        self.note(b'l', path, 0)?;
        self.put(target.to_bytes());
        let Some((sink, folder, name)) = to else {
            return Ok(());
        };
        let made = clear(folder, name)
            .and_then(|()| rustix::fs::symlinkat(&target, folder, name))
            .and_then(|()| {
                let (uid, gid) = sink.owner();
                rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            });
        made.map_err(|error| self.failed("copy", path, error))
    }

    fn file(
        &mut self,
        file: OwnedFd,
        about: &Stat,
        path: &[u8],
        to: Option<Place<'_>>,
    ) -> Result<()> {
        self.note(b'f', path, about.st_mode)?;
        let made = to
            .map(|(_, folder, name)| make_file(folder, name))
            .transpose();
        let made = made.map_err(|error| self.failed("copy", path, error))?;
        let mut made = made.map(File::from);
        let (mut file, mut bytes) = (File::from(file), 0_u64);
        let mut content = Sha256::new();
        loop {
            let read = file.read(&mut self.buffer);
            let read = read.map_err(|error| self.failed("read", path, error))?;
            if read == 0 {
                break;
            }
            content.update(&self.buffer[..read]);
            bytes += read as u64;
            if let Some(made) = &mut made {
                let written = made.write_all(&self.buffer[..read]);
                written.map_err(|error| self.failed("copy", path, error))?;
            }
            if self.job.is_cancelled() {
                return Err(StoreError::Cancelled.into());
            }
        }
        self.put(&content.finalize());
        self.files += 1;
        self.bytes += bytes;
        self.job.advance(1, bytes);
        match (to, made) {
            (Some((sink, _, _)), Some(made)) => self.dress(sink, &made.into(), about, path),
            _ => Ok(()),
        }
    }

    /// Owner, mode and time, the owner first: a change of it takes bits of the mode away.
    fn dress(&self, sink: &Sink, made: &OwnedFd, about: &Stat, path: &[u8]) -> Result<()> {
        let (uid, gid) = sink.owner();
        let modified = Timespec {
            tv_sec: about.st_mtime,
            tv_nsec: i64::try_from(about.st_mtime_nsec).unwrap_or_default(),
        };
        let times = Timestamps {
            last_access: modified,
            last_modification: modified,
        };
        let mode = Mode::from_raw_mode(about.st_mode & MODE_BITS);
        rustix::fs::fchown(made, uid, gid)
            .and_then(|()| rustix::fs::fchmod(made, mode))
            .and_then(|()| rustix::fs::futimens(made, &times))
            .map_err(|error| self.failed("copy", path, error))
    }

    /// Takes an entry into the digest.
    fn note(&mut self, kind: u8, path: &[u8], mode: u32) -> Result<()> {
        if self.job.is_cancelled() {
            return Err(StoreError::Cancelled.into());
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            let message = format!(
                "{} holds more than {MAX_ENTRIES} entries",
                self.from.display()
            );
            return Err(ErrorReport::new(ErrorCode::Usage, "too-many-entries", message).into());
        }
        self.hash.update([kind]);
        self.hash.update((mode & MODE_BITS).to_le_bytes());
        self.put(path);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn shown(&self, path: &[u8]) -> String {
        let path = std::ffi::OsStr::from_bytes(path);
        self.from.join(path).display().to_string()
    }

    fn failed(&self, op: &'static str, path: &[u8], error: impl Into<std::io::Error>) -> Error {
        Error::io(op, self.shown(path))(error)
    }

    fn strange(&self, path: &[u8]) -> Error {
        let message = format!(
            "{} is neither a file nor a folder nor a link: it cannot be copied",
            self.shown(path)
        );
        ErrorReport::new(ErrorCode::Usage, "not-a-file", message)
            .hint("Leave it out with `exclude`")
            .into()
    }
}

impl Sink {
    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = self.owner;
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// The folder that `to` is in, with those above it, made where they are not there.
fn ensure_parents(root: BorrowedFd<'_>, to: &Path) -> Result<OwnedFd> {
    let failed = |error: Errno| Error::io("make", to.to_owned())(error);
    let inside = |path: &Path| {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, FOLDER, Mode::empty(), resolve)
    };
    let mut path = Path::new(".").to_owned();
    let mut folder = inside(&path).map_err(failed)?;
    let parents = to.parent().unwrap_or(Path::new("/"));
    for part in parents.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        path.push(name);
        folder = match inside(&path) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
                inside(&path)
            }
            found => found,
        }
        .map_err(failed)?;
    }
    Ok(folder)
}

fn make_folder((_, folder, name): Place<'_>) -> rustix::io::Result<OwnedFd> {
    let open = || rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    match open() {
        Ok(there) => return Ok(there),
        Err(Errno::NOENT) => {}
        Err(_) => clear(folder, name)?,
    }
    rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o700))?;
    open()
}

fn make_file(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    clear(folder, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))
}

/// Removes what is in the way, unless that is a folder: the error says so then.
fn clear(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

fn not_there(from: &Path, error: Errno) -> Error {
    if error != Errno::NOENT {
        return Error::io("open", from)(error);
    }
    let message = format!("{} was not found", from.display());
    ErrorReport::new(ErrorCode::NotFound, "path-not-found", message).into()
}
