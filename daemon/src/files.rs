//! Files and folders of the daemon's own: made when they are not there, removed when they are.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use snap_store::{Error, Result};

/// Makes a folder and those above it with this mode; one that is there keeps the mode its owner gave it.
pub(crate) fn ensure_folder(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(Error::io("make", path))
}

/// Removes a file, which may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    unless_gone(path, fs::remove_file(path))
}

/// Removes an empty folder, which may be gone already.
pub(crate) fn remove_empty(path: &Path) -> Result<()> {
    unless_gone(path, fs::remove_dir(path))
}

/// Removes a folder and everything in it; it may be gone already.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    unless_gone(path, fs::remove_dir_all(path))
}

/// The last bytes of a file, so many at most; nothing of one that cannot be read. The rest of it is not read.
pub(crate) fn tail(path: &Path, bytes: u64) -> Vec<u8> {
    let read = || -> io::Result<_> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        Ok(text)
    };
    read().unwrap_or_default()
}

/// What is in a folder; nothing when it is not there.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", folder)(error)),
        Ok(found) => found
            .map(|entry| Ok(entry.map_err(Error::io("list", folder))?.path()))
            .collect(),
    }
}

fn unless_gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_already_is_no_error_and_what_cannot_be_removed_is() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("a/b"), folder.path().join("a/b/c"));
        ensure_folder(&inner, 0o700).unwrap();
        ensure_folder(&inner, 0o755).unwrap();
        fs::write(&file, "").unwrap();
        assert!(matches!(remove_empty(&inner), Err(Error::Io { .. })));
        assert!(matches!(remove_file(&inner), Err(Error::Io { .. })));
        for _ in 0..2 {
            remove_file(&file).unwrap();
            remove_empty(&inner).unwrap();
            remove_folder(&folder.path().join("a")).unwrap();
        }
    }

    /// Of a log that is longer than the memory of the host.
    #[test]
    fn no_more_than_the_end_of_a_file_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(tail(file.path(), 7), b"");
        file.as_file().set_len(1 << 40).unwrap();
        let mut end = file.as_file();
        end.seek(SeekFrom::End(0)).unwrap();
        io::Write::write_all(&mut end, b"the end").unwrap();
        assert_eq!(tail(file.path(), 7), b"the end");
        assert_eq!(tail(file.path(), 8), b"\0the end");
        assert_eq!(tail(Path::new("/does/not/exist"), 7), b"");
    }
}
