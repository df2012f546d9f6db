//! Further processes of a task.

use std::{path::Path, time::Duration};

use containerd_client::services::v1::{
    DeleteProcessRequest, ExecProcessRequest, KillRequest, StartRequest, WaitRequest,
};
use prost_types::Any;
use serde_json::Value;
use snap_store::Namespace;

use super::{CHANGE_LIMIT, Containerd, Fault, READ_LIMIT, in_namespace};

/// By which containerd knows what a process is made of.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const KILL: u32 = 9;

/// What a further process is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewProcess<'a> {
    /// Id of the container.
    pub container: &'a str,
    /// Its name among the processes of the task.
    pub name: &'a str,
    /// What it is, as a spec has it.
    pub spec: &'a Value,
    /// Where both streams go.
    pub log: &'a Path,
    /// It is killed after this.
    pub limit: Duration,
}

impl Containerd {
    /// Runs the process to its end and returns its exit code; `None` when it had to be killed. Nothing is left of it.
    ///
    /// # Errors
    /// What containerd says: there is no such program, the task is paused.
    pub async fn run_process(
        &self,
        namespace: &Namespace,
        new: NewProcess<'_>,
    ) -> Result<Option<u32>, Fault> {
        let log = format!("file://{}", new.log.display());
        let request = ExecProcessRequest {
            container_id: new.container.to_owned(),
            stdout: log.clone(),
            stderr: log,
            spec: Some(Any {
                type_url: PROCESS.to_owned(),
                value: new.spec.to_string().into_bytes(),
            }),
            exec_id: new.name.to_owned(),
            ..ExecProcessRequest::default()
        };
        let mut client = self.tasks().await?;
        let asked = client.exec(in_namespace(namespace, request));
        self.within(
            "prepare a process of container",
            new.container,
            CHANGE_LIMIT,
            asked,
        )
        .await?;
        let ended = self.start_and_wait(namespace, new).await;
        let request = DeleteProcessRequest {
            container_id: new.container.to_owned(),
            exec_id: new.name.to_owned(),
        };
        let mut client = self.tasks().await?;
        let asked = client.delete_process(in_namespace(namespace, request));
        let deleted = self.within(
            "delete a process of container",
            new.container,
            CHANGE_LIMIT,
            asked,
        );
        let deleted = deleted.await;
        let ended = ended?;
        Fault::absent_as_none(deleted)?;
        Ok(ended)
    }

    async fn start_and_wait(
        &self,
        namespace: &Namespace,
        new: NewProcess<'_>,
    ) -> Result<Option<u32>, Fault> {
        let mut client = self.tasks().await?;
        let request = StartRequest {
            container_id: new.container.to_owned(),
            exec_id: new.name.to_owned(),
        };
        let asked = client.start(in_namespace(namespace, request));
        self.within(
            "start a process of container",
            new.container,
            CHANGE_LIMIT,
            asked,
        )
        .await?;
        match self.end_of(namespace, new, new.limit).await {
            Err(fault) if fault.is_silence() => {}
            ended => return ended.map(Some),
        }
        let request = KillRequest {
            container_id: new.container.to_owned(),
            exec_id: new.name.to_owned(),
            signal: KILL,
            all: false,
        };
        let asked = client.kill(in_namespace(namespace, request));
        let killed = self.within(
            "kill a process of container",
            new.container,
            CHANGE_LIMIT,
            asked,
        );
        Fault::absent_as_none(killed.await)?;
        self.end_of(namespace, new, READ_LIMIT).await?;
        Ok(None)
    }

    async fn end_of(
        &self,
        namespace: &Namespace,
        new: NewProcess<'_>,
        limit: Duration,
    ) -> Result<u32, Fault> {
        let mut client = self.tasks().await?;
        let request = WaitRequest {
            container_id: new.container.to_owned(),
            exec_id: new.name.to_owned(),
        };
        let asked = client.wait(in_namespace(namespace, request));
        let answer = self.within(
            "wait for a process of container",
            new.container,
            limit,
            asked,
        );
        Ok(answer.await?.exit_status)
    }
}
