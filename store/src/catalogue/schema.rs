//! The catalogue's file: opening, checking and migrating it, and what SQLite's refusals mean.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior};

use super::place;
use crate::error::{Error, Result};

/// One statement list a version; `user_version` says how many have been run. Only ever appended to.
const MIGRATIONS: [&str; 12] = [
    include_str!("schema-1.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
    include_str!("schema-5.sql"),
    include_str!("schema-6.sql"),
    include_str!("schema-7.sql"),
    include_str!("schema-8.sql"),
    include_str!("schema-9.sql"),
    include_str!("schema-10.sql"),
    include_str!("schema-11.sql"),
    include_str!("schema-12.sql"),
];
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
    match damage(connection).map_err(|source| explain(path, "check the file", source))? {
        None => Ok(()),
        Some(damage) => Err(corrupt(path, &damage)),
    }
}

/// What is wrong with the file, as far as SQLite can see it; `None` when nothing is. The quick check is not enough: an index that does not
/// match its table answers wrongly.
pub(super) fn damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let text = |row: &Row<'_>| row.get::<_, String>(0);
    let answer = connection.query_row("PRAGMA integrity_check(1)", [], text)?;
    if answer != "ok" {
        return Ok(Some(answer));
    }
    let stray = connection.query_row("PRAGMA foreign_key_check", [], text);
    if let Some(table) = stray.optional()? {
        let what = format!("a row of {table} refers to something that is not there");
        return Ok(Some(what));
    }
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: u32 = connection.query_row(tables, [], |row| row.get(0))?;
    let is_unmarked = tables > 0 && version(connection)? == 0;
    Ok(is_unmarked.then(|| "it has tables and says that it has none".to_owned()))
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

/// True when SQLite says that the file is damaged or none of its own, or when a row holds values that are never written.
pub(super) fn is_damage(source: &rusqlite::Error) -> bool {
    let is_seen_by_sqlite = matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    );
    let is_impossible = matches!(
        source,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    );
    is_seen_by_sqlite || is_impossible
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
