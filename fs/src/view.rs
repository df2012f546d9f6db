//! A snapshot as a read-only file system; knows nothing of FUSE.
//!
//! The number of a node is its position in preorder plus one, the root is 1; hard links share the number of the
//! first of them. Nothing has to be remembered between calls: a number is found again by descent. What is kept is a
//! bounded cache of nodes, filled by look-ups and listings.
//!
//! A folder's link count is 1, which programs that count links (`find`) know as "number of subfolders unknown":
//! the true count would need all of a folder's entries read. Access and change times are the modification time.

use std::{path::Path, time::Duration};

use snap_store::{
    Content, ContentReader, ContentSource, Digest, ForesightStats, KeyFolder, LinkTable, Located,
    Manifest, Meta, Node, SnapshotId, Store, TreeReader,
};

mod bytes;
mod error;
mod nodes;
mod read_ahead;
mod shown;

pub use bytes::Bytes;
pub use error::{Error, Result};
use nodes::NodeCache;
use read_ahead::ReadAhead;
pub use shown::{Attributes, Figures, Kind, Name, Seek};
use shown::{FOLDER_BYTES, dot, file, shape, tree};

/// The number of a node: its inode number.
pub type Number = u64;

/// The number of the root folder.
pub const ROOT: Number = 1;
/// Unit of [`Attributes::blocks`].
const BLOCK_BYTES: u64 = 512;
/// Sparse files of these sizes have their holes counted for [`Attributes::blocks`]: smaller ones are not worth reading a
/// page for at every listing, the count of larger ones would keep a listing waiting.
const HOLES_COUNTED: std::ops::Range<u64> = 1 << 20..64 << 30;
/// Who may look into a folder of memory images.
const IMAGES_MODE: u16 = 0o500;
/// `.` and `..` come before a folder's entries.
const DOTS: u64 = 2;

/// How much a view may use.
#[derive(Clone, Copy, Debug)]
pub struct ViewOptions {
    /// Decoded chunks kept, in bytes.
    pub cache_bytes: u64,
    /// Nodes kept, in bytes; about 200 bytes a node.
    pub node_bytes: u64,
    /// Threads that decode ahead of sequential readers; 0 for none.
    pub read_ahead_threads: usize,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            node_bytes: 16 << 20,
            read_ahead_threads: 2,
        }
    }
}

/// A snapshot as a read-only file system; safe to use from several threads.
#[derive(Debug)]
pub struct View {
    source: ContentSource,
    manifest: Manifest,
    reader: TreeReader,
    root: Located,
    nodes: NodeCache,
    read_ahead: ReadAhead,
}

impl View {
    /// How long a caller may remember what a view said: a snapshot never changes.
    pub const VALID: Duration = Duration::from_secs(u32::MAX as u64);

    /// Opens the snapshot `id` of `store`.
    ///
    /// # Errors
    /// What [`Store::manifest`] says when there is no such snapshot or its manifest is damaged.
    pub fn open(store: Store, id: &SnapshotId, options: &ViewOptions) -> snap_store::Result<Self> {
        let manifest = store.manifest(id)?;
        let source = ContentSource::plain(store, options.cache_bytes);
        Self::of(source, manifest, options)
    }

    /// Opens the memory of the snapshot `id`: a folder of images, for root alone to read. Its files are not there. What is sealed is
    /// opened with a key from `keys`.
    ///
    /// # Errors
    /// As `open`, [`snap_store::Error::NotFound`] when the snapshot has no memory, and [`snap_store::Error::MissingKey`] when it takes a
    /// key that is not there.
    pub fn open_memory(
        store: Store,
        id: &SnapshotId,
        keys: &KeyFolder,
        options: &ViewOptions,
    ) -> snap_store::Result<Self> {
        let manifest = store.manifest(id)?;
        let Some(images) = manifest.memory_images() else {
            return Err(snap_store::Error::NotFound {
                what: "Memory of snapshot",
                name: id.to_string(),
            });
        };
        let source = match images.key(&manifest.namespace, keys)? {
            Some(key) => ContentSource::sealed(store, key, options.cache_bytes),
            None => ContentSource::plain(store, options.cache_bytes),
        };
        let images = Manifest {
            root: images.root,
            root_meta: Meta {
                mode: IMAGES_MODE,
                ..Meta::default()
            },
            links: LinkTable::default(),
            logical_bytes: images.bytes,
            ..manifest.clone()
        };
        Self::of(source, images, options)
    }

    fn of(
        source: ContentSource,
        manifest: Manifest,
        options: &ViewOptions,
    ) -> snap_store::Result<Self> {
        Ok(Self {
            reader: TreeReader::new(source.store().clone(), manifest.root),
            root: nodes::root(&manifest)?,
            nodes: NodeCache::new(options.node_bytes),
            read_ahead: ReadAhead::start(&source, options),
            source,
            manifest,
        })
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &SnapshotId {
        &self.manifest.id
    }

    /// What the snapshot is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How well what was needed had been foreseen.
    #[must_use]
    pub fn foresight(&self) -> ForesightStats {
        self.source.store().foresight()
    }

    /// The folder of the store it reads from.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.source.store().root()
    }

    /// What stands under `name` in the folder `parent`; `None` when nothing does. Knows `.` and `..`.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::Stale`], [`Error::Store`].
    pub fn lookup(&self, parent: Number, name: &[u8]) -> Result<Option<Attributes>> {
        let folder = self.node(parent)?;
        match name {
            b"." => return self.about(&folder).map(Some),
            b".." => return self.attributes(folder.parent + ROOT).map(Some),
            _ => {}
        }
        let found = self.reader.lookup(tree(&folder)?, folder.position, name)?;
        let Some(found) = found else { return Ok(None) };
        let about = self.about(&found)?;
        self.nodes.insert(&found);
        Ok(Some(about))
    }

    /// What `stat` shows of the node.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Store`].
    pub fn attributes(&self, number: Number) -> Result<Attributes> {
        self.about(&self.node(number)?)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotALink`], [`Error::Stale`], [`Error::Store`].
    pub fn read_link(&self, number: Number) -> Result<Vec<u8>> {
        match &self.node(number)?.entry.node {
            Node::Symlink(target) => Ok(target.to_vec()),
            Node::Directory(_)
            | Node::File { .. }
            | Node::CharDevice(_)
            | Node::BlockDevice(_)
            | Node::Fifo
            | Node::Socket => Err(Error::NotALink),
        }
    }

    /// Bytes of a file, as many as there are up to `size`.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::NotAFile`], [`Error::Stale`], [`Error::Store`].
    pub fn read(&self, number: Number, offset: u64, size: u32) -> Result<Bytes> {
        let node = self.node(number)?;
        let (length, content) = file(&node)?;
        let wanted = offset.min(length)..offset.saturating_add(u64::from(size)).min(length);
        if wanted.is_empty() {
            return Ok(Bytes::empty());
        }
        match content {
            Content::Hole => Ok(Bytes::zeros(wanted.end - wanted.start)),
            Content::Chunk(digest) => {
                if wanted.start == 0 {
                    let chunk_at = |position| self.small_file_at(position);
                    self.read_ahead.note_small(node.position, chunk_at);
                }
                Bytes::of_chunk(&self.source, &digest, length, wanted)
            }
            Content::List(_) | Content::SparseList(_) => {
                let reader = ContentReader::new(self.source.clone(), content, length);
                self.read_ahead.share(&reader, &wanted);
                self.read_ahead.note(number, &reader, &wanted);
                Bytes::of_list(&reader, wanted)
            }
        }
    }

    /// The offset of the next data or hole at or after `offset`.
    ///
    /// # Errors
    /// [`Error::BeyondEnd`] when there is none, and those of [`View::read`].
    pub fn seek(&self, number: Number, offset: u64, what: Seek) -> Result<u64> {
        let (length, content) = file(&self.node(number)?)?;
        if offset >= length {
            return Err(Error::BeyondEnd);
        }
        let reader = ContentReader::new(self.source.clone(), content, length);
        match what {
            Seek::Data => match reader.next_data(offset)? {
                Some((start, _)) => Ok(start),
                None => Err(Error::BeyondEnd),
            },
            Seek::Hole => Ok(reader.next_hole(offset)?),
        }
    }

    /// Up to `limit` names of a folder from `offset` on, `.` and `..` first; 0 is the beginning.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::Stale`], [`Error::Store`].
    pub fn entries(&self, number: Number, offset: u64, limit: usize) -> Result<Vec<Name>> {
        let folder = self.node(number)?;
        let tree = tree(&folder)?;
        let mut names = Vec::with_capacity(limit.min(1024));
        if offset < 1 {
            names.push(dot(1, b".", self.about(&folder)?));
        }
        if offset < DOTS {
            let parent = self.attributes(folder.parent + ROOT)?;
            names.push(dot(DOTS, b"..", parent));
        }
        let first = offset.saturating_sub(DOTS);
        let found = self.reader.entries(tree, folder.position, first, limit)?;
        for located in &found {
            names.push(Name {
                next: located.index + DOTS + 1,
                name: located.entry.name.as_bytes().to_vec(),
                attributes: self.about(located)?,
            });
            self.nodes.insert(located);
        }
        Ok(names)
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`Error::NoAttribute`], [`Error::Stale`], [`Error::Store`].
    pub fn xattr(&self, number: Number, name: &[u8]) -> Result<Vec<u8>> {
        let node = self.node(number)?;
        let xattrs = &node.entry.meta.xattrs;
        let found = xattrs.iter().find(|xattr| *xattr.name == *name);
        found
            .map(|xattr| xattr.value.to_vec())
            .ok_or(Error::NoAttribute)
    }

    /// The names of all extended attributes, each followed by a NUL.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Store`].
    pub fn xattr_names(&self, number: Number) -> Result<Vec<u8>> {
        let node = self.node(number)?;
        let names = node.entry.meta.xattrs.iter().map(|xattr| &xattr.name);
        Ok(names.flat_map(|name| [name, &b"\0"[..]].concat()).collect())
    }

    /// What `statfs` shows.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            bytes: self.manifest.logical_bytes,
            nodes: self.manifest.root.nodes,
        }
    }

    /// The path of a node for people, `/` for the root; as much as can be found of it.
    #[must_use]
    pub fn path_of(&self, number: Number) -> String {
        let Some(position) = number.checked_sub(ROOT) else {
            return "?".to_owned();
        };
        match self.reader.path_of(position) {
            Ok(names) => names.iter().fold(String::new(), |path, name| {
                path + "/" + &name.escape_ascii().to_string()
            }),
            Err(_) => format!("the node at position {position}"),
        }
    }

    /// The chunk of a small file that was seen lately.
    fn small_file_at(&self, position: u64) -> Option<Digest> {
        match self.nodes.get(position)?.entry.node {
            Node::File {
                content: Content::Chunk(digest),
                ..
            } => Some(digest),
            _ => None,
        }
    }

    fn node(&self, number: Number) -> Result<Located> {
        if number == ROOT {
            return Ok(self.root.clone());
        }
        let position = number.checked_sub(ROOT).ok_or(Error::Stale)?;
        if let Some(known) = self.nodes.get(position) {
            return Ok(known);
        }
        if position >= self.manifest.root.nodes {
            return Err(Error::Stale);
        }
        let found = self.reader.at(position)?.ok_or(Error::Stale)?;
        self.nodes.insert(&found);
        Ok(found)
    }

    fn about(&self, located: &Located) -> Result<Attributes> {
        let (meta, links) = (&located.entry.meta, &self.manifest.links);
        let (kind, size, device) = shape(&located.entry.node);
        Ok(Attributes {
            number: links.first(located.position) + ROOT,
            kind,
            size,
            blocks: self.blocks(located)?,
            mode: meta.mode,
            links: links.count(located.position),
            uid: meta.uid,
            gid: meta.gid,
            modified: meta.modified,
            device,
        })
    }

    fn blocks(&self, located: &Located) -> Result<u64> {
        let Node::File { size, content, .. } = located.entry.node else {
            return Ok(0);
        };
        let bytes = match content {
            Content::Hole => 0,
            Content::SparseList(_) if HOLES_COUNTED.contains(&size) => {
                self.nodes.data_bytes(located.position, || {
                    ContentReader::new(self.source.clone(), content, size).data_bytes()
                })?
            }
            Content::Chunk(_) | Content::List(_) | Content::SparseList(_) => size,
        };
        Ok(bytes.div_ceil(FOLDER_BYTES) * (FOLDER_BYTES / BLOCK_BYTES))
    }
}

#[cfg(test)]
mod tests;
