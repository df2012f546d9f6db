//! Rows to records: everything read back is checked, because the file may have been edited by hand.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rusqlite::{Params, Row, Transaction};

use super::{Failure, MemoryMark, SnapshotRecord, SnapshotState};
use crate::{ids::SnapshotId, names::SnapshotName};

/// The columns [`snapshot`] reads, in its order.
const COLUMNS: &str = "id, namespace, state, reason, labels, source, is_container, image,
    created_at, expires_at, last_used_at, nodes, logical_bytes, stored_bytes, pause_us,
    (SELECT group_concat(name || ':' || tag, ' ') FROM names WHERE names.snapshot = snapshots.id),
    (SELECT group_concat(name || ':' || tag, ' ') FROM names WHERE names.snapshot = snapshots.id AND is_immutable),
    (SELECT group_concat(name || ':' || version, ' ') FROM versions WHERE versions.snapshot = snapshots.id),
    is_pinned, unused_seconds,
    EXISTS (SELECT 1 FROM containers WHERE containers.snapshot = snapshots.id)
        OR EXISTS (SELECT 1 FROM mounts WHERE mounts.snapshot = snapshots.id)
        OR EXISTS (SELECT 1 FROM attached WHERE attached.ground = snapshots.id),
    unused_since, memory_bytes, memory_failure, memory_is_sealed";

/// The snapshots that `rest` (everything after FROM) selects.
pub(super) fn snapshots(
    transaction: &Transaction<'_>,
    rest: &str,
    params: impl Params,
) -> Result<Vec<SnapshotRecord>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM snapshots {rest}");
    collect(transaction, &sql, params, snapshot)
}

/// Every row of a query as a record.
pub(super) fn collect<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl Params,
    decode: impl Fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut statement = transaction.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(decode(row)?);
    }
    Ok(records)
}

fn snapshot(row: &Row<'_>) -> Result<SnapshotRecord, Failure> {
    Ok(SnapshotRecord {
        id: SnapshotId::from_bytes(row.get(0)?),
        namespace: parsed(&row.get::<_, String>(1)?)?,
        state: state(&row.get::<_, String>(2)?)?,
        reason: row.get(3)?,
        labels: labels(&row.get::<_, String>(4)?)?,
        source: row.get(5)?,
        is_container: row.get(6)?,
        image: row.get(7)?,
        created_at: row.get(8)?,
        expires_at: row.get(9)?,
        last_used_at: row.get(10)?,
        nodes: count(row, 11)?,
        logical_bytes: count(row, 12)?,
        stored_bytes: count(row, 13)?,
        pause_us: count(row, 14)?,
        names: names(row.get(15)?)?,
        immutable: names(row.get(16)?)?,
        versions: names(row.get(17)?)?,
        is_pinned: row.get(18)?,
        unused_seconds: match row.get::<_, Option<i64>>(19)? {
            Some(_) => Some(count(row, 19)?),
            None => None,
        },
        is_used: row.get(20)?,
        unused_since: row.get(21)?,
        memory: memory(row, 22)?,
    })
}

/// What is said of memory in `column` and the next two.
fn memory(row: &Row<'_>, column: usize) -> Result<Option<MemoryMark>, Failure> {
    let failure: Option<String> = row.get(column + 1)?;
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => Ok(Some(MemoryMark::Captured {
            bytes: count(row, column)?,
            is_sealed: row.get(column + 2)?,
        })),
        None => Ok(failure.map(MemoryMark::Failed)),
    }
}

/// Memory for its columns: its bytes, why there is none, whether it is sealed.
pub(super) fn memory_columns(memory: Option<&MemoryMark>) -> (Option<i64>, Option<&str>, bool) {
    match memory {
        None => (None, None, false),
        Some(MemoryMark::Captured { bytes, is_sealed }) => (Some(stored(*bytes)), None, *is_sealed),
        Some(MemoryMark::Failed(reason)) => (None, Some(reason), false),
    }
}

/// Names out of their column, with blanks between.
pub(super) fn names(joined: Option<String>) -> Result<Vec<SnapshotName>, Failure> {
    let joined = joined.unwrap_or_default();
    let mut names: Vec<SnapshotName> = joined
        .split_ascii_whitespace()
        .map(parsed)
        .collect::<Result<_, _>>()?;
    names.sort_unstable();
    Ok(names)
}

/// A state by its word.
pub(super) fn state(word: &str) -> Result<SnapshotState, Failure> {
    SnapshotState::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| Failure::Row(format!("`{word}` is no state")))
}

/// Text that was made from a valid value.
pub(super) fn parsed<T: std::str::FromStr<Err = crate::Error>>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: crate::Error| Failure::Row(error.to_string()))
}

/// Labels out of their column.
pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Row(format!("labels: {error}")))
}

/// Labels for their column.
pub(super) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).expect("a map of strings is always JSON")
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64, Failure> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Failure::Row(format!("{number} is no count")))
}

/// A count for its column. SQLite has no numbers above 2⁶³; only a hostile manifest names one.
pub(super) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A path out of its column.
pub(super) fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// A path for its column.
pub(super) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
