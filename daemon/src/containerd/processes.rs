//! Further processes of a container, and how processes ended.

use std::{path::Path, time::Duration};

use containerd_client::{
    services::v1::{
        DeleteProcessRequest, ExecProcessRequest, GetRequest, KillRequest, StartRequest,
    },
    types::v1::Status,
};
use prost_types::Any;
use snap_store::Namespace;

use super::{CHANGE_LIMIT, Containerd, Fault, READ_LIMIT, in_namespace};

/// Type of the description of a process, as containerd's own clients write it.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const KILL: u32 = 9;
/// How long the kernel may take to end a killed process, and how often it is looked at.
const END_LIMIT: Duration = Duration::from_secs(20);
const END_LOOK: Duration = Duration::from_millis(20);

impl Containerd {
    /// The exit status of the container's first process, or of the further one `exec`; `None` while it runs.
    pub async fn exit_status(
        &self,
        namespace: &Namespace,
        id: &str,
        exec: &str,
    ) -> Result<Option<u32>, Fault> {
        let mut client = self.tasks().await?;
        let request = GetRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
        };
        let asked = client.get(in_namespace(namespace, request));
        let answer = self.within("look up a process of container", id, READ_LIMIT, asked);
        let process = answer.await?.process;
        let process = process.ok_or_else(|| Fault::absent("look up a process of container", id))?;
        let has_ended = process.status() == Status::Stopped;
        Ok(has_ended.then_some(process.exit_status))
    }

    /// Starts a further process in a running container; both its streams go to the file `log`.
    pub async fn exec(
        &self,
        namespace: &Namespace,
        (id, exec): (&str, &str),
        process: &serde_json::Value,
        log: &Path,
    ) -> Result<(), Fault> {
        let mut client = self.tasks().await?;
        let log = format!("file://{}", log.display());
        let request = ExecProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            stdout: log.clone(),
            stderr: log,
            spec: Some(Any {
                type_url: PROCESS_TYPE.to_owned(),
                value: process.to_string().into_bytes(),
            }),
            ..ExecProcessRequest::default()
        };
        let asked = client.exec(in_namespace(namespace, request));
        self.within("make a process in container", id, CHANGE_LIMIT, asked)
            .await?;
        let request = StartRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
        };
        let asked = client.start(in_namespace(namespace, request));
        let answer = self.within("start a process in container", id, CHANGE_LIMIT, asked);
        answer.await.map(drop)
    }

    /// Waits for the end of a further process that was killed; one that does not end is left to its container's end.
    async fn wait_for_exec(
        &self,
        namespace: &Namespace,
        (id, exec): (&str, &str),
    ) -> Result<(), Fault> {
        let ended = async {
            while self.exit_status(namespace, id, exec).await?.is_none() {
                tokio::time::sleep(END_LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(END_LIMIT, ended)
            .await
            .unwrap_or(Ok(()))
    }

    /// Kills a further process, which may have ended, and forgets it.
    pub async fn end_exec(
        &self,
        namespace: &Namespace,
        id: &str,
        exec: &str,
        is_running: bool,
    ) -> Result<(), Fault> {
        let mut client = self.tasks().await?;
        if is_running {
            let request = KillRequest {
                container_id: id.to_owned(),
                exec_id: exec.to_owned(),
                signal: KILL,
                all: false,
            };
            let asked = client.kill(in_namespace(namespace, request));
            let answer = self.within("signal a process of container", id, CHANGE_LIMIT, asked);
            Fault::absent_as_none(answer.await)?;
            self.wait_for_exec(namespace, (id, exec)).await?;
        }
        let request = DeleteProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
        };
        let asked = client.delete_process(in_namespace(namespace, request));
        let answer = self.within("delete a process of container", id, CHANGE_LIMIT, asked);
        Fault::absent_as_none(answer.await).map(drop)
    }
}
