//! What a tree says of one name: its metadata and what stands behind it.
//!
//! An entry is complete without its surroundings: the same folder has the same tree wherever and whenever
//! it is captured. Positions and hard links therefore live in [`crate::TreeReader`] and [`crate::LinkTable`].

mod codec;

pub(crate) use codec::{MAX_NODES, name as encoded_name};

use crate::{
    error::{Error, Result},
    ids::Digest,
};

/// One name in a tree: not empty, not `.` or `..`, no `/`, no NUL, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// Longest name in bytes, as Linux has it.
    pub const MAX_BYTES: usize = 255;

    /// Checks `bytes` and makes them a name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they cannot be a name in a folder.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let why = match &*bytes {
            [] => "it is empty",
            b"." | b".." => "`.` and `..` are not names",
            long if long.len() > Self::MAX_BYTES => "it is longer than 255 bytes",
            bad if bad.iter().any(|byte| matches!(byte, b'/' | 0)) => "it holds a slash or a NUL",
            _ => return Ok(Self(bytes)),
        };
        Err(Error::Invalid {
            what: "entry name",
            why: why.to_owned(),
        })
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A point in time: seconds since 1970 and nanoseconds below a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Xattr {
    /// Full name with its class, as in `user.mime_type`.
    pub name: Box<[u8]>,
    /// Value.
    pub value: Box<[u8]>,
}

/// What every kind of entry has.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Meta {
    /// Permission bits with suid, sgid and sticky: `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub modified: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// Number of a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A whole tree by its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TreeRef {
    /// Digest of the tree's top page.
    pub digest: Digest,
    /// Nodes in it: the folder itself and everything below it.
    pub nodes: u64,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// Nothing but zeros, or no byte at all.
    Hole,
    /// One chunk holds all of it.
    Chunk(Digest),
    /// A list of extents without a hole among them, by the digest of its top page.
    List(Digest),
    /// The same with holes.
    SparseList(Digest),
}

/// What stands behind a name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// A folder.
    Directory(TreeRef),
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Bytes.
        content: Content,
        /// True when it had more than one name when it was captured: look into the link table.
        linked: bool,
    },
    /// A symbolic link and its target; at most 4095 bytes.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A socket, as a name alone.
    Socket,
}

impl Node {
    /// Nodes this one counts for: all of a folder's, one for everything else.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        match self {
            Self::Directory(tree) => tree.nodes,
            _ => 1,
        }
    }

    /// A node that differs only in its bytes from another kind has the same word here.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::File { .. } => "file",
            Self::Symlink(_) => "symlink",
            Self::CharDevice(_) => "char-device",
            Self::BlockDevice(_) => "block-device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// One entry of a tree.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Its name.
    pub name: EntryName,
    /// Its metadata.
    pub meta: Meta,
    /// What it is.
    pub node: Node,
}
