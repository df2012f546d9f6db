//! Hard links: which nodes of a snapshot are one file.
//!
//! Trees hold no absolute numbers, so the groups stand beside them, by position in preorder
//! (the root folder is position 0). All names of a group share the number of its first position.

use crate::{
    bytes::{Decoded, Fields, put_varint},
    entry::MAX_NODES,
    error::{Error, Result},
};

/// The positions of one file, ascending, at least two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkGroup(pub Vec<u64>);

/// Every group of a snapshot; answers look-ups by position in logarithmic time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkTable {
    /// (position, first position of its group), sorted.
    members: Vec<(u64, u64)>,
    /// (first position, number of names), sorted.
    groups: Vec<(u64, u32)>,
}

impl LinkTable {
    /// The table of these groups; order does not matter.
    #[must_use]
    pub fn new(groups: &[LinkGroup]) -> Self {
        let mut table = Self::default();
        for LinkGroup(positions) in groups.iter().filter(|group| group.0.len() > 1) {
            let first = *positions.iter().min().expect("a group has two positions");
            table
                .members
                .extend(positions.iter().map(|position| (*position, first)));
            table
                .groups
                .push((first, u32::try_from(positions.len()).unwrap_or(u32::MAX)));
        }
        table.members.sort_unstable();
        table.groups.sort_unstable();
        table
    }

    /// The first position of the group `position` belongs to: itself when it is in none.
    #[must_use]
    pub fn first(&self, position: u64) -> u64 {
        match self
            .members
            .binary_search_by_key(&position, |member| member.0)
        {
            Ok(found) => self.members[found].1,
            Err(_) => position,
        }
    }

    /// Names of the file at `position`: 1 when it is in no group.
    #[must_use]
    pub fn count(&self, position: u64) -> u32 {
        let first = self.first(position);
        match self.groups.binary_search_by_key(&first, |group| group.0) {
            Ok(found) => self.groups[found].1,
            Err(_) => 1,
        }
    }

    /// The groups, by first position.
    #[must_use]
    pub fn groups(&self) -> Vec<LinkGroup> {
        let mut groups: std::collections::BTreeMap<u64, Vec<u64>> =
            std::collections::BTreeMap::new();
        for (position, first) in &self.members {
            groups.entry(*first).or_default().push(*position);
        }
        groups.into_values().map(LinkGroup).collect()
    }

    /// True when no file has two names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The last position of any group.
    pub(crate) fn last(&self) -> Option<u64> {
        self.members.last().map(|member| member.0)
    }

    /// The table as bytes (docs/format.md, "Link tables"): a few bytes a link.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.groups.len() as u64);
        let mut before = 0;
        for LinkGroup(positions) in self.groups() {
            put_varint(&mut out, positions[0] - before);
            before = positions[0];
            put_varint(&mut out, positions.len() as u64);
            for pair in positions.windows(2) {
                put_varint(&mut out, pair[1] - pair[0]);
            }
        }
        out
    }

    /// The table of these bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they are not what [`LinkTable::encode`] returns.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(Fields::new(bytes)).map_err(|why| Error::Corrupt {
            what: "Link table",
            name: "of a snapshot".to_owned(),
            why: why.to_owned(),
        })
    }

    fn read(mut fields: Fields<'_>) -> Decoded<Self> {
        let mut table = Self::default();
        let mut first = 0;
        for group in 0..fields.varint()? {
            let delta = fields.varint()?;
            if delta == 0 && group > 0 {
                return Err("its groups are not ascending");
            }
            first = add(first, delta)?;
            let count = u32::try_from(fields.varint()?).map_err(|_| "a group is too large")?;
            if count < 2 {
                return Err("a group has fewer than two links");
            }
            table.groups.push((first, count));
            table.members.push((first, first));
            let mut position = first;
            for _ in 1..count {
                let delta = fields.varint()?;
                if delta == 0 {
                    return Err("the links of a group are not ascending");
                }
                position = add(position, delta)?;
                table.members.push((position, first));
            }
        }
        fields.end()?;
        table.members.sort_unstable();
        if table.members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("a link is in two groups");
        }
        Ok(table)
    }
}

fn add(position: u64, delta: u64) -> Decoded<u64> {
    position
        .checked_add(delta)
        .filter(|sum| *sum < MAX_NODES)
        .ok_or("a position is out of bounds")
}
