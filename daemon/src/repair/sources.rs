//! Where the files of a snapshot may still be on this host: the folder that was captured, the container it was made of, and the
//! layers below that, which outlive it as long as its image is there.
//!
//! A source that cannot be found is not an error: then there is one place less to look.

use std::{path::PathBuf, sync::Arc};

use snap_fs::repair::{ChunkSource, FolderSource, Losses};
use snap_store::{
    ContainerConfig, Manifest, Namespace, Origin, Progress, Result as StoreResult, SnapshotId,
};
use tracing::{info, warn};

use super::Sources;
use crate::{
    blocking,
    containerd::{Fault, Mount},
    create,
    error::Result,
    host::Host,
    jobs::JobHandle,
    spec::SpecMount,
};

/// A folder, what it is called, and where it stands in the snapshot.
struct Place {
    name: String,
    folder: PathBuf,
    at: Vec<Vec<u8>>,
}

/// The sources of every snapshot that lost something.
pub(super) async fn of(host: &Arc<Host>, losses: &Losses, job: &JobHandle) -> Sources {
    let mut sources = Sources::new();
    for id in losses.snapshots() {
        if job.is_cancelled() {
            break;
        }
        match of_snapshot(host, id).await {
            Ok(found) => {
                sources.insert(*id, found);
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(snapshot = %id, error, "Cannot look for other copies of what a snapshot lost");
            }
        }
    }
    sources
}

async fn of_snapshot(host: &Arc<Host>, id: &SnapshotId) -> Result<Vec<Box<dyn ChunkSource>>> {
    let (store, id) = (host.store.clone(), *id);
    let manifest: Manifest = blocking(move || store.manifest(&id)).await?;
    let places = match manifest.origin {
        // Of a folder of a container nobody knows where its files are without following what the container says.
        Origin::Path(path) if !path.starts_with('/') => Vec::new(),
        Origin::Path(path) => vec![Place {
            name: format!("folder {path}"),
            folder: PathBuf::from(path),
            at: Vec::new(),
        }],
        Origin::Container(config) => of_container(host, &manifest.namespace, &config).await,
    };
    blocking(move || open(places)).await
}

fn open(places: Vec<Place>) -> StoreResult<Vec<Box<dyn ChunkSource>>> {
    let mut sources: Vec<Box<dyn ChunkSource>> = Vec::new();
    for place in places {
        if let Some(source) = FolderSource::open(&place.name, &place.folder, place.at)? {
            sources.push(Box::new(source));
        }
    }
    Ok(sources)
}

async fn of_container(host: &Host, namespace: &Namespace, config: &ContainerConfig) -> Vec<Place> {
    let mut places = included(config);
    let top = |folder, name: &str| Place {
        name: format!("{name} {namespace}/{}", config.id),
        folder,
        at: Vec::new(),
    };
    if let Ok(record) = host.catalogue.container(namespace, &config.id) {
        places.push(top(record.folder.join("upper"), "container"));
    }
    match folders(host, namespace, config).await {
        Ok(folders) => places.extend(folders.into_iter().map(|folder| top(folder, "container"))),
        Err(error) => info!(container = config.id, %error, "The container is no source any more"),
    }
    match layers(host, namespace, config).await {
        Ok(folders) => places.extend(folders.into_iter().map(|folder| Place {
            name: format!("layers of {}", config.image),
            folder,
            at: Vec::new(),
        })),
        Err(error) => info!(image = config.image, %error, "The layers are no source any more"),
    }
    places
}

/// Bind mounts whose content is part of the snapshot.
fn included(config: &ContainerConfig) -> Vec<Place> {
    let mounts = SpecMount::read_all(&config.spec).unwrap_or_default();
    let is_included = |mount: &SpecMount| {
        let mut included = config.included_mounts.iter();
        included.any(|destination| mount.is_at(destination))
    };
    let mounts = mounts
        .into_iter()
        .filter(|mount| mount.is_bind() && is_included(mount));
    let places = mounts.map(|mount| Place {
        name: format!("folder {}", mount.source),
        at: mount
            .destination
            .split('/')
            .filter(|name| !name.is_empty())
            .map(|name| name.as_bytes().to_vec())
            .collect(),
        folder: PathBuf::from(mount.source),
    });
    places.collect()
}

/// The container's own folders, the topmost first; none when there is no such container any more.
async fn folders(
    host: &Host,
    namespace: &Namespace,
    config: &ContainerConfig,
) -> Result<Vec<PathBuf>, Fault> {
    let Some(info) = host
        .containerd
        .find_container(namespace, &config.id)
        .await?
    else {
        return Ok(Vec::new());
    };
    if info.snapshot_key.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = host
        .containerd
        .snapshot_mounts(namespace, &info.config.snapshotter, &info.snapshot_key)
        .await?;
    Ok(create::folders_of(&mounts))
}

/// The layers of the image, by a snapshot over them that is removed at once.
async fn layers(
    host: &Host,
    namespace: &Namespace,
    config: &ContainerConfig,
) -> Result<Vec<PathBuf>, Fault> {
    if config.parent.is_empty() {
        return Ok(Vec::new());
    }
    let key = format!("snapshotd-repair-{}", SnapshotId::random());
    let (containerd, snapshotter) = (&host.containerd, &config.snapshotter);
    let prepared: Result<Vec<Mount>, Fault> = containerd
        .prepare_snapshot(namespace, snapshotter, &key, &config.parent)
        .await;
    let removed = containerd
        .remove_snapshot(namespace, snapshotter, &key)
        .await;
    let mounts = prepared?;
    if let Err(error) = removed {
        warn!(key, %error, "Cannot remove a snapshot that was made to find layers");
    }
    // The topmost folder was the new snapshot's own.
    Ok(create::folders_of(&mounts).into_iter().skip(1).collect())
}
