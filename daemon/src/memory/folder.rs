//! Folders that images pass through: in memory while CRIU writes them, and above the mount they are served at while it reads them.
//!
//! All of them lie in one folder of the state, for root alone. What is in there when the daemon starts is left from an
//! earlier one and goes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};
use snap_store::SnapshotId;
use tracing::warn;

use super::room::Room;
use crate::{
    error::{Error, Result},
    files,
};

/// Below the state.
const ALL: &str = "memory";
const IMAGES: &str = "images";
const WORK: &str = "work";
const DUMP_LOG: &str = "dump.log";
const PRIVATE: u32 = 0o700;
/// Longer logs are read from their beginning: what goes wrong stands at the end of short ones.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// A folder in memory for one capture; dropping it removes it with all that is in it.
#[derive(Debug)]
pub(crate) struct ImageFolder {
    room: Room,
    is_gone: bool,
}

impl ImageFolder {
    /// Makes it, for images of about `estimate` bytes.
    ///
    /// # Errors
    /// `no-memory-room` when there is no room for so many.
    pub(super) fn make(state: &Path, estimate: u64) -> Result<Self> {
        let folder = Self {
            room: Room::take(estimate, |limit| limited(state, limit))?,
            is_gone: false,
        };
        files::ensure_folder(&folder.images(), PRIVATE)?;
        files::ensure_folder(&folder.work(), PRIVATE)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.room.path()
    }

    pub(super) fn images(&self) -> PathBuf {
        self.path().join(IMAGES)
    }

    pub(super) fn work(&self) -> PathBuf {
        self.path().join(WORK)
    }

    /// What CRIU has said.
    pub(super) fn dump_log(&self) -> Option<String> {
        read_log(&self.work().join(DUMP_LOG))
    }

    /// Removes it.
    pub(super) fn end(mut self) -> Result<()> {
        self.is_gone = true;
        remove(self.path())
    }
}

impl Drop for ImageFolder {
    fn drop(&mut self) {
        if !self.is_gone
            && let Err(error) = remove(self.path())
        {
            warn!(path = %self.path().display(), %error, "Images of memory stay until the next start");
        }
    }
}

/// A tmpfs that is never swapped out, where the kernel can promise that (since Linux 6.4): a disk is no place for secrets. There was
/// room for all of it in memory.
fn mount_tmpfs(path: &Path, limit: u64) -> Result<(), Errno> {
    let mount = |more: &str| {
        let options = format!("mode=0700,size={limit}{more}");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(
            Some("snapshotd"),
            path,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
    };
    match mount(",noswap") {
        Err(Errno::EINVAL) => mount(""),
        mounted => mounted,
    }
}

/// A new folder, empty, for root alone.
pub(super) fn private(state: &Path) -> Result<PathBuf> {
    let all = state.join(ALL);
    files::ensure_folder(&all, PRIVATE)?;
    let path = all.join(SnapshotId::random().to_string());
    files::ensure_folder(&path, PRIVATE)?;
    Ok(path)
}

/// The same in memory, for `limit` bytes at most.
pub(crate) fn limited(state: &Path, limit: u64) -> Result<PathBuf> {
    let path = private(state)?;
    if let Err(error) = mount_tmpfs(&path, limit) {
        files::remove_folder(&path)?;
        return Err(Error::io("mount tmpfs at", path)(error));
    }
    Ok(path)
}

/// Where images are served, in a folder of [`private`].
pub(super) fn served_at(folder: &Path) -> PathBuf {
    folder.join(IMAGES)
}

/// Ends what is mounted in a folder of [`private`], and removes it.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    snap_fs::mount::unmount(&served_at(folder))?;
    snap_fs::mount::unmount(folder)?;
    Ok(files::remove_folder(folder)?)
}

/// A log of CRIU's.
pub(super) fn read_log(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_LOG_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Removes what an earlier daemon left, but for what is `kept`.
///
/// # Errors
/// When something cannot be unmounted or removed; everything else goes.
pub(crate) fn clear(state: &Path, kept: &[PathBuf]) -> Result<()> {
    let Ok(entries) = fs::read_dir(state.join(ALL)) else {
        return Ok(());
    };
    let left = entries.flatten().map(|entry| entry.path());
    left.filter(|folder| !kept.contains(folder))
        .map(|folder| remove(&folder))
        .fold(Ok(()), Result::and)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_left_in_the_folder_of_all_goes() {
        let state = tempfile::tempdir().unwrap();
        clear(state.path(), &[]).unwrap();
        let folder = private(state.path()).unwrap();
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::create_dir(served_at(&folder)).unwrap();
        fs::write(served_at(&folder).join("pages-1.img"), "secret").unwrap();
        clear(state.path(), &[]).unwrap();
        assert_eq!(fs::read_dir(state.path().join(ALL)).unwrap().count(), 0);
    }

    /// The first that could not be removed kept all others: secrets, and the memory they were in.
    #[test]
    fn what_cannot_be_removed_and_what_is_kept_keep_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..9).map(|_| private(state.path()).unwrap()).collect();
        let strange = state.path().join(ALL).join("strange");
        fs::write(&strange, "").unwrap();
        clear(state.path(), &folders[4..5]).unwrap_err();
        let left = fs::read_dir(state.path().join(ALL)).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        left.sort();
        let mut expected = vec![folders[4].clone(), strange];
        expected.sort();
        assert_eq!(left, expected);
    }
}
