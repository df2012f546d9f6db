//! `run`: a template becomes a container.

use std::path::PathBuf;

use clap::{Args, value_parser};
use serde::Serialize;
use snap_api::{
    AttachRequest, Built, ErrorCode, JobOutcome, NetworkChoice, RestoreRequest, Restored,
    TemplateView,
};

use crate::{
    failure::Failure,
    follow::{self, Followed, Waiting},
    screen::Form,
    session::{Session, TEMPLATES, VOLUMES},
    values,
    verbs::{outcome, template},
};

/// Starts a container from a template.
///
/// The container is restored from the snapshot that NAME:latest points to, in an instant and whatever its size. When there is none, or
/// when it has expired or is damaged, the template is built again from its base, the answer and the daemon's log say so, and the container
/// is started from that. With --file a template that is not registered is built from its file first.
///
/// What stands behind `--` is run instead of the template's command; memory that was captured with it is not used then.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl run shop
  snapctl run shop --id shop-1 -- npm test
  snapctl run shop --file shop.toml --count 8
  snapctl run shop --volume cache:/var/cache

With --quiet it prints the ids of the new containers, one a line.")]
pub(crate) struct RunArgs {
    /// The template
    #[arg(value_name = "TEMPLATE")]
    name: String,
    /// Id of the new container; with --count above one, ID-1, ID-2 and so on [default: made up]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many containers to make
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    count: u32,
    /// `none` (loopback alone), `host`, or the path of a network namespace
    #[arg(long, value_name = "none|host|PATH", default_value = "none", value_parser = values::network)]
    network: NetworkChoice,
    /// Mount the newest version of a volume in each new container; `:ro` behind the path keeps it from being written to; may be repeated
    #[arg(long = "volume", value_name = "NAME:/PATH[:ro]", value_parser = values::volume_at)]
    volumes: Vec<AttachRequest>,
    /// Mount a snapshot, or a folder of it, in each new container; may be repeated
    #[arg(long = "mount", value_name = "REF[:/FOLDER]:/PATH[:ro]", value_parser = values::snapshot_at)]
    mounts: Vec<AttachRequest>,
    /// Restore the files alone of a template with memory
    #[arg(long)]
    no_memory: bool,
    /// The file to build the template from when it is not registered
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fail when there is no usable snapshot instead of building one
    #[arg(long, conflicts_with = "file")]
    no_build: bool,
    /// What to run, behind `--`
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

/// What came of it: the containers, and what was built for them.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Ran {
    /// The containers.
    #[serde(flatten)]
    restored: Restored,
    /// True when there was no usable snapshot, and one was built.
    fallback: bool,
    /// Why, and what was built then.
    #[serde(skip_serializing_if = "Option::is_none")]
    built: Option<Built>,
}

/// Runs `run`.
pub(crate) async fn run(session: &Session, args: RunArgs) -> Result<(), Failure> {
    session.require(TEMPLATES)?;
    let attach: Vec<_> = args.volumes.iter().chain(&args.mounts).cloned().collect();
    if !attach.is_empty() {
        session.require(VOLUMES)?;
    }
    let built = ensure_built(session, &args).await?;
    let request = RestoreRequest {
        namespace: session.namespace.clone(),
        reference: format!("{}:latest", args.name),
        id: args.id,
        count: args.count,
        force: false,
        no_start: false,
        no_memory: args.no_memory,
        fallback: false,
        tcp_established: false,
        hook: None,
        network: args.network,
        keep_mounts: Vec::new(),
        drop_mounts: Vec::new(),
        from_trash: false,
        command: args.command,
        attach,
        idempotency_key: None,
    };
    let start = session.client.restore_start(session.soon(), request);
    let followed = follow::run(session, Waiting::Wait, start).await?;
    match (followed, session.screen.form()) {
        (Followed::Ended(JobOutcome::Restored(restored)), Form::Json) => {
            let fallback = built.is_some();
            session.screen.json(&Ran {
                restored,
                fallback,
                built,
            })
        }
        (followed, _) => outcome::show_followed(&session.screen, &followed),
    }
}

/// Builds the template when there is nothing to start from; returns what was built then.
async fn ensure_built(session: &Session, args: &RunArgs) -> Result<Option<Built>, Failure> {
    let (template, reason) = match template::registered(session, &args.name).await {
        Ok(TemplateView { unusable: None, .. }) => return Ok(None),
        Ok(TemplateView {
            template,
            unusable: Some(why),
            ..
        }) => (
            template,
            format!("no container can be started from {}: {why}", args.name),
        ),
        Err(Failure::Report(report)) if report.code == ErrorCode::NotFound => match &args.file {
            Some(file) => {
                let mut read = template::read(file)?;
                read.name.clone_from(&args.name);
                (read, format!("template {} is not registered", args.name))
            }
            None => {
                let hint =
                    "build it with `snapctl template build FILE`, or name the FILE with --file";
                return Err(report.hint(hint).into());
            }
        },
        Err(failure) => return Err(failure),
    };
    if args.no_build {
        let report = snap_api::ErrorReport::new(ErrorCode::Conflict, "template-unusable", reason);
        return Err(report.hint("without --no-build it is built again").into());
    }
    session
        .screen
        .warning(&format!("{reason}; it is built from its base"));
    let request = template::request(session, template, false, Some(reason));
    template::make(session, request).await.map(Some)
}
