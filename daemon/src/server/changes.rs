//! Changes that are done when they are answered.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use snap_api::{
    ErrorCode, ErrorReport, LabelRequest, MountRequest, MountView, RemoveRequest, Removed,
    SnapshotView, TtlRequest, UnmountRequest,
};
use snap_store::{SnapshotId, SnapshotRecord, TrashCause};

use super::{
    browse::{active, resolve},
    naming::force,
    parse,
};
use crate::{
    blocking, clock, error::Result, events::Event, host::Host, mounts, removal, trash, views,
};

pub(super) async fn remove(host: &Arc<Host>, request: &RemoveRequest) -> Result<Removed> {
    let namespace = parse::namespace(&request.namespace)?;
    let references = parse::references(&request.references)?;
    let catalogue = Arc::clone(&host.catalogue);
    let ids = blocking(move || {
        let mut ids: Vec<SnapshotId> = Vec::new();
        for reference in &references {
            ids.push(catalogue.resolve(&namespace, reference)?.id);
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok::<_, snap_store::Error>(ids)
    })
    .await?;
    let stay = trash::stay(&host.config, TrashCause::Remove).filter(|_| !request.permanent);
    let is_in_trash = removal::remove_by(host, &ids, force(request.force), stay).await?;
    let stay = stay.filter(|_| is_in_trash);
    let until = stay.map(|stay| clock::now().saturating_add_unsigned(stay.grace_seconds));
    Ok(Removed {
        ids: ids.iter().map(ToString::to_string).collect(),
        in_trash_until: until.map(clock::rfc3339),
    })
}

pub(super) async fn set_ttl(host: &Arc<Host>, request: &TtlRequest) -> Result<SnapshotView> {
    let (ttl, unused) = (request.ttl, request.unused);
    if ttl.is_none() && unused.is_none() {
        let message = "Neither a time to live nor a time without use is given";
        return Err(parse::usage("invalid-ttl", message));
    }
    let by_age = ttl.map(|ttl| parse::expiry(ttl, host.config.default_ttl, clock::now()));
    let (by_age, unused) = (by_age.transpose()?, unused.map(parse::unused).transpose()?);
    let record = resolve(host, &request.namespace, &request.reference).await?;
    let (catalogue, id) = (Arc::clone(&host.catalogue), record.id);
    blocking(move || {
        if let Some(expires_at) = by_age {
            catalogue.set_expiry(&id, expires_at)?;
        }
        match unused {
            Some(seconds) => catalogue.set_unused(&id, seconds, clock::now()),
            None => Ok(()),
        }
    })
    .await?;
    changed(host, "ttl", &request.reference, &record);
    view(host, id).await
}

pub(super) async fn set_labels(host: &Arc<Host>, request: LabelRequest) -> Result<SnapshotView> {
    request
        .remove
        .iter()
        .try_for_each(|key| parse::label_key(key))?;
    let record = resolve(host, &request.namespace, &request.reference).await?;
    let mut labels = record.labels.clone();
    labels.retain(|key, _| !request.remove.contains(key));
    labels.extend(request.set.clone());
    parse::labels(&labels)?;
    let (catalogue, id) = (Arc::clone(&host.catalogue), record.id);
    blocking(move || catalogue.set_labels(&id, &request.set, &request.remove)).await?;
    changed(host, "label", &request.reference, &record);
    view(host, id).await
}

pub(super) async fn mount(host: &Arc<Host>, request: &MountRequest) -> Result<MountView> {
    let path = parse::host_path(&request.path)?;
    let record = active(host, &request.namespace, &request.reference).await?;
    let now = clock::now();
    if record.has_expired(now) && !request.force {
        let message = format!("Snapshot {} has expired", record.id);
        return Err(ErrorReport::new(ErrorCode::Conflict, "expired", message)
            .hint("Use --force to mount it all the same, or give it a new time to live")
            .into());
    }
    let mounted = mounts::mount_folder(host, &record.id, &path, request.writable).await?;
    changed(host, "mount", path.display().to_string(), &record);
    Ok(mounted)
}

pub(super) async fn unmount(host: &Arc<Host>, request: &UnmountRequest) -> Result<MountView> {
    let path: PathBuf = parse::host_path(&request.path)?;
    let unmounted = mounts::unmount_folder(host, &path).await?;
    let event = Event::new("unmount", path.display().to_string());
    let snapshot = unmounted.snapshot.parse().ok();
    host.events.tell(event.about(snapshot));
    Ok(unmounted)
}

/// Tells that something was done to a snapshot.
pub(super) fn changed(
    host: &Host,
    action: &'static str,
    subject: impl Into<String>,
    record: &SnapshotRecord,
) {
    let event = Event::new(action, subject).of(&record.namespace);
    host.events.tell(event.about(Some(record.id)));
}

/// A snapshot as it is after a change.
pub(super) async fn view(host: &Arc<Host>, id: SnapshotId) -> Result<SnapshotView> {
    let catalogue = Arc::clone(&host.catalogue);
    let record = blocking(move || catalogue.get(&id)).await?;
    Ok(views::snapshot(&record))
}
