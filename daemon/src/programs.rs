//! Programs of others that are run to see what they say.

use std::{process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::memory::criu_log;

/// A version is printed in milliseconds; a program that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(5);

/// What a program printed, and how it ended.
pub(crate) enum Ran {
    /// It ended well.
    Well(String),
    /// It ended badly.
    Badly(String),
    /// It could not be run at all.
    NotAtAll(String),
}

/// Runs it and waits for its end.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(LIMIT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Ran::NotAtAll(format!("{program}: {error}")),
        Err(_) => return Ran::NotAtAll(format!("{program}: no answer in five seconds")),
    };
    if output.status.success() {
        return Ran::Well(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    // CRIU says first what is wrong, and then what it gives up for it.
    let telling = criu_log::cause(&said);
    let telling = telling.as_deref().or(last).unwrap_or("").trim();
    Ran::Badly(format!("{}: {telling}", output.status))
}

/// The first line of what a program printed.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("").trim()
}

/// The first `MAJOR.MINOR` in a version, as in `6.1.0-18-amd64` or `v1.6.20~ds1`.
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let mut numbers = text[start..].split(|letter: char| !letter.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}
