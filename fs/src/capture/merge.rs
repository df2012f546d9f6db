//! Two trees that came from one, put together: each change of either is in the result, and what both changed differently is told.
//!
//! A folder that only one side has changed is taken over by its digest. The time of change of a folder that both have changed something
//! in is the later one: it says nothing that could be lost.

use std::collections::BTreeMap;

use snap_store::{
    Draft, Entry, EntryName, Error, LinkGroup, LinkTable, Located, Manifest, Meta, Node, Progress,
    Result, TreeReader, TreeRef, TreeWriter,
};

use super::{
    CapturedTree,
    base::{BaseFolder, Cursor, Moves, Reader, group},
};

/// Folders within folders that both sides have changed something in.
const MAX_DEPTH: usize = 500;
/// Paths of conflicts that are told.
const MAX_CONFLICTS: usize = 1000;

/// What came of a merge.
#[derive(Clone, Debug)]
pub enum Merged {
    /// A tree with the changes of both.
    Whole(Box<CapturedTree>),
    /// The paths, as their names, that both have changed and not in the same way; a thousand at most.
    Conflicts(Vec<Vec<Vec<u8>>>),
}

/// Puts the changes that lead from `base` to `ours` and those that lead to `theirs` together.
pub(super) fn merge(
    draft: &Draft,
    base: &Manifest,
    ours: &Manifest,
    theirs: &Manifest,
    progress: &dyn Progress,
) -> Result<Merged> {
    let reader = TreeReader::over_draft(draft, base.root);
    let mut merger = Merger {
        draft,
        reader: &reader,
        progress,
        path: Vec::new(),
        conflicts: Vec::new(),
        ours: Moves::default(),
        theirs: Moves::default(),
    };
    let root_meta = meta(Some(&base.root_meta), &ours.root_meta, &theirs.root_meta);
    let root_meta = root_meta.unwrap_or_else(|| merger.conflict(&ours.root_meta));
    let top = |tree| Some(BaseFolder { tree, position: 0 });
    let root = merger.folder([top(base.root), top(ours.root), top(theirs.root)], 0)?;
    if !merger.conflicts.is_empty() {
        return Ok(Merged::Conflicts(merger.conflicts));
    }
    let mut groups = merger.ours.apply(&ours.links);
    groups.extend(merger.theirs.apply(&theirs.links));
    let links = LinkTable::new(&united(groups));
    let logical_bytes = logical_bytes(&reader, root, &links)?;
    Ok(Merged::Whole(Box::new(CapturedTree {
        root,
        root_meta,
        links,
        logical_bytes,
        warnings: Vec::new(),
    })))
}

struct Merger<'a> {
    draft: &'a Draft,
    reader: &'a Reader<'a>,
    progress: &'a dyn Progress,
    /// The folder that is being put together.
    path: Vec<Vec<u8>>,
    conflicts: Vec<Vec<Vec<u8>>>,
    /// Where nodes that are ours, and nodes that are theirs, stand in the result. What is both's is in both.
    ours: Moves,
    theirs: Moves,
}

impl Merger<'_> {
    /// Writes the folder that stands at `at` in the result.
    fn folder(&mut self, folders: [Option<BaseFolder>; 3], at: u64) -> Result<TreeRef> {
        if self.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if self.path.len() > MAX_DEPTH {
            return Err(Error::Limit {
                what: "Folders within folders that both sides have changed",
                limit: MAX_DEPTH as u64,
            });
        }
        let reader = self.reader;
        let mut cursors = folders.map(|folder| Cursor::new(reader, folder));
        let mut writer = TreeWriter::new(self.draft);
        let mut next = at + 1;
        while let Some(name) = first_name(&mut cursors)? {
            let [base, ours, theirs] = &mut cursors;
            let found = [
                base.next_named(&name)?,
                ours.next_named(&name)?,
                theirs.next_named(&name)?,
            ];
            self.path.push(name.as_bytes().to_vec());
            if let Some(entry) = self.entry(&found, next)? {
                next += entry.node.nodes();
                writer.push(&entry)?;
            }
            self.path.pop();
        }
        writer.finish()
    }

    /// What becomes of one name; it stands at `at` when it stays.
    fn entry(
        &mut self,
        [base, ours, theirs]: &[Option<Located>; 3],
        at: u64,
    ) -> Result<Option<Entry>> {
        let entry = |located: &Option<Located>| located.as_ref().map(|it| it.entry.clone());
        let is_same = |one, other| entry(one) == entry(other);
        let (by_us, by_them) = (!is_same(base, ours), !is_same(base, theirs));
        if is_same(ours, theirs) || !(by_us && by_them) {
            if let Some(ours) = ours.as_ref().filter(|_| by_us || !by_them) {
                self.ours.push(ours.position, ours.entry.node.nodes(), at);
            }
            if let Some(theirs) = theirs.as_ref().filter(|_| by_them || !by_us) {
                self.theirs
                    .push(theirs.position, theirs.entry.node.nodes(), at);
            }
            let taken = if by_us { ours } else { theirs };
            return Ok(taken.as_ref().map(|it| Entry::clone(&it.entry)));
        }
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            self.conflict(&());
            return Ok(None);
        };
        let (Some(our_folder), Some(their_folder)) = (BaseFolder::of(ours), BaseFolder::of(theirs))
        else {
            self.conflict(&());
            return Ok(None);
        };
        let base_meta = base.as_ref().map(|base| &base.entry.meta);
        let meta = meta(base_meta, &ours.entry.meta, &theirs.entry.meta);
        let meta = meta.unwrap_or_else(|| self.conflict(&ours.entry.meta));
        let base = base.as_ref().and_then(BaseFolder::of);
        let tree = self.folder([base, Some(our_folder), Some(their_folder)], at)?;
        Ok(Some(Entry {
            name: ours.entry.name.clone(),
            meta,
            node: Node::Directory(tree),
        }))
    }

    /// Notes that both have changed the path; returns what the result, which is thrown away, has there.
    fn conflict<T: Clone>(&mut self, stand_in: &T) -> T {
        if self.conflicts.len() < MAX_CONFLICTS {
            self.conflicts.push(self.path.clone());
        }
        stand_in.clone()
    }
}

/// The first name that one of the folders has.
fn first_name(cursors: &mut [Cursor<'_, '_>; 3]) -> Result<Option<EntryName>> {
    let mut first: Option<EntryName> = None;
    for cursor in cursors {
        if let Some(located) = cursor.peek()?
            && first
                .as_ref()
                .is_none_or(|first| located.entry.name < *first)
        {
            first = Some(located.entry.name.clone());
        }
    }
    Ok(first)
}

/// The metadata of a folder that both have changed something in; `None` when both have changed it itself, and differently.
fn meta(base: Option<&Meta>, ours: &Meta, theirs: &Meta) -> Option<Meta> {
    let modified = ours.modified.max(theirs.modified);
    let at_that_time = |meta: &Meta| Meta {
        modified,
        ..meta.clone()
    };
    let base = base.map(at_that_time);
    let (ours, theirs) = (at_that_time(ours), at_that_time(theirs));
    if ours == theirs || base.as_ref() == Some(&theirs) {
        return Some(ours);
    }
    (base.as_ref() == Some(&ours)).then_some(theirs)
}

/// Groups that have a name in common are one file.
fn united(groups: Vec<LinkGroup>) -> Vec<LinkGroup> {
    let mut all: Vec<Vec<u64>> = Vec::new();
    let mut group_of: BTreeMap<u64, usize> = BTreeMap::new();
    for LinkGroup(positions) in groups {
        let known = positions.iter().find_map(|at| group_of.get(at).copied());
        let index = known.unwrap_or_else(|| {
            all.push(Vec::new());
            all.len() - 1
        });
        for at in positions {
            if group_of.insert(at, index).is_none() {
                all[index].push(at);
            }
        }
    }
    all.into_iter().map(group).collect()
}

/// The sum of the sizes of files, each counted once whatever the number of its names.
fn logical_bytes(reader: &Reader<'_>, root: TreeRef, links: &LinkTable) -> Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![BaseFolder {
        tree: root,
        position: 0,
    }];
    while let Some(folder) = folders.pop() {
        let mut cursor = Cursor::new(reader, Some(folder));
        while let Some(located) = cursor.next_before(None)? {
            if let Node::File { size, .. } = located.entry.node
                && links.first(located.position) == located.position
            {
                bytes += size;
            }
            folders.extend(BaseFolder::of(&located));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
