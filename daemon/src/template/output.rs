//! What the processes of a stage print: passed on as it comes, and its end kept for the error of a step that fails.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use snap_api::{ErrorCode, ErrorReport};

use crate::{
    error::{Error, Result},
    jobs::JobHandle,
};

/// Lines of a step's output that its error carries, and their length in characters.
const TOLD_LINES: usize = 12;
const TOLD_CHARS: usize = 300;
/// A log that is longer is begun anew: what was in it has been passed on.
const MAX_LOG_BYTES: u64 = 16 << 20;
const READ_BYTES: u64 = 64 << 10;

/// What the processes of a stage print, passed on to the job, and the end of it.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    offset: u64,
    end: VecDeque<String>,
    line: Vec<u8>,
    job: JobHandle,
}

impl Output {
    /// That of the processes whose log is at `path`.
    pub(super) fn of(path: PathBuf, job: &JobHandle) -> Self {
        Self {
            path,
            offset: 0,
            end: VecDeque::new(),
            line: Vec::new(),
            job: job.clone(),
        }
    }

    /// Hands on what has been printed since.
    pub(super) fn pass_on(&mut self) -> Result<()> {
        let Ok(mut log) = File::options().read(true).write(true).open(&self.path) else {
            // Nothing was started yet.
            return Ok(());
        };
        let mut failed = |source| Error::io("read", &self.path)(source);
        log.seek(SeekFrom::Start(self.offset))
            .map_err(&mut failed)?;
        loop {
            let mut part = Vec::new();
            let read = log.by_ref().take(READ_BYTES).read_to_end(&mut part);
            let read = read.map_err(&mut failed)?;
            if read == 0 {
                break;
            }
            self.offset += read as u64;
            self.job.print(&part);
            remember(&mut self.end, &mut self.line, &part);
        }
        if self.offset > MAX_LOG_BYTES {
            log.set_len(0).map_err(&mut failed)?;
            self.offset = 0;
        }
        Ok(())
    }

    /// An error that carries the last lines.
    pub(super) fn failure(&self, reason: &str, message: String) -> Error {
        let mut report = ErrorReport::new(ErrorCode::Conflict, reason, message);
        let last = String::from_utf8_lossy(&self.line).into_owned();
        let last = Some(last).filter(|line| !line.trim().is_empty());
        let lines = self.end.iter().cloned().chain(last);
        report.causes = lines
            .map(|line| line.chars().take(TOLD_CHARS).collect())
            .collect();
        report.into()
    }
}

/// Keeps the last lines of what is printed.
fn remember(end: &mut VecDeque<String>, line: &mut Vec<u8>, part: &[u8]) {
    for byte in part {
        match byte {
            b'\n' => {
                let whole = String::from_utf8_lossy(line).into_owned();
                line.clear();
                if !whole.trim().is_empty() {
                    end.push_back(whole);
                }
                if end.len() > TOLD_LINES {
                    end.pop_front();
                }
            }
            byte if line.len() < TOLD_CHARS * 4 => line.push(*byte),
            _ => {}
        }
    }
}
