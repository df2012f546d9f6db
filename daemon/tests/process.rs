//! The daemon as a process: where its settings come from, how it starts and stops, and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]

use std::{
    fs,
    io::Read,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tarpc::client::RpcError;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

struct Folders(TempDir);

impl Folders {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapshotd"));
        self.configure(&mut command);
        command
    }

    fn configure(&self, command: &mut Command) {
        command
            .env("SNAPSHOTD_ROOT", self.path("root"))
            .env("SNAPSHOTD_STATE", self.path("state"))
            .env("SNAPSHOTD_SOCKET", self.path("socket"))
            .env("SNAPSHOTD_CONTAINERD", self.path("no-containerd"))
            .stderr(Stdio::piped());
    }

    fn start(&self) -> Daemon {
        let daemon = Daemon(self.command().spawn().unwrap());
        wait_for(|| UnixStream::connect(self.path("socket")).is_ok());
        daemon
    }
}

/// A running daemon; killed when the test fails before it has ended.
struct Daemon(Child);

impl Daemon {
    fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    /// Its exit code and what it wrote to standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.0.wait().unwrap();
        let mut log = String::new();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (status.code(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "it did not happen in time");
        thread::sleep(Duration::from_millis(20));
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let folders = Folders::new();
    let file = folders.path("config.toml");
    fs::write(
        &file,
        "mount_threads = 1\nexpiry_interval = '1m'\ngroup = 'file'\n",
    )
    .unwrap();
    let output = folders
        .command()
        .env("SNAPSHOTD_CONFIG", &file)
        .env("SNAPSHOTD_MOUNT_THREADS", "2")
        .env("SNAPSHOTD_EXPIRY_INTERVAL", "2m")
        .args(["--mount-threads", "3", "--check-config"])
        .output()
        .unwrap();
    let text = stdout(&output);
    for line in [
        "mount_threads = \"3\"",
        "expiry_interval = \"2m\"",
        "group = \"file\"",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert!(!folders.path("root").exists());
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_the_variable() {
    let folders = Folders::new();
    let output = folders
        .command()
        .env("SNAPSHOTD_DEFAULT_TTL", "tomorrow")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("SNAPSHOTD_DEFAULT_TTL = `tomorrow`"),
        "{text}"
    );
    let output = folders.command().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_damaged_catalogue_ends_with_3_and_says_what_to_do() {
    let folders = Folders::new();
    fs::create_dir(folders.path("root")).unwrap();
    fs::write(folders.path("root/catalogue.db"), [7; 8192]).unwrap();
    let output = folders.command().output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("rebuilt from the manifests"), "{text}");
    let repaired = folders
        .command()
        .arg("--repair-catalogue")
        .output()
        .unwrap();
    assert_eq!(repaired.status.code(), Some(0), "{}", stderr(&repaired));
    let kept = folders.path("root/quarantine/catalogue-1.db");
    assert!(stdout(&repaired).contains(&*kept.to_string_lossy()));
    assert_eq!(fs::read(kept).unwrap(), [7; 8192]);
    let daemon = folders.start();
    let refused = folders
        .command()
        .arg("--repair-catalogue")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("stop that one first"));
    daemon.terminate();
    assert_eq!(daemon.end().0, Some(0));
    let sound = folders
        .command()
        .arg("--repair-catalogue")
        .output()
        .unwrap();
    assert!(stdout(&sound).contains("nothing was changed"));
}

/// A copy of the catalogue by a daemon that works, put back over a damaged catalogue as the operator does.
#[test]
fn a_copy_is_put_back_over_a_damaged_catalogue_and_the_daemon_starts_again() {
    let folders = Folders::new();
    let daemon = folders.start();
    let copy = folders.path("copy.db");
    let request = snap_api::BackupRequest {
        path: snap_api::WirePath::from(&*copy),
    };
    let made = ask(&folders, async |client| {
        client.backup(within(), request).await
    });
    assert_eq!(made.bytes, fs::metadata(&copy).unwrap().len());
    let restore = || {
        let mut command = folders.command();
        let output = command.arg("--restore-catalogue").arg(&copy).output();
        output.unwrap()
    };
    let refused = restore();
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("stop that one first"));
    daemon.terminate();
    assert_eq!(daemon.end().0, Some(0));

    fs::write(folders.path("root/catalogue.db"), [7; 8192]).unwrap();
    let damaged = folders.command().output().unwrap();
    assert_eq!(damaged.status.code(), Some(3));
    assert!(stderr(&damaged).contains("--restore-catalogue"));
    let restored = restore();
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert!(stdout(&restored).contains("catalogue.db.replaced"));
    let daemon = folders.start();
    let status = ask(&folders, async |client| {
        client.status(within(), snap_api::StatusRequest {}).await
    });
    assert_eq!(status.snapshots["active"], 0);
    daemon.terminate();
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_copy_that_cannot_be_used_ends_with_3_and_changes_nothing() {
    let folders = Folders::new();
    let daemon = folders.start();
    daemon.terminate();
    assert_eq!(daemon.end().0, Some(0));
    let catalogue = folders.path("root/catalogue.db");
    fs::write(folders.path("copy.db"), "no catalogue").unwrap();
    let before = fs::read(&catalogue).unwrap();
    let mut command = folders.command();
    command
        .arg("--restore-catalogue")
        .arg(folders.path("copy.db"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("is corrupt"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read(&catalogue).unwrap(), before);
}

/// The answer of a call.
fn ask<T>(
    folders: &Folders,
    call: impl AsyncFnOnce(&snap_api::Client) -> Result<Result<T, snap_api::ErrorReport>, RpcError>,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let path = folders.path("socket");
        let client = snap_api::Client::connect(&path, "test").await.unwrap();
        call(&client).await.unwrap().unwrap()
    })
}

fn within() -> tarpc::context::Context {
    snap_api::Client::within(PATIENCE)
}

#[test]
fn a_second_daemon_on_the_same_store_ends_with_3_and_the_first_goes_on() {
    let folders = Folders::new();
    let first = folders.start();
    let second = folders
        .command()
        .env("SNAPSHOTD_SOCKET", folders.path("other"))
        .output();
    assert_eq!(second.unwrap().status.code(), Some(3));
    assert!(UnixStream::connect(folders.path("socket")).is_ok());
    first.terminate();
    assert_eq!(first.end().0, Some(0));
}

#[test]
fn a_socket_in_use_ends_with_4_and_is_left_to_its_owner() {
    let folders = Folders::new();
    let _listener = UnixListener::bind(folders.path("socket")).unwrap();
    let output = folders.command().output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("Another daemon listens"),
        "{}",
        stderr(&output)
    );
    assert!(UnixStream::connect(folders.path("socket")).is_ok());
}

#[test]
fn term_stops_it_with_0_and_takes_the_socket_away() {
    let folders = Folders::new();
    let daemon = folders.start();
    daemon.terminate();
    let (code, log) = daemon.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("Ready") && log.contains("Stopped"), "{log}");
    assert!(!folders.path("socket").exists());
}

#[test]
fn a_killed_daemon_starts_again_over_its_stale_socket() {
    let folders = Folders::new();
    drop(folders.start());
    assert!(folders.path("socket").exists());
    let daemon = folders.start();
    daemon.terminate();
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_alive_and_stopping() {
    let folders = Folders::new();
    let manager = UnixDatagram::bind(folders.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length])
            .trim()
            .to_owned()
    };
    let mut command = folders.command();
    command
        .env("NOTIFY_SOCKET", folders.path("notify"))
        .env("WATCHDOG_USEC", "200000");
    let daemon = Daemon(command.spawn().unwrap());
    let mut messages = vec![next(), next(), next()];
    daemon.terminate();
    while messages.last().unwrap() != "STOPPING=1" {
        messages.push(next());
    }
    assert!(messages.contains(&"READY=1".to_owned()), "{messages:?}");
    assert!(messages.contains(&"WATCHDOG=1".to_owned()), "{messages:?}");
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_socket_from_the_service_manager_is_used_and_left_in_place() {
    let folders = Folders::new();
    let path = folders.path("activated");
    let listener = UnixListener::bind(&path).unwrap();
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\"";
    let mut command = Command::new("sh");
    folders.configure(&mut command);
    command.args(["-c", script, env!("CARGO_BIN_EXE_snapshotd")]);
    let daemon = Daemon(
        command
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .unwrap(),
    );
    wait_for(|| says_hello(&path));
    assert!(!folders.path("socket").exists());
    daemon.terminate();
    assert_eq!(daemon.end().0, Some(0));
    assert!(path.exists());
}

/// A connection alone proves nothing here: the kernel completes it before anybody accepts.
fn says_hello(path: &Path) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(snap_api::Client::connect(path, "test"))
        .is_ok()
}

#[test]
fn logs_are_json_when_asked_for() {
    let folders = Folders::new();
    let mut command = folders.command();
    let daemon = Daemon(command.args(["--log-format", "json"]).spawn().unwrap());
    wait_for(|| UnixStream::connect(folders.path("socket")).is_ok());
    daemon.terminate();
    let (_, log) = daemon.end();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "Ready" && line["pid"].is_u64()),
        "{log}"
    );
}
