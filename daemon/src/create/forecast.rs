//! What a create would come to: nothing stands still for it, and nothing is written.
//!
//! Every figure says what it rests on. Files are counted by their metadata, memory by what the kernel says of each process, and the
//! pause is that of the capture on this host which is most like the one that is asked about.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, StatxFlags};
use snap_api::{Forecast, MemoryWish};
use snap_store::{
    Error as StoreError, MemoryMark, Result as StoreResult, SnapshotRecord, SnapshotState,
};

use super::{
    CreatePlan, CreateSource, parts,
    subject::{Root, Subject},
};
use crate::{blocking, error::Result, host::Host, memory};

/// Most nodes that are counted: a forecast takes seconds at most.
const MAX_NODES: u64 = 1 << 20;
/// How many of the last snapshots of this host are looked at for one that is alike.
const LOOKED_AT: usize = 256;
/// A pause for files alone on a host that has made none yet, in microseconds.
const FILES_PAUSE_US: u64 = 50_000;
/// The same with memory, before its size comes to it.
const MEMORY_PAUSE_US: u64 = 150_000;
/// How many bytes of memory a host that has captured none yet is assumed to copy in a second.
const BYTES_PER_SECOND: u64 = 512 << 20;
/// The unit in which the kernel counts what a file takes.
const BLOCK_BYTES: u64 = 512;

/// Estimates what `plan` would come to. The plan was checked before.
///
/// # Errors
/// As [`super::check`], or when containerd does not answer.
pub(crate) async fn forecast(host: &Host, plan: &CreatePlan) -> Result<Forecast> {
    let subject = Subject::inspect(host, plan).await?;
    let mut rests_on = Vec::new();
    let counted = count(&subject, plan, &mut rests_on).await?;
    let mut forecast = Forecast {
        source: subject.source.clone(),
        verdict: None,
        nodes: counted.nodes,
        files_bytes: counted.bytes,
        partial: counted.is_partial,
        images_bytes: None,
        pause_us: 0,
        rests_on,
        warnings: subject.warnings,
    };
    let container = match &plan.source {
        CreateSource::Container(container) => {
            let verdict = memory::verdict(host, &plan.namespace, container).await?;
            if plan.memory != MemoryWish::None && verdict.blockers.is_empty() {
                let estimate = memory::images_estimate(host, &plan.namespace, container);
                let (bytes, from) = estimate.await?;
                forecast.images_bytes = Some(bytes);
                forecast.rests_on.push(format!("Images: {from}"));
            }
            forecast.verdict = Some(verdict);
            container
        }
        CreateSource::Folder { container, .. } => container,
        CreateSource::AtRest(_)
        | CreateSource::Path(_)
        | CreateSource::Layer(_)
        | CreateSource::Merge(_) => return Ok(forecast),
    };
    let past = host.catalogue.list(None, None, LOOKED_AT)?;
    let (pause_us, from) = pause(&past, container, forecast.images_bytes);
    forecast.pause_us = pause_us;
    forecast.rests_on.push(format!("Pause: {from}"));
    Ok(forecast)
}

/// What was counted.
#[derive(Debug, Default)]
struct Counted {
    nodes: u64,
    bytes: u64,
    is_partial: bool,
}

async fn count(
    subject: &Subject,
    plan: &CreatePlan,
    rests_on: &mut Vec<String>,
) -> Result<Counted> {
    let (folders, what) = match &subject.root {
        Root::Folder(folder) => (vec![folder.clone()], "the metadata of the folder"),
        Root::Overlay { upper, .. } | Root::Restored { upper, .. } => {
            let what = "the metadata of the writable layer; layers below it that this host has not captured yet come to it once";
            (vec![upper.clone()], what)
        }
        Root::Foreign(_) => {
            let what = "nothing: this snapshotter's file system is mounted for a capture alone";
            (Vec::new(), what)
        }
        Root::Trees(_) => (Vec::new(), "nothing: the trees are in the store"),
    };
    let top = subject.top.clone();
    let mut folders: Vec<_> = folders
        .into_iter()
        .map(|folder| (folder, top.clone()))
        .collect();
    folders.extend(subject.included.iter().map(|mount| {
        let wanted = top.strip_prefix(&mount.destination);
        (
            PathBuf::from(&mount.source),
            wanted.map(Path::to_owned).unwrap_or_default(),
        )
    }));
    let excluded = match plan.exclude.is_empty() {
        true => "",
        false => "; what --exclude leaves out is counted too",
    };
    rests_on.push(format!("Files: {what}{excluded}"));
    let counting = move || -> StoreResult<_> {
        let mut counted = Counted::default();
        for (folder, wanted) in &folders {
            counted.add(folder, wanted)?;
        }
        Ok(counted)
    };
    blocking(counting).await
}

impl Counted {
    /// Adds what is in the folder `wanted` of `top`, on its own file system. What goes away meanwhile is not counted: the container runs.
    fn add(&mut self, top: &Path, wanted: &Path) -> StoreResult<()> {
        let opened = parts::open(top)?;
        let mut waiting = vec![Path::new(".").join(wanted.strip_prefix("/").unwrap_or(wanted))];
        while let Some(folder) = waiting.pop() {
            // The container may put a link in the place of a folder at any moment.
            let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let found = rustix::fs::openat2(&opened, &folder, flags, Mode::empty(), within);
            let Ok(found) = found else { continue };
            self.add_entries(&found, &folder, &mut waiting)
                .map_err(StoreError::io("read", top.join(&folder)))?;
            if self.is_partial {
                break;
            }
        }
        Ok(())
    }

    fn add_entries(
        &mut self,
        folder: &OwnedFd,
        path: &Path,
        waiting: &mut Vec<PathBuf>,
    ) -> rustix::io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let wanted = StatxFlags::TYPE | StatxFlags::BLOCKS;
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            let Ok(about) = rustix::fs::statx(folder.as_fd(), name, flags, wanted) else {
                continue;
            };
            self.nodes += 1;
            self.bytes += about.stx_blocks.saturating_mul(BLOCK_BYTES);
            let kind = rustix::fs::FileType::from_raw_mode(about.stx_mode.into());
            if kind.is_dir() {
                waiting.push(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
            if self.nodes >= MAX_NODES {
                self.is_partial = true;
                break;
            }
        }
        Ok(())
    }
}

/// How long a capture of `source` would make it stand still, in microseconds, and by what that was told.
fn pause(past: &[SnapshotRecord], source: &str, images_bytes: Option<u64>) -> (u64, String) {
    let stood_still = past
        .iter()
        .filter(|one| one.is_container && one.state == SnapshotState::Active && one.pause_us > 0);
    let Some(wanted) = images_bytes else {
        let alike = stood_still
            .filter(|one| !matches!(one.memory, Some(MemoryMark::Captured { .. })))
            // The newest is the first, and the last of equals is taken.
            .rev()
            .max_by_key(|one| one.source == source);
        return alike.map_or_else(
            || {
                (
                    FILES_PAUSE_US,
                    "an assumption: no container was captured without memory on this host yet"
                        .to_owned(),
                )
            },
            |one| {
                (
                    one.pause_us,
                    format!("snapshot {} of {}, {} us", one.id, one.source, one.pause_us),
                )
            },
        );
    };
    let with_memory = stood_still.filter_map(|one| match one.memory {
        Some(MemoryMark::Captured { bytes, .. }) => Some((one, bytes)),
        _ => None,
    });
    let Some((one, bytes)) = with_memory.min_by_key(|(_, bytes)| bytes.abs_diff(wanted)) else {
        let copying = u128::from(wanted) * 1_000_000 / u128::from(BYTES_PER_SECOND);
        let assumed = MEMORY_PAUSE_US.saturating_add(u64::try_from(copying).unwrap_or(u64::MAX));
        let from = "an assumption, 512 MiB a second: no memory was captured on this host yet";
        return (assumed, from.to_owned());
    };
    let from = format!(
        "snapshot {} of {}, {} us for images of {bytes} bytes",
        one.id, one.source, one.pause_us
    );
    (scaled(one.pause_us, wanted, bytes), from)
}

/// What a pause of `pause_us` for `bytes` is for `wanted`. Less memory does not make it shorter: some of it is there in any case.
fn scaled(pause_us: u64, wanted: u64, bytes: u64) -> u64 {
    let more = u128::from(pause_us) * u128::from(wanted.max(bytes)) / u128::from(bytes.max(1));
    u64::try_from(more).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
