//! The file that says that a folder is a store, and which releases may use it (docs/format.md, "Store").

use std::path::Path;

use crate::{
    bytes::{Decoded, Fields},
    disk::{Disk, is_absent},
    error::{Error, Result},
    ids::Digest,
    layout,
    store::{Access, no_store},
};

const MAGIC: &[u8; 8] = b"snapstor";
const VERSION: u32 = 1;
/// Features this release knows, of the kinds that matter to those who do not: none.
const KNOWN_FEATURES: u32 = 0;
const FILE_BYTES: usize = 56;
const DRAFT: &str = "store.format.draft";

/// Makes the folders of a store and, last, the file that says so, unless it is there.
pub(super) fn ensure(disk: &dyn Disk) -> Result<()> {
    let path = Path::new(layout::FORMAT);
    match disk.open(path) {
        Err(error) if is_absent(&error) => {}
        opened => return opened.map(drop),
    }
    let _lock = disk.lock(Path::new(layout::LOCK))?;
    for folder in [
        layout::PACKS,
        layout::INDEX,
        layout::MANIFESTS,
        layout::DRAFTS,
    ] {
        disk.create_folder(Path::new(folder))?;
    }
    for first in 0..=u8::MAX {
        disk.create_folder(&layout::pack_folder(first))?;
    }
    disk.sync_folder(Path::new(layout::PACKS))?;
    // Before the file is there: whoever finds it relies on the folders.
    disk.sync_folder(Path::new("."))?;
    let draft = Path::new(layout::DRAFTS).join(DRAFT);
    disk.remove(&draft)?;
    let mut sink = disk.create(&draft)?;
    sink.append(&encode())?;
    sink.sync()?;
    disk.rename(&draft, path)?;
    disk.sync_folder(Path::new("."))
}

/// Fails unless there is a store that this release may use in this way.
pub(super) fn check(disk: &dyn Disk, access: Access) -> Result<()> {
    let file = match disk.open(Path::new(layout::FORMAT)) {
        Err(error) if is_absent(&error) => return Err(no_store(disk.root())),
        file => file?,
    };
    let mut bytes = [0; FILE_BYTES];
    let filled = file.read_at(0, &mut bytes)?;
    let name = disk.root().display().to_string();
    let found = decode(&bytes[..filled]).map_err(|why| Error::Corrupt {
        what: "Store",
        name: name.clone(),
        why: why.to_owned(),
    })?;
    let incompatible = |found, supported| Error::Incompatible {
        what: "Store",
        name,
        found,
        supported,
    };
    let unknown = match access {
        Access::ReadOnly => found.incompatible,
        Access::ReadWrite => found.incompatible | found.read_only,
    };
    if found.version != VERSION {
        return Err(incompatible(found.version, VERSION));
    }
    match unknown & !KNOWN_FEATURES {
        0 => Ok(()),
        unknown => Err(incompatible(unknown, KNOWN_FEATURES)),
    }
}

#[derive(Debug)]
pub(crate) struct Format {
    version: u32,
    incompatible: u32,
    read_only: u32,
}

fn encode() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    // Incompatible, read-only and compatible features.
    bytes.extend_from_slice(&[0; 12]);
    let check = Digest::of(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded<Format> {
    let mut fields = Fields::new(bytes);
    if fields.array()? != *MAGIC {
        return Err("its format file does not begin as one");
    }
    let format = Format {
        version: fields.u32()?,
        incompatible: fields.u32()?,
        read_only: fields.u32()?,
    };
    let _compatible = fields.u32()?;
    let check: [u8; 32] = fields.array()?;
    match Digest::of(&bytes[..FILE_BYTES - Digest::LEN]) == Digest::from_bytes(check) {
        true => Ok(format),
        false => Err("its format file does not match its checksum"),
    }
}
