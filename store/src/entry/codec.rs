//! Entries and their metadata as bytes (docs/format.md, "Entries" and "Metadata").
//!
//! What is encoded obeys the same limits as what is decoded, so that nothing is written that cannot be read.

use crate::{
    bytes::{Decoded, Fields},
    entry::{Content, DeviceNumber, Entry, EntryName, Meta, Node, Timestamp, TreeRef, Xattr},
    error::{Error, Result},
    ids::Digest,
};

/// No entry is larger, name and extended attributes included.
pub(crate) const MAX_ENTRY_BYTES: usize = 1 << 20;
/// More nodes than this are in no snapshot; leaves room to add positions without overflow.
pub(crate) const MAX_NODES: u64 = 1 << 48;
/// Where an entry's name begins; its length is the byte at 2.
pub(crate) const NAME: usize = 4;

const MAX_FILE_BYTES: u64 = i64::MAX as u64;
const MAX_TARGET_BYTES: usize = 4095;
const MAX_XATTR_NAME_BYTES: usize = 255;
const MAX_XATTR_VALUE_BYTES: usize = 64 << 10;

const LINKED: u8 = 1;
const CONTENT_SHIFT: u8 = 1;

impl Meta {
    /// The metadata as bytes, for a folder that has no entry of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it exceeds a limit of the format.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check().map_err(|why| invalid("metadata", why))?;
        let mut out = Vec::new();
        put_meta(&mut out, self);
        if out.len() > MAX_ENTRY_BYTES {
            return Err(invalid("metadata", TOO_LARGE));
        }
        Ok(out)
    }

    /// The metadata of these bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they are not what [`Meta::encode`] returns.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields::new(bytes);
        let decoded = read_meta(&mut fields).and_then(|meta| fields.end().map(|()| meta));
        decoded.map_err(|why| Error::Corrupt {
            what: "Metadata",
            name: "of a folder".to_owned(),
            why: why.to_owned(),
        })
    }

    /// Checks the limits of the format.
    pub(crate) fn check(&self) -> Decoded<()> {
        if self.mode > 0o7777 {
            return Err("its mode has more than permission bits");
        }
        if self.modified.nanoseconds >= 1_000_000_000 {
            return Err("its nanoseconds are a second or more");
        }
        if u16::try_from(self.xattrs.len()).is_err() {
            return Err("it has too many extended attributes");
        }
        for Xattr { name, value } in &self.xattrs {
            if !(1..=MAX_XATTR_NAME_BYTES).contains(&name.len()) || name.contains(&0) {
                return Err("the name of an extended attribute is no name");
            }
            if value.len() > MAX_XATTR_VALUE_BYTES {
                return Err("an extended attribute is too long");
            }
        }
        if !self.xattrs.is_sorted_by(|one, other| one.name < other.name) {
            return Err("its extended attributes are not ascending");
        }
        Ok(())
    }
}

impl Entry {
    /// Appends the entry to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.meta
            .check()
            .and_then(|()| check_node(&self.node))
            .map_err(|why| invalid("entry", why))?;
        let start = out.len();
        let name = self.name.as_bytes();
        out.extend([kind(&self.node), flags(&self.node), name.len() as u8, 0]);
        out.extend(name);
        put_meta(out, &self.meta);
        put_node(out, &self.node);
        if out.len() - start > MAX_ENTRY_BYTES {
            return Err(invalid("entry", TOO_LARGE));
        }
        Ok(())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(TOO_LARGE);
        }
        let name = EntryName::new(name(bytes)?).map_err(|_| "a name in it is no name")?;
        let mut fields = Fields::new(bytes);
        let [kind, flags, _, zero] = fields.array()?;
        if zero != 0 {
            return Err("an entry has an unknown field");
        }
        fields.bytes(name.as_bytes().len())?;
        let meta = read_meta(&mut fields)?;
        let node = read_node(&mut fields, kind, flags)?;
        fields.end()?;
        check_node(&node)?;
        Ok(Self { name, meta, node })
    }
}

/// The name of an encoded entry, without the rest.
pub(crate) fn name(entry: &[u8]) -> Decoded<&[u8]> {
    let length = usize::from(*entry.get(2).ok_or(NO_NAME)?);
    entry.get(NAME..NAME + length).ok_or(NO_NAME)
}

const TOO_LARGE: &str = "it is larger than an entry may be";
const NO_NAME: &str = "an entry is shorter than its name";

fn invalid(what: &'static str, why: &str) -> Error {
    Error::Invalid {
        what,
        why: why.to_owned(),
    }
}

fn check_node(node: &Node) -> Decoded<()> {
    match node {
        Node::Directory(tree) if !(1..=MAX_NODES).contains(&tree.nodes) => {
            Err("the number of nodes of a folder is out of bounds")
        }
        Node::File { size, .. } if *size > MAX_FILE_BYTES => Err("a file is too long"),
        Node::File {
            size: 0, content, ..
        } if *content != Content::Hole => Err("an empty file has content"),
        Node::Symlink(target)
            if !(1..=MAX_TARGET_BYTES).contains(&target.len()) || target.contains(&0) =>
        {
            Err("the target of a symbolic link is none")
        }
        _ => Ok(()),
    }
}

fn kind(node: &Node) -> u8 {
    match node {
        Node::Directory(_) => 1,
        Node::File { .. } => 2,
        Node::Symlink(_) => 3,
        Node::CharDevice(_) => 4,
        Node::BlockDevice(_) => 5,
        Node::Fifo => 6,
        Node::Socket => 7,
    }
}

fn flags(node: &Node) -> u8 {
    let Node::File {
        content, linked, ..
    } = node
    else {
        return 0;
    };
    let content = match content {
        Content::Hole => 0,
        Content::Chunk(_) => 1,
        Content::List(_) => 2,
        Content::SparseList(_) => 3,
    };
    content << CONTENT_SHIFT | if *linked { LINKED } else { 0 }
}

fn put_meta(out: &mut Vec<u8>, meta: &Meta) {
    out.extend(meta.mode.to_le_bytes());
    out.extend(meta.uid.to_le_bytes());
    out.extend(meta.gid.to_le_bytes());
    out.extend(meta.modified.seconds.to_le_bytes());
    out.extend(meta.modified.nanoseconds.to_le_bytes());
    out.extend((meta.xattrs.len() as u16).to_le_bytes());
    for Xattr { name, value } in &meta.xattrs {
        out.push(name.len() as u8);
        out.extend((value.len() as u32).to_le_bytes());
        out.extend(name.iter().chain(value));
    }
}

fn read_meta(fields: &mut Fields<'_>) -> Decoded<Meta> {
    let mut meta = Meta {
        mode: fields.u16()?,
        uid: fields.u32()?,
        gid: fields.u32()?,
        modified: Timestamp {
            seconds: fields.i64()?,
            nanoseconds: fields.u32()?,
        },
        xattrs: Vec::new(),
    };
    for _ in 0..fields.u16()? {
        let name_length = usize::from(fields.u8()?);
        let value_length = fields.u32()? as usize;
        meta.xattrs.push(Xattr {
            name: fields.bytes(name_length)?.into(),
            value: fields.bytes(value_length)?.into(),
        });
    }
    meta.check()?;
    Ok(meta)
}

fn put_node(out: &mut Vec<u8>, node: &Node) {
    match node {
        Node::Directory(tree) => {
            out.extend(tree.digest.as_bytes());
            out.extend(tree.nodes.to_le_bytes());
        }
        Node::File { size, content, .. } => {
            out.extend(size.to_le_bytes());
            if let Content::Chunk(digest) | Content::List(digest) | Content::SparseList(digest) =
                content
            {
                out.extend(digest.as_bytes());
            }
        }
        Node::Symlink(target) => {
            out.extend((target.len() as u16).to_le_bytes());
            out.extend(target);
        }
        Node::CharDevice(number) | Node::BlockDevice(number) => {
            out.extend(number.major.to_le_bytes());
            out.extend(number.minor.to_le_bytes());
        }
        Node::Fifo | Node::Socket => {}
    }
}

fn read_node(fields: &mut Fields<'_>, kind: u8, flags: u8) -> Decoded<Node> {
    if flags != 0 && kind != 2 {
        return Err("an entry has unknown flags");
    }
    Ok(match kind {
        1 => Node::Directory(TreeRef {
            digest: read_digest(fields)?,
            nodes: fields.u64()?,
        }),
        2 => Node::File {
            size: fields.u64()?,
            content: match flags >> CONTENT_SHIFT {
                0 => Content::Hole,
                1 => Content::Chunk(read_digest(fields)?),
                2 => Content::List(read_digest(fields)?),
                3 => Content::SparseList(read_digest(fields)?),
                _ => return Err("an entry has unknown flags"),
            },
            linked: flags & LINKED != 0,
        },
        3 => {
            let length = usize::from(fields.u16()?);
            Node::Symlink(fields.bytes(length)?.into())
        }
        4 => Node::CharDevice(read_device(fields)?),
        5 => Node::BlockDevice(read_device(fields)?),
        6 => Node::Fifo,
        7 => Node::Socket,
        _ => return Err("an entry is of an unknown kind"),
    })
}

fn read_digest(fields: &mut Fields<'_>) -> Decoded<Digest> {
    fields.array().map(Digest::from_bytes)
}

fn read_device(fields: &mut Fields<'_>) -> Decoded<DeviceNumber> {
    Ok(DeviceNumber {
        major: fields.u32()?,
        minor: fields.u32()?,
    })
}
