//! Volumes: named trees beside containers.
//!
//! ```text
//! put, remove:  head ─► stage (an overlay over it) ─► capture of what was written ─► next version
//! commit:       what a container has written ─► capture over its ground ─┬─► next version
//!                                          the head, where it has moved ─┴─► merge
//! reload:       the head ─► a new ground below the container's folder
//! ```
//!
//! Each version is a snapshot with a label that keeps it out of listings and limits. One change of a volume at a time; the catalogue makes
//! a version the newest in one transaction, so a daemon that is killed has made it or not, and what it leaves belongs to nobody and goes.

mod commit;
mod contents;
mod reload;
mod stage;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use futures::FutureExt;
use snap_api::{Created, MemoryWish, VolumeChanged, VolumeView, WirePath};
use snap_store::{
    Force, Manifest, Namespace, NewVolumeVersion, Progress, SnapshotId, SnapshotName, VOLUME_LABEL,
    VOLUME_VERSION_LABEL, VolumeRecord,
};
use tracing::{info, warn};

use crate::{
    blocking, clock,
    create::{self, CreatePlan, CreateSource},
    error::{Result, in_full},
    events::Event,
    host::Host,
    jobs::JobHandle,
    removal,
};

/// Volumes of one namespace.
const MAX_VOLUMES: u64 = 10_000;
/// Versions that are kept although nobody uses them, the newest counted.
const KEPT_VERSIONS: u64 = 10;

/// A volume by its name.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Namespace.
    pub(crate) namespace: Namespace,
    /// Its name, with the tag `latest`.
    pub(crate) name: SnapshotName,
}

/// What is done to a volume; every field is checked.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is made, without a file.
    Create,
    /// Files of the host are put into it.
    Put(Put),
    /// Paths of it are removed.
    Remove(Vec<Vec<Vec<u8>>>),
    /// What a container has written becomes the next version.
    Commit(String),
    /// A container gets the newest version; what it has written goes when that is wanted.
    Reload(String, bool),
}

pub(crate) use contents::Put;

/// What came of a change.
#[derive(Debug, Default)]
struct Done {
    /// What was done, for the log; none when nothing has changed.
    action: Option<&'static str>,
    merged: bool,
    reloaded: bool,
    files: u64,
    bytes: u64,
    new_bytes: u64,
    stored_bytes: u64,
    warnings: Vec<String>,
}

impl Done {
    /// With what the capture came to.
    fn counted(mut self, created: &Created) -> Self {
        self.new_bytes += created.new_bytes;
        self.stored_bytes += created.stored_bytes;
        self.warnings.extend(created.warnings.iter().cloned());
        self
    }
}

/// Does it. One change of a volume at a time: another one finds what this one has made.
///
/// # Errors
/// Whatever ended it; the volume is then what it was before.
pub(crate) async fn change(
    host: &Arc<Host>,
    volume: &Volume,
    change: Change,
    job: &JobHandle,
) -> Result<VolumeChanged> {
    let started = Instant::now();
    job.phase("wait for another change");
    let key = (volume.namespace.clone(), volume.name.name().to_owned());
    let _turn = host.volumes.wait(&key).await;
    let done = match &change {
        Change::Create => create(host, volume, job).boxed(),
        Change::Put(put) => contents::put(host, volume, put, job).boxed(),
        Change::Remove(paths) => contents::remove(host, volume, paths, job).boxed(),
        Change::Commit(container) => commit::commit(host, volume, container, job).boxed(),
        Change::Reload(container, discards) => {
            reload::reload(host, volume, container, *discards, job).boxed()
        }
    };
    let done = done.await;
    tidy(host, volume).await;
    let done = done?;
    let record = found(host, volume).await?;
    if let Some(action) = done.action {
        info!(namespace = %volume.namespace, volume = volume.name.name(), version = record.head, action, "Changed a volume");
    }
    Ok(VolumeChanged {
        volume: view(&record),
        changed: done.action.is_some(),
        merged: done.merged,
        reloaded: done.reloaded,
        files: done.files,
        bytes: done.bytes,
        new_bytes: done.new_bytes,
        stored_bytes: done.stored_bytes,
        elapsed_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        warnings: done.warnings,
    })
}

async fn create(host: &Arc<Host>, volume: &Volume, job: &JobHandle) -> Result<Done> {
    match found(host, volume).await {
        Err(crate::Error::Store(snap_store::Error::NotFound { .. })) => {}
        Err(error) => return Err(error),
        Ok(_) => {
            let error = snap_store::Error::Exists {
                what: "Volume",
                name: format!("{} in namespace {}", volume.name.name(), volume.namespace),
            };
            return Err(error.into());
        }
    }
    let source = contents::empty(host, volume).await?;
    let (first, created) = capture(host, volume, source.layer(), Some(1), job).await?;
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.clone());
    let version = NewVolumeVersion {
        number: 1,
        snapshot: first,
        made_at: clock::now(),
    };
    blocking(move || catalogue.add_volume(&of.namespace, &of.name, &version, MAX_VOLUMES)).await?;
    let done = Done {
        action: Some("create"),
        ..Done::default()
    };
    Ok(done.counted(&created))
}

/// Captures as a snapshot that belongs to the volume: as the version of that number, when it is to be one.
async fn capture(
    host: &Arc<Host>,
    volume: &Volume,
    source: CreateSource,
    number: Option<u64>,
    job: &JobHandle,
) -> Result<(SnapshotId, Created)> {
    let mut labels = BTreeMap::from([(VOLUME_LABEL.to_owned(), volume.name.name().to_owned())]);
    labels.extend(number.map(|number| (VOLUME_VERSION_LABEL.to_owned(), number.to_string())));
    let plan = CreatePlan {
        id: SnapshotId::random(),
        namespace: volume.namespace.clone(),
        source,
        name: None,
        expires_at: None,
        unused_seconds: None,
        labels,
        exclude: Vec::new(),
        include_mounts: Vec::new(),
        stop: false,
        memory: MemoryWish::None,
        hook: None,
        verify: false,
    };
    let id = plan.id;
    // Some changes capture several times, and what a capture keeps on the way is large.
    Ok((id, create::create(host, plan, job).boxed().await?))
}

/// Makes a snapshot the newest version; `committed` as for [`snap_store::Catalogue::add_volume_version`].
async fn publish(
    host: &Arc<Host>,
    volume: &Volume,
    (number, snapshot): (u64, SnapshotId),
    committed: Option<(String, String, SnapshotId)>,
) -> Result<()> {
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.clone());
    let version = NewVolumeVersion {
        number,
        snapshot,
        made_at: clock::now(),
    };
    blocking(move || {
        let committed = committed.as_ref();
        let committed = committed.map(|(container, at, base)| (&**container, &**at, base));
        catalogue.add_volume_version(&of.namespace, &of.name, &version, committed)
    })
    .await
}

async fn next_number(host: &Arc<Host>, volume: &Volume) -> Result<u64> {
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.clone());
    blocking(move || catalogue.next_volume_version(&of.namespace, &of.name)).await
}

async fn manifest(host: &Arc<Host>, id: SnapshotId) -> Result<Manifest> {
    let store = host.store.clone();
    blocking(move || store.manifest(&id)).await
}

/// True when both hold the same.
fn is_same(one: &Manifest, other: &Manifest) -> bool {
    one.root == other.root && one.root_meta == other.root_meta && one.links == other.links
}

/// The volume as it stands.
pub(crate) async fn found(host: &Arc<Host>, volume: &Volume) -> Result<VolumeRecord> {
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.clone());
    blocking(move || catalogue.volume(&of.namespace, &of.name)).await
}

/// Removes a volume with all its versions, for good.
///
/// # Errors
/// `Busy` while a container or a folder has it mounted.
pub(crate) async fn remove(host: &Arc<Host>, volume: &Volume) -> Result<VolumeView> {
    let key = (volume.namespace.clone(), volume.name.name().to_owned());
    let _turn = host.volumes.wait(&key).await;
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.clone());
    let record = blocking(move || catalogue.remove_volume(&of.namespace, &of.name)).await?;
    remove_unowned(host, Some(volume)).await;
    let event = Event::new("volume-remove", volume.name.name());
    host.events.tell(event.of(&volume.namespace));
    Ok(view(&record))
}

/// Lets go of versions that are old and of what nobody has a use for.
async fn tidy(host: &Arc<Host>, volume: &Volume) {
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.clone());
    let thinned =
        blocking(move || catalogue.thin_volume(&of.namespace, &of.name, KEPT_VERSIONS)).await;
    if let Err(error) = thinned {
        warn!(
            volume = volume.name.name(),
            error = in_full(&error),
            "Cannot thin a volume out"
        );
    }
    remove_unowned(host, Some(volume)).await;
}

async fn remove_unowned(host: &Arc<Host>, volume: Option<&Volume>) {
    let (catalogue, of) = (Arc::clone(&host.catalogue), volume.cloned());
    let listing = move || {
        let of = of.as_ref().map(|of| (&of.namespace, &of.name));
        catalogue.unowned_of_volumes(of)
    };
    let unowned = match blocking(listing).await {
        Ok(unowned) => unowned,
        Err(error) => {
            return warn!(
                error = in_full(&error),
                "Cannot list what volumes have left"
            );
        }
    };
    for id in unowned {
        if let Err(error) = removal::remove_by(host, &[id], Force::Yes, None).await {
            warn!(snapshot = %id, error = in_full(&error), "Cannot remove what a volume has left");
        }
    }
}

/// At start: ends what an earlier daemon has left half done.
///
/// # Errors
/// When the catalogue cannot be read or written.
pub(crate) async fn settle(host: &Arc<Host>) -> Result<()> {
    stage::end_leftovers(host).await?;
    let catalogue = Arc::clone(&host.catalogue);
    blocking(move || catalogue.settle_volumes()).await?;
    remove_unowned(host, None).await;
    Ok(())
}

/// A volume as clients see it.
pub(crate) fn view(record: &VolumeRecord) -> VolumeView {
    VolumeView {
        namespace: record.namespace.to_string(),
        name: record.name.name().to_owned(),
        version: record.head,
        snapshot: record.snapshot.id.to_string(),
        created_at: clock::rfc3339(record.created_at),
        changed_at: clock::rfc3339(record.snapshot.created_at),
        nodes: record.snapshot.nodes,
        logical_bytes: record.snapshot.logical_bytes,
        versions: record.versions,
        containers: record.containers.clone(),
    }
}

/// A path of a volume, for people.
fn shown(path: &[Vec<u8>]) -> WirePath {
    WirePath::new([b"/".as_slice(), &path.join(&b'/')].concat())
}
