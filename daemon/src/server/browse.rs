//! Questions: listings, and one snapshot with everything known of it.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream};
use snap_api::{
    ContainerView, ErrorCode, ErrorReport, JobView, ListRequest, MemoryContents, Page,
    ReferenceRequest, SnapshotDetail, WirePath,
};
use snap_store::{
    Attachment, ContainerRecord, HostFacts, KeyFolder, Manifest, MemoryMark, Origin,
    SnapshotRecord, SnapshotState,
};

use super::{
    page::{self, PageBuilder},
    parse,
    peer::Peer,
};
use crate::{blocking, containers, error::Result, host::Host, memory, views};

/// Containers that containerd is asked about at once.
const CONCURRENT_LOOKS: usize = 16;
/// JSON of a captured spec that still fits into an answer with everything beside it.
const MAX_SPEC_BYTES: usize = 2 << 20;

/// The snapshot a client means.
pub(super) async fn resolve(
    host: &Host,
    namespace: &str,
    reference: &str,
) -> Result<SnapshotRecord> {
    let namespace = parse::namespace(namespace)?;
    let reference = parse::reference(reference)?;
    let catalogue = Arc::clone(&host.catalogue);
    blocking(move || catalogue.resolve(&namespace, &reference)).await
}

/// The same, when it is whole and usable.
pub(super) async fn active(
    host: &Host,
    namespace: &str,
    reference: &str,
) -> Result<SnapshotRecord> {
    let record = resolve(host, namespace, reference).await?;
    require_active(&record)?;
    Ok(record)
}

/// What the memory of a snapshot holds.
pub(super) async fn memory(
    host: &Host,
    peer: Peer,
    request: &ReferenceRequest,
) -> Result<MemoryContents> {
    let record = active(host, &request.namespace, &request.reference).await?;
    peer.require_root_to_look_into_memory()?;
    if !matches!(record.memory, Some(MemoryMark::Captured { .. })) {
        let message = format!("Snapshot {} holds no memory", record.id);
        return Err(ErrorReport::new(ErrorCode::Conflict, "no-memory", message)
            .hint("`snapctl create CONTAINER --memory` captures it with the files")
            .into());
    }
    let (store, keys) = (host.store.clone(), KeyFolder::new(&host.config.memory_keys));
    blocking(move || memory::contents(store, &record.id, &keys)).await
}

fn require_active(record: &SnapshotRecord) -> Result<(), ErrorReport> {
    let (why, hint) = match record.state {
        SnapshotState::Active => return Ok(()),
        SnapshotState::Creating => ("is still being made".to_owned(), "Wait for its job"),
        SnapshotState::Deleting => ("is being removed".to_owned(), "Choose another one"),
        SnapshotState::Failed => {
            let reason = record.reason.as_deref().unwrap_or("for an unknown reason");
            (
                format!("could not be made: {reason}"),
                "Remove it and create it again",
            )
        }
    };
    let message = format!("Snapshot {} {why}", record.id);
    Err(ErrorReport::new(ErrorCode::Conflict, "not-active", message).hint(hint))
}

pub(super) fn jobs(host: &Host, request: &ListRequest) -> Result<Page<JobView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let before = page::number_cursor(request.cursor.as_deref())?;
    let limit = parse::page_limit(request.limit);
    let mut page = PageBuilder::new(limit);
    for (number, view) in host.jobs.list(namespace.as_ref(), before, limit) {
        if page.is_full() {
            break;
        }
        page.push(view, number.to_string());
    }
    Ok(page.finish())
}

pub(super) async fn containers(
    host: &Arc<Host>,
    request: &ListRequest,
) -> Result<Page<ContainerView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let limit = parse::page_limit(request.limit);
    let catalogue = Arc::clone(&host.catalogue);
    let key = |record: &ContainerRecord| format!("{}/{}", record.namespace, record.id);
    let mut records = blocking(move || catalogue.containers()).await?;
    records.retain(|record| {
        namespace
            .as_ref()
            .is_none_or(|wanted| record.namespace == *wanted)
    });
    records.sort_by_cached_key(key);
    if let Some(cursor) = &request.cursor {
        records.retain(|record| key(record) > *cursor);
    }
    records.truncate(limit);
    let looks = records.clone().into_iter().map(|record| {
        let host = Arc::clone(host);
        async move { containers::view(&host, &record).await }
    });
    let views: Vec<_> = stream::iter(looks)
        .buffered(CONCURRENT_LOOKS)
        .collect()
        .await;
    let mut page = PageBuilder::new(limit);
    for (record, view) in records.iter().zip(views) {
        page.push(view?, key(record));
    }
    Ok(page.finish())
}

pub(super) async fn show(host: &Arc<Host>, request: &ReferenceRequest) -> Result<SnapshotDetail> {
    let record = resolve(host, &request.namespace, &request.reference).await?;
    let host = Arc::clone(host);
    blocking(move || {
        let attachments = host.catalogue.attachments(&record.id)?;
        let manifest = match record.state {
            SnapshotState::Active => Some(host.store.manifest(&record.id)?),
            SnapshotState::Creating | SnapshotState::Failed | SnapshotState::Deleting => None,
        };
        let mut detail = detail(&record, manifest, attachments);
        detail.snapshot.damage = host.marks.of(&record.id);
        Ok::<_, snap_store::Error>(detail)
    })
    .await
}

fn detail(
    record: &SnapshotRecord,
    manifest: Option<Manifest>,
    attachments: Vec<Attachment>,
) -> SnapshotDetail {
    let mut detail = SnapshotDetail {
        snapshot: views::snapshot(record),
        root: String::new(),
        snapshotter: None,
        runtime: None,
        spec: None,
        host: BTreeMap::new(),
        used_by: Vec::new(),
        mounted_at: Vec::new(),
        memory_key: None,
    };
    for attachment in attachments {
        match attachment {
            Attachment::Container(namespace, id) => {
                detail.used_by.push(format!("{namespace}/{id}"));
            }
            Attachment::Folder(path) => detail.mounted_at.push(WirePath::from(&*path)),
            Attachment::Volume(namespace, name) => {
                detail.used_by.push(format!("volume {namespace}/{name}"));
            }
        }
    }
    let Some(manifest) = manifest else {
        return detail;
    };
    detail.root = manifest.root.digest.to_string();
    let seal = manifest.memory_images().and_then(|images| images.seal);
    detail.memory_key = seal.map(|seal| seal.key.to_string());
    if let Some(memory) = &mut detail.snapshot.memory {
        memory.encrypted = detail.memory_key.is_some();
    }
    detail.host = facts(manifest.host);
    if let Origin::Container(config) = manifest.origin {
        detail.snapshotter = Some(config.snapshotter);
        detail.runtime = Some(config.runtime);
        let is_small = config.spec.to_string().len() <= MAX_SPEC_BYTES;
        detail.spec = Some(config.spec).filter(|_| is_small);
    }
    detail
}

fn facts(host: HostFacts) -> BTreeMap<String, String> {
    let facts = [
        ("architecture", host.architecture),
        ("kernel", host.kernel),
        ("hostname", host.hostname),
        ("version", host.version),
    ];
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
