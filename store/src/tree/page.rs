//! One page of a folder (docs/format.md, "Tree pages").
//!
//! Rows are decoded when they are asked for: a look-up by name, position or number touches a few of them.

use std::ops::Range;

use crate::{
    bytes::{Decoded, array_at, u32_at, u64_at},
    entry::{Entry, MAX_NODES, encoded_name},
    ids::Digest,
    page::{HEADER_BYTES, Header, PageKind},
};

const ENTRIES: usize = HEADER_BYTES;
const NODES: usize = ENTRIES + 8;
const TABLE: usize = NODES + 8;
const LEAF_ROW_BYTES: usize = 12;
const BRANCH_ROW_BYTES: usize = 20;

/// Rows that will be a page: entries at level 0, pages above it.
#[derive(Debug, Default)]
pub(super) struct Rows {
    offsets: Vec<(u32, u64, u64)>,
    bodies: Vec<u8>,
    first_name: Box<[u8]>,
    entries: u64,
    nodes: u64,
}

/// A page by what the page above it says of it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) digest: Digest,
    /// `None` for a top page, of which nothing but its nodes is known.
    pub(super) place: Option<Place>,
    pub(super) nodes: u64,
}

/// Where a page that is no top page must belong.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) level: u8,
    pub(super) first_name: Box<[u8]>,
    pub(super) entries: u64,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes the page will take, but for a few.
    pub(super) fn page_bytes(&self) -> usize {
        self.bodies.len() + self.offsets.len() * BRANCH_ROW_BYTES
    }

    pub(super) fn nodes(&self) -> u64 {
        self.nodes
    }

    pub(super) fn first_name(&self) -> &[u8] {
        &self.first_name
    }

    pub(super) fn push_entry(&mut self, name: &[u8], encoded: &[u8], nodes: u64) {
        self.push(name, 1, nodes);
        self.bodies.extend(encoded);
    }

    pub(super) fn push_child(&mut self, digest: &Digest, child: &Self) {
        self.push(&child.first_name, child.entries, child.nodes);
        self.bodies.extend(digest.as_bytes());
        self.bodies.extend(&child.first_name);
    }

    fn push(&mut self, name: &[u8], entries: u64, nodes: u64) {
        if self.is_empty() {
            self.first_name = name.into();
        }
        let offset = self.bodies.len() as u32;
        self.offsets.push((offset, self.nodes, self.entries));
        self.entries += entries;
        self.nodes += nodes;
    }

    pub(super) fn encode(&self, level: u8) -> Vec<u8> {
        let row_bytes = row_bytes(level);
        let start = TABLE + self.offsets.len() * row_bytes;
        let mut page = Vec::with_capacity(start + self.bodies.len());
        let header = Header {
            kind: PageKind::Tree,
            level,
            count: self.offsets.len() as u32,
        };
        header.encode(&mut page);
        page.extend(self.entries.to_le_bytes());
        page.extend(self.nodes.to_le_bytes());
        for (offset, nodes, entries) in &self.offsets {
            page.extend((start as u32 + offset).to_le_bytes());
            page.extend(nodes.to_le_bytes());
            if level > 0 {
                page.extend(entries.to_le_bytes());
            }
        }
        page.extend(&self.bodies);
        page
    }
}

fn row_bytes(level: u8) -> usize {
    if level == 0 {
        LEAF_ROW_BYTES
    } else {
        BRANCH_ROW_BYTES
    }
}

/// A page, its rows decoded when they are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreePage<'a> {
    bytes: &'a [u8],
    count: usize,
    pub(super) level: u8,
    pub(super) total_entries: u64,
    total_nodes: u64,
}

impl<'a> TreePage<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let header = Header::decode(PageKind::Tree, bytes)?;
        let page = Self {
            bytes,
            count: header.count as usize,
            level: header.level,
            total_entries: u64_at(bytes, ENTRIES)?,
            total_nodes: u64_at(bytes, NODES)?,
        };
        if page.count > bytes.len().saturating_sub(TABLE) / row_bytes(page.level) {
            return Err("its rows do not fit into it");
        }
        if page.level == 0 && page.total_entries != u64::from(header.count) {
            return Err("its number of entries does not match");
        }
        if page.level > 0 && page.count == 0 {
            return Err("it is empty");
        }
        let is_empty = page.count == 0 && page.total_nodes == 0;
        let bounds = page.total_entries.max(u64::from(header.count))..MAX_NODES;
        if !is_empty && (page.total_entries == 0 || !bounds.contains(&page.total_nodes)) {
            return Err("its number of nodes is out of bounds");
        }
        Ok(page)
    }

    /// Decodes the page `child` describes, and checks that it is that one.
    pub(super) fn decode_child(child: &Child, bytes: &'a [u8]) -> Decoded<Self> {
        let page = Self::decode(bytes)?;
        if page.total_nodes != child.nodes {
            return Err("its number of nodes is not what is said of it above");
        }
        if let Some(place) = &child.place {
            if page.level != place.level || page.total_entries != place.entries {
                return Err("its level or number of entries is not what is said of it above");
            }
            if page.count == 0 || page.name(0)? != &*place.first_name {
                return Err("its first name is not what is said of it above");
            }
        }
        Ok(page)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn row(&self, index: usize) -> usize {
        TABLE + index * row_bytes(self.level)
    }

    fn body(&self, index: usize) -> Decoded<&'a [u8]> {
        let start = u32_at(self.bytes, self.row(index))? as usize;
        let end = if index + 1 < self.count {
            u32_at(self.bytes, self.row(index + 1))? as usize
        } else {
            self.bytes.len()
        };
        if start < self.row(self.count) {
            return Err("a row in it points into its table");
        }
        self.bytes
            .get(start..end)
            .ok_or("a row in it points beyond its end")
    }

    /// The name of an entry, or the first name of a page below.
    pub(super) fn name(&self, index: usize) -> Decoded<&'a [u8]> {
        let body = self.body(index)?;
        if self.level == 0 {
            return encoded_name(body);
        }
        body.get(Digest::LEN..)
            .ok_or("a row in it is shorter than a digest")
    }

    /// The nodes of a row, from 0 at the beginning of the page.
    pub(super) fn nodes(&self, index: usize) -> Decoded<Range<u64>> {
        self.span(index, 4, self.total_nodes)
    }

    /// The entries of a row, from 0 at the beginning of the page.
    pub(super) fn entries(&self, index: usize) -> Decoded<Range<u64>> {
        if self.level == 0 {
            return Ok(index as u64..index as u64 + 1);
        }
        self.span(index, 12, self.total_entries)
    }

    fn span(&self, index: usize, field: usize, total: u64) -> Decoded<Range<u64>> {
        let start = u64_at(self.bytes, self.row(index) + field)?;
        let end = if index + 1 < self.count {
            u64_at(self.bytes, self.row(index + 1) + field)?
        } else {
            total
        };
        if start >= end || end > total || (index == 0) != (start == 0) {
            return Err("its rows are not ascending");
        }
        Ok(start..end)
    }

    pub(super) fn entry(&self, index: usize) -> Decoded<Entry> {
        let entry = Entry::decode(self.body(index)?)?;
        let nodes = self.nodes(index)?;
        if entry.node.nodes() != nodes.end - nodes.start {
            return Err("the number of nodes of an entry does not match its row");
        }
        Ok(entry)
    }

    pub(super) fn child(&self, index: usize) -> Decoded<Child> {
        let nodes = self.nodes(index)?;
        let entries = self.entries(index)?;
        Ok(Child {
            digest: Digest::from_bytes(array_at(self.body(index)?, 0)?),
            nodes: nodes.end - nodes.start,
            place: Some(Place {
                level: self
                    .level
                    .checked_sub(1)
                    .ok_or("it has no pages below it")?,
                first_name: self.name(index)?.into(),
                entries: entries.end - entries.start,
            }),
        })
    }

    /// The last row whose name is not greater than `name`.
    pub(super) fn find_name(&self, name: &[u8]) -> Decoded<Option<usize>> {
        self.last_row(|index| Ok(self.name(index)? <= name))
    }

    /// The row that holds the node.
    pub(super) fn find_node(&self, node: u64) -> Decoded<Option<usize>> {
        self.last_row(|index| Ok(u64_at(self.bytes, self.row(index) + 4)? <= node))
    }

    /// The row that holds the entry.
    pub(super) fn find_entry(&self, entry: u64) -> Decoded<Option<usize>> {
        if self.level == 0 {
            return Ok(usize::try_from(entry).ok().filter(|row| *row < self.count));
        }
        self.last_row(|index| Ok(u64_at(self.bytes, self.row(index) + 12)? <= entry))
    }

    fn last_row(&self, is_before: impl Fn(usize) -> Decoded<bool>) -> Decoded<Option<usize>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }
}
