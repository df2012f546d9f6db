//! `container`, `start` and `stop`: restored containers after their restore.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use snap_api::{ContainerRequest, ContainerView, ListRequest};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, table},
    session::{Session, answer},
    words::{relative, short_id},
};

/// Lists, starts, stops and removes restored containers.
///
/// A restored container is a normal one: `ctr`, `nerdctl` and `crictl` can be used on it as well. These verbs know
/// what it stands on: `start` mounts the snapshot again when it must, `remove` releases what the container held.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl container list
  snapctl container remove web-copy")]
pub(crate) struct ContainerArgs {
    #[command(subcommand)]
    verb: ContainerVerb,
}

#[derive(Debug, Subcommand)]
enum ContainerVerb {
    #[command(visible_alias = "ls")]
    List(ContainerListArgs),
    Start(StartArgs),
    Stop(StopArgs),
    #[command(visible_alias = "rm")]
    Remove(ContainerRemoveArgs),
}

/// Lists the containers that were restored.
///
/// SNAPSHOT is a dash for a fresh container that was made because its snapshot had expired.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl container list -A

With --quiet it prints ids alone.")]
struct ContainerListArgs {
    /// The containers of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Starts the tasks of restored containers again.
///
/// For containers whose task has ended, or that were restored with --no-start. Their writable layer is as it was. One whose
/// task runs is a conflict.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl start web-copy
  snapctl container start web-copy db-copy")]
pub(crate) struct StartArgs {
    /// The containers
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Stops the tasks of restored containers.
///
/// The first process gets TERM, and everything in the container KILL when it has not ended ten seconds later. The container
/// and its writable layer stay.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl stop web-copy
  snapctl container stop web-copy db-copy")]
pub(crate) struct StopArgs {
    /// The containers
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Removes restored containers.
///
/// A running one is stopped first. Its writable layer is gone afterwards; the snapshot it came from stays.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl container remove web-copy")]
struct ContainerRemoveArgs {
    /// The containers
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// What is done to a container.
#[derive(Clone, Copy, Debug)]
enum Act {
    Start,
    Stop,
    Remove,
}

/// Whether a table shows the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// All rows are of the same.
    OneNamespace,
    /// They are of several.
    AllNamespaces,
}

/// Runs `container`.
pub(crate) async fn container(session: &Session, args: ContainerArgs) -> Result<(), Failure> {
    match args.verb {
        ContainerVerb::List(args) => list(session, args).await,
        ContainerVerb::Start(args) => start(session, args).await,
        ContainerVerb::Stop(args) => stop(session, args).await,
        ContainerVerb::Remove(args) => act(session, Act::Remove, args.ids).await,
    }
}

/// Runs `start`.
pub(crate) async fn start(session: &Session, args: StartArgs) -> Result<(), Failure> {
    act(session, Act::Start, args.ids).await
}

/// Runs `stop`.
pub(crate) async fn stop(session: &Session, args: StopArgs) -> Result<(), Failure> {
    act(session, Act::Stop, args.ids).await
}

async fn list(session: &Session, args: ContainerListArgs) -> Result<(), Failure> {
    let containers = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                limit: 0,
                ..ListRequest::default()
            };
            answer(session.client.container_list(session.soon(), request).await)
        })
        .await?;
    let columns = if args.all_namespaces {
        Columns::AllNamespaces
    } else {
        Columns::OneNamespace
    };
    show(session, &containers, columns)
}

/// Does the same to each, in order; the first that fails ends it, and those before it are shown.
async fn act(session: &Session, act: Act, ids: Vec<String>) -> Result<(), Failure> {
    let mut done = Vec::with_capacity(ids.len());
    let mut failed = None;
    for id in ids {
        let request = ContainerRequest {
            namespace: session.namespace.clone(),
            id,
        };
        let (client, soon) = (&session.client, session.soon());
        let called = match act {
            Act::Start => client.container_start(soon, request).await,
            Act::Stop => client.container_stop(soon, request).await,
            Act::Remove => client.container_remove(soon, request).await,
        };
        match answer(called) {
            Ok(view) => done.push(view),
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    if failed.is_none() || !done.is_empty() {
        show(session, &done, Columns::OneNamespace)?;
    }
    failed.map_or(Ok(()), Err)
}

fn show(session: &Session, containers: &[ContainerView], columns: Columns) -> Result<(), Failure> {
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => containers.iter().try_for_each(|one| screen.line(&one.id)),
        Form::Table => screen.text(&render(containers, columns, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            containers.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

/// The table of containers.
pub(crate) fn render(containers: &[ContainerView], columns: Columns, now: SystemTime) -> String {
    let is_wide = columns == Columns::AllNamespaces;
    let mut head = vec!["ID", "SNAPSHOT", "STATUS", "PID", "CREATED"];
    if is_wide {
        head.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = containers
        .iter()
        .map(|one| {
            let mut row = row(one, now);
            if is_wide {
                row.insert(0, one.namespace.clone());
            }
            row
        })
        .collect();
    table(&head, &rows, &[])
}

fn row(container: &ContainerView, now: SystemTime) -> Vec<String> {
    let dash = || "-".to_owned();
    let snapshot = container.snapshot.as_deref().map(short_id);
    vec![
        container.id.clone(),
        snapshot.map_or_else(dash, str::to_owned),
        container.status.clone(),
        container.pid.map_or_else(dash, |pid| pid.to_string()),
        relative(&container.created_at, now),
    ]
}
