//! `history` and `rollback`: the versions of a name, where `latest` went, and the way back.

use std::time::SystemTime;

use clap::Args;
use snap_api::{
    HistoryRequest, MoveEnd, MoveView, MovesRequest, RollbackRequest, RolledBack, VersionView,
};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, facts, table},
    session::{Session, VERSIONS, answer},
    verbs::snapshots,
    words::{moment, relative, short_id, size, wire_word},
};

/// Lists the versions of a name, the newest first.
///
/// Every `create --name NAME` makes the next version: 1, 2, 3 and so on. NAME:2 is version 2 wherever a verb takes a REF. A
/// number is given once: what was removed or has expired is not shown, and its number is not given again. The current
/// version is the one that NAME:latest points to.
///
/// With --moves it shows where NAME:latest went instead, the last hundred times, also to what is gone.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl history web
  snapctl history web --moves
  snapctl history web -o json | jq '.[] | select(.current).version'

With --quiet it prints the ids of the snapshots; with --output json an array of versions, or of moves.")]
pub(crate) struct HistoryArgs {
    /// The name, without a tag
    #[arg(value_name = "NAME")]
    name: String,
    /// Where NAME:latest went, when and why
    #[arg(long)]
    moves: bool,
}

/// Moves NAME:latest back to an older version.
///
/// Without a VERSION it goes to the next older one that is active. Nothing is copied and nothing else changes: what was
/// restored or mounted goes on as it is. The versions above stay, and the next `create --name NAME` makes one above all of them.
/// With --undo it goes back to where NAME:latest was before the last rollback.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl rollback web
  snapctl rollback web 3
  snapctl rollback web --undo

With --quiet it prints the id of the snapshot that NAME:latest points to now.")]
pub(crate) struct RollbackArgs {
    /// The name, without a tag
    #[arg(value_name = "NAME")]
    name: String,
    /// The version to go to [default: the next older one that is active]
    #[arg(value_name = "VERSION", conflicts_with = "undo")]
    version: Option<u64>,
    /// Go back to where NAME:latest was before the last rollback
    #[arg(long)]
    undo: bool,
}

/// Runs `history`.
pub(crate) async fn history(session: &Session, args: HistoryArgs) -> Result<(), Failure> {
    session.require(VERSIONS)?;
    match args.moves {
        true => moves(session, args.name).await,
        false => versions(session, args.name).await,
    }
}

/// Runs `rollback`.
pub(crate) async fn rollback(session: &Session, args: RollbackArgs) -> Result<(), Failure> {
    session.require(VERSIONS)?;
    let request = RollbackRequest {
        namespace: session.namespace.clone(),
        name: args.name.clone(),
        version: args.version,
        undo: args.undo,
    };
    let done = answer(session.client.rollback(session.soon(), request).await)?;
    session.screen.show(&done, &[&done.to.snapshot], || {
        render_rollback(&done, &args)
    })
}

async fn versions(session: &Session, name: String) -> Result<(), Failure> {
    let versions: Vec<VersionView> = session
        .collect(async |cursor| {
            let request = HistoryRequest {
                namespace: session.namespace.clone(),
                name: name.clone(),
                cursor,
                limit: 0,
            };
            answer(session.client.history(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => versions
            .iter()
            .try_for_each(|one| screen.line(&one.snapshot.id)),
        Form::Table => screen.text(&render_versions(&versions, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            versions.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

async fn moves(session: &Session, name: String) -> Result<(), Failure> {
    let request = MovesRequest {
        namespace: session.namespace.clone(),
        name,
    };
    let moves = answer(session.client.moves(session.soon(), request).await)?.moves;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => {
            let ends = moves.iter().filter_map(|one| one.to.as_ref());
            let mut ids = ends.map(|end| &end.snapshot);
            ids.try_for_each(|id| screen.line(id))
        }
        Form::Table => screen.text(&render_moves(&moves, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            moves.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

fn render_versions(versions: &[VersionView], now: SystemTime) -> String {
    let head = [
        "VERSION", "ID", "STATE", "TAGS", "CREATED", "EXPIRES", "SIZE",
    ];
    let row = |one: &VersionView| {
        let version = match one.current {
            true => format!("{} (current)", one.version),
            false => one.version.to_string(),
        };
        let tags = match one.tags.is_empty() {
            true => "-".to_owned(),
            false => one.tags.join(", "),
        };
        vec![
            version,
            short_id(&one.snapshot.id).to_owned(),
            snapshots::state(&one.snapshot),
            tags,
            relative(&one.snapshot.created_at, now),
            snapshots::expires_in(&one.snapshot, now),
            size(one.snapshot.logical_bytes),
        ]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    table(&head, &rows, &[6])
}

fn render_moves(moves: &[MoveView], now: SystemTime) -> String {
    let end = |end: &Option<MoveEnd>| end.as_ref().map_or_else(|| "nothing".to_owned(), in_words);
    let row = |one: &MoveView| {
        vec![
            moment(&one.moved_at, now),
            wire_word(one.cause),
            end(&one.from),
            end(&one.to),
        ]
    };
    let rows: Vec<_> = moves.iter().map(row).collect();
    table(&["WHEN", "BY", "FROM", "TO"], &rows, &[])
}

/// `version 3 (0123456789ab)`, or the snapshot alone when it is no version of the name.
fn in_words(end: &MoveEnd) -> String {
    let id = short_id(&end.snapshot);
    match end.version {
        Some(version) => format!("version {version} ({id})"),
        None => format!("snapshot {id}"),
    }
}

fn render_rollback(done: &RolledBack, args: &RollbackArgs) -> String {
    let to = in_words(&done.to);
    if !done.moved {
        return facts(&[("Name", done.name.clone()), ("Already at", to)]);
    }
    let from = done
        .from
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), in_words);
    let mut lines = vec![("Name", done.name.clone()), ("From", from), ("To", to)];
    let back = match (args.undo, &done.from) {
        (false, Some(_)) => Some(format!("snapctl rollback {} --undo", args.name)),
        (
            true,
            Some(MoveEnd {
                version: Some(version),
                ..
            }),
        ) => Some(format!("snapctl rollback {} {version}", args.name)),
        _ => None,
    };
    lines.extend(back.map(|back| ("Undo with", back)));
    facts(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(version: Option<u64>) -> MoveEnd {
        MoveEnd {
            snapshot: "0123456789abcdef0123456789abcdef".to_owned(),
            version,
        }
    }

    fn rolled_back(from: Option<MoveEnd>, undo: bool) -> String {
        let done = RolledBack {
            name: "web:latest".to_owned(),
            moved: from != Some(end(Some(2))),
            from,
            to: end(Some(2)),
        };
        let args = RollbackArgs {
            name: "web".to_owned(),
            version: None,
            undo,
        };
        render_rollback(&done, &args)
    }

    #[test]
    fn a_rollback_says_what_it_did_and_how_to_undo_it() {
        assert_eq!(
            rolled_back(Some(end(Some(3))), false),
            "\
Name       web:latest
From       version 3 (0123456789ab)
To         version 2 (0123456789ab)
Undo with  snapctl rollback web --undo
"
        );
        let undone = rolled_back(Some(end(Some(1))), true);
        assert!(undone.ends_with("Undo with  snapctl rollback web 1\n"));
        let from_nothing = rolled_back(None, false);
        assert!(from_nothing.contains("From  nothing\n") && !from_nothing.contains("Undo"));
        assert!(rolled_back(Some(end(Some(2))), false).contains("Already at  version 2"));
    }

    #[test]
    fn moves_are_told_with_what_is_no_version() {
        let moves = [MoveView {
            moved_at: "2019-12-31T22:00:00Z".to_owned(),
            cause: snap_api::MoveCause::Removal,
            from: Some(end(None)),
            to: None,
        }];
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        assert_eq!(
            render_moves(&moves, now),
            "\
WHEN                           BY       FROM                   TO
2019-12-31T22:00:00Z (2h ago)  removal  snapshot 0123456789ab  nothing
"
        );
    }
}
