//! The catalogue's file: opening, checking and migrating it, and what SQLite's refusals mean.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::place;
use crate::error::{Error, Result};

/// One statement list a version; `user_version` says how many have been run. Only ever appended to.
const MIGRATIONS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];
/// The schema this release writes.
const NEWEST: u32 = MIGRATIONS.len() as u32;
/// How long a call waits for another process that holds the write lock, such as a backup.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the file at `path`, readable by its owner alone, and brings it to the newest schema.
/// Returns whether there was nothing in it.
pub(super) fn open(path: &Path) -> Result<(Connection, bool)> {
    let (disk, name) = place::of(path)?;
    place::settle(&disk, &name)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open", path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let explain = |source| explain(path, "open the file", source);
    let mut connection = Connection::open_with_flags(path, flags).map_err(explain)?;
    prepare(&connection).map_err(explain)?;
    check(&connection, path)?;
    let version = version(&connection).map_err(explain)?;
    require_known(version, path)?;
    migrate(&mut connection, version).map_err(explain)?;
    Ok((connection, version == 0))
}

/// FULL makes WAL commits durable when they return; NORMAL would lose the last ones in a power cut.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn check(connection: &Connection, path: &Path) -> Result<()> {
    let answer = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        .map_err(|source| explain(path, "check the file", source))?;
    match answer.as_str() {
        "ok" => Ok(()),
        damage => Err(corrupt(path, damage)),
    }
}

/// `Incompatible` when a later release wrote it.
pub(super) fn require_known(version: u32, path: &Path) -> Result<()> {
    if version <= NEWEST {
        return Ok(());
    }
    Err(Error::Incompatible {
        what: "Catalogue",
        name: path.display().to_string(),
        found: version,
        supported: NEWEST,
    })
}

/// The schema the file has; 0 when it has none.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a file of schema `from` to the newest.
pub(super) fn migrate(connection: &mut Connection, from: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in MIGRATIONS.iter().skip(from as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", NEWEST)?;
    transaction.commit()
}

/// What a refusal of SQLite means to the caller.
pub(super) fn explain(path: &Path, op: &'static str, source: rusqlite::Error) -> Error {
    match is_damage(&source) {
        true => corrupt(path, &source.to_string()),
        false => Error::Database { op, source },
    }
}

/// True when SQLite says that the file is damaged or none of its own.
pub(super) fn is_damage(source: &rusqlite::Error) -> bool {
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// A catalogue that holds what it cannot hold.
pub(super) fn corrupt(path: &Path, damage: &str) -> Error {
    Error::Corrupt {
        what: "Catalogue",
        name: path.display().to_string(),
        why: format!(
            "{damage}; stop the daemon and put a backup back with `snapshotd --restore-catalogue FILE`, or have it rebuilt from the manifests with `snapshotd --repair-catalogue`"
        ),
    }
}
