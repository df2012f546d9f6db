//! The fake daemon's life, and `snapctl` connected to it.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tarpc::{serde_transport::unix, tokio_serde::formats::Json};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::Notify};

use super::{Fake, Script, State, serving::accept};
use crate::fixtures::snapctl;

/// The fake daemon, running until it is dropped.
pub(crate) struct Daemon {
    state: Arc<State>,
    folder: TempDir,
    _runtime: Runtime,
}

impl Daemon {
    /// Starts one on a socket of its own.
    pub(crate) fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(State {
            script: Mutex::new(script),
            seen: Mutex::default(),
            cancelled: Notify::new(),
            vanish: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = folder.path().join("socket");
        let incoming = runtime
            .block_on(unix::listen(&socket, Json::default))
            .unwrap();
        runtime.spawn(accept(Fake(state.clone()), incoming));
        Self {
            state,
            folder,
            _runtime: runtime,
        }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// `snapctl` with these arguments, connected to it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = snapctl(arguments);
        command.env("SNAPCTL_SOCKET", self.socket());
        command
    }

    /// Runs `snapctl` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts `snapctl` with its output caught.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The arguments of the calls of this method so far.
    pub(crate) fn seen(&self, method: &str) -> Vec<Value> {
        let seen = self.state.seen.lock().unwrap();
        let of_method = seen.iter().filter(|(name, _)| *name == method);
        of_method.map(|(_, request)| request.clone()).collect()
    }

    /// Waits until this method has been called so many times.
    pub(crate) fn await_calls(&self, method: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.seen(method).len() < times {
            assert!(Instant::now() < deadline, "{method} was not called");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Closes every connection in the middle of what it is doing.
    pub(crate) fn vanish(&self) {
        self.state.vanish.notify_waiters();
    }
}
