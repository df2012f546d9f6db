//! Cutting a file again, to find chunks of it that were lost.

use std::{cell::RefCell, io::Read, path::PathBuf};

use crate::{
    draft::cut::{Cutter, Piece, ReaderFeed, SIZES},
    error::{Error, Result},
    ids::Digest,
    list::ListWriter,
    progress::Progress,
};

/// What a chunk is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// The content of a file.
    Data,
    /// A page: of a tree or of a list.
    Page,
}

/// Takes chunks, with their digests and what they are part of.
pub type TakeChunk<'a> = dyn FnMut(Digest, ChunkKind, &[u8]) -> Result<()> + 'a;

/// Cuts `reader` as a capture does, and hands out everything a capture would store of it: its chunks, and the pages of
/// its list. It stores nothing.
pub fn recut(
    reader: &mut dyn Read,
    each: &mut TakeChunk<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    // The writer of pages hands them out while pieces are handed out beside it.
    let each = RefCell::new(each);
    let mut put_page = |page: Vec<u8>| {
        let digest = Digest::of(&page);
        (each.borrow_mut())(digest, ChunkKind::Page, &page)?;
        Ok(digest)
    };
    let mut list = ListWriter::new(&mut put_page);
    let mut cutter = Cutter::new(SIZES);
    let mut feed = ReaderFeed(reader);
    let failed = || Error::io("read", PathBuf::from("the file"));
    while let Some(piece) = cutter.next(&mut feed).map_err(failed())? {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match piece {
            Piece::Hole(zeros) => list.push_hole(zeros)?,
            Piece::Chunk(bytes) => {
                let digest = Digest::of(bytes);
                (each.borrow_mut())(digest, ChunkKind::Data, bytes)?;
                let raw_bytes = u32::try_from(bytes.len()).expect("a chunk is far smaller");
                list.push_chunk(digest, raw_bytes)?;
                progress.advance(0, u64::from(raw_bytes));
            }
        }
    }
    list.finish().map(drop)
}
