//! What would make a restore fail is found out before anything is changed.

use std::path::Path;

use snap_api::{ErrorCode, ErrorReport, NetworkChoice};
use snap_store::{AttachingWhat, ContainerConfig};

use super::Blueprint;
use crate::{
    containerd::{Containerd, Fault},
    error::Result,
    host::Host,
};

/// What runc would find out only when the first container is half made.
pub(super) fn network(network: &NetworkChoice) -> Result<()> {
    match network {
        NetworkChoice::Path(path) if !Path::new(path).exists() => {
            let message = format!("There is no network namespace at {path}");
            Err(
                ErrorReport::new(ErrorCode::NotFound, "network-not-found", message)
                    .hint("`ip netns add NAME` makes one at /run/netns/NAME")
                    .into(),
            )
        }
        _ => Ok(()),
    }
}

impl Blueprint {
    /// What is to be mounted is there, and no processes go on that have never seen it.
    pub(super) fn check_attached(&self, host: &Host) -> Result<()> {
        for one in &self.plan.attach {
            if let AttachingWhat::Volume(name) = &one.what {
                host.catalogue.volume(&self.plan.namespace, name)?;
            }
        }
        if self.memory_bytes.is_none() || self.plan.attach.is_empty() {
            return Ok(());
        }
        let message = format!(
            "Processes that go on from the memory of snapshot {} have never seen what is to be mounted",
            self.plan.snapshot.id
        );
        Err(
            ErrorReport::new(ErrorCode::Conflict, "memory-without-mounts", message)
                .hint("Restore the files alone with --no-memory")
                .into(),
        )
    }

    /// A fresh container needs the layers the original was made from.
    pub(super) async fn check_parent(&self, containerd: &Containerd) -> Result<()> {
        let ContainerConfig {
            snapshotter,
            parent,
            image,
            ..
        } = &self.config;
        let found = match parent.as_str() {
            "" => None,
            parent => Fault::absent_as_none(
                containerd
                    .snapshot(&self.plan.namespace, snapshotter, parent)
                    .await,
            )?,
        };
        if found.is_some() {
            return Ok(());
        }
        let message = format!(
            "Snapshot {} has expired, and the layers to make a fresh container from are gone",
            self.plan.snapshot.id
        );
        let image = if image.is_empty() { "its image" } else { image };
        Err(
            ErrorReport::new(ErrorCode::Unavailable, "image-gone", message)
                .hint(format!(
                    "Pull and unpack {image}, or restore the snapshot with --force"
                ))
                .into(),
        )
    }
}
