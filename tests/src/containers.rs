//! Containers of a host, by `ctr`: what a user of containerd has at hand, and nothing of ours.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{Answer, Host, Image, fixtures::pack, wait_for};

/// Where containerd's shims have runc keep its list, in a folder for each namespace.
const RUNC_ROOT: &str = "/run/containerd/runc";

static EXECUTIONS: AtomicU32 = AtomicU32::new(0);

impl Host {
    /// Runs `ctr` in the host's namespace.
    ///
    /// # Errors
    /// When it cannot be run; its own failure is in the answer.
    pub fn ctr(&self, arguments: &[&str]) -> Result<Answer> {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.folder().join("containerd/containerd.sock"))
            .args(["--namespace", self.namespace()])
            .args(arguments)
            .output()
            .context("Run ctr")?;
        Ok(Answer::new(format!("ctr {}", arguments.join(" ")), &output))
    }

    /// Imports the image, unless it is there, and returns its name.
    ///
    /// # Errors
    /// When it cannot be made or imported.
    pub fn image(&self, image: Image) -> Result<&'static str> {
        let name = image.name();
        if !self
            .ctr(&["images", "list", "--quiet"])?
            .ok()?
            .contains(name)
        {
            self.import(&image.archive()?)?;
        }
        Ok(name)
    }

    /// Packs `folders` as the layers of a new image and imports it.
    ///
    /// # Errors
    /// When it cannot be made or imported.
    pub fn import_layers(&self, name: &str, folders: &[&Path]) -> Result<()> {
        let archive = self.folder().join("layers.tar");
        pack(name, &archive, folders)?;
        self.import(&archive)?;
        std::fs::remove_file(&archive).context("Remove the archive")
    }

    fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("The archive's path is UTF-8")?;
        self.ctr(&["images", "import", archive])?.ok().map(drop)
    }

    /// Runs `script` by the shell of a new container of the named image, detached.
    ///
    /// # Errors
    /// When the container does not start.
    pub fn run(&self, id: &str, image: &str, script: &str) -> Result<()> {
        self.run_with(id, image, script, &[])
    }

    /// The same with further flags of `ctr run`.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_with(&self, id: &str, image: &str, script: &str, flags: &[&str]) -> Result<()> {
        let pipes = self.pipes();
        let mut arguments = vec!["run", "--detach", "--fifo-dir", &pipes];
        arguments.extend(flags);
        arguments.extend([image, id, "/bin/sh", "-c", script]);
        self.ctr(&arguments)?.ok().map(drop)
    }

    /// The same as `run`, with a terminal whose other end containerd's shim holds.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_with_terminal(&self, id: &str, image: &str, script: &str) -> Result<()> {
        let socket = self.folder().join("containerd/containerd.sock");
        let (pipes, namespace) = (self.pipes(), self.namespace());
        // ctr asks its own terminal for its size, so it needs one.
        let command = format!(
            "ctr --address '{}' --namespace {namespace} run --tty --detach --fifo-dir '{pipes}' {image} {id} /bin/sh -c '{script}'",
            socket.display()
        );
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .context("Run script")?;
        Answer::new(command, &output).ok().map(drop)
    }

    /// Runs an idle container of the image.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_idle(&self, id: &str, image: Image) -> Result<()> {
        let name = self.image(image)?;
        self.run(id, name, "trap 'exit 0' TERM; while :; do sleep 0.2; done")
    }

    /// Runs `script` by the shell of a running container and returns what it printed. runc is asked rather than ctr, which on a
    /// busy machine loses the output of a process that ends before the pipes are open.
    ///
    /// # Errors
    /// When the script fails.
    pub fn exec(&self, id: &str, script: &str) -> Result<String> {
        let output = Command::new("runc")
            .arg("--root")
            .arg(Path::new(RUNC_ROOT).join(self.namespace()))
            .args(["exec", id, "/bin/sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .context("Run runc")?;
        Answer::new(format!("runc exec {id} {script}"), &output).ok()
    }

    /// Has containerd run `script` by the shell of a running container; what it prints is lost.
    ///
    /// # Errors
    /// When the script fails.
    pub fn exec_by_ctr(&self, id: &str, script: &str) -> Result<()> {
        let name = format!("x{}", EXECUTIONS.fetch_add(1, Ordering::Relaxed));
        let (exec, pipes) = (["task", "exec", "--fifo-dir"], self.pipes());
        let what = [&pipes, "--exec-id", &name, id, "/bin/sh", "-c", script];
        self.ctr(&[&exec[..], &what].concat())?.ok().map(drop)
    }

    /// ctr keeps the pipes of its containers in one folder of the machine unless told otherwise.
    fn pipes(&self) -> String {
        self.folder().join("pipes").to_string_lossy().into_owned()
    }

    /// The status of the container's task as `ctr` shows it: `RUNNING`, `PAUSED`, `STOPPED`; none without a task.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub fn task_status(&self, id: &str) -> Result<Option<String>> {
        Ok(self.task(id)?.map(|(_, status)| status))
    }

    /// The process id of the container's task.
    ///
    /// # Errors
    /// When it has none.
    pub fn task_pid(&self, id: &str) -> Result<u32> {
        let (pid, _) = self
            .task(id)?
            .with_context(|| format!("{id} has no task"))?;
        Ok(pid)
    }

    fn task(&self, id: &str) -> Result<Option<(u32, String)>> {
        let list = self.ctr(&["task", "list"])?.ok()?;
        let found = list.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(id)).then_some(words)
        });
        let Some(mut words) = found else {
            return Ok(None);
        };
        let pid = words.next().context("ctr shows a process id")?.parse()?;
        Ok(Some((pid, words.next().unwrap_or_default().to_owned())))
    }

    /// The root file system of a container that was started by `ctr`, as the host sees it, without what is mounted inside.
    #[must_use]
    pub fn rootfs(&self, id: &str) -> PathBuf {
        let tasks = "containerd/state/io.containerd.runtime.v2.task";
        self.folder()
            .join(tasks)
            .join(self.namespace())
            .join(id)
            .join("rootfs")
    }

    /// The root file system of a restored container, as the host sees it.
    #[must_use]
    pub fn restored_rootfs(&self, id: &str) -> PathBuf {
        self.root()
            .join("containers")
            .join(self.namespace())
            .join(id)
            .join("rootfs")
    }

    /// Ends the container's task and removes the container, by `ctr` alone.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_by_ctr(&self, id: &str) -> Result<()> {
        self.kill_task(id)?;
        self.ctr(&["container", "delete", id])?.ok().map(drop)
    }

    /// Kills the container's task and removes it; the container stays.
    ///
    /// # Errors
    /// When the task does not end.
    pub fn kill_task(&self, id: &str) -> Result<()> {
        if self.task(id)?.is_none() {
            return Ok(());
        }
        self.ctr(&["task", "kill", "--signal", "KILL", id])?;
        wait_for("the task to end", Duration::from_secs(10), || {
            Ok((self.task_status(id)?.as_deref() == Some("STOPPED")).then_some(()))
        })?;
        self.ctr(&["task", "delete", id])?.ok().map(drop)
    }

    /// The containers containerd knows.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub fn containers(&self) -> Result<Vec<String>> {
        let list = self.ctr(&["container", "list", "--quiet"])?.ok()?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// The mount points in the host's folder that belong to snapshotd.
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub fn our_mounts(&self) -> Result<Vec<PathBuf>> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").context("Read the mounts")?;
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        Ok(points
            .map(PathBuf::from)
            .filter(|point| point.starts_with(self.root()) || point.starts_with(self.state()))
            .collect())
    }

    /// The process ids of the mount servers of this host's daemon.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn mount_servers(&self) -> Result<Vec<u32>> {
        processes("snapshotd-mount serve", self.root())
    }

    /// The process ids of those who serve images of memory from this host's store.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn image_servers(&self) -> Result<Vec<u32>> {
        processes("snapshotd-mount mount --memory", self.root())
    }

    /// The process ids of the holders of this host's daemon.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn holders(&self) -> Result<Vec<u32>> {
        processes("snapshotd-mount hold", self.state())
    }

    /// The process id of the container's shim.
    ///
    /// # Errors
    /// When it has none.
    pub fn shim(&self, id: &str) -> Result<u32> {
        let verb = format!("-namespace {} -id {id} ", self.namespace());
        let found = processes(&verb, self.folder())?;
        found.first().copied().context("The container has a shim")
    }
}

/// The processes whose command line holds both.
fn processes(verb: &str, folder: &Path) -> Result<Vec<u32>> {
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("Read /proc")? {
        let path = entry.context("Read /proc")?.path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let name = path.file_name().and_then(|name| name.to_str());
        let pid: Option<u32> = name.and_then(|name| name.parse().ok());
        let is_ours = command.contains(verb) && command.contains(&*folder);
        found.extend(pid.filter(|_| is_ours));
    }
    Ok(found)
}
