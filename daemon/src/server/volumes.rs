//! Volumes: who may do what with them, and what is asked about them.

use std::sync::Arc;

use snap_api::{
    AttachRequest, AttachSource, ErrorCode, ErrorReport, JobOutcome, JobStarted, ListRequest, Page,
    VolumeChange, VolumeChangeRequest, VolumeRequest, VolumeView, WirePath,
};
use snap_store::{Attaching, AttachingWhat, EntryName, Node, TreeReader, VolumeRecord};

use super::{
    browse::active,
    page::{self, PageBuilder},
    parse,
    peer::Peer,
};
use crate::{
    blocking,
    collect::relief,
    error::Result,
    host::Host,
    jobs::{JobKind, JobRequest},
    quota,
    volume::{self, Change, Put, Volume},
};

/// Files and folders that are put, or paths that are removed, at once.
const MAX_PATHS: usize = 10_000;
/// Things one container has mounted beside its root.
const MAX_ATTACHED: usize = 64;

pub(super) async fn change(
    host: &Arc<Host>,
    peer: Peer,
    request: VolumeChangeRequest,
) -> Result<JobStarted> {
    let volume = volume(&request.namespace, &request.name)?;
    let (change, what) = change_of(peer, request.change)?;
    if !matches!(change, Change::Create) {
        volume::found(host, &volume).await?;
    }
    if !matches!(change, Change::Reload(..)) {
        quota::admit(host, &volume.namespace).await?;
    }
    relief::admit(host).await?;
    let request = JobRequest {
        kind: JobKind::Volume,
        namespace: volume.namespace.clone(),
        subject: format!("{what} {}", volume.name.name()),
        snapshot: None,
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(request, move |job| async move {
        let mut changed = volume::change(&job_host, &volume, change, &job).await?;
        super::work::bound(&mut changed.warnings);
        Ok(JobOutcome::Volume(Box::new(changed)))
    })
}

fn change_of(peer: Peer, change: VolumeChange) -> Result<(Change, &'static str)> {
    Ok(match change {
        VolumeChange::Create => (Change::Create, "create"),
        VolumeChange::Put { sources, to, owner } => {
            peer.require_root("put files of the host into a volume")?;
            require_some(&sources)?;
            let sources = sources.iter().map(parse::host_path);
            let put = Put {
                sources: sources.collect::<Result<_>>()?,
                to: names(&to)?,
                owner: (owner.uid, owner.gid),
            };
            if put
                .sources
                .iter()
                .any(|source| source.file_name().is_none())
            {
                let message = "`/` has no name that it could be put under";
                return Err(parse::usage("invalid-path", message));
            }
            (Change::Put(put), "put")
        }
        VolumeChange::Remove { paths } => {
            require_some(&paths)?;
            let paths: Vec<_> = paths.iter().map(names).collect::<Result<_>>()?;
            if paths.iter().any(Vec::is_empty) {
                let message = "The top of a volume stays: name what is in it, or remove the volume";
                return Err(parse::usage("invalid-path", message));
            }
            (Change::Remove(paths), "remove from")
        }
        VolumeChange::Commit { container } => {
            (Change::Commit(parse::container_id(&container)?), "commit")
        }
        VolumeChange::Reload { container, discard } => {
            let container = parse::container_id(&container)?;
            (Change::Reload(container, discard), "reload")
        }
    })
}

fn require_some(paths: &[WirePath]) -> Result<()> {
    if (1..=MAX_PATHS).contains(&paths.len()) {
        return Ok(());
    }
    let message = format!("Name at least one path and at most {MAX_PATHS}");
    Err(parse::usage("invalid-path", message))
}

fn names(path: &WirePath) -> Result<Vec<Vec<u8>>> {
    let names = parse::inner_path(path)?;
    Ok(names.iter().map(|name| name.as_bytes().to_vec()).collect())
}

fn volume(namespace: &str, name: &str) -> Result<Volume> {
    Ok(Volume {
        namespace: parse::namespace(namespace)?,
        name: parse::bare_name(name)?,
    })
}

pub(super) async fn list(host: &Arc<Host>, request: &ListRequest) -> Result<Page<VolumeView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let limit = parse::page_limit(request.limit);
    let catalogue = Arc::clone(&host.catalogue);
    let key = |one: &VolumeRecord| format!("{}/{}", one.namespace, one.name.name());
    let cursor = match &request.cursor {
        Some(cursor) => Some(cursor.split_once('/').ok_or_else(page::invalid)?),
        None => None,
    };
    let after = cursor.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    let some = blocking(move || {
        let after = after.as_ref();
        let after = after.map(|(namespace, name)| (&**namespace, &**name));
        catalogue.volumes(namespace.as_ref(), after, limit)
    });
    let mut page = PageBuilder::new(limit);
    for one in &some.await? {
        if page.is_full() {
            break;
        }
        page.push(volume::view(one), key(one));
    }
    Ok(page.finish())
}

pub(super) async fn show(host: &Arc<Host>, request: &VolumeRequest) -> Result<VolumeView> {
    let volume = volume(&request.namespace, &request.name)?;
    Ok(volume::view(&volume::found(host, &volume).await?))
}

pub(super) async fn remove(host: &Arc<Host>, request: &VolumeRequest) -> Result<VolumeView> {
    let volume = volume(&request.namespace, &request.name)?;
    volume::remove(host, &volume).await
}

/// What new containers are to have mounted beside their roots.
pub(super) async fn attaching(
    host: &Arc<Host>,
    namespace: &str,
    requests: Vec<AttachRequest>,
) -> Result<Vec<Attaching>> {
    if requests.len() > MAX_ATTACHED {
        let message =
            format!("A container has at most {MAX_ATTACHED} volumes and snapshots mounted");
        return Err(parse::usage("too-many-mounts", message));
    }
    let mut all: Vec<Attaching> = Vec::with_capacity(requests.len());
    for request in requests {
        let destination = parse::mount_point(&request.destination)?;
        let what = match request.source {
            AttachSource::Volume(name) => AttachingWhat::Volume(parse::bare_name(&name)?),
            AttachSource::Snapshot { reference, path } => {
                folder_of(host, (namespace, &reference), &path).await?
            }
        };
        let is_volume = matches!(what, AttachingWhat::Volume(_));
        if all
            .iter()
            .any(|one| one.destination == destination || is_volume && one.what == what)
        {
            let message =
                format!("{destination} is given twice, or the volume that is to be mounted there");
            return Err(parse::usage("mounted-twice", message));
        }
        all.push(Attaching {
            destination,
            what,
            is_read_only: request.read_only,
        });
    }
    Ok(all)
}

/// A folder of a snapshot, which is there.
async fn folder_of(
    host: &Arc<Host>,
    (namespace, reference): (&str, &str),
    path: &WirePath,
) -> Result<AttachingWhat> {
    let names = parse::inner_path(path)?;
    let record = active(host, namespace, reference).await?;
    if record.has_expired(crate::clock::now()) {
        let message = format!("Snapshot {} has expired", record.id);
        return Err(ErrorReport::new(ErrorCode::Conflict, "expired", message)
            .hint("Give it a new time to live with `snapctl ttl`")
            .into());
    }
    let (store, id, wanted) = (host.store.clone(), record.id, names.clone());
    let found = blocking(move || {
        let names: Vec<&[u8]> = wanted.iter().map(EntryName::as_bytes).collect();
        let manifest = store.manifest(&id)?;
        TreeReader::new(store, manifest.root).resolve(&names)
    });
    if let Some(located) = found.await?
        && !matches!(located.entry.node, Node::Directory(_))
    {
        let message = format!("{path} of snapshot {} is not a folder", record.id);
        return Err(parse::usage("not-a-folder", message));
    }
    let names: Vec<&[u8]> = names.iter().map(EntryName::as_bytes).collect();
    Ok(AttachingWhat::Snapshot(record.id, names.join(&b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// What a namespace alone needs was counted for creates and builds alone: who changed nothing but volumes had no limit.
    #[tokio::test]
    async fn a_change_of_a_volume_counts_what_its_namespace_needs() {
        let (host, _folder) = fixture::host(|config| config.unique_bytes_per_namespace = 1);
        fixture::unlike_others(&host, "web");
        let request = VolumeChangeRequest {
            namespace: "default".to_owned(),
            name: "data".to_owned(),
            change: VolumeChange::Create,
        };
        let peer = Peer { uid: 0, pid: None };
        let refused = change(&host, peer, request).await.unwrap_err();
        assert_eq!(ErrorReport::from(refused).code, ErrorCode::Limit);
    }
}
