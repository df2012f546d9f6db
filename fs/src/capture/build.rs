//! From what the second pass found to trees.
//!
//! Folders have smaller numbers than what is below them, so one run down finds the base's folder for each, one run up
//! writes the trees, and one more run down knows every position. Of the base only folders that the layer has too are
//! read, and, for the sum of sizes, what the layer removes; everything else is taken over by its digest.

use std::mem;

use snap_store::{
    BaseRecord, Content, Draft, Entry, EntryName, LinkGroup, LinkTable, Located, Node, Progress,
    Result, TreeReader, TreeRef, TreeWriter,
};

use super::{
    CapturedTree, Scan, StatCache,
    base::{BaseFolder, Cursor, Moves, Reader, Removal, group},
    scanned::{ScannedEntry, ScannedFolder, ScannedNode},
};

/// Writes the trees of `scan`.
pub(super) fn build(
    draft: &Draft,
    scan: Scan,
    base: Option<&BaseRecord>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<CapturedTree> {
    progress.phase("write");
    let contents = match scan.spool {
        Some(spool) => spool.put_all(draft, progress)?,
        None => Vec::new(),
    };
    for (id, known) in scan.learnt {
        cache.put(id, known);
    }
    let root_meta = scan.folders[0].meta.clone();
    let base = base.filter(|_| !scan.folders[0].is_opaque);
    let mut builder = Builder {
        draft,
        base: base.map(|base| Base {
            reader: TreeReader::over_draft(draft, base.root),
            links: &base.links,
            removal: Removal::default(),
        }),
        contents: &contents,
        bases: vec![None; scan.folders.len()],
        trees: vec![None; scan.folders.len()],
        layouts: Vec::new(),
        sizes: vec![None; scan.groups as usize],
        bytes: 0,
    };
    builder.find_bases(&scan.folders, base.map(|base| base.root))?;
    let root = builder.write_all(scan.folders, progress)?;
    let logical_bytes = builder.logical_bytes(base.map_or(0, |base| base.logical_bytes));
    Ok(CapturedTree {
        root,
        root_meta,
        links: builder.links(),
        logical_bytes,
        warnings: scan.warnings.into_told(),
    })
}

struct Base<'a> {
    reader: Reader<'a>,
    links: &'a LinkTable,
    removal: Removal,
}

struct Builder<'a> {
    draft: &'a Draft,
    base: Option<Base<'a>>,
    /// Of what was kept aside, with their sizes.
    contents: &'a [(Content, u64)],
    /// The base's folder under each folder.
    bases: Vec<Option<BaseFolder>>,
    /// What each folder has become.
    trees: Vec<Option<TreeRef>>,
    /// What each folder consists of, the last folder's first.
    layouts: Vec<Vec<Piece>>,
    /// Size of the file that each group is.
    sizes: Vec<Option<u64>>,
    /// Sum of the sizes of files with one name.
    bytes: u64,
}

/// A run of nodes in a folder.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// Nodes of the base that stay.
    Base { position: u64, nodes: u64 },
    /// New names.
    New { nodes: u64 },
    /// One new name of a group.
    Linked { group: u32 },
    /// The folder of this number.
    Folder { number: usize },
}

impl Builder<'_> {
    /// Finds the base's folder for every folder that does not hide it.
    fn find_bases(&mut self, folders: &[ScannedFolder], root: Option<TreeRef>) -> Result<()> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        let position = 0;
        self.bases[0] = root.map(|tree| BaseFolder { tree, position });
        for (number, folder) in folders.iter().enumerate() {
            let Some(BaseFolder { tree, position }) = self.bases[number] else {
                continue;
            };
            for entry in &folder.entries {
                let ScannedNode::Folder(child) = entry.node else {
                    continue;
                };
                if !folders[child].is_opaque {
                    let name = entry.name.as_bytes();
                    let found = base.reader.lookup(&tree, position, name)?;
                    self.bases[child] = found.as_ref().and_then(BaseFolder::of);
                }
            }
        }
        Ok(())
    }

    /// Writes every folder, the last first, and returns the top.
    fn write_all(
        &mut self,
        mut folders: Vec<ScannedFolder>,
        progress: &dyn Progress,
    ) -> Result<TreeRef> {
        loop {
            if progress.is_cancelled() {
                return Err(snap_store::Error::Cancelled);
            }
            // What is below it is written and is no longer needed but for its metadata.
            let number = folders.len() - self.layouts.len() - 1;
            let mut entries = mem::take(&mut folders[number].entries);
            entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            let tree = self.write(number, entries, &folders)?;
            self.trees[number] = Some(tree);
            if number == 0 {
                return Ok(tree);
            }
        }
    }

    fn write(
        &mut self,
        number: usize,
        entries: Vec<ScannedEntry>,
        folders: &[ScannedFolder],
    ) -> Result<TreeRef> {
        let mut output = Output {
            writer: TreeWriter::new(self.draft),
            layout: Vec::new(),
        };
        let mut base = self.base.take();
        let reader = base.as_ref().map(|base| base.reader.clone());
        let mut cursor = reader
            .as_ref()
            .map(|reader| Cursor::new(reader, self.bases[number]));
        for scanned in entries {
            if let (Some(base), Some(cursor)) = (&mut base, &mut cursor) {
                output.keep_until(cursor, Some(&scanned.name))?;
                let covered = cursor.next_named(&scanned.name)?;
                if let Some(covered) = covered.filter(|_| !self.is_merged(&scanned.node)) {
                    base.removal.add(&base.reader, base.links, &covered)?;
                }
            }
            self.write_one(&mut output, scanned, folders)?;
        }
        if let Some(cursor) = &mut cursor {
            output.keep_until(cursor, None)?;
        }
        self.base = base;
        self.layouts.push(output.layout);
        output.writer.finish()
    }

    /// True for a folder that shows what the base has in it.
    fn is_merged(&self, node: &ScannedNode) -> bool {
        matches!(node, ScannedNode::Folder(child) if self.bases[*child].is_some())
    }

    fn write_one(
        &mut self,
        output: &mut Output<'_>,
        scanned: ScannedEntry,
        folders: &[ScannedFolder],
    ) -> Result<()> {
        let ScannedEntry {
            name, meta, node, ..
        } = scanned;
        let node = match node {
            ScannedNode::Whiteout => return Ok(()),
            ScannedNode::Folder(number) => {
                let Some(tree) = self.trees[number] else {
                    unreachable!("a folder is written after what is in it");
                };
                output.layout.push(Piece::Folder { number });
                let meta = folders[number].meta.clone();
                let node = Node::Directory(tree);
                return output.writer.push(&Entry { name, meta, node });
            }
            ScannedNode::Ready(node) => node,
            ScannedNode::Kept { number, linked } => {
                let (content, size) = self.contents[number];
                Node::File {
                    size,
                    content,
                    linked,
                }
            }
        };
        let size = match node {
            Node::File { size, .. } => size,
            _ => 0,
        };
        match scanned.group {
            Some(group) => {
                self.sizes[group as usize] = Some(size);
                output.layout.push(Piece::Linked { group });
            }
            None => {
                self.bytes += size;
                output.add_new();
            }
        }
        output.writer.push(&Entry { name, meta, node })
    }

    fn logical_bytes(&self, base_bytes: u64) -> u64 {
        let removed = self
            .base
            .as_ref()
            .map_or(0, |base| base.removal.bytes(base.links));
        let linked: u64 = self.sizes.iter().flatten().sum();
        base_bytes.saturating_sub(removed) + self.bytes + linked
    }

    /// Finds the position of every name that shares its inode.
    fn links(&self) -> LinkTable {
        let mut moves = Moves::default();
        let mut groups = vec![Vec::new(); self.sizes.len()];
        let mut positions = vec![0; self.trees.len()];
        for (number, layout) in self.layouts.iter().rev().enumerate() {
            let mut at = positions[number] + 1;
            for piece in layout {
                at += match *piece {
                    Piece::Base { position, nodes } => {
                        moves.push(position, nodes, at);
                        nodes
                    }
                    Piece::New { nodes } => nodes,
                    Piece::Linked { group } => {
                        groups[group as usize].push(at);
                        1
                    }
                    Piece::Folder { number } => {
                        positions[number] = at;
                        self.trees[number].map_or(0, |tree| tree.nodes)
                    }
                };
            }
        }
        let mut all: Vec<LinkGroup> = groups.into_iter().map(group).collect();
        if let Some(base) = &self.base {
            all.extend(moves.apply(base.links));
        }
        LinkTable::new(&all)
    }
}

/// A folder being written.
struct Output<'a> {
    writer: TreeWriter<'a>,
    layout: Vec<Piece>,
}

impl Output<'_> {
    /// Takes over the base's entries before `name`, or all.
    fn keep_until(&mut self, cursor: &mut Cursor<'_, '_>, name: Option<&EntryName>) -> Result<()> {
        while let Some(kept) = cursor.next_before(name)? {
            self.keep(&kept)?;
        }
        Ok(())
    }

    /// Takes over an entry of the base with all that is below it.
    fn keep(&mut self, located: &Located) -> Result<()> {
        let more = located.entry.node.nodes();
        match self.layout.last_mut() {
            Some(Piece::Base { position, nodes }) if *position + *nodes == located.position => {
                *nodes += more;
            }
            _ => self.layout.push(Piece::Base {
                position: located.position,
                nodes: more,
            }),
        }
        self.writer.push(&located.entry)
    }

    fn add_new(&mut self) {
        match self.layout.last_mut() {
            Some(Piece::New { nodes }) => *nodes += 1,
            _ => self.layout.push(Piece::New { nodes: 1 }),
        }
    }
}
