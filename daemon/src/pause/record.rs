//! The record of a pause: who stands still, and which file thaws it when containerd cannot.
//!
//! Written before the pause begins, removed after the thaw. It is for a daemon that was killed: nothing stands still after a power cut, so
//! none of it is synced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use snap_store::{Error, Namespace, Result};
use tracing::warn;

use super::freezer::Freezer;
use crate::files;

/// Far more than a record takes; what is larger is none.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// A pause on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PauseRecord {
    namespace: String,
    container: String,
    pid: u32,
    /// Its cgroup's freezer; `None` when the process had none that can be found.
    freezer: Option<Freezer>,
    /// The folder CRIU works in meanwhile, when memory is captured.
    #[serde(default)]
    works_in: Option<PathBuf>,
    /// Where the record lies.
    #[serde(skip)]
    path: PathBuf,
}

impl PauseRecord {
    pub(super) fn new(
        namespace: &Namespace,
        container: &str,
        pid: u32,
        works_in: Option<PathBuf>,
    ) -> Self {
        Self {
            namespace: namespace.to_string(),
            container: container.to_owned(),
            pid,
            freezer: Freezer::of(pid),
            works_in,
            path: PathBuf::new(),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn container(&self) -> &str {
        &self.container
    }

    /// The folder CRIU works in. It freezes the container again when it ends, if it stood still when CRIU began.
    pub(super) fn works_in(&self) -> Option<&Path> {
        self.works_in.as_deref()
    }

    /// Writes the record into `folder`, whole or not at all; it survives this process when this returns.
    pub(super) fn write(mut self, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // Neither namespaces nor ids hold a colon, but both may hold dots.
        let name = format!("{}:{}.json", self.namespace, self.container);
        self.path = folder.join(name);
        let draft = self.path.with_extension("json.draft");
        let json = serde_json::to_vec(&self).expect("a record of strings and numbers is JSON");
        fs::write(&draft, &json)
            .and_then(|()| fs::rename(&draft, &self.path))
            .map_err(Error::io("write", &self.path))?;
        Ok(self)
    }

    /// The records in `folder`; what is none is removed.
    pub(super) fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", folder)(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io("read", folder))?.path();
            match Self::read(&path) {
                Some(record) => records.push(record),
                None => {
                    warn!(path = %path.display(), "Removing what is not the record of a pause");
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(records)
    }

    fn read(path: &Path) -> Option<Self> {
        let is_record = path
            .extension()
            .is_some_and(|extension| extension == "json");
        if !is_record || fs::metadata(path).ok()?.len() > MAX_RECORD_BYTES {
            return None;
        }
        let record: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Some(Self {
            path: path.to_owned(),
            ..record
        })
    }

    /// Thaws through the cgroup.
    pub(super) fn thaw(&self) -> Result<()> {
        self.freezer.as_ref().map_or(Ok(()), Freezer::thaw)
    }

    /// Freezes through the cgroup, for a shim that believes the container paused.
    pub(super) fn refreeze(&self) {
        if let Some(Err(error)) = self.freezer.as_ref().map(Freezer::freeze) {
            let error: &dyn std::error::Error = &error;
            warn!(
                container = self.container,
                error, "Cannot write the container's freezer"
            );
        }
    }

    /// The pause is over.
    pub(super) fn remove(&self) -> Result<()> {
        files::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(namespace: &str, container: &str) -> PauseRecord {
        let works_in = Some("/run/x".into());
        PauseRecord::new(
            &namespace.parse().unwrap(),
            container,
            std::process::id(),
            works_in,
        )
    }

    #[test]
    fn a_record_is_read_back_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("pauses");
        assert_eq!(PauseRecord::read_all(&folder).unwrap(), []);
        let written = record("default", "web").write(&folder).unwrap();
        assert_eq!(
            PauseRecord::read_all(&folder).unwrap(),
            std::slice::from_ref(&written)
        );
        written.remove().unwrap();
        written.remove().unwrap();
        assert_eq!(PauseRecord::read_all(&folder).unwrap(), []);
    }

    #[test]
    fn dots_in_names_do_not_make_two_records_one() {
        let folder = tempfile::tempdir().unwrap();
        record("a.b", "c").write(folder.path()).unwrap();
        record("a", "b.c").write(folder.path()).unwrap();
        assert_eq!(PauseRecord::read_all(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn half_a_record_is_removed_and_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let written = record("default", "web").write(folder.path()).unwrap();
        fs::write(folder.path().join("default:b.json"), b"{\"namespace\":").unwrap();
        fs::write(folder.path().join("default:c.json.draft"), b"").unwrap();
        assert_eq!(PauseRecord::read_all(folder.path()).unwrap(), [written]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
