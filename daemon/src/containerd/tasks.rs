//! Tasks: the running side of a container.

use std::{path::Path, time::Duration};

use containerd_client::{
    services::v1::{
        CreateTaskRequest, DeleteTaskRequest, GetRequest, KillRequest, ListPidsRequest,
        PauseTaskRequest, ResumeTaskRequest, StartRequest, tasks_client::TasksClient,
    },
    tonic::transport::Channel,
    types::v1::Status,
};
use prost_types::{Any, Timestamp};
use snap_store::Namespace;
use tracing::warn;

use super::{CHANGE_LIMIT, Containerd, Fault, Mount, READ_LIMIT, in_namespace};

/// A shim that does not answer has hung, or has no processor just now.
const STATE_ATTEMPTS: u32 = 3;
/// Somebody stands still meanwhile, and there is another way to thaw.
const RESUME_LIMIT: Duration = Duration::from_secs(3);

/// A task and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id of its first process, on the host; 0 when it has none.
    pub pid: u32,
    /// Where it stands.
    pub status: TaskStatus,
    /// How it has ended, when it has.
    pub ended: Option<Ended>,
}

/// How the first process of a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 and the signal when one has ended it.
    pub status: u32,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Ended {
    pub(super) fn new(status: u32, at: Option<Timestamp>) -> Self {
        let at = at.unwrap_or_default();
        let ms = i64::from(at.nanos) / 1_000_000;
        Self {
            status,
            at_ms: at.seconds.saturating_mul(1000).saturating_add(ms),
        }
    }
}

/// What a new task is made of.
#[derive(Debug)]
pub struct NewTask<'a> {
    /// Mounts of its root; empty when the spec names the root by an absolute path.
    pub rootfs: &'a [Mount],
    /// Where both streams go: the shim of containerd 1.6 dies of a single empty one.
    pub log: &'a Path,
    /// Where its standard input comes from, a FIFO; from nothing when absent.
    pub input: Option<&'a Path>,
    /// With these its processes go on from images of memory once it is started.
    pub options: Option<Any>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Standing still, or about to.
    Paused,
    /// Ended, not deleted.
    Stopped,
}

impl TaskStatus {
    /// The word people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Containerd {
    /// The container's task; `None` when containerd positively says that it has none. Asks again when containerd cannot tell where it
    /// stands, which is silence in the end.
    pub async fn task(&self, namespace: &Namespace, id: &str) -> Result<Option<Task>, Fault> {
        for _ in 1..STATE_ATTEMPTS {
            match self.task_at_once(namespace, id).await {
                Err(Fault::Unsaid { .. }) => {
                    warn!(container = id, "Nobody says where a task stands");
                }
                told => return told,
            }
        }
        self.task_at_once(namespace, id).await
    }

    /// The same, asked once.
    pub async fn task_at_once(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Task>, Fault> {
        let mut client = self.tasks().await?;
        let request = GetRequest {
            container_id: id.to_owned(),
            exec_id: String::new(),
        };
        let asked = client.get(in_namespace(namespace, request));
        let answer = self.within("look up the task of container", id, READ_LIMIT, asked);
        let Some(answer) = Fault::absent_as_none(answer.await)? else {
            return Ok(None);
        };
        let Some(process) = answer.process else {
            return Ok(None);
        };
        let status = match process.status() {
            Status::Created => TaskStatus::Created,
            Status::Running => TaskStatus::Running,
            Status::Paused | Status::Pausing => TaskStatus::Paused,
            Status::Stopped => TaskStatus::Stopped,
            // So containerd answers when the shim has not within two seconds.
            Status::Unknown => {
                return Err(Fault::Unsaid {
                    name: id.to_owned(),
                });
            }
        };
        let pid = process.pid;
        let ended = (status == TaskStatus::Stopped)
            .then(|| Ended::new(process.exit_status, process.exited_at));
        Ok(Some(Task { pid, status, ended }))
    }

    /// Freezes the container.
    pub async fn pause(&self, namespace: &Namespace, id: &str) -> Result<(), Fault> {
        let mut client = self.tasks().await?;
        let request = PauseTaskRequest {
            container_id: id.to_owned(),
        };
        let asked = client.pause(in_namespace(namespace, request));
        self.within("pause container", id, READ_LIMIT, asked).await
    }

    /// Thaws the container.
    pub async fn resume(&self, namespace: &Namespace, id: &str) -> Result<(), Fault> {
        let mut client = self.tasks().await?;
        let request = ResumeTaskRequest {
            container_id: id.to_owned(),
        };
        let asked = client.resume(in_namespace(namespace, request));
        self.within("resume container", id, RESUME_LIMIT, asked)
            .await
    }

    /// Sends a signal to the task, or to every process of the container when it is KILL; no error when it has ended.
    pub async fn kill(&self, namespace: &Namespace, id: &str, signal: u32) -> Result<(), Fault> {
        const KILL: u32 = 9;
        let mut client = self.tasks().await?;
        let request = KillRequest {
            container_id: id.to_owned(),
            exec_id: String::new(),
            signal,
            all: signal == KILL,
        };
        let asked = client.kill(in_namespace(namespace, request));
        let answer = self.within("signal container", id, CHANGE_LIMIT, asked);
        Fault::absent_as_none(answer.await).map(drop)
    }

    /// Makes the container's task.
    pub async fn create_task(
        &self,
        namespace: &Namespace,
        id: &str,
        new: NewTask<'_>,
    ) -> Result<u32, Fault> {
        let mut client = self.tasks().await?;
        let log = format!("file://{}", new.log.display());
        let request = CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs: new.rootfs.iter().map(Mount::to_message).collect(),
            stdin: new
                .input
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            stdout: log.clone(),
            stderr: log,
            options: new.options,
            ..CreateTaskRequest::default()
        };
        let asked = client.create(in_namespace(namespace, request));
        let answer = self.within("create the task of container", id, CHANGE_LIMIT, asked);
        Ok(answer.await?.pid)
    }

    /// Starts the task; waits for it for `longer` than is usual.
    pub async fn start(
        &self,
        namespace: &Namespace,
        id: &str,
        longer: Duration,
    ) -> Result<u32, Fault> {
        let mut client = self.tasks().await?;
        let request = StartRequest {
            container_id: id.to_owned(),
            exec_id: String::new(),
        };
        let asked = client.start(in_namespace(namespace, request));
        let limit = CHANGE_LIMIT + longer;
        let answer = self.within("start the task of container", id, limit, asked);
        Ok(answer.await?.pid)
    }

    /// Deletes a task that has ended; no error when there is none.
    pub async fn delete_task(&self, namespace: &Namespace, id: &str) -> Result<(), Fault> {
        let mut client = self.tasks().await?;
        let request = DeleteTaskRequest {
            container_id: id.to_owned(),
        };
        let asked = client.delete(in_namespace(namespace, request));
        let answer = self.within("delete the task of container", id, CHANGE_LIMIT, asked);
        Fault::absent_as_none(answer.await).map(drop)
    }

    /// Process ids of all the container's processes, on the host.
    pub async fn processes(&self, namespace: &Namespace, id: &str) -> Result<Vec<u32>, Fault> {
        let mut client = self.tasks().await?;
        let request = ListPidsRequest {
            container_id: id.to_owned(),
        };
        let asked = client.list_pids(in_namespace(namespace, request));
        let answer = self.within("list the processes of container", id, READ_LIMIT, asked);
        let processes = answer.await?.processes;
        Ok(processes.iter().map(|process| process.pid).collect())
    }

    pub(super) async fn tasks(&self) -> Result<TasksClient<Channel>, Fault> {
        Ok(TasksClient::new(self.channel().await?))
    }
}
