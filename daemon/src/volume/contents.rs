//! Changes of a volume that no container makes: files put into it, and paths removed from it.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use snap_api::{ErrorCode, ErrorReport};
use snap_fs::capture::Exclude;
use snap_store::{Error as StoreError, Progress, SnapshotId, TreeReader, VolumeRecord};

use super::{
    Done, Volume, capture, found, is_same, manifest, next_number, publish, shown, stage::Stage,
};
use crate::{
    blocking,
    create::{self, CreateSource, LayerSource},
    error::Result,
    files,
    host::Host,
    jobs::JobHandle,
    transfer,
};

/// Permissions of the top of a new volume.
const TOP_MODE: u32 = 0o755;

/// Files of the host that are put into a volume.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    /// Files and folders; each keeps its last name.
    pub(crate) sources: Vec<PathBuf>,
    /// The folder of the volume that they come into; made when it is not there.
    pub(crate) to: Vec<Vec<u8>>,
    /// Whose they are.
    pub(crate) owner: (u32, u32),
}

/// An empty folder of the daemon's own; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Empty {
    folder: PathBuf,
    source: String,
}

impl Empty {
    pub(super) fn layer(&self) -> CreateSource {
        CreateSource::Layer(LayerSource {
            upper: self.folder.clone(),
            over: None,
            source: self.source.clone(),
            container: None,
        })
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        // What is left is an empty folder.
        let _ = files::remove_empty(&self.folder);
    }
}

/// What the first version of a volume is captured from.
pub(super) async fn empty(host: &Host, volume: &Volume) -> Result<Empty> {
    let staging = host.config.root.join("staging");
    let folder = staging.join(SnapshotId::random().to_string());
    let source = source_of(volume);
    blocking(move || {
        files::ensure_folder(&staging, 0o700)?;
        let made = fs::DirBuilder::new().mode(TOP_MODE).create(&folder);
        made.map_err(StoreError::io("make", &folder))?;
        Ok::<_, StoreError>(Empty { folder, source })
    })
    .await
}

/// What people are told that a volume's snapshots were made of.
pub(super) fn source_of(volume: &Volume) -> String {
    format!("volume {}", volume.name.name())
}

pub(super) async fn put(
    host: &Arc<Host>,
    volume: &Volume,
    put: &Put,
    job: &JobHandle,
) -> Result<Done> {
    let record = found(host, volume).await?;
    let (sources, root) = (put.sources.clone(), host.config.root.clone());
    blocking(move || sources.iter().try_for_each(|source| check(source, &root))).await?;
    let stage = Stage::over(host, &record.snapshot.id).await?;
    job.phase("copy");
    let (put, rootfs, copy_job) = (put.clone(), stage.rootfs(), job.clone());
    let copying = blocking(move || fill(&put, &rootfs, &copy_job));
    // What is copied lies beside the store until it is captured.
    let copied = create::within_reserve(&host.config, job, copying).await;
    let made = match copied {
        Ok((files, bytes)) => {
            let done = Done {
                action: Some("put"),
                files,
                bytes,
                ..Done::default()
            };
            publish_stage(host, volume, &record, (&stage, done), job).await
        }
        Err(error) => Err(error),
    };
    stage.end().await;
    made
}

/// Refuses what a copy would never come to the end of: it would find in its source what it has copied.
fn check(source: &Path, root: &Path) -> Result<()> {
    let canonical = |path: &Path| match path.canonicalize() {
        // The copy says so.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path.to_owned()),
        found => found.map_err(crate::Error::io("look at", path)),
    };
    let (real, root) = (canonical(source)?, canonical(root)?);
    if !root.starts_with(&real) && !real.starts_with(&root) {
        return Ok(());
    }
    let message = format!("{} holds the store itself, or lies in it", source.display());
    Err(
        ErrorReport::new(ErrorCode::Usage, "holds-the-store", message)
            .hint("Put what is beside the store, folder by folder")
            .into(),
    )
}

/// Copies everything; returns how many files, of how many bytes.
fn fill(put: &Put, rootfs: &Path, job: &JobHandle) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for source in &put.sources {
        let name = source.file_name().unwrap_or_default();
        let mut to = PathBuf::from("/");
        to.extend(put.to.iter().map(|part| std::ffi::OsStr::from_bytes(part)));
        to.push(name);
        let to = to.to_str().ok_or_else(|| not_text(source))?;
        let copied = transfer::copy(source, &Exclude::default(), (rootfs, to), put.owner, job)?;
        files += copied.files;
        bytes += copied.bytes;
    }
    Ok((files, bytes))
}

fn not_text(source: &Path) -> crate::Error {
    let message = format!("The name of {} is not UTF-8", source.display());
    ErrorReport::new(ErrorCode::Usage, "invalid-path", message)
        .hint("Put the folder that it is in")
        .into()
}

pub(super) async fn remove(
    host: &Arc<Host>,
    volume: &Volume,
    paths: &[Vec<Vec<u8>>],
    job: &JobHandle,
) -> Result<Done> {
    let record = found(host, volume).await?;
    let root = manifest(host, record.snapshot.id).await?.root;
    let reader = TreeReader::new(host.store.clone(), root);
    let wanted = paths.to_vec();
    let looking = move || {
        let mut nodes = 0;
        for path in &wanted {
            let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            nodes += reader
                .resolve(&names)?
                .map_or(0, |located| located.entry.node.nodes());
        }
        Ok::<u64, StoreError>(nodes)
    };
    let nodes = blocking(looking).await?;
    let stage = Stage::over(host, &record.snapshot.id).await?;
    job.phase("remove");
    let (paths, rootfs) = (paths.to_vec(), stage.rootfs());
    let removed = blocking(move || paths.iter().try_for_each(|path| clear(&rootfs, path))).await;
    let made = match removed {
        Ok(()) => {
            let done = Done {
                action: Some("remove-path"),
                files: nodes,
                ..Done::default()
            };
            publish_stage(host, volume, &record, (&stage, done), job).await
        }
        Err(error) => Err(error),
    };
    stage.end().await;
    made
}

/// Removes a path of a stage. Every folder on the way is one, because the tree says so and nobody else is at the stage.
fn clear(rootfs: &Path, path: &[Vec<u8>]) -> Result<()> {
    let mut whole = rootfs.to_owned();
    whole.extend(path.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
    let about = match whole.symlink_metadata() {
        // It was below another path that is removed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        about => about.map_err(crate::Error::io("look at", shown(path).as_path()))?,
    };
    match about.is_dir() {
        true => files::remove_folder(&whole)?,
        false => files::remove_file(&whole)?,
    }
    Ok(())
}

/// What was changed in the stage becomes the next version, unless it comes to the same.
async fn publish_stage(
    host: &Arc<Host>,
    volume: &Volume,
    record: &VolumeRecord,
    (stage, done): (&Stage, Done),
    job: &JobHandle,
) -> Result<Done> {
    let number = next_number(host, volume).await?;
    let layer = LayerSource {
        upper: stage.upper(),
        over: Some(record.snapshot.id),
        source: source_of(volume),
        container: None,
    };
    let layer = CreateSource::Layer(layer);
    let (id, created) = capture(host, volume, layer, Some(number), job).await?;
    let (new, old) = (
        manifest(host, id).await?,
        manifest(host, record.snapshot.id).await?,
    );
    let done = done.counted(&created);
    if is_same(&new, &old) {
        return Ok(Done {
            action: None,
            ..done
        });
    }
    publish(host, volume, (number, id), None).await?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The stage that is copied into lies in the store, so a copy of the store's folder found what it had copied, over and over.
    #[test]
    fn the_store_is_put_into_no_volume() {
        let folder = tempfile::tempdir().unwrap();
        let (root, beside) = (folder.path().join("root"), folder.path().join("beside"));
        fs::create_dir_all(root.join("packs")).unwrap();
        fs::create_dir(&beside).unwrap();
        let link = folder.path().join("link");
        symlink(&root, &link).unwrap();
        for source in [folder.path(), &root, &root.join("packs"), &link] {
            let error = ErrorReport::from(check(source, &root).unwrap_err());
            assert_eq!(error.reason, "holds-the-store", "{}", source.display());
        }
        check(&beside, &root).unwrap();
        check(&folder.path().join("nothing"), &root).unwrap();
    }
}
