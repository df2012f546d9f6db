//! `auto`: snapshots that the daemon makes by itself.

use std::{path::PathBuf, time::SystemTime};

use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
use snap_api::{AutoRequest, AutoSetRequest, AutoView, CreateSource, ListRequest, TriggerView};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, facts, table},
    session::{FOLDERS, Session, TRASH, answer},
    values::{self, ContainerSource},
    words::{clean, moment, relative, short_id},
};

/// Has snapshots made by themselves, at the times of a calendar and when containers end.
///
/// Each is made as `snapctl create --name NAME` makes it, so it is the next version of NAME; `snapctl policy set NAME` says which are kept. Times are UTC.
///
/// Which containers are captured when they end is said by their label snapshotd.io/auto-on, and by policy files of the daemon: `snapctl auto triggers`
/// shows it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl auto set nightly --container web --schedule '03:00'
  snapctl auto list")]
pub(crate) struct AutoArgs {
    #[command(subcommand)]
    verb: AutoVerb,
}

#[derive(Debug, Subcommand)]
enum AutoVerb {
    Set(AutoSetArgs),
    #[command(visible_alias = "ls")]
    List(AutoListArgs),
    #[command(visible_alias = "rm")]
    Remove(AutoRemoveArgs),
    Triggers(AutoTriggersArgs),
}

/// Stores what is captured under a name by itself, in place of what was stored for it.
///
/// The schedule is a calendar expression as systemd has it (`man systemd.time`): `hourly`, `daily`, `Mon..Fri 06:00`, `*-*-01 00:00`, `*:0/15`. The container need not be
/// there yet. When an attempt fails, because the container does not run for example, it is tried again after a minute, then after two and so on, five times. What was
/// missed while the daemon was down is made up for once.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl auto set web --container web --schedule hourly
  snapctl auto set notes --path /srv/notes --schedule 'Mon..Fri 18:00'
  snapctl auto set web --container web --schedule '*:0/15' --memory && snapctl policy set web --keep-last 8 --keep-daily 7")]
struct AutoSetArgs {
    /// The name, without a tag
    #[arg(value_name = "NAME")]
    name: String,
    /// The container that is captured
    #[arg(long, value_name = "CONTAINER", required_unless_present = "path",
          value_parser = OsStringValueParser::new().try_map(values::container))]
    container: Option<ContainerSource>,
    /// The folder that is captured; for root alone
    #[arg(long, value_name = "DIR", conflicts_with = "container")]
    path: Option<PathBuf>,
    /// When, in UTC
    #[arg(long, value_name = "CALENDAR")]
    schedule: String,
    /// Capture memory as well, where it can be had
    #[arg(long, conflicts_with = "path")]
    memory: bool,
}

/// Lists what is captured by itself, when next, and what came of the last.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl auto list
  snapctl auto list -A -o json | jq '.[] | select(.failures > 0)'

With --quiet it prints the names; with --output json an array.")]
struct AutoListArgs {
    /// Those of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Lists the containers that are captured when they end, upon which ends, and what came of the last.
///
/// Ends are `exit` (by itself), `stop` (by a signal) and `oom` (killed for its limit of memory). They are wished for with labels of the container, snapshotd.io/auto-on=exit,oom
/// with snapshotd.io/auto-name and snapshotd.io/auto-ttl when wanted, or by a file in the daemon's folder `auto_policies`. A container that ends again and again is
/// captured ever more rarely: NEXT says when, and how many ends wait for it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  ctr run -d --label snapshotd.io/auto-on=exit,oom --label snapshotd.io/auto-name=web-last IMAGE web
  snapctl auto triggers
  snapctl auto triggers -A -o json | jq '.[] | select(.problem)'

With --quiet it prints the containers; with --output json an array.")]
struct AutoTriggersArgs {
    /// Those of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Has no more of a name made; what was made stays.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl auto remove web")]
struct AutoRemoveArgs {
    /// The name, without a tag
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs `auto`.
pub(crate) async fn auto(session: &Session, args: AutoArgs) -> Result<(), Failure> {
    session.require(TRASH)?;
    match args.verb {
        AutoVerb::Set(args) => set(session, args).await,
        AutoVerb::List(args) => list(session, args).await,
        AutoVerb::Remove(args) => remove(session, args).await,
        AutoVerb::Triggers(args) => triggers(session, args).await,
    }
}

async fn set(session: &Session, args: AutoSetArgs) -> Result<(), Failure> {
    let source = match (args.container, args.path) {
        (Some(ContainerSource { id, folder: None }), _) => CreateSource::Container(id),
        // The daemon refuses it and says what can be done.
        (Some(ContainerSource { id, folder }), _) => {
            session.require(FOLDERS)?;
            let path = folder.unwrap_or_default();
            CreateSource::Folder {
                container: id,
                path,
            }
        }
        (None, path) => CreateSource::Path(values::folder(&path.unwrap_or_default())),
    };
    let request = AutoSetRequest {
        namespace: session.namespace.clone(),
        name: args.name,
        source,
        schedule: args.schedule,
        memory: args.memory,
    };
    let stored = answer(session.client.auto_set(session.soon(), request).await)?;
    session.screen.show(&stored, &[&stored.name], || {
        let now = SystemTime::now();
        facts(&[
            ("Name", stored.name.clone()),
            ("Namespace", stored.namespace.clone()),
            ("Captures", source_of(&stored)),
            ("When", stored.schedule.clone()),
            (
                "Next",
                stored
                    .next_at
                    .as_ref()
                    .map_or_else(|| "never".to_owned(), |at| moment(at, now)),
            ),
        ])
    })
}

async fn remove(session: &Session, args: AutoRemoveArgs) -> Result<(), Failure> {
    let request = AutoRequest {
        namespace: session.namespace.clone(),
        name: args.name,
    };
    let removed = answer(session.client.auto_remove(session.soon(), request).await)?;
    session.screen.show(&removed, &[&removed.name], || {
        format!(
            "No more snapshots of {} are made by themselves\n",
            removed.name
        )
    })
}

async fn list(session: &Session, args: AutoListArgs) -> Result<(), Failure> {
    let found: Vec<AutoView> = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                ..ListRequest::default()
            };
            answer(session.client.auto_list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => found.iter().try_for_each(|one| screen.line(&one.name)),
        Form::Table => screen.text(&render(&found, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            found.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

async fn triggers(session: &Session, args: AutoTriggersArgs) -> Result<(), Failure> {
    session.require(FOLDERS)?;
    let found: Vec<TriggerView> = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                ..ListRequest::default()
            };
            answer(session.client.auto_triggers(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => found.iter().try_for_each(|one| screen.line(&one.container)),
        Form::Table => screen.text(&render_triggers(&found, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            found.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

fn render_triggers(found: &[TriggerView], now: SystemTime) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |one: &TriggerView| {
        let ended = one.cause.as_ref().zip(one.ended_at.as_ref());
        let next = one.due_at.as_ref().map(|at| match one.held_back {
            0 => relative(at, now),
            ends => format!("{} ({ends} held back)", relative(at, now)),
        });
        let result = match (&one.problem, &one.last_snapshot, &one.failure) {
            (Some(why), _, _) => format!("not understood: {}", clean(why)),
            (_, Some(id), _) => short_id(id).to_owned(),
            (_, None, Some(why)) => format!("failed {}x: {}", one.failures, clean(why)),
            (_, None, None) => "-".to_owned(),
        };
        vec![
            one.namespace.clone(),
            one.container.clone(),
            or_dash(Some(one.on.join(",")).filter(|on| !on.is_empty())),
            or_dash(one.name.clone()),
            or_dash(one.from.clone()),
            or_dash(ended.map(|(cause, at)| format!("{cause} {}", relative(at, now)))),
            or_dash(next),
            result,
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let head = [
        "NAMESPACE",
        "CONTAINER",
        "ON",
        "NAME",
        "FROM",
        "LAST END",
        "NEXT",
        "RESULT",
    ];
    table(&head, &rows, &[])
}

fn render(found: &[AutoView], now: SystemTime) -> String {
    let row = |one: &AutoView| {
        let time = |time: &Option<String>, none: &str| {
            let time = time.as_ref();
            time.map_or_else(|| none.to_owned(), |time| relative(time, now))
        };
        vec![
            one.namespace.clone(),
            one.name.clone(),
            source_of(one),
            one.schedule.clone(),
            time(&one.next_at, "never"),
            time(&one.last_at, "-"),
            result(one),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let head = [
        "NAMESPACE",
        "NAME",
        "CAPTURES",
        "WHEN",
        "NEXT",
        "LAST",
        "RESULT",
    ];
    table(&head, &rows, &[])
}

fn source_of(one: &AutoView) -> String {
    let memory = if one.memory { ", with memory" } else { "" };
    match &one.source {
        CreateSource::Container(id) => format!("container {id}{memory}"),
        CreateSource::Path(path) => format!("folder {path}"),
        CreateSource::Folder { container, path } => {
            format!("folder {path} of container {container}")
        }
    }
}

fn result(one: &AutoView) -> String {
    match (&one.last_snapshot, &one.failure) {
        (Some(id), _) => short_id(id).to_owned(),
        (None, Some(why)) => format!("failed {}x: {}", one.failures, clean(why)),
        (None, None) => "-".to_owned(),
    }
}
