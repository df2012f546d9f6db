//! The catalogue's place in its folder: another takes it, or what is damaged leaves it.
//!
//! Two things must never happen: that a catalogue lies beside the log of another, which SQLite would copy into it, and that the place
//! is found empty while the old and the new catalogue both exist, because an empty place is filled from the manifests. So the
//! new one is durable under a name of its own before the old one goes, and whoever finds the place empty then gives it to the new one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::Catalogue;
use crate::{
    disk::{Disk, HostDisk, is_absent},
    error::{Error, Result},
    layout,
};

/// Beside a catalogue while it is open; both belong to it.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];
/// Beside a draft that was cut off while it was written to.
const LEFT_OVERS: [&str; 4] = ["", "-journal", "-wal", "-shm"];
/// Put after the name of the catalogue while another is made that is to take its place.
const DRAFT: &str = ".draft";
/// Put after the name when that one is whole and durable.
const NEW: &str = ".new";
/// Put after the name of the catalogue that had the place before.
const REPLACED: &str = ".replaced";

impl Catalogue {
    /// Moves the damaged catalogue at `path`, which nobody may have open, with its log into quarantine, durably, and returns where
    /// it is then.
    pub fn set_aside(path: &Path) -> Result<PathBuf> {
        let (disk, name) = of(path)?;
        Ok(disk.root().join(set_aside(&disk, &name)?))
    }
}

/// The folder of the catalogue at `path`, and its name there.
pub(super) fn of(path: &Path) -> Result<(HostDisk, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::Invalid {
            what: "file name",
            why: format!("{} names no file", path.display()),
        });
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    Ok((HostDisk::open(folder)?, name.into()))
}

/// The name under which the catalogue is made that is to take the place of `name`.
pub(super) fn draft(name: &Path) -> PathBuf {
    beside(name, DRAFT)
}

/// Removes what is left of a draft.
pub(super) fn clear(disk: &dyn Disk, name: &Path) -> Result<()> {
    let draft = draft(name);
    LEFT_OVERS
        .iter()
        .try_for_each(|suffix| disk.remove(&beside(&draft, suffix)))
}

/// Gives the place to the draft, whose bytes are durable, and returns where the old catalogue is kept, if there was one.
pub(super) fn replace(disk: &dyn Disk, name: &Path) -> Result<Option<PathBuf>> {
    let (new, old) = (beside(name, NEW), beside(name, REPLACED));
    fold_log(&disk.root().join(name));
    for companion in COMPANIONS {
        disk.remove(&beside(&old, companion))?;
    }
    disk.rename(&draft(name), &new)?;
    disk.sync_folder(Path::new("."))?;
    let is_replaced = rename(disk, name, &old)?;
    finish(disk, name)?;
    Ok(is_replaced.then_some(old))
}

/// Ends a replacement that was cut off: it is done when the old catalogue had gone, and undone otherwise.
pub(super) fn settle(disk: &dyn Disk, name: &Path) -> Result<()> {
    let new = beside(name, NEW);
    match (exists(disk, &new)?, exists(disk, name)?) {
        (true, false) => finish(disk, name)?,
        (true, true) => disk.remove(&new)?,
        (false, _) => {}
    }
    clear(disk, name)
}

/// The old catalogue has gone: its log follows it, and the new one takes the place.
fn finish(disk: &dyn Disk, name: &Path) -> Result<()> {
    let old = beside(name, REPLACED);
    for companion in COMPANIONS {
        rename(disk, &beside(name, companion), &beside(&old, companion))?;
    }
    disk.sync_folder(Path::new("."))?;
    disk.rename(&beside(name, NEW), name)?;
    disk.sync_folder(Path::new("."))
}

/// The file first: a log that is left behind belongs to nobody, and SQLite does not take it for that of a new file.
pub(super) fn set_aside(disk: &dyn Disk, name: &Path) -> Result<PathBuf> {
    let folder = Path::new(layout::QUARANTINE);
    disk.create_folder(folder)?;
    disk.sync_folder(Path::new("."))?;
    let kept = free(folder, &disk.list(folder)?);
    disk.rename(name, &kept)?;
    for companion in COMPANIONS {
        rename(disk, &beside(name, companion), &beside(&kept, companion))?;
    }
    disk.sync_folder(folder)?;
    disk.sync_folder(Path::new("."))?;
    Ok(kept)
}

fn free(folder: &Path, taken: &[String]) -> PathBuf {
    let mut names = (1..).map(|number| format!("catalogue-{number}.db"));
    let free = names.find(|name| !taken.contains(name));
    folder.join(free.expect("there is always another number"))
}

/// Copies what the log holds into the catalogue it belongs to, so that the one file is all of it. A catalogue that cannot be read keeps
/// its log beside it.
fn fold_log(path: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let folded = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    });
    drop(folded);
}

/// The path with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match disk.open(path) {
        Err(error) if is_absent(&error) => Ok(false),
        opened => opened.map(|_| true),
    }
}

/// Whether there was something to rename.
fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<bool> {
    match disk.rename(from, to) {
        Err(error) if is_absent(&error) => Ok(false),
        renamed => renamed.map(|()| true),
    }
}
