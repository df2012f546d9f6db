//! `check`: can this container be captured?

use clap::Args;
use snap_api::{Blocker, ContainerRequest, ErrorCode, Verdict};

use crate::{
    failure::Failure,
    screen::facts,
    session::{MEMORY, Session, answer},
    words::{clean, size},
};

/// Says whether a container can be captured, without touching it.
///
/// It fails as `snapctl create` would, before anything stands still: without a task, without space. Otherwise it says how much
/// memory the processes have, and what keeps CRIU from capturing it: a CRIU that does not fit this kernel, too little
/// memory for a copy, io_uring, devices, large files that are deleted and still open, a debugger. What CRIU finds out only when it
/// writes is not seen.
///
/// With --memory the exit code is 7 when memory cannot be captured.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl check web
  snapctl check -q --memory web && snapctl create web --memory=required

With --quiet it prints nothing.")]
pub(crate) struct CheckArgs {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Fail when memory cannot be captured
    #[arg(long)]
    memory: bool,
}

/// Runs `check`.
pub(crate) async fn check(session: &Session, args: CheckArgs) -> Result<(), Failure> {
    session.require(MEMORY)?;
    let request = ContainerRequest {
        namespace: session.namespace.clone(),
        id: args.container,
    };
    let verdict = answer(session.client.check(session.soon(), request).await)?;
    session.screen.show(&verdict, &[], || render(&verdict))?;
    match args.memory && !verdict.blockers.is_empty() {
        true => Err(Failure::Found(ErrorCode::Unavailable)),
        false => Ok(()),
    }
}

/// The verdict for people.
pub(super) fn render(verdict: &Verdict) -> String {
    let said = match verdict.blockers.is_empty() {
        true => "files and memory can be captured",
        false => "files can be captured, memory cannot",
    };
    let processes = match verdict.processes {
        1 => "1 process".to_owned(),
        many => format!("{many} processes"),
    };
    let mut text = facts(&[
        ("Container", clean(&verdict.container)),
        ("Verdict", said.to_owned()),
        (
            "Memory",
            format!("{} of {processes}", size(verdict.memory_bytes)),
        ),
    ]);
    verdict.blockers.iter().for_each(|blocker| {
        text.push_str(&line(blocker));
    });
    text
}

fn line(blocker: &Blocker) -> String {
    let mut text = format!("{}  {}\n", blocker.kind, clean(&blocker.found));
    if let Some(hint) = &blocker.hint {
        text.push_str(&format!("  hint: {}\n", clean(hint)));
    }
    text
}
