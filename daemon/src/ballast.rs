//! A little space that is kept for the catalogue. A removal is written down before anything is removed: on a disk that
//! others have filled to the last byte nothing could be removed without it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{info, warn};

use crate::{
    config::Config,
    error::{Error, Result},
};

/// Enough for thousands of changes of the catalogue.
const BYTES: u64 = 4 << 20;

/// Takes the space, unless that is done already or a capture could not have it either. Where that cannot be, there is none.
pub(crate) fn hold(config: &Config) {
    if let Err(error) = try_hold(config) {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Cannot keep space for the catalogue");
    }
}

/// Gives the space up; true when there was some.
pub(crate) fn release(config: &Config) -> Result<bool> {
    let path = path(config);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => {
            removed.map_err(Error::io("remove", &path))?;
            info!("Gave up the space that is kept for the catalogue");
            Ok(true)
        }
    }
}

fn try_hold(config: &Config) -> Result<()> {
    let path = path(config);
    if fs::metadata(&path).is_ok_and(|about| about.len() == BYTES) || !has_room(config)? {
        return Ok(());
    }
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path).map_err(Error::io("make", &path))?;
    let taken = fallocate(&file, FallocateFlags::empty(), 0, BYTES);
    taken.map_err(|error| {
        // Half of it is of no use.
        let _ = fs::remove_file(&path);
        Error::io("take space in", &path)(error)
    })
}

fn has_room(config: &Config) -> Result<bool> {
    let stat = statvfs(&config.root).map_err(Error::io("measure", &config.root))?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    Ok(free_bytes > config.reserve_bytes.saturating_add(BYTES))
}

fn path(config: &Config) -> PathBuf {
    config.root.join("ballast")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_space_is_taken_once_and_given_up_once() {
        let (host, _folder) = fixture::host(|config| config.reserve_bytes = 0);
        hold(&host.config);
        hold(&host.config);
        assert_eq!(fs::metadata(path(&host.config)).unwrap().len(), BYTES);
        assert!(release(&host.config).unwrap());
        assert!(!release(&host.config).unwrap());
    }

    #[test]
    fn what_a_capture_could_not_have_is_not_taken() {
        let (host, _folder) = fixture::host(|config| config.reserve_bytes = 1 << 50);
        hold(&host.config);
        assert!(!path(&host.config).exists());
    }
}
