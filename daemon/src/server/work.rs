//! Long work: each call checks what can be checked at once and starts a job for the rest.

use std::{collections::BTreeMap, sync::Arc};

use snap_api::{
    CreateRequest, CreateSource as WireSource, Forecast, JobOutcome, JobStarted, MemoryWish,
    NetworkChoice, RepairRequest, RestoreRequest, StatsRequest, Ttl, Verdict, VerifyRequest,
};
use snap_fs::verify::Depth;
use snap_store::{MemoryMark, Namespace, SnapshotId, TEMPLATE_LABEL};

use super::{browse::active, parse, peer::Peer, trash, volumes};
use crate::{
    blocking, clock,
    create::{self, CreatePlan, CreateSource},
    error::Result,
    host::Host,
    jobs::{JobKind, JobRequest},
    memory,
    repair::{self, Extent},
    restore::{self, MemoryChoice, RestorePlan},
    usage, verify,
};

/// Warnings an outcome carries; the rest is counted.
const MAX_WARNINGS: usize = 100;

pub(super) async fn create(
    host: &Arc<Host>,
    peer: Peer,
    request: CreateRequest,
) -> Result<JobStarted> {
    let key = key(
        peer,
        JobKind::Create,
        &request.namespace,
        request.idempotency_key.clone(),
    )?;
    let plan = create_plan(host, peer, request)?;
    if let Some(started) = host.jobs.by_key(key.as_deref()) {
        return Ok(started);
    }
    create::check(host, &plan).await?;
    let request = JobRequest {
        kind: JobKind::Create,
        namespace: plan.namespace.clone(),
        subject: plan.source.subject(),
        snapshot: Some(plan.id),
        key,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(request, move |job| async move {
        let mut created = create::create(&job_host, plan, &job).await?;
        bound(&mut created.warnings);
        Ok(JobOutcome::Created(Box::new(created)))
    })
}

/// Looks at what `create` would look at first, and at what stands in the way of memory; changes nothing.
pub(super) async fn check(
    host: &Arc<Host>,
    namespace: Namespace,
    container: String,
) -> Result<Verdict> {
    let plan = CreatePlan {
        id: SnapshotId::random(),
        namespace,
        source: CreateSource::Container(container.clone()),
        name: None,
        expires_at: None,
        unused_seconds: None,
        labels: BTreeMap::new(),
        exclude: Vec::new(),
        include_mounts: Vec::new(),
        stop: false,
        memory: MemoryWish::None,
        hook: None,
        verify: false,
    };
    create::check(host, &plan).await?;
    memory::verdict(host, &plan.namespace, &container).await
}

/// What `create` would come to; changes nothing.
pub(super) async fn forecast(
    host: &Arc<Host>,
    peer: Peer,
    request: CreateRequest,
) -> Result<Forecast> {
    let plan = create_plan(host, peer, request)?;
    create::check(host, &plan).await?;
    let mut forecast = create::forecast(host, &plan).await?;
    bound(&mut forecast.warnings);
    Ok(forecast)
}

pub(super) fn create_plan(host: &Host, peer: Peer, request: CreateRequest) -> Result<CreatePlan> {
    parse::labels(&request.labels)?;
    let source = match request.source {
        WireSource::Container(id) => CreateSource::Container(parse::container_id(&id)?),
        WireSource::Path(path) => {
            peer.require_root("capture folders of the host")?;
            CreateSource::Path(parse::host_path(&path)?)
        }
        WireSource::Folder { container, path } => CreateSource::Folder {
            container: parse::container_id(&container)?,
            path: parse::container_path(&path)?,
        },
    };
    let unused_seconds = request.unused_seconds.map(Ttl::Seconds);
    let unused_seconds = unused_seconds.map(parse::unused).transpose()?.flatten();
    let ttl = match (request.ttl, unused_seconds) {
        (Ttl::Default, Some(_)) => Ttl::Never,
        (ttl, _) => ttl,
    };
    Ok(CreatePlan {
        id: SnapshotId::random(),
        namespace: parse::namespace(&request.namespace)?,
        source,
        name: parse::new_name(request.name.as_deref())?,
        expires_at: parse::expiry(ttl, host.config.default_ttl, clock::now())?,
        unused_seconds,
        labels: request.labels,
        exclude: parse::patterns(request.exclude)?,
        include_mounts: parse::destinations(request.include_mounts)?,
        stop: request.stop,
        memory: request.memory,
        hook: hook(peer, request.hook)?,
        verify: request.verify,
    })
}

/// A program that is run in a container on somebody's word.
fn hook(peer: Peer, path: Option<String>) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    peer.require_root_for_hook()?;
    parse::hook(path).map(Some)
}

pub(super) async fn restore(
    host: &Arc<Host>,
    peer: Peer,
    request: RestoreRequest,
) -> Result<JobStarted> {
    let key = key(
        peer,
        JobKind::Restore,
        &request.namespace,
        request.idempotency_key.clone(),
    )?;
    if let Some(started) = host.jobs.by_key(key.as_deref()) {
        return Ok(started);
    }
    let plan = restore_plan(host, peer, request).await?;
    restore::check(host, &plan).await?;
    let request = JobRequest {
        kind: JobKind::Restore,
        namespace: plan.namespace.clone(),
        subject: plan.snapshot.id.to_string(),
        snapshot: None,
        key,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(request, move |job| async move {
        let mut restored = restore::restore(&job_host, plan, &job).await?;
        bound(&mut restored.warnings);
        Ok(JobOutcome::Restored(restored))
    })
}

async fn restore_plan(
    host: &Arc<Host>,
    peer: Peer,
    request: RestoreRequest,
) -> Result<RestorePlan> {
    let network = parse::network(request.network)?;
    if network != NetworkChoice::None {
        peer.require_root("restore into a network of the host")?;
    }
    let keep_mounts = parse::destinations(request.keep_mounts)?;
    if !keep_mounts.is_empty() {
        peer.require_root("give folders of the host to a restored container")?;
    }
    let drop_mounts = parse::destinations(request.drop_mounts)?;
    let (namespace, reference) = (&request.namespace, &request.reference);
    let snapshot = match request.from_trash {
        true => trash::resolve(host, namespace, reference).await?,
        false => active(host, namespace, reference).await?,
    };
    // Whoever runs what was in memory, or reads it, has its secrets.
    let holds_memory = matches!(snapshot.memory, Some(MemoryMark::Captured { .. }));
    let command = parse::command(request.command)?;
    // Another command has no memory to go on from.
    let no_memory = request.no_memory || !command.is_empty();
    if holds_memory && !no_memory {
        peer.require_root_for_memory()?;
    }
    let id = match request.id {
        Some(id) => id,
        None => {
            let random = SnapshotId::random().to_string();
            let template = snapshot.labels.get(TEMPLATE_LABEL);
            let source = template.unwrap_or(&snapshot.source);
            parse::made_up_id(source, &random[..8], request.count)
        }
    };
    Ok(RestorePlan {
        namespace: snapshot.namespace.clone(),
        ids: parse::container_ids(&id, request.count)?,
        snapshot,
        force: request.force || request.from_trash,
        no_start: request.no_start,
        command,
        memory: match (no_memory, request.fallback) {
            (true, _) => MemoryChoice::Never,
            (false, true) => MemoryChoice::OrFiles,
            (false, false) => MemoryChoice::Always,
        },
        keeps_connections: request.tcp_established,
        hook: hook(peer, request.hook)?,
        network,
        keep_mounts,
        drop_mounts,
        attach: volumes::attaching(host, namespace, request.attach).await?,
    })
}

pub(super) async fn verify(host: &Arc<Host>, request: VerifyRequest) -> Result<JobStarted> {
    let namespace = parse::namespace(&request.namespace)?;
    let one = match &request.reference {
        Some(reference) => Some(active(host, &request.namespace, reference).await?.id),
        None => None,
    };
    let job_request = JobRequest {
        kind: JobKind::Verify,
        namespace,
        subject: one.map_or_else(|| "all".to_owned(), |id| id.to_string()),
        snapshot: None,
        key: None,
    };
    let depth = match request.quick {
        true => Depth::Structure,
        false => Depth::Bytes,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(job_request, move |job| async move {
        let verified = blocking(move || verify::verify(&job_host, one, depth, &job)).await?;
        Ok(JobOutcome::Verified(verified))
    })
}

/// Adds up what snapshots need: those that are named, or all that are active.
pub(super) async fn stats(host: &Arc<Host>, request: StatsRequest) -> Result<JobStarted> {
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let mut named = Vec::new();
    if !request.references.is_empty() {
        parse::references(&request.references)?;
        let of = request.namespace.as_deref().ok_or_else(|| {
            let message = "Snapshots are named in one namespace";
            parse::usage("invalid-references", message)
        })?;
        for reference in &request.references {
            named.push(active(host, of, reference).await?);
        }
        named.sort_unstable_by_key(|one| one.id);
        named.dedup_by_key(|one| one.id);
    }
    let job_request = JobRequest {
        kind: JobKind::Stats,
        namespace: namespace
            .clone()
            .map_or_else(|| parse::namespace("default"), Ok)?,
        subject: match named.is_empty() {
            true => "all".to_owned(),
            false => request.references.join(" "),
        },
        snapshot: None,
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(job_request, move |job| async move {
        let stats = blocking(move || {
            let records = match named.is_empty() {
                true => usage::active(&job_host, namespace.as_ref())?,
                false => named,
            };
            usage::stats(&job_host, records, (request.by, request.quick), &job)
        });
        Ok(JobOutcome::Counted(Box::new(stats.await?)))
    })
}

/// Mends what is everybody's: that is the operator's to decide.
pub(super) fn repair(host: &Arc<Host>, peer: Peer, request: &RepairRequest) -> Result<JobStarted> {
    peer.require_root("repair the store")?;
    let (extent, subject) = match request.dry_run {
        true => (Extent::DryRun, "all, dry run"),
        false => (Extent::Full, "all"),
    };
    let job_request = JobRequest {
        kind: JobKind::Repair,
        namespace: parse::namespace("default")?,
        subject: subject.to_owned(),
        snapshot: None,
        key: None,
    };
    let job_host = Arc::clone(host);
    host.jobs.start(job_request, move |job| async move {
        let repaired = repair::repair(&job_host, extent, &job).await?;
        Ok(JobOutcome::Repaired(Box::new(repaired)))
    })
}

/// A client's key is its own: another user's, or the same one for other work, is another job.
fn key(peer: Peer, kind: JobKind, namespace: &str, key: Option<String>) -> Result<Option<String>> {
    let key = parse::idempotency_key(key)?;
    Ok(key.map(|key| format!("{}/{}/{namespace}/{key}", peer.uid, kind.as_str())))
}

pub(super) fn bound(warnings: &mut Vec<String>) {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(format!("… and {more} more"));
    }
}
