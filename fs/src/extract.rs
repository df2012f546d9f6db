//! From a tree to a folder.
//!
//! Everything happens by descriptor, relative to folders this walk has made and nobody else may enter until
//! they are complete: no name can lead the walk astray. What is half made when the walk fails is removed.

mod folders;
mod node;
mod remove;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
    vec,
};

use rustix::fs::{AtFlags, Mode, OFlags, ftruncate, linkat, openat};
use snap_store::{
    Content, ContentReader, EntryName, Error, Leaf, Located, Manifest, Meta, Node, Progress,
    Result, Store, TreeReader, TreeRef,
};

use folders::Folders;
use remove::{Made, MadeWhat};

/// Bytes that are written at once.
const BUFFER_BYTES: u64 = 1 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Nodes.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Writes what stands at `path` in the snapshot as `name` into `folder`; `name` must not exist (or be an empty folder).
/// What was half written is removed again on error.
#[expect(
    clippy::too_many_arguments,
    reason = "what is read, where it goes, and who listens"
)]
pub fn extract(
    store: &Store,
    manifest: &Manifest,
    path: &[&[u8]],
    folder: BorrowedFd<'_>,
    name: &OsStr,
    progress: &dyn Progress,
) -> Result<Extracted> {
    EntryName::new(name.as_bytes())?;
    let reader = TreeReader::new(store.clone(), manifest.root);
    let top = reader.resolve(path)?;
    progress.phase("Extract");
    if top.is_none() {
        progress.expect_bytes(manifest.logical_bytes);
    }
    let mut walk = Walk {
        store,
        manifest,
        reader,
        depth: path.len(),
        first_names: HashMap::new(),
        progress,
        done: Extracted::default(),
    };
    match top.as_ref().map(|top| (top, &top.entry.node)) {
        None => walk.top_folder(folder, name, (manifest.root, 0), &manifest.root_meta)?,
        Some((top, Node::Directory(tree))) => {
            walk.top_folder(folder, name, (*tree, top.position), &top.entry.meta)?;
        }
        Some((top, _)) => walk.top_node(top, folder, name)?,
    }
    Ok(walk.done)
}

struct Walk<'a> {
    store: &'a Store,
    manifest: &'a Manifest,
    reader: TreeReader,
    /// Components of the path of the top node in the snapshot.
    depth: usize,
    /// The first position written of each group of hard links, by the first position of the group.
    first_names: HashMap<u64, u64>,
    progress: &'a dyn Progress,
    done: Extracted,
}

/// A folder under way.
struct Folder {
    meta: Meta,
    leaves: vec::IntoIter<Leaf>,
    entries: vec::IntoIter<Located>,
}

impl Walk<'_> {
    fn top_node(&mut self, top: &Located, folder: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let path = Path::new(name);
        let file = create(top, folder, name, path)?;
        let made = Made::new(folder, name, MadeWhat::Node);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let itself = openat(folder, name, flags, Mode::empty());
        let itself = itself.map_err(Error::io("open", path))?;
        node::disinherit(itself.as_fd(), path)?;
        self.fill(top, file, folder, path)?;
        made.keep();
        Ok(())
    }

    fn top_folder(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        (tree, position): (TreeRef, u64),
        meta: &Meta,
    ) -> Result<()> {
        let path = PathBuf::from(name);
        let (fd, what) = match node::make_folder(folder, name, &path) {
            Ok(fd) => (fd, MadeWhat::Folder),
            Err(Error::Exists { .. }) => {
                let (fd, before) = node::take_empty_folder(folder, name, &path)?;
                (fd, MadeWhat::Inside(before))
            }
            Err(error) => return Err(error),
        };
        let made = Made::new(folder, name, what);
        node::disinherit(fd.as_fd(), &path)?;
        let top = fd.try_clone().map_err(Error::io("open", &path))?;
        let state = self.begin(tree, position, meta.clone())?;
        self.descend(Folders::new(fd, path, state)?, top.as_fd())?;
        made.keep();
        Ok(())
    }

    fn begin(&self, tree: TreeRef, position: u64, meta: Meta) -> Result<Folder> {
        let leaves = self.reader.leaves(&tree, position)?;
        Ok(Folder {
            meta,
            leaves: leaves.into_iter(),
            entries: Vec::new().into_iter(),
        })
    }

    /// Writes everything below the folder the walk stands in, and completes it and those below.
    fn descend(&mut self, mut folders: Folders<Folder>, top: BorrowedFd<'_>) -> Result<()> {
        while let Some(state) = folders.state() {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let located = state.next(&self.reader)?;
            let (Some(located), Some(current)) = (located, folders.fd()) else {
                self.complete(&mut folders)?;
                continue;
            };
            let name = OsStr::from_bytes(located.entry.name.as_bytes());
            let path = folders.path_of(name);
            if let Node::Directory(tree) = &located.entry.node {
                let fd = node::make_folder(current, name, &path)?;
                let below = self.begin(*tree, located.position, located.entry.meta.clone())?;
                folders.enter(name, fd, below)?;
            } else if let Some(first) = self.linked_to(located.position) {
                self.link(first, top, current, &path)?;
            } else {
                let file = create(&located, current, name, &path)?;
                self.fill(&located, file, current, &path)?;
            }
        }
        Ok(())
    }

    /// Ends the current folder: what is in it is whole, so its times stay as they are set now.
    fn complete(&mut self, folders: &mut Folders<Folder>) -> Result<()> {
        let path = folders.path_of(OsStr::new(""));
        if let Some((fd, state)) = folders.leave()? {
            node::apply(fd.as_fd(), &state.meta, &path)?;
            self.count(0);
        }
        Ok(())
    }

    /// Gives a new node, `file` if it is a regular one, its content and metadata.
    fn fill(
        &mut self,
        located: &Located,
        file: Option<File>,
        folder: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<()> {
        let entry = &located.entry;
        match (&entry.node, file) {
            (Node::File { size, content, .. }, Some(file)) => {
                self.write(&file, *content, *size, path)?;
                node::apply(file.as_fd(), &entry.meta, path)?;
                self.count(*size);
            }
            _ => {
                node::apply_by_name(folder, entry, path)?;
                self.count(0);
            }
        }
        Ok(())
    }

    /// Writes the data of a file and leaves its holes.
    fn write(&self, file: &File, content: Content, size: u64, path: &Path) -> Result<()> {
        let reader = ContentReader::new(self.store.clone(), content, size);
        let mut buffer = Vec::new();
        let mut written = 0;
        while let Some((offset, length)) = reader.next_data(written)? {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            buffer.clear();
            reader.read_into(offset, length.min(BUFFER_BYTES) as usize, &mut buffer)?;
            file.write_all_at(&buffer, offset)
                .map_err(Error::io("write", path))?;
            let end = offset + buffer.len() as u64;
            self.progress.advance(0, end - written);
            written = end;
        }
        ftruncate(file, size).map_err(Error::io("set the length of", path))?;
        self.progress.advance(0, size - written);
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.done.files += 1;
        self.done.bytes += bytes;
        self.progress.advance(1, 0);
    }

    /// The position, written already, of the file that the node at `position` is another name of.
    fn linked_to(&mut self, position: u64) -> Option<u64> {
        let links = &self.manifest.links;
        if links.count(position) < 2 {
            return None;
        }
        let first = links.first(position);
        let written = *self.first_names.entry(first).or_insert(position);
        (written != position).then_some(written)
    }

    /// Makes `path`, in the folder `current`, another name of what was written for the node at `first`.
    fn link(
        &mut self,
        first: u64,
        top: BorrowedFd<'_>,
        current: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<()> {
        let components = self.reader.path_of(first)?;
        let Some((old_name, above)) = components
            .get(self.depth..)
            .and_then(<[Vec<u8>]>::split_last)
        else {
            return Err(Error::Corrupt {
                what: "Link table",
                name: self.manifest.id.to_string(),
                why: "a link in it leads out of its folder".to_owned(),
            });
        };
        let above = folders::open_below(top, above, path)?;
        let (old_name, name) = (OsStr::from_bytes(old_name), path.file_name());
        let name = name.unwrap_or_default();
        linkat(above, old_name, current, name, AtFlags::empty())
            .map_err(Error::io("link", path))?;
        self.count(0);
        Ok(())
    }
}

fn create(
    located: &Located,
    folder: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<Option<File>> {
    if let Node::File { .. } = located.entry.node {
        let fd = node::make_file(folder, name, path)?;
        return Ok(Some(File::from(fd)));
    }
    node::make_special(folder, name, &located.entry, path)?;
    Ok(None)
}

impl Folder {
    fn next(&mut self, reader: &TreeReader) -> Result<Option<Located>> {
        loop {
            if let Some(located) = self.entries.next() {
                return Ok(Some(located));
            }
            let Some(leaf) = self.leaves.next() else {
                return Ok(None);
            };
            self.entries = reader.leaf_entries(&leaf)?.into_iter();
        }
    }
}
