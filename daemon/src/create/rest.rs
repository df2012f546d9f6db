//! A container in which nothing runs. What is read of it without a pause is of one instant only when nobody starts it meanwhile, and whole
//! only when nobody removes it: both are asked after the reading, before the snapshot can be seen.

use snap_api::{ErrorCode, ErrorReport};
use snap_store::Namespace;

use crate::{
    containerd::{Fault, Task, TaskStatus},
    error::Result,
    host::Host,
};

/// How a container was found before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    task: Option<Task>,
}

impl Rest {
    /// Before the reading.
    ///
    /// # Errors
    /// `started-again` when something runs in it.
    pub(super) async fn find(host: &Host, namespace: &Namespace, id: &str) -> Result<Self> {
        let rest = Self {
            task: host.containerd.task(namespace, id).await?,
        };
        match rest.runs() {
            true => Err(disturbed(id, "was started again")),
            false => Ok(rest),
        }
    }

    /// After the reading.
    ///
    /// # Errors
    /// `started-again` when something has run in it since, or it is gone.
    pub(super) async fn require(self, host: &Host, namespace: &Namespace, id: &str) -> Result<()> {
        let now = Self {
            task: host.containerd.task(namespace, id).await?,
        };
        self.require_same(now, id)?;
        match self.has_files(host, namespace, id).await? {
            true => Ok(()),
            false => Err(disturbed(id, "was removed")),
        }
    }

    fn require_same(self, now: Self, id: &str) -> Result<()> {
        // One that was deleted meanwhile may have run in between.
        match now == self {
            true => Ok(()),
            false => Err(disturbed(id, "was started again")),
        }
    }

    fn runs(self) -> bool {
        let runs = |status| matches!(status, TaskStatus::Running | TaskStatus::Paused);
        self.task.is_some_and(|task| runs(task.status))
    }

    /// Whether containerd has the container still, and what its files are in. It removes the files after it has forgotten the snapshot.
    async fn has_files(self, host: &Host, namespace: &Namespace, id: &str) -> Result<bool> {
        let Some(info) = host.containerd.find_container(namespace, id).await? else {
            return Ok(false);
        };
        if info.snapshot_key.is_empty() {
            return Ok(true);
        }
        let (snapshotter, key) = (&info.config.snapshotter, &info.snapshot_key);
        let found = host.containerd.snapshot(namespace, snapshotter, key).await;
        Ok(Fault::absent_as_none(found)?.is_some())
    }
}

fn disturbed(id: &str, what: &str) -> crate::Error {
    let message = format!("Container {id} {what} while it was captured");
    ErrorReport::new(ErrorCode::Conflict, "started-again", message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::Ended;

    #[test]
    fn a_task_that_was_not_there_before_has_run() {
        let rest = |pid, status| Rest {
            task: Some(Task {
                pid,
                status,
                ended: (status == TaskStatus::Stopped).then_some(Ended {
                    status: 0,
                    at_ms: i64::from(pid),
                }),
            }),
        };
        let (none, ended) = (Rest { task: None }, rest(7, TaskStatus::Stopped));
        let running = rest(8, TaskStatus::Running);
        assert!(running.runs() && !ended.runs() && !none.runs());
        for before in [none, ended] {
            before.require_same(before, "web").unwrap();
            for now in [running, rest(8, TaskStatus::Stopped)] {
                let error = before.require_same(now, "web").unwrap_err();
                assert_eq!(ErrorReport::from(error).reason, "started-again");
            }
        }
    }
}
