//! The memory of a container's processes in its manifest: a tree beside that of the files, never in it.

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::{
    bytes::Decoded,
    entry::{MAX_NODES, TreeRef},
    error::Result,
    ids::Digest,
    seal::Seal,
};

/// Longest reason for which memory is missing, in bytes.
const MAX_REASON_BYTES: usize = 4096;

/// What became of the memory of a container's processes, when it was wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Memory {
    /// It is in the snapshot.
    Captured(Box<MemoryImages>),
    /// It could not be had; the snapshot is of files alone.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// Memory as CRIU has written it.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryImages {
    /// A folder of nothing but files.
    pub root: TreeRef,
    /// Sum of their sizes.
    pub bytes: u64,
    /// What must be alike where it is restored.
    pub facts: MemoryFacts,
    /// The key its files are sealed with; `None` when they lie in clear.
    pub seal: Option<Seal>,
}

/// What decides whether processes can go on elsewhere, beside the host's architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFacts {
    /// Version of CRIU; empty when it did not say.
    pub criu: String,
    /// Version of the control groups the container was in: 1 or 2.
    pub cgroup_version: u32,
    /// What the processor can do, as `/proc/cpuinfo` names it.
    pub cpu_flags: Vec<String>,
}

impl Manifest {
    /// The roots of all its trees: that of the files, and that of the memory.
    pub fn roots(&self) -> impl Iterator<Item = TreeRef> {
        let images = self.memory_images().map(|images| images.root);
        std::iter::once(self.root).chain(images)
    }

    /// The memory, when it is in the snapshot.
    #[must_use]
    pub fn memory_images(&self) -> Option<&MemoryImages> {
        match &self.memory {
            Some(Memory::Captured(images)) => Some(images),
            Some(Memory::Failed { .. }) | None => None,
        }
    }
}

/// Memory in the JSON of a manifest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BodyMemory {
    Captured(BodyImages),
    Failed { reason: String },
}

#[derive(Serialize, Deserialize)]
pub(super) struct BodyImages {
    digest: String,
    nodes: u64,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<BodySeal>,
    #[serde(flatten)]
    facts: MemoryFacts,
}

#[derive(Serialize, Deserialize)]
struct BodySeal {
    key: String,
    mark: String,
}

impl From<&Memory> for BodyMemory {
    fn from(memory: &Memory) -> Self {
        match memory {
            Memory::Captured(images) => Self::Captured(BodyImages {
                digest: images.root.digest.to_string(),
                nodes: images.root.nodes,
                bytes: images.bytes,
                seal: images.seal.as_ref().map(BodySeal::from),
                facts: images.facts.clone(),
            }),
            Memory::Failed { reason } => Self::Failed {
                reason: reason.clone(),
            },
        }
    }
}

impl BodyMemory {
    /// The digest is parsed apart from the rest, because it fails in its own words.
    pub(super) fn check(self) -> Result<Decoded<Memory>> {
        let images = match self {
            Self::Failed { reason } => {
                let is_short = reason.len() <= MAX_REASON_BYTES;
                let failed = is_short.then_some(Memory::Failed { reason });
                return Ok(failed.ok_or("the reason why memory is missing is too long"));
            }
            Self::Captured(images) => images,
        };
        let digest: Digest = images.digest.parse()?;
        if !(1..=MAX_NODES).contains(&images.nodes) {
            return Ok(Err("the number of its memory's nodes is out of bounds"));
        }
        let root = TreeRef {
            digest,
            nodes: images.nodes,
        };
        Ok(Ok(Memory::Captured(Box::new(MemoryImages {
            root,
            bytes: images.bytes,
            facts: images.facts,
            seal: images.seal.map(BodySeal::check).transpose()?,
        }))))
    }
}

impl From<&Seal> for BodySeal {
    fn from(seal: &Seal) -> Self {
        Self {
            key: seal.key.to_string(),
            mark: seal.mark.to_string(),
        }
    }
}

impl BodySeal {
    fn check(self) -> Result<Seal> {
        Ok(Seal {
            key: self.key.parse()?,
            mark: self.mark.parse()?,
        })
    }
}
