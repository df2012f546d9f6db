//! What lies in the store may be damaged or hostile: that is said, hurts nothing else, and is never handed out.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use snap_api::{Created, SnapshotState, SnapshotView};
use snap_tests::{Host, noise};

const UNAVAILABLE: i32 = 7;
const CORRUPT: i32 = 8;

fn folder(host: &Host, name: &str) -> String {
    host.folder().join(name).to_string_lossy().into_owned()
}

/// A host with one snapshot of a folder with 3 MB of noise in it.
fn host_with_noise() -> Result<(Host, String)> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 3_000_000)?;
    let created: Created = host.snap_json(&[
        "create",
        "--path",
        &data.to_string_lossy(),
        "--name",
        "data:v1",
    ])?;
    Ok((host, created.snapshot.id))
}

/// The largest pack: the one that holds the noise.
fn largest_pack(host: &Host) -> Result<PathBuf> {
    let mut packs = Vec::new();
    for folder in fs::read_dir(host.root().join("packs"))? {
        for pack in fs::read_dir(folder?.path())? {
            let pack = pack?;
            packs.push((pack.metadata()?.len(), pack.path()));
        }
    }
    let (_, path) = packs.into_iter().max().context("There is a pack")?;
    Ok(path)
}

fn flip_a_byte(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    fs::write(path, bytes)?;
    Ok(())
}

/// **R3** Data that does not match its digest is never handed out: reading it is an input/output error.
#[test]
fn a_corrupt_chunk_is_an_error_wherever_it_is_read() -> Result<()> {
    let (host, _) = host_with_noise()?;
    flip_a_byte(&largest_pack(&host)?)?;
    assert_eq!(host.snapctl(["verify", "data:v1"])?.code, CORRUPT);
    let mounted = host.make_folder("mounted")?;
    host.snap(&["mount", "data:v1", &mounted.to_string_lossy()])?;
    let read = fs::read(mounted.join("file")).expect_err("the chunk is corrupt");
    assert_eq!(read.raw_os_error(), Some(5));
    let copied = host.snapctl(["copy", "data:v1:/file", &folder(&host, "copy")])?;
    assert_eq!(copied.code, CORRUPT, "{copied:?}");
    Ok(())
}

#[test]
fn a_truncated_pack_is_found_and_the_daemon_starts_with_it() -> Result<()> {
    let (mut host, _) = host_with_noise()?;
    host.take_daemon()?.stop()?;
    let pack = largest_pack(&host)?;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600))?;
    let file = fs::File::options().write(true).open(&pack)?;
    file.set_len(file.metadata()?.len() / 2)?;
    host.start_daemon()?;
    assert_eq!(host.snapctl(["verify", "data:v1"])?.code, CORRUPT);
    let data = folder(&host, "data");
    host.snap(&["create", "--path", &data, "--name", "data:v2"])?;
    Ok(())
}

/// What is done to a manifest, and the exit code of reading it.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage, i32); 5] = [
    ("emptied", Vec::clear, CORRUPT),
    ("cut short", |bytes| bytes.truncate(20), CORRUPT),
    (
        "of a later version",
        |bytes| bytes[8..12].fill(255),
        UNAVAILABLE,
    ),
    ("endless lengths", |bytes| bytes[24..40].fill(255), CORRUPT),
    (
        "one bit flipped",
        |bytes| *bytes.last_mut().expect("it is not empty") ^= 1,
        CORRUPT,
    ),
];

#[test]
fn a_hostile_manifest_is_refused_and_hurts_nobody_else() -> Result<()> {
    let (mut host, id) = host_with_noise()?;
    let data = folder(&host, "data");
    host.snap(&["create", "--path", &data, "--name", "other:v1"])?;
    let path = host.root().join("manifests").join(format!("{id}.manifest"));
    let whole = fs::read(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    for (what, damage, expected) in DAMAGES {
        host.take_daemon()?.stop()?;
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, bytes)?;
        host.start_daemon()?;
        let answer = host.snapctl(["tree", &id])?;
        assert_eq!(answer.code, expected, "{what}: {answer:?}");
        host.snap(&["verify", "other:v1"])?;
    }
    Ok(())
}

#[test]
fn a_damaged_catalogue_is_made_again_from_the_manifests() -> Result<()> {
    let (mut host, id) = host_with_noise()?;
    host.take_daemon()?.stop()?;
    for suffix in ["", "-wal", "-shm"] {
        let path = host.root().join(format!("catalogue.db{suffix}"));
        if path.exists() {
            fs::write(path, "no database at all".repeat(1000))?;
        }
    }
    let refused = format!("{:#}", host.start_daemon().expect_err("it is no database"));
    assert!(refused.contains("--repair-catalogue"), "{refused}");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(host.root().join(format!("catalogue.db{suffix}")));
    }
    host.start_daemon()?;
    let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].id.as_str(), all[0].state),
        (id.as_str(), SnapshotState::Active)
    );
    assert!(
        all[0].names.contains(&"data:v1".to_owned()),
        "{:?}",
        all[0].names
    );
    Ok(())
}
