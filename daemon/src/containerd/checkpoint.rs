//! Memory of a task: written by a checkpoint, read when a task is made.
//!
//! The options of runc's shim are not among the client's messages; the numbers of their fields are containerd's
//! (`containerd.runc.v1`).

use std::{path::Path, time::Duration};

use containerd_client::{services::v1::CheckpointTaskRequest, to_any};
use prost::Message;
use prost_types::Any;
use snap_store::{ContainerConfig, Namespace};

use super::{Containerd, Fault, in_namespace};

/// What is said to a checkpoint.
#[derive(Clone, PartialEq, Message)]
struct CheckpointOptions {
    #[prost(bool, tag = "2")]
    open_tcp: bool,
    #[prost(bool, tag = "5")]
    file_locks: bool,
    #[prost(string, tag = "8")]
    image_path: String,
    #[prost(string, tag = "9")]
    work_path: String,
}

impl prost::Name for CheckpointOptions {
    const NAME: &'static str = "CheckpointOptions";
    const PACKAGE: &'static str = "containerd.runc.v1";
}

/// What is said to a task that goes on, beside what its container says.
#[derive(Clone, PartialEq, Message)]
struct RestoreOptions {
    #[prost(string, tag = "10")]
    criu_image_path: String,
    #[prost(string, tag = "11")]
    criu_work_path: String,
}

impl prost::Name for RestoreOptions {
    const NAME: &'static str = "Options";
    const PACKAGE: &'static str = "containerd.runc.v1";
}

/// What CRIU needs to write a container that has next to no memory, on a busy host.
const LEAST_LIMIT: Duration = Duration::from_secs(45);

/// Folders of CRIU.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// The images.
    pub folder: &'a Path,
    /// Its log, and what it needs while it works.
    pub work: &'a Path,
    /// How much longer than without them a task may take to be written or to start.
    pub longer: Duration,
}

impl Images<'_> {
    /// How long CRIU may take to write them, when their size allows for `longer` than the least.
    pub(crate) fn limit(longer: Duration) -> Duration {
        LEAST_LIMIT + longer
    }

    /// The options of a task that goes on from these images: those of its container, and where the images are.
    ///
    /// Encoded messages of one type are joined by joining their bytes.
    pub(crate) fn task_options(&self, config: &ContainerConfig) -> Any {
        let own = to_any(&RestoreOptions {
            criu_image_path: text(self.folder),
            criu_work_path: text(self.work),
        });
        let mut value = match config.runtime_options_type.ends_with(&own.type_url) {
            true => config.runtime_options.clone(),
            false => Vec::new(),
        };
        value.extend(own.value);
        Any { value, ..own }
    }
}

impl Containerd {
    /// Has CRIU write the memory of the task's processes, which run on, or stand still on if they did.
    ///
    /// # Errors
    /// What containerd says; CRIU's own words are in `dump.log` of the work folder.
    pub async fn checkpoint(
        &self,
        namespace: &Namespace,
        id: &str,
        images: Images<'_>,
    ) -> Result<(), Fault> {
        let mut client = self.tasks().await?;
        let options = CheckpointOptions {
            open_tcp: true,
            file_locks: true,
            image_path: text(images.folder),
            work_path: text(images.work),
        };
        let request = CheckpointTaskRequest {
            container_id: id.to_owned(),
            options: Some(to_any(&options)),
            ..CheckpointTaskRequest::default()
        };
        let asked = client.checkpoint(in_namespace(namespace, request));
        let limit = Images::limit(images.longer);
        let answer = self.within("capture the memory of container", id, limit, asked);
        answer.await.map(drop)
    }
}

/// Paths of the daemon's own state, which the configuration takes as text.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_task_that_goes_on_keeps_its_containers_options() {
        let mut config = fixture::container();
        config.runtime_options_type = "containerd.runc.v1.Options".to_owned();
        // systemd_cgroup
        config.runtime_options = vec![9 << 3, 1];
        let images = Images {
            folder: Path::new("/i"),
            work: Path::new("/w"),
            longer: Duration::ZERO,
        };
        let options = images.task_options(&config);
        assert_eq!(options.type_url, "containerd.runc.v1.Options");
        assert_eq!(options.value, b"\x48\x01\x52\x02/i\x5a\x02/w");
        config.runtime_options_type = "other.Options".to_owned();
        assert_eq!(images.task_options(&config).value, b"\x52\x02/i\x5a\x02/w");
    }
}
