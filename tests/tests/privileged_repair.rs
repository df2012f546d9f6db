//! Damage on the disk of the store, with real containers on top: never a wrong byte, whole again where a copy can be had, and
//! told exactly where not.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use snap_api::{Repaired, SnapshotDetail, SnapshotView, Verified};
use snap_tests::{Host, Image, text};

const CORRUPT: i32 = 8;
const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.2; done";
const BYTES: usize = 300_000;
const PAGE: usize = 4096;

/// Flips a bit in the middle of where these bytes are stored, which nothing compresses; says at which of them.
fn damage(host: &Host, bytes: &[u8]) -> Result<usize> {
    // One look may fall on the end of a chunk.
    for at in (BYTES / 2..).step_by(1000).take(5) {
        let needle = &bytes[at..at + 64];
        for (name, _) in host.stored_files()? {
            let mut stored = fs::read(&name)?;
            let found = stored
                .windows(needle.len())
                .position(|window| window == needle);
            if let Some(found) = found.filter(|_| name.ends_with(".pack")) {
                stored[found] ^= 1;
                fs::write(&name, stored)?;
                return Ok(at);
            }
        }
    }
    anyhow::bail!("No pack holds the bytes")
}

/// True when the file can be read to its end in the container.
fn reads(host: &Host, container: &str, file: &str) -> Result<bool> {
    let script = format!("cat {file} > /dev/null 2> /dev/null && echo yes || echo no");
    Ok(host.exec(container, &script)? == "yes")
}

fn sum(host: &Host, container: &str, file: &str) -> Result<String> {
    host.exec(container, &format!("md5sum < {file}"))
}

fn repair(host: &Host, flags: &[&str]) -> Result<(i32, Repaired)> {
    let answer = host.snapctl([&["--output", "json", "repair"], flags].concat())?;
    let repaired = serde_json::from_str(&answer.stdout).with_context(|| format!("{answer:?}"))?;
    Ok((answer.code, repaired))
}

fn lost(repaired: &Repaired) -> Vec<String> {
    let paths = repaired.lost.iter().filter_map(|place| place.path.as_ref());
    paths.map(ToString::to_string).collect()
}

/// **V4** `snapctl repair` has damaged chunks again from another pack, or from the container, the layers or the folder they were
/// captured from, as long as one of these is still on this host. Mounted snapshots and restored containers that run read
/// what was mended without a restart.
#[test]
fn a_running_clone_reads_what_was_fetched_again_from_the_original() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", &format!("head -c {BYTES} /dev/urandom > /data"))?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let content = fs::read(host.rootfs("one").join("data"))?;
    damage(&host, &content)?;
    assert!(!reads(&host, "two", "/data")?);
    let answer = host.snapctl(["--output", "json", "verify", "site"])?;
    let verified: Verified = serde_json::from_str(&answer.stdout)?;
    let paths = verified
        .damage
        .iter()
        .filter_map(|place| place.path.as_ref());
    assert_eq!(
        paths.map(ToString::to_string).collect::<Vec<_>>(),
        ["/data"]
    );
    assert_eq!(answer.code, CORRUPT);

    let before = host.stored_files()?;
    let (code, foretold) = repair(&host, &["--dry-run"])?;
    assert_eq!((code, lost(&foretold)), (0, Vec::new()));
    assert_eq!(
        (foretold.regained_chunks, host.stored_files()?),
        (1, before)
    );
    let (code, repaired) = repair(&host, &[])?;
    assert_eq!((code, repaired.regained_chunks), (0, 1), "{repaired:?}");
    let from: Vec<_> = repaired.regained_from.keys().collect();
    ensure!(
        from.len() == 1 && from[0].starts_with("container "),
        "{from:?}"
    );
    assert_eq!(sum(&host, "two", "/data")?, sum(&host, "one", "/data")?);
    host.snap(&["verify"])?;
    assert!(repair(&host, &[])?.1.is_whole());
    Ok(())
}

/// A snapshot `site` of a container that is gone, with damage in a file of its layer and in one of its own, and a clone of it that
/// runs. Returns the content of the
/// latter file, and at which of its bytes it is damaged.
fn host_with_damage_in_a_layer_and_above() -> Result<(Host, Vec<u8>, usize)> {
    let host = Host::start()?;
    let layer = host.make_folder("layer")?;
    random(&layer.join("of-the-layer"))?;
    let base = Image::Busybox.rootfs()?;
    host.import_layers("example.com/layered:1", &[&base, &layer])?;
    host.run("one", "example.com/layered:1", IDLE)?;
    host.exec(
        "one",
        &format!("head -c {BYTES} /dev/urandom > /of-its-own; echo x > /other"),
    )?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let (of_the_layer, of_its_own) = (
        fs::read(layer.join("of-the-layer"))?,
        fs::read(host.rootfs("one").join("of-its-own"))?,
    );
    host.remove_by_ctr("one")?;
    damage(&host, &of_the_layer)?;
    let at = damage(&host, &of_its_own)?;
    Ok((host, of_its_own, at))
}

/// **V5** What cannot be had again is lost: `snapctl repair` names each file that is hit and its bytes, and reading these is an
/// input/output error. Everything else can be read, the damaged packs are kept in quarantine, and whoever captures the same
/// content again makes the snapshot whole.
#[test]
fn what_no_copy_exists_of_is_named_and_comes_back_when_it_is_captured_again() -> Result<()> {
    let (host, of_its_own, at) = host_with_damage_in_a_layer_and_above()?;
    let (code, repaired) = repair(&host, &[])?;
    assert_eq!(
        (code, lost(&repaired)),
        (CORRUPT, vec!["/of-its-own".to_owned()])
    );
    let place = &repaired.lost[0];
    let offset = usize::try_from(place.offset_bytes.context("It is of a file")?)?;
    let length = usize::try_from(place.length_bytes.context("It is of a file")?)?;
    assert!((offset..offset + length).contains(&at), "{place:?}");
    assert_eq!(repaired.regained_from["layers of example.com/layered:1"], 1);
    ensure!(reads(&host, "two", "/of-the-layer")? && reads(&host, "two", "/other")?);
    assert!(!reads(&host, "two", "/of-its-own")?);
    // The kernel reads whole pages: what shares one with lost bytes cannot be read either.
    let script = format!("head -c {} /of-its-own | md5sum", offset / PAGE * PAGE);
    let (mounted, copy) = (host.exec("two", &script)?, host.make_folder("copy")?);
    fs::write(copy.join("of-its-own"), &of_its_own)?;
    assert_eq!(
        fs::read_dir(host.root().join("quarantine"))?.count(),
        repaired.packs.len()
    );
    let detail: SnapshotDetail = host.snap_json(&["show", "site"])?;
    assert_eq!(
        detail.snapshot.damage.map(|mark| (mark.files, mark.lost)),
        Some((1, true))
    );
    let (code, again) = repair(&host, &[])?;
    assert_eq!(
        (code, again.packs.len(), lost(&again).len()),
        (CORRUPT, 0, 1)
    );

    host.snap(&["create", "--path", text(&copy)?, "--name", "copy"])?;
    assert_eq!(host.exec("two", &script)?, mounted);
    assert_eq!(
        sum(&host, "two", "/of-its-own")?,
        md5(&copy.join("of-its-own"))?
    );
    let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert!(
        all.iter().all(|snapshot| snapshot.damage.is_none()),
        "{all:?}"
    );
    host.snap(&["verify"])?;
    Ok(())
}

fn random(path: &Path) -> Result<()> {
    let mut bytes = vec![0; BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(fs::write(path, bytes)?)
}

fn md5(path: &Path) -> Result<String> {
    let output = std::process::Command::new("md5sum")
        .stdin(fs::File::open(path)?)
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
