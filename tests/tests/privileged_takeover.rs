//! Mount servers and the daemon are killed and replaced under a restored container whose files are read and compared all
//! the time: no read fails, none is wrong, none waits for long, and nothing is left over.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::fs::{Advice, fadvise};
use snap_api::{MountsUpgraded, Status, UpgradeResult};
use snap_tests::{Dice, Host, HostOptions, Image, rounds, wait_for};

/// A server fills its cache of chunks, and allocators keep what was freed.
const MORE_MEMORY_KB: u64 = 48 << 10;
const READERS: usize = 8;
const READ_BYTES: usize = 64 << 10;
/// What is asked of long runs, on a machine that has nothing else to do.
const LONGEST_STALL: Duration = Duration::from_secs(1);
/// The same where a server has to be found silent first.
const LONGEST_SILENCE: Duration = Duration::from_secs(8);
/// What holds on a machine that is loaded.
const BEARABLE_STALL: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(30);
/// Longer than a server has to live to count as well.
const BETWEEN: Duration = Duration::from_millis(1100);

/// A host with a restored container `two` whose `/data` is served.
fn host_with_restored() -> Result<Host> {
    restored(Host::start()?)
}

fn restored(host: Host) -> Result<Host> {
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "head -c 8000000 /dev/urandom > /data")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    Ok(host)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), signal).with_context(|| format!("Signal {pid}"))
}

fn kill_servers(host: &Host) -> Result<()> {
    let servers = host.mount_servers()?;
    servers
        .into_iter()
        .try_for_each(|pid| signal(pid, Signal::SIGKILL))
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

    fn check(&self, what: &str, longest_wanted: Duration) -> Result<()> {
        let figure = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (reads, bad) = (figure(&self.reads), figure(&self.bad));
        let longest = Duration::from_micros(figure(&self.longest_us));
        let _ = writeln!(
            std::io::stderr(),
            "{what}: {reads} reads were right, {bad} were not, the longest took {longest:?}"
        );
        ensure!(reads > 0 && bad == 0, "{bad} reads were not right");
        let is_long = rounds(0, 1) == 1;
        let bound = if is_long {
            longest_wanted
        } else {
            BEARABLE_STALL
        };
        ensure!(longest < bound, "A read waited {longest:?}");
        Ok(())
    }
}

/// What is held while one snapshot is served.
#[derive(Debug)]
struct Usage {
    /// Open descriptors of daemon, holder and mount server together.
    descriptors: usize,
    processes: usize,
    mounts: usize,
    /// Resident memory of daemon, holder and mount server together.
    memory_kb: u64,
}

impl Usage {
    fn of(host: &Host) -> Result<Self> {
        let status: Status = host.snap_json(&["status"])?;
        let mut processes = vec![status.pid];
        processes.extend(host.holders()?);
        processes.extend(host.mount_servers()?);
        let mut usage = Self {
            descriptors: 0,
            processes: processes.len(),
            mounts: host.our_mounts()?.len(),
            memory_kb: 0,
        };
        for pid in processes {
            usage.descriptors += descriptors(pid)?;
            usage.memory_kb += resident_kb(pid)?;
        }
        Ok(usage)
    }

    /// No more than before, but for connections of `snapctl` that have not ended yet and what allocators keep.
    fn is_back_to(&self, before: &Self) -> bool {
        self.processes == before.processes
            && self.mounts == before.mounts
            && self.descriptors <= before.descriptors + 4
            && self.memory_kb <= before.memory_kb + MORE_MEMORY_KB
    }
}

/// Runs `act` in rounds while eight readers read what the container `two` reads.
fn under_readers(
    host: &mut Host,
    count: usize,
    act: impl FnMut(&mut Host) -> Result<()>,
) -> Result<()> {
    let seen = read_under(host, count, act)?;
    seen.check(&format!("{count} rounds"), LONGEST_STALL)
}

fn read_under(
    host: &mut Host,
    count: usize,
    mut act: impl FnMut(&mut Host) -> Result<()>,
) -> Result<Seen> {
    let (seen, path) = (Seen::default(), host.restored_rootfs("two").join("data"));
    let content = std::fs::read(&path).context("Read the content")?;
    let before = Usage::of(host)?;
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
    let mut last = String::new();
    let after = wait_for("what was held to be let go", SOON, || {
        let after = Usage::of(host)?;
        last = format!("{after:?}");
        Ok(after.is_back_to(&before).then_some(after))
    });
    let after = after.with_context(|| format!("{before:?} became {last}"))?;
    let _ = writeln!(std::io::stderr(), "before {before:?}\nafter  {after:?}");
    Ok(seen)
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

fn resident_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("A process has memory")?.parse()?)
}

fn descriptors(pid: u32) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).context("Look at descriptors")?;
    Ok(open.count())
}

/// **R16** A mount server that dies disturbs no restored container: another takes its place, reads wait for it and none fails or is wrong.
#[test]
fn killed_mount_servers_are_started_again_under_readers() -> Result<()> {
    let mut host = host_with_restored()?;
    let count = rounds(5, 200);
    under_readers(&mut host, count, |host| {
        let servers = host.mount_servers()?;
        kill_servers(host)?;
        new_server(host, &servers)
    })?;
    let status: Status = host.snap_json(&["status"])?;
    assert_eq!(status.mounts[0].restarts, count as u64);
    assert!(status.mounts[0].server_pid.is_some());
    nothing_is_left(&host)
}

#[test]
fn readers_see_nothing_of_a_killed_daemon() -> Result<()> {
    let mut host = host_with_restored()?;
    under_readers(&mut host, rounds(3, 50), |host| {
        host.take_daemon()?.kill()?;
        host.start_daemon()
    })?;
    assert_eq!(host.mount_servers()?.len(), 1);
    nothing_is_left(&host)
}

#[test]
fn a_daemon_and_a_server_killed_at_once_come_back_under_readers() -> Result<()> {
    let mut host = host_with_restored()?;
    under_readers(&mut host, rounds(3, 20), |host| {
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

/// **R17** `snapctl upgrade-mounts`, and a reload of the daemon, replace every mount server with the installed binary; reads of what stands on it wait and none fails or is wrong.
#[test]
fn upgraded_mount_servers_are_not_noticed_by_readers() -> Result<()> {
    let mut host = host_with_restored()?;
    under_readers(&mut host, rounds(2, 20), |host| {
        let servers = host.mount_servers()?;
        let upgraded: MountsUpgraded = host.snap_json(&["upgrade-mounts"])?;
        let mount = &upgraded.mounts[0];
        ensure!(mount.result == UpgradeResult::Upgraded, "{mount:?}");
        ensure!(mount.old_pid == Some(servers[0]), "{mount:?}");
        ensure!(host.mount_servers()? == [mount.new_pid.context("There is a new server")?]);
        Ok(())
    })?;
    let servers = host.mount_servers()?;
    let daemon = host.take_daemon()?;
    signal(daemon.pid(), Signal::SIGHUP)?;
    new_server(&host, &servers)?;
    let status: Status = host.snap_json(&["status"])?;
    assert_eq!(status.mounts[0].restarts, 0);
    nothing_is_left(&host)
}

#[test]
fn a_new_binary_that_does_not_serve_leaves_the_old_server_serving() -> Result<()> {
    let mut host = Host::prepare(&HostOptions::default())?;
    let binary = host.make_folder("bin")?.join("snapshotd-mount");
    let good = snap_tests::program("snapshotd-mount")?;
    std::os::unix::fs::symlink(&good, &binary).context("Link the mount server")?;
    std::fs::write(
        host.config(),
        format!("mount_server = '{}'\n", binary.display()),
    )?;
    host.start_daemon()?;
    let mut host = restored(host)?;
    std::fs::remove_file(&binary)?;
    std::os::unix::fs::symlink("/bin/false", &binary)?;
    under_readers(&mut host, 1, |host| {
        let servers = host.mount_servers()?;
        let answer = host.snapctl(["--output", "json", "upgrade-mounts"])?;
        ensure!(answer.code == 7, "{answer:?}");
        let upgraded: MountsUpgraded = serde_json::from_str(&answer.stdout)?;
        ensure!(upgraded.mounts[0].result == UpgradeResult::Failed);
        ensure!(upgraded.mounts[0].new_pid == Some(servers[0]));
        ensure!(host.mount_servers()? == servers);
        Ok(())
    })?;
    nothing_is_left(&host)
}

/// **R18** A mount server that gives no sign of life is replaced within seconds; reads of what stands on it wait and none fails or is wrong.
#[test]
fn a_server_that_is_stopped_is_replaced_under_readers() -> Result<()> {
    let mut host = host_with_restored()?;
    let count = rounds(1, 5);
    let seen = read_under(&mut host, count, |host| {
        let servers = host.mount_servers()?;
        servers
            .iter()
            .try_for_each(|pid| signal(*pid, Signal::SIGSTOP))?;
        new_server(host, &servers)
    })?;
    seen.check(&format!("{count} servers stopped"), LONGEST_SILENCE)?;
    let status: Status = host.snap_json(&["status"])?;
    assert_eq!(status.mounts[0].restarts, count as u64);
    nothing_is_left(&host)
}

#[test]
fn a_killed_holder_is_replaced_and_holds_what_it_held() -> Result<()> {
    let mut host = host_with_restored()?;
    let holders = host.holders()?;
    holders
        .iter()
        .try_for_each(|pid| signal(*pid, Signal::SIGKILL))?;
    wait_for("a new holder", SOON, || {
        let now = host.holders()?;
        let said = host.log_end();
        let is_held = said.contains("Having a device held again");
        Ok((now.len() == 1 && now != holders && is_held).then_some(()))
    })?;
    let servers = host.mount_servers()?;
    under_readers(&mut host, 1, |host| {
        host.take_daemon()?.kill()?;
        kill_servers(host)?;
        host.start_daemon()?;
        new_server(host, &servers)
    })?;
    nothing_is_left(&host)
}
