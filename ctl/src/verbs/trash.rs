//! `trash` and `undelete`: what was removed, and back.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use snap_api::{
    ListRequest, TrashEmptied, TrashEmptyRequest, TrashView, UndeleteRequest, UndeletedView,
};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, table},
    session::{Session, TRASH, answer},
    verbs::snapshots,
    words::{count, relative, short_id, size, wire_word},
};

/// Shows what was removed and can be taken back, and removes it for good.
///
/// What is removed, forgotten or has expired is in the trash for as long as the daemon's `trash_grace` says. `snapctl undelete` takes it back,
/// and `snapctl restore --from-trash` restores it where it is.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl trash list
  snapctl trash empty")]
pub(crate) struct TrashArgs {
    #[command(subcommand)]
    verb: TrashVerb,
}

#[derive(Debug, Subcommand)]
enum TrashVerb {
    #[command(visible_alias = "ls")]
    List(TrashListArgs),
    Empty(TrashEmptyArgs),
}

/// Lists what is in the trash, what goes next first.
///
/// WHY is `remove`, `forget` or `expire`. GOES is when it goes for good: with the daemon's first look for expired snapshots after that, unless a
/// container that was restored from it uses it then. After the host's clock was set that time begins anew.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl trash list
  snapctl trash list -A -o json | jq -r '.[].snapshot.id'

With --quiet it prints ids alone; with --output json an array.")]
struct TrashListArgs {
    /// The trash of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Removes what is in the trash for good.
///
/// With REFs these alone, all of them or none; without, everything in the trash of the namespace that no container uses. There is no way back.
/// The next collection gives back the space, `snapctl collect --grace 0s` at once.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl trash empty web:7
  snapctl trash empty && snapctl collect --grace 0s

With --quiet it prints the ids of what is gone.")]
struct TrashEmptyArgs {
    /// What goes, as it was called [default: everything]
    #[arg(value_name = "REF")]
    references: Vec<String>,
}

/// Takes snapshots back from the trash.
///
/// All of them or none. A REF is an id, the beginning of one, or a name or a version that the snapshot had. It comes back with its version, its labels and
/// its names; a name that another snapshot has by now stays there, and so does NAME:latest when it was moved since. When its time to live
/// is over it has the daemon's default from now on; a time without use is counted anew.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl undelete web:7
  snapctl undelete 3f2a 91bc04

With --quiet it prints the ids.")]
pub(crate) struct UndeleteArgs {
    /// The snapshots, as they were called
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
}

/// Runs `trash`.
pub(crate) async fn trash(session: &Session, args: TrashArgs) -> Result<(), Failure> {
    session.require(TRASH)?;
    match args.verb {
        TrashVerb::List(args) => list(session, args).await,
        TrashVerb::Empty(args) => empty(session, args).await,
    }
}

/// Runs `undelete`.
pub(crate) async fn undelete(session: &Session, args: UndeleteArgs) -> Result<(), Failure> {
    session.require(TRASH)?;
    let request = UndeleteRequest {
        namespace: session.namespace.clone(),
        references: args.references,
    };
    let back = answer(session.client.undelete(session.soon(), request).await)?;
    let screen = &session.screen;
    for one in back.snapshots.iter().filter(|one| !one.lost.is_empty()) {
        let names = one.lost.join(", ");
        screen.warning(&format!(
            "snapshot {} does not have these names any more: {names}",
            short_id(&one.snapshot.id)
        ));
    }
    let ids: Vec<&str> = back.snapshots.iter().map(|one| &*one.snapshot.id).collect();
    screen.show(&back, &ids, || {
        let now = SystemTime::now();
        let lines = back.snapshots.iter().map(|one| undeleted(one, now));
        lines.collect()
    })
}

async fn list(session: &Session, args: TrashListArgs) -> Result<(), Failure> {
    let found: Vec<TrashView> = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                ..ListRequest::default()
            };
            answer(session.client.trash_list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => found
            .iter()
            .try_for_each(|one| screen.line(&one.snapshot.id)),
        Form::Table => screen.text(&render(&found, args.all_namespaces, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            found.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

async fn empty(session: &Session, args: TrashEmptyArgs) -> Result<(), Failure> {
    let request = TrashEmptyRequest {
        namespace: session.namespace.clone(),
        references: args.references,
    };
    let done = answer(session.client.trash_empty(session.at_last(), request).await)?;
    let ids: Vec<&str> = done.ids.iter().map(String::as_str).collect();
    session.screen.show(&done, &ids, || emptied(&done))
}

fn emptied(done: &TrashEmptied) -> String {
    let mut text = format!(
        "{} gone for good, {} had added {}\n",
        count(done.ids.len() as u64, "snapshot"),
        if done.ids.len() == 1 {
            "which"
        } else {
            "which together"
        },
        size(done.stored_bytes)
    );
    for id in &done.in_use {
        text.push_str(&format!(
            "Snapshot {id} stays: a restored container uses it\n"
        ));
    }
    text
}

fn undeleted(one: &UndeletedView, now: SystemTime) -> String {
    let snapshot = &one.snapshot;
    let name = snapshot.versions.first().or(snapshot.names.first());
    let name = name.map_or_else(String::new, |name| format!(" ({name})"));
    let renewed = if one.ttl_renewed { ", anew" } else { "" };
    format!(
        "Took back {}{name}; expires {}{renewed}\n",
        snapshot.id,
        snapshots::expires_in(snapshot, now)
    )
}

fn render(found: &[TrashView], all_namespaces: bool, now: SystemTime) -> String {
    let mut head = vec!["ID", "NAME", "SOURCE", "WHY", "REMOVED", "GOES", "STORED"];
    if all_namespaces {
        head.insert(0, "NAMESPACE");
    }
    let right = [head.len() - 1];
    let row = |one: &TrashView| {
        let snapshot = &one.snapshot;
        let mut row = vec![
            short_id(&snapshot.id).to_owned(),
            name(one),
            snapshot.source.clone(),
            wire_word(one.cause),
            relative(&one.trashed_at, now),
            goes(one, now),
            size(snapshot.stored_bytes),
        ];
        if all_namespaces {
            row.insert(0, snapshot.namespace.clone());
        }
        row
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    table(&head, &rows, &right)
}

/// The version it was, or else its names.
fn name(one: &TrashView) -> String {
    let snapshot = &one.snapshot;
    match (snapshot.versions.is_empty(), snapshot.names.is_empty()) {
        (false, _) => snapshot.versions.join(", "),
        (true, false) => snapshot.names.join(", "),
        (true, true) => "-".to_owned(),
    }
}

/// When it goes, from now.
fn goes(one: &TrashView, now: SystemTime) -> String {
    let when = relative(&one.goes_at, now);
    match (one.snapshot.in_use, when.ends_with(" ago")) {
        (true, _) => "in use".to_owned(),
        (false, true) => "with the next look".to_owned(),
        (false, false) => when,
    }
}
