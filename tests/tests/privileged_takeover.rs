//! Mount servers and the daemon are killed under a restored container whose files are read and compared all the time:
//! no read fails, none is wrong, none waits for long, and nothing is left over.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use snap_api::Status;
use snap_tests::{Dice, Host, Image, rounds, wait_for};

const READERS: usize = 8;
const READ_BYTES: usize = 64 << 10;
const LONGEST_STALL: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);
/// Longer than a server has to live to count as well.
const BETWEEN: Duration = Duration::from_millis(1100);

/// A host with a restored container `two` whose `/data` is served.
fn host_with_restored() -> Result<Host> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "head -c 8000000 /dev/urandom > /data")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    Ok(host)
}

fn kill_servers(host: &Host) -> Result<()> {
    for pid in host.mount_servers()? {
        let killed = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
        killed.context("Run kill")?;
    }
    Ok(())
}

/// Waits until one server serves that is none of `before`.
fn new_server(host: &Host, before: &[u32]) -> Result<()> {
    wait_for("a new mount server", SOON, || {
        let servers = host.mount_servers()?;
        let is_new = servers.len() == 1 && !before.contains(&servers[0]);
        Ok(is_new.then_some(()))
    })
    .with_context(|| host.log_end())
}

/// What readers have met.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    reads: AtomicU64,
    bad: AtomicU64,
    longest_us: AtomicU64,
}

impl Seen {
    /// Reads pieces of the file past the page cache and compares them until told to stop.
    fn read(&self, path: &Path, content: &[u8]) -> Result<()> {
        let (file, mut dice) = (File::open(path)?, Dice::new());
        let mut piece = vec![0; READ_BYTES];
        while !self.is_over.load(Ordering::Relaxed) {
            fadvise(&file, 0, None, Advice::DontNeed)?;
            let offset = dice.below((content.len() - READ_BYTES) as u64);
            let begun = Instant::now();
            let read = file.read_exact_at(&mut piece, offset);
            let micros = begun.elapsed().as_micros() as u64;
            self.longest_us.fetch_max(micros, Ordering::Relaxed);
            let offset = offset as usize;
            let is_right = read.is_ok() && piece == content[offset..offset + READ_BYTES];
            let count = if is_right { &self.reads } else { &self.bad };
            count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let figure = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (reads, bad) = (figure(&self.reads), figure(&self.bad));
        let longest = Duration::from_micros(figure(&self.longest_us));
        ensure!(
            reads > 0 && bad == 0,
            "{reads} reads were right, {bad} were not"
        );
        ensure!(longest < LONGEST_STALL, "A read waited {longest:?}");
        Ok(())
    }
}

/// Runs `act` in rounds while eight readers read what the container `two` reads.
fn under_readers(
    host: &mut Host,
    count: usize,
    mut act: impl FnMut(&mut Host) -> Result<()>,
) -> Result<()> {
    let (seen, path) = (Seen::default(), host.restored_rootfs("two").join("data"));
    let content = std::fs::read(&path).context("Read the content")?;
    let done = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| seen.read(&path, &content)))
            .collect();
        let done = (0..count).try_for_each(|round| {
            thread::sleep(BETWEEN);
            act(host).with_context(|| format!("In round {round}"))
        });
        thread::sleep(BETWEEN);
        seen.is_over.store(true, Ordering::Relaxed);
        let mut ends = readers.into_iter().map(thread::ScopedJoinHandle::join);
        ensure!(ends.all(|end| matches!(end, Ok(Ok(())))), "A reader failed");
        done
    });
    done?;
    seen.check()
}

/// Nothing of ours is left once the container is gone.
fn nothing_is_left(host: &Host) -> Result<()> {
    host.snap(&["container", "remove", "two"])?;
    wait_for("everything held to be released", SOON, || {
        let is_free = host.our_mounts()?.is_empty() && host.mount_servers()?.is_empty();
        Ok(is_free.then_some(()))
    })
    .with_context(|| format!("{:?} {:?}", host.our_mounts(), host.mount_servers()))
}

fn descriptors(pid: u32) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).context("Look at descriptors")?;
    Ok(open.count())
}

/// **R16** A mount server that dies disturbs no restored container: another takes its place, reads wait for it and none fails or is wrong.
#[test]
fn killed_mount_servers_are_started_again_under_readers() -> Result<()> {
    let mut host = host_with_restored()?;
    let daemon = host.take_daemon()?;
    let before = descriptors(daemon.pid())?;
    let count = rounds(8, 200);
    under_readers(&mut host, count, |host| {
        let servers = host.mount_servers()?;
        kill_servers(host)?;
        new_server(host, &servers)
    })?;
    let status: Status = host.snap_json(&["status"])?;
    assert_eq!(status.mounts[0].restarts, count as u64);
    assert!(status.mounts[0].server_pid.is_some());
    let after = descriptors(daemon.pid())?;
    assert!(after <= before + 4, "{before} descriptors became {after}");
    nothing_is_left(&host)
}

#[test]
fn readers_see_nothing_of_a_killed_daemon() -> Result<()> {
    let mut host = host_with_restored()?;
    under_readers(&mut host, rounds(4, 50), |host| {
        host.take_daemon()?.kill()?;
        host.start_daemon()
    })?;
    assert_eq!(host.mount_servers()?.len(), 1);
    nothing_is_left(&host)
}

#[test]
fn a_daemon_and_a_server_killed_at_once_come_back_under_readers() -> Result<()> {
    let mut host = host_with_restored()?;
    under_readers(&mut host, rounds(4, 20), |host| {
        let servers = host.mount_servers()?;
        host.take_daemon()?.kill()?;
        kill_servers(host)?;
        host.start_daemon()?;
        new_server(host, &servers)
    })?;
    nothing_is_left(&host)
}

#[test]
fn a_server_that_dies_again_and_again_is_started_ever_later_but_started() -> Result<()> {
    let host = host_with_restored()?;
    for _ in 0..7 {
        let servers = host.mount_servers()?;
        kill_servers(&host)?;
        new_server(&host, &servers)?;
    }
    assert_eq!(host.exec("two", "wc -c < /data")?, "8000000");
    nothing_is_left(&host)
}
