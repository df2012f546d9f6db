//! Decodes what a sequential reader will ask for next, so that it does not wait for decompression.
//!
//! A reader is taken for sequential when a read begins where the last one of the same file ended, give or take
//! what the kernel sends out of order. The window then doubles with every step up to [`MAX_WINDOW_BYTES`].
//! A large read is shared: the threads here decode it from its end on while the reader begins at its beginning.
//! Who jumps about in a file, as programs that start do, has the disk asked for all of it at the first jump.
//! Who reads one small file after the other, in the order of the tree, is led too ([`walk`]).
//! Everything here is a guess: a full queue drops it, an error is left for the reader to meet.

use std::{collections::HashMap, ops::Range, sync::Mutex, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use snap_store::{ChunkBytes, ContentReader, ContentSource, Digest, PageSource};
use tracing::warn;

use super::{Number, ViewOptions};

mod walk;

use walk::Walker;

/// The first step ahead of a reader.
const MIN_WINDOW_BYTES: u64 = 256 << 10;
/// The furthest step; also bounded by an eighth of the chunk cache, so that a few readers do not push each other out.
const MAX_WINDOW_BYTES: u64 = 4 << 20;
/// How far the kernel's parallel reads may be out of order: one FUSE read.
const DISORDER_BYTES: u64 = 1 << 20;
/// A smaller read is not shared: waking another thread takes as long as decoding a chunk.
const SHARED_BYTES: u64 = 256 << 10;
/// How much of a file the disk is asked for when its first bytes are read: who starts a program jumps about in it, and waits for the disk
/// at each jump.
const ASKED_BYTES: u64 = 32 << 20;
/// Readers followed at once.
const MAX_READERS: usize = 256;
/// Steps waiting to be decoded.
const MAX_QUEUED: usize = 64;

/// Follows readers and decodes ahead of them. Its threads end when it is dropped.
#[derive(Debug)]
pub(super) struct ReadAhead {
    source: ContentSource,
    readers: Mutex<Readers>,
    walker: Walker,
    queue: Option<Sender<Step>>,
    max_window: u64,
}

#[derive(Debug, Default)]
struct Readers {
    by_number: HashMap<Number, Reader>,
    clock: u64,
}

/// One file that is being read.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// The end of the furthest read.
    read_to: u64,
    /// The end of what was asked to be decoded.
    ahead_to: u64,
    /// The size of the next step; 0 before the reader has shown to be sequential.
    window: u64,
    last_used: u64,
}

/// What is to be decoded.
#[derive(Debug)]
enum Step {
    /// A part of a file that the disk is asked for, no more.
    Ask(ContentReader<ContentSource>, Range<u64>),
    /// A run of a file.
    Run(ContentReader<ContentSource>, Range<u64>),
    /// The rest of a read under way, which the disk was asked for.
    Rest(Vec<Digest>),
    /// Small files.
    Files(Vec<Digest>),
}

impl ReadAhead {
    pub(super) fn start(source: &ContentSource, options: &ViewOptions) -> Self {
        let (queue, steps) = bounded(MAX_QUEUED);
        let names = (0..options.read_ahead_threads).map(|index| format!("read-ahead-{index}"));
        let threads = names.filter(|name| spawn(name, source, &steps)).count();
        Self {
            source: source.clone(),
            readers: Mutex::default(),
            walker: Walker::default(),
            queue: (threads > 0).then_some(queue),
            max_window: MAX_WINDOW_BYTES.min(options.cache_bytes / 8),
        }
    }

    /// Notes that `wanted` of the file `number` is being read.
    pub(super) fn note(
        &self,
        number: Number,
        content: &ContentReader<ContentSource>,
        wanted: &Range<u64>,
    ) {
        let Some(queue) = &self.queue else { return };
        let (is_first, ahead) = {
            let mut readers = self
                .readers
                .lock()
                .expect("no thread panics while it holds the readers");
            let (is_first, reader) = readers.reader(number, wanted);
            (is_first, reader.advance(wanted, self.max_window))
        };
        if is_first {
            let rest = wanted.end..wanted.end.saturating_add(ASKED_BYTES);
            let _ = queue.try_send(Step::Ask(content.clone(), rest));
        }
        if let Some(range) = ahead {
            let _ = queue.try_send(Step::Run(content.clone(), range));
        }
    }

    /// Has others help with a large read that has to be decoded now, and the disk asked for all of it at once.
    pub(super) fn share(&self, content: &ContentReader<ContentSource>, wanted: &Range<u64>) {
        let Some(queue) = &self.queue else { return };
        let length = wanted.end - wanted.start;
        if length < SHARED_BYTES {
            return;
        }
        let mut chunks = content.chunks(wanted.start, length).unwrap_or_default();
        chunks.retain(|chunk| !self.source.is_cached(chunk));
        if chunks.len() > 1 {
            self.source.store().expect(&chunks);
            chunks.reverse();
            let _ = queue.try_send(Step::Rest(chunks));
        }
    }

    /// Notes that the small file at this position is being read. `chunk_at` knows the chunks of other small files, as far as they were
    /// listed or looked up.
    pub(super) fn note_small(&self, position: u64, chunk_at: impl Fn(u64) -> Option<Digest>) {
        let Some(queue) = &self.queue else { return };
        let Some(ahead) = self.walker.advance(position) else {
            return;
        };
        let mut chunks: Vec<_> = ahead.filter_map(chunk_at).collect();
        chunks.retain(|chunk| !self.source.is_cached(chunk));
        if !chunks.is_empty() {
            let _ = queue.try_send(Step::Files(chunks));
        }
    }
}

impl Readers {
    /// The reader of a file, and whether it was not known before.
    fn reader(&mut self, number: Number, wanted: &Range<u64>) -> (bool, &mut Reader) {
        self.clock += 1;
        let is_first = !self.by_number.contains_key(&number);
        if self.by_number.len() >= MAX_READERS && is_first {
            let oldest = self
                .by_number
                .iter()
                .min_by_key(|(_, reader)| reader.last_used);
            if let Some(oldest) = oldest.map(|(number, _)| *number) {
                self.by_number.remove(&oldest);
            }
        }
        let reader = self.by_number.entry(number).or_insert(Reader {
            read_to: wanted.start,
            ahead_to: 0,
            window: 0,
            last_used: 0,
        });
        reader.last_used = self.clock;
        (is_first, reader)
    }
}

impl Reader {
    /// The run that should be decoded now, if the reader is sequential and not far enough ahead already.
    fn advance(&mut self, wanted: &Range<u64>, max_window: u64) -> Option<Range<u64>> {
        if wanted.start.abs_diff(self.read_to) > DISORDER_BYTES {
            (self.read_to, self.ahead_to, self.window) = (wanted.end, 0, 0);
            return None;
        }
        self.read_to = self.read_to.max(wanted.end);
        if self.window == 0 {
            self.window = MIN_WINDOW_BYTES.min(max_window);
            return None;
        }
        if self.ahead_to > self.read_to + self.window / 2 {
            return None;
        }
        let start = self.ahead_to.max(self.read_to);
        self.ahead_to = self.read_to + self.window;
        self.window = (self.window * 2).min(max_window);
        (start < self.ahead_to).then_some(start..self.ahead_to)
    }
}

/// Starts a thread that ends when nobody sends steps any more; false when there is none to be had.
fn spawn(name: &str, source: &ContentSource, steps: &Receiver<Step>) -> bool {
    let (source, steps) = (source.clone(), steps.clone());
    let spawned = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || decode(&source, &steps));
    if let Err(error) = &spawned {
        warn!(%error, "Cannot start a read-ahead thread");
    }
    spawned.is_ok()
}

fn decode(source: &ContentSource, steps: &Receiver<Step>) {
    for step in steps {
        match step {
            Step::Ask(content, range) => {
                let chunks = content.chunks(range.start, range.end - range.start);
                source.store().expect(&chunks.unwrap_or_default());
            }
            Step::Rest(chunks) => get_all(&chunks, |chunk| source.chunk(chunk)),
            Step::Files(chunks) => get_all(&chunks, |chunk| source.chunk_near(chunk)),
            Step::Run(content, range) => {
                let chunks = content.chunks(range.start, range.end - range.start);
                let mut chunks = chunks.unwrap_or_default();
                chunks.retain(|chunk| !source.is_cached(chunk));
                source.store().expect(&chunks);
                get_all(&chunks, |chunk| source.chunk(chunk));
            }
        }
    }
}

fn get_all(chunks: &[Digest], get: impl Fn(&Digest) -> snap_store::Result<ChunkBytes>) {
    for chunk in chunks {
        let _ = get(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader {
            read_to: 0,
            ahead_to: 0,
            window: 0,
            last_used: 0,
        }
    }

    #[test]
    fn a_sequential_reader_is_led_by_a_growing_window_without_gaps() {
        let (mut reader, mut ahead, mut widest) = (reader(), 0, 0);
        for start in (0..64 << 20).step_by(128 << 10) {
            if let Some(range) = reader.advance(&(start..start + (128 << 10)), 4 << 20) {
                assert!(range.start == ahead || ahead <= start + (128 << 10));
                widest = widest.max(range.end - (start + (128 << 10)));
                ahead = range.end;
            }
            assert!(start < 1 << 20 || ahead > start);
        }
        assert_eq!(widest, 4 << 20);
    }

    #[test]
    fn a_random_reader_is_left_alone() {
        let mut reader = reader();
        for step in 1..100_u64 {
            let start = step * 7919 % 97 * (16 << 20);
            assert_eq!(reader.advance(&(start..start + 4096), 4 << 20), None);
        }
    }

    #[test]
    fn the_oldest_reader_makes_room() {
        let mut readers = Readers::default();
        for number in 0..MAX_READERS as u64 + 10 {
            readers.reader(number, &(0..1));
        }
        assert_eq!(readers.by_number.len(), MAX_READERS);
        assert!(!readers.by_number.contains_key(&9));
    }
}
