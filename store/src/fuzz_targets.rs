//! The decoders as a fuzzer sees them: bytes in, nothing out, and never a panic. Not part of the crate as others use it:
//! there with the feature `fuzz` alone, which `fuzz/` asks for, and in tests, which run each of these over its seeds.
//!
//! What is under a checksum is tried as it comes and once more with the checksum made right, because no fuzzer guesses one.

use std::sync::Arc;

use crate::{
    Digest, EntryName, LinkTable, Manifest, Meta, Namespace, PackId, Reference, SnapshotId,
    SnapshotName, Trace,
    collect::tombstones,
    disk::Source,
    entry::Entry,
    error::Result,
    index, list, pack,
    page::{ChunkBytes, PageSource},
    store::format,
    tree,
};

/// `store.format`.
pub fn format_file(bytes: &[u8]) {
    let _refused = format::decode(bytes);
    let mut sealed = bytes.to_vec();
    seal_end(&mut sealed);
    let _format = format::decode(&sealed);
}

/// A pack: header, records, trailer and frames.
pub fn pack(bytes: &[u8]) {
    pack::fuzz::pack(&Held(bytes.to_vec()));
    let mut sealed = bytes.to_vec();
    pack::fuzz::seal(&mut sealed);
    pack::fuzz::pack(&Held(sealed));
}

/// A record and the frame it names, compressed or plain.
pub fn frame(bytes: &[u8]) {
    pack::fuzz::frame(&Held(bytes.to_vec()), bytes);
}

/// An index segment.
pub fn segment(bytes: &[u8]) {
    index::fuzz::segment(Arc::new(Held(bytes.to_vec())), bytes);
    let mut sealed = bytes.to_vec();
    index::fuzz::seal(&mut sealed);
    index::fuzz::segment(Arc::new(Held(sealed.clone())), &sealed);
}

/// A page of a tree, and a tree of such pages.
pub fn tree_page(bytes: &[u8]) {
    tree::fuzz::page(bytes);
    let (nodes, pages) = Pages::split(bytes);
    tree::fuzz::tree(pages, nodes);
}

/// A page of an extent list, and a list of such pages.
pub fn list_page(bytes: &[u8]) {
    list::fuzz::page(bytes);
    let (size, pages) = Pages::split(bytes);
    list::fuzz::content(pages, size);
}

/// An entry; what is decoded is encoded to the same bytes.
pub fn entry(bytes: &[u8]) {
    if let Ok(entry) = Entry::decode(bytes) {
        let mut again = Vec::new();
        entry
            .encode(&mut again)
            .expect("what was decoded is within the limits");
        assert_eq!(again, bytes);
    }
    if let Ok(meta) = Meta::decode(bytes) {
        assert_eq!(
            meta.encode()
                .expect("what was decoded is within the limits"),
            bytes
        );
    }
}

/// A manifest; what is decoded is decoded once more from its own bytes.
pub fn manifest(bytes: &[u8]) {
    let _refused = Manifest::decode(bytes);
    let mut sealed = bytes.to_vec();
    if let Some(rest) = sealed.len().checked_sub(72) {
        let json = (rest as u64).min(u64::from_le_bytes(sealed[24..32].try_into().expect("8")));
        sealed[24..32].copy_from_slice(&json.to_le_bytes());
        sealed[32..40].copy_from_slice(&(rest as u64 - json).to_le_bytes());
        let check = Digest::of(&[&sealed[..40], &sealed[72..]].concat());
        sealed[40..72].copy_from_slice(check.as_bytes());
    }
    if let Ok(manifest) = Manifest::decode(&sealed) {
        let again = Manifest::decode(&manifest.encode()).expect("it was just encoded");
        assert_eq!(again, manifest);
    }
}

/// A link table; what is decoded is encoded to the same bytes.
pub fn link_table(bytes: &[u8]) {
    if let Ok(table) = LinkTable::decode(bytes) {
        assert_eq!(table.encode(), bytes);
        for group in table.groups() {
            let count = u32::try_from(group.0.len()).expect("a number of links");
            assert_eq!(table.count(group.0[0]), count);
        }
    }
}

/// The list of condemned packs.
pub fn tombstones(bytes: &[u8]) {
    let _refused = tombstones::decode(bytes);
    let mut sealed = bytes.to_vec();
    seal_end(&mut sealed);
    let _tombstones = tombstones::decode(&sealed);
}

/// The envelope of a sealed chunk and what is within; what was sealed is opened.
pub fn sealed(bytes: &[u8]) {
    crate::seal::fuzz::envelope(bytes);
}

/// A file of keys.
pub fn keys(bytes: &[u8]) {
    crate::seal::fuzz::keys(bytes);
}

/// What a mount is expected to need; what is decoded is encoded to the same bytes.
pub fn trace(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    seal_end(&mut sealed);
    for bytes in [bytes, &sealed] {
        if let Some(trace) = Trace::decode(bytes) {
            assert_eq!(trace.encode(), bytes);
        }
    }
}

/// Ids, names and references; what parses is shown as it parses again.
pub fn names(bytes: &[u8]) {
    let _name = EntryName::new(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<SnapshotName>() {
        assert_eq!(name.to_string().parse::<SnapshotName>().ok(), Some(name));
    }
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(
            reference.to_string().parse::<Reference>().ok(),
            Some(reference)
        );
    }
    if let Ok(namespace) = text.parse::<Namespace>() {
        assert_eq!(namespace.as_str(), text);
    }
    let _ids = (
        text.parse::<SnapshotId>(),
        text.parse::<PackId>(),
        text.parse::<Digest>(),
    );
}

/// Makes the checksum right that ends the bytes.
fn seal_end(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(Digest::LEN) {
        let check = Digest::of(&bytes[..at]);
        bytes[at..at + Digest::LEN].copy_from_slice(check.as_bytes());
    }
}

/// A file of these bytes.
#[derive(Debug)]
struct Held(Vec<u8>);

impl Source for Held {
    fn length(&self) -> Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn is_removed(&self) -> Result<bool> {
        Ok(false)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let begin = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.0.len());
        let filled = buffer.len().min(self.0.len() - begin);
        buffer[..filled].copy_from_slice(&self.0[begin..begin + filled]);
        Ok(filled)
    }
}

/// Pages that are found under any digest: the first byte of it says which, so that they lead to each other.
struct Pages(Vec<ChunkBytes>);

impl Pages {
    /// A number, then pages after their lengths.
    fn split(bytes: &[u8]) -> (u64, Self) {
        let Some((number, mut rest)) = bytes.split_first_chunk::<8>() else {
            return (1, Self(vec![ChunkBytes::new(bytes.to_vec())]));
        };
        let mut pages = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
            let (page, after) = after.split_at(length);
            pages.push(ChunkBytes::new(page.to_vec()));
            rest = after;
        }
        pages.push(ChunkBytes::new(rest.to_vec()));
        (u64::from_le_bytes(*number), Self(pages))
    }
}

impl PageSource for Pages {
    fn page(&self, digest: &Digest) -> Result<ChunkBytes> {
        let number = usize::from(digest.as_bytes()[0]) % self.0.len();
        Ok(Arc::clone(&self.0[number]))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every target gets through its seeds.
    fn run(target: &str, run: impl Fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        let files = fs::read_dir(seeds.join(target)).unwrap();
        let mut seeds = 0;
        for file in files {
            run(&fs::read(file.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0);
        for bytes in [&b""[..], &[0; 200], &[255; 200]] {
            run(bytes);
        }
    }

    #[test]
    fn targets_get_through_their_seeds() {
        run("format_file", super::format_file);
        run("pack", super::pack);
        run("frame", super::frame);
        run("segment", super::segment);
        run("tree_page", super::tree_page);
        run("list_page", super::list_page);
        run("entry", super::entry);
        run("manifest", super::manifest);
        run("link_table", super::link_table);
        run("tombstones", super::tombstones);
        run("trace", super::trace);
        run("names", super::names);
        run("sealed", super::sealed);
        run("keys", super::keys);
    }
}
