//! Images served for as long as containers are restored from them: a mount of their own that only root can reach, and that
//! nobody needs once the processes are there.

use std::path::{Path, PathBuf};

use snap_api::{ErrorCode, ErrorReport};
use snap_store::SnapshotId;
use tokio::process::{Child, Command};
use tracing::warn;

use super::{criu_log, folder, time_for};
use crate::{
    blocking,
    containerd::Images,
    error::{Error, Result},
    files,
    host::Host,
    mounts,
};

const RESTORE_LOG: &str = "restore.log";
const SERVER_LOG: &str = "server.log";
const PRIVATE: u32 = 0o700;

/// The images of one snapshot, mounted. Dropping it ends the mount.
#[derive(Debug)]
pub(crate) struct ServedImages {
    folder: PathBuf,
    /// Where in it they are mounted.
    images: PathBuf,
    /// Bytes of them.
    bytes: u64,
    /// Serves until the mount is gone.
    server: Option<Child>,
}

impl ServedImages {
    /// Mounts and serves the images of `snapshot`, of which there are so many bytes.
    ///
    /// # Errors
    /// What the store says of them, by the last words of the server.
    pub(crate) async fn start(host: &Host, snapshot: &SnapshotId, bytes: u64) -> Result<Self> {
        let state = host.config.state.clone();
        let folder = blocking(move || folder::private(&state)).await?;
        let mut served = Self {
            images: folder::served_at(&folder),
            folder,
            bytes,
            server: None,
        };
        files::ensure_folder(&served.images, PRIVATE)?;
        let mut command = Command::new(&host.config.mount_server);
        command
            .arg("mount")
            .arg("--memory")
            .arg("--root")
            .arg(&host.config.root)
            .args(["--snapshot", &snapshot.to_string()])
            .arg(&served.images)
            .stdin(std::process::Stdio::null());
        let log = served.folder.join(SERVER_LOG);
        served.server = Some(mounts::start_server(&mut command, &log).await?);
        Ok(served)
    }

    /// A folder for CRIU's log, and for what it needs while it makes this container's processes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn work_for(&self, container: &str) -> Result<PathBuf> {
        let work = self.folder.join(container);
        files::ensure_folder(&work, PRIVATE)?;
        Ok(work)
    }

    /// The images, to be worked on in `work`.
    pub(crate) fn in_work<'a>(&'a self, work: &'a Path) -> Images<'a> {
        Images {
            folder: &self.images,
            work,
            longer: time_for(self.bytes),
        }
    }

    /// Ends the mount and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be unmounted or its folder not be removed; the next start does it then.
    pub(crate) async fn end(mut self) -> Result<()> {
        let folder = self.folder.clone();
        let server = self.server.take();
        blocking(move || folder::remove(&folder)).await?;
        if let Some(mut server) = server {
            server
                .wait()
                .await
                .map_err(Error::io("wait for", "the server of memory images"))?;
        }
        Ok(())
    }
}

impl Drop for ServedImages {
    fn drop(&mut self) {
        if !self.folder.exists() {
            return;
        }
        if let Err(error) = folder::remove(&self.folder) {
            warn!(%error, "Images of memory are served until the next start");
        }
    }
}

/// The error of a container's start, in CRIU's words where it has left any in `work`.
pub(crate) fn not_restored(container: &str, work: &Path, error: Error) -> Error {
    let log = folder::read_log(&work.join(RESTORE_LOG));
    let Some(cause) = log.as_deref().and_then(criu_log::cause) else {
        return error;
    };
    let message = format!("The memory of container {container} cannot be restored: {cause}");
    ErrorReport::new(ErrorCode::Unavailable, "memory-not-restored", message)
        .hint("Restore the files alone with --no-memory, or with --fallback where memory cannot be restored")
        .into()
}
