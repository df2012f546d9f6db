use std::{fs, os::unix::fs::symlink};

use snap_store::SnapshotId;

use super::*;

fn captured(source: &str, pause_us: u64, memory: Option<u64>) -> SnapshotRecord {
    SnapshotRecord {
        is_container: true,
        state: SnapshotState::Active,
        pause_us,
        memory: memory.map(|bytes| MemoryMark::Captured {
            bytes,
            is_sealed: false,
        }),
        ..SnapshotRecord::creating(
            SnapshotId::random(),
            "default".parse().unwrap(),
            source.to_owned(),
            0,
        )
    }
}

#[test]
fn the_pause_is_that_of_the_capture_most_alike() {
    let past = [
        captured("web", 10, None),
        captured("db", 20, None),
        captured("db", 30, None),
        captured("db", 1000, Some(1 << 20)),
        captured("web", 9000, Some(100 << 20)),
    ];
    assert_eq!(pause(&past, "db", None).0, 20);
    assert_eq!(pause(&past, "new", None).0, 10);
    assert_eq!(pause(&past, "db", Some(2 << 20)).0, 2000);
    assert_eq!(pause(&past, "db", Some(90 << 20)).0, 9000);
    let (_, from) = pause(&past, "db", Some(1));
    assert!(from.contains(&past[3].id.to_string()), "{from}");
}

#[test]
fn a_host_without_a_past_has_assumptions_and_says_so() {
    for images in [None, Some(0), Some(1 << 40), Some(u64::MAX)] {
        let (pause_us, from) = pause(&[], "web", images);
        assert!(pause_us > 0 && from.contains("assumption"), "{from}");
    }
    assert_eq!(
        pause(&[], "web", Some(512 << 20)).0,
        MEMORY_PAUSE_US + 1_000_000
    );
    assert_eq!(scaled(u64::MAX, u64::MAX, 0), u64::MAX);
}

#[test]
fn what_is_below_a_folder_is_counted_and_links_are_not_followed() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("a/b")).unwrap();
    fs::write(top.path().join("a/b/file"), vec![1; 100_000]).unwrap();
    symlink("/", top.path().join("a/link")).unwrap();
    let mut counted = Counted::default();
    counted.add(top.path(), Path::new("/")).unwrap();
    assert_eq!((counted.nodes, counted.is_partial), (4, false));
    assert!(
        (100_000..1 << 20).contains(&counted.bytes),
        "{}",
        counted.bytes
    );
    let nothing = top.path().join("nothing");
    assert!(Counted::default().add(&nothing, Path::new("")).is_err());
    let mut missing = Counted::default();
    missing.add(top.path(), Path::new("/nothing")).unwrap();
    assert_eq!(missing.nodes, 0, "the layers below may have it");
}
