//! Which chunk size? Cuts, hashes, compresses and reads back real folders with five sizes and prints what each costs.
//!
//! ```text
//! cargo run --release -p snap-store --example chunk_size -- DIR...
//! ```
//!
//! Every folder is taken twice: as it is, and as a second version in which one file of a hundred has some bytes
//! changed, one text file of a hundred has a line more, and a made-up table of 100 MB has one percent of its rows
//! changed in 200 places and one percent appended. The decision that came of it is docs/adr/0001-chunk-size.md.
//!
//! It is a pipeline of its own, with the crates of the store but without packs and index: sizes are part of the
//! format, and the store has no switch for them. It writes one file into the system's temporary folder, and removes it.

use std::{
    collections::{HashMap, hash_map::Entry},
    env, fs,
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fastcdc::v2020::FastCDC;

const AVERAGES: [usize; 5] = [16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20];
const LEVEL: i32 = 3;
const ROW_BYTES: usize = 256;
const ROWS: u64 = 100_000_000 / ROW_BYTES as u64;
const RANDOM_READS: u64 = 2000;
const PAGE: usize = 4096;

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    for folder in env::args_os().skip(1) {
        list(Path::new(&folder), &mut files)?;
    }
    files.sort_unstable();
    if files.is_empty() {
        return Err(io::Error::other(
            "Name at least one folder with files in it",
        ));
    }
    let mut out = io::stdout().lock();
    let cores = thread::available_parallelism()?;
    writeln!(out, "{} files, {cores} cores\n", files.len())?;
    writeln!(
        out,
        "| average | chunks | raw MB | unique MB | stored MB | added by the second MB | put MB/s a core | random 4 KiB: KB read | µs of a core | cold µs | sequential MB/s a core |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for average in AVERAGES {
        writeln!(out, "{}", measure(&files, average)?)?;
        out.flush()?;
    }
    Ok(())
}

/// One line of the table.
fn measure(files: &[PathBuf], average: usize) -> io::Result<String> {
    let run = Run::new(average)?;
    let begin = cpu_time();
    run.put_version(files, 1)?;
    let put = cpu_time() - begin;
    let first = run.totals();
    run.put_version(files, 2)?;
    let both = run.totals();
    let begin = (cpu_time(), Instant::now());
    let read_bytes = run.read_randomly()?;
    let (random, cold) = (cpu_time() - begin.0, begin.1.elapsed());
    let begin = cpu_time();
    run.read_in_order()?;
    let sequential = cpu_time() - begin;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / RANDOM_READS as f64;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let rate = |bytes: u64, time: Duration| mb(bytes) / time.as_secs_f64();
    Ok(format!(
        "| {} KiB | {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} |",
        average >> 10,
        first.chunks,
        mb(first.raw),
        mb(first.unique),
        mb(first.stored),
        mb(both.stored - first.stored),
        rate(first.raw, put),
        read_bytes as f64 / RANDOM_READS as f64 / 1e3,
        each(random),
        each(cold),
        rate(both.unique, sequential),
    ))
}

#[derive(Clone, Copy)]
struct Totals {
    chunks: u64,
    raw: u64,
    unique: u64,
    stored: u64,
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    stored: usize,
    raw: usize,
}

/// Everything stored with one size.
struct Run {
    average: usize,
    file: fs::File,
    known: Mutex<HashMap<blake3::Hash, Option<Place>>>,
    places: Mutex<Vec<Place>>,
    end: AtomicU64,
    raw: AtomicU64,
    unique: AtomicU64,
}

impl Run {
    fn new(average: usize) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("chunk_size-{}", std::process::id()));
        let mut options = fs::File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(Self {
            average,
            file,
            known: Mutex::default(),
            places: Mutex::default(),
            end: AtomicU64::new(0),
            raw: AtomicU64::new(0),
            unique: AtomicU64::new(0),
        })
    }

    fn totals(&self) -> Totals {
        Totals {
            chunks: self.lock(&self.places).len() as u64,
            raw: self.raw.load(Ordering::Relaxed),
            unique: self.unique.load(Ordering::Relaxed),
            stored: self.end.load(Ordering::Relaxed),
        }
    }

    fn put_version(&self, files: &[PathBuf], version: u64) -> io::Result<()> {
        let next = AtomicUsize::new(0);
        let work = || -> io::Result<()> {
            let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let bytes = match files.get(number) {
                    Some(path) => file_of(path, number, version)?,
                    None if number == files.len() => table(version),
                    None => return Ok(()),
                };
                self.put(&bytes, &mut compressor)?;
            }
        };
        let cores = thread::available_parallelism()?.get();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("no thread panics"))
        })
    }

    fn put(&self, bytes: &[u8], compressor: &mut zstd::bulk::Compressor<'_>) -> io::Result<()> {
        self.raw.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let cutter = FastCDC::new(bytes, self.average / 4, self.average, self.average * 4);
        let mut begin = 0;
        while begin < bytes.len() {
            let end = match bytes.len() <= self.average {
                true => bytes.len(),
                false => cutter.cut(begin, bytes.len() - begin).1,
            };
            self.put_chunk(&bytes[begin..end], compressor)?;
            begin = end;
        }
        Ok(())
    }

    fn put_chunk(
        &self,
        chunk: &[u8],
        compressor: &mut zstd::bulk::Compressor<'_>,
    ) -> io::Result<()> {
        let digest = blake3::hash(chunk);
        match self.lock(&self.known).entry(digest) {
            Entry::Occupied(_) => return Ok(()),
            Entry::Vacant(entry) => entry.insert(None),
        };
        let frame = compressor.compress(chunk)?;
        let is_plain = frame.len() >= chunk.len() - chunk.len() / 16;
        let stored = if is_plain { chunk } else { &frame };
        let offset = self.end.fetch_add(stored.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(stored, offset)?;
        self.unique.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        self.lock(&self.places).push(Place {
            offset,
            stored: stored.len(),
            raw: chunk.len(),
        });
        Ok(())
    }

    /// Reads 4 KiB at places chosen evenly over the bytes, none of it in the page cache.
    fn read_randomly(&self) -> io::Result<u64> {
        let mut places = self.lock(&self.places).clone();
        places.sort_unstable_by_key(|place| place.offset);
        let mut ends = Vec::with_capacity(places.len());
        let mut total = 0;
        for place in &places {
            total += place.raw as u64;
            ends.push(total);
        }
        self.file.sync_data()?;
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random)?;
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        let mut read = 0;
        for number in 0..RANDOM_READS {
            let wanted = scatter(number) % total;
            let place = places[ends.partition_point(|end| *end <= wanted)];
            read += place.stored as u64;
            let raw = self.read(place, &mut decompressor)?;
            std::hint::black_box(&raw[..raw.len().min(PAGE)]);
        }
        Ok(read)
    }

    fn read_in_order(&self) -> io::Result<()> {
        let mut places = self.lock(&self.places).clone();
        places.sort_unstable_by_key(|place| place.offset);
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Sequential)?;
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        for place in places {
            std::hint::black_box(self.read(place, &mut decompressor)?);
        }
        Ok(())
    }

    /// Reads a chunk as the store does: all of it, checked.
    fn read(
        &self,
        place: Place,
        decompressor: &mut zstd::bulk::Decompressor<'_>,
    ) -> io::Result<Vec<u8>> {
        let mut stored = vec![0; place.stored];
        self.file.read_exact_at(&mut stored, place.offset)?;
        let raw = match place.stored == place.raw {
            true => stored,
            false => decompressor.decompress(&stored, place.raw)?,
        };
        std::hint::black_box(blake3::hash(&raw));
        Ok(raw)
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().expect("no thread panics")
    }
}

/// What this process has used of the processor: unlike the clock, it does not count what else runs on the machine.
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        used.tv_sec.cast_unsigned(),
        u32::try_from(used.tv_nsec).unwrap_or(0),
    )
}

/// The regular files below `folder`, on its file system.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let device = fs::metadata(folder)?.dev();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() && metadata.dev() == device {
            list(&entry.path(), files)?;
        } else if metadata.is_file() && metadata.len() > 0 {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// A file as it is in this version.
fn file_of(path: &Path, number: usize, version: u64) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    if version == 2 && number % 100 == 17 && !bytes.is_empty() {
        let middle = bytes.len() / 2;
        let end = bytes.len().min(middle + 16);
        for byte in &mut bytes[middle..end] {
            *byte ^= 0x55;
        }
    }
    let is_text = bytes.iter().take(PAGE).all(|byte| *byte != 0);
    if version == 2 && number % 100 == 42 && is_text {
        bytes.extend_from_slice(b"One line more, as a log or a list has it the next day.\n");
    }
    Ok(bytes)
}

/// A table of rows with a key, words and random bytes.
fn table(version: u64) -> Vec<u8> {
    let rows = if version == 2 {
        ROWS + ROWS / 100
    } else {
        ROWS
    };
    let places = 200;
    let changed = ROWS / 100 / places;
    let mut bytes = Vec::with_capacity(usize::try_from(rows).unwrap_or(0) * ROW_BYTES);
    for row in 0..rows {
        let is_changed = row % (ROWS / places) < changed;
        let age = if is_changed { version } else { 1 };
        let noise = blake3::hash(&[row.to_le_bytes(), age.to_le_bytes()].concat());
        let end = bytes.len() + ROW_BYTES;
        bytes.extend_from_slice(&row.to_be_bytes());
        bytes.extend_from_slice(noise.as_bytes());
        let words = format!(
            "{{\"user\": {}, \"state\": \"active\", \"note\": \"{}\"}}",
            row % 9973,
            noise.to_hex()
        );
        bytes.extend_from_slice(words.as_bytes());
        bytes.resize(end, b' ');
    }
    bytes
}

/// A number that looks random, always the same.
fn scatter(number: u64) -> u64 {
    let hash = blake3::hash(&number.to_le_bytes());
    let first = hash.as_bytes().first_chunk();
    u64::from_le_bytes(*first.expect("a digest is longer than that"))
}
