//! Images served for as long as containers are restored from them: a mount of their own that only root can reach, and that
//! nobody needs once the processes are there.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use snap_api::{ErrorCode, ErrorReport};
use snap_store::SnapshotId;
use tokio::process::{Child, Command};
use tracing::warn;

use super::{criu_log, folder, names, time_for};
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
/// How long the server may take to end once its mount is gone. It does not end while another mount namespace has a copy of the mount, in which
/// nobody of ours reads.
const PATIENCE: Duration = Duration::from_secs(2);
/// Beside what is served, a folder for each clone.
const CLONES: &str = "clones";
/// In it.
const IMAGES: &str = "images";
const WORK: &str = "work";
/// From there to what is served.
const TO_SERVED: &str = "../../../images";

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
            // The folder alone: what is in it, the server reads by itself.
            .arg("--keys")
            .arg(&host.config.memory_keys)
            .arg(&served.images)
            .stdin(std::process::Stdio::null());
        let log = served.folder.join(SERVER_LOG);
        served.server = Some(mounts::start_server(&mut command, &log).await?);
        Ok(served)
    }

    /// The images as the container `container` goes on from them, with a host name of its own.
    ///
    /// # Errors
    /// When they cannot be read, or their folder cannot be made.
    pub(crate) async fn for_clone(&self, container: &str, hostname: &str) -> Result<CloneImages> {
        let folder = self.folder.join(CLONES).join(container);
        let clone = CloneImages {
            images: folder.join(IMAGES),
            work: folder.join(WORK),
            longer: time_for(self.bytes),
            is_renamed: false,
        };
        let (from, hostname) = (self.images.clone(), hostname.to_owned());
        blocking(move || clone.fill(&from, &hostname)).await
    }

    /// Ends the mount and its server.
    ///
    /// # Errors
    /// When it cannot be unmounted or its folder not be removed; the next start does it then.
    pub(crate) async fn end(mut self) -> Result<()> {
        let folder = self.folder.clone();
        let server = self.server.take();
        blocking(move || folder::remove(&folder)).await?;
        let Some(mut server) = server else {
            return Ok(());
        };
        let waited = tokio::time::timeout(PATIENCE, server.wait()).await;
        let ended = match waited {
            Ok(ended) => ended.map(drop),
            // Killed, it takes what is left of the mount along.
            Err(_) => server.kill().await,
        };
        ended.map_err(Error::io("wait for", "the server of memory images"))
    }
}

/// The images of one clone: links to what is served, and the one that is its own.
#[derive(Debug)]
pub(crate) struct CloneImages {
    images: PathBuf,
    /// For CRIU's log, and for what it needs while it makes the processes.
    pub(crate) work: PathBuf,
    longer: Duration,
    /// True when the container has a host name of its own.
    pub(crate) is_renamed: bool,
}

impl CloneImages {
    fn fill(mut self, from: &Path, hostname: &str) -> Result<Self> {
        for folder in [&self.images, &self.work] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE)
                .create(folder)
                .map_err(Error::io("create", folder))?;
        }
        for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
            let name = entry.map_err(Error::io("read", from))?.file_name();
            let place = self.images.join(&name);
            if names::is_of_names(&name.to_string_lossy()) {
                let image = renamed(&from.join(&name), hostname)?;
                fs::write(&place, image).map_err(Error::io("write", &place))?;
                self.is_renamed = true;
                continue;
            }
            // CRIU opens them by their folder also when its own root is another: what is relative is found from there.
            let target = Path::new(TO_SERVED).join(&name);
            symlink(&target, &place).map_err(Error::io("link", &place))?;
        }
        Ok(self)
    }

    /// Where CRIU finds them.
    pub(crate) fn images(&self) -> Images<'_> {
        Images {
            folder: &self.images,
            work: &self.work,
            longer: self.longer,
        }
    }
}

/// The image of a UTS namespace with another host name.
fn renamed(path: &Path, hostname: &str) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(names::MAX_BYTES)
        .read_to_end(&mut image)
        .map_err(Error::io("read", path))?;
    names::renamed(&image, hostname).ok_or_else(|| {
        let message = "The image of the host name is none of CRIU's";
        let report = ErrorReport::new(ErrorCode::Corrupt, "memory-not-restored", message);
        report
            .hint("Restore the files alone with --no-memory")
            .into()
    })
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
