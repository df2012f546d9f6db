use std::path::Path;

use super::*;
use crate::{disk::doubles::MemoryDisk, pack::unframe, store::tests::noise};

const FOLDER: &str = "draft";

fn pipeline(pending_chunks: usize) -> (MemoryDisk, Pipeline) {
    let disk = MemoryDisk::default();
    disk.create_folder(Path::new(FOLDER)).unwrap();
    let folder = PathBuf::from(FOLDER);
    let pipeline = Pipeline::new(Arc::new(disk.clone()), folder, pending_chunks);
    (disk, pipeline)
}

fn put(pipeline: &Pipeline, raw: &[u8]) -> bool {
    let digest = Digest::of(raw);
    !pipeline.has(&digest).unwrap() && pipeline.put(digest, raw.to_vec(), Kind::Data).unwrap()
}

#[test]
fn chunks_that_have_left_memory_are_still_known_and_read() {
    let (disk, pipeline) = pipeline(2);
    let chunks: Vec<_> = (0..45).map(|seed| noise(seed, 4 << 20)).collect();
    for raw in &chunks {
        assert!(put(&pipeline, raw));
    }
    let sealed = pipeline.seal().unwrap();
    assert!(!disk.files(".segment").is_empty());
    assert!(sealed.iter().map(|pack| pack.chunks).sum::<usize>() == chunks.len());
    for raw in &chunks {
        assert!(!put(&pipeline, raw));
        let digest = Digest::of(raw);
        let (path, frame) = pipeline.wait_for(&digest).unwrap().unwrap();
        let file = disk.open(&path).unwrap();
        assert!(unframe(&*file, &frame, &digest, &0).unwrap() == *raw);
    }
}

#[test]
fn many_packs_are_not_kept_open() {
    let (_disk, pipeline) = pipeline(usize::MAX);
    for seed in 0..10 {
        for part in 0..8 {
            put(&pipeline, &noise(seed * 8 + part, 4 << 20));
        }
    }
    let sealed = pipeline.seal().unwrap();
    assert!(sealed.len() > SYNC_EACH);
    assert!(sealed.iter().all(|pack| pack.sink.is_none()));
}

#[test]
fn nobody_waits_for_ever_for_a_chunk_that_cannot_be_packed() {
    let (disk, pipeline) = pipeline(usize::MAX);
    disk.fail_at(0, std::io::ErrorKind::Other, true);
    let raw = noise(1, 100);
    put(&pipeline, &raw);
    assert!(pipeline.wait_for(&Digest::of(&raw)).is_err());
    assert!(pipeline.seal().is_err());
    assert!(pipeline.check().is_err());
}
