//! Where mounts and what belongs to them lie, and how a mount server is started.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use snap_store::{Error, Result, SnapshotId};

use super::keeper::DeathNotice;
use crate::config::Config;

/// Paths and figures out of the configuration.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
    pub(super) mount_server: PathBuf,
    pub(super) cache_bytes: u64,
    pub(super) threads: usize,
    /// Held while a holder is started, so that there is one.
    pub(super) starting_holder: tokio::sync::Mutex<()>,
    /// Where the end of a server is reported that nobody told to end.
    pub(super) deaths: DeathNotice,
}

impl Places {
    pub(super) fn new(config: &Config, deaths: DeathNotice) -> Self {
        Self {
            root: config.root.clone(),
            state: config.state.clone(),
            mount_server: config.mount_server.clone(),
            cache_bytes: config.mount_cache_bytes,
            threads: config.mount_threads,
            starting_holder: tokio::sync::Mutex::default(),
            deaths,
        }
    }

    /// Where the snapshot is mounted.
    pub(super) fn point(&self, id: &SnapshotId) -> PathBuf {
        self.folder().join(id.to_string())
    }

    /// What is known of its server.
    pub(super) fn record(&self, id: &SnapshotId) -> PathBuf {
        self.folder().join(format!("{id}.json"))
    }

    /// What its server had to say.
    pub(super) fn log(&self, id: &SnapshotId) -> PathBuf {
        self.folder().join(format!("{id}.log"))
    }

    /// Where the holder is asked.
    pub(super) fn holder_socket(&self) -> PathBuf {
        self.state.join("holder.sock")
    }

    /// What the holder had to say.
    pub(super) fn holder_log(&self) -> PathBuf {
        self.state.join("holder.log")
    }

    /// Every snapshot of which something is left here, sorted.
    pub(super) fn snapshots(&self) -> Result<Vec<SnapshotId>> {
        let folder = self.folder();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("list", &folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::io("list", &folder))?.file_name();
            let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str());
            found.extend(stem.and_then(|stem| stem.parse::<SnapshotId>().ok()));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn folder(&self) -> PathBuf {
        self.state.join("mounts")
    }
}
