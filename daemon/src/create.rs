//! The recipe of create.
//!
//! A container is read while it is in use, in two passes: it stands still for the second one, which reads metadata alone.
//! A folder of the host is read in one pass without a pause, so files that are written during its capture may each be of
//! another moment.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use snap_api::{Created, ErrorCode, ErrorReport, MemoryWish};
use snap_fs::capture::{CapturedTree, Exclude};
use snap_store::{
    Draft, DraftStats, Manifest, Memory, Namespace, Origin, Progress, SnapshotId, SnapshotName,
    SnapshotRecord, VOLUME_LABEL,
};
use tracing::{info, warn};

use crate::{
    blocking, clock,
    collect::relief,
    error::{Result, in_full},
    host::Host,
    jobs::{JobHandle, persistently},
    quota, retention,
    turns::Turn,
    views,
};

use self::{
    parts::Parts,
    still::Still,
    subject::{Root, Subject},
};

mod bases;
mod commit;
mod facts;
mod folders;
mod forecast;
mod joined;
mod parts;
mod place;
mod put;
mod rest;
mod still;
mod subject;
mod trees;

pub(crate) use facts::within_reserve;
pub(crate) use folders::folders_of;
pub(crate) use forecast::forecast;
pub(crate) use put::{PutPlan, check as check_put, put};
pub(crate) use trees::LastTrees;

/// What is captured.
#[derive(Clone, Debug)]
pub enum CreateSource {
    /// A running container.
    Container(String),
    /// A container in which nothing runs, and goes on not to until it is read.
    AtRest(String),
    /// A folder of the host.
    Path(PathBuf),
    /// A folder of a running container.
    Folder {
        /// The container.
        container: String,
        /// The folder, as the container sees it; absolute.
        path: PathBuf,
    },
    /// What was written over a snapshot.
    Layer(LayerSource),
    /// Two trees that came from one.
    Merge(MergeSource),
}

/// A writable layer and what is below it.
#[derive(Clone, Debug)]
pub struct LayerSource {
    /// The layer, as overlayfs keeps it.
    pub upper: PathBuf,
    /// The snapshot below it; none when the layer is all there is.
    pub over: Option<SnapshotId>,
    /// What it is part of, for people.
    pub source: String,
    /// The container that writes to it, when one runs: it stands still for the capture.
    pub container: Option<String>,
}

/// Snapshots whose trees are put together.
#[derive(Clone, Debug)]
pub struct MergeSource {
    /// Where both came from.
    pub base: SnapshotId,
    /// The one.
    pub ours: SnapshotId,
    /// The other.
    pub theirs: SnapshotId,
    /// What they are part of, for people.
    pub source: String,
}

impl CreateSource {
    /// What it is, for people.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Container(id) | Self::AtRest(id) => id.clone(),
            Self::Path(path) => path.display().to_string(),
            Self::Folder { container, path } => format!("{container}:{}", path.display()),
            Self::Layer(layer) => layer.source.clone(),
            Self::Merge(trees) => trees.source.clone(),
        }
    }

    /// The container that stands still for the capture.
    fn stands_still(&self) -> Option<&str> {
        match self {
            Self::Container(id) => Some(id),
            Self::Folder { container, .. } => Some(container),
            Self::Layer(layer) => layer.container.as_deref(),
            Self::AtRest(_) | Self::Path(_) | Self::Merge(_) => None,
        }
    }
}

/// A create request after parsing: every field is what its type says.
#[derive(Clone, Debug)]
pub struct CreatePlan {
    /// The id the new snapshot will have.
    pub id: SnapshotId,
    /// Namespace.
    pub namespace: Namespace,
    /// What is captured.
    pub source: CreateSource,
    /// Name to give it.
    pub name: Option<SnapshotName>,
    /// When it expires, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// How long it may go without a use, in seconds.
    pub unused_seconds: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Compiled exclusions.
    pub exclude: Vec<String>,
    /// Bind mounts to include, by destination.
    pub include_mounts: Vec<String>,
    /// Stop the task while it is paused.
    pub stop: bool,
    /// Capture memory as well.
    pub memory: MemoryWish,
    /// A program of the container that is told before the capture and after it.
    pub hook: Option<String>,
    /// Read everything back before activating.
    pub verify: bool,
}

/// Everything but the catalogue's part in it.
struct Captured {
    manifest: Manifest,
    stats: DraftStats,
    warnings: Vec<String>,
    /// Versions of its name that the policy of the name does not keep any more.
    forgotten: Vec<String>,
    /// The turn of its name: its manifest holds a number that the catalogue has yet to give.
    turn: Option<Turn>,
}

/// What the second pass and the builds after it came to.
struct Taken {
    /// What was read; nothing where trees were merged.
    parts: Option<Parts>,
    tree: CapturedTree,
    pause_us: u64,
    memory: Option<Memory>,
    warnings: Vec<String>,
}

/// Checks what can be checked without changing anything: the container exists and runs (conflict otherwise), the folder
/// is there, bind mounts are known, the exclusions parse, there is space. Run before the job is accepted.
///
/// # Errors
/// The first thing that would make `create` fail.
pub async fn check(host: &Arc<Host>, plan: &CreatePlan) -> Result<()> {
    Exclude::new(&plan.exclude)?;
    if let Some(name) = &plan.name {
        host.catalogue.require_free(&plan.namespace, name)?;
    }
    quota::admit(host, &plan.namespace).await?;
    relief::admit(host).await?;
    facts::check_space(&host.config)?;
    Subject::inspect(host, plan).await.map(drop)
}

/// Captures: Creating is in the catalogue before the first byte is read, Active or Failed when this returns.
///
/// # Errors
/// Whatever ended the capture; the same words are the reason of the failed snapshot.
pub async fn create(host: &Arc<Host>, plan: CreatePlan, job: &JobHandle) -> Result<Created> {
    let started = Instant::now();
    info!(snapshot = %plan.id, namespace = %plan.namespace, source = ?plan.source, "Creating a snapshot");
    job.phase("check");
    relief::make_room(host, job).await?;
    let subject = persistently(job, || Subject::inspect(host, &plan)).await?;
    let limit = match plan.labels.contains_key(VOLUME_LABEL) {
        // What a container has to commit is not lost because others have made many snapshots.
        true => u64::MAX,
        false => host.config.snapshots_per_namespace,
    };
    host.catalogue.insert(&creating(&plan, &subject), limit)?;
    let made = async {
        let mut first = Some(subject);
        let capturing = persistently(job, || {
            let (known, plan) = (first.take(), &plan);
            async move {
                let subject = match known {
                    Some(subject) => subject,
                    None => Subject::inspect(host, plan).await?,
                };
                capture(host, plan, subject, job).await
            }
        });
        let mut captured = within_reserve(&host.config, job, capturing).await?;
        let limit = quota::stored_bytes_limit(&host.config);
        let record = host.catalogue.activate_within(&captured.manifest, limit)?;
        captured.turn = None;
        captured
            .warnings
            .extend(unmoved(plan.name.as_ref(), &record));
        Ok((captured, record))
    };
    match made.await {
        Ok((captured, record)) => Ok(finish(host, captured, &record, started).await),
        Err(error) => Err(give_up(host, &plan.id, error)),
    }
}

/// What comes after a snapshot has become active.
async fn finish(
    host: &Arc<Host>,
    mut captured: Captured,
    record: &SnapshotRecord,
    started: Instant,
) -> Created {
    let namespace = captured.manifest.namespace.clone();
    if let Some(name) = &captured.manifest.name {
        captured.forgotten = forget(host, &namespace, name).await;
    }
    captured.warnings.extend(quota::warnings(host, &namespace));
    // It may have stored again what others had lost.
    if let Err(error) = host.marks.refresh(&host.catalogue, &host.store) {
        warn!(%error, "Cannot tell whether damaged snapshots are whole again");
    }
    answer(captured, record, started)
}

/// From the subject to a committed manifest.
async fn capture(
    host: &Arc<Host>,
    plan: &CreatePlan,
    mut subject: Subject,
    job: &JobHandle,
) -> Result<Captured> {
    let (store, id) = (host.store.clone(), plan.id);
    let draft = blocking(move || store.begin(id)).await?;
    let (draft, taken) = match &subject.root {
        Root::Trees(trees) => joined::take(host, draft, trees, job).await?,
        _ => {
            let exclude = Exclude::new(&plan.exclude)?;
            let (draft, base) = bases::ensure(host, draft, &subject, &plan.exclude, job).await?;
            let parts = Parts::open(host, &subject, base, exclude).await?;
            take(host, plan, draft, parts, job).await?
        }
    };

    subject.require_rest(host, &plan.namespace).await?;
    let warnings = taken.tree.warnings.iter().chain(&taken.warnings);
    subject.warnings.extend(warnings.cloned());
    let mut manifest = manifest(plan, &subject, &taken);
    let draft = look_back(host, plan, draft, &manifest, job).await?;
    let mut turn = None;
    if let Some(name) = &plan.name {
        let key = (plan.namespace.clone(), name.name().to_owned());
        turn = Some(host.turns.wait(&key).await);
        manifest.version = host.catalogue.next_version(&plan.namespace, name)?;
    }
    // The layer of a stage is gone after its capture.
    let is_for_once =
        matches!(&plan.source, CreateSource::Layer(layer) if layer.container.is_none());
    let parts = taken.parts.filter(|_| !is_for_once);
    let built = parts.as_ref().map_or_else(Vec::new, Parts::built);
    let (manifest, stats) = commit::commit(host, draft, manifest, parts, job).await?;
    host.last_trees.note(built);
    Ok(Captured {
        manifest,
        stats,
        warnings: subject.warnings,
        forgotten: Vec::new(),
        turn,
    })
}

/// The passes, with the pause before the second when there is one, and the builds after them.
async fn take(
    host: &Arc<Host>,
    plan: &CreatePlan,
    draft: Draft,
    parts: Parts,
    job: &JobHandle,
) -> Result<(Draft, Taken)> {
    let (draft, still) = match plan.source.stands_still() {
        None => {
            let (draft, parts, scans) = parts.read(draft, job).await?;
            (draft, Still::not_at_all(parts, scans))
        }
        Some(container) => {
            let (draft, parts) = parts.warm(draft, job).await?;
            let still = still::capture(host, plan, container, parts, job).await?;
            (draft, still)
        }
    };
    let Still {
        parts,
        scans,
        pause_us,
        images,
        warnings,
    } = still;
    if plan.stop {
        subject::wait_for_the_end(host, plan).await?;
    }
    let (draft, memory) = images.put(draft, job).await?;
    let (draft, parts, tree) = parts.build(draft, scans, job).await?;
    let taken = Taken {
        parts: Some(parts),
        tree,
        pause_us,
        memory,
        warnings,
    };
    Ok((draft, taken))
}

/// Reads everything back before it is made durable, when asked to.
async fn look_back(
    host: &Arc<Host>,
    plan: &CreatePlan,
    draft: Draft,
    manifest: &Manifest,
    job: &JobHandle,
) -> Result<Draft> {
    facts::check_space(&host.config)?;
    if !plan.verify {
        return Ok(draft);
    }
    quota::require_room(host, &plan.namespace, draft.stats().stored_bytes)?;
    let (store, manifest, job) = (host.store.clone(), manifest.clone(), job.clone());
    blocking(move || -> Result<Draft> {
        job.phase("verify");
        draft.publish_chunks()?;
        facts::verify(&store, &manifest, &job)?;
        Ok(draft)
    })
    .await
}

/// The row that says that the snapshot is being made.
fn creating(plan: &CreatePlan, subject: &Subject) -> SnapshotRecord {
    let image = subject.config.as_ref().map(|config| config.image.clone());
    SnapshotRecord {
        labels: plan.labels.clone(),
        is_container: subject.config.is_some(),
        image: image.filter(|image| !image.is_empty()),
        expires_at: plan.expires_at,
        unused_seconds: plan.unused_seconds,
        ..SnapshotRecord::creating(
            plan.id,
            plan.namespace.clone(),
            subject.source.clone(),
            clock::now(),
        )
    }
}

fn manifest(plan: &CreatePlan, subject: &Subject, taken: &Taken) -> Manifest {
    let origin = subject.config.as_ref().map_or_else(
        // That of a container begins with its id, that of the host with a slash.
        || Origin::Path(subject.source.clone()),
        |config| Origin::Container(Box::new(config.clone())),
    );
    Manifest {
        id: plan.id,
        namespace: plan.namespace.clone(),
        created_at: clock::now(),
        name: plan.name.clone(),
        version: None,
        expires_at: plan.expires_at,
        labels: plan.labels.clone(),
        root: taken.tree.root,
        root_meta: taken.tree.root_meta.clone(),
        links: taken.tree.links.clone(),
        logical_bytes: taken.tree.logical_bytes,
        stored_bytes: 0,
        pause_us: taken.pause_us,
        memory: taken.memory.clone(),
        origin,
        host: facts::host(),
    }
}

fn answer(captured: Captured, record: &SnapshotRecord, started: Instant) -> Created {
    let Captured {
        manifest,
        stats,
        warnings,
        forgotten,
        turn: _,
    } = captured;
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    info!(
        snapshot = %manifest.id, pause_us = manifest.pause_us, elapsed_us, read_bytes = stats.read_bytes,
        new_bytes = stats.new_bytes, stored_bytes = stats.stored_bytes, "Created a snapshot"
    );
    Created {
        snapshot: views::snapshot(record),
        pause_us: manifest.pause_us,
        elapsed_us,
        read_bytes: stats.read_bytes,
        new_bytes: stats.new_bytes,
        stored_bytes: stats.stored_bytes,
        new_chunks: stats.new_chunks,
        deduplicated_chunks: stats.deduplicated_chunks,
        forgotten,
        warnings,
    }
}

/// Applies the policy of the name, if it has one.
async fn forget(host: &Arc<Host>, namespace: &Namespace, name: &SnapshotName) -> Vec<String> {
    let gone = retention::apply_to(host, namespace, name).await;
    let versions = gone.iter().map(|number| name.version(*number).to_string());
    versions.collect()
}

/// Says so when somebody made the name immutable while the snapshot was made.
fn unmoved(name: Option<&SnapshotName>, record: &SnapshotRecord) -> Option<String> {
    let name = name?;
    let is_given = record.names.contains(name);
    (!is_given).then(|| format!("{name} became immutable meanwhile and stays where it was"))
}

/// Creating → Failed. The manifest goes first: were it to stay, a rebuilt catalogue would call the snapshot whole.
fn give_up(host: &Host, id: &SnapshotId, error: crate::Error) -> crate::Error {
    let undone = host
        .store
        .remove_manifest(id)
        .and_then(|()| host.catalogue.fail(id, &in_full(&error)));
    if let Err(second) = undone {
        let second: &dyn std::error::Error = &second;
        warn!(snapshot = %id, error = second, "Cannot note that the snapshot has failed, the next start will");
    }
    error
}

/// A refusal of the request as it stands.
fn usage(reason: &str, message: String) -> crate::Error {
    ErrorReport::new(ErrorCode::Usage, reason, message).into()
}
