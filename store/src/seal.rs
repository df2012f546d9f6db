//! Sealed chunks: bytes that only who has a namespace's key can read (docs/format.md, "Sealed chunks").
//!
//! What lies in the store is an ordinary chunk whose bytes are an envelope: its digest is that of the envelope. So whoever keeps, copies,
//! compares or collects chunks needs no key and knows nothing of any. Sealing is a function of key and bytes alone, so equal bytes are one
//! chunk within a key, and under two keys have nothing in common.
//!
//! The nonce is a keyed hash of everything that is encrypted: it is met twice only with the same bytes, whichever release compressed them.

mod content;
mod folder;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod keys;

use std::fmt;

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

pub use self::{content::ContentSource, folder::KeyFolder};
use crate::{
    bytes::{Decoded, Fields},
    entry::TreeRef,
    error::{Error, Result},
    ids::{Digest, KeyId},
    pack::{Framer, MAX_CHUNK_BYTES, unpack},
};

const MAGIC: &[u8; 4] = b"SEAL";
const VERSION: u8 = 1;
/// The bytes within are as they are, and no zstd frame.
const FLAG_PLAIN: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// What is authenticated and not encrypted: everything before the nonce.
const FACTS_BYTES: usize = 20;
const HEADER_BYTES: usize = FACTS_BYTES + NONCE_BYTES;

/// What the keys of each use are derived for; part of the format.
const FOR_ID: &str = "snapshotd 2026-11-22 memory: id of the key";
const FOR_CIPHER: &str = "snapshotd 2026-11-22 memory: cipher";
const FOR_NONCES: &str = "snapshotd 2026-11-22 memory: nonces";
const FOR_MARKS: &str = "snapshotd 2026-11-22 memory: marks of trees";

/// A key, and all that is derived from it. It is wiped when it is dropped, and not shown.
pub struct SealKey {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    nonces: Zeroizing<[u8; 32]>,
    marks: Zeroizing<[u8; 32]>,
}

/// What a manifest says of a tree whose contents are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The key it takes.
    pub key: KeyId,
    /// What only who has the key can say of the tree.
    pub mark: Digest,
}

impl SealKey {
    /// Length of a secret in bytes.
    pub const SECRET_BYTES: usize = 32;

    /// The key of this secret.
    #[must_use]
    pub fn new(secret: &[u8; Self::SECRET_BYTES]) -> Self {
        let derive = |what| Zeroizing::new(blake3::derive_key(what, secret));
        let id = blake3::derive_key(FOR_ID, secret);
        let id = id.first_chunk().expect("it is longer than an id");
        Self {
            id: KeyId::from_bytes(*id),
            cipher: XChaCha20Poly1305::new((&*derive(FOR_CIPHER)).into()),
            nonces: derive(FOR_NONCES),
            marks: derive(FOR_MARKS),
        }
    }

    /// Its public name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What a manifest is to say of the tree `root`, whose files have so many bytes.
    #[must_use]
    pub fn seal(&self, root: &TreeRef, bytes: u64) -> Seal {
        Seal {
            key: self.id,
            mark: Digest::from_bytes(*self.mark(root, bytes).as_bytes()),
        }
    }

    /// True when `seal` was made of this tree by who has this key.
    #[must_use]
    pub fn vouches_for(&self, seal: &Seal, root: &TreeRef, bytes: u64) -> bool {
        // blake3's own comparison takes as long whatever the bytes.
        seal.key == self.id && self.mark(root, bytes) == *seal.mark.as_bytes()
    }

    fn mark(&self, root: &TreeRef, bytes: u64) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.marks);
        hasher.update(root.digest.as_bytes());
        hasher.update(&root.nodes.to_le_bytes());
        hasher.update(&bytes.to_le_bytes());
        hasher.finalize()
    }

    /// The bytes in an envelope, which is the chunk `digest`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is no envelope of this key's.
    pub fn open(&self, digest: &Digest, envelope: &[u8]) -> Result<Vec<u8>> {
        let corrupt = |why: &str| Error::Corrupt {
            what: "Sealed chunk",
            name: digest.to_string(),
            why: why.to_owned(),
        };
        let sealed = Envelope::decode(envelope).map_err(corrupt)?;
        if sealed.key != self.id {
            return Err(corrupt("it is sealed with another key than its snapshot"));
        }
        let mut bytes = sealed.body.to_vec();
        let opened = self.cipher.decrypt_inout_detached(
            &XNonce::from(sealed.nonce),
            sealed.facts,
            (&mut bytes[..]).into(),
            &Tag::from(sealed.tag),
        );
        if opened.is_err() {
            return Err(corrupt("it does not match its seal"));
        }
        match sealed.is_plain {
            true => Ok(bytes),
            false => unpack(&Zeroizing::new(bytes), sealed.raw_bytes)?
                .ok_or_else(|| corrupt("what is within cannot be decompressed")),
        }
    }

    fn nonce(&self, facts: &[u8], body: &[u8]) -> [u8; NONCE_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.nonces);
        hasher.update(facts);
        hasher.update(body);
        let hash = hasher.finalize();
        *hash.as_bytes().first_chunk().expect("it is longer")
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

/// Makes envelopes; holds what is worth keeping from one to the next.
pub(crate) struct Sealer<'a> {
    key: &'a SealKey,
    framer: Framer,
}

impl<'a> Sealer<'a> {
    /// A sealer with a context of its own.
    pub(crate) fn new(key: &'a SealKey) -> Result<Self> {
        Ok(Self {
            key,
            framer: Framer::new()?,
        })
    }

    /// The envelope of a chunk: compressed first, because what is encrypted cannot be.
    pub(crate) fn seal(&mut self, raw: &[u8]) -> Result<Vec<u8>> {
        let (body, is_plain) = self.framer.frame(raw)?;
        seal_body(self.key, body, raw.len(), is_plain)
    }
}

fn seal_body(key: &SealKey, body: &[u8], raw_bytes: usize, is_plain: bool) -> Result<Vec<u8>> {
    let length = u32::try_from(raw_bytes).ok();
    let length = length.filter(|length| *length <= MAX_CHUNK_BYTES);
    let length = length.ok_or(Error::Limit {
        what: "Chunk",
        limit: u64::from(MAX_CHUNK_BYTES),
    })?;
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + TAG_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[VERSION, u8::from(is_plain) * FLAG_PLAIN, 0, 0]);
    out.extend_from_slice(key.id.as_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    let nonce = key.nonce(&out, body);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(body);
    let (header, sealed) = out.split_at_mut(HEADER_BYTES);
    let tag = key
        .cipher
        .encrypt_inout_detached(&XNonce::from(nonce), &header[..FACTS_BYTES], sealed.into())
        .expect("a chunk is far shorter than what the cipher takes");
    out.extend_from_slice(&tag);
    Ok(out)
}

/// An envelope whose lengths are possible; nothing else of it is known yet.
struct Envelope<'a> {
    facts: &'a [u8],
    key: KeyId,
    is_plain: bool,
    raw_bytes: u32,
    nonce: [u8; NONCE_BYTES],
    body: &'a [u8],
    tag: [u8; TAG_BYTES],
}

impl<'a> Envelope<'a> {
    fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let (rest, tag) = bytes.split_last_chunk().ok_or("it is too short")?;
        let mut fields = Fields::new(rest);
        if fields.array().as_ref() != Ok(MAGIC) {
            return Err("it does not begin as one");
        }
        let [version, flags, zero, also_zero] = fields.array()?;
        if version != VERSION {
            return Err("a later release has written it, use that one");
        }
        if flags & !FLAG_PLAIN != 0 || [zero, also_zero] != [0, 0] {
            return Err("it has a flag nobody knows");
        }
        let key = KeyId::from_bytes(fields.array()?);
        let raw_bytes = fields.u32()?;
        let nonce = fields.array()?;
        let (facts, body) = (&rest[..FACTS_BYTES], &rest[HEADER_BYTES..]);
        let is_plain = flags == FLAG_PLAIN;
        let is_possible = raw_bytes <= MAX_CHUNK_BYTES
            && match is_plain {
                true => body.len() == raw_bytes as usize,
                false => body.len() < raw_bytes as usize,
            };
        match is_possible {
            true => Ok(Self {
                facts,
                key,
                is_plain,
                raw_bytes,
                nonce,
                body,
                tag: *tag,
            }),
            false => Err("it has impossible lengths"),
        }
    }
}

#[cfg(test)]
mod tests;
