//! Volumes: named trees beside containers.

use serde::{Deserialize, Serialize};

use crate::path::WirePath;

/// Names a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The volume.
    pub name: String,
}

/// Changes a volume, or what a container has of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeChangeRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The volume.
    pub name: String,
    /// What is to be done.
    pub change: VolumeChange,
}

/// What is done to a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeChange {
    /// Make it, without a file.
    Create,
    /// Put files and folders of the host into it; for root alone.
    Put {
        /// Absolute; each keeps its last name.
        sources: Vec<WirePath>,
        /// The folder of the volume that they come into; absolute.
        to: WirePath,
        /// Whose they are.
        #[serde(default)]
        owner: Owner,
    },
    /// Remove paths of it, all of them or none.
    Remove {
        /// Absolute.
        paths: Vec<WirePath>,
    },
    /// Make what a container has written its next version.
    Commit {
        /// The container's id.
        container: String,
    },
    /// Give a container its newest version.
    Reload {
        /// The container's id.
        container: String,
        /// Let what the container has written and not committed go.
        #[serde(default)]
        discard: bool,
    },
}

/// An owner by numbers; root when nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Something that a new container is to have mounted beside its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// What.
    pub source: AttachSource,
    /// Where, in the container; absolute.
    pub destination: String,
    /// The container may not write to it.
    #[serde(default)]
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachSource {
    /// The newest version of a volume.
    Volume(String),
    /// A folder of a snapshot.
    Snapshot {
        /// Id, unambiguous id prefix, `NAME` or `NAME:TAG`.
        reference: String,
        /// The folder; `/` for all of it.
        path: WirePath,
    },
}

/// A volume as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VolumeView {
    /// containerd's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The number of its newest version; a number is never given twice.
    pub version: u64,
    /// The snapshot that this version is.
    pub snapshot: String,
    /// When it was made; RFC 3339.
    pub created_at: String,
    /// When its newest version was made; RFC 3339.
    pub changed_at: String,
    /// Files, folders and other nodes in it, its top counted.
    pub nodes: u64,
    /// Sum of the sizes of its files, in bytes.
    pub logical_bytes: u64,
    /// How many versions are kept.
    pub versions: u64,
    /// Ids of the containers that have it mounted.
    pub containers: Vec<String>,
}

/// What came of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VolumeChanged {
    /// The volume as it stands now.
    pub volume: VolumeView,
    /// False when everything was as it was to be.
    pub changed: bool,
    /// True when the volume had changed since the container got it, and both were put together.
    #[serde(default)]
    pub merged: bool,
    /// True when the container stands on the newest version now.
    #[serde(default)]
    pub reloaded: bool,
    /// Files that were put, or nodes that were removed.
    pub files: u64,
    /// Bytes of the files that were put.
    pub bytes: u64,
    /// Bytes in chunks the store did not have.
    pub new_bytes: u64,
    /// Bytes these chunks take in the store.
    pub stored_bytes: u64,
    /// How long the whole operation took, in microseconds.
    pub elapsed_us: u64,
    /// Things worth knowing.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Something that a container has mounted beside its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AttachedView {
    /// Where, in the container.
    pub destination: String,
    /// The volume; absent for a folder of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The snapshot that is mounted.
    pub snapshot: String,
    /// The container may not write to it.
    pub read_only: bool,
}
