//! Full disks: small file systems of their own, filled by the store itself and by others, at every stage of what writes to them.

use std::{fs, io::Write, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use snap_api::{Collected, DiskPressure, Status, Verified};
use snap_tests::{Host, HostOptions, LoopFolder, noise, rounds, text, wait_for};

const SOON: Duration = Duration::from_secs(30);
const LIMIT: i32 = 5;
const UNAVAILABLE: i32 = 7;

/// Nothing by itself: the test says when.
const ON_REQUEST: &str = "collect_interval = 'never'\ndisk_high_percent = 100\n";

/// A block of the file systems here.
const BLOCK: u64 = 4096;

fn collect(host: &Host) -> Result<Collected> {
    host.snap_json(&["collect", "--grace", "0"])
}

fn status(host: &Host) -> Result<Status> {
    host.snap_json(&["status"])
}

fn verify(host: &Host, flags: &[&str]) -> Result<()> {
    let arguments: Vec<_> = ["verify"].iter().chain(flags).copied().collect();
    let verified: Verified = host.snap_json(&arguments)?;
    ensure!(verified.damage.is_empty(), "Damaged: {:?}", verified.damage);
    Ok(())
}

fn host_on(disk: &LoopFolder, config: &str) -> Result<Host> {
    Host::start_with(&HostOptions {
        config: config.to_owned(),
        root: Some(disk.path().join("root")),
        without_containerd: true,
        ..HostOptions::default()
    })
}

/// Somebody else's file, which takes all of a disk but so many bytes; removed when dropped.
struct Filler(PathBuf);

impl Filler {
    fn leaving(disk: &LoopFolder, room: u64) -> Result<Self> {
        let filler = Self(disk.path().join("filler"));
        let mut file = fs::File::create(&filler.0)?;
        for size in [1 << 20, BLOCK as usize] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        // What does not fit any more was noticed already.
        let _ = file.sync_all();
        let length = file.metadata()?.len();
        file.set_len(length.saturating_sub(room))?;
        file.sync_all()?;
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Bytes of the store's files.
fn stored(host: &Host) -> Result<u64> {
    let files = host.stored_files()?;
    Ok(files.iter().map(|(_, bytes)| bytes).sum())
}

/// Rooms that end what needs `bytes` at every stage: early, and block by block around the end.
fn rooms(bytes: u64) -> Vec<u64> {
    let early = (0..4).map(|part| bytes * part / 4);
    let blocks = rounds(16, 120) as u64;
    let late = (0..blocks).map(|step| bytes - bytes / 16 + step * 3 * BLOCK);
    early.chain(late).collect()
}

/// Whatever room there is: it is made, or refused as the lack of space that it is; nothing of what was refused stays.
#[test]
fn a_disk_that_is_full_at_any_stage_of_a_capture_loses_nothing() -> Result<()> {
    const BYTES: u64 = 1 << 20;
    let disk = LoopFolder::new("ext4", 64 << 20)?;
    let host = host_on(&disk, &format!("{ON_REQUEST}reserve_bytes = 0\n"))?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), BYTES / 2)?;
    let kept = host.capture(&data, &[])?.snapshot.id;
    let (mut refused, mut made) = (0, 0);
    for room in rooms(BYTES) {
        noise(&data.join("file"), BYTES)?;
        let filler = Filler::leaving(&disk, room)?;
        let answer = host.snapctl(["create", "--quiet", "--path", text(&data)?])?;
        drop(filler);
        match answer.code {
            0 => {
                made += 1;
                let id = answer.ok()?;
                verify(&host, &[&id])?;
                host.snap(&["remove", &id])?;
            }
            UNAVAILABLE => {
                refused += 1;
                ensure!(answer.stderr.contains("space"), "{}", answer.stderr);
            }
            _ => anyhow::bail!("With room for {room} bytes: {answer:?}"),
        }
        collect(&host)?;
        let stored = stored(&host)?;
        ensure!(
            stored < BYTES,
            "{stored} bytes stay, room {room}: {:?}",
            host.stored_files()?
        );
        verify(&host, &[&kept])?;
    }
    ensure!(refused > 3 && made > 3, "{refused} refused, {made} made");
    Ok(())
}

/// Whatever room there is, what is dead can be given back, and what is needed of it stays.
#[test]
fn a_disk_that_is_full_at_any_stage_of_a_collection_loses_nothing() -> Result<()> {
    const NEEDED: u64 = 300_000;
    let disk = LoopFolder::new("ext4", 64 << 20)?;
    let host = host_on(&disk, &format!("{ON_REQUEST}reserve_bytes = 0\n"))?;
    let (whole, part) = (host.make_folder("whole")?, host.make_folder("part")?);
    for room in rooms(NEEDED) {
        noise(&part.join("file"), NEEDED)?;
        fs::copy(part.join("file"), whole.join("part"))?;
        noise(&whole.join("rest"), 4 * NEEDED)?;
        let gone = host.capture(&whole, &[])?.snapshot.id;
        let kept = host.capture(&part, &[])?.snapshot.id;
        host.snap(&["remove", &gone])?;
        let before = stored(&host)?;
        let filler = Filler::leaving(&disk, room)?;
        let answer = host.snapctl(["collect", "--grace", "0"])?;
        ensure!(
            answer.code == 0 || answer.code == UNAVAILABLE && answer.stderr.contains("space"),
            "With room for {room} bytes: {answer:?}"
        );
        verify(&host, &[&kept])?;
        drop(filler);
        collect(&host)?;
        let after = stored(&host)?;
        ensure!(
            after + 3 * NEEDED < before,
            "{before} bytes before, {after} after"
        );
        verify(&host, &[&kept])?;
        host.snap(&["remove", &kept])?;
    }
    Ok(())
}

/// **C6** Above `disk_high_percent` of its file system the store is collected at once; when that does not help, captures
/// are refused with `limit`, and possible again as soon as there is room.
#[test]
fn a_full_disk_refuses_captures_until_a_removal_gives_space_back() -> Result<()> {
    let disk = LoopFolder::new("ext4", 96 << 20)?;
    let config = "disk_high_percent = 80\ndisk_low_percent = 75\nreserve_bytes = '1MiB'\n";
    let host = host_on(&disk, config)?;
    let data = host.make_folder("data")?;
    let mut made = Vec::new();
    let refused = loop {
        noise(&data.join("file"), 8 << 20)?;
        let answer = host.snapctl(["create", "--quiet", "--path", text(&data)?])?;
        match answer.code {
            0 => made.push(answer.ok()?),
            _ => break answer,
        }
        ensure!(made.len() < 12, "{:?}", status(&host)?.disk);
    };
    assert_eq!(refused.code, LIMIT, "{}", refused.stderr);
    ensure!(refused.stderr.contains("% full"), "{}", refused.stderr);
    assert_eq!(status(&host)?.disk.pressure, DiskPressure::Full);
    verify(&host, &[])?;

    let half = made.len() / 2;
    let gone: Vec<_> = made.drain(..half).collect();
    let arguments = ["remove"]
        .into_iter()
        .chain(gone.iter().map(String::as_str));
    host.snapctl(arguments)?.ok()?;
    host.capture(&data, &[]).context("There is room again")?;
    wait_for("the pressure to be over", SOON, || {
        Ok((status(&host)?.disk.pressure == DiskPressure::None).then_some(()))
    })?;
    ensure!(status(&host)?.collection.last.is_some(), "it was collected");
    verify(&host, &[])
}

/// Somebody else's files have taken the last byte: nothing new can be written, and what is dead can still be given back.
#[test]
fn on_a_disk_that_is_full_to_the_last_byte_a_collection_makes_room() -> Result<()> {
    let disk = LoopFolder::new("ext4", 64 << 20)?;
    let host = host_on(&disk, &format!("{ON_REQUEST}reserve_bytes = '1MiB'\n"))?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 8 << 20)?;
    let gone = host.capture(&data, &[])?.snapshot.id;
    noise(&data.join("file"), 100_000)?;
    let kept = host.capture(&data, &[])?.snapshot.id;
    let filler = Filler::leaving(&disk, 0)?;
    let refused = host.snapctl(["create", "--path", text(&data)?])?;
    assert_eq!(refused.code, UNAVAILABLE, "{}", refused.stderr);
    verify(&host, &[&kept])?;
    host.snap(&["remove", &gone])?;
    let done = collect(&host)?;
    ensure!(done.freed_bytes > 8 << 20, "{done:?}");
    host.capture(&data, &[]).context("There is room again")?;
    drop(filler);
    verify(&host, &[])
}
