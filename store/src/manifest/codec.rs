//! The manifest as bytes (docs/format.md, "Manifests"): a binary header, JSON for what people may read,
//! and the link table.
//!
//! The JSON types here are the form at rest; every field passes through its newtype's parser on the way in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bytes::{Decoded, Fields},
    entry::{MAX_NODES, Meta, Timestamp, TreeRef, Xattr},
    error::{Error, Result},
    links::LinkTable,
    manifest::{HostFacts, MAX_VERSION, Manifest, Origin, memory::BodyMemory},
};

const MAGIC: [u8; 8] = *b"SNAPMNF\0";
const VERSION: u32 = 1;
/// There is a tree of memory beside that of the files: whoever does not know of it would remove what it needs.
const MEMORY: u32 = 1;
/// The files of that tree are sealed: whoever does not know of it would serve what is encrypted in their place.
const SEALED: u32 = 2;
/// Incompatible features this release can use.
const KNOWN_FEATURES: u32 = MEMORY | SEALED;
const HEADER_BYTES: usize = 72;
const HASH: usize = 40;

/// Larger bodies are not read; containerd itself takes no specification beyond 16 MiB.
const MAX_JSON_BYTES: u64 = 64 << 20;
/// Room for some hundred million hard links.
const MAX_LINKS_BYTES: u64 = 256 << 20;

impl Manifest {
    /// The manifest as the bytes of its file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&Body::from(self))
            .expect("numbers, text and maps with text keys are always JSON");
        let links = self.links.encode();
        let mut out = Vec::with_capacity(HEADER_BYTES + json.len() + links.len());
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(features(self).to_le_bytes());
        out.extend([0; 8]);
        out.extend((json.len() as u64).to_le_bytes());
        out.extend((links.len() as u64).to_le_bytes());
        out.extend([0; HEADER_BYTES - HASH]);
        out.extend(json);
        out.extend(links);
        let hash = hash(&out);
        out[HASH..HEADER_BYTES].copy_from_slice(&hash);
        out
    }

    /// The manifest in the bytes of a file.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when a newer release wrote it, [`Error::Corrupt`] when it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let header = Header::decode(bytes).map_err(corrupt)?;
        if header.version != VERSION {
            return Err(incompatible(header.version, VERSION));
        }
        if header.incompatible_features & !KNOWN_FEATURES != 0 {
            return Err(incompatible(header.incompatible_features, KNOWN_FEATURES));
        }
        let (json, links) = header.parts(bytes).map_err(corrupt)?;
        let body: Body = serde_json::from_slice(json).map_err(|error| Error::Corrupt {
            what: "Manifest",
            name: "body".to_owned(),
            why: error.to_string(),
        })?;
        let links = LinkTable::decode(links)?;
        let manifest = body.check(links)?;
        if features(&manifest) & !header.incompatible_features != 0 {
            return Err(corrupt("it holds memory and does not say so"));
        }
        Ok(manifest)
    }
}

/// The incompatible features a manifest takes.
fn features(manifest: &Manifest) -> u32 {
    match manifest.memory_images() {
        None => 0,
        Some(images) if images.seal.is_none() => MEMORY,
        Some(_) => MEMORY | SEALED,
    }
}

fn corrupt(why: &'static str) -> Error {
    Error::Corrupt {
        what: "Manifest",
        name: "file".to_owned(),
        why: why.to_owned(),
    }
}

fn incompatible(found: u32, supported: u32) -> Error {
    Error::Incompatible {
        what: "Manifest",
        name: "file".to_owned(),
        found,
        supported,
    }
}

/// Everything but the field of the hash itself.
fn hash(file: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file[..HASH]);
    hasher.update(&file[HEADER_BYTES..]);
    *hasher.finalize().as_bytes()
}

struct Header {
    version: u32,
    incompatible_features: u32,
    json_bytes: u64,
    links_bytes: u64,
    hash: [u8; 32],
}

impl Header {
    fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut fields = Fields::new(bytes);
        if fields.array()? != MAGIC {
            return Err("it is no manifest");
        }
        let version = fields.u32()?;
        let incompatible_features = fields.u32()?;
        let _read_only_and_compatible_features: [u8; 8] = fields.array()?;
        Ok(Self {
            version,
            incompatible_features,
            json_bytes: fields.u64()?,
            links_bytes: fields.u64()?,
            hash: fields.array()?,
        })
    }

    fn parts<'a>(&self, file: &'a [u8]) -> Decoded<(&'a [u8], &'a [u8])> {
        if self.json_bytes > MAX_JSON_BYTES || self.links_bytes > MAX_LINKS_BYTES {
            return Err("it is larger than a manifest may be");
        }
        let mut fields = Fields::new(&file[HEADER_BYTES..]);
        let json = fields.bytes(self.json_bytes as usize)?;
        let links = fields.bytes(self.links_bytes as usize)?;
        fields.end()?;
        if hash(file) != self.hash {
            return Err("its checksum does not match");
        }
        Ok((json, links))
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    id: String,
    namespace: String,
    created_at: i64,
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    expires_at: Option<i64>,
    labels: BTreeMap<String, String>,
    root: BodyTree,
    root_meta: BodyMeta,
    logical_bytes: u64,
    stored_bytes: u64,
    pause_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<BodyMemory>,
    origin: Origin,
    host: HostFacts,
}

#[derive(Serialize, Deserialize)]
struct BodyTree {
    digest: String,
    nodes: u64,
}

#[derive(Serialize, Deserialize)]
struct BodyMeta {
    mode: u16,
    uid: u32,
    gid: u32,
    modified_seconds: i64,
    modified_nanoseconds: u32,
    /// Names and values in hexadecimal: neither need be text.
    xattrs: Vec<(String, String)>,
}

impl From<&Manifest> for Body {
    fn from(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.to_string(),
            namespace: manifest.namespace.to_string(),
            created_at: manifest.created_at,
            name: manifest.name.as_ref().map(ToString::to_string),
            version: manifest.version,
            expires_at: manifest.expires_at,
            labels: manifest.labels.clone(),
            root: BodyTree {
                digest: manifest.root.digest.to_string(),
                nodes: manifest.root.nodes,
            },
            root_meta: BodyMeta::from(&manifest.root_meta),
            logical_bytes: manifest.logical_bytes,
            stored_bytes: manifest.stored_bytes,
            pause_us: manifest.pause_us,
            memory: manifest.memory.as_ref().map(BodyMemory::from),
            origin: manifest.origin.clone(),
            host: manifest.host.clone(),
        }
    }
}

impl From<&Meta> for BodyMeta {
    fn from(meta: &Meta) -> Self {
        let pair = |xattr: &Xattr| (to_hex(&xattr.name), to_hex(&xattr.value));
        Self {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            modified_seconds: meta.modified.seconds,
            modified_nanoseconds: meta.modified.nanoseconds,
            xattrs: meta.xattrs.iter().map(pair).collect(),
        }
    }
}

impl Body {
    fn check(self, links: LinkTable) -> Result<Manifest> {
        let root = TreeRef {
            digest: self.root.digest.parse()?,
            nodes: self.root.nodes,
        };
        if !(1..=MAX_NODES).contains(&root.nodes) {
            return Err(corrupt("the number of its nodes is out of bounds"));
        }
        if links.last().is_some_and(|last| last >= root.nodes) {
            return Err(corrupt("a hard link in it is beyond its last node"));
        }
        if self
            .version
            .is_some_and(|version| !(1..=MAX_VERSION).contains(&version))
        {
            return Err(corrupt("the number of its version is out of bounds"));
        }
        let memory = self.memory.map(BodyMemory::check).transpose()?;
        let memory = memory.transpose().map_err(corrupt)?;
        Ok(Manifest {
            id: self.id.parse()?,
            namespace: self.namespace.parse()?,
            created_at: self.created_at,
            name: self.name.map(|name| name.parse()).transpose()?,
            version: self.version,
            expires_at: self.expires_at,
            labels: self.labels,
            root,
            root_meta: self.root_meta.check().map_err(corrupt)?,
            links,
            logical_bytes: self.logical_bytes,
            stored_bytes: self.stored_bytes,
            pause_us: self.pause_us,
            memory,
            origin: self.origin,
            host: self.host,
        })
    }
}

impl BodyMeta {
    fn check(self) -> Decoded<Meta> {
        let xattr = |(name, value): (String, String)| {
            Some(Xattr {
                name: from_hex(&name)?.into(),
                value: from_hex(&value)?.into(),
            })
        };
        let xattrs: Option<Vec<_>> = self.xattrs.into_iter().map(xattr).collect();
        let meta = Meta {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified: Timestamp {
                seconds: self.modified_seconds,
                nanoseconds: self.modified_nanoseconds,
            },
            xattrs: xattrs.ok_or("an extended attribute in it is not hexadecimal")?,
        };
        meta.check()?;
        Ok(meta)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(pair).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}
