//! A folder of the host as a source.

use std::{
    ffi::OsStr,
    fs::File,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    io::Errno,
};
use snap_store::{Error, Progress, Result, TakeChunk, recut};

use super::{ChunkSource, LostFile};

/// The top folder of a layer, of a container's files, or of what was captured as a folder.
#[derive(Debug)]
pub struct FolderSource {
    name: String,
    path: PathBuf,
    folder: OwnedFd,
    /// The folder of the snapshot that stands here; empty for its root.
    at: Vec<Vec<u8>>,
}

impl FolderSource {
    /// The folder at `path`, which is what `at` is in the snapshot (its components; none for the root); `None` when there is no
    /// such folder. `name` says what it is, for people.
    pub fn open(name: &str, path: &Path, at: Vec<Vec<u8>>) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            folder => folder.map_err(Error::io("open", path))?,
        };
        Ok(Some(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            folder,
            at,
        }))
    }

    /// The file, found without leaving the folder or following a link; `None` when there is no regular file there.
    fn file(&self, path: &[Vec<u8>]) -> Result<Option<File>> {
        let Some(path) = path
            .strip_prefix(&self.at[..])
            .filter(|path| !path.is_empty())
        else {
            return Ok(None);
        };
        let names = path.iter().map(|name| OsStr::from_bytes(name));
        let path: PathBuf = names.collect();
        // A device or a FIFO of that name must neither act nor hold anybody up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let opened = openat2(&self.folder, &path, flags, Mode::empty(), within);
        let failed = || Error::io::<Errno>("read", self.path.join(&path));
        let file = match opened {
            Ok(file) => file,
            Err(errno @ (Errno::NFILE | Errno::MFILE | Errno::NOMEM)) => {
                return Err(failed()(errno));
            }
            // Whatever else stands there is not the file.
            Err(_) => return Ok(None),
        };
        let stat = fstat(&file).map_err(failed())?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then(|| File::from(file)))
    }
}

impl ChunkSource for FolderSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch(
        &self,
        file: &LostFile,
        found: &mut TakeChunk<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(mut opened) = self.file(&file.path)? else {
            return Ok(());
        };
        let each = &mut |digest, kind, raw: &[u8]| match file.chunks.contains(&digest) {
            true => found(digest, kind, raw),
            false => Ok(()),
        };
        match recut(&mut opened, each, progress) {
            // A source that is damaged too has given what it could.
            Err(Error::Io { .. }) => Ok(()),
            done => done,
        }
    }
}
