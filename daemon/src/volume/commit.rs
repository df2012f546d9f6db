//! Commit: what a container has written to a volume becomes the volume's next version.
//!
//! The layer is captured over the ground it stands on, as a container's root is. When the head has moved since, both are merged over what
//! changes are counted from. The container keeps its layer; from then on its changes are counted from what was captured.

use std::sync::Arc;

use snap_api::{ErrorCode, ErrorReport};
use snap_store::{AttachedRecord, SnapshotId};

use super::{
    Done, Volume, capture, contents::source_of, found, is_same, manifest, next_number, publish,
    reload,
};
use crate::{
    attached::{self, Place},
    blocking,
    containerd::TaskStatus,
    create::{CreateSource, LayerSource, MergeSource},
    error::Result,
    host::Host,
    jobs::JobHandle,
};

pub(super) async fn commit(
    host: &Arc<Host>,
    volume: &Volume,
    container: &str,
    job: &JobHandle,
) -> Result<Done> {
    let turn = attached::turn(host, &volume.namespace, container).await;
    let attached = attached(host, volume, container).await?;
    if attached.is_read_only {
        let message = format!(
            "Container {container} has volume {} mounted read-only: there is nothing to commit",
            volume.name.name()
        );
        return Err(ErrorReport::new(ErrorCode::Conflict, "read-only-volume", message).into());
    }
    let runs = is_running(host, &attached).await?;
    // One that runs stands still for its capture; one that does not is neither started nor removed during it.
    let turn = (!runs).then_some(turn);
    let done = make_version(host, volume, (&attached, runs), job).await?;
    drop(turn);
    match done.action {
        Some(_) => go_on(host, volume, container, done, job).await,
        None => Ok(done),
    }
}

/// From what the container has written to the newest version, unless it has changed nothing.
async fn make_version(
    host: &Arc<Host>,
    volume: &Volume,
    (attached, runs): (&AttachedRecord, bool),
    job: &JobHandle,
) -> Result<Done> {
    let head = manifest(host, found(host, volume).await?.snapshot.id).await?;
    let base = manifest(host, attached.base).await?;
    let has_moved = !is_same(&base, &head);
    let number = next_number(host, volume).await?;
    let layer = layer(host, volume, attached, runs);
    let as_version = (!has_moved).then_some(number);
    let (ours, created) = capture(host, volume, layer, as_version, job).await?;
    if !runs && is_running(host, attached).await? {
        return Err(started_again(attached));
    }
    if is_same(&manifest(host, ours).await?, &base) {
        return Ok(Done::default());
    }
    let done = Done {
        action: Some("commit"),
        merged: has_moved,
        ..Done::default()
    };
    let mut done = done.counted(&created);
    let mut version = ours;
    if has_moved {
        let trees = MergeSource {
            base: base.id,
            ours,
            theirs: head.id,
            source: source_of(volume),
        };
        let trees = CreateSource::Merge(trees);
        let (merged, created) = capture(host, volume, trees, Some(number), job).await?;
        (version, done) = (merged, done.counted(&created));
    }
    let (container, destination) = (attached.container.clone(), attached.destination.clone());
    let committed = Some((container, destination, ours));
    publish(host, volume, (number, version), committed).await?;
    Ok(done)
}

/// With other tools than `snapctl` it can be started at any time: what was read while it ran is of no instant.
fn started_again(attached: &AttachedRecord) -> crate::Error {
    let message = format!(
        "Container {} was started while what it has written was read",
        attached.container
    );
    ErrorReport::new(ErrorCode::Conflict, "started-again", message)
        .hint("Commit again: a container that runs stands still for it")
        .into()
}

/// Has the container stand on the new version, where that can be: otherwise it goes on with what it has.
async fn go_on(
    host: &Arc<Host>,
    volume: &Volume,
    container: &str,
    mut done: Done,
    job: &JobHandle,
) -> Result<Done> {
    match reload::try_reload(host, volume, container, job).await {
        Ok(()) => done.reloaded = true,
        Err(error) => {
            let report = ErrorReport::from(error);
            if report.code != ErrorCode::Conflict {
                let why = report.message;
                done.warnings.push(format!(
                    "The container does not stand on the new version yet: {why}"
                ));
            }
        }
    }
    Ok(done)
}

/// What the container has written, as it is captured.
fn layer(host: &Host, volume: &Volume, attached: &AttachedRecord, runs: bool) -> CreateSource {
    CreateSource::Layer(LayerSource {
        upper: Place::of(host, attached).upper(),
        over: Some(attached.ground),
        source: source_of(volume),
        container: runs.then(|| attached.container.clone()),
    })
}

/// True when the container's processes may write now, or after a thaw.
pub(super) async fn is_running(host: &Arc<Host>, attached: &AttachedRecord) -> Result<bool> {
    let task = host
        .containerd
        .task(&attached.namespace, &attached.container)
        .await?;
    Ok(task.is_some_and(|task| runs(task.status)))
}

pub(super) fn runs(status: TaskStatus) -> bool {
    matches!(status, TaskStatus::Running | TaskStatus::Paused)
}

/// The mount of the volume in a container.
pub(super) async fn attached(
    host: &Arc<Host>,
    volume: &Volume,
    container: &str,
) -> Result<AttachedRecord> {
    let (catalogue, namespace, id) = (
        Arc::clone(&host.catalogue),
        volume.namespace.clone(),
        container.to_owned(),
    );
    let all = blocking(move || {
        catalogue.container(&namespace, &id)?;
        catalogue.attached(&namespace, &id)
    })
    .await?;
    // The name of a volume is enough: a container has each volume once.
    let found = all
        .into_iter()
        .find(|one| one.volume.as_ref() == Some(&volume.name));
    found.ok_or_else(|| {
        let name = volume.name.name();
        let message = format!("Container {container} does not have volume {name} mounted");
        ErrorReport::new(ErrorCode::NotFound, "volume-not-mounted", message)
            .hint(format!("`snapctl volume list` shows who has; `snapctl restore REF --volume {name}:/PATH` mounts it in a new container"))
            .into()
    })
}

/// True when what the container has is what its changes are counted from.
pub(super) async fn is_clean(
    host: &Arc<Host>,
    volume: &Volume,
    attached: &AttachedRecord,
    job: &JobHandle,
) -> Result<bool> {
    let runs = is_running(host, attached).await?;
    let layer = layer(host, volume, attached, runs);
    let (id, _): (SnapshotId, _) = capture(host, volume, layer, None, job).await?;
    let same = is_same(
        &manifest(host, id).await?,
        &manifest(host, attached.base).await?,
    );
    Ok(same)
}
