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
        mpsc::{self, Sender},
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
/// As packs have it (`store/src/pack/writer.rs`).
const LEVEL: i32 = 3;
const SMALL_LEVEL: i32 = 4;
const SMALL_BYTES: usize = 16 << 10;
const MIN_MATCH: u32 = 4;
const PACK_BYTES: usize = 32 << 20;
/// Read at once, and cut by itself.
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
    let (next, seen) = (&next, &seen);
    thread::scope(|scope| {
        let (full, packs) = mpsc::channel::<File>();
        let syncing = scope.spawn(move || packs.iter().try_for_each(|pack| pack.sync_data()));
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (folder, full) = (scratch.join(number.to_string()), full.clone());
                scope.spawn(move || {
                    let mut worker = Worker::new(stage, folder, seen, full)?;
                    while let Some((_, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        worker.file(path)?;
                    }
                    worker.end_pack()
                })
            })
            .collect();
        drop(full);
        let panicked = |_| io::Error::other("a thread panicked");
        for thread in workers.into_iter().chain([syncing]) {
            thread.join().map_err(panicked)??;
        }
        io::Result::Ok(())
    })?;
    let spent = begun.elapsed().as_micros();
    fs::remove_dir_all(scratch)?;
    fs::create_dir(scratch)?;
    Ok(spent)
}

struct Worker<'a> {
    stage: Stage,
    seen: &'a Mutex<HashSet<blake3::Hash>>,
    part: Vec<u8>,
    frame: Vec<u8>,
    usual: Compressor<'static>,
    small: Compressor<'static>,
    folder: PathBuf,
    /// The pack that is being written, and how much of it is.
    pack: Option<(io::BufWriter<File>, usize)>,
    packs: usize,
    full: Sender<File>,
}

impl<'a> Worker<'a> {
    fn new(
        stage: Stage,
        folder: PathBuf,
        seen: &'a Mutex<HashSet<blake3::Hash>>,
        full: Sender<File>,
    ) -> io::Result<Self> {
        let compressor = |level| {
            let mut compressor = Compressor::new(level)?;
            compressor.set_parameter(CParameter::MinMatch(MIN_MATCH))?;
            io::Result::Ok(compressor)
        };
        fs::create_dir(&folder)?;
        Ok(Self {
            stage,
            seen,
            part: vec![0; PART_BYTES],
            frame: Vec::with_capacity(zstd::zstd_safe::compress_bound(MAX_BYTES)),
            usual: compressor(LEVEL)?,
            small: compressor(SMALL_LEVEL)?,
            folder,
            pack: None,
            packs: 0,
            full,
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
        let compressor = match chunk.len() <= SMALL_BYTES {
            true => &mut self.small,
            false => &mut self.usual,
        };
        compressor.compress_to_buffer(chunk, &mut self.frame)?;
        match self.stage {
            Stage::Write => self.write(),
            _ => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let (mut pack, written) = match self.pack.take() {
            Some(pack) => pack,
            None => {
                self.packs += 1;
                let file = File::create(self.folder.join(self.packs.to_string()))?;
                (io::BufWriter::with_capacity(OUT_BYTES, file), 0)
            }
        };
        pack.write_all(&self.frame)?;
        self.pack = Some((pack, written + self.frame.len()));
        match written + self.frame.len() >= PACK_BYTES {
            true => self.end_pack(),
            false => Ok(()),
        }
    }

    /// Has what is written so far synced by another thread.
    fn end_pack(&mut self) -> io::Result<()> {
        if let Some((pack, _)) = self.pack.take() {
            let file = pack.into_inner().map_err(io::IntoInnerError::into_error)?;
            self.full.send(file).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
