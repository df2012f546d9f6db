//! A host of its own for one test: a folder on a disk, a private containerd and a private snapshotd in it.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use snap_api::Client;

use crate::{
    Answer, Daemon,
    daemon::{Places, log_end},
    fixtures::{program, script},
    schemas,
};

/// How a host differs from the plain one.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// Configuration of snapshotd, beside its defaults.
    pub config: String,
    /// Where snapshotd keeps its store; in the host's folder unless given.
    pub root: Option<PathBuf>,
    /// Where the host's folder is made; on the disk of the temporary files unless given.
    pub parent: Option<PathBuf>,
    /// Start no containerd: its socket is where nothing listens.
    pub without_containerd: bool,
}

/// The host; everything in it ends with it.
#[derive(Debug)]
pub struct Host {
    folder: PathBuf,
    namespace: String,
    places: Places,
    daemon: Option<Daemon>,
}

impl Host {
    /// A plain host, its daemon running.
    ///
    /// # Errors
    /// When something does not start; the error carries its log.
    pub fn start() -> Result<Self> {
        Self::start_with(&HostOptions::default())
    }

    /// A host with these options, its daemon running.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(options: &HostOptions) -> Result<Self> {
        let mut host = Self::prepare(options)?;
        host.start_daemon()?;
        Ok(host)
    }

    /// A host whose daemon is not started yet.
    ///
    /// # Errors
    /// As `start`.
    pub fn prepare(options: &HostOptions) -> Result<Self> {
        let folder = match &options.parent {
            Some(parent) => parent.join("host"),
            None => PathBuf::from(script("disk-folder", &["snaptest"])?),
        };
        fs::create_dir_all(&folder).with_context(|| format!("Make {}", folder.display()))?;
        let places = Places {
            config: folder.join("config.toml"),
            root: options.root.clone().unwrap_or_else(|| folder.join("store")),
            state: folder.join("state"),
            socket: folder.join("snapshotd.sock"),
            containerd: folder.join("containerd/containerd.sock"),
            log: folder.join("snapshotd.log"),
            programs: folder.join("programs"),
        };
        let host = Self {
            namespace: format!("t{}", process::id()),
            folder,
            places,
            daemon: None,
        };
        host.guard()?;
        host.write_config(&options.config)?;
        if !options.without_containerd {
            host.start_containerd()?;
        }
        Ok(host)
    }

    /// How full the machine is that runs the tests is no concern of theirs, unless one says so; and what is removed is gone.
    fn write_config(&self, text: &str) -> Result<()> {
        let mut config = text.to_owned();
        if !config.contains("disk_high_percent") {
            config.push_str("\ndisk_high_percent = 100\n");
        }
        if !config.contains("trash_grace") {
            config.push_str("\ntrash_grace = \"0\"\n");
        }
        fs::write(&self.places.config, config).context("Write the configuration")
    }

    /// Starts the private containerd, again after `stop_containerd`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_containerd(&self) -> Result<()> {
        script("containerd", &["start", self.folder_text()?]).map(drop)
    }

    /// Kills the private containerd; its containers run on.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill_containerd(&self) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join("containerd/pid"))
            .context("Read containerd's process id")?;
        let output = Command::new("kill")
            .args(["-KILL", pid.trim()])
            .output()
            .context("Run kill")?;
        Answer::new("kill".to_owned(), &output).ok().map(drop)
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_daemon(&mut self) -> Result<()> {
        self.daemon = None;
        self.daemon = Some(Daemon::start(&self.places)?);
        Ok(())
    }

    /// Starts the daemon without waiting for it.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub fn spawn_daemon(&mut self) -> Result<()> {
        self.daemon = None;
        self.daemon = Some(Daemon::spawn(&self.places)?);
        Ok(())
    }

    /// Puts a copy of the catalogue in its place, as the operator does while the daemon is stopped.
    ///
    /// # Errors
    /// When snapshotd cannot be run; its own failure is in the answer.
    pub fn restore_catalogue(&self, copy: &Path) -> Result<Answer> {
        let mut command = crate::daemon::command(&self.places)?;
        let output = command.arg("--restore-catalogue").arg(copy).output();
        let output = output.context("Run snapshotd")?;
        Ok(Answer::new(
            "snapshotd --restore-catalogue".to_owned(),
            &output,
        ))
    }

    /// Puts a shell script in the place of a program the daemon runs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pretend(&self, program: &str, script: &str) -> Result<()> {
        let folder = &self.places.programs;
        fs::create_dir_all(folder).context("Make the folder of programs")?;
        let path = folder.join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).context("Write the script")?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, mode).context("Make it a program")
    }

    /// Ends what `pretend` began.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn pretend_no_more(&self, program: &str) -> Result<()> {
        fs::remove_file(self.places.programs.join(program)).context("Remove the script")
    }

    /// The daemon, taken out of the host to be stopped or killed.
    ///
    /// # Errors
    /// When it is not running.
    pub fn take_daemon(&mut self) -> Result<Daemon> {
        self.daemon.take().context("The daemon is not running")
    }

    /// The host's folder; short paths on a real disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The store of the daemon.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.places.root
    }

    /// The state folder of the daemon.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.places.state
    }

    /// The socket of the daemon.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.places.socket
    }

    /// The file of the daemon's configuration, read at its next start.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.places.config
    }

    /// The end of the daemon's log.
    #[must_use]
    pub fn log_end(&self) -> String {
        log_end(&self.places.log)
    }

    /// containerd's namespace of this host.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes an empty folder of that name in the host's folder.
    ///
    /// # Errors
    /// When it is there already.
    pub fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir(&path).with_context(|| format!("Make {}", path.display()))?;
        Ok(path)
    }

    /// Runs `snapctl` in the host's namespace and waits for it.
    ///
    /// # Errors
    /// When it cannot be run, or prints JSON that is not as its schema says; its own failure is in the answer.
    pub fn snapctl<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Answer> {
        let mut command = self.snapctl_command()?;
        let (mut shown, mut words) = ("snapctl".to_owned(), Vec::new());
        for argument in arguments {
            let _ = write!(shown, " {}", argument.as_ref().display());
            words.push(argument.as_ref().to_string_lossy().into_owned());
            command.arg(argument);
        }
        let output = command.output().context("Run snapctl")?;
        let answer = Answer::new(shown, &output);
        schemas::check(&words, answer.code, &answer.stdout)?;
        Ok(answer)
    }

    /// Runs `snapctl` and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn snap(&self, arguments: &[&str]) -> Result<String> {
        self.snapctl(arguments)?.ok()
    }

    /// Runs `snapctl --output json` and returns what it printed.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub fn snap_json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let all = ["--output", "json"].iter().chain(arguments);
        self.snapctl(all)?.json()
    }

    /// `snapctl` with socket and namespace, for a test that wants to drive it itself.
    ///
    /// # Errors
    /// When it is not built.
    pub fn snapctl_command(&self) -> Result<Command> {
        let mut command = Command::new(program("snapctl")?);
        command
            .arg("--socket")
            .arg(&self.places.socket)
            .env("CONTAINERD_NAMESPACE", &self.namespace)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `call` with a client that has said hello.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn rpc<T>(&self, call: impl AsyncFnOnce(Client) -> T) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("Start a runtime")?;
        runtime.block_on(async {
            let client = Client::connect(&self.places.socket, "snap-tests").await?;
            Ok(call(client).await)
        })
    }

    fn folder_text(&self) -> Result<&str> {
        self.folder.to_str().context("The host's folder is UTF-8")
    }

    /// A process of its own that cleans up when this one is killed and cannot.
    fn guard(&self) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/containerd");
        Command::new("setsid")
            .arg(root)
            .args(["guard", self.folder_text()?, &process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Start the guard")
            .map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test's output is where a reader of a failure looks.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.log_end().as_bytes());
        }
        self.daemon = None;
        let stopped = self
            .folder_text()
            .and_then(|folder| script("containerd", &["stop", folder]));
        let removed = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            stopped.expect("the private containerd stops");
            removed.expect("nothing is mounted in the host's folder any more");
        }
    }
}
