//! The memory of a container's processes: CRIU writes and reads it, runc runs CRIU, containerd runs runc.
//!
//! ```text
//! create:  room? ─► a folder in memory ─► pause ─► files ─► CRIU writes ─► thaw ─► images to chunks ─► the folder goes
//! restore: facts alike? ─► images served from the store ─► CRIU reads them as it makes the processes ─► they are served no more
//! ```
//!
//! Images are secrets: they lie in folders of root alone, in memory or served from the store, and never in what users mount. In the store
//! they are sealed when their namespace has a key.

use std::{path::PathBuf, time::Duration};

use snap_api::{Blocker, ErrorCode, ErrorReport, MemoryWish, Verdict};
use snap_store::{Draft, Memory, MemoryImages, Namespace, Progress, SealKey};
use tracing::warn;

use self::folder::ImageFolder;
pub(crate) use self::{
    contents::of_snapshot as contents,
    criu::Criu,
    facts::check as check_facts,
    folder::{clear, limited as limited_folder, remove as remove_folder},
    keys::check as check_key,
    served::{ServedImages, not_restored},
};
use crate::{
    blocking,
    containerd::{Fault, Images},
    error::{Result, in_full},
    host::Host,
    jobs::JobHandle,
    spec::SpecMount,
};
pub(crate) use facts::cgroup_version;

pub(crate) mod additions;
mod blockers;
pub(crate) mod contents;
mod criu;
pub(crate) mod criu_log;
mod estimate;
mod facts;
mod folder;
pub(crate) mod identity;
mod keys;
mod names;
mod room;
mod served;
pub(crate) mod strays;

/// Far slower than any host copies memory.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// Of why there is no memory so much is kept: paths that a container has chosen may be in it, and a manifest takes 4096 bytes.
const MAX_REASON_BYTES: usize = 1000;
/// Of a pause, what comes before and after CRIU's part.
const AROUND: Duration = Duration::from_secs(60);

/// A capture of memory that is about to be made, or why there can be none.
#[derive(Debug)]
pub(crate) enum Capture {
    /// Nobody wants it.
    Unwanted,
    /// There is room for the images.
    Ready {
        /// Where they go.
        folder: ImageFolder,
        /// How much longer than usual CRIU may take.
        longer: Duration,
        /// What they are sealed with in the store.
        key: Option<SealKey>,
    },
    /// CRIU has written them.
    Taken(ImageFolder, Option<SealKey>),
    /// It could not be had.
    Failed(String),
}

impl Capture {
    /// Looks for CRIU, for what it cannot capture and for room before anything stands still.
    ///
    /// # Errors
    /// When memory is required and cannot be had.
    pub(crate) async fn prepare(
        host: &Host,
        namespace: &Namespace,
        container: &str,
        wish: MemoryWish,
    ) -> Result<Self> {
        if wish == MemoryWish::None {
            return Ok(Self::Unwanted);
        }
        match Self::find_room(host, namespace, container).await {
            Ok(ready) => Ok(ready),
            Err(error) if wish == MemoryWish::Required => Err(error),
            Err(error) => Ok(Self::failed(&in_full(&error))),
        }
    }

    async fn find_room(host: &Host, namespace: &Namespace, container: &str) -> Result<Self> {
        Criu::look().await.require()?;
        let pids = host.containerd.processes(namespace, container).await?;
        let given = given_mounts(host, namespace, container).await?;
        let (config, namespace) = (host.config.clone(), namespace.clone());
        let finding = move || -> Result<_> {
            let key = keys::newest(&config, &namespace)?;
            if let Some(blocker) = blockers::find(&pids, &given).into_iter().next() {
                return Err(blocked(blocker));
            }
            let estimate = room::estimate(&pids);
            let folder = ImageFolder::make(&config.state, estimate)?;
            Ok((folder, estimate, key))
        };
        let (folder, estimate, key) = blocking(finding).await?;
        Ok(Self::Ready {
            folder,
            longer: time_for(estimate),
            key,
        })
    }

    /// How long the container may stand still; `None` for as long as for files alone.
    pub(crate) fn longest_pause(&self) -> Option<Duration> {
        match self {
            // Once for CRIU, and once for waiting for it when nobody says what became of it.
            Self::Ready { longer, .. } => Some(AROUND + Images::limit(*longer) * 2),
            _ => None,
        }
    }

    /// The folder CRIU works in, by which it is known.
    pub(crate) fn works_in(&self) -> Option<PathBuf> {
        match self {
            Self::Ready { folder, .. } => Some(folder.path().to_owned()),
            _ => None,
        }
    }

    /// Has CRIU write the images. The container stands still, before and after.
    pub(crate) async fn take(self, host: &Host, namespace: &Namespace, container: &str) -> Self {
        let Self::Ready {
            folder,
            longer,
            key,
        } = self
        else {
            return self;
        };
        let images = Images {
            folder: &folder.images(),
            work: &folder.work(),
            longer,
        };
        let asked = host.containerd.checkpoint(namespace, container, images);
        let Err(fault) = asked.await else {
            return Self::Taken(folder, key);
        };
        if fault.is_silence() && !strays::gone(folder.path(), Images::limit(longer)).await {
            warn!(container, "CRIU does not end");
        }
        let reason = reason(&fault, folder.dump_log().as_deref());
        warn!(
            container,
            reason, "Cannot capture the memory of a container"
        );
        Self::failed(&reason)
    }

    fn failed(reason: &str) -> Self {
        let is_too_far = |(at, letter): &(usize, char)| at + letter.len_utf8() > MAX_REASON_BYTES;
        Self::Failed(match reason.char_indices().find(is_too_far) {
            Some((end, _)) => format!("{}…", &reason[..end]),
            None => reason.to_owned(),
        })
    }

    /// An error in the place of memory that could not be had.
    ///
    /// # Errors
    /// `memory-failed`, when it could not.
    pub(crate) fn or_fail(self) -> Result<Self> {
        let Self::Failed(reason) = self else {
            return Ok(self);
        };
        let message = format!("The memory of the container cannot be captured: {reason}");
        Err(
            ErrorReport::new(ErrorCode::Unavailable, "memory-failed", message)
                .hint("`--memory` alone makes a snapshot of the files then")
                .into(),
        )
    }

    /// Puts the images and lets go of them.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn put(
        self,
        draft: Draft,
        job: &JobHandle,
    ) -> Result<(Draft, Option<Memory>)> {
        let (folder, key) = match self {
            Self::Unwanted => return Ok((draft, None)),
            Self::Failed(reason) => return Ok((draft, Some(Memory::Failed { reason }))),
            Self::Taken(folder, key) => (folder, key),
            Self::Ready { .. } => unreachable!("it was taken before"),
        };
        let job = job.clone();
        job.phase("memory");
        let putting = move || -> Result<_> {
            let (root, bytes) = snap_fs::images::put(&draft, &folder.images(), key.as_ref(), &job)?;
            let facts = facts::read(&folder.dump_log().unwrap_or_default());
            folder.end()?;
            let seal = key.map(|key| key.seal(&root, bytes));
            let images = MemoryImages {
                root,
                bytes,
                facts,
                seal,
            };
            Ok((draft, Some(Memory::Captured(Box::new(images)))))
        };
        blocking(putting).await
    }
}

/// Whether the memory of a container's processes can be captured, as far as can be seen while they run.
///
/// # Errors
/// When containerd does not answer.
pub(crate) async fn verdict(
    host: &Host,
    namespace: &Namespace,
    container: &str,
) -> Result<Verdict> {
    let criu = Criu::look().await.require();
    let pids = host.containerd.processes(namespace, container).await?;
    let given = given_mounts(host, namespace, container).await?;
    let container = container.to_owned();
    let (config, namespace) = (host.config.clone(), namespace.clone());
    let looking = move || -> Result<_> {
        let memory_bytes = room::estimate(&pids);
        let key = keys::newest(&config, &namespace);
        let of_host = [criu.err(), room::limit(memory_bytes).err(), key.err()];
        let mut blockers: Vec<_> = of_host.into_iter().flatten().map(of_the_host).collect();
        blockers.extend(blockers::find(&pids, &given));
        Ok(Verdict {
            container,
            processes: pids.len() as u64,
            memory_bytes,
            blockers,
        })
    };
    blocking(looking).await
}

/// Where the container's configuration has mounts.
async fn given_mounts(host: &Host, namespace: &Namespace, container: &str) -> Result<Vec<String>> {
    let spec = host
        .containerd
        .container(namespace, container)
        .await?
        .config
        .spec;
    let mounts = SpecMount::read_all(&spec)?.into_iter();
    Ok(mounts.map(|mount| mount.destination).collect())
}

/// How many bytes the images of the container's processes would have, and by what that was told.
///
/// # Errors
/// When containerd does not answer.
pub(crate) async fn images_estimate(
    host: &Host,
    namespace: &Namespace,
    container: &str,
) -> Result<(u64, &'static str)> {
    let pids = host.containerd.processes(namespace, container).await?;
    blocking(move || -> Result<_> { Ok(estimate::images(&pids)) }).await
}

/// A refusal that is no process's fault.
fn of_the_host(error: crate::Error) -> Blocker {
    let report = ErrorReport::from(error);
    Blocker {
        kind: report.reason,
        pid: None,
        found: report.message,
        hint: report.hint,
    }
}

fn blocked(blocker: Blocker) -> crate::Error {
    let message = format!("CRIU cannot capture this container: {}", blocker.found);
    let report = ErrorReport::new(ErrorCode::Unavailable, "memory-blocked", message);
    match blocker.hint {
        Some(hint) => report.hint(hint).into(),
        None => report.into(),
    }
}

/// How much longer than usual CRIU may take to copy so much memory.
fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(bytes / BYTES_PER_SECOND)
}

/// Why there is no memory: CRIU's own words where it has left any.
fn reason(fault: &Fault, log: Option<&str>) -> String {
    log.and_then(criu_log::cause)
        .unwrap_or_else(|| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that held a large deleted file by a very long path made its container impossible to capture: the reason why there is no
    /// memory was longer than what a manifest takes.
    #[test]
    fn a_reason_is_no_longer_than_a_manifest_takes() {
        for (reason, length) in [
            ("é".repeat(4096), 1000),
            ("x".repeat(4096), 1000),
            ("y".to_owned(), 1),
        ] {
            let Capture::Failed(told) = Capture::failed(&reason) else {
                panic!("it has failed");
            };
            let words = told.trim_end_matches('…');
            assert!(words.len() == length && reason.starts_with(words), "{told}");
        }
    }
}
