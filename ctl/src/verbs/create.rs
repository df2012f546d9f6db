//! `create`: a container, a folder of it, or a folder of the host becomes a snapshot.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use snap_api::{CreateRequest, CreateSource, ErrorCode, Forecast, MemoryWish, Ttl, WirePath};

use crate::{
    failure::Failure,
    follow,
    screen::facts,
    session::{FOLDERS, FORECAST, HOOKS, MEMORY, RETENTION, Session, answer},
    values::{self, ContainerSource, Label},
    verbs::{check, outcome},
    words::{clean, count, micros, size},
};

/// Makes a snapshot of a running container or of a folder.
///
/// A container is paused for as long as its metadata is walked, not for as long as its data is read, and is never left
/// paused. The snapshot holds its root file system as it was at one instant of that pause. A container that does not run
/// is a conflict. The content of bind mounts is left out unless --include-mount names it; tmpfs and other mounts are
/// left out always.
///
/// CONTAINER:/PATH captures one folder of it, as the container sees it and in a pause for that folder alone: a snapshot of a folder, to be
/// mounted and copied from, not restored. Links in PATH count from the container's root. What is mounted in the container is left out
/// as with a whole container: a folder in a bind mount needs --include-mount with that mount, a folder in any other mount is a conflict.
///
/// With --memory its processes are captured as well, in the same pause, and `snapctl restore` has them go on from there. The pause
/// then grows with their memory. When CRIU cannot capture them, the snapshot is of files alone and says why; with
/// --memory=required there is none. Memory holds whatever secrets the processes had: only root may restore such a snapshot.
///
/// With --hook a program of the container prepares for it: it runs in the container as its first process does, before anything stands
/// still, and again afterwards, whatever came of it. It has 30 seconds each time. When it fails before, nothing stands still and there is
/// no snapshot; when it fails afterwards there is a warning. For root alone.
///
/// A folder is captured as it lies, without pausing anything: files that change meanwhile may be caught at different times.
///
/// With --dry-run nothing stands still and nothing is written: it says whether a snapshot could be made, as `snapctl check` does, and
/// estimates its size and the pause, each with what the estimate rests on. With --memory=required the exit code is 7 then when
/// memory cannot be captured.
///
/// The command waits for the end. Ctrl-C cancels, a second one leaves at once. With --detach it prints the job and leaves.
#[derive(Debug, Args)]
#[command(override_usage = "snapctl create [OPTIONS] <CONTAINER[:/PATH] | --path <DIR>>")]
#[command(after_long_help = "Examples:
  snapctl create web --name web:v1 --ttl 30d --label branch=main
  snapctl create notebook --memory=required --name notebook:warm
  snapctl create --path /srv/data --name data --exclude '*.tmp' --ttl never
  snapctl create web --name web --ttl-unused 7d
  snapctl create web:/var/lib/data --name web-data
  snapctl create notebook --memory --dry-run
  id=$(snapctl create -q web)

With --quiet it prints the snapshot's id alone (with --detach, the job's).")]
pub(crate) struct CreateArgs {
    /// Id of a running container, with :/PATH for one folder of it
    #[arg(value_name = "CONTAINER[:/PATH]", required_unless_present = "path", conflicts_with = "path",
          value_parser = OsStringValueParser::new().try_map(values::container))]
    container: Option<ContainerSource>,
    /// A folder of this host
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// A name for the snapshot: it is the next version of NAME, and NAME:latest is moved to it in any case
    #[arg(long, short = 't', value_name = "NAME[:TAG]")]
    name: Option<String>,
    /// How long to keep it, as in 14d or 2h30m; `never` or 0 keeps it until it is removed [default: the daemon's, 14d]
    #[arg(long, value_name = "DURATION", value_parser = values::ttl)]
    ttl: Option<Ttl>,
    /// How long to keep it without a use, as in 7d: a use is a restore or a mount, for as long as it lasts; no --ttl means `never` then
    #[arg(long, value_name = "DURATION", value_parser = values::seconds)]
    ttl_unused: Option<u64>,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Leave out what matches, by gitignore's rules: NAME at every depth, /PATH from the root; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Capture the content of the bind mount at this path of the container as well; may be repeated
    #[arg(long = "include-mount", value_name = "DEST", conflicts_with = "path")]
    include_mounts: Vec<String>,
    /// End the container's task while it is paused, and leave it stopped
    #[arg(long, conflicts_with = "path")]
    stop: bool,
    /// Capture the memory of its processes as well, of the same instant; `required` makes no snapshot without it
    #[arg(long, value_name = "required", num_args = 0..=1, require_equals = true, default_missing_value = "wanted",
          value_parser = values::memory, conflicts_with = "path")]
    memory: Option<MemoryWish>,
    /// A program of the container that is run as `PATH checkpoint` before the capture and as `PATH resume` after it
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    hook: Option<String>,
    /// Read everything back and compare digests before the snapshot becomes active
    #[arg(long)]
    verify: bool,
    /// Change nothing, and say what a create would come to
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// Runs `create`.
pub(crate) async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let waiting = args.detach.into();
    if args.memory.is_some() {
        session.require(MEMORY)?;
    }
    if args.ttl_unused.is_some() {
        session.require(RETENTION)?;
    }
    if args.hook.is_some() {
        session.require(HOOKS)?;
    }
    if args
        .container
        .as_ref()
        .is_some_and(|it| it.folder.is_some())
    {
        session.require(FOLDERS)?;
    }
    let is_dry = args.dry_run;
    let request = args.into_request(session.namespace.clone())?;
    if is_dry {
        return forecast(session, request).await;
    }
    let start = session.client.create_start(session.soon(), request);
    let followed = follow::run(session, waiting, start).await?;
    outcome::show_followed(&session.screen, &followed)
}

async fn forecast(session: &Session, request: CreateRequest) -> Result<(), Failure> {
    session.require(FORECAST)?;
    let is_required = request.memory == MemoryWish::Required;
    let asked = session.client.create_forecast(session.soon(), request);
    let forecast = answer(asked.await)?;
    let warnings = forecast.warnings.iter();
    warnings.for_each(|text| session.screen.warning(&clean(text)));
    session.screen.show(&forecast, &[], || render(&forecast))?;
    let is_blocked = forecast.verdict.is_some_and(|it| !it.blockers.is_empty());
    match is_required && is_blocked {
        true => Err(Failure::Found(ErrorCode::Unavailable)),
        false => Ok(()),
    }
}

fn render(forecast: &Forecast) -> String {
    let mut text = match &forecast.verdict {
        Some(verdict) => check::render(verdict),
        None => facts(&[("Folder", clean(&forecast.source))]),
    };
    let more = if forecast.partial { " or more" } else { "" };
    let nodes = count(forecast.nodes, "node");
    let mut lines = vec![(
        "Files",
        format!("{} in {nodes}{more}", size(forecast.files_bytes)),
    )];
    if let Some(bytes) = forecast.images_bytes {
        lines.push(("Images", format!("about {}", size(bytes))));
    }
    if forecast.pause_us > 0 {
        lines.push(("Pause", format!("about {}", micros(forecast.pause_us))));
    }
    text.push_str(&facts(&lines));
    forecast.rests_on.iter().for_each(|line| {
        text.push_str(&format!("  estimated by  {}\n", clean(line)));
    });
    text.push_str("Nothing was changed\n");
    text
}

impl CreateArgs {
    fn into_request(self, namespace: String) -> Result<CreateRequest, Failure> {
        let source = match (self.container, self.path) {
            (Some(ContainerSource { id, folder: None }), _) => CreateSource::Container(id),
            (Some(_), _) if self.stop || self.memory.is_some() => {
                return Err(Failure::usage(
                    "folder-options",
                    "With a folder of a container neither its memory is captured nor its task stopped",
                ));
            }
            (Some(ContainerSource { id, folder }), _) => CreateSource::Folder {
                container: id,
                path: folder.unwrap_or_else(|| WirePath::new("/")),
            },
            (None, Some(path)) => CreateSource::Path(values::folder(&path)),
            (None, None) => {
                return Err(Failure::usage(
                    "no-source",
                    "Neither a container nor a folder is named",
                ));
            }
        };
        Ok(CreateRequest {
            namespace,
            source,
            name: self.name,
            ttl: self.ttl.unwrap_or_default(),
            unused_seconds: self.ttl_unused,
            labels: values::label_map(self.labels),
            exclude: self.exclude,
            include_mounts: self.include_mounts,
            stop: self.stop,
            memory: self.memory.unwrap_or_default(),
            hook: self.hook,
            verify: self.verify,
            idempotency_key: None,
        })
    }
}
