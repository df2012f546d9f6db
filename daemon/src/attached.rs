//! What restored containers have mounted beside their roots: volumes, and folders of snapshots.
//!
//! ```text
//! CONTAINER/volumes/PLACE/GENERATION/{upper,work}   what the container has written
//!                         GENERATION/rootfs         an overlay of that over the ground, a snapshot's mount
//!                         frame                     the overlay is bound on it; runc binds it into the container
//! ```
//!
//! The frame is what the container's spec names, so it stays; what is on it can be exchanged: a new ground is a new generation with an
//! upper folder of its own. The catalogue says which generation counts, and what is mounted is brought to that, at each start too.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};
use snap_api::{AttachedView, ErrorCode, ErrorReport};
use snap_fs::mount;
use snap_store::{
    AttachedRecord, ContainerConfig, ContainerRecord, Error as StoreError, Meta, MountRecord,
    Namespace, Node, Result as StoreResult, Store, TreeReader,
};

use crate::{
    blocking,
    error::Result,
    files,
    host::Host,
    restore::folders::{self, ROOTFS, UPPER, WORK},
    turns::Turn,
};

/// Folder of a container in which all of this lies.
const FOLDER: &str = "volumes";
const FRAME: &str = "frame";

/// The folders of one thing that a container has mounted.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    generation: u64,
}

impl Place {
    pub(crate) fn of(host: &Host, record: &AttachedRecord) -> Self {
        let container = crate::containers::folder(host, &record.namespace, &record.container);
        Self {
            folder: container.join(FOLDER).join(record.place.to_string()),
            generation: record.generation,
        }
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.folder.join(self.generation.to_string())
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.layers().join(UPPER)
    }

    pub(crate) fn merged(&self) -> PathBuf {
        self.layers().join(ROOTFS)
    }

    pub(crate) fn frame(&self) -> PathBuf {
        self.folder.join(FRAME)
    }

    /// One that nothing of is there yet, whatever the catalogue knows.
    pub(crate) fn next_generation(&self) -> StoreResult<u64> {
        let there = files::entries(&self.folder)?;
        let there = there.iter().filter_map(|layers| generation_of(layers));
        Ok(there.fold(self.generation, u64::max).saturating_add(1))
    }
}

/// Mounts what the container is to have, unless it is mounted already.
pub(crate) async fn stand(host: &Host, record: &ContainerRecord) -> Result<()> {
    let (catalogue, key) = (
        Arc::clone(&host.catalogue),
        (record.namespace.clone(), record.id.clone()),
    );
    for one in blocking(move || catalogue.attached(&key.0, &key.1)).await? {
        ensure_layers(host, &one).await?;
        let (place, catalogue) = (Place::of(host, &one), Arc::clone(&host.catalogue));
        blocking(move || {
            show(&place)?;
            // A reload that is under way, or was cut off, has its new ground there, with a record.
            let is_held = |record: &MountRecord| record.path.starts_with(&place.folder);
            match catalogue.mounts()?.iter().any(is_held) {
                true => Ok(()),
                false => forget_others(&place),
            }
        })
        .await?;
    }
    Ok(())
}

/// A container's turn: what it has mounted is not exchanged while its task is started.
pub(crate) async fn turn(host: &Host, namespace: &Namespace, container: &str) -> Turn {
    // No volume has such a name.
    let key = (namespace.clone(), format!("/{container}"));
    host.volumes.wait(&key).await
}

/// Mounts the overlay of the record's generation where nothing of the container sees it yet.
pub(crate) async fn ensure_layers(host: &Host, record: &AttachedRecord) -> Result<()> {
    let ground = host.mounts.ensure(host, &record.ground).await?;
    let (place, record, store) = (Place::of(host, record), record.clone(), host.store.clone());
    blocking(move || {
        let lower = match record.subfolder.is_empty() {
            true => ground,
            false => ground.join(std::ffi::OsStr::from_bytes(&record.subfolder)),
        };
        if !place.upper().exists() {
            folders::make(&place.layers(), &top_meta(store, &record)?)?;
        }
        if mount::is_mounted(&place.merged())? {
            if fs::read_dir(place.merged()).is_ok() {
                return Ok(());
            }
            mount::unmount(&place.merged())?;
        }
        let (upper, work) = (place.upper(), place.layers().join(WORK));
        let mount_overlay = match record.is_read_only {
            true => mount::mount_overlay_read_only,
            false => mount::mount_overlay_restricted,
        };
        mount_overlay(&place.merged(), &[&lower], &upper, &work)
    })
    .await
}

/// The metadata of the folder that is mounted.
fn top_meta(store: Store, record: &AttachedRecord) -> StoreResult<Meta> {
    let manifest = store.manifest(&record.ground)?;
    if record.subfolder.is_empty() {
        return Ok(manifest.root_meta);
    }
    let names: Vec<&[u8]> = record.subfolder.split(|byte| *byte == b'/').collect();
    let found = TreeReader::new(store, manifest.root).resolve(&names)?;
    match found.map(|located| located.entry) {
        Some(entry) if matches!(entry.node, Node::Directory(_)) => Ok(entry.meta.clone()),
        _ => Err(StoreError::NotFound {
            what: "Folder",
            name: format!("/{}", record.subfolder.escape_ascii()),
        }),
    }
}

/// Has the frame show the overlay of the generation: what a task is bound that is started from now on. One that runs keeps what it has.
pub(crate) fn show(place: &Place) -> StoreResult<()> {
    let frame = place.frame();
    files::ensure_folder(&frame, 0o700)?;
    if mount::is_mounted(&frame)? {
        let device = |path: &Path| {
            let about = fs::metadata(path).map_err(StoreError::io("look at", path))?;
            Ok::<_, StoreError>(about.dev())
        };
        if device(&frame)? == device(&place.merged())? {
            return Ok(());
        }
        mount::unmount(&frame)?;
    }
    mount::mount_bind(&place.merged(), &frame)
}

/// Removes what earlier generations have left. A later one is not known to the catalogue when a copy of it was put back: a container may
/// be writing there.
pub(crate) fn forget_others(place: &Place) -> StoreResult<()> {
    for entry in files::entries(&place.folder)? {
        if generation_of(&entry).is_some_and(|generation| generation < place.generation) {
            remove_layers(&entry)?;
        }
    }
    Ok(())
}

fn generation_of(layers: &Path) -> Option<u64> {
    layers.file_name()?.to_str()?.parse().ok()
}

/// Whether anything was written to a generation.
pub(crate) fn is_written(layers: &Path) -> StoreResult<bool> {
    Ok(!files::entries(&layers.join(UPPER))?.is_empty())
}

/// Unmounts and removes the folder of one generation.
pub(crate) fn remove_layers(layers: &Path) -> StoreResult<()> {
    mount::unmount(&layers.join(ROOTFS))?;
    files::remove_folder(layers)
}

/// Unmounts everything below the folder of a container whose end it is.
pub(crate) fn unmount_all(container: &Path) -> StoreResult<()> {
    for place in files::entries(&container.join(FOLDER))? {
        let frame = place.join(FRAME);
        while mount::is_mounted(&frame)? {
            mount::unmount(&frame)?;
        }
        for layers in files::entries(&place)? {
            mount::unmount(&layers.join(ROOTFS))?;
        }
    }
    Ok(())
}

/// Adds the mounts to a spec.
///
/// # Errors
/// `mount-taken` when the spec has another mount at one of the destinations, or below one.
pub(crate) fn add(spec: &mut Value, host: &Host, attached: &[AttachedRecord]) -> Result<()> {
    let destinations: Vec<_> = attached
        .iter()
        .map(|one| one.destination.as_str())
        .collect();
    check(spec, &destinations)?;
    let Some(mounts) = spec["mounts"].as_array_mut() else {
        return Ok(());
    };
    // They are mounted in this order: what is mounted later hides what lies below it.
    let mut attached: Vec<_> = attached.iter().collect();
    attached.sort_by_key(|one| Path::new(&one.destination).components().count());
    for one in attached {
        let access = if one.is_read_only { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": one.destination,
            "type": "bind",
            "source": Place::of(host, one).frame(),
            "options": ["rbind", "nosuid", "nodev", access],
        }));
    }
    Ok(())
}

/// Refuses destinations that the spec has another mount at or below.
pub(crate) fn check(spec: &Value, destinations: &[&str]) -> Result<()> {
    let mounts = spec["mounts"].as_array().into_iter().flatten();
    let taken: Vec<_> = mounts
        .filter_map(|mount| mount["destination"].as_str())
        .collect();
    for destination in destinations {
        let is_hidden = |taken: &&&str| Path::new(taken).starts_with(destination);
        if let Some(taken) = taken.iter().find(is_hidden) {
            let message = match same_path(taken, destination) {
                true => format!("The container has another mount at {destination}"),
                false => format!(
                    "The container has a mount at {taken}, which one at {destination} would hide"
                ),
            };
            return Err(ErrorReport::new(ErrorCode::Conflict, "mount-taken", message)
                .hint(format!(
                    "Choose another path, or leave the other mount out with --drop-mount {taken}"
                ))
                .into());
        }
    }
    Ok(())
}

/// Takes the mounts out of the configuration of a container that is captured: they are not part of it. Returns what there is to say.
pub(crate) fn leave_out(
    host: &Host,
    namespace: &Namespace,
    config: &mut ContainerConfig,
) -> Result<Vec<String>> {
    let attached = host.catalogue.attached(namespace, &config.id)?;
    let mut told = Vec::with_capacity(attached.len());
    for one in attached {
        let source = Place::of(host, &one).frame();
        let is_it = |mount: &Value| {
            let text = |field: &str| mount[field].as_str().unwrap_or_default();
            text("destination") == one.destination && Path::new(text("source")) == source
        };
        if let Some(mounts) = config.spec["mounts"].as_array_mut() {
            mounts.retain(|mount| !is_it(mount));
        }
        let at = &one.destination;
        told.push(match &one.volume {
            Some(volume) => format!(
                "The volume {} at {at} is not part of the snapshot",
                volume.name()
            ),
            None => format!("The snapshot mounted at {at} is not part of this one"),
        });
    }
    Ok(told)
}

fn same_path(one: &str, other: &str) -> bool {
    Path::new(one)
        .components()
        .eq(Path::new(other).components())
}

/// As clients see it.
pub(crate) fn view(record: &AttachedRecord) -> AttachedView {
    AttachedView {
        destination: record.destination.clone(),
        volume: record.volume.as_ref().map(|name| name.name().to_owned()),
        version: record.version,
        snapshot: record.ground.to_string(),
        read_only: record.is_read_only,
    }
}

#[cfg(test)]
mod tests {
    use snap_store::SnapshotId;

    use super::*;
    use crate::fixture;

    fn record(destination: &str, place: u32) -> AttachedRecord {
        AttachedRecord {
            namespace: "default".parse().unwrap(),
            container: "web".to_owned(),
            destination: destination.to_owned(),
            volume: None,
            version: None,
            ground: SnapshotId::random(),
            base: SnapshotId::random(),
            subfolder: Vec::new(),
            is_read_only: false,
            place,
            generation: 3,
        }
    }

    /// In the order they were named, the volume at `/data` was mounted over the one at `/data/models`.
    #[test]
    fn what_is_mounted_hides_nothing_that_is_mounted() {
        let (host, _folder) = fixture::host(|_| {});
        let attached = ["/data/models", "/data", "/srv"];
        let attached: Vec<_> = (0..).zip(attached).map(|(at, to)| record(to, at)).collect();
        let mut spec = json!({ "mounts": [{ "destination": "/proc" }] });
        add(&mut spec, &host, &attached).unwrap();
        let mounts = spec["mounts"].as_array().unwrap();
        let order: Vec<_> = mounts.iter().map(|one| &one["destination"]).collect();
        assert_eq!(order, ["/proc", "/data", "/srv", "/data/models"]);
        let spec = json!({ "mounts": [{ "destination": "/etc/hosts" }] });
        for (destination, is_taken) in [("/etc", true), ("/etc/hosts", true), ("/etc/x", false)] {
            assert_eq!(
                check(&spec, &[destination]).is_err(),
                is_taken,
                "{destination}"
            );
        }
    }

    /// After a copy of the catalogue was put back that knew an earlier ground, the layer that the container was writing to was removed.
    #[test]
    fn a_later_generation_than_is_known_of_stays() {
        let (host, _folder) = fixture::host(|_| {});
        let place = Place::of(&host, &record("/data", 0));
        for name in ["1", "3", "5", FRAME] {
            fs::create_dir_all(place.folder.join(name).join(UPPER)).unwrap();
        }
        forget_others(&place).unwrap();
        let there = |name: &str| place.folder.join(name).exists();
        assert_eq!(["1", "3", "5", FRAME].map(there), [false, true, true, true]);
        assert_eq!(place.next_generation().unwrap(), 6);
    }
}
