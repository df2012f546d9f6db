//! Copies of the catalogue: made while it is in use, and put in the place of one that is damaged or lost.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, params};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{Catalogue, schema};
use crate::{
    error::{Error, Result},
    ids::SnapshotId,
};

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Beside the catalogue while it is open; both belong to it.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];
/// Put after the name of the catalogue that a copy takes the place of.
const REPLACED: &str = ".replaced";

/// A catalogue that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// Snapshots the copy knows.
    pub snapshots: u64,
    /// Where the catalogue lies that was there before, when there was one.
    pub replaced: Option<PathBuf>,
}

impl Catalogue {
    /// Copies the catalogue, as it is at one instant, to the file `target`, and returns the copy's size in bytes. Nobody
    /// waits for it: it has a connection of its own. The copy is checked and durable before it has its name; a copy
    /// that is there already is replaced, any other file is `Exists`.
    pub fn back_up(&self, target: &Path) -> Result<u64> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::Invalid {
                what: "file name",
                why: format!("{} names no file", target.display()),
            });
        };
        let place = Place::open(parent)?;
        place.require_replaceable(name, target)?;
        let draft = place.draft()?;
        self.copy_to(&draft.path())?;
        check(&draft.path(), target)?;
        let bytes = draft.sync()?;
        draft.publish(name, target)?;
        Ok(bytes)
    }

    /// Puts the copy `backup` in the place of the catalogue at `path`, which nobody may have open; that one is kept beside it.
    /// Nothing in it expires before `earliest_expiry` (seconds since 1970), because it does not know of times that were changed
    /// after it was made. `Corrupt` or `Incompatible` when it cannot be used; then nothing is changed.
    pub fn put_back(backup: &Path, path: &Path, earliest_expiry: i64) -> Result<PutBack> {
        let new = beside(path, ".new");
        let result = prepare(backup, &new, earliest_expiry).and_then(|snapshots| {
            let replaced = swap(&new, path)?;
            Ok(PutBack {
                snapshots,
                replaced,
            })
        });
        if result.is_err() {
            // It is only a copy of a file that is still there.
            let _ = fs::remove_file(&new);
        }
        result
    }

    fn copy_to(&self, path: &str) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let copied = Connection::open_with_flags(&self.path, flags).and_then(|connection| {
            connection.busy_timeout(schema::BUSY_TIMEOUT)?;
            connection.execute("VACUUM INTO ?", [path])
        });
        copied
            .map(drop)
            .map_err(|source| schema::explain(&self.path, "copy the catalogue", source))
    }
}

/// The folder a copy is put into.
struct Place {
    folder: OwnedFd,
    path: PathBuf,
}

impl Place {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self {
            folder: opened.map_err(Error::io("open", path))?,
            path: path.to_owned(),
        })
    }

    /// A slip of the finger must not cost a file that is something else.
    fn require_replaceable(&self, name: &OsStr, target: &Path) -> Result<()> {
        let stat = match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            stat => stat.map_err(Error::io("look at", target))?,
        };
        let is_copy = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && (stat.st_size == 0 || self.begins_with_magic(name));
        match is_copy {
            true => Ok(()),
            false => Err(Error::Exists {
                what: "Another file",
                name: target.display().to_string(),
            }),
        }
    }

    fn begins_with_magic(&self, name: &OsStr) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut head = [0; MAGIC.len()];
        rustix::fs::openat(&self.folder, name, flags, Mode::empty())
            .is_ok_and(|file| File::from(file).read_exact(&mut head).is_ok() && head == *MAGIC)
    }

    /// An empty file that nobody else has, readable by its owner alone.
    fn draft(&self) -> Result<Draft<'_>> {
        let name = format!(".catalogue-{}.part", SnapshotId::random());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.folder, &name, flags, mode)
            .map_err(Error::io("create a file in", &self.path))?;
        Ok(Draft {
            place: self,
            name,
            file: file.into(),
        })
    }
}

/// A copy being made; removed when dropped before it has its name.
struct Draft<'a> {
    place: &'a Place,
    name: String,
    file: File,
}

impl Draft<'_> {
    /// A path of text, which is all SQLite takes, whatever bytes the folder's own path has.
    fn path(&self) -> String {
        let folder = self.place.folder.as_raw_fd();
        format!("/proc/self/fd/{folder}/{}", self.name)
    }

    fn sync(&self) -> Result<u64> {
        let synced = self.file.sync_all().and_then(|()| self.file.metadata());
        synced
            .map(|about| about.len())
            .map_err(Error::io("sync", &self.place.path))
    }

    fn publish(&self, name: &OsStr, target: &Path) -> Result<()> {
        let folder = &self.place.folder;
        rustix::fs::renameat(folder, &self.name, folder, name)
            .map_err(Error::io("rename to", target))?;
        rustix::fs::fsync(folder).map_err(Error::io("sync", &self.place.path))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Not there any more when it has been published.
        let _ = rustix::fs::unlinkat(&self.place.folder, &self.name, AtFlags::empty());
    }
}

/// A copy that cannot be read is none. `shown` is what the user calls it.
fn check(path: &str, shown: &Path) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|source| explain(shown, "open the copy", source))?;
    usable(&connection, shown)
}

/// `Corrupt` or `Incompatible` unless the file is a whole catalogue that this release reads.
fn usable(connection: &Connection, shown: &Path) -> Result<()> {
    let explain = |source| explain(shown, "check the copy", source);
    let answer: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(explain)?;
    if answer != "ok" {
        return Err(not_whole(shown, answer));
    }
    match schema::version(connection).map_err(explain)? {
        0 => Err(not_whole(shown, "it holds no catalogue".to_owned())),
        version => schema::require_known(version, shown),
    }
}

fn explain(shown: &Path, op: &'static str, source: rusqlite::Error) -> Error {
    match schema::is_damage(&source) {
        true => not_whole(shown, source.to_string()),
        false => Error::Database { op, source },
    }
}

fn not_whole(shown: &Path, why: String) -> Error {
    Error::Corrupt {
        what: "Copy of the catalogue",
        name: shown.display().to_string(),
        why,
    }
}

/// Makes of the copy a catalogue that can be opened: of this release, durable, without what may no longer hold.
/// Returns how many snapshots it knows.
fn prepare(backup: &Path, new: &Path, earliest_expiry: i64) -> Result<u64> {
    copy_private(backup, new)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let explain = |source| explain(backup, "prepare the copy", source);
    let mut connection = Connection::open_with_flags(new, flags).map_err(explain)?;
    usable(&connection, backup)?;
    let version = schema::version(&connection).map_err(explain)?;
    schema::migrate(&mut connection, version).map_err(explain)?;
    // A base is trusted when its root is there; what is below it may have been collected since.
    connection
        .execute("DELETE FROM bases", [])
        .map_err(explain)?;
    let sql = "UPDATE snapshots SET expires_at = max(expires_at, ?)";
    connection
        .execute(sql, params![earliest_expiry])
        .map_err(explain)?;
    let sql = "SELECT count(*) FROM snapshots";
    let snapshots: i64 = connection
        .query_row(sql, [], |row| row.get(0))
        .map_err(explain)?;
    connection.close().map_err(|(_, source)| explain(source))?;
    File::open(new)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", new))?;
    Ok(snapshots.unsigned_abs())
}

fn copy_private(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut sink = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .map_err(Error::io("create", to))?;
    let copied = io::copy(&mut source, &mut sink);
    copied.map(drop).map_err(Error::io("copy to", to))
}

/// Renames the catalogue away and `new` into its place. A crash in between leaves no catalogue, which the next start
/// makes again from the manifests, and never a catalogue beside the log of another.
fn swap(new: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let old = beside(path, REPLACED);
    for companion in COMPANIONS {
        remove(&beside(&old, companion))?;
    }
    let is_replaced = rename(path, &old)?;
    for companion in COMPANIONS {
        rename(&beside(path, companion), &beside(&old, companion))?;
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    sync_folder(folder)?;
    rename(new, path)?;
    sync_folder(folder)?;
    Ok(is_replaced.then_some(old))
}

/// The path with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether there was something to rename.
fn rename(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        renamed => renamed.map(|()| true).map_err(Error::io("rename", from)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("remove", path)),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("sync", folder))
}

#[cfg(test)]
mod tests;
