//! The folder a draft's files lie in until they are published.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{disk::Disk, error::Result};

/// The folder of a draft, removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct DraftFolder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl DraftFolder {
    pub(super) fn create(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self> {
        disk.create_folder(&path)?;
        Ok(Self { disk, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DraftFolder {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove_folder(&self.path) {
            tracing::warn!(%error, "Draft is left over until the store is opened again");
        }
    }
}
