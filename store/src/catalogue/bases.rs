//! Bases that were captured before. They are a cache: one that cannot be read back is captured again.

use rusqlite::{Row, params};

use super::{BaseRecord, Catalogue, Failure, rows};
use crate::{
    entry::{Meta, Timestamp, TreeRef, Xattr},
    error::Result,
    ids::Digest,
    links::{LinkGroup, LinkTable},
};

impl Catalogue {
    /// A remembered base; `key` names snapshotter, layer and its creation time.
    pub fn base(&self, key: &str) -> Result<Option<BaseRecord>> {
        self.read("read a base", |transaction| {
            let sql = "SELECT digest, nodes, mode, uid, gid, mtime_seconds, mtime_nanos, xattrs,
                       links, logical_bytes FROM bases WHERE key = ?";
            Ok(rows::collect(transaction, sql, [key], base)?.pop())
        })
    }

    /// The top pages of all remembered bases: roots for a collection.
    pub fn base_roots(&self) -> Result<Vec<Digest>> {
        self.read("read bases", |transaction| {
            let sql = "SELECT DISTINCT digest FROM bases";
            let root = |row: &Row<'_>| Ok(Digest::from_bytes(row.get(0)?));
            rows::collect(transaction, sql, [], root)
        })
    }

    /// Forgets the bases with this top page, because it cannot be read: they will be captured again.
    pub fn forget_bases(&self, root: &Digest) -> Result<()> {
        self.write("forget bases", |transaction| {
            transaction.execute("DELETE FROM bases WHERE digest = ?", [root.as_bytes()])?;
            Ok(())
        })
    }

    /// Remembers a base, in place of what was remembered by that key.
    pub fn put_base(&self, key: &str, base: &BaseRecord) -> Result<()> {
        self.write("remember a base", |transaction| {
            let meta = &base.root_meta;
            transaction.execute(
                "INSERT OR REPLACE INTO bases (key, digest, nodes, mode, uid, gid, mtime_seconds,
                 mtime_nanos, xattrs, links, logical_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    key,
                    base.root.digest.as_bytes(),
                    rows::stored(base.root.nodes),
                    meta.mode,
                    meta.uid,
                    meta.gid,
                    meta.modified.seconds,
                    meta.modified.nanoseconds,
                    encode_xattrs(&meta.xattrs),
                    encode_links(&base.links),
                    rows::stored(base.logical_bytes),
                ],
            )?;
            Ok(())
        })
    }
}

fn base(row: &Row<'_>) -> Result<BaseRecord, Failure> {
    let malformed = || Failure::Row("a base's attributes or links cannot be read".to_owned());
    let xattrs: Vec<u8> = row.get(7)?;
    let links: Vec<u8> = row.get(8)?;
    Ok(BaseRecord {
        root: TreeRef {
            digest: Digest::from_bytes(row.get(0)?),
            nodes: rows::count(row, 1)?,
        },
        root_meta: Meta {
            mode: row.get(2)?,
            uid: row.get(3)?,
            gid: row.get(4)?,
            modified: Timestamp {
                seconds: row.get(5)?,
                nanoseconds: row.get(6)?,
            },
            xattrs: decode_xattrs(&xattrs).ok_or_else(malformed)?,
        },
        links: decode_links(&links).ok_or_else(malformed)?,
        logical_bytes: rows::count(row, 9)?,
    })
}

/// Names and values in turn, each after its length in four bytes.
fn encode_xattrs(xattrs: &[Xattr]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in xattrs.iter().flat_map(|xattr| [&xattr.name, &xattr.value]) {
        let length = u32::try_from(field.len()).expect("an attribute is at most 64 KiB long");
        bytes.extend(length.to_le_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

fn decode_xattrs(mut bytes: &[u8]) -> Option<Vec<Xattr>> {
    let mut xattrs = Vec::new();
    while !bytes.is_empty() {
        let name = take_field(&mut bytes)?;
        let value = take_field(&mut bytes)?;
        xattrs.push(Xattr { name, value });
    }
    Some(xattrs)
}

fn take_field(bytes: &mut &[u8]) -> Option<Box<[u8]>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(field.into())
}

/// Groups in turn: the number of positions, then the positions, eight bytes each.
fn encode_links(links: &LinkTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    for LinkGroup(positions) in links.groups() {
        bytes.extend((positions.len() as u64).to_le_bytes());
        bytes.extend(positions.iter().flat_map(|position| position.to_le_bytes()));
    }
    bytes
}

fn decode_links(mut bytes: &[u8]) -> Option<LinkTable> {
    let mut groups = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (positions, rest) = rest.split_at_checked(length.checked_mul(8)?)?;
        let positions = positions.as_chunks::<8>().0;
        groups.push(LinkGroup(
            positions
                .iter()
                .map(|position| u64::from_le_bytes(*position))
                .collect(),
        ));
        bytes = rest;
    }
    bytes.is_empty().then(|| LinkTable::new(&groups))
}
