//! Bytes kept aside while the source stands still, to be put after the thaw.
//!
//! Small files go to memory. Larger ones go to one file without a name: in the source's own file system when that can
//! share blocks, for then the kernel clones instead of copying, else beside the stat cache. Holes stay holes: only runs
//! of data are kept.

use std::{
    env,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, copy_file_range, openat},
    io::{Errno, pread, pwrite},
};
use snap_store::{Content, Draft, Error, Progress, Result};

use super::{inspect::data_runs, stat::Stat, trust::may_share_blocks};

/// Largest file that is kept in memory.
const MEMORY_FILE_MAX: u64 = 1 << 20;
/// The same where cloning a file is cheaper than copying it.
const MEMORY_FILE_MAX_CLONING: u64 = 64 << 10;
/// Bytes kept in memory in all.
const MEMORY_MAX: u64 = 64 << 20;
/// Runs begin on such boundaries of the spool, as they must for their blocks to be shared.
const ALIGNMENT: u64 = 4096;
/// Bytes copied at once where the kernel does not copy by itself.
const COPY_BYTES: usize = 1 << 20;

/// Everything that is kept aside.
#[derive(Debug)]
pub(super) struct Spool {
    is_cloning: bool,
    folder: PathBuf,
    file: Option<File>,
    /// Where the next run may go in the file.
    end: u64,
    memory_bytes: u64,
    kept: Vec<Kept>,
}

/// The bytes of one file.
#[derive(Debug)]
struct Kept {
    size: u64,
    /// In ascending order of their offset.
    runs: Vec<Run>,
    /// `None` when they are in the spool's file.
    memory: Option<Box<[u8]>>,
}

/// A run of data.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Where it is in the file it was kept from.
    offset: u64,
    length: u64,
    /// Where it is in memory or in the spool's file.
    at: u64,
}

impl Spool {
    /// A spool for what is below `source`, or in `folder` when that cannot hold it.
    pub(super) fn new(source: BorrowedFd<'_>, folder: PathBuf) -> Self {
        let cloned = may_share_blocks(source).then(|| unnamed(source, Path::new(".")).ok());
        let file = cloned.flatten();
        Self {
            is_cloning: file.is_some(),
            folder,
            file,
            end: 0,
            memory_bytes: 0,
            kept: Vec::new(),
        }
    }

    /// Keeps the bytes of `file` and returns their number here; false when it had fewer of them than `stat` says, in
    /// which case the rest reads as zeros.
    pub(super) fn keep(&mut self, file: &File, stat: &Stat, path: &Path) -> Result<(usize, bool)> {
        let runs = match stat.is_sparse() {
            true => data_runs(file, stat.size).map_err(Error::io("find the holes of", path))?,
            false => vec![(0, stat.size)],
        };
        let bytes: u64 = runs.iter().map(|(_, length)| length).sum();
        let (kept, is_whole) = if bytes <= self.memory_room() {
            self.keep_in_memory(file, stat.size, &runs)
                .map_err(Error::io("read", path))?
        } else {
            self.keep_in_file(file, stat.size, &runs, path)?
        };
        self.kept.push(kept);
        Ok((self.kept.len() - 1, is_whole))
    }

    /// Forgets what was kept last: it was read while it changed.
    pub(super) fn forget_last(&mut self) -> Result<()> {
        let Some(kept) = self.kept.pop() else {
            return Ok(());
        };
        match kept.memory {
            Some(memory) => self.memory_bytes -= memory.len() as u64,
            None => self.end = kept.runs.first().map_or(self.end, |run| run.at),
        }
        if let Some(file) = &self.file {
            // Bytes left behind would show where the next attempt finds less to copy.
            file.set_len(self.end)
                .map_err(Error::io("shorten a temporary file in", &*self.folder))?;
        }
        Ok(())
    }

    /// Puts everything that is kept; the contents and their sizes are in order of their numbers.
    pub(super) fn put_all(
        &self,
        draft: &Draft,
        progress: &dyn Progress,
    ) -> Result<Vec<(Content, u64)>> {
        progress.expect_bytes(self.kept.iter().map(|kept| kept.size).sum());
        let put = |kept: &Kept| {
            let content = self.put(draft, kept, progress)?;
            progress.advance(1, 0);
            Ok((content, kept.size))
        };
        self.kept.iter().map(put).collect()
    }

    fn memory_room(&self) -> u64 {
        let largest = match self.is_cloning {
            true => MEMORY_FILE_MAX_CLONING,
            false => MEMORY_FILE_MAX,
        };
        largest.min(MEMORY_MAX - self.memory_bytes)
    }

    fn keep_in_memory(
        &mut self,
        file: &File,
        size: u64,
        data: &[(u64, u64)],
    ) -> io::Result<(Kept, bool)> {
        let (mut memory, mut runs, mut is_whole) = (Vec::new(), Vec::new(), true);
        for (offset, length) in data.iter().copied() {
            let at = memory.len();
            let bytes = usize::try_from(length).map_err(io::Error::other)?;
            memory.resize(at + bytes, 0);
            is_whole &= read_full(file, &mut memory[at..], offset)? == bytes;
            let at = at as u64;
            runs.push(Run { offset, length, at });
        }
        self.memory_bytes += memory.len() as u64;
        let memory = Some(memory.into());
        Ok((Kept { size, runs, memory }, is_whole))
    }

    fn keep_in_file(
        &mut self,
        file: &File,
        size: u64,
        data: &[(u64, u64)],
        path: &Path,
    ) -> Result<(Kept, bool)> {
        if self.file.is_none() {
            let made = unnamed(CWD, &self.folder).or_else(|_| unnamed(CWD, &env::temp_dir()));
            self.file = Some(made.map_err(Error::io("make a temporary file in", &*self.folder))?);
        }
        let mut end = self.end;
        let (mut runs, mut is_whole) = (Vec::new(), true);
        if let Some(spool) = &self.file {
            for (offset, length) in data.iter().copied() {
                let at = end.next_multiple_of(ALIGNMENT);
                let run = Run { offset, length, at };
                let copied = copy(file, spool, run);
                is_whole &= copied.map_err(Error::io("keep aside", path))? == length;
                end = at + length;
                runs.push(run);
            }
        }
        self.end = end;
        let memory = None;
        Ok((Kept { size, runs, memory }, is_whole))
    }

    fn put(&self, draft: &Draft, kept: &Kept, progress: &dyn Progress) -> Result<Content> {
        let is_dense = matches!(&*kept.runs, [run] if run.length == kept.size);
        if is_dense {
            let (spool, at) = (self, 0);
            let mut reader = KeptReader { spool, kept, at };
            let (content, _) = draft.put_content(&mut reader, progress)?;
            return Ok(content);
        }
        let data: Vec<_> = kept
            .runs
            .iter()
            .map(|run| (run.offset, run.length))
            .collect();
        let mut read_at = |offset, buffer: &mut [u8]| self.read_at(kept, offset, buffer);
        draft.put_sparse(kept.size, &data, &mut read_at, progress)
    }

    /// Reads bytes of a kept file: up to the end of a run or of a hole at most.
    fn read_at(&self, kept: &Kept, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let next = kept.runs.partition_point(|run| run.offset <= offset);
        let run = next.checked_sub(1).map(|before| kept.runs[before]);
        let run = run.filter(|run| offset < run.offset + run.length);
        let end = match (run, kept.runs.get(next)) {
            (Some(run), _) => run.offset + run.length,
            (None, Some(run)) => run.offset,
            (None, None) => kept.size,
        };
        let room = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(room);
        let buffer = &mut buffer[..length];
        let Some(run) = run else {
            buffer.fill(0);
            return Ok(length);
        };
        let at = run.at + (offset - run.offset);
        match (&kept.memory, &self.file) {
            (Some(memory), _) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                buffer.copy_from_slice(&memory[at..at + length]);
            }
            (None, Some(file)) => {
                // The spool ends early when the file did: what is missing are zeros.
                let read = read_full(file, buffer, at)?;
                buffer[read..].fill(0);
            }
            (None, None) => buffer.fill(0),
        }
        Ok(length)
    }
}

/// A kept file from its beginning to its end.
struct KeptReader<'a> {
    spool: &'a Spool,
    kept: &'a Kept,
    at: u64,
}

impl io::Read for KeptReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.spool.read_at(self.kept, self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn unnamed(folder: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(folder, path, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Copies a run into the spool; returns how much of it there was.
fn copy(file: &File, spool: &File, run: Run) -> rustix::io::Result<u64> {
    let (mut from, mut to, mut left) = (run.offset, run.at, run.length);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX);
        let copied = copy_file_range(file, Some(&mut from), spool, Some(&mut to), length);
        match copied {
            // File systems that make up their files as they are read copy nothing this way.
            Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(left).unwrap_or(COPY_BYTES))];
    while left > 0 {
        let length = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = match pread(file, &mut buffer[..length], from) {
            Ok(0) => break,
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        write_full(spool, &buffer[..read], to)?;
        from += read as u64;
        to += read as u64;
        left -= read as u64;
    }
    Ok(run.length - left)
}

fn write_full(file: &File, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset) {
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` as far as the file goes.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(file.as_fd(), &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
