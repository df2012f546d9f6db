//! A folder gives back what a file in it still has, and nothing else.

use std::{fs, os::unix::fs::symlink, path::Path};

use snap_store::{ChunkKind, LinkTable, Silent};
use tempfile::TempDir;

use super::*;
use crate::sample::{Sample, Tree, folder, mode};

/// Bytes that no two chunks share.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 77_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Everything a capture stores of these bytes.
fn chunks_of(bytes: &[u8]) -> Vec<(Digest, ChunkKind)> {
    let mut chunks = Vec::new();
    let each = &mut |digest, kind, _: &[u8]| {
        chunks.push((digest, kind));
        Ok(())
    };
    snap_store::recut(&mut &bytes[..], each, &Silent).unwrap();
    chunks
}

fn lost_file(path: &str, bytes: &[u8]) -> LostFile {
    LostFile {
        path: path
            .split('/')
            .map(|name| name.as_bytes().to_vec())
            .collect(),
        chunks: chunks_of(bytes)
            .into_iter()
            .map(|(digest, _)| digest)
            .collect(),
    }
}

fn fetch(top: &Path, at: &[&str], file: &LostFile) -> Vec<(Digest, ChunkKind)> {
    let at = at.iter().map(|name| name.as_bytes().to_vec()).collect();
    let source = FolderSource::open("top", top, at).unwrap().unwrap();
    let mut found = Vec::new();
    let each = &mut |digest, kind, raw: &[u8]| {
        assert_eq!(Digest::of(raw), digest);
        found.push((digest, kind));
        Ok(())
    };
    source.fetch(file, each, &Silent).unwrap();
    found
}

fn folder_with(name: &str, bytes: &[u8]) -> TempDir {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join(name).parent().unwrap()).unwrap();
    fs::write(top.path().join(name), bytes).unwrap();
    top
}

#[test]
fn the_same_file_gives_all_of_its_chunks_and_pages() {
    let bytes = noise(2_000_000);
    let top = folder_with("a/b", &bytes);
    let file = lost_file("a/b", &bytes);
    assert_eq!(fetch(top.path(), &[], &file), chunks_of(&bytes));
    let file = lost_file("data/a/b", &bytes);
    assert_eq!(fetch(top.path(), &["data"], &file), chunks_of(&bytes));
    assert_eq!(fetch(top.path(), &["other"], &file), []);
}

#[test]
fn a_file_that_changed_at_its_beginning_gives_the_rest() {
    let bytes = noise(2_000_000);
    let top = folder_with("file", &[b"new".as_slice(), &bytes].concat());
    let found = fetch(top.path(), &[], &lost_file("file", &bytes));
    let whole = chunks_of(&bytes).len();
    assert!(
        found.len() > whole / 2 && found.len() < whole,
        "{} of {whole}",
        found.len()
    );
}

#[test]
fn what_is_no_regular_file_gives_nothing_and_holds_nobody_up() {
    let bytes = noise(1000);
    let top = folder_with("kept", &bytes);
    symlink("kept", top.path().join("link")).unwrap();
    symlink("/", top.path().join("folder-link")).unwrap();
    fs::create_dir(top.path().join("folder")).unwrap();
    let fifo = top.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for path in [
        "link",
        "folder",
        "fifo",
        "none",
        "kept/below",
        "folder-link/etc/passwd",
        "../kept",
    ] {
        assert_eq!(
            fetch(top.path(), &[], &lost_file(path, &bytes)),
            [],
            "{path}"
        );
    }
    let none = FolderSource::open("none", &top.path().join("none"), Vec::new());
    assert!(none.unwrap().is_none());
}

#[test]
fn sources_are_asked_in_turn_until_nothing_is_missing() {
    let sample = Sample::new();
    let bytes = noise(1_000_000);
    let tree = folder([(b"file", Tree::File(mode(0o644), bytes.clone()))]);
    let manifest = sample.snapshot(&tree, LinkTable::default());
    let mut losses = Losses::default();
    let chunks = chunks_of(&bytes);
    for (digest, _) in &chunks {
        let damaged = Damaged {
            path: vec![b"file".to_vec()],
            range: Some(0..1),
            file_bytes: 1_000_000,
            digest: Some(*digest),
            pack: None,
            problem: "lost".to_owned(),
        };
        losses.add(&manifest.id, &damaged);
    }
    let tops = [
        folder_with("other", b""),
        folder_with("file", &bytes[..500_000]),
        folder_with("file", &bytes),
        folder_with("file", &bytes),
    ];
    let source = |(number, top): (usize, &TempDir)| -> Box<dyn ChunkSource> {
        let name = format!("top {number}");
        Box::new(
            FolderSource::open(&name, top.path(), Vec::new())
                .unwrap()
                .unwrap(),
        )
    };
    let sources: Vec<_> = tops.iter().enumerate().map(source).collect();
    let mut salvage = Salvage::begin(&sample.store, true).unwrap();
    let from = losses
        .fetch(&manifest.id, &sources, &mut salvage, &Silent)
        .unwrap();
    let names: Vec<&str> = from.keys().map(String::as_str).collect();
    assert_eq!(names, ["top 1", "top 2"]);
    assert_eq!(from.values().sum::<u64>(), chunks.len() as u64);
    assert_eq!(salvage.regained(), chunks.len() as u64);
}
