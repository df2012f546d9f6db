//! The manifest: what a snapshot is. Its presence under its final name is what makes a snapshot whole.

mod codec;
mod memory;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use memory::{Memory, MemoryFacts, MemoryImages};

use crate::{
    entry::{Meta, TreeRef},
    ids::SnapshotId,
    links::LinkTable,
    names::{Namespace, SnapshotName},
};

/// The greatest number of a version: what every reader of JSON takes exactly.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// What a snapshot is: a complete tree, never a chain, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// Its namespace.
    pub namespace: Namespace,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// The name it was given when it was made.
    pub name: Option<SnapshotName>,
    /// Which version of that name it was made as, from 1 to [`MAX_VERSION`]; none without a name, or by an earlier release.
    pub version: Option<u64>,
    /// When it was to expire when it was made, in seconds since 1970; `None` for never.
    pub expires_at: Option<i64>,
    /// The labels it was given when it was made.
    pub labels: BTreeMap<String, String>,
    /// The root folder's tree.
    pub root: TreeRef,
    /// The root folder's own metadata.
    pub root_meta: Meta,
    /// Which nodes are one file.
    pub links: LinkTable,
    /// Sum of the sizes of its files, in bytes.
    pub logical_bytes: u64,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
    /// How long the container stood still, in microseconds.
    pub pause_us: u64,
    /// The memory of its processes, when it was wanted.
    pub memory: Option<Memory>,
    /// What it was made from.
    pub origin: Origin,
    /// The host it was made on.
    pub host: HostFacts,
}

/// What a snapshot was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A folder of the host; the path as text, for people.
    Path(String),
    /// A container.
    Container(Box<ContainerConfig>),
}

/// A container's configuration, as containerd had it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The container's id.
    pub id: String,
    /// Name of its image; empty when it was made without one.
    pub image: String,
    /// The snapshotter that held its layers.
    pub snapshotter: String,
    /// Key of the committed snapshot below its writable layer; empty when there was none.
    pub parent: String,
    /// The runtime's name.
    pub runtime: String,
    /// Type URL of the runtime's options; empty when there were none.
    pub runtime_options_type: String,
    /// The runtime's options, as bytes.
    pub runtime_options: Vec<u8>,
    /// The OCI runtime specification.
    pub spec: serde_json::Value,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Destinations of bind mounts whose content is part of the tree.
    #[serde(default)]
    pub included_mounts: Vec<String>,
}

/// Facts of the host a snapshot was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Machine architecture as `uname -m` has it.
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub hostname: String,
    /// Version of the daemon.
    pub version: String,
}
