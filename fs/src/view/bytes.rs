//! Bytes of a file on their way to a reader: part of a shared chunk where that is possible, a copy where not.

use std::{
    cell::Cell,
    mem,
    ops::{Deref, Range},
};

use snap_store::{ChunkBytes, ContentReader, ContentSource, Digest};

use super::error::Result;

thread_local! {
    /// What the last answer was gathered in.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes that are read through `Deref`.
#[derive(Clone, Debug)]
pub struct Bytes(Source);

#[derive(Clone, Debug)]
enum Source {
    Owned(Vec<u8>),
    Shared(ChunkBytes, Range<usize>),
}

impl Bytes {
    pub(super) fn empty() -> Self {
        Self(Source::Owned(Vec::new()))
    }

    /// `length` zeros; no more than a request asks for.
    pub(super) fn zeros(length: u64) -> Self {
        Self(Source::Owned(vec![0; length as usize]))
    }

    /// Part of a file of `length` bytes that is one chunk.
    pub(super) fn of_chunk(
        source: &ContentSource,
        digest: &Digest,
        length: u64,
        wanted: Range<u64>,
    ) -> Result<Self> {
        let chunk = source.chunk_near(digest)?;
        if chunk.len() as u64 != length {
            let corrupt = snap_store::Error::Corrupt {
                what: "File",
                name: format!("of chunk {digest}"),
                why: format!(
                    "it should have {length} bytes, its chunk has {}",
                    chunk.len()
                ),
            };
            return Err(corrupt.into());
        }
        let range = wanted.start as usize..wanted.end as usize;
        Ok(Self(Source::Shared(chunk, range)))
    }

    /// Part of a file of many chunks, in a buffer that the thread keeps: fresh memory for each read would cost as much as the copy.
    pub(super) fn of_list(
        reader: &ContentReader<ContentSource>,
        wanted: Range<u64>,
    ) -> Result<Self> {
        let mut buffer = BUFFER.take();
        reader.read_into(
            wanted.start,
            (wanted.end - wanted.start) as usize,
            &mut buffer,
        )?;
        Ok(Self(Source::Owned(buffer)))
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Source::Owned(buffer) = &mut self.0 {
            let mut buffer = mem::take(buffer);
            buffer.clear();
            BUFFER.set(buffer);
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Owned(bytes) => bytes,
            Source::Shared(chunk, range) => &chunk[range.clone()],
        }
    }
}
