//! Upkeep through the real daemon. Collection gives back what nothing needs, and takes nothing that anybody
//! reads, whoever is killed meanwhile; a copy of the catalogue brings back what only the catalogue knows.

use std::{
    fs,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use snap_api::{Collected, SnapshotState, SnapshotView, Status, Verified};
use snap_tests::{Dice, Host, HostOptions, Image, noise, rounds, text, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Nothing by itself: the test says when.
const ON_REQUEST: &str = "collect_interval = 'never'\ndisk_high_percent = 100\n";

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

fn pack_files(host: &Host) -> Result<Vec<(String, u64)>> {
    let mut files = host.stored_files()?;
    files.retain(|(path, _)| path.ends_with(".pack"));
    Ok(files)
}

fn start_snapctl(host: &Host, arguments: &[&str]) -> Result<std::process::Child> {
    let mut command = host.snapctl_command()?;
    command.args(arguments).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().context("Run snapctl")
}

/// **C7** Once all snapshots are removed and their images are gone from the host, a collection without grace leaves nothing
/// of them in the store.
#[test]
fn nothing_is_left_of_removed_snapshots_once_their_image_is_gone() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: ON_REQUEST.to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "head -c 2000000 /dev/urandom > /data")?;
    let first = host.snap(&["create", "one", "--quiet"])?;
    host.exec("one", "head -c 1000000 /dev/urandom > /more")?;
    let second = host.snap(&["create", "one", "--quiet"])?;
    host.snap(&["restore", &first, "--id", "two"])?;
    host.snap(&["container", "remove", "two"])?;
    host.snap(&["remove", &first, &second])?;
    let done = collect(&host)?;
    ensure!(
        done.freed_bytes > 3_000_000 && done.waiting_packs == 0,
        "{done:?}"
    );
    ensure!(
        done.forgotten_bases == 0,
        "the layer is still there: {done:?}"
    );
    ensure!(!pack_files(&host)?.is_empty(), "the base is remembered");

    host.remove_by_ctr("one")?;
    host.ctr(&["images", "remove", "--sync", host.image(Image::Busybox)?])?
        .ok()?;
    wait_for("the base to be forgotten", SOON, || {
        Ok((collect(&host)?.forgotten_bases > 0).then_some(()))
    })?;
    assert_eq!(pack_files(&host)?, Vec::new());
    let status = status(&host)?;
    assert_eq!((status.packs, status.chunks, status.store_bytes), (0, 0, 0));
    Ok(())
}

/// Reads a file over and over, from the disk, and compares it.
struct Reader {
    is_over: AtomicBool,
    reads: AtomicU64,
}

impl Reader {
    fn read(&self, path: &Path, content: &[u8]) -> Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            let file = fs::File::open(path)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            ensure!(fs::read(path)? == content, "what was read is wrong");
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Runs `act` while the files are read.
    fn during(paths: &[&Path], act: impl FnOnce() -> Result<()>) -> Result<u64> {
        let contents: Vec<_> = paths.iter().map(fs::read).collect::<Result<_, _>>()?;
        let reader = Self {
            is_over: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        };
        thread::scope(|scope| {
            let reading: Vec<_> = paths
                .iter()
                .zip(&contents)
                .map(|(path, content)| scope.spawn(|| reader.read(path, content)))
                .collect();
            let acted = act();
            reader.is_over.store(true, Ordering::Relaxed);
            for thread in reading {
                thread.join().expect("a reader does not panic")?;
            }
            acted
        })?;
        Ok(reader.reads.into_inner())
    }
}

/// **C4** Collections disturb neither restored containers nor mounts nor captures: what they read stays right, at any time.
#[test]
fn readers_and_captures_go_on_while_snapshots_are_removed_and_collected() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: ON_REQUEST.to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.exec(
        "one",
        "head -c 6000000 /dev/urandom > /data; cp /data /same",
    )?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let mounted = host.mount("site", "mounted", &[])?;
    let (inside, outside) = (
        host.restored_rootfs("two").join("data"),
        mounted.join("same"),
    );
    let reads = Reader::during(&[&inside, &outside], || {
        for round in 0..rounds(4, 40) {
            // Shares much with the one that is read, and leaves packs behind that are needed in part.
            host.exec(
                "one",
                &format!("head -c 1500000 /dev/urandom > /new{}", round % 2),
            )?;
            let id = host.snap(&["create", "one", "--quiet"])?;
            let mut creating = start_snapctl(&host, &["create", "one", "--name", "late"])?;
            host.snap(&["remove", &id])?;
            let done = collect(&host)?;
            ensure!(!done.incomplete && done.unreadable.is_empty(), "{done:?}");
            ensure!(creating.wait()?.success(), "the capture failed");
        }
        Ok(())
    })?;
    ensure!(reads > 0, "nothing was read");
    verify(&host, &[])?;
    let refused = host.snapctl(["remove", "site"])?;
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    Ok(())
}

/// **C5** A daemon that is killed during a collection leaves every snapshot whole; the next collection goes on.
#[test]
fn a_daemon_killed_during_collect_leaves_every_snapshot_whole() -> Result<()> {
    let mut host = Host::start_without_containerd(ON_REQUEST)?;
    let (mut dice, data) = (Dice::new(), host.make_folder("data")?);
    noise(&data.join("kept"), 3_000_000)?;
    let mut packs = 0;
    for round in 0..rounds(4, 50) {
        noise(&data.join("new"), 3_000_000)?;
        let made = host.capture(&data, &["--name", &format!("r{round}")])?;
        fs::remove_file(data.join("new"))?;
        host.capture(&data, &[])?;
        host.snap(&["remove", &made.snapshot.id])?;
        let mut collecting = start_snapctl(&host, &["collect", "--grace", "0"])?;
        thread::sleep(Duration::from_micros(dice.below(60_000)));
        host.take_daemon()?.kill()?;
        collecting.wait()?;
        host.start_daemon()?;
        verify(&host, &["--quick"]).with_context(|| format!("In round {round}"))?;
        verify(&host, &[]).with_context(|| format!("In round {round}"))?;
        let done = collect(&host)?;
        ensure!(done.waiting_packs == 0, "In round {round}: {done:?}");
        packs = pack_files(&host)?.len();
    }
    let left: Vec<SnapshotView> = host.snap_json(&["list"])?;
    ensure!(
        left.iter().all(|one| one.state == SnapshotState::Active),
        "{left:?}"
    );
    for one in left {
        host.snap(&["remove", &one.id])?;
    }
    collect(&host)?;
    ensure!(packs > 0, "there was something to lose");
    assert_eq!(pack_files(&host)?, Vec::new());
    Ok(())
}

/// **K3** After a copy was put back, snapshots made after it are found again by their manifests, and those removed after
/// it are `failed`: none is `active` with nothing behind it.
#[test]
fn a_copy_of_the_catalogue_that_is_put_back_fits_what_is_there() -> Result<()> {
    let mut host = Host::start_without_containerd(ON_REQUEST)?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 100_000)?;
    let kept = host.capture(&data, &["--name", "site:v1"])?.snapshot.id;
    host.snap(&["tag", &kept, "site:stable"])?;
    let removed = host.capture(&data, &["--ttl", "never"])?.snapshot.id;
    let copy = host.folder().join("copy.db");
    host.snap(&["backup", text(&copy)?])?;
    host.snap(&["remove", &removed])?;
    let later = host.capture(&data, &["--name", "site:v2"])?.snapshot.id;
    host.snap(&["untag", "site:stable"])?;
    collect(&host)?;

    let refused = host.restore_catalogue(&copy)?;
    assert_eq!(refused.code, 3, "The daemon runs: {}", refused.stderr);
    host.take_daemon()?.stop()?;
    host.restore_catalogue(&copy)?.ok()?;
    host.start_daemon()?;
    assert_eq!(host.show("site:stable")?.snapshot.id, kept);
    assert_eq!(host.state_of(&later)?.0, SnapshotState::Active);
    let (state, reason) = host.state_of(&removed)?;
    assert_eq!(state, SnapshotState::Failed);
    ensure!(reason.is_some_and(|reason| reason.contains("manifest is gone")));
    verify(&host, &[])?;
    host.snap(&["remove", &removed])?;
    collect(&host)?;
    verify(&host, &[])
}
