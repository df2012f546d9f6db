//! `repair`: mending what is damaged.

use clap::Args;
use snap_api::{ErrorCode, RepairRequest, Repaired};

use crate::{
    failure::Failure,
    follow,
    screen::{Screen, facts, table},
    session::Session,
    verbs::outcome::{self, damaged_packs, damaged_places},
    words::{clean, count, short_id, size},
};

/// Mends what is damaged in the store, and names what is lost.
///
/// Reads everything as `verify` does. Damaged packs are written anew without what is damaged in them, and the old ones are
/// moved into the quarantine folder of the store, never removed. Damaged chunks are looked for in other packs, in the
/// containers and layers of this host they came from, and in folders that were captured. The index is made anew from the packs, and
/// the catalogue brought into agreement with the manifests. Undamaged snapshots can be used all the time, mounted ones
/// and restored containers see what was mended at once.
///
/// The exit code is 8 when something is lost: those bytes read as an input/output error, everything else of the snapshots
/// that are hit can be read, and a later `create` that captures the same content again makes them whole.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl repair --dry-run
  snapctl repair -o json | jq '.lost[].path'")]
pub(crate) struct RepairArgs {
    /// Say what would be done and what would be lost, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// Runs `repair`.
pub(crate) async fn repair(session: &Session, args: RepairArgs) -> Result<(), Failure> {
    let request = RepairRequest {
        dry_run: args.dry_run,
    };
    let start = session.client.repair_start(session.soon(), request);
    let followed = follow::run(session, args.detach.into(), start).await?;
    outcome::show_followed(&session.screen, &followed)
}

/// Shows what was mended; something that is lost is an end with the code for corrupt data.
pub(crate) fn show(screen: &Screen, done: &Repaired) -> Result<(), Failure> {
    screen.show(done, &[], || render(done))?;
    match done.lost.is_empty() && done.given_up.is_empty() {
        true => Ok(()),
        false => Err(Failure::Found(ErrorCode::Corrupt)),
    }
}

fn render(done: &Repaired) -> String {
    let looked_at = format!(
        "{}, {}, {}",
        count(done.snapshots, "snapshot"),
        count(done.chunks, "chunk"),
        size(done.bytes)
    );
    if done.is_whole() {
        return format!("Nothing to repair in {looked_at}\n");
    }
    let mut text = given_up(done);
    text.push_str(&damaged_packs(&done.packs));
    text.push_str(&damaged_places(&done.lost));
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&facts(&figures(done, looked_at)));
    if done.dry_run {
        text.push_str("This was a dry run: nothing was changed\n");
    }
    text
}

fn given_up(done: &Repaired) -> String {
    let rows: Vec<Vec<String>> = done
        .given_up
        .iter()
        .map(|one| vec![short_id(&one.snapshot).to_owned(), clean(&one.reason)])
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&["FAILED SNAPSHOT", "REASON"], &rows, &[]) + "\n",
    }
}

fn figures(done: &Repaired, looked_at: String) -> Vec<(&'static str, String)> {
    let mut lines = vec![("Looked at", looked_at)];
    if !done.index.is_empty() {
        lines.push(("Index", done.index.join(", ")));
    }
    if !done.found_again.is_empty() {
        lines.push((
            "Found again",
            count(done.found_again.len() as u64, "snapshot"),
        ));
    }
    if !done.packs.is_empty() {
        lines.push(("Damaged", count(done.packs.len() as u64, "pack")));
    }
    lines.push(("Regained", regained(done)));
    let more = if done.truncated { ", and more" } else { "" };
    let places = count(done.lost.len() as u64, "place");
    lines.push(("Lost", format!("{places} of snapshots{more}")));
    lines
}

fn regained(done: &Repaired) -> String {
    let mut text = count(done.regained_chunks, "chunk");
    for (source, chunks) in &done.regained_from {
        text.push_str(&format!(", {chunks} from {}", clean(source)));
    }
    text
}
