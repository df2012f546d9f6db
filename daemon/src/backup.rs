//! Copies of the catalogue: regularly beside it, on request to a file of the host, and back into its place before a start.
//!
//! The regular ones lie on the disk of the store. They help against a damaged catalogue and against mistakes; against the
//! loss of the disk a copy elsewhere helps, beside copies of the packs and manifests. Their numbers say which is newer: the
//! clock may have been set.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use snap_api::{BackedUp, BackupStatus, ErrorCode, ErrorReport, WirePath};
use snap_store::{Access, Catalogue, PutBack, Store};
use tracing::{info, warn};

use crate::{
    blocking, clock,
    config::Config,
    due,
    error::{Error, Result, in_full},
    files,
    host::{Host, IMPORT_GRACE},
};

/// The first copy after a start comes soon, or a daemon that is restarted often would never make one.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// After one that failed.
const RETRY: Duration = Duration::from_secs(60 * 60);
/// Copies hold what the catalogue holds: nobody but root looks into them.
const FOLDER_MODE: u32 = 0o700;
/// What the name of a regular copy begins and ends with; its number stands between.
const NAME: (&str, &str) = ("catalogue-", ".db");

/// A regular copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// Seconds since 1970, as the clock was then.
    pub(crate) made_at: i64,
}

/// Copies the catalogue every `backup_interval`, for ever; returns when that is turned off.
pub async fn run(host: Arc<Host>) {
    let Some(interval) = host.config.backup_interval else {
        return;
    };
    let newest = newest(&host.config).map(|kept| kept.made_at);
    let mut wait = due::first_wait(newest, interval, FIRST_LOOK);
    loop {
        host.dues.backup.wait(wait).await;
        let made = make(&host).await;
        host.dues.backup.ended(&made);
        wait = match made {
            Ok(()) => interval,
            Err(error) => {
                warn!(error = in_full(&error), "Cannot copy the catalogue");
                interval.min(RETRY)
            }
        };
    }
}

/// Makes one more regular copy, and removes the oldest beyond `backup_keep`.
async fn make(host: &Arc<Host>) -> Result<()> {
    let host = Arc::clone(host);
    blocking(move || {
        let folder = host.config.backups();
        files::ensure_folder(&folder, FOLDER_MODE)?;
        remove_unfinished(&folder)?;
        let number = kept(&folder)?.last().map_or(1, |last| last.number + 1);
        let path = folder.join(name(number, clock::now()));
        let bytes = host.catalogue.back_up(&path)?;
        info!(path = %path.display(), bytes, "Copied the catalogue");
        let kept = kept(&folder)?;
        let surplus = kept.len().saturating_sub(host.config.backup_keep);
        for old in &kept[..surplus] {
            files::remove_file(&old.path)?;
        }
        Ok::<_, Error>(())
    })
    .await
}

/// Copies the catalogue to a file of the host.
///
/// # Errors
/// `Usage` for a path among the daemon's own files, `Conflict` when another file is there.
pub async fn to_file(host: &Arc<Host>, path: PathBuf) -> Result<BackedUp> {
    let started = Instant::now();
    let host = Arc::clone(host);
    blocking(move || {
        require_foreign(&path, &[&host.config.root, &host.config.state])?;
        let bytes = host.catalogue.back_up(&path)?;
        Ok::<_, Error>(BackedUp {
            path: WirePath::from(&*path),
            bytes,
            elapsed_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    })
    .await
}

/// How the regular copies are.
#[must_use]
pub fn status(host: &Host) -> BackupStatus {
    let kept = kept(&host.config.backups()).unwrap_or_default();
    let last = kept.last();
    BackupStatus {
        kept: kept.len() as u64,
        last_path: last.map(|last| WirePath::from(&*last.path)),
        last_at: last.map(|last| clock::rfc3339(last.made_at)),
        next_at: host.dues.backup.next().map(clock::rfc3339),
        failure: host.dues.backup.failure(),
    }
}

/// Puts a copy in the place of the catalogue while no daemon runs on the store; the next start adds what was made after it.
///
/// # Errors
/// `Busy` when a daemon runs, `Corrupt` and `Incompatible` when the copy cannot be used; nothing is changed then.
pub fn put_back(config: &Config, backup: &Path) -> Result<PutBack> {
    // Held until this returns: nobody else opens the catalogue.
    let _store = Store::open(&config.root, Access::ReadWrite)?;
    let earliest = clock::now().saturating_add_unsigned(IMPORT_GRACE.as_secs());
    Ok(Catalogue::put_back(backup, &config.catalogue(), earliest)?)
}

/// The newest regular copy, if there is any.
pub(crate) fn newest(config: &Config) -> Option<Kept> {
    kept(&config.backups()).ok()?.pop()
}

/// The regular copies, the oldest first.
fn kept(folder: &Path) -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(number) = name.and_then(number) else {
            continue;
        };
        let about = fs::metadata(&path).map_err(Error::io("look at", &path))?;
        let made_at = about.modified().map_err(Error::io("look at", &path))?;
        let since = made_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        found.push(Kept {
            number,
            path,
            made_at: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        });
    }
    found.sort_by_key(|kept| kept.number);
    Ok(found)
}

/// `catalogue-7-20261121T085034Z.db`.
fn name(number: u64, now: i64) -> String {
    let (before, after) = NAME;
    let time = clock::rfc3339(now).replace(['-', ':'], "");
    format!("{before}{number}-{time}{after}")
}

fn number(name: &str) -> Option<u64> {
    let (before, after) = NAME;
    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
    middle.split_once('-')?.0.parse().ok()
}

/// What a daemon that was killed had not finished. None is being made: there is one who makes them.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        if path
            .extension()
            .is_some_and(|extension| extension == "part")
        {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(Error::io("list", folder))?,
    };
    let paths = listed.map(|entry| entry.map(|entry| entry.path()));
    paths
        .collect::<io::Result<_>>()
        .map_err(Error::io("list", folder))
}

/// A copy over the catalogue itself, or among packs, would be the end of what it is to save.
fn require_foreign(path: &Path, ours: &[&Path]) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    let parent = fs::canonicalize(parent).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => no_folder(parent),
        _ => Error::io("look at", parent)(error),
    })?;
    for folder in ours {
        let folder = fs::canonicalize(folder).map_err(Error::io("look at", *folder))?;
        if parent.starts_with(&folder) {
            let message = format!("{} lies among the daemon's own files", path.display());
            return Err(ErrorReport::new(ErrorCode::Usage, "unusable-path", message)
                .hint("Name a file elsewhere, best on another disk")
                .into());
        }
    }
    Ok(())
}

fn no_folder(folder: &Path) -> Error {
    let message = format!("Folder {} was not found", folder.display());
    ErrorReport::new(ErrorCode::NotFound, "folder-not-found", message)
        .hint("The folder of the copy must be there")
        .into()
}

#[cfg(test)]
mod tests;
