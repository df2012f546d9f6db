//! Bases that were captured before. They are a cache: one that cannot be read back is captured again.

use rusqlite::{Row, params};

use super::{BaseLayer, BaseRecord, Catalogue, Failure, RememberedBase, rows};
use crate::{
    entry::{Meta, Timestamp, TreeRef, Xattr},
    error::Result,
    ids::Digest,
    links::{LinkGroup, LinkTable},
};

/// So many seconds after a use that was noted the next one is noted: each note is a sync, and what is given up was not used for a day.
const NOTED_FOR: i64 = 60 * 60;

impl Catalogue {
    /// A remembered base, and notes its use at `now` (seconds since 1970) to the hour: it is not forgotten by those who looked before it
    /// was noted. `key` names snapshotter, layer and its creation time.
    pub fn use_base(&self, key: &str, now: i64) -> Result<Option<BaseRecord>> {
        let found = self.read("read a base", |transaction| {
            let sql = format!("SELECT {COLUMNS}, last_used_at FROM bases WHERE key = ?");
            let noted = |row: &Row<'_>| Ok((base(row)?, row.get::<_, i64>(10)?));
            match rows::collect(transaction, &sql, [key], noted) {
                Err(Failure::Row(_)) => Ok(None),
                found => Ok(Some(found?.pop())),
            }
        })?;
        match found {
            Some(None) => Ok(None),
            Some(Some((base, noted))) if now.saturating_sub(noted) < NOTED_FOR => Ok(Some(base)),
            _ => self.note_use(key, now),
        }
    }

    fn note_use(&self, key: &str, now: i64) -> Result<Option<BaseRecord>> {
        self.write("note the use of a base", |transaction| {
            let sql = "UPDATE bases SET last_used_at = max(last_used_at, ?2) WHERE key = ?1";
            transaction.execute(sql, params![key, now])?;
            let sql = format!("SELECT {COLUMNS} FROM bases WHERE key = ?");
            match rows::collect(transaction, &sql, [key], base) {
                // It is a cache: the base is captured again.
                Err(Failure::Row(_)) => {
                    transaction.execute("DELETE FROM bases WHERE key = ?", [key])?;
                    Ok(None)
                }
                found => Ok(found?.pop()),
            }
        })
    }

    /// Forgets the bases with this top page, because it cannot be read: they will be captured again.
    pub fn forget_bases(&self, root: &Digest) -> Result<()> {
        self.write("forget bases", |transaction| {
            transaction.execute("DELETE FROM bases WHERE digest = ?", [root.as_bytes()])?;
            Ok(())
        })
    }

    /// Remembers the base of `layer`, in place of what was remembered by that key; `now` in seconds since 1970.
    pub fn put_base(
        &self,
        key: &str,
        base: &BaseRecord,
        layer: Option<&BaseLayer>,
        now: i64,
    ) -> Result<()> {
        self.write("remember a base", |transaction| {
            let meta = &base.root_meta;
            let text = |field: fn(&BaseLayer) -> &str| layer.map_or("", field);
            transaction.execute(
                "INSERT OR REPLACE INTO bases (key, namespace, snapshotter, layer, layer_created,
                 last_used_at, digest, nodes, mode, uid, gid, mtime_seconds, mtime_nanos, xattrs,
                 links, logical_bytes)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    key,
                    text(|layer| layer.namespace.as_str()),
                    text(|layer| &layer.snapshotter),
                    text(|layer| &layer.name),
                    text(|layer| &layer.created),
                    now,
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

    /// Every base that is remembered, by key: what they are made of is in use as long as they are here.
    pub fn bases(&self) -> Result<Vec<RememberedBase>> {
        self.read("list bases", |transaction| {
            let sql = "SELECT key, digest, nodes, namespace, snapshotter, layer, layer_created,
                       last_used_at FROM bases ORDER BY key";
            rows::collect(transaction, sql, [], remembered)
        })
    }

    /// Forgets those of `bases` that were not used after what they say, and returns how many.
    pub fn forget_unused_bases(&self, bases: &[RememberedBase]) -> Result<usize> {
        self.write("forget bases", |transaction| {
            let mut forgotten = 0;
            for base in bases {
                forgotten += transaction.execute(
                    "DELETE FROM bases WHERE key = ? AND last_used_at <= ?",
                    params![base.key, base.last_used_at],
                )?;
            }
            Ok(forgotten)
        })
    }
}

fn remembered(row: &Row<'_>) -> Result<RememberedBase, Failure> {
    let namespace: String = row.get(3)?;
    let layer = match namespace.is_empty() {
        true => None,
        false => Some(BaseLayer {
            namespace: rows::parsed(&namespace)?,
            snapshotter: row.get(4)?,
            name: row.get(5)?,
            created: row.get(6)?,
        }),
    };
    Ok(RememberedBase {
        key: row.get(0)?,
        root: TreeRef {
            digest: Digest::from_bytes(row.get(1)?),
            nodes: rows::count(row, 2)?,
        },
        layer,
        last_used_at: row.get(7)?,
    })
}

/// The columns [`base`] reads, in its order.
const COLUMNS: &str =
    "digest, nodes, mode, uid, gid, mtime_seconds, mtime_nanos, xattrs, links, logical_bytes";

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
