//! Captures that stand still for as long as a test wants, so that nothing depends on who is faster.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use snap_api::{SnapshotState, SnapshotView};

use crate::{Answer, Host, noise, text, wait_for};

/// Where the snapshot is kept that the folder stands on; not the namespace of the capture.
const NAMESPACE: &str = "held";
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A capture under way that does not go on before this is dropped.
///
/// What is captured is a mounted snapshot, and its mount server is stopped.
#[derive(Debug)]
pub struct HeldCapture {
    /// The job.
    pub job: String,
    /// The snapshot being made.
    pub snapshot: String,
    server: StoppedServer,
}

#[derive(Debug)]
struct StoppedServer(Pid);

impl Host {
    /// Begins a capture with these flags and holds it.
    ///
    /// # Errors
    /// When it does not begin.
    pub fn begin_held(&self, flags: &[&str]) -> Result<HeldCapture> {
        let (folder, server) = self.folder_with_server()?;
        // Found without its server from now on.
        fs::metadata(&folder)?;
        let server = StoppedServer::stop(server)?;
        let mut arguments = vec!["create", "--detach", "--quiet", "--path", text(&folder)?];
        arguments.extend(flags);
        let job = self.snap(&arguments)?;
        let snapshot = wait_for("the capture to begin", BEGIN_LIMIT, || {
            let all: Vec<SnapshotView> = self.snap_json(&["list"])?;
            let is_begun = |one: &SnapshotView| one.state == SnapshotState::Creating;
            Ok(all.into_iter().find(is_begun).map(|one| one.id))
        })?;
        Ok(HeldCapture {
            job,
            snapshot,
            server,
        })
    }

    fn folder_with_server(&self) -> Result<(PathBuf, u32)> {
        let name = format!("held{}", FOLDERS.fetch_add(1, Ordering::Relaxed));
        let source = self.make_folder(&format!("{name}-source"))?;
        noise(&source.join("file"), 1_000_000)?;
        let made = self.capture(&source, &["--namespace", NAMESPACE])?;
        let before = self.mount_servers()?;
        let flags = ["--namespace", NAMESPACE];
        let folder = self.mount(&made.snapshot.id, &name, &flags)?;
        let mut servers = self.mount_servers()?;
        servers.retain(|server| !before.contains(server));
        Ok((folder, servers.pop().context("A mount server was started")?))
    }
}

impl HeldCapture {
    /// Cancels the capture, lets it go and waits for its end.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn cancel(self, host: &Host) -> Result<Answer> {
        host.snap(&["jobs", "cancel", &self.job])?;
        let Self { job, server, .. } = self;
        drop(server);
        host.snapctl(["jobs", "wait", &job])
    }

    /// Lets the capture go and waits for its end.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn finish(self, host: &Host) -> Result<Answer> {
        let Self { job, server, .. } = self;
        drop(server);
        host.snapctl(["jobs", "wait", &job])
    }
}

impl StoppedServer {
    fn stop(server: u32) -> Result<Self> {
        let server = Pid::from_raw(server.cast_signed());
        kill(server, Signal::SIGSTOP).context("Stop the mount server")?;
        Ok(Self(server))
    }
}

impl Drop for StoppedServer {
    fn drop(&mut self) {
        // Gone already when the host's end was faster.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
