//! Copies of the catalogue: made while it is in use, and put in the place of one that is damaged or lost.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags, params};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{Catalogue, place, schema};
use crate::{
    disk::{Disk, HostDisk, Sink},
    error::{Error, Result},
    ids::SnapshotId,
};

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of a copy read at a time.
const COPY_BYTES: usize = 64 << 10;

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
        let (disk, name) = place::of(target)?;
        require_replaceable(&disk, name.as_os_str(), target)?;
        // A path of text, which is all SQLite takes, whatever bytes the folder's own path has.
        let through = format!("/proc/self/fd/{}", disk.as_fd().as_raw_fd());
        self.back_up_on(&disk, &through, &name)
    }

    /// The same, as the file `name` in the folder of `disk`, which SQLite reaches by the path `through`.
    pub(super) fn back_up_on(&self, disk: &dyn Disk, through: &str, name: &Path) -> Result<u64> {
        let draft = Draft::create(disk)?;
        let (path, target) = (format!("{through}/{}", draft.name), disk.root().join(name));
        self.copy_to(&path)?;
        check(&path, &target)?;
        draft.publish(name)
    }

    /// Puts the copy `backup` in the place of the catalogue at `path`, which nobody may have open; that one is kept beside it.
    /// Nothing in it expires or goes from the trash before `earliest_expiry` (seconds since 1970) or is removed by a policy, because it does not know of times
    /// that were changed and of what was pinned or tagged after it was made. `Corrupt` or `Incompatible` when it cannot be used; then nothing is changed.
    pub fn put_back(backup: &Path, path: &Path, earliest_expiry: i64) -> Result<PutBack> {
        let (disk, name) = place::of(path)?;
        Self::put_back_on(&disk, backup, &name, earliest_expiry)
    }

    /// The same for the catalogue `name` in the folder of `disk`.
    pub(super) fn put_back_on(
        disk: &dyn Disk,
        backup: &Path,
        name: &Path,
        earliest_expiry: i64,
    ) -> Result<PutBack> {
        place::settle(disk, name)?;
        let snapshots = prepare(disk, backup, &place::draft(name), earliest_expiry);
        let put = snapshots.and_then(|snapshots| {
            let replaced = place::replace(disk, name)?;
            Ok(PutBack {
                snapshots,
                replaced: replaced.map(|old| disk.root().join(old)),
            })
        });
        if put.is_err() {
            // Nothing has changed, or the old one had gone already. Should this fail too, the next who opens it does it.
            let _ = place::settle(disk, name);
        }
        put
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

/// A slip of the finger must not cost a file that is something else.
fn require_replaceable(disk: &HostDisk, name: &OsStr, target: &Path) -> Result<()> {
    let stat = match rustix::fs::statat(disk, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        stat => stat.map_err(Error::io("look at", target))?,
    };
    let is_copy = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && (stat.st_size == 0 || begins_with_magic(disk, name));
    match is_copy {
        true => Ok(()),
        false => Err(Error::Exists {
            what: "Another file",
            name: target.display().to_string(),
        }),
    }
}

fn begins_with_magic(disk: &HostDisk, name: &OsStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut head = [0; MAGIC.len()];
    rustix::fs::openat(disk, name, flags, Mode::empty())
        .is_ok_and(|file| File::from(file).read_exact(&mut head).is_ok() && head == *MAGIC)
}

/// A copy being made; removed when dropped before it has its name.
struct Draft<'a> {
    disk: &'a dyn Disk,
    name: String,
    file: Box<dyn Sink>,
}

impl<'a> Draft<'a> {
    /// An empty file that nobody else has, readable by its owner alone.
    fn create(disk: &'a dyn Disk) -> Result<Self> {
        let name = format!(".catalogue-{}.part", SnapshotId::random());
        Ok(Self {
            disk,
            file: disk.create(Path::new(&name))?,
            name,
        })
    }

    /// Makes it durable and gives it its name; returns its size in bytes.
    fn publish(self, name: &Path) -> Result<u64> {
        self.file.sync()?;
        let bytes = self.disk.open(Path::new(&self.name))?.length()?;
        self.disk.rename(Path::new(&self.name), name)?;
        self.disk.sync_folder(Path::new("."))?;
        Ok(bytes)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Not there any more when it has been published.
        let _ = self.disk.remove(Path::new(&self.name));
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
    if let Some(damage) = schema::damage(connection).map_err(explain)? {
        return Err(not_whole(shown, damage));
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

/// Makes of the copy a catalogue that can be opened, as the file `draft`: of this release, durable, without what may no
/// longer hold. Returns how many snapshots it knows.
fn prepare(disk: &dyn Disk, backup: &Path, draft: &Path, earliest_expiry: i64) -> Result<u64> {
    let sink = copy_private(disk, backup, draft)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let explain = |source| explain(backup, "prepare the copy", source);
    let mut connection =
        Connection::open_with_flags(disk.root().join(draft), flags).map_err(explain)?;
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
    // A use after the copy was made is not in it.
    let sql = "UPDATE snapshots SET unused_since = max(coalesce(unused_since, created_at), ? - unused_seconds)
               WHERE unused_seconds IS NOT NULL";
    connection
        .execute(sql, params![earliest_expiry])
        .map_err(explain)?;
    let sql = "UPDATE policies SET rests_until = max(rests_until, ?)";
    connection
        .execute(sql, params![earliest_expiry])
        .map_err(explain)?;
    // What was taken back after the copy was made is in its trash still.
    let sql = "UPDATE trash SET goes_at = max(goes_at, ?)";
    connection
        .execute(sql, params![earliest_expiry])
        .map_err(explain)?;
    let sql = "SELECT count(*) FROM snapshots";
    let snapshots: i64 = connection
        .query_row(sql, [], |row| row.get(0))
        .map_err(explain)?;
    let connection = decoded(connection, backup)?;
    connection.close().map_err(|(_, source)| explain(source))?;
    sink.sync()?;
    Ok(snapshots.unsigned_abs())
}

/// A copy with rows that cannot be decoded would keep the next start from opening it.
fn decoded(connection: Connection, backup: &Path) -> Result<Connection> {
    let catalogue = Catalogue {
        path: backup.to_owned(),
        connection: Mutex::new(connection),
    };
    match catalogue.decode_everything() {
        Err(Error::Corrupt { .. }) => {
            let why = "it has rows that cannot be decoded";
            Err(not_whole(backup, why.to_owned()))
        }
        done => done.map(|()| {
            let connection = catalogue.connection.into_inner();
            connection.unwrap_or_else(PoisonError::into_inner)
        }),
    }
}

/// A copy of the file that its owner alone can read.
fn copy_private(disk: &dyn Disk, from: &Path, to: &Path) -> Result<Box<dyn Sink>> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut sink = disk.create(to)?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match source.read(&mut buffer).map_err(Error::io("read", from))? {
            0 => return Ok(sink),
            read => sink.append(&buffer[..read])?,
        }
    }
}

#[cfg(test)]
mod tests;
