//! Whether a new version is of use: a command of the template says so, in a container made from it.

use std::time::{Duration, Instant};

use serde_json::Value;
use snap_api::{BuildNetwork, Probe};
use snap_store::Progress;

use super::{BuildPlan, output::Output, recipe::Recipe, stage::Stage};
use crate::{error::Result, jobs::JobHandle};

/// Between two attempts.
const PACE: Duration = Duration::from_millis(250);

/// The process of the containers made from the template.
pub(super) async fn command_of(stage: &Stage, plan: &BuildPlan, recipe: &Recipe) -> Result<Value> {
    let words = plan.template.command.as_ref().map(snap_api::Command::words);
    stage.process(plan, words, user(plan, recipe)).await
}

/// Returns when the probe has passed; what it ran in may be undone.
///
/// # Errors
/// `probe-failed`, with the last lines that were printed.
pub(super) async fn pass(
    stage: &Stage,
    plan: &BuildPlan,
    recipe: &Recipe,
    job: &JobHandle,
) -> Result<()> {
    let Some(probe) = &plan.template.probe else {
        return Ok(());
    };
    if plan.template.command.is_some() {
        return pass_and_stay(stage, plan, recipe, job).await;
    }
    let mut output = begin(stage, probe, job);
    let process = stage
        .process(plan, Some(probe.run.words()), user(plan, recipe))
        .await?;
    let limit = Duration::from_secs(probe.timeout_seconds);
    match stage
        .run((process, BuildNetwork::None), &mut output, limit, job)
        .await?
    {
        0 => Ok(()),
        status => {
            let message = format!("The probe ended with exit status {status}: {}", kept(plan));
            Err(output.failure("probe-failed", message))
        }
    }
}

/// The same, beside the template's command, which runs on.
pub(super) async fn pass_and_stay(
    stage: &Stage,
    plan: &BuildPlan,
    recipe: &Recipe,
    job: &JobHandle,
) -> Result<()> {
    let Some(probe) = &plan.template.probe else {
        return Ok(());
    };
    let mut output = begin(stage, probe, job);
    let command = command_of(stage, plan, recipe).await?;
    let mut process = command.clone();
    process["args"] = serde_json::json!(probe.run.words());
    stage.dress_for_capture(Some(command)).await?;
    stage.start().await?;
    let until = Instant::now() + Duration::from_secs(probe.timeout_seconds);
    let mut last = None;
    for attempt in 0_u64.. {
        if let Some(status) = stage.ended().await? {
            output.pass_on()?;
            let message = format!(
                "The command ended with exit status {status} before the probe had passed: {}",
                kept(plan)
            );
            return Err(output.failure("probe-failed", message));
        }
        let status = stage
            .beside(&format!("probe-{attempt}"), &process, until, job)
            .await;
        output.pass_on()?;
        match status {
            Ok(Some(0)) => return Ok(()),
            Ok(status) => last = status.or(last),
            // The command may have ended in this very moment, which the next look tells.
            Err(error) if stage.ended().await?.is_none() => return Err(error),
            Err(_) => continue,
        }
        if Instant::now() > until {
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    let last = last.map_or_else(
        || "it had not ended".to_owned(),
        |status| format!("it last ended with exit status {status}"),
    );
    let seconds = probe.timeout_seconds;
    let message = format!(
        "The probe has not passed within {seconds} seconds, {last}: {}",
        kept(plan)
    );
    Err(output.failure("probe-failed", message))
}

fn begin(stage: &Stage, probe: &Probe, job: &JobHandle) -> Output {
    job.phase("probe");
    job.print(format!("Probe: {}\n", probe.run.shown()).as_bytes());
    stage.output(job)
}

fn user<'a>(plan: &'a BuildPlan, recipe: &'a Recipe) -> Option<&'a str> {
    plan.template.user.as_deref().or(recipe.base_user())
}

fn kept(plan: &BuildPlan) -> String {
    format!("{} stays as it was", plan.name)
}
