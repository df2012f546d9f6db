//! Which packs are condemned, and since when; kept in a file so that a restart does not begin the grace period anew
//! (docs/format.md, "Tombstones").
//!
//! Nothing relies on the file: a pack goes only after a mark that found nothing needed in it, whatever was written here before.
//! A file that is missing or damaged therefore only makes the wait longer.

use std::{collections::BTreeMap, path::Path};

use tracing::warn;

use crate::{
    bytes::{Decoded, Fields},
    disk::{Disk, is_absent},
    error::Result,
    ids::{Digest, PackId},
    layout,
    store::Store,
};

const MAGIC: &[u8; 8] = b"snaptomb";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const ROW_BYTES: usize = PackId::LEN + 8;
/// A larger file is not read: 128 TiB of full packs.
const MAX_ROWS: u64 = 4 << 20;

/// Since when a pack is condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// In seconds since 1970, for the grace period.
    pub(super) since: i64,
    /// For leases; 0 when it was in the life of an earlier process, whose leases ended with it.
    pub(super) moment: u64,
}

/// The condemned packs.
pub(crate) type Tombstones = BTreeMap<PackId, Tombstone>;

/// Reads the file; nothing is condemned when it cannot be used.
pub(super) fn load(disk: &dyn Disk) -> Result<Tombstones> {
    let file = match disk.open(Path::new(layout::TOMBSTONES)) {
        Err(error) if is_absent(&error) => return Ok(Tombstones::new()),
        file => file?,
    };
    let length = file.length()?;
    let limit = (HEADER_BYTES + Digest::LEN) as u64 + MAX_ROWS * ROW_BYTES as u64;
    let mut bytes = vec![0; usize::try_from(length.min(limit)).expect("the limit is far smaller")];
    let filled = file.read_at(0, &mut bytes)?;
    match decode(&bytes[..filled]) {
        Ok(tombstones) => Ok(tombstones),
        Err(why) => {
            warn!(
                why,
                "The list of condemned packs cannot be used; they wait anew"
            );
            Ok(Tombstones::new())
        }
    }
}

/// Replaces the file; it is made in `folder`.
pub(super) fn save(store: &Store, folder: &Path, tombstones: &Tombstones) -> Result<()> {
    let disk = store.disk();
    let draft = folder.join(layout::TOMBSTONES);
    // Left by an attempt that the disk was too full for.
    disk.remove(&draft)?;
    let mut sink = disk.create(&draft)?;
    sink.append(&encode(tombstones))?;
    let latch = store.latch();
    latch.watch_unless_full(sink.sync())?;
    latch.watch_unless_full(disk.rename(&draft, Path::new(layout::TOMBSTONES)))?;
    latch.watch_unless_full(disk.sync_folder(Path::new(".")))
}

fn encode(tombstones: &Tombstones) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + tombstones.len() * ROW_BYTES + Digest::LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(tombstones.len() as u64).to_le_bytes());
    for (pack, tombstone) in tombstones {
        bytes.extend_from_slice(pack.as_bytes());
        bytes.extend_from_slice(&tombstone.since.to_le_bytes());
    }
    let check = Digest::of(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded<Tombstones> {
    let mut fields = Fields::new(bytes);
    if fields.array()? != *MAGIC {
        return Err("it does not begin as one");
    }
    if fields.u32()? != VERSION || fields.u32()? != 0 {
        return Err("its version is unknown");
    }
    let count = fields.u64()?;
    let rows_bytes = bytes.len().checked_sub(HEADER_BYTES + Digest::LEN);
    // Neither being known is no match: a file too short for its checksum, and a count beyond all numbers.
    let fits =
        rows_bytes.is_some_and(|bytes| Some(bytes as u64) == count.checked_mul(ROW_BYTES as u64));
    if !fits {
        return Err("its length does not match its rows");
    }
    let (body, check) = bytes.split_at(bytes.len() - Digest::LEN);
    if Digest::of(body).as_bytes().as_slice() != check {
        return Err("it does not match its checksum");
    }
    let mut tombstones = Tombstones::new();
    for _ in 0..count {
        let pack = PackId::from_bytes(fields.array()?);
        let since = fields.i64()?;
        tombstones.insert(pack, Tombstone { since, moment: 0 });
    }
    Ok(tombstones)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Tombstones {
        let moment = 0;
        let tombstone = |since| Tombstone { since, moment };
        (1..4u8)
            .map(|number| {
                (
                    PackId::from_bytes([number; 16]),
                    tombstone(i64::from(number) - 2),
                )
            })
            .collect()
    }

    #[test]
    fn tombstones_round_trip() {
        assert_eq!(decode(&encode(&some())), Ok(some()));
        assert_eq!(decode(&encode(&Tombstones::new())), Ok(Tombstones::new()));
    }

    #[test]
    fn no_flipped_or_missing_byte_goes_unnoticed() {
        let bytes = encode(&some());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x21;
            assert!(decode(&flipped).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
