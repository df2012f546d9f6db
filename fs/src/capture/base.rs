//! The tree another one is built over: walking it, counting what goes from it, finding what stays.

use std::{collections::HashMap, vec};

use snap_store::{
    Draft, EntryName, LinkGroup, LinkTable, Located, Node, Result, TreeReader, TreeRef,
};

/// Entries read at once.
const BATCH: usize = 512;

/// Reads trees of a draft and what is published.
pub(super) type Reader<'a> = TreeReader<&'a Draft>;

/// A folder of the base and the position it has there.
#[derive(Clone, Copy, Debug)]
pub(super) struct BaseFolder {
    pub(super) tree: TreeRef,
    pub(super) position: u64,
}

impl BaseFolder {
    /// The folder that `located` is; `None` when it is something else.
    pub(super) fn of(located: &Located) -> Option<Self> {
        match located.entry.node {
            Node::Directory(tree) => Some(Self {
                tree,
                position: located.position,
            }),
            _ => None,
        }
    }
}

/// The entries of a folder in order of name, a batch in memory at a time.
#[derive(Debug)]
pub(super) struct Cursor<'r, 'a> {
    reader: &'r Reader<'a>,
    /// `None` at the end, and where there is no folder.
    folder: Option<BaseFolder>,
    batch: vec::IntoIter<Located>,
    next_index: u64,
}

impl<'r, 'a> Cursor<'r, 'a> {
    pub(super) fn new(reader: &'r Reader<'a>, folder: Option<BaseFolder>) -> Self {
        Self {
            reader,
            folder,
            batch: Vec::new().into_iter(),
            next_index: 0,
        }
    }

    /// The next entry if its name is less than `name`; any entry when that is `None`.
    pub(super) fn next_before(&mut self, name: Option<&EntryName>) -> Result<Option<Located>> {
        let is_before = |located: &Located| name.is_none_or(|name| located.entry.name < *name);
        Ok(match self.peek()? {
            Some(located) if is_before(located) => self.batch.next(),
            _ => None,
        })
    }

    /// The next entry if its name is `name`.
    pub(super) fn next_named(&mut self, name: &EntryName) -> Result<Option<Located>> {
        Ok(match self.peek()? {
            Some(located) if located.entry.name == *name => self.batch.next(),
            _ => None,
        })
    }

    /// The next entry, which stays the next.
    pub(super) fn peek(&mut self) -> Result<Option<&Located>> {
        if self.batch.len() == 0
            && let Some(BaseFolder { tree, position }) = self.folder
        {
            let batch = self
                .reader
                .entries(&tree, position, self.next_index, BATCH)?;
            self.next_index += batch.len() as u64;
            if batch.len() < BATCH {
                self.folder = None;
            }
            self.batch = batch.into_iter();
        }
        Ok(self.batch.as_slice().first())
    }
}

/// Adds up the sizes of files that go.
#[derive(Debug, Default)]
pub(super) struct Removal {
    bytes: u64,
    /// By first position of their group: size of a file and how many of its names go.
    linked: HashMap<u64, (u64, u32)>,
}

impl Removal {
    /// Counts `located` and everything below it.
    pub(super) fn add(
        &mut self,
        reader: &Reader<'_>,
        links: &LinkTable,
        located: &Located,
    ) -> Result<()> {
        self.add_file(links, located);
        let mut folders: Vec<_> = BaseFolder::of(located).into_iter().collect();
        while let Some(folder) = folders.pop() {
            let mut cursor = Cursor::new(reader, Some(folder));
            while let Some(located) = cursor.next_before(None)? {
                self.add_file(links, &located);
                folders.extend(BaseFolder::of(&located));
            }
        }
        Ok(())
    }

    /// What the sum of sizes loses: a file that has a name left stays.
    pub(super) fn bytes(&self, links: &LinkTable) -> u64 {
        let is_gone = |(first, (_, names)): &(&u64, &(u64, u32))| links.count(**first) <= *names;
        let linked = self.linked.iter().filter(is_gone);
        self.bytes + linked.map(|(_, (size, _))| size).sum::<u64>()
    }

    /// What all of it comes to, each file once.
    pub(super) fn all_bytes(&self) -> u64 {
        self.bytes + self.linked.values().map(|(size, _)| size).sum::<u64>()
    }

    fn add_file(&mut self, links: &LinkTable, located: &Located) {
        let Node::File { size, .. } = located.entry.node else {
            return;
        };
        if links.count(located.position) > 1 {
            let first = links.first(located.position);
            self.linked.entry(first).or_insert((size, 0)).1 += 1;
        } else {
            self.bytes += size;
        }
    }
}

/// Where the nodes of the base that stay stand in the new tree.
///
/// Whole runs of them move together, as neither their order nor what is below a folder that stays changes.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// (position in the base, number of nodes, position in the new tree)
    runs: Vec<(u64, u64, u64)>,
}

impl Moves {
    /// Says that `nodes` nodes from `from` on stand at `to` and after.
    pub(super) fn push(&mut self, from: u64, nodes: u64, to: u64) {
        self.runs.push((from, nodes, to));
    }

    /// The groups of `links` by their new positions, without the names that are gone.
    pub(super) fn apply(mut self, links: &LinkTable) -> Vec<LinkGroup> {
        self.runs.sort_unstable();
        let place = |position: u64| {
            let next = self.runs.partition_point(|(from, _, _)| *from <= position);
            let (from, nodes, to) = self.runs[next.checked_sub(1)?];
            (position - from < nodes).then(|| to + (position - from))
        };
        let move_group = |LinkGroup(positions)| group(positions.into_iter().filter_map(place));
        links.groups().into_iter().map(move_group).collect()
    }
}

/// A group of these positions, in order.
pub(super) fn group(positions: impl IntoIterator<Item = u64>) -> LinkGroup {
    let mut positions: Vec<_> = positions.into_iter().collect();
    positions.sort_unstable();
    LinkGroup(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stay_move_and_others_go() {
        let links = LinkTable::new(&[
            LinkGroup(vec![1, 5, 9]),
            LinkGroup(vec![2, 6]),
            LinkGroup(vec![3, 10]),
        ]);
        let mut moves = Moves::default();
        moves.push(8, 3, 20);
        moves.push(1, 4, 11);
        let moved = LinkTable::new(&moves.apply(&links));
        let expected = [LinkGroup(vec![11, 21]), LinkGroup(vec![13, 22])];
        assert_eq!(moved, LinkTable::new(&expected));
    }
}
