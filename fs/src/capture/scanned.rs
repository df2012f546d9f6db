//! What a pass over the metadata found, before it is a tree.

use std::path::Path;

use snap_store::{EntryName, Meta, Node, Xattr};

use super::stat::Stat;

/// Warnings that are told one by one.
const MAX_WARNINGS: usize = 100;

/// A folder that was met; its number is its place in `Scan`.
#[derive(Debug)]
pub(super) struct ScannedFolder {
    pub(super) meta: Meta,
    /// Hides what the layers below have in it.
    pub(super) is_opaque: bool,
    pub(super) holds_file_whiteouts: bool,
    pub(super) entries: Vec<ScannedEntry>,
}

/// A name that was met.
#[derive(Debug)]
pub(super) struct ScannedEntry {
    pub(super) name: EntryName,
    /// Of no meaning for folders, which have their own, and for whiteouts.
    pub(super) meta: Meta,
    pub(super) node: ScannedNode,
    /// Number of the group of names that are one inode.
    pub(super) group: Option<u32>,
}

/// What is behind a name that was met.
#[derive(Clone, Debug)]
pub(super) enum ScannedNode {
    /// Complete.
    Ready(Node),
    /// A file whose bytes are elsewhere still.
    Kept {
        /// Their number in the spool, or the file's in the readers' queue.
        number: usize,
        /// True when the file has several names.
        linked: bool,
    },
    /// The folder of this number.
    Folder(usize),
    /// A deleted name.
    Whiteout,
}

/// Warnings for people, not more of them than can be read.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    told: Vec<String>,
    more: usize,
}

impl Warnings {
    pub(super) fn push(&mut self, path: &Path, what: &str) {
        if self.told.len() < MAX_WARNINGS {
            self.told.push(format!("{}: {what}", path.display()));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_told(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}

/// What was read of an inode.
pub(super) struct Seen {
    pub(super) stat: Stat,
    pub(super) xattrs: Box<[Xattr]>,
    pub(super) node: ScannedNode,
}
