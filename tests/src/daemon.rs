//! A private snapshotd: its own root, state, socket and configuration, in the host's folder.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{fixtures::program, wait_for};

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Where a daemon keeps what it has.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) config: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) containerd: PathBuf,
    pub(crate) log: PathBuf,
    /// Programs the daemon finds before those of the machine.
    pub(crate) programs: PathBuf,
}

/// A running snapshotd; dropping it kills it, what it started goes on.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    places: Places,
}

impl Daemon {
    /// Starts it and waits until it answers.
    pub(crate) fn start(places: &Places) -> Result<Self> {
        let mut daemon = Self::spawn(places)?;
        let socket = places.socket.clone();
        let answers = || {
            if let Some(status) = daemon.child.try_wait()? {
                bail!(
                    "snapshotd ended with {status}: {}",
                    log_end(&daemon.places.log)
                );
            }
            Ok(answers(&socket)?.then_some(()))
        };
        wait_for("snapshotd to answer", START_LIMIT, answers)
            .with_context(|| log_end(&places.log))?;
        Ok(daemon)
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(places: &Places) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&places.log)
            .with_context(|| format!("Open {}", places.log.display()))?;
        let child = command(places)?
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("Share the log")?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("Start snapshotd")?;
        Ok(Self {
            child,
            places: places.clone(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let child = &mut self.child;
        wait_for("snapshotd to end", STOP_LIMIT, || {
            Ok(child.try_wait()?.map(drop))
        })
        .with_context(|| log_end(&self.places.log))
    }

    /// Kills it, as the kernel would when memory is short.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().context("Wait for snapshotd").map(drop)
    }

    /// Kills it, starts it again and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn kill_and_start_again(self) -> Result<Self> {
        let places = self.places.clone();
        self.kill()?;
        Self::start(&places)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).context("Signal snapshotd")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone after `stop` and `kill`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon's command line.
pub(crate) fn command(places: &Places) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![places.programs.clone()];
    folders.extend(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).context("Join the folders of PATH")?;
    let mut command = Command::new(program("snapshotd")?);
    command
        .env_clear()
        .env("PATH", path)
        .env("RUST_BACKTRACE", "1");
    for (flag, path) in [
        ("--config", &places.config),
        ("--root", &places.root),
        ("--state", &places.state),
        ("--socket", &places.socket),
        ("--containerd", &places.containerd),
    ] {
        command.arg(flag).arg(path);
    }
    Ok(command)
}

fn answers(socket: &Path) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("Start a runtime")?;
    Ok(runtime
        .block_on(snap_api::Client::connect(socket, "snap-tests"))
        .is_ok())
}

pub(crate) fn log_end(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(30).collect();
    let end: Vec<&str> = lines.into_iter().rev().collect();
    format!("The end of snapshotd's log:\n{}", end.join("\n"))
}
