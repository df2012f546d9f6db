//! The recipe of a put: the next version of a name is the newest one with a file or a folder of the host at one path of it.
//!
//! The turn of the name is held from before the newest version is looked up until the new one is active. So of two puts at once the
//! second builds on the first, and none is lost.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags};
use snap_api::{Created, ErrorCode, ErrorReport};
use snap_fs::capture::{self, CapturedTree, Exclude, Part, Source, SourceKind, StatCache};
use snap_store::{
    Draft, EntryName, Error as StoreError, Manifest, MemoryMark, Namespace, Node, Progress,
    Result as StoreResult, SnapshotId, SnapshotName, SnapshotRecord, SnapshotState, TreeReader,
};
use tracing::info;

use super::{Captured, commit, facts, finish, give_up, parts, unmoved, usage};
use crate::{blocking, clock, collect::relief, error::Result, host::Host, jobs::JobHandle, quota};

/// Versions that are looked at for one that is active.
const LOOKED_AT: usize = 1000;
/// Labels of the daemon's own say how a snapshot was made: this one is made otherwise.
const OWN_LABELS: &str = "snapshotd.io/";

/// A put request after parsing.
#[derive(Clone, Debug)]
pub(crate) struct PutPlan {
    /// The id the new version will have.
    pub(crate) id: SnapshotId,
    /// Namespace.
    pub(crate) namespace: Namespace,
    /// The name, with the tag `latest`.
    pub(crate) name: SnapshotName,
    /// What is put in; absolute.
    pub(crate) source: PathBuf,
    /// Where to; not the root.
    pub(crate) path: Vec<EntryName>,
    /// When the new version expires, in seconds since 1970.
    pub(crate) expires_at: Option<i64>,
}

/// Checks what can be checked without changing anything. Run before the job is accepted.
///
/// # Errors
/// The first thing that would make `put` fail.
pub(crate) async fn check(host: &Arc<Host>, plan: &PutPlan) -> Result<()> {
    quota::admit(host, &plan.namespace).await?;
    relief::admit(host).await?;
    facts::check_space(&host.config)?;
    let (host, plan) = (Arc::clone(host), plan.clone());
    blocking(move || -> Result<()> {
        Opened::open(&plan.source, &host.config.root)?;
        let base = newest(&host, &plan)?;
        require_way(&host, &plan, &base)
    })
    .await
}

/// Makes the version: Creating is in the catalogue before the first byte is read, Active or Failed when this returns.
///
/// # Errors
/// Whatever ended it; the same words are the reason of the failed snapshot.
pub(crate) async fn put(host: &Arc<Host>, plan: PutPlan, job: &JobHandle) -> Result<Created> {
    let started = Instant::now();
    info!(snapshot = %plan.id, name = plan.name.name(), source = %plan.source.display(), "Putting something into a new version");
    job.phase("check");
    relief::make_room(host, job).await?;
    job.phase("wait for another version");
    let key = (plan.namespace.clone(), plan.name.name().to_owned());
    let turn = host.turns.wait(&key).await;
    let (of, it) = (Arc::clone(host), plan.clone());
    let base = blocking(move || -> Result<_> {
        let base = newest(&of, &it)?;
        require_way(&of, &it, &base)?;
        Ok(base)
    })
    .await?;
    let limit = host.config.snapshots_per_namespace;
    host.catalogue
        .insert(&creating(&plan, &base.record), limit)?;
    let made = async {
        let writing = write(host, &plan, base, job);
        let mut captured = facts::within_reserve(&host.config, job, writing).await?;
        let limit = quota::stored_bytes_limit(&host.config);
        let record = host.catalogue.activate_within(&captured.manifest, limit)?;
        captured.warnings.extend(unmoved(Some(&plan.name), &record));
        Ok((captured, record))
    };
    let made = made.await;
    drop(turn);
    match made {
        Ok((captured, record)) => Ok(finish(host, captured, &record, started).await),
        Err(error) => Err(give_up(host, &plan.id, error)),
    }
}

/// The version something is put into.
struct Base {
    record: SnapshotRecord,
    manifest: Manifest,
}

/// The newest version that is active.
fn newest(host: &Host, plan: &PutPlan) -> Result<Base> {
    let versions = host
        .catalogue
        .versions(&plan.namespace, &plan.name, None, LOOKED_AT)?;
    let active = versions
        .into_iter()
        .map(|version| version.snapshot)
        .find(|snapshot| snapshot.state == SnapshotState::Active);
    let Some(record) = active else {
        let message = format!("No version of {} is there", plan.name.name());
        return Err(
            ErrorReport::new(ErrorCode::NotFound, "version-not-found", message)
                .hint("`snapctl create --name NAME` makes one")
                .into(),
        );
    };
    let manifest = host.store.manifest(&record.id)?;
    Ok(Base { record, manifest })
}

/// Everything on the way to the path is a folder, or is missing.
fn require_way(host: &Host, plan: &PutPlan, base: &Base) -> Result<()> {
    let reader = TreeReader::new(host.store.clone(), base.manifest.root);
    let names: Vec<&[u8]> = plan.path.iter().map(EntryName::as_bytes).collect();
    for length in 1..names.len() {
        let way = &names[..length];
        match reader.resolve(way) {
            Ok(Some(found)) if !matches!(found.entry.node, Node::Directory(_)) => {
                let message = format!(
                    "/{} is not a folder in version {} of {}",
                    String::from_utf8_lossy(&way.join(&b'/')),
                    base.manifest.version.unwrap_or(0),
                    plan.name.name()
                );
                let report = ErrorReport::new(ErrorCode::Conflict, "not-a-folder", message);
                return Err(report
                    .hint("Links are not followed: name what they lead to")
                    .into());
            }
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is put in, open.
enum Opened {
    Folder(OwnedFd),
    /// A file, by the folder it is in.
    File(OwnedFd, OsString),
}

impl Opened {
    fn open(source: &Path, store: &Path) -> Result<Self> {
        let canonical = source.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let message = format!("{} was not found", source.display());
                ErrorReport::new(ErrorCode::NotFound, "path-not-found", message).into()
            }
            _ => crate::Error::from(StoreError::io("open", source)(error)),
        })?;
        if store.starts_with(&canonical) {
            let message = format!("{} holds the store itself", source.display());
            return Err(usage("holds-the-store", message));
        }
        let (Some(parent), Some(name)) = (canonical.parent(), canonical.file_name()) else {
            return Err(usage(
                "not-a-file",
                "The root of the host is not put in".to_owned(),
            ));
        };
        let folder = parts::open(parent)?;
        let wanted = StatxFlags::TYPE;
        let about = rustix::fs::statx(&folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted)
            .map_err(StoreError::io("inspect", &canonical))?;
        let is_mount = about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        match FileType::from_raw_mode(about.stx_mode.into()) {
            FileType::Directory => Ok(Self::Folder(parts::open(&canonical)?)),
            FileType::RegularFile if !is_mount => Ok(Self::File(folder, name.to_owned())),
            FileType::RegularFile => {
                let message = format!("{} is mounted there by itself", source.display());
                let report = ErrorReport::new(ErrorCode::Conflict, "is-a-mount", message);
                Err(report
                    .hint("Name the file that was mounted, or a copy")
                    .into())
            }
            _ => Err(usage(
                "not-a-file",
                format!("{} is neither a file nor a folder", source.display()),
            )),
        }
    }

    /// Reads it into the draft.
    fn read(self, draft: &Draft, job: &JobHandle) -> StoreResult<Part> {
        let (folder, name) = match &self {
            Self::Folder(folder) => (folder, None),
            Self::File(folder, name) => (folder, Some(name.as_bytes())),
        };
        let names: Vec<&[u8]> = name.into_iter().collect();
        let exclude = Exclude::default().all_but(&names);
        let source = Source {
            folder: folder.as_fd(),
            kind: SourceKind::Plain,
            exclude: &exclude,
        };
        let mut cache = StatCache::default();
        let scan = capture::read(draft, &source, &mut cache, job)?;
        let tree = capture::build(draft, scan, None, &mut cache, job)?;
        capture::part(draft, tree, &names)
    }
}

/// From what is put in to a committed manifest.
async fn write(host: &Arc<Host>, plan: &PutPlan, base: Base, job: &JobHandle) -> Result<Captured> {
    let (of, plan, handle) = (Arc::clone(host), plan.clone(), job.clone());
    let version = host.catalogue.next_version(&plan.namespace, &plan.name)?;
    let writing = move || -> Result<_> {
        let opened = Opened::open(&plan.source, &of.config.root)?;
        let draft = of.store.begin(plan.id)?;
        // Once the draft has begun nothing of what is there goes: what was removed before may be collected already.
        let base = Base {
            manifest: of.store.manifest(&base.record.id)?,
            ..base
        };
        let part = opened.read(&draft, &handle)?;
        let names: Vec<&[u8]> = plan.path.iter().map(EntryName::as_bytes).collect();
        let tree = capture::put(&draft, &tree_of(&base.manifest), &names, &part)?;
        let mut warnings = tree.warnings.clone();
        if matches!(base.record.memory, Some(MemoryMark::Captured { .. })) {
            warnings.push(
                "The memory of the version before does not come along: its files have changed"
                    .to_owned(),
            );
        }
        let manifest = Manifest {
            version,
            ..manifest(&plan, &base, tree)
        };
        Ok((draft, manifest, warnings))
    };
    let (draft, manifest, warnings) = blocking(writing).await?;
    facts::check_space(&host.config)?;
    let (manifest, stats) = commit::commit(host, draft, manifest, None, job).await?;
    Ok(Captured {
        manifest,
        stats,
        warnings,
        forgotten: Vec::new(),
        turn: None,
    })
}

fn tree_of(manifest: &Manifest) -> CapturedTree {
    CapturedTree {
        root: manifest.root,
        root_meta: manifest.root_meta.clone(),
        links: manifest.links.clone(),
        logical_bytes: manifest.logical_bytes,
        warnings: Vec::new(),
    }
}

/// What is known of the version before, but for what is another's now.
fn manifest(plan: &PutPlan, base: &Base, tree: CapturedTree) -> Manifest {
    Manifest {
        id: plan.id,
        created_at: clock::now(),
        name: Some(plan.name.clone()),
        expires_at: plan.expires_at,
        labels: labels(&base.record),
        root: tree.root,
        root_meta: tree.root_meta,
        links: tree.links,
        logical_bytes: tree.logical_bytes,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        host: facts::host(),
        ..base.manifest.clone()
    }
}

/// The row that says that the version is being made.
fn creating(plan: &PutPlan, base: &SnapshotRecord) -> SnapshotRecord {
    SnapshotRecord {
        labels: labels(base),
        is_container: base.is_container,
        image: base.image.clone(),
        expires_at: plan.expires_at,
        ..SnapshotRecord::creating(
            plan.id,
            plan.namespace.clone(),
            base.source.clone(),
            clock::now(),
        )
    }
}

fn labels(base: &SnapshotRecord) -> BTreeMap<String, String> {
    let all = base.labels.clone().into_iter();
    all.filter(|(key, _)| !key.starts_with(OWN_LABELS))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use snap_store::Force;

    use super::*;
    use crate::{fixture, removal};

    /// The pages of a version that was removed before the draft began may be gone: the new version would have named them.
    #[tokio::test]
    async fn a_version_that_was_removed_meanwhile_is_built_upon_no_more() {
        let (host, folder) = fixture::host(|_| {});
        let id = fixture::unlike_others(&host, "web");
        let source = folder.path().join("file");
        fs::write(&source, "new").unwrap();
        let plan = PutPlan {
            id: SnapshotId::random(),
            namespace: "default".parse().unwrap(),
            name: "web".parse().unwrap(),
            source,
            path: vec![EntryName::new(*b"file").unwrap()],
            expires_at: None,
        };
        let base = newest(&host, &plan).unwrap();
        removal::remove_by(&host, &[id], Force::No, None)
            .await
            .unwrap();
        let written = write(&host, &plan, base, &JobHandle::new()).await;
        let error = ErrorReport::from(written.err().unwrap());
        assert_eq!(error.code, ErrorCode::NotFound);
    }
}
