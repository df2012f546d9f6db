//! Copies between snapshots and the host: out of a snapshot, and into the next version of a name.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use snap_api::{
    Copied, CopyRequest, ErrorCode, ErrorReport, JobOutcome, JobStarted, PutRequest, Ttl,
};
use snap_store::{EntryName, SnapshotId, TreeReader};

use super::{browse::active, parse, peer::Peer, work::bound};
use crate::{
    blocking, clock,
    create::{self, PutPlan},
    error::{Error, Result},
    host::Host,
    jobs::{JobKind, JobRequest},
};

pub(super) async fn copy(host: &Arc<Host>, peer: Peer, request: CopyRequest) -> Result<JobStarted> {
    peer.require_root("copy to folders of the host")?;
    let names = parse::inner_path(&request.path)?;
    let destination = parse::host_path(&request.destination)?;
    let (folder, name) = split(&destination)?;
    let snapshot = active(host, &request.namespace, &request.reference).await?;
    let (store, id, wanted) = (host.store.clone(), snapshot.id, names.clone());
    let (manifest, folder) = blocking(move || -> Result<_> {
        let manifest = store.manifest(&id)?;
        TreeReader::new(store, manifest.root).resolve(&bytes(&wanted))?;
        Ok((manifest, open_folder(&folder)?))
    })
    .await?;
    let request = JobRequest {
        kind: JobKind::Copy,
        namespace: snapshot.namespace,
        subject: format!("{}:{}", snapshot.id, request.path),
        snapshot: None,
        key: None,
    };
    let store = host.store.clone();
    host.jobs.start(request, |job| async move {
        blocking(move || {
            let path = bytes(&names);
            let folder = folder.as_fd();
            snap_fs::extract::extract(&store, &manifest, &path, folder, &name, &job)
        })
        .await
        .map(|extracted| {
            JobOutcome::Copied(Copied {
                files: extracted.files,
                bytes: extracted.bytes,
            })
        })
    })
}

pub(super) async fn put(host: &Arc<Host>, peer: Peer, request: PutRequest) -> Result<JobStarted> {
    peer.require_root("put files of the host into snapshots")?;
    let path = parse::inner_path(&request.path)?;
    if path.is_empty() {
        let message = "Nothing is put in the place of a whole snapshot: name a path below its root";
        return Err(parse::usage("invalid-path", message));
    }
    let plan = PutPlan {
        id: SnapshotId::random(),
        namespace: parse::namespace(&request.namespace)?,
        name: parse::bare_name(&request.name)?,
        source: parse::host_path(&request.source)?,
        path,
        expires_at: parse::expiry(Ttl::Default, host.config.default_ttl, clock::now())?,
    };
    create::check_put(host, &plan).await?;
    let job_request = JobRequest {
        kind: JobKind::Put,
        namespace: plan.namespace.clone(),
        subject: format!("{}:{}", plan.name.name(), request.path),
        snapshot: Some(plan.id),
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(job_request, move |job| async move {
        let mut created = create::put(&job_host, plan, &job).await?;
        bound(&mut created.warnings);
        Ok(JobOutcome::Created(Box::new(created)))
    })
}

fn bytes(names: &[EntryName]) -> Vec<&[u8]> {
    names.iter().map(EntryName::as_bytes).collect()
}

/// The folder something is put into, and the name it gets there.
fn split(destination: &Path) -> Result<(PathBuf, OsString)> {
    match (destination.parent(), destination.file_name()) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), name.to_owned())),
        _ => Err(parse::usage(
            "invalid-path",
            "Nothing can be copied over `/`: name a new folder",
        )),
    }
}

fn open_folder(path: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let message = format!("Folder {} was not found", path.display());
            ErrorReport::new(ErrorCode::NotFound, "folder-not-found", message)
                .hint("The folder something is copied into must be there")
                .into()
        }
        _ => Error::io("open", path)(error),
    })
}
