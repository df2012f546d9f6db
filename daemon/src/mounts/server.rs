//! The process of one mount server: started, recognised after a restart of the daemon, waited for, ended.

use std::{
    fs::{self, File},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal,
    },
};
use serde::{Deserialize, Serialize};
use snap_api::{ErrorCode, ErrorReport};
use snap_fs::traces::TraceFolder;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tracing::{info, warn};

use super::{
    keeper::Death,
    places::{Place, Places},
};
use crate::{
    error::{Error, Result},
    files,
};

/// How long a process may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process that should end is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a killed process may take to be gone, unless it waits for a disk.
const DEATH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked at: requests wait for its end.
const DEATH_POLL: Duration = Duration::from_millis(2);
/// Bytes at the end of a log that are searched for its last line.
const LOG_TAIL_BYTES: u64 = 4096;

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerId {
    pub(super) pid: u32,
    /// In clock ticks since the machine started, as `/proc/PID/stat` has it.
    pub(super) start_time: u64,
}

impl ServerId {
    /// The living process of this number.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Self::read(pid, &stat)
    }

    /// What `/proc/PID/stat` says. Of a process that is killed the first thread may be dead while another just takes a
    /// request from the kernel, with which it will die: such a process still lives.
    fn read(pid: u32, stat: &str) -> Option<Self> {
        // The program's name stands in brackets and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_first_dead = matches!(fields.next()?, "Z" | "X" | "x");
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        let is_dead = is_first_dead && threads <= 1;
        (!is_dead).then_some(Self { pid, start_time })
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Waits for the end and forces it after `patience`.
    pub(super) async fn end(self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.is_alive() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        if self.is_alive() {
            warn!(pid = self.pid, "Killing a mount server that does not end");
            self.kill();
        }
    }

    /// Ends it at once, also when it is stopped, and hands over what it had taken to who serves `device` now.
    pub(super) async fn retire(self, device: &OwnedFd) {
        self.kill();
        let deadline = Instant::now() + DEATH_TIMEOUT;
        while self.is_alive() && Instant::now() < deadline {
            tokio::time::sleep(DEATH_POLL).await;
        }
        send_again(device.as_fd());
        if self.is_alive() {
            warn!(pid = self.pid, "A killed mount server waits for a disk");
            // What else it may have taken until then.
            let device = device.try_clone();
            tokio::spawn(async move {
                self.ended().await;
                device.iter().for_each(|device| send_again(device.as_fd()));
            });
        }
    }

    fn kill(self) {
        if let Some(process) = self.descriptor()
            && let Err(error) = pidfd_send_signal(&process, Signal::KILL)
        {
            warn!(pid = self.pid, %error, "Cannot kill a mount server");
        }
    }

    /// A duplicate of the FUSE device the process has open.
    pub(super) fn device(self) -> Option<OwnedFd> {
        let process = self.descriptor()?;
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?;
        open.flatten().find_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
            let is_device = snap_fs::mount::is_fuse_device(copy.as_fd());
            is_device.is_ok_and(|is_device| is_device).then_some(copy)
        })
    }

    /// Waits until the process has ended, whoever its parent is.
    async fn ended(self) {
        let Some(process) = self.descriptor() else {
            return;
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        // A thread of its own: one of the runtime's would hold up the daemon's end.
        let waiting = std::thread::Builder::new()
            .name(format!("server-{}", self.pid))
            .spawn(move || {
                // The descriptor of a process can be read from once it has ended.
                while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(Errno::INTR) {}
                let _ = tell.send(());
            });
        match waiting {
            Ok(_) => drop(told.await),
            Err(error) => warn!(pid = self.pid, %error, "Looking at a mount server instead"),
        }
        while self.is_alive() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// `None` when the process has ended.
    fn descriptor(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid.cast_signed())?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at again: the number might have been given away before the descriptor was opened.
        self.is_alive().then_some(process)
    }
}

/// What a new server meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// A device nobody has served yet.
    Anew,
    /// A device that another server has served.
    Resuming,
}

/// Starts the server of a mounted snapshot and waits until it serves. It is expected to live until `is_ending`.
pub(super) async fn start(
    places: &Places,
    place: Place,
    device: &OwnedFd,
    begin: Begin,
    is_ending: Arc<AtomicBool>,
) -> Result<ServerId> {
    let device = device
        .try_clone()
        .map_err(Error::io("duplicate", "/dev/fuse"))?;
    let deadline_ms = places.read_deadline.as_millis();
    let mut command = Command::new(&places.mount_server);
    command
        .arg("serve")
        .arg("--root")
        .arg(&places.root)
        .args(["--snapshot", &place.snapshot.to_string()])
        .args(["--cache-bytes", &places.cache_bytes.to_string()])
        .args(["--threads", &places.threads.to_string()])
        .args(["--read-deadline-ms", &deadline_ms.to_string()])
        .arg("--pulse")
        .arg(places.pulse(place))
        .stdin(Stdio::from(device));
    match begin {
        Begin::Resuming => {
            command.arg("--resume");
        }
        Begin::Anew => foresee(&mut command, places),
    }
    let log = places.log(place);
    let (child, server) = start_ready(&mut command, &log).await?;
    let watched = Watched {
        death: Death { place, server },
        is_ending,
        log,
    };
    let deaths = places.deaths.clone();
    tokio::spawn(async move {
        if watched.child_died(child).await {
            let _ = deaths.send(watched.death);
        }
    });
    Ok(server)
}

/// Has the server read ahead what an earlier mount needed, and note what this one needs.
fn foresee(command: &mut Command, places: &Places) {
    if places.prefetch_bytes > 0 {
        command
            .arg("--traces")
            .arg(TraceFolder::of_store(&places.root).path())
            .args(["--prefetch-bytes", &places.prefetch_bytes.to_string()])
            .args(["--prefetch-rate", &places.prefetch_rate.to_string()]);
    }
}

/// Starts a server that nobody takes over, and waits for its `ready`.
pub(crate) async fn start_server(command: &mut Command, log: &Path) -> Result<Child> {
    let (child, _) = start_ready(command, log).await?;
    Ok(child)
}

/// Starts a process of ours that outlives the daemon, and waits for its `ready`.
pub(super) async fn start_ready(command: &mut Command, log: &Path) -> Result<(Child, ServerId)> {
    let program = command.as_std().get_program().to_owned();
    let stderr = File::create(log).map_err(Error::io("create", log))?;
    command
        .stdout(Stdio::piped())
        .stderr(stderr)
        .current_dir("/")
        // Sockets, watchdog and descriptors that systemd gave are the daemon's alone.
        .env_clear()
        // Until it has a session of its own, a terminal's interrupt must not reach it.
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(Error::io("start", Path::new(&program)))?;
    let (mut line, mut is_late) = (String::new(), false);
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let told = tokio::time::timeout(READY_TIMEOUT, stdout.read_line(&mut line)).await;
        is_late = told.is_err();
    }
    let server = child.id().and_then(ServerId::of);
    match server {
        Some(server) if line == "ready\n" => Ok((child, server)),
        _ => {
            let _ = child.kill().await;
            Err(not_ready(Path::new(&program), log, is_late))
        }
    }
}

/// Reports the end of a server that an earlier daemon started, unless it was to end.
pub(super) fn watch_adopted(
    places: &Places,
    place: Place,
    server: ServerId,
    is_ending: Arc<AtomicBool>,
) {
    let (deaths, log) = (places.deaths.clone(), places.log(place));
    tokio::spawn(async move {
        server.ended().await;
        if !is_ending.load(Ordering::Acquire) {
            let said = last_words(&log);
            warn!(mount = %place, said, "A mount server has ended, and was not told to");
            let _ = deaths.send(Death { place, server });
        }
    });
}

/// A server that was started here.
struct Watched {
    death: Death,
    is_ending: Arc<AtomicBool>,
    log: PathBuf,
}

impl Watched {
    /// Reaps the server; true when it was not to end and somebody may still need it.
    async fn child_died(&self, mut child: Child) -> bool {
        let status = child.wait().await;
        let mount = self.death.place;
        match status {
            _ if self.is_ending.load(Ordering::Acquire) => {
                info!(%mount, "A mount server has ended");
                return false;
            }
            Ok(status) if status.success() => {
                info!(%mount, "A mount is gone, and its server with it");
                return false;
            }
            Ok(status) => {
                let said = last_words(&self.log);
                warn!(%mount, %status, said, "A mount server has died");
            }
            Err(error) => warn!(%mount, %error, "Cannot wait for a mount server"),
        }
        true
    }
}

fn not_ready(program: &Path, log: &Path, is_late: bool) -> Error {
    let (program, said) = (program.display(), last_words(log));
    let (message, hint) = match is_late {
        true => (
            format!(
                "{program} was not ready after {} s: {said}",
                READY_TIMEOUT.as_secs()
            ),
            "Try again; a host without free processors, or a slow disk, may keep it waiting",
        ),
        false => (
            format!("{program} does not serve: {said}"),
            "Look at the daemon's log, and run `snapctl verify` when it speaks of damage",
        ),
    };
    ErrorReport::new(ErrorCode::Unavailable, "mount-server-failed", message)
        .hint(hint)
        .into()
}

fn send_again(device: BorrowedFd<'_>) {
    if let Err(error) = snap_fs::serve::resend(device) {
        warn!(%error, "Requests that a mount server had taken wait until the mount ends");
    }
}

/// The last line of a log.
pub(super) fn last_words(log: &Path) -> String {
    let tail = files::tail(log, LOG_TAIL_BYTES);
    let tail = String::from_utf8_lossy(&tail);
    tail.lines().last().unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_recognised_and_a_dead_one_is_not() {
        let own = ServerId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let earlier = ServerId {
            start_time: own.start_time - 1,
            ..own
        };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        let stat = |state: &str, threads: u32| {
            let rest = "1 7 7 0 -1 4194560 9 0 0 0 1 2 0 0 20 0";
            ServerId::read(7, &format!("7 (a) b) {state} {rest} {threads} 0 4711 0 0"))
        };
        let living = Some(ServerId {
            pid: 7,
            start_time: 4711,
        });
        assert_eq!(stat("S", 9), living);
        assert_eq!(stat("Z", 9), living);
        assert_eq!(stat("Z", 1), None);
        assert_eq!(stat("X", 0), None);
    }

    #[tokio::test]
    async fn a_program_that_fails_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo first >&2; echo the reason >&2; exit 1"]);
        let failed = start_ready(&mut command, &folder.path().join("log")).await;
        let message = failed.unwrap_err().to_string();
        assert!(message.contains("the reason"), "{message}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo ready; exec sleep 100"]);
        let started = start_ready(&mut command, &folder.path().join("log")).await;
        let (mut child, server) = started.unwrap();
        server.end(Duration::from_millis(50)).await;
        assert!(!child.wait().await.unwrap().success());
        assert!(!server.is_alive());
    }
}
