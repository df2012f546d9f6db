//! What is kept on disk of a mount and its server, for the next daemon.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use snap_store::{Error as StoreError, Result as StoreResult};

use super::{
    places::{Place, Places},
    server::ServerId,
};
use crate::{blocking::blocking, error::Result};

/// What the next daemon needs to know, in `STATE/mounts/ID.json`. It is written when the server has answered the
/// kernel's first message: another one can take over from then on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) snapshot: String,
    pub(super) server: ServerId,
    #[serde(default)]
    pub(super) restarts: u64,
    /// The server whose place it has taken and that is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) predecessor: Option<ServerId>,
}

impl Record {
    pub(super) async fn write(self, places: &Places, place: Place) -> Result<()> {
        let path = places.record(place);
        blocking(move || self.write_to(&path)).await
    }

    pub(super) fn write_to(&self, path: &Path) -> StoreResult<()> {
        let text = serde_json::to_vec(self).map_err(StoreError::io("encode", path))?;
        let draft = path.with_extension("draft");
        fs::write(&draft, text).map_err(StoreError::io("write", &draft))?;
        fs::rename(&draft, path).map_err(StoreError::io("write", path))
    }
}

/// `None` too when it cannot be read: the server is a stranger then.
pub(super) fn read(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use snap_store::SnapshotId;

    use super::*;

    #[test]
    fn a_record_is_read_back_and_nonsense_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let server = ServerId::of(std::process::id()).unwrap();
        let record = Record {
            snapshot: SnapshotId::random().to_string(),
            server,
            restarts: 3,
            predecessor: Some(server),
        };
        record.write_to(&path).unwrap();
        assert_eq!(read(&path), Some(record));
        fs::write(&path, "{").unwrap();
        assert_eq!(read(&path), None);
    }
}
