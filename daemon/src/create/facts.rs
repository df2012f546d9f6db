//! What is asked of the host and of the store around a capture.

use std::{pin::pin, time::Duration};

use snap_api::{ErrorCode, ErrorReport};
use snap_store::{Error as StoreError, HostFacts, Manifest, Progress, Store};

use crate::{
    config::Config,
    error::{Error, Result},
    jobs::JobHandle,
};

/// How often a capture under way looks at the space that is left.
const SPACE_LOOK: Duration = Duration::from_millis(200);

/// Refuses to begin, or to go on, when the store's file system is nearly full.
pub(super) fn check_space(config: &Config) -> Result<()> {
    let space = rustix::fs::statvfs(&config.root)
        .map_err(StoreError::io("read the free space of", &config.root))?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if free_bytes >= config.reserve_bytes {
        return Ok(());
    }
    let message = format!(
        "{} has {free_bytes} bytes free, {} are kept in reserve",
        config.root.display(),
        config.reserve_bytes
    );
    Err(
        ErrorReport::new(ErrorCode::Unavailable, "no-space", message)
            .hint("Make room there, or lower `reserve_bytes`")
            .into(),
    )
}

/// Does the work of a job, and cancels it when the free space falls into the reserve meanwhile.
pub(crate) async fn within_reserve<T>(
    config: &Config,
    job: &JobHandle,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = pin!(work);
    let mut shortage = None;
    loop {
        tokio::select! {
            done = &mut work => return match (done, shortage) {
                (Err(Error::Store(StoreError::Cancelled)), Some(shortage)) => Err(shortage),
                (done, _) => done,
            },
            () = tokio::time::sleep(SPACE_LOOK), if shortage.is_none() => {
                if let Err(error) = check_space(config) {
                    job.cancel();
                    shortage = Some(error);
                }
            }
        }
    }
}

/// The host, as a manifest records it.
pub(super) fn host() -> HostFacts {
    let uname = rustix::system::uname();
    HostFacts {
        architecture: uname.machine().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Reads everything the manifest needs back from the store.
pub(super) fn verify(store: &Store, manifest: &Manifest, progress: &dyn Progress) -> Result<()> {
    let damage = snap_fs::verify::verify(store, manifest, progress)?;
    let Some(first) = damage.first() else {
        return Ok(());
    };
    let path = first.path.join(&b'/');
    let message = format!(
        "What was written cannot be read back: {} of /{}",
        first.problem,
        String::from_utf8_lossy(&path)
    );
    Err(
        ErrorReport::new(ErrorCode::Corrupt, "not-verified", message)
            .hint("Check the disk the store lies on")
            .into(),
    )
}
