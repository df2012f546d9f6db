//! What a view shows of a node, and how it is read off an entry.

use snap_store::{Content, DeviceNumber, Located, Node, Timestamp, TreeRef};

use super::{Error, Number, Result};

/// A folder's size, as far as anybody is concerned.
pub(super) const FOLDER_BYTES: u64 = 4096;

/// What kind of node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What `stat` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub number: Number,
    /// Its kind.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Space it would take without holes, in units of 512 bytes.
    pub blocks: u64,
    /// Permission bits with suid, sgid and sticky.
    pub mode: u16,
    /// Names it has; 1 for a folder.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub modified: Timestamp,
    /// What device it is.
    pub device: Option<DeviceNumber>,
}

/// One name in a folder.
#[derive(Clone, Debug)]
pub struct Name {
    /// Where a listing goes on after it.
    pub next: u64,
    /// Its bytes.
    pub name: Vec<u8>,
    /// What it leads to.
    pub attributes: Attributes,
}

/// What to look for in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next byte in a hole; the end of a file counts as one.
    Hole,
}

/// What `statfs` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Sum of the sizes of files in bytes.
    pub bytes: u64,
    /// Nodes.
    pub nodes: u64,
}

pub(super) fn tree(folder: &Located) -> Result<&TreeRef> {
    match &folder.entry.node {
        Node::Directory(tree) => Ok(tree),
        Node::File { .. }
        | Node::Symlink(_)
        | Node::CharDevice(_)
        | Node::BlockDevice(_)
        | Node::Fifo
        | Node::Socket => Err(Error::NotADirectory),
    }
}

pub(super) fn file(located: &Located) -> Result<(u64, Content)> {
    match &located.entry.node {
        Node::File { size, content, .. } => Ok((*size, *content)),
        Node::Directory(_) => Err(Error::IsADirectory),
        Node::Symlink(_)
        | Node::CharDevice(_)
        | Node::BlockDevice(_)
        | Node::Fifo
        | Node::Socket => Err(Error::NotAFile),
    }
}

pub(super) fn shape(node: &Node) -> (Kind, u64, Option<DeviceNumber>) {
    match node {
        Node::Directory(_) => (Kind::Directory, FOLDER_BYTES, None),
        Node::File { size, .. } => (Kind::File, *size, None),
        Node::Symlink(target) => (Kind::Symlink, target.len() as u64, None),
        Node::CharDevice(device) => (Kind::CharDevice, 0, Some(*device)),
        Node::BlockDevice(device) => (Kind::BlockDevice, 0, Some(*device)),
        Node::Fifo => (Kind::Fifo, 0, None),
        Node::Socket => (Kind::Socket, 0, None),
    }
}

pub(super) fn dot(next: u64, name: &[u8], attributes: Attributes) -> Name {
    Name {
        next,
        name: name.to_vec(),
        attributes,
    }
}
