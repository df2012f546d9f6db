//! Two file trees, compared in everything a snapshot promises to keep.
//!
//! A tree is read once into memory, so that it can be compared with what is there later. It never follows a link and
//! never crosses into what is mounted below. What is not compared: access and change times, inode numbers (only which
//! names share one), sizes and link counts of folders, which file systems are free to choose.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::{CString, OsStr},
    fs::File,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, lgetxattr, llistxattr, open, openat, readlinkat,
    statat,
};
use snap_store::Digest;

const BLOCK_BYTES: usize = 1 << 20;
/// How much more a copy of a sparse file may take than the original, in bytes: file systems allocate as they like.
const ALLOCATION_SLACK_BYTES: u64 = 1 << 20;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
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
    /// Something else.
    Unknown,
}

/// Everything that is compared of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with suid, sgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of a file.
    pub size: u64,
    /// Modification time, seconds and nanoseconds.
    pub modified: (i64, u64),
    /// Number of names, unless it is a folder.
    pub links: u64,
    /// The first name of the same inode, when there are several.
    pub first_name: Option<PathBuf>,
    /// Device number.
    pub device: u64,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Offsets and digests of the blocks that are not all zero.
    pub content: Vec<(u64, Digest)>,
    /// Bytes it takes on its file system.
    pub allocated_bytes: u64,
}

/// A file tree in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// By path below the top; the top itself is the empty path.
    pub nodes: BTreeMap<PathBuf, Node>,
    names: HashMap<(u64, u64), BTreeSet<PathBuf>>,
}

impl Tree {
    /// Reads the tree below `folder`.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = open(folder, flags, Mode::empty())
            .with_context(|| format!("Open {}", folder.display()))?;
        tree.add(&top, c".", Path::new(""))?;
        tree.descend(&top, Path::new(""))?;
        tree.settle_first_names();
        Ok(tree)
    }

    /// The sum of the sizes of its files.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.nodes.values().map(|node| node.size).sum()
    }

    /// What differs in `other`, a line each; empty when nothing does.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, node) in &self.nodes {
            match other.nodes.get(path) {
                None => found.push(format!("{}: is missing", path.display())),
                Some(theirs) => found.extend(node.differences(path, theirs)),
            }
        }
        let added = other
            .nodes
            .keys()
            .filter(|path| !self.nodes.contains_key(*path));
        found.extend(added.map(|path| format!("{}: was not there", path.display())));
        found
    }

    /// The same tree without the names below `paths` and the times of the folders that hold them: what a starting
    /// container itself changes.
    #[must_use]
    pub fn without(mut self, paths: &[&str]) -> Self {
        let is_out = |path: &Path| paths.iter().any(|out| path.starts_with(out));
        self.nodes.retain(|path, _| !is_out(path));
        for parent in paths.iter().filter_map(|path| Path::new(path).parent()) {
            if let Some(node) = self.nodes.get_mut(parent) {
                node.modified = (0, 0);
            }
        }
        self
    }

    /// The same tree as a snapshot of it has it: a file has as many links as it has names here. Overlayfs still counts those
    /// of a lower file that the upper has replaced.
    #[must_use]
    pub fn with_links_inside(mut self) -> Self {
        let mut names = HashMap::<PathBuf, u64>::new();
        for first in self
            .nodes
            .values()
            .filter_map(|node| node.first_name.clone())
        {
            *names.entry(first).or_default() += 1;
        }
        for node in self.nodes.values_mut() {
            if let Some(first) = &node.first_name {
                node.links = names[first];
            }
            if node.links == 1 {
                node.first_name = None;
            }
        }
        self
    }

    fn descend(&mut self, folder: &OwnedFd, path: &Path) -> Result<()> {
        let shown = || format!("List {}", path.display());
        for entry in Dir::read_from(folder).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            let kind = self.add(folder, name, &below)?;
            if kind == Kind::Folder {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = openat(folder, name, flags, Mode::empty())
                    .with_context(|| format!("Open {}", below.display()))?;
                self.descend(&inner, &below)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &OwnedFd, name: &std::ffi::CStr, path: &Path) -> Result<Kind> {
        let shown = || format!("Read {}", path.display());
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).with_context(shown)?;
        let mut node = Node::of(&stat);
        node.xattrs = xattrs(folder, name).with_context(shown)?;
        match node.kind {
            Kind::Symlink => {
                let target = readlinkat(folder, name, Vec::new()).with_context(shown)?;
                node.target = target.into_bytes();
            }
            Kind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(folder, name, flags, Mode::empty()).with_context(shown)?;
                node.content = content(&File::from(file), node.size).with_context(shown)?;
            }
            _ => {}
        }
        if node.links > 1 {
            let names = self.names.entry((stat.st_dev, stat.st_ino)).or_default();
            names.insert(path.to_owned());
        }
        let kind = node.kind;
        self.nodes.insert(path.to_owned(), node);
        Ok(kind)
    }

    /// Folders are listed in any order, so the first name is known only at the end.
    fn settle_first_names(&mut self) {
        for names in std::mem::take(&mut self.names).into_values() {
            let first = names.first().cloned();
            for name in &names {
                if let Some(node) = self.nodes.get_mut(name) {
                    node.first_name.clone_from(&first);
                }
            }
        }
    }
}

impl Node {
    fn of(stat: &Stat) -> Self {
        let kind = kind(stat);
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == Kind::File {
                stat.st_size.cast_unsigned()
            } else {
                0
            },
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            links: if kind == Kind::Folder {
                1
            } else {
                stat.st_nlink
            },
            first_name: None,
            device: if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
                stat.st_rdev
            } else {
                0
            },
            target: Vec::new(),
            xattrs: BTreeMap::new(),
            content: Vec::new(),
            allocated_bytes: stat.st_blocks.cast_unsigned() * 512,
        }
    }

    fn differences(&self, path: &Path, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.facts(), other.facts());
        let mut found: Vec<String> = ours
            .iter()
            .zip(&theirs)
            .filter(|(ours, theirs)| ours != theirs)
            .map(|((what, ours), (_, theirs))| {
                format!("{}: {what} was {ours}, is {theirs}", path.display())
            })
            .collect();
        if self.content != other.content {
            found.push(format!("{}: content differs", path.display()));
        }
        let allowed = (self.allocated_bytes + ALLOCATION_SLACK_BYTES).max(self.size / 2);
        if other.allocated_bytes > allowed {
            let (ours, theirs) = (self.allocated_bytes, other.allocated_bytes);
            found.push(format!(
                "{}: took {ours} bytes, takes {theirs}",
                path.display()
            ));
        }
        found
    }

    fn facts(&self) -> [(&'static str, String); 10] {
        [
            ("kind", format!("{:?}", self.kind)),
            ("mode", format!("{:04o}", self.mode)),
            ("owner", format!("{}:{}", self.uid, self.gid)),
            ("size", self.size.to_string()),
            ("time", format!("{:?}", self.modified)),
            ("links", self.links.to_string()),
            ("first name", format!("{:?}", self.first_name)),
            ("device", self.device.to_string()),
            ("target", self.target.escape_ascii().to_string()),
            ("attributes", format!("{:?}", self.xattrs)),
        ]
    }
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => Kind::Unknown,
    }
}

/// Through `/proc`, because a path may be longer than the kernel takes at once, and nodes that are not files cannot be opened.
fn xattrs(folder: &OwnedFd, name: &std::ffi::CStr) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend(name.to_bytes());
    let path = CString::new(path).context("A name has no zero byte")?;
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(&path, names.as_mut_slice()).context("List attributes")?;
    let mut found = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(&path, name, value.as_mut_slice()).context("Read an attribute")?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

fn content(file: &File, size: u64) -> Result<Vec<(u64, Digest)>> {
    let mut blocks = Vec::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    while offset < size {
        offset = next_data(file, offset, size) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let length = read_block(file, &mut buffer, offset)?;
        if buffer[..length].iter().any(|byte| *byte != 0) {
            blocks.push((offset, Digest::of(&buffer[..length])));
        }
        offset += BLOCK_BYTES as u64;
    }
    Ok(blocks)
}

fn read_block(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Where data begins at or after `offset`; the end of the file when there is none.
fn next_data(file: &File, offset: u64, size: u64) -> u64 {
    let fd: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(file);
    match rustix::fs::seek(fd, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(rustix::io::Errno::NXIO) => size,
        Err(_) => offset,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_equals_itself() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "two").unwrap();
        fs::hard_link(folder.path().join("b"), folder.path().join("a")).unwrap();
        let tree = Tree::read(folder.path()).unwrap();
        assert_eq!(
            tree.nodes[Path::new("b")].first_name.as_deref(),
            Some(Path::new("a"))
        );
        assert_eq!(
            tree.differences(&Tree::read(folder.path()).unwrap()),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_change_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("changed"), "one").unwrap();
        fs::write(folder.path().join("gone"), "").unwrap();
        let before = Tree::read(folder.path()).unwrap();
        fs::write(folder.path().join("changed"), "two").unwrap();
        fs::rename(folder.path().join("gone"), folder.path().join("new")).unwrap();
        let told = before
            .differences(&Tree::read(folder.path()).unwrap())
            .join("\n");
        for claim in [
            "changed: content differs",
            "gone: is missing",
            "new: was not there",
            ": time was",
        ] {
            assert!(told.contains(claim), "{claim} is not in {told}");
        }
    }
}
