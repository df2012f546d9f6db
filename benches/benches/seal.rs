//! What does it cost to encrypt memory? The yardstick is the same without a key.
//!
//! The images are noise, which does not compress and is therefore encrypted in full, and text, as most of a process's memory compresses. What
//! lies in the store is on a disk; nothing of it is synced here, and what is read was read before.

use std::io::Cursor;

use anyhow::{Context, Result};
use criterion::{BatchSize, Criterion, Throughput};
use snap_benches::{OURS, criterion};
use snap_store::{
    Content, ContentReader, ContentSource, Draft, SealKey, Silent, SnapshotId, Store,
};
const BYTES: usize = 64 << 20;
/// One envelope: what a chunk of memory is on average.
const CHUNK_BYTES: usize = 64 << 10;
/// What is read at once.
const PART_BYTES: usize = 1 << 20;
const CLEAR: &str = "in clear";
const CACHE_BYTES: u64 = 16 << 20;

fn key() -> SealKey {
    SealKey::new(&std::array::from_fn(|at| at as u8))
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 33).to_le_bytes()
    });
    words.flatten().take(length).collect()
}

fn images() -> Result<[(&'static str, Vec<u8>); 2]> {
    let text: Vec<u8> = (0_u64..)
        .flat_map(|number| format!("line {} of a process's memory\n", number * number).into_bytes())
        .take(BYTES)
        .collect();
    Ok([("noise", noise(1, BYTES)), ("text", text)])
}

fn put(draft: &Draft, key: Option<&SealKey>, image: &[u8]) -> (Content, u64) {
    let reader = &mut Cursor::new(image);
    match key {
        Some(key) => draft.put_sealed_pages(key, reader, &Silent),
        None => draft.put_pages(reader, &Silent),
    }
    .expect("the store takes it")
}

/// Puts images that the store does not have, and puts them again.
fn put_memory(criterion: &mut Criterion, store: &Store) -> Result<()> {
    let (images, key) = (images()?, key());
    for (question, is_known) in [("put_memory", false), ("put_known_memory", true)] {
        let mut group = criterion.benchmark_group(question);
        group.throughput(Throughput::Bytes(BYTES as u64));
        for (name, image) in &images {
            for (side, key) in [(OURS, Some(&key)), (CLEAR, None)] {
                let begin = || begun(store, is_known, key, image);
                let put_once = |draft: Draft| {
                    put(&draft, key, image);
                    draft
                };
                group.bench_function(format!("{side}/{name}"), |bencher| {
                    bencher.iter_batched(begin, put_once, BatchSize::PerIteration);
                });
            }
        }
        group.finish();
    }
    Ok(())
}

/// A draft, with the image in it when that is to be known.
fn begun(store: &Store, is_known: bool, key: Option<&SealKey>, image: &[u8]) -> Draft {
    let draft = store.begin(SnapshotId::random()).expect("it begins");
    if is_known {
        put(&draft, key, image);
    }
    draft
}

/// Reads an image from its beginning to its end on one thread.
fn read_memory(criterion: &mut Criterion, store: &Store) -> Result<()> {
    let mut group = criterion.benchmark_group("read_memory");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for (name, image) in &images()? {
        for side in [OURS, CLEAR] {
            let reader = stored(store, side == OURS, image)?;
            group.bench_function(format!("{side}/{name}"), |bencher| {
                let mut buffer = Vec::with_capacity(PART_BYTES);
                bencher.iter(|| read(&reader, &mut buffer));
            });
        }
    }
    group.finish();
    Ok(())
}

/// A reader of the image, which was stored for it.
fn stored(store: &Store, is_sealed: bool, image: &[u8]) -> Result<ContentReader<ContentSource>> {
    let draft = store.begin(SnapshotId::random())?;
    let (content, size) = put(&draft, is_sealed.then(key).as_ref(), image);
    draft.publish_chunks()?;
    let source = match is_sealed {
        true => ContentSource::sealed(store.clone(), key(), CACHE_BYTES),
        false => ContentSource::plain(store.clone(), CACHE_BYTES),
    };
    Ok(ContentReader::new(source, content, size))
}

fn read(reader: &ContentReader<ContentSource>, buffer: &mut Vec<u8>) {
    for offset in (0..BYTES).step_by(PART_BYTES) {
        buffer.clear();
        let read = reader.read_into(offset as u64, PART_BYTES, buffer);
        read.expect("it is there");
    }
}

/// The cipher alone, with the copy of what it opens.
fn open_an_envelope(criterion: &mut Criterion, store: &Store) -> Result<()> {
    let (key, raw) = (key(), noise(2, CHUNK_BYTES));
    let draft = store.begin(SnapshotId::random())?;
    let (content, _) = draft.put_sealed_content(&key, &mut &*raw, &Silent)?;
    draft.publish_chunks()?;
    let Content::Chunk(digest) = content else {
        anyhow::bail!("It is more than a chunk");
    };
    let envelope = store.get(&digest).context("Read the envelope")?;
    let mut group = criterion.benchmark_group("open_an_envelope");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    group.bench_function(OURS, |bencher| {
        bencher.iter(|| key.open(&digest, &envelope).expect("it is whole"));
    });
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    let mut criterion = criterion();
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let store = Store::ensure(folder.path())?;
    open_an_envelope(&mut criterion, &store)?;
    put_memory(&mut criterion, &store)?;
    read_memory(&mut criterion, &store)?;
    criterion.final_summary();
    Ok(())
}
