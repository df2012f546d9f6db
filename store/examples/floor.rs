//! What a first capture cannot leave out, as plainly as it can be done: read each file, cut and hash it, compress what is new, write that.
//!
//! ```text
//! cargo run --release -p snap-store --example floor -- FOLDER SCRATCH
//! ```
//!
//! FOLDER is gone through four times by as many threads as there are processors, each time with one of these added; SCRATCH, which must not
//! exist, takes what is written and is removed. No names, no attributes, no index, nothing that could be opened again. One line each,
//! microseconds from the beginning to the end of that time behind a tab: `read`, `cut and hash`, `compress`, `write`.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use fastcdc::v2020::{FastCDC, Normalization};
use zstd::{bulk::Compressor, zstd_safe::CParameter};

/// What chunks are cut by (docs/format.md, "Cutting").
const MIN_BYTES: usize = 16 << 10;
const AVERAGE_BYTES: usize = 64 << 10;
const MAX_BYTES: usize = 256 << 10;
/// As packs have it.
const LEVEL: i32 = 3;
const MIN_MATCH: u32 = 4;
/// Read at once, and longer than which no chunk is sought. Fits a processor's second cache with what zstd needs.
const PART_BYTES: usize = 1 << 20;
/// Buffered before it is written.
const OUT_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Read,
    Hash,
    Compress,
    Write,
}

fn main() -> io::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, scratch] = arguments.as_slice() else {
        return Err(io::Error::other("usage: floor FOLDER SCRATCH"));
    };
    fs::create_dir(scratch)?;
    let mut files = Vec::new();
    find(folder, &mut files)?;
    // The largest first, so that the threads end together.
    files.sort_by(|one, other| other.cmp(one));
    let ladder = [
        ("read", Stage::Read),
        ("cut and hash", Stage::Hash),
        ("compress", Stage::Compress),
        ("write", Stage::Write),
    ];
    for (name, stage) in ladder {
        say(name, go(&files, stage, scratch)?);
    }
    fs::remove_dir_all(scratch)
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn say(what: &str, microseconds: u128) {
    println!("{what}\t{microseconds}");
}

/// Regular files below a folder, with their sizes.
fn find(folder: &Path, files: &mut Vec<(u64, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            find(&entry.path(), files)?;
        } else if meta.is_file() {
            files.push((meta.len(), entry.path()));
        }
    }
    Ok(())
}

/// Microseconds for all files up to a stage.
fn go(files: &[(u64, PathBuf)], stage: Stage, scratch: &Path) -> io::Result<u128> {
    let begun = Instant::now();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let work = |number: usize| {
            let mut worker = Worker::new(stage, &scratch.join(number.to_string()), &seen)?;
            while let Some((_, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                worker.file(path)?;
            }
            worker.out.flush()?;
            worker.out.get_ref().sync_all()
        };
        let workers: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))?
        })
    })?;
    Ok(begun.elapsed().as_micros())
}

struct Worker<'a> {
    stage: Stage,
    seen: &'a Mutex<HashSet<blake3::Hash>>,
    part: Vec<u8>,
    frame: Vec<u8>,
    compressor: Compressor<'static>,
    out: io::BufWriter<File>,
}

impl<'a> Worker<'a> {
    fn new(stage: Stage, out: &Path, seen: &'a Mutex<HashSet<blake3::Hash>>) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::MinMatch(MIN_MATCH))?;
        Ok(Self {
            stage,
            seen,
            part: vec![0; PART_BYTES],
            frame: Vec::with_capacity(zstd::zstd_safe::compress_bound(MAX_BYTES)),
            compressor,
            out: io::BufWriter::with_capacity(OUT_BYTES, File::create(out)?),
        })
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        loop {
            let mut known = 0;
            while known < PART_BYTES {
                match file.read(&mut self.part[known..])? {
                    0 => break,
                    more => known += more,
                }
            }
            if self.stage > Stage::Read {
                self.cut(known)?;
            }
            if known < PART_BYTES {
                return Ok(());
            }
        }
    }

    fn cut(&mut self, known: usize) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let mut at = 0;
        while at < known {
            let rest = &part[at..known];
            let length = match rest.len() <= AVERAGE_BYTES {
                true => rest.len(),
                false => {
                    let longest = &rest[..rest.len().min(MAX_BYTES)];
                    let level = Normalization::Level1;
                    let cutter =
                        FastCDC::with_level(longest, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES, level);
                    cutter.cut(0, longest.len()).1
                }
            };
            self.chunk(&rest[..length])?;
            at += length;
        }
        self.part = part;
        Ok(())
    }

    fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let digest = blake3::hash(chunk);
        let is_new = self.seen.lock().is_ok_and(|mut seen| seen.insert(digest));
        if self.stage < Stage::Compress || !is_new {
            return Ok(());
        }
        self.frame.clear();
        self.compressor.compress_to_buffer(chunk, &mut self.frame)?;
        match self.stage {
            Stage::Write => self.out.write_all(&self.frame),
            _ => Ok(()),
        }
    }
}
