//! Putting a part of one tree into another, at a path.

use snap_store::{
    Draft, Entry, EntryName, Error, LinkGroup, LinkTable, Located, Meta, Node, Result, TreeReader,
    TreeRef, TreeWriter,
};

use super::{
    CapturedTree, Part,
    base::{BaseFolder, Cursor, Moves, Reader, Removal},
};

/// Permissions of folders that have to be made on the way.
const NEW_FOLDER_MODE: u16 = 0o755;

/// Puts `part` at `path` of `tree`.
pub(super) fn put(
    draft: &Draft,
    tree: &CapturedTree,
    path: &[&[u8]],
    part: &Part,
) -> Result<CapturedTree> {
    if path.is_empty() {
        return Err(Error::Invalid {
            what: "path in a tree",
            why: "it names nothing below the root".to_owned(),
        });
    }
    let names = path.iter().map(|name| EntryName::new(*name));
    let names: Vec<EntryName> = names.collect::<Result<_>>()?;
    let reader = TreeReader::over_draft(draft, tree.root);
    let way = find_way(&reader, tree, &names)?;
    let (made, entry) = wrap(draft, &names[way.folders.len() - 1..], part)?;
    let mut removal = Removal::default();
    if let Some(replaced) = &way.replaced {
        removal.add(&reader, &tree.links, replaced)?;
    }
    let root = replace(draft, &reader, &way, entry)?;
    let place = Place {
        position: way.position,
        old_nodes: way
            .replaced
            .as_ref()
            .map_or(0, |old| old.entry.node.nodes()),
        made,
    };
    let mut warnings = tree.warnings.clone();
    warnings.extend(part.warnings.iter().cloned());
    Ok(CapturedTree {
        root,
        root_meta: tree.root_meta.clone(),
        links: place.links(tree, part),
        logical_bytes: tree
            .logical_bytes
            .saturating_sub(removal.bytes(&tree.links))
            + part.logical_bytes,
        warnings,
    })
}

/// The folders from the top to where the path ends or stops existing, and what is there.
struct Way {
    /// Each with its own name and metadata, of which the top's mean nothing.
    folders: Vec<(BaseFolder, Option<Located>)>,
    /// What has the next name in the last of them.
    replaced: Option<Located>,
    /// Where that is, or would be.
    position: u64,
}

fn find_way(reader: &Reader<'_>, tree: &CapturedTree, names: &[EntryName]) -> Result<Way> {
    let position = 0;
    let mut folder = BaseFolder {
        tree: tree.root,
        position,
    };
    let mut folders = vec![(folder, None)];
    for (depth, name) in names.iter().enumerate() {
        let found = reader.lookup(&folder.tree, folder.position, name.as_bytes())?;
        let is_last = depth + 1 == names.len();
        let (Some(located), false) = (&found, is_last) else {
            let position = match &found {
                Some(located) => located.position,
                None => position_of_new(reader, folder, name)?,
            };
            let replaced = found;
            return Ok(Way {
                folders,
                replaced,
                position,
            });
        };
        folder = BaseFolder::of(located).ok_or_else(|| not_a_folder(&names[..=depth]))?;
        folders.push((folder, found));
    }
    unreachable!("the last name returns")
}

/// Where an entry called `name` would stand in `folder`.
fn position_of_new(reader: &Reader<'_>, folder: BaseFolder, name: &EntryName) -> Result<u64> {
    let mut cursor = Cursor::new(reader, Some(folder));
    let mut position = folder.position + 1;
    while let Some(before) = cursor.next_before(Some(name))? {
        position = before.position + before.entry.node.nodes();
    }
    Ok(position)
}

/// The entry for `names[0]`: the part itself, or the first of the folders that lead to it. Says how many those are.
fn wrap(draft: &Draft, names: &[EntryName], part: &Part) -> Result<(u64, Entry)> {
    let mut entry: Option<Entry> = None;
    for name in names.iter().rev() {
        let (meta, node) = match entry {
            None => (part.meta.clone(), part.node.clone()),
            Some(inner) => {
                let mut writer = TreeWriter::new(draft);
                writer.push(&inner)?;
                let meta = Meta {
                    mode: NEW_FOLDER_MODE,
                    modified: part.meta.modified,
                    ..Meta::default()
                };
                (meta, Node::Directory(writer.finish()?))
            }
        };
        entry = Some(Entry {
            name: name.clone(),
            meta,
            node,
        });
    }
    let entry = entry.expect("a path that is not empty has a last name");
    Ok((names.len() as u64 - 1, entry))
}

/// Writes the folders of `way` again, from the last to the top, with `entry` in the last.
fn replace(draft: &Draft, reader: &Reader<'_>, way: &Way, mut entry: Entry) -> Result<TreeRef> {
    let mut root = reader.root();
    for (folder, located) in way.folders.iter().rev() {
        let tree = write_with(draft, reader, *folder, &entry)?;
        match located {
            Some(located) => {
                entry = Entry {
                    node: Node::Directory(tree),
                    ..Entry::clone(&located.entry)
                };
            }
            None => root = tree,
        }
    }
    Ok(root)
}

fn write_with(
    draft: &Draft,
    reader: &Reader<'_>,
    folder: BaseFolder,
    entry: &Entry,
) -> Result<TreeRef> {
    let mut writer = TreeWriter::new(draft);
    let mut cursor = Cursor::new(reader, Some(folder));
    while let Some(kept) = cursor.next_before(Some(&entry.name))? {
        writer.push(&kept.entry)?;
    }
    cursor.next_named(&entry.name)?;
    writer.push(entry)?;
    while let Some(kept) = cursor.next_before(None)? {
        writer.push(&kept.entry)?;
    }
    writer.finish()
}

/// Where nodes were replaced.
struct Place {
    position: u64,
    old_nodes: u64,
    /// Folders made above the part.
    made: u64,
}

impl Place {
    fn links(&self, tree: &CapturedTree, part: &Part) -> LinkTable {
        let after = self.position + self.old_nodes;
        let new_nodes = self.made + part.node.nodes();
        let mut moves = Moves::default();
        moves.push(0, self.position, 0);
        moves.push(after, tree.root.nodes - after, self.position + new_nodes);
        let mut groups = moves.apply(&tree.links);
        let start = self.position + self.made;
        let moved = |LinkGroup(positions): LinkGroup| {
            LinkGroup(positions.into_iter().map(|at| start + at).collect())
        };
        groups.extend(part.links.groups().into_iter().map(moved));
        LinkTable::new(&groups)
    }
}

fn not_a_folder(names: &[EntryName]) -> Error {
    let names: Vec<_> = names
        .iter()
        .map(|name| String::from_utf8_lossy(name.as_bytes()))
        .collect();
    Error::Invalid {
        what: "path in a tree",
        why: format!("/{} is not a folder in the tree", names.join("/")),
    }
}
