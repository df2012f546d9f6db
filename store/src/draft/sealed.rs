//! Files that are sealed as they are put: cut as ever, compressed and encrypted, and only then looked up, because what has a digest is
//! the envelope. So all of that is done at each capture, on every core, and what is stored is what has changed.

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::atomic::Ordering,
    thread,
};

use super::{
    Draft,
    cut::{Piece, ReaderFeed},
    pages::PageCutter,
    pipeline::Kind,
};
use crate::{
    entry::Content,
    error::{Error, Result},
    ids::Digest,
    list::ListWriter,
    progress::Progress,
    seal::{SealKey, Sealer},
};

/// Bytes that are shared out among threads at once: enough for a dozen chunks each.
const BATCH_BYTES: usize = 8 << 20;

/// A piece of a file that is kept while others are cut.
enum Held {
    Chunk(Vec<u8>),
    Hole(u64),
}

type NextPiece<'a> = dyn FnMut() -> io::Result<Option<Held>> + 'a;

impl Draft {
    /// As [`Draft::put_pages`], sealed with `key`.
    pub fn put_sealed_pages(
        &self,
        key: &SealKey,
        reader: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<(Content, u64)> {
        let mut cutter = PageCutter::new(reader);
        let mut next = || -> io::Result<_> { Ok(cutter.next()?.map(Held::of)) };
        self.put_sealed(key, &mut next, progress)
    }

    /// As [`Draft::put_content`], sealed with `key`.
    pub fn put_sealed_content(
        &self,
        key: &SealKey,
        reader: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<(Content, u64)> {
        let mut cutter = self.take_cutter();
        let mut feed = ReaderFeed(reader);
        let mut next = || -> io::Result<_> { Ok(cutter.next(&mut feed)?.map(Held::of)) };
        let put = self.put_sealed(key, &mut next, progress);
        cutter.reset();
        self.cutters().push(cutter);
        put
    }

    fn put_sealed(
        &self,
        key: &SealKey,
        next: &mut NextPiece<'_>,
        progress: &dyn Progress,
    ) -> Result<(Content, u64)> {
        let mut put_page = |page| self.put_meta(page);
        let mut list = ListWriter::new(&mut put_page);
        let mut length = 0;
        loop {
            let batch = gather(next).map_err(Error::io("read", PathBuf::from("memory")))?;
            if batch.is_empty() {
                return Ok((list.finish()?, length));
            }
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let mut digests = self.seal_all(key, &batch)?.into_iter();
            for piece in &batch {
                length += self.note_piece(&mut list, piece, &mut digests, progress)?;
            }
        }
    }

    /// Adds a piece to its file's list; the next of `digests` is that of a chunk.
    fn note_piece(
        &self,
        list: &mut ListWriter<'_>,
        piece: &Held,
        digests: &mut impl Iterator<Item = Digest>,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let raw = match piece {
            Held::Hole(zeros) => {
                list.push_hole(*zeros)?;
                return Ok(*zeros);
            }
            Held::Chunk(raw) => raw,
        };
        let digest = digests.next().expect("every chunk was sealed");
        let raw_bytes = u32::try_from(raw.len()).expect("a chunk is far smaller");
        list.push_chunk(digest, raw_bytes)?;
        self.read_bytes
            .fetch_add(u64::from(raw_bytes), Ordering::Relaxed);
        progress.advance(0, u64::from(raw_bytes));
        Ok(u64::from(raw_bytes))
    }

    /// Seals the chunks of a batch on every core and puts them; their digests are in the order of the chunks.
    fn seal_all(&self, key: &SealKey, batch: &[Held]) -> Result<Vec<Digest>> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let part = batch.len().div_ceil(cores).max(1);
        thread::scope(|scope| {
            let mut parts = batch.chunks(part);
            let first = parts.next().unwrap_or_default();
            let others = parts.map(|part| {
                let seal = move || self.seal_part(key, part);
                thread::Builder::new()
                    .name("seal".to_owned())
                    .spawn_scoped(scope, seal)
                    .map_err(Error::io("start a thread for", PathBuf::from("memory")))
            });
            let others = others.collect::<Result<Vec<_>>>()?;
            let mut digests = self.seal_part(key, first)?;
            for other in others {
                match other.join() {
                    Ok(part) => digests.extend(part?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(digests)
        })
    }

    fn seal_part(&self, key: &SealKey, pieces: &[Held]) -> Result<Vec<Digest>> {
        let mut sealer = Sealer::new(key)?;
        let mut digests = Vec::new();
        for piece in pieces {
            if let Held::Chunk(raw) = piece {
                let envelope = sealer.seal(raw)?;
                let digest = Digest::of(&envelope);
                digests.push(self.put(digest, Kind::Sealed, || envelope)?);
            }
        }
        Ok(digests)
    }
}

impl Held {
    fn of(piece: Piece<'_>) -> Self {
        match piece {
            Piece::Chunk(raw) => Self::Chunk(raw.to_vec()),
            Piece::Hole(zeros) => Self::Hole(zeros),
        }
    }
}

/// The next pieces, of some megabytes in all; none at the end.
fn gather(next: &mut NextPiece<'_>) -> io::Result<Vec<Held>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH_BYTES {
        let Some(piece) = next()? else { break };
        // A hole is not free to keep either.
        bytes += match &piece {
            Held::Chunk(raw) => raw.len(),
            Held::Hole(_) => size_of::<Held>(),
        };
        batch.push(piece);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::doubles::MemoryDisk,
        ids::SnapshotId,
        progress::Silent,
        store::{
            Store,
            tests::{noise, store_on},
        },
    };

    fn store() -> Store {
        store_on(&MemoryDisk::default())
    }

    fn key(number: u8) -> SealKey {
        SealKey::new(&std::array::from_fn(|at| at as u8 ^ number))
    }

    /// Pages that compress, pages that do not, and pages of zeros, of more than one batch.
    fn image() -> Vec<u8> {
        let repeated = b"a secret in memory ".repeat(100_000);
        [noise(1, 9 << 20), vec![0; 1 << 20], repeated, vec![0; 9]].concat()
    }

    fn put(store: &Store, key: &SealKey, image: &[u8]) -> (Content, u64, super::super::DraftStats) {
        let draft = store.begin(SnapshotId::random()).unwrap();
        let (content, length) = draft.put_sealed_pages(key, &mut &*image, &Silent).unwrap();
        draft.publish_chunks().unwrap();
        (content, length, draft.stats())
    }

    #[test]
    fn a_second_image_under_the_key_adds_nothing_and_under_another_everything() {
        let (store, image) = (store(), image());
        let (first, length, stats) = put(&store, &key(1), &image);
        assert_eq!(length, image.len() as u64);
        assert!(
            stats.new_bytes > 9 << 20 && stats.stored_bytes < 11 << 20,
            "{stats:?}"
        );
        let (again, _, stats) = put(&store, &key(1), &image);
        assert_eq!((again, stats.new_chunks), (first, 0));
        let (other, _, stats) = put(&store, &key(2), &image);
        assert_ne!(other, first);
        assert!(stats.new_bytes > 9 << 20);
    }

    #[test]
    fn no_chunk_of_it_holds_a_byte_in_clear() {
        let (store, image) = (store(), image());
        let draft = store.begin(SnapshotId::random()).unwrap();
        let (pages, _) = draft
            .put_sealed_pages(&key(1), &mut &*image, &Silent)
            .unwrap();
        let (small, _) = draft
            .put_sealed_content(&key(1), &mut &b"a secret in a small image"[..], &Silent)
            .unwrap();
        draft.publish_chunks().unwrap();
        for (content, size) in [(pages, image.len() as u64), (small, 25)] {
            let reader = crate::list::ContentReader::new(store.clone(), content, size);
            let each = &mut |digest: &Digest| {
                let raw = store.get(digest)?;
                assert!(!raw.windows(8).any(|bytes| bytes == b"a secret"));
                Ok(())
            };
            reader.walk(each).unwrap();
        }
    }
}
