//! The recipe of building a template.
//!
//! ```text
//! base ─► step ─► step ─► … ─► probe ─► a version of the template's name
//!   └ each result is a snapshot of its own, found again by the key of everything it was made of
//! ```
//!
//! Every step runs in a container of its own making (`stage`), which nobody but the build sees and which is undone at its end; a daemon
//! that is killed leaves it to the next start, as it does with a restore.

mod image;
mod key;
mod output;
mod probe;
mod recipe;
mod registry;
mod stage;
#[cfg(test)]
mod tests;
mod users;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use snap_api::{Built, BuiltStep, Created, MemoryWish, Template};
use snap_store::{
    Error as StoreError, Namespace, Progress, STEP_LABEL, SnapshotId, SnapshotName, SnapshotRecord,
    TEMPLATE_LABEL,
};
use tracing::{info, warn};

pub use self::recipe::plan;
pub(crate) use self::registry::{clear_failed, remove, view};
use self::{
    output::Output,
    recipe::{Ground, Recipe, Work},
    stage::Stage,
};
use crate::{
    blocking, clock,
    create::{self, CreatePlan, CreateSource},
    error::{Result, in_full},
    host::Host,
    jobs::JobHandle,
    removal, views,
};

/// A build request after parsing.
#[derive(Clone, Debug)]
pub struct BuildPlan {
    /// Namespace.
    pub namespace: Namespace,
    /// The template's name, with the tag `latest`.
    pub name: SnapshotName,
    /// How it is made; checked.
    pub template: Template,
    /// What steps that clone are given, by step.
    pub sources: BTreeMap<usize, Source>,
    /// Why it is built, when nobody asked for it as such.
    pub reason: Option<String>,
    /// Run every step.
    pub no_cache: bool,
    /// How long the result of a step is kept without a use, in seconds.
    pub step_seconds: u64,
}

/// What a step that clones is given.
#[derive(Clone, Debug)]
pub struct Source {
    /// The commit.
    pub commit: String,
    /// The clone, on the host.
    pub folder: Option<PathBuf>,
}

/// Builds, unless the last build was of the same and can be used. One build of a template at a time: another one finds what this
/// one has done.
///
/// # Errors
/// Whatever ended the first step that failed; the template is then what it was before.
pub async fn build(host: &Arc<Host>, plan: BuildPlan, job: &JobHandle) -> Result<Built> {
    let started = Instant::now();
    job.phase("wait for another build");
    let key = (plan.namespace.clone(), plan.name.name().to_owned());
    let _turn = host.builds.wait(&key).await;
    job.phase("plan");
    let recipe = Recipe::read(host, &plan, job).await?;
    if !plan.no_cache
        && let Some((record, warnings)) = registry::unchanged(host, &plan, &recipe).await?
    {
        info!(namespace = %plan.namespace, template = plan.name.name(), "A template has not changed");
        return Ok(answer(
            host,
            &plan,
            &record,
            (Vec::new(), warnings),
            started,
        ));
    }
    let reason = plan.reason.as_deref().unwrap_or("it was asked for");
    info!(namespace = %plan.namespace, template = plan.name.name(), reason, "Building a template");
    let (ground, steps) = run_steps(host, &plan, &recipe, job).await?;
    registry::keep_versions(host, &plan).await?;
    let made = publish(host, &plan, &recipe, &ground, job).await?;
    let forgotten = registry::register(host, &plan, &recipe, &made).await?;
    registry::thin_out(host, &plan, &recipe).await;
    let id: SnapshotId = made.snapshot.id.parse()?;
    let catalogue = Arc::clone(&host.catalogue);
    let record = blocking(move || catalogue.get(&id)).await?;
    let mut built = answer(host, &plan, &record, (steps, made.warnings), started);
    built.unchanged = false;
    built.forgotten = made.forgotten.into_iter().chain(forgotten).collect();
    Ok(built)
}

/// Runs what earlier builds have not left; returns what the last step came to, and what became of each.
async fn run_steps(
    host: &Arc<Host>,
    plan: &BuildPlan,
    recipe: &Recipe,
    job: &JobHandle,
) -> Result<(SnapshotRecord, Vec<BuiltStep>)> {
    let done = recipe.cached(plan.no_cache);
    let mut report: Vec<_> = recipe.works.iter().map(|work| report(work, done)).collect();
    for step in report.iter().take_while(|step| step.cached) {
        job.print(format!("Cached: {}\n", step.step).as_bytes());
    }
    let mut ground = match recipe.deepest(plan.no_cache) {
        Some(found) => found.clone(),
        None => begin(host, plan, recipe, job).await?,
    };
    let rest = recipe.works.get(done..).unwrap_or_default();
    if rest.is_empty() {
        return Ok((ground, report));
    }
    let stage = Stage::over(host, plan, &ground).await?;
    let mut output = stage.output(job);
    for (work, told) in rest.iter().zip(&mut report[done..]) {
        let begun = Instant::now();
        job.print(
            format!(
                "Step {} of {}: {}\n",
                work.index + 1,
                recipe.works.len(),
                told.step
            )
            .as_bytes(),
        );
        let made = run_step(&stage, plan, work, &mut output, job).await;
        match made {
            Ok(made) => ground = made,
            Err(error) => {
                stage.end().await;
                return Err(stage::in_step(work, recipe.works.len(), error));
            }
        }
        told.elapsed_us = micros(begun);
    }
    stage.end().await;
    Ok((ground, report))
}

fn report(work: &Work, done: usize) -> BuiltStep {
    BuiltStep {
        step: work.step.shown(),
        cached: work.index < done,
        elapsed_us: 0,
    }
}

/// The base as a snapshot.
async fn begin(
    host: &Arc<Host>,
    plan: &BuildPlan,
    recipe: &Recipe,
    job: &JobHandle,
) -> Result<SnapshotRecord> {
    let image = match &recipe.ground {
        Ground::Snapshot(record) => return Ok((**record).clone()),
        Ground::Image(image, _) => image,
    };
    job.print(format!("Base: {}\n", image.name).as_bytes());
    let stage = Stage::of_image(host, plan, image).await?;
    let made = capture_step(&stage, plan, &recipe.base_key, job).await;
    stage.end().await;
    made
}

async fn run_step(
    stage: &Stage,
    plan: &BuildPlan,
    work: &Work,
    output: &mut Output,
    job: &JobHandle,
) -> Result<SnapshotRecord> {
    job.phase(&format!("step {}", work.index + 1));
    stage.perform(plan, work, output, job).await?;
    capture_step(stage, plan, &work.key, job).await
}

/// The stage as it stands becomes the result of the step with this key.
async fn capture_step(
    stage: &Stage,
    plan: &BuildPlan,
    key: &str,
    job: &JobHandle,
) -> Result<SnapshotRecord> {
    let (host, mut capture) = (stage.host(), capture_plan(plan, stage));
    capture.labels = BTreeMap::from([
        (STEP_LABEL.to_owned(), key.to_owned()),
        (TEMPLATE_LABEL.to_owned(), plan.name.name().to_owned()),
    ]);
    capture.unused_seconds = Some(plan.step_seconds);
    let id = capture.id;
    stage.dress_for_capture(None).await?;
    let made = create::create(host, capture, job).await;
    stage.undress().await?;
    if let Err(error) = made {
        // Nobody has any use for a step that is not whole.
        drop(removal::remove(host, &[id]).await);
        return Err(error);
    }
    let catalogue = Arc::clone(&host.catalogue);
    blocking(move || catalogue.get(&id)).await
}

fn capture_plan(plan: &BuildPlan, stage: &Stage) -> CreatePlan {
    CreatePlan {
        id: SnapshotId::random(),
        namespace: plan.namespace.clone(),
        source: CreateSource::AtRest(stage.id().to_owned()),
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
    }
}

/// What the steps came to becomes the next version of the template's name, once the probe has passed.
async fn publish(
    host: &Arc<Host>,
    plan: &BuildPlan,
    recipe: &Recipe,
    ground: &SnapshotRecord,
    job: &JobHandle,
) -> Result<Created> {
    if !plan.template.memory && plan.template.probe.is_some() {
        let stage = Stage::over(host, plan, ground).await?;
        let passed = probe::pass(&stage, plan, recipe, job).await;
        stage.end().await;
        passed?;
    }
    let stage = Stage::over(host, plan, ground).await?;
    let made = publish_from(&stage, plan, recipe, job).await;
    stage.end().await;
    made
}

async fn publish_from(
    stage: &Stage,
    plan: &BuildPlan,
    recipe: &Recipe,
    job: &JobHandle,
) -> Result<Created> {
    let template = &plan.template;
    let mut capture = capture_plan(plan, stage);
    capture.name = Some(recipe.name.clone());
    capture.labels.clone_from(&template.labels);
    let own = (TEMPLATE_LABEL.to_owned(), plan.name.name().to_owned());
    capture.labels.extend([own]);
    capture.exclude.clone_from(&template.exclude);
    let ttl = template.ttl_seconds;
    capture.expires_at = ttl.map(|seconds| clock::now().saturating_add_unsigned(seconds));
    if template.memory {
        probe::pass_and_stay(stage, plan, recipe, job).await?;
        capture.source = CreateSource::Container(stage.id().to_owned());
        capture.memory = MemoryWish::Required;
    } else {
        let process = probe::command_of(stage, plan, recipe).await?;
        stage.dress_for_capture(Some(process)).await?;
    }
    job.phase("publish");
    let id = capture.id;
    let made = create::create(stage.host(), capture, job).await;
    if made.is_err()
        && let Err(error) = removal::remove(stage.host(), &[id]).await
    {
        warn!(snapshot = %id, error = in_full(&error), "Cannot remove what was half published");
    }
    made
}

fn answer(
    host: &Host,
    plan: &BuildPlan,
    record: &SnapshotRecord,
    (steps, warnings): (Vec<BuiltStep>, Vec<String>),
    started: Instant,
) -> Built {
    Built {
        template: plan.name.name().to_owned(),
        snapshot: views::snapshot_of(host, record),
        unchanged: true,
        steps,
        reason: plan.reason.clone(),
        elapsed_us: micros(started),
        forgotten: Vec::new(),
        warnings,
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// True when a snapshot can be built upon and started from; otherwise why not.
fn usable(host: &Host, record: &SnapshotRecord) -> Result<(), String> {
    if record.state != snap_store::SnapshotState::Active {
        return Err(format!("it is {}", record.state.as_str()));
    }
    if record.has_expired(clock::now()) {
        return Err("it has expired".to_owned());
    }
    match host.marks.of(&record.id) {
        Some(_) => Err("it is damaged".to_owned()),
        None => Ok(()),
    }
}

/// The error of a job that was cancelled.
fn cancelled() -> crate::Error {
    StoreError::Cancelled.into()
}
