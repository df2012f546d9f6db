//! Making segments: rows from footers and from older segments, merged in order of digest and written as a stream.
//!
//! Memory is bounded by the tables (four bytes for 64 rows, 16 bytes a pack) and one block a source, however many rows there are.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    codec::{
        HEADER_BYTES, MAX_FANOUT_BITS, ROW_BYTES, ROWS_A_RUN, Row, Trailer, check_word,
        encode_header, run_of, trailer_check,
    },
    segment::{Segment, SegmentName, corrupt},
};
use crate::{
    disk::{Disk, Sink},
    error::{Error, Result},
    ids::{Digest, PackId},
    pack::{Footer, Record},
};

/// Rows read at a time from a segment: 64 KiB.
const BLOCK_ROWS: u64 = 1365;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// Rows of footers held in memory before they become a segment of their own: 64 MiB.
const MAX_HELD_ROWS: u64 = 1 << 20;

/// A segment that is written but neither durable nor published.
#[derive(Debug)]
pub(crate) struct Written {
    /// The name it is to have.
    pub(crate) name: SegmentName,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its open file, to be synced.
    pub(crate) sink: Box<dyn Sink>,
}

/// What a segment is to be made of.
pub(crate) struct Build<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    sequence: u64,
    packs: Vec<PackId>,
    ordinals: HashMap<PackId, u32>,
    footers: Vec<(u32, Vec<Record>)>,
    footer_rows: u64,
    segments: Vec<Arc<Segment>>,
    replaced: Vec<SegmentName>,
    /// Packs whose rows stand only for chunks that no other pack has.
    condemned: Arc<HashSet<PackId>>,
    spills: u64,
}

impl<'a> Build<'a> {
    /// Nothing yet; files are made in `folder`, under names that say `sequence`.
    pub(crate) fn new(disk: &'a dyn Disk, folder: &'a Path, sequence: u64) -> Self {
        Self {
            disk,
            folder,
            sequence,
            packs: Vec::new(),
            ordinals: HashMap::new(),
            footers: Vec::new(),
            footer_rows: 0,
            segments: Vec::new(),
            replaced: Vec::new(),
            condemned: Arc::default(),
            spills: 0,
        }
    }

    /// Of a chunk in several packs the row of one that is not among `condemned` is kept.
    pub(super) fn spurning(self, condemned: Arc<HashSet<PackId>>) -> Self {
        Self { condemned, ..self }
    }

    /// Adds the rows of a pack.
    pub(crate) fn add_footer(&mut self, footer: Footer) -> Result<()> {
        let pack = self.ordinal(footer.id);
        self.footer_rows += footer.records.len() as u64;
        self.footers.push((pack, footer.records));
        match self.footer_rows > MAX_HELD_ROWS {
            true => self.spill(),
            false => Ok(()),
        }
    }

    /// Adds the rows of a segment, which the new one replaces.
    pub(crate) fn add_segment(&mut self, segment: &Arc<Segment>) {
        self.replaced.push(segment.name);
        self.segments.push(Arc::clone(segment));
    }

    /// Says that the new segment stands for these too, although it takes nothing from them.
    pub(crate) fn replace(&mut self, names: &[SegmentName]) {
        self.replaced.extend_from_slice(names);
    }

    /// True when nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.footers.is_empty() && self.segments.is_empty() && self.replaced.is_empty()
    }

    /// Writes the segment.
    pub(crate) fn write(mut self) -> Result<Written> {
        self.write_rest()
    }

    fn spill(&mut self) -> Result<()> {
        let segments = std::mem::take(&mut self.segments);
        let replaced = std::mem::take(&mut self.replaced);
        let written = self.write_rest()?;
        let spilled = Segment::open(self.disk, &written.path, written.name)?;
        self.segments = segments;
        self.replaced = replaced;
        self.segments.push(Arc::new(spilled));
        Ok(())
    }

    /// Merges what there is into one file and forgets it.
    fn write_rest(&mut self) -> Result<Written> {
        let mut sources: Vec<Rows<'_>> = Vec::new();
        let segments = std::mem::take(&mut self.segments);
        for segment in &segments {
            let numbers = self.numbers(segment);
            sources.push(Rows::Segment(Box::new(SegmentRows::new(segment)), numbers));
        }
        let footers = std::mem::take(&mut self.footers);
        let footer_rows = std::mem::take(&mut self.footer_rows);
        let rows = footer_rows + segments.iter().map(|segment| segment.rows()).sum::<u64>();
        for (pack, records) in footers {
            sources.push(Rows::Footer(pack, records.into_iter()));
        }
        let path = self.folder.join(format!("{}.segment", self.spills));
        self.spills += 1;
        // One draft may publish twice, and what an earlier turn had to merge first still lies here.
        self.disk.remove(&path)?;
        let mut writer = SegmentWriter::create(self.disk, &path, rows)?;
        let condemned = self.packs.iter().map(|pack| self.condemned.contains(pack));
        let condemned: Vec<bool> = condemned.collect();
        merge(&mut sources, &condemned, &mut |row| writer.push(row))?;
        writer.finish(path, self.sequence, &self.packs, &self.replaced)
    }

    fn ordinal(&mut self, id: PackId) -> u32 {
        let next = u32::try_from(self.packs.len()).expect("a store has fewer packs than that");
        let packs = &mut self.packs;
        *self.ordinals.entry(id).or_insert_with(|| {
            packs.push(id);
            next
        })
    }

    /// The new number of each of a segment's packs; `None` for those that are gone.
    fn numbers(&mut self, segment: &Segment) -> Vec<Option<u32>> {
        let packs = segment.packs.iter().enumerate();
        packs
            .map(|(old, id)| {
                let is_dead = |dead: &u32| (*dead as usize).cmp(&old);
                let is_alive = segment.dead.binary_search_by(is_dead).is_err();
                is_alive.then(|| self.ordinal(*id))
            })
            .collect()
    }
}

/// Rows in order, from one source.
enum Rows<'a> {
    Footer(u32, std::vec::IntoIter<Record>),
    Segment(Box<SegmentRows<'a>>, Vec<Option<u32>>),
}

impl Rows<'_> {
    fn next(&mut self) -> Result<Option<Row>> {
        match self {
            Self::Footer(pack, records) => Ok(records.next().map(|(digest, frame)| Row {
                digest,
                pack: *pack,
                frame,
            })),
            Self::Segment(rows, numbers) => loop {
                let Some(row) = rows.next()? else {
                    return Ok(None);
                };
                let number = numbers.get(row.pack as usize);
                let number = number.ok_or_else(|| {
                    corrupt(rows.segment.name, "a row names a pack beyond its table")
                })?;
                if let Some(pack) = *number {
                    return Ok(Some(Row { pack, ..row }));
                }
            },
        }
    }
}

/// Hands out one row a digest, in order; `condemned` says of each pack whether its rows come last among equals.
fn merge(
    sources: &mut [Rows<'_>],
    condemned: &[bool],
    each: &mut dyn FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let rank = |row: &Row, number| Reverse((row.digest, condemned[row.pack as usize], number));
    let mut heads: Vec<Option<Row>> = Vec::with_capacity(sources.len());
    let mut order = BinaryHeap::with_capacity(sources.len());
    for (number, source) in sources.iter_mut().enumerate() {
        let head = source.next()?;
        order.extend(head.map(|row| rank(&row, number)));
        heads.push(head);
    }
    let mut last = None;
    while let Some(Reverse((digest, _, number))) = order.pop() {
        let head = heads[number].take();
        if let Some(row) = head.filter(|_| last != Some(digest)) {
            each(&row)?;
            last = Some(digest);
        }
        heads[number] = sources[number].next()?;
        order.extend(heads[number].map(|row| rank(&row, number)));
    }
    Ok(())
}

/// The rows of a segment as a stream that ends with an error when they do not match their checksum.
pub(super) struct SegmentRows<'a> {
    segment: &'a Segment,
    block: Vec<u8>,
    /// The next row, by its place in the block.
    at: usize,
    /// The first row that is not in the block.
    next: u64,
    last: Option<Digest>,
    hasher: blake3::Hasher,
}

impl<'a> SegmentRows<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            block: Vec::new(),
            at: 0,
            next: 0,
            last: None,
            hasher: blake3::Hasher::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>> {
        if self.at == self.block.len() && !self.fill()? {
            return Ok(None);
        }
        let bytes = &self.block[self.at..self.at + ROW_BYTES];
        self.at += ROW_BYTES;
        let row = Row::decode(bytes).map_err(|why| corrupt(self.segment.name, why))?;
        if self.last.is_some_and(|last| last >= row.digest) {
            return Err(corrupt(self.segment.name, "its rows are out of order"));
        }
        self.last = Some(row.digest);
        Ok(Some(row))
    }

    fn fill(&mut self) -> Result<bool> {
        let name = self.segment.name;
        let rows = BLOCK_ROWS.min(self.segment.rows() - self.next);
        if rows == 0 {
            let check = Digest::from_bytes(*self.hasher.finalize().as_bytes());
            return match check == self.segment.trailer.rows_check {
                true => Ok(false),
                false => Err(corrupt(name, "its rows do not match their checksum")),
            };
        }
        self.block.resize(rows as usize * ROW_BYTES, 0);
        let offset = HEADER_BYTES + self.next * ROW_BYTES as u64;
        if self.segment.file.read_at(offset, &mut self.block)? != self.block.len() {
            return Err(corrupt(name, "it has become shorter"));
        }
        self.hasher.update(&self.block);
        self.next += rows;
        self.at = 0;
        Ok(true)
    }
}

/// Writes rows that come in order.
struct SegmentWriter {
    sink: Box<dyn Sink>,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    /// How many rows each run has; at the end, where each begins.
    runs: Vec<u32>,
    fanout_bits: u32,
    rows: u64,
    stored_bytes: u64,
}

impl SegmentWriter {
    /// A writer of at most `rows` rows.
    fn create(disk: &dyn Disk, path: &Path, rows: u64) -> Result<Self> {
        if rows > u64::from(u32::MAX) {
            return Err(Error::Limit {
                what: "Chunks in the index",
                limit: u64::from(u32::MAX),
            });
        }
        let fanout_bits = (rows / ROWS_A_RUN).max(1).ilog2().min(MAX_FANOUT_BITS);
        let mut sink = disk.create(path)?;
        sink.append(&encode_header())?;
        Ok(Self {
            sink,
            buffer: Vec::with_capacity(WRITE_BYTES + ROW_BYTES),
            hasher: blake3::Hasher::new(),
            runs: vec![0; (1 << fanout_bits) + 1],
            fanout_bits,
            rows: 0,
            stored_bytes: 0,
        })
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        row.encode(&mut self.buffer);
        self.runs[run_of(&row.digest, self.fanout_bits) + 1] += 1;
        self.rows += 1;
        self.stored_bytes += u64::from(row.frame.stored_bytes);
        match self.buffer.len() >= WRITE_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        self.sink.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(
        mut self,
        path: PathBuf,
        sequence: u64,
        packs: &[PackId],
        replaced: &[SegmentName],
    ) -> Result<Written> {
        self.flush()?;
        let count = |number: usize| u32::try_from(number).expect("far fewer than the limit");
        let tables = self.tables(packs, replaced);
        let trailer = Trailer {
            rows: self.rows,
            stored_bytes: self.stored_bytes,
            fanout_bits: self.fanout_bits,
            packs: count(packs.len()),
            replaced: count(replaced.len()),
            rows_check: Digest::from_bytes(*self.hasher.finalize().as_bytes()),
            tables_check: Digest::of(&tables),
        };
        let trailer = trailer.encode();
        self.sink.append(&tables)?;
        self.sink.append(&trailer)?;
        Ok(Written {
            name: SegmentName {
                sequence,
                check: check_word(&trailer_check(&trailer)),
            },
            path,
            sink: self.sink,
        })
    }

    fn tables(&self, packs: &[PackId], replaced: &[SegmentName]) -> Vec<u8> {
        let mut tables = Vec::with_capacity(self.runs.len() * 4 + packs.len() * PackId::LEN);
        let mut begin = 0;
        for rows in &self.runs {
            begin += rows;
            tables.extend_from_slice(&begin.to_le_bytes());
        }
        for pack in packs {
            tables.extend_from_slice(pack.as_bytes());
        }
        for name in replaced {
            tables.extend_from_slice(&name.sequence.to_le_bytes());
            tables.extend_from_slice(&name.check.to_le_bytes());
        }
        tables
    }
}
