//! A mount that was unmounted here and that another mount namespace still holds: a container that was started meanwhile
//! with a copy of the host's mounts, or `unshare --mount`. Its readers must not notice.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use snap_api::Status;
use snap_tests::{Host, HostOptions, noise, wait_for};

const SOON: Duration = Duration::from_secs(30);
const CONFLICT: i32 = 4;

/// A shell in a mount namespace of its own, with a copy of all mounts.
struct Elsewhere {
    shell: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Elsewhere {
    fn new() -> Result<Self> {
        let script = "echo ready; while read -r from to; do cat \"$from\" > \"$to\"; echo $?; done";
        let mut shell = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("Run unshare")?;
        let (asks, answers) = (shell.stdin.take(), shell.stdout.take());
        let mut elsewhere = Self {
            shell,
            asks,
            answers: BufReader::new(answers.context("The shell has an output")?),
        };
        ensure!(elsewhere.answer()? == "ready");
        Ok(elsewhere)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// What the namespace reads at this path.
    fn read(&mut self, path: &Path) -> Result<Vec<u8>> {
        let copy = tempfile::NamedTempFile::new()?;
        let asks = self.asks.as_mut().context("The shell listens")?;
        writeln!(asks, "{} {}", path.display(), copy.path().display())?;
        ensure!(self.answer()? == "0", "cat failed");
        Ok(fs::read(copy.path())?)
    }

    /// Ends the namespace.
    fn end(mut self) -> Result<()> {
        self.asks = None;
        self.shell.wait()?;
        Ok(())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn status(host: &Host) -> Result<Status> {
    host.snap_json(&["status"])
}

/// **F7** A mount that another mount namespace still holds when nobody here uses it any more is served until it is let go there, and its snapshot is in use until then.
#[test]
fn a_mount_held_elsewhere_is_served_until_it_is_let_go() -> Result<()> {
    let mut host = Host::start_with(&HostOptions {
        without_containerd: true,
        ..HostOptions::default()
    })?;
    let (data, point) = (host.make_folder("data")?, host.make_folder("point")?);
    let mut content = Vec::new();
    for name in ["one", "two", "three"] {
        noise(&data.join(name), 500_000)?;
        content.push(fs::read(data.join(name))?);
    }
    let (data, folder) = (data.to_string_lossy(), point.to_string_lossy());
    host.snap(&["create", "--path", &data, "--name", "data"])?;
    host.snap(&["mount", "data", &folder])?;
    let mut elsewhere = Elsewhere::new()?;
    host.snap(&["unmount", &folder])?;

    assert!(host.our_mounts()?.is_empty());
    let mount = status(&host)?.mounts.remove(0);
    assert!(mount.lingers && mount.users == 0, "{mount:?}");
    assert_eq!(host.snapctl(["remove", "data"])?.code, CONFLICT);
    assert!(elsewhere.read(&point.join("one"))? == content[0]);

    // The next daemon knows of it, and a server that dies is replaced here as well.
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    let servers = host.mount_servers()?;
    kill(Pid::from_raw(servers[0].cast_signed()), Signal::SIGKILL)?;
    assert!(elsewhere.read(&point.join("two"))? == content[1]);
    assert_eq!(host.snapctl(["remove", "data"])?.code, CONFLICT);

    // The snapshot can be mounted here again, beside it.
    host.snap(&["mount", "data", &folder])?;
    assert_eq!(status(&host)?.mounts.len(), 2);
    assert!(fs::read(point.join("three"))? == content[2]);
    host.snap(&["unmount", &folder])?;
    assert!(elsewhere.read(&point.join("three"))? == content[2]);

    elsewhere.end()?;
    wait_for("what lingered to end", SOON, || {
        let is_over = status(&host)?.mounts.is_empty() && host.mount_servers()?.is_empty();
        Ok(is_over.then_some(()))
    })
    .with_context(|| host.log_end())?;
    host.snap(&["remove", "data"])?;
    let left = fs::read_dir(host.state().join("lingering"))?.count();
    assert_eq!(left, 0);
    Ok(())
}
