//! The folder of key files, `NAMESPACE.key`: read anew at each use, so that a key that is added needs no restart and none is kept
//! longer than it is used.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{SealKey, keys};
use crate::{
    error::{Error, Result},
    ids::KeyId,
    names::Namespace,
};

const SUFFIX: &str = ".key";
/// No file of keys is longer.
const MAX_BYTES: u64 = 128 << 10;

/// Where the keys of namespaces lie.
#[derive(Clone, Debug)]
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// The folder at `path`; it need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The file of a namespace's keys.
    #[must_use]
    pub fn file(&self, namespace: &Namespace) -> PathBuf {
        self.0.join(format!("{namespace}{SUFFIX}"))
    }

    /// The keys of a namespace, the newest last; none when it has no file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the file can be read by others, or holds something else.
    pub fn keys(&self, namespace: &Namespace) -> Result<Vec<SealKey>> {
        match read(&self.file(namespace))? {
            None => Ok(Vec::new()),
            Some(text) => keys::parse(&text).map_err(|why| invalid(&self.file(namespace), &why)),
        }
    }

    /// The key that writes: the newest of the namespace.
    ///
    /// # Errors
    /// As [`KeyFolder::keys`].
    pub fn newest(&self, namespace: &Namespace) -> Result<Option<SealKey>> {
        Ok(self.keys(namespace)?.pop())
    }

    /// The key `id` of the namespace.
    ///
    /// # Errors
    /// As [`KeyFolder::keys`], and [`Error::MissingKey`] when it is not there.
    pub fn find(&self, namespace: &Namespace, id: KeyId) -> Result<SealKey> {
        let mut keys = self.keys(namespace)?.into_iter();
        keys.find(|key| key.id() == id)
            .ok_or_else(|| Error::MissingKey {
                key: id,
                file: self.file(namespace),
            })
    }

    /// The namespaces that have a file, in order.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder is there and cannot be listed.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &self.0)(error)),
        };
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(SUFFIX)?.parse().ok()
        });
        let mut names: Vec<Namespace> = names.collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(names)
    }
}

/// The bytes of a file that nobody else can read or change; `None` when there is none.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    // A FIFO in its place must not keep the daemon waiting.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(invalid(path, "it is a symbolic link")),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let about = fstat(&file).map_err(Error::io("look at", path))?;
    check(&about).map_err(|why| invalid(path, why))?;
    // As long as it may be from the beginning, so that no copy is left behind where it grew.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
    std::fs::File::from(file)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(Error::io("read", path))?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(invalid(path, "it is too long for a file of keys")),
        false => Ok(Some(text)),
    }
}

fn check(about: &Stat) -> Result<(), &'static str> {
    let own = rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err("it is no file");
    }
    if about.st_uid != 0 && about.st_uid != own {
        return Err("it belongs to another user than root: `chown root:root` it");
    }
    if about.st_mode & 0o077 != 0 {
        return Err("others than its owner have rights to it: `chmod 600` it");
    }
    Ok(())
}

fn invalid(path: &Path, why: &str) -> Error {
    Error::Invalid {
        what: "key file",
        why: format!("{}: {why}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn folder(text: &str, mode: u32) -> (tempfile::TempDir, KeyFolder) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let keys = KeyFolder::new(folder.path());
        (folder, keys)
    }

    fn default() -> Namespace {
        "default".parse().unwrap()
    }

    fn secret(number: u8) -> String {
        format!("{:02x}{}\n", number, "5a".repeat(31))
    }

    #[test]
    fn the_last_key_writes_and_all_are_found() {
        let (_folder, keys) = folder(&(secret(1) + &secret(2)), 0o600);
        let all = keys.keys(&default()).unwrap();
        assert_eq!(keys.newest(&default()).unwrap().unwrap().id(), all[1].id());
        for key in all {
            assert_eq!(keys.find(&default(), key.id()).unwrap().id(), key.id());
        }
        assert_eq!(keys.namespaces().unwrap(), [default()]);
    }

    #[test]
    fn a_namespace_without_a_file_has_no_key() {
        let (_folder, keys) = folder(&secret(1), 0o400);
        let other = "other".parse().unwrap();
        assert!(keys.newest(&other).unwrap().is_none());
        let id = KeyId::from_bytes([9; 8]);
        let error = keys.find(&other, id).unwrap_err();
        assert!(
            matches!(&error, Error::MissingKey { key, file } if *key == id && file.ends_with("other.key"))
        );
        let none = KeyFolder::new(Path::new("/does/not/exist"));
        assert!(none.newest(&other).unwrap().is_none());
        assert!(none.namespaces().unwrap().is_empty());
    }

    #[test]
    fn what_others_may_read_is_no_secret() {
        for mode in [0o640, 0o604, 0o660, 0o601] {
            let (_folder, keys) = folder(&secret(1), mode);
            let error = keys.newest(&default()).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{mode:o}: {error}");
        }
    }

    #[test]
    fn what_is_no_plain_file_of_bounded_length_is_refused() {
        let (folder, keys) = folder(&"#".repeat(129 << 10), 0o600);
        let error = keys.newest(&default()).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        let path = folder.path().join("linked.key");
        std::os::unix::fs::symlink("default.key", path).unwrap();
        let error = keys.newest(&"linked".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        fs::create_dir(folder.path().join("folder.key")).unwrap();
        let error = keys.newest(&"folder".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("no file"), "{error}");
    }
}
