//! The recipe of restore.
//!
//! A restored container has a fresh upper layer over the snapshot's mount, which all its clones share; nothing is
//! copied and nothing is read but what it touches. When the snapshot has expired and nobody insists, a fresh
//! container is made from the original's image and configuration instead, and the answer says so.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use futures::{FutureExt, StreamExt, stream};
use serde_json::json;
use snap_api::{ErrorCode, ErrorReport, NetworkChoice, Restored};
use snap_store::{
    Attaching, ContainerConfig, ContainerRecord, Error as StoreError, Meta, Namespace, Origin,
    Progress, SnapshotRecord,
};
use tracing::{info, warn};

use crate::{
    attached, blocking, clock,
    containerd::NewContainer,
    containers,
    error::{Result, in_full},
    host::Host,
    jobs::{JobHandle, persistently},
    memory::{
        ServedImages,
        additions::{self, Additions},
        cgroup_version,
    },
    spec::{self, SpecPlan},
    usage,
};

mod checks;
pub(crate) mod folders;
mod processes;

/// Containers made at the same time; more only wait for runc.
const AT_ONCE: usize = 8;
/// Marks a container as one of this daemon's, with the id of the container the snapshot was made of.
pub(crate) const ORIGIN_LABEL: &str = "snapshotd.io/origin";
/// Names the snapshot a container stands on.
pub(crate) const SNAPSHOT_LABEL: &str = "snapshotd.io/snapshot";

/// A restore request after parsing.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// Namespace.
    pub namespace: Namespace,
    /// The snapshot, Active when it was resolved.
    pub snapshot: SnapshotRecord,
    /// Ids of the new containers.
    pub ids: Vec<String>,
    /// Restore although expired.
    pub force: bool,
    /// Leave the tasks unstarted.
    pub no_start: bool,
    /// What becomes of memory the snapshot holds.
    pub memory: MemoryChoice,
    /// Established connections go on rather than being closed.
    pub keeps_connections: bool,
    /// A program that is told in each new container whose processes go on.
    pub hook: Option<String>,
    /// Network of the new containers.
    pub network: NetworkChoice,
    /// Bind mounts to keep, by destination.
    pub keep_mounts: Vec<String>,
    /// Bind mounts to leave out, by destination.
    pub drop_mounts: Vec<String>,
    /// What to run instead of what was captured, unless it is empty.
    pub command: Vec<String>,
    /// What else the new containers have mounted, each with a layer of its own.
    pub attach: Vec<Attaching>,
}

/// What a restore does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryChoice {
    /// It is restored, or nothing is.
    Always,
    /// It is restored, or the files alone.
    OrFiles,
    /// The files alone are restored.
    Never,
}

/// Everything the clones have in common.
#[derive(Debug)]
struct Blueprint {
    plan: RestorePlan,
    /// The captured configuration, with a runtime that can be trusted.
    config: ContainerConfig,
    labels: BTreeMap<String, String>,
    root_meta: Meta,
    base: Base,
    /// Bytes of the images that processes go on from; none when they begin anew.
    memory_bytes: Option<u64>,
    /// Why they do not, although there are images.
    without_memory: Option<String>,
    /// The images, while containers are made.
    images: Option<ServedImages>,
}

/// What a new container's root is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    /// The snapshot, mounted at this folder once it is.
    Snapshot(PathBuf),
    /// The layers the original was made from.
    Image,
}

/// Checks what can be checked without changing anything: ids are free in containerd, bind mounts have a policy,
/// the manifest is readable, containerd answers.
///
/// # Errors
/// The first thing that would make `restore` fail.
pub async fn check(host: &Host, plan: &RestorePlan) -> Result<()> {
    let blueprint = Blueprint::read(host, plan.clone()).await?;
    checks::network(&plan.network)?;
    blueprint.check_attached(host)?;
    let mut seen = HashSet::new();
    for id in &plan.ids {
        let is_taken = host
            .containerd
            .find_container(&plan.namespace, id)
            .await?
            .is_some();
        if is_taken || !seen.insert(id) {
            let message = format!(
                "Container {id} exists already in namespace {}",
                plan.namespace
            );
            return Err(ErrorReport::new(ErrorCode::Conflict, "id-taken", message)
                .hint("Choose another id, or none to have one made up")
                .into());
        }
        let (spec, _) = blueprint.spec(host, id)?;
        let destinations: Vec<_> = plan.attach.iter().map(|one| &*one.destination).collect();
        attached::check(&spec, &destinations)?;
    }
    if blueprint.base == Base::Image {
        blueprint.check_parent(&host.containerd).await?;
    }
    Ok(())
}

/// Restores all or none: when one of the containers cannot be made, those made before it are undone.
///
/// # Errors
/// Whatever ended the first container that could not be made.
pub async fn restore(host: &Arc<Host>, plan: RestorePlan, job: &JobHandle) -> Result<Restored> {
    let started = Instant::now();
    info!(snapshot = %plan.snapshot.id, namespace = %plan.namespace, count = plan.ids.len(), "Restoring a snapshot");
    job.phase("check");
    // Nothing has been made yet.
    persistently(job, || check(host, &plan)).await?;
    let mut blueprint = Blueprint::read(host, plan).await?;
    let mut made = make_or_undo(host, &mut blueprint, job).await;
    if let Err(error) = &made
        && blueprint.falls_back()
        && !job.is_cancelled()
    {
        blueprint.give_up_memory(&in_full(error));
        made = make_or_undo(host, &mut blueprint, job).await;
    }
    let (enrolled, mut warnings) = made?;
    warnings.extend(blueprint.without_memory.take());
    let Blueprint { plan, base, .. } = &blueprint;
    let snapshot = &plan.snapshot.id;
    let (is_of_image, made) = (*base == Base::Image, enrolled.len() as u64);
    let bytes = blueprint.memory_bytes.unwrap_or(0);
    let bytes = bytes.saturating_add(plan.snapshot.logical_bytes);
    let saved_us = usage::saved_us(bytes, made, started.elapsed());
    let (catalogue, noted) = (Arc::clone(&host.catalogue), *snapshot);
    blocking(move || match is_of_image {
        true => catalogue.touch(&noted, clock::now()),
        false => catalogue.note_restore(&noted, made, saved_us, clock::now()),
    })
    .await?;
    let mut containers = Vec::with_capacity(enrolled.len());
    for record in &enrolled {
        containers.push(containers::view(host, record).await?);
    }
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    info!(%snapshot, count = containers.len(), elapsed_us, "Restored a snapshot");
    Ok(Restored {
        containers,
        snapshot: snapshot.to_string(),
        restored_from_snapshot: *base != Base::Image,
        with_memory: blueprint.memory_bytes.is_some(),
        ttl_expired: has_expired(&plan.snapshot),
        elapsed_us,
        warnings,
    })
}

/// Makes every container, or none.
async fn make_or_undo(
    host: &Arc<Host>,
    blueprint: &mut Blueprint,
    job: &JobHandle,
) -> Result<(Vec<ContainerRecord>, Vec<String>)> {
    let mut enrolled = Vec::with_capacity(blueprint.plan.ids.len());
    let made = make_all(host, blueprint, &mut enrolled, job).await;
    let images = blueprint.images.take();
    let result = match made {
        Ok(warnings) => Ok((enrolled, warnings)),
        Err(error) => {
            undo(host, &enrolled).await;
            Err(error)
        }
    };
    // Not before what was half made of them is undone.
    if let Some(images) = images
        && let Err(error) = images.end().await
    {
        let error: &dyn std::error::Error = &error;
        warn!(
            error,
            "Cannot let go of images of memory, the next start will"
        );
    }
    result
}

/// Makes every container; `enrolled` are those to be undone when this fails. They use the snapshot from the moment
/// they are in the catalogue, so neither it nor its mount can go away meanwhile. They are complete all at once, at
/// the end: a daemon that dies before has made none of them.
async fn make_all(
    host: &Arc<Host>,
    blueprint: &mut Blueprint,
    enrolled: &mut Vec<ContainerRecord>,
    job: &JobHandle,
) -> Result<Vec<String>> {
    for id in &blueprint.plan.ids {
        let record = blueprint.record(host, id);
        // Whoever releases what another one of this id has held is done with it first.
        let _turn = attached::turn(host, &record.namespace, id).await;
        let (catalogue, one) = (Arc::clone(&host.catalogue), record.clone());
        blocking(move || catalogue.insert_container(&one)).await?;
        enrolled.push(record.clone());
        let (catalogue, attach) = (Arc::clone(&host.catalogue), blueprint.plan.attach.clone());
        blocking(move || catalogue.attach((&record.namespace, &record.id), &attach)).await?;
    }
    job.phase("mount");
    blueprint.mount(host).await?;
    job.phase("containers");
    let mut making = Vec::with_capacity(enrolled.len());
    for record in &*enrolled {
        making.push(blueprint.make(host, record, job).boxed());
    }
    let made: Vec<Result<_>> = stream::iter(making).buffered(AT_ONCE).collect().await;
    let mut warnings = Vec::new();
    for said in made {
        warnings = said?;
    }
    if job.is_cancelled() {
        return Err(StoreError::Cancelled.into());
    }
    let (catalogue, complete) = (Arc::clone(&host.catalogue), enrolled.clone());
    blocking(move || catalogue.complete_containers(&complete)).await?;
    for record in enrolled {
        record.is_complete = true;
    }
    Ok(warnings)
}

/// Undoes what was made. What cannot be undone now is incomplete in the catalogue, and undone later, or at the next start.
async fn undo(host: &Arc<Host>, enrolled: &[ContainerRecord]) {
    for record in enrolled {
        containers::undo(host, record).await;
    }
}

impl Blueprint {
    async fn read(host: &Host, plan: RestorePlan) -> Result<Self> {
        let (store, id) = (host.store.clone(), plan.snapshot.id);
        let manifest = blocking(move || store.manifest(&id)).await?;
        let Origin::Container(captured) = &manifest.origin else {
            let message = format!("Snapshot {id} holds a folder, not a container");
            return Err(
                ErrorReport::new(ErrorCode::Conflict, "not-a-container", message)
                    .hint("Look at it with `snapctl mount`, or copy it out with `snapctl copy`")
                    .into(),
            );
        };
        let mut labels = spec::labels(captured);
        labels.insert(ORIGIN_LABEL.to_owned(), captured.id.clone());
        let is_fresh = has_expired(&plan.snapshot) && !plan.force;
        let base = if is_fresh {
            Base::Image
        } else {
            labels.insert(SNAPSHOT_LABEL.to_owned(), id.to_string());
            Base::Snapshot(PathBuf::new())
        };
        let images = manifest.memory_images();
        let mut blueprint = Self {
            config: spec::runtime(captured)?,
            root_meta: manifest.root_meta.clone(),
            labels,
            memory_bytes: images.filter(|_| !is_fresh).map(|images| images.bytes),
            without_memory: None,
            images: None,
            base,
            plan,
        };
        blueprint.choose_memory(host, &manifest).await?;
        Ok(blueprint)
    }

    /// Mounts the snapshot, once for all.
    async fn mount(&mut self, host: &Host) -> Result<()> {
        if let Base::Snapshot(folder) = &mut self.base {
            *folder = host.mounts.ensure(host, &self.plan.snapshot.id).await?;
        }
        if let Some(bytes) = self.memory_bytes {
            let images = ServedImages::start(host, &self.plan.snapshot.id, bytes).await?;
            self.images = Some(images);
        }
        Ok(())
    }

    /// The spec of the container `id`, and what was left out of it.
    fn spec(&self, host: &Host, id: &str) -> Result<(serde_json::Value, Vec<String>)> {
        let rootfs = match self.base {
            Base::Snapshot(_) => {
                containers::folder(host, &self.plan.namespace, id).join(folders::ROOTFS)
            }
            // Relative to the bundle, where the runtime mounts the layers.
            Base::Image => PathBuf::from(folders::ROOTFS),
        };
        let (mut spec, warnings) = spec::derive(&SpecPlan {
            captured: &self.config,
            namespace: self.plan.namespace.as_str(),
            id,
            rootfs: &rootfs,
            network: &self.plan.network,
            keep_mounts: &self.plan.keep_mounts,
            drop_mounts: &self.plan.drop_mounts,
        })?;
        if !self.plan.command.is_empty() {
            spec["process"]["args"] = json!(self.plan.command);
        }
        Ok((spec, warnings))
    }

    fn record(&self, host: &Host, id: &str) -> ContainerRecord {
        let namespace = &self.plan.namespace;
        ContainerRecord {
            namespace: namespace.clone(),
            id: id.to_owned(),
            snapshot: (self.base != Base::Image).then_some(self.plan.snapshot.id),
            folder: containers::folder(host, namespace, id),
            is_complete: false,
            created_at: clock::now(),
        }
    }

    /// One container, running unless that was not wanted, and what was left out of its spec.
    async fn make(
        &self,
        host: &Arc<Host>,
        record: &ContainerRecord,
        job: &JobHandle,
    ) -> Result<Vec<String>> {
        if job.is_cancelled() {
            return Err(StoreError::Cancelled.into());
        }
        let warnings = self.assemble(host, record).await?;
        job.advance(1, 0);
        Ok(warnings)
    }

    async fn assemble(&self, host: &Arc<Host>, record: &ContainerRecord) -> Result<Vec<String>> {
        let (namespace, id) = (&record.namespace, record.id.as_str());
        let (folder, meta, base) = (
            record.folder.clone(),
            self.root_meta.clone(),
            self.base.clone(),
        );
        let standing = move || {
            folders::make(&folder, &meta)?;
            match base {
                Base::Snapshot(lower) => folders::ensure_mounted(&folder, &lower),
                Base::Image => Ok(()),
            }
        };
        blocking(standing).await?;
        attached::stand(host, record).await?;
        let (mut spec, mut warnings) = self.spec(host, id)?;
        attached::add(&mut spec, host, &host.catalogue.attached(namespace, id)?)?;
        if self.images.is_some() {
            let program = &host.config.mount_server;
            let additions = Additions {
                folder: &record.folder,
                network: &self.plan.network,
                hostname: &spec::hostname(id),
                program,
                keeps_connections: self.plan.keeps_connections,
                cgroup_version: cgroup_version(),
            };
            additions::add(&mut spec, &additions)?;
        }
        let is_fresh = self.base == Base::Image;
        let new = NewContainer {
            id,
            config: &self.config,
            spec: &spec,
            labels: &self.labels,
            snapshot_key: is_fresh.then_some(id),
        };
        host.containerd.create_container(namespace, &new).await?;
        if is_fresh {
            // After the container that names it, so that containerd's collection never finds it unused.
            let ContainerConfig {
                snapshotter,
                parent,
                ..
            } = &self.config;
            host.containerd
                .prepare_snapshot(namespace, snapshotter, id, parent)
                .await?;
        }
        if self.plan.no_start {
            return Ok(warnings);
        }
        warnings.extend(self.start(host, record).await?);
        Ok(warnings)
    }
}

fn has_expired(snapshot: &SnapshotRecord) -> bool {
    snapshot.has_expired(clock::now())
}
