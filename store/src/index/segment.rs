//! One segment: rows sorted by digest, with a table that says where each run of digests begins
//! (docs/format.md, "Index segment"). A look-up is one positional read of about a
//! kilobyte, around the place where a digest that is spread evenly must be.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::codec::{
    HEADER_BYTES, ROW_BYTES, Row, TRAILER_BYTES, Trailer, check_word, encode_header, run_of,
    trailer_check,
};
use crate::{
    bytes::{Decoded, Fields},
    disk::{Disk, Source},
    error::{Error, Result},
    ids::{Digest, PackId},
    pack::{Frame, Record},
};

/// Rows read around the place where a digest should be: three standard deviations to each side in a run of the usual length.
const ROWS_A_GUESS: u64 = 24;
/// Up to this many rows are read whole when the guess has missed; more are halved first.
const ROWS_A_READ: u64 = 128;

/// The name of a segment's file: when it was made, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentName {
    /// Greater than that of every segment before it.
    pub(crate) sequence: u64,
    /// The first bytes of its trailer's checksum.
    pub(crate) check: u64,
}

impl SegmentName {
    /// The name a file has; `None` when the file is no segment.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let (sequence, check) = file.strip_suffix(".seg")?.split_once('-')?;
        let name = Self {
            sequence: u64::from_str_radix(sequence, 16).ok()?,
            check: u64::from_str_radix(check, 16).ok()?,
        };
        (name.to_string() == file).then_some(name)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.seg", self.sequence, self.check)
    }
}

/// Where a published chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The pack that holds it.
    pub(crate) pack: PackId,
    /// Where in the pack.
    pub(crate) frame: Frame,
}

impl Location {
    /// Where in the pack it ends.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.frame.offset) + u64::from(self.frame.stored_bytes)
    }
}

/// An open segment; its tables are in memory and checked, its rows are on disk and trusted until they disappoint.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) name: SegmentName,
    pub(super) file: Arc<dyn Source>,
    pub(super) trailer: Trailer,
    fanout: Vec<u32>,
    pub(super) packs: Vec<PackId>,
    pub(super) replaced: Vec<SegmentName>,
    /// Numbers of packs that are no longer there, ascending; their rows count as absent.
    pub(super) dead: Vec<u32>,
    pub(super) is_verified: AtomicBool,
}

impl Segment {
    /// Opens the segment `name`, which lies at `path`.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, name: SegmentName) -> Result<Self> {
        Self::of(disk.open(path)?, name)
    }

    /// The same of an open file.
    pub(super) fn of(file: Arc<dyn Source>, name: SegmentName) -> Result<Self> {
        let corrupt = |why| corrupt(name, why);
        let length = file.length()?;
        let mut header = [0; HEADER_BYTES as usize];
        file.read_at(0, &mut header)?;
        if header != encode_header() {
            return Err(corrupt("it does not begin as a segment of this version"));
        }
        let mut trailer = [0; TRAILER_BYTES];
        let Some(trailer_at) = length.checked_sub(TRAILER_BYTES as u64) else {
            return Err(corrupt("it is shorter than a trailer"));
        };
        file.read_at(trailer_at, &mut trailer)?;
        let check = trailer_check(&trailer);
        let trailer = Trailer::decode(&trailer).map_err(corrupt)?;
        if check_word(&check) != name.check || trailer.file_bytes() != length {
            return Err(corrupt("its name or length do not match its trailer"));
        }
        let mut tables = vec![0; trailer.table_bytes()];
        file.read_at(trailer_at - tables.len() as u64, &mut tables)?;
        if Digest::of(&tables) != trailer.tables_check {
            return Err(corrupt("its tables do not match their checksum"));
        }
        let (fanout, rest) = tables.split_at(trailer.fanout_bytes());
        let (packs, replaced) = rest.split_at(trailer.packs as usize * PackId::LEN);
        Ok(Self {
            name,
            file,
            fanout: decode_fanout(fanout, trailer.rows).map_err(corrupt)?,
            packs: packs
                .as_chunks()
                .0
                .iter()
                .map(|id| PackId::from_bytes(*id))
                .collect(),
            replaced: decode_replaced(replaced).map_err(corrupt)?,
            trailer,
            dead: Vec::new(),
            is_verified: AtomicBool::new(false),
        })
    }

    /// Rows in it.
    pub(crate) fn rows(&self) -> u64 {
        self.trailer.rows
    }

    /// Length of its file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.trailer.file_bytes()
    }

    /// Asks the system to read all of it soon.
    pub(super) fn expect(&self) {
        self.file.expect(0..self.file_bytes());
    }

    /// Where the chunk is, if a pack that is still there has it.
    pub(crate) fn lookup(&self, digest: &Digest) -> Result<Option<Location>> {
        Ok(self.find(digest)?.map(|(_, location)| location))
    }

    /// The same, with the number of its row.
    pub(super) fn find(&self, digest: &Digest) -> Result<Option<(u64, Location)>> {
        let run = run_of(digest, self.trailer.fanout_bits);
        let run = u64::from(self.fanout[run])..u64::from(self.fanout[run + 1]);
        let guess = run.start + self.guess(digest, run.end - run.start);
        let low = guess.saturating_sub(ROWS_A_GUESS / 2).max(run.start);
        let high = (low + ROWS_A_GUESS).min(run.end);
        let mut buffer = [0; ROWS_A_GUESS as usize * ROW_BYTES];
        let rows = self.read(low, &mut buffer[..(high - low) as usize * ROW_BYTES])?;
        match search(rows, digest) {
            Ok(found) => self.locate(low, rows, found),
            Err(0) if low > run.start => self.find_in(digest, run.start..low),
            Err(end) if end as u64 == high - low && high < run.end => {
                self.find_in(digest, high..run.end)
            }
            Err(_) => Ok(None),
        }
    }

    /// Where in a run of so many rows the digest should be, given that digests are spread evenly.
    fn guess(&self, digest: &Digest, rows: u64) -> u64 {
        let first = digest.as_bytes().first_chunk();
        let first = u64::from_be_bytes(*first.expect("a digest is longer than eight bytes"));
        let within_run = first << self.trailer.fanout_bits >> 32;
        (within_run * rows) >> 32
    }

    /// Searches rows that the guess has missed.
    fn find_in(&self, digest: &Digest, rows: Range<u64>) -> Result<Option<(u64, Location)>> {
        let Range { start, mut end } = rows;
        let mut low = start;
        let mut buffer = [0; ROWS_A_READ as usize * ROW_BYTES];
        while end - low > ROWS_A_READ {
            let middle = low.midpoint(end);
            let row = self.read(middle, &mut buffer[..ROW_BYTES])?;
            match row < digest.as_bytes().as_slice() {
                true => low = middle + 1,
                false => end = middle + 1,
            }
        }
        let rows = self.read(low, &mut buffer[..(end - low) as usize * ROW_BYTES])?;
        match search(rows, digest) {
            Ok(found) => self.locate(low, rows, found),
            Err(_) => Ok(None),
        }
    }

    fn read<'a>(&self, row: u64, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        if buffer.is_empty() {
            return Ok(buffer);
        }
        let offset = HEADER_BYTES + row * ROW_BYTES as u64;
        match self.file.read_at(offset, buffer)? == buffer.len() {
            true => Ok(buffer),
            false => Err(corrupt(self.name, "it has become shorter")),
        }
    }

    /// What row number `found` of `rows` says, the first of which has the number `low`.
    fn locate(&self, low: u64, rows: &[u8], found: usize) -> Result<Option<(u64, Location)>> {
        let row = &rows[found * ROW_BYTES..][..ROW_BYTES];
        let row = Row::decode(row).map_err(|why| corrupt(self.name, why))?;
        let location = self.location(&row)?;
        Ok(location.map(|location| (low + found as u64, location)))
    }

    /// Where a row says that its chunk is; `None` when that pack is gone.
    pub(super) fn location(&self, row: &Row) -> Result<Option<Location>> {
        if self.dead.binary_search(&row.pack).is_ok() {
            return Ok(None);
        }
        let pack = self.packs.get(row.pack as usize);
        let pack = pack.ok_or_else(|| corrupt(self.name, "a row names a pack beyond its table"))?;
        Ok(Some(Location {
            pack: *pack,
            frame: row.frame,
        }))
    }

    /// The same segment with other packs taken for gone.
    pub(super) fn with_dead(&self, dead: Vec<u32>) -> Self {
        Self {
            name: self.name,
            file: Arc::clone(&self.file),
            trailer: self.trailer.clone(),
            fanout: self.fanout.clone(),
            packs: self.packs.clone(),
            replaced: self.replaced.clone(),
            dead,
            is_verified: AtomicBool::new(self.is_verified.load(Ordering::Relaxed)),
        }
    }

    /// The packs it knows that are still there.
    pub(super) fn live_packs(&self) -> impl Iterator<Item = &PackId> {
        let packs = self.packs.iter().zip(0..);
        packs
            .filter(|(_, number)| self.dead.binary_search(number).is_err())
            .map(|(pack, _)| pack)
    }

    /// Adds its rows of `packs` to `found`; what it has added before it fails may be wrong.
    pub(super) fn collect_records(
        &self,
        packs: &[PackId],
        found: &mut HashMap<PackId, Vec<Record>>,
    ) -> Result<()> {
        let mut rows = super::merge::SegmentRows::new(self);
        while let Some(row) = rows.next()? {
            let pack = self.packs.get(row.pack as usize);
            if let Some(pack) = pack.filter(|pack| packs.contains(pack)) {
                found
                    .entry(*pack)
                    .or_default()
                    .push((row.digest, row.frame));
            }
        }
        Ok(())
    }

    /// Reads all rows and compares them with their checksum; once is enough.
    pub(crate) fn verify(&self) -> Result<()> {
        match self.is_verified.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.verify_again(),
        }
    }

    /// The same, however often it was done before: media go bad at any time.
    pub(crate) fn verify_again(&self) -> Result<()> {
        let mut rows = super::merge::SegmentRows::new(self);
        while rows.next()?.is_some() {}
        self.is_verified.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The number of the digest's row among `rows`, or of the first greater one.
fn search(rows: &[u8], digest: &Digest) -> Result<usize, usize> {
    let rows = rows.as_chunks::<ROW_BYTES>().0;
    rows.binary_search_by(|row| row[..Digest::LEN].cmp(digest.as_bytes()))
}

pub(super) fn corrupt(name: SegmentName, why: &'static str) -> Error {
    Error::Corrupt {
        what: "Index segment",
        name: name.to_string(),
        why: why.to_owned(),
    }
}

fn decode_fanout(bytes: &[u8], rows: u64) -> Decoded<Vec<u32>> {
    let words = bytes.as_chunks().0.iter();
    let fanout: Vec<u32> = words.map(|word| u32::from_le_bytes(*word)).collect();
    let ends = fanout.first() == Some(&0) && fanout.last().copied().map(u64::from) == Some(rows);
    match ends && fanout.is_sorted() {
        true => Ok(fanout),
        false => Err("its table of runs is out of order"),
    }
}

fn decode_replaced(bytes: &[u8]) -> Decoded<Vec<SegmentName>> {
    bytes
        .chunks_exact(16)
        .map(|line| {
            let mut fields = Fields::new(line);
            Ok(SegmentName {
                sequence: fields.u64()?,
                check: fields.u64()?,
            })
        })
        .collect()
}
