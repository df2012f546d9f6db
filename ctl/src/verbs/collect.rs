//! `collect`: giving back the space of what no snapshot needs.

use std::time::Duration;

use clap::Args;
use snap_api::{CollectRequest, Collected, ErrorCode};

use crate::{
    failure::Failure,
    follow,
    screen::{Screen, facts},
    session::Session,
    values,
    verbs::outcome,
    words::{count, micros, size},
};

/// Gives back the space of what no snapshot needs any more.
///
/// Removing a snapshot takes it off the list; the data that no other snapshot shares stays on the disk until it is collected. The
/// daemon does that by itself: every day, after many removals, and when the disk is nearly full. Snapshots, restored containers,
/// mounts and captures under way are not disturbed.
///
/// Data goes once it was not needed for the grace period. Packs that hold some needed data among much that is not are rewritten.
/// One collection runs at a time; another waits for its turn. It can be cancelled at any point (Ctrl-C). The exit code is
/// 8 when something in use could not be read; when it is not known what a snapshot needs, nothing is removed.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl collect --dry-run
  snapctl collect --grace 0
  snapctl collect -o json | jq .freed_bytes")]
pub(crate) struct CollectArgs {
    /// Only look and count; nothing is changed
    #[arg(long)]
    dry_run: bool,
    /// How long data stays after nothing was found to need it, as in 1h; 0 gives space back at once [default: the daemon's, 1h]
    #[arg(long, value_name = "DURATION", value_parser = values::grace)]
    grace: Option<Duration>,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// Runs `collect`.
pub(crate) async fn collect(session: &Session, args: CollectArgs) -> Result<(), Failure> {
    let request = CollectRequest {
        namespace: session.namespace.clone(),
        dry_run: args.dry_run,
        grace_seconds: args.grace.map(|grace| grace.as_secs()),
    };
    let start = session.client.collect_start(session.soon(), request);
    let followed = follow::run(session, args.detach.into(), start).await?;
    outcome::show_followed(&session.screen, &followed)
}

/// Shows what was found and done; what could not be read is an end with the code for corrupt data.
pub(crate) fn show(screen: &Screen, done: &Collected) -> Result<(), Failure> {
    for one in &done.unreadable {
        screen.warning(&format!("{}: {}", one.holder, one.problem));
    }
    if done.incomplete {
        screen.warning("it is not known what all snapshots need, so nothing was removed");
    }
    if let Some(why) = &done.stopped {
        screen.warning(&format!("not everything was rewritten: {why}"));
    }
    screen.show(done, &[], || render(done))?;
    if done.unreadable.is_empty() && done.missing_chunks == 0 {
        Ok(())
    } else {
        Err(Failure::Found(ErrorCode::Corrupt))
    }
}

fn render(done: &Collected) -> String {
    let (removed, rewrote) = match done.dry_run {
        true => ("Would remove", "Would rewrite"),
        false => ("Removed", "Rewrote"),
    };
    let bytes_in = |bytes, chunks| format!("{} in {}", size(bytes), count(chunks, "chunk"));
    let packs_of = |packs, bytes| format!("{}, {}", count(packs, "pack"), size(bytes));
    let needed = bytes_in(done.live_bytes, done.live_chunks);
    let mut lines = vec![
        (
            "Needed",
            format!("{needed} by {}", count(done.snapshots, "snapshot")),
        ),
        ("Not needed", bytes_in(done.dead_bytes, done.dead_chunks)),
        (
            removed,
            format!(
                "{} of {}",
                done.removed_packs,
                packs_of(done.packs, done.freed_bytes)
            ),
        ),
        (
            rewrote,
            format!(
                "{} copied",
                packs_of(done.rewritten_packs, done.written_bytes)
            ),
        ),
        ("Waiting", packs_of(done.waiting_packs, done.waiting_bytes)),
    ];
    if done.forgotten_bases > 0 {
        lines.push(("Base layers", format!("{} given up", done.forgotten_bases)));
    }
    if done.damaged_packs > 0 {
        let kept = count(done.damaged_packs, "pack");
        lines.push(("Damaged", format!("{kept} kept")));
    }
    if done.missing_chunks > 0 {
        lines.push(("Missing", count(done.missing_chunks, "chunk")));
    }
    lines.push(("Took", micros(done.elapsed_us)));
    facts(&lines)
}
