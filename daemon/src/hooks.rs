//! A program of the container's own that is told what is about to become of it, and what has.
//!
//! It runs in the container as one of its processes, with the user, the folder and the environment of the first one, and with one
//! argument: `checkpoint` before a capture, `resume` after it in the container that was captured, `restore` in each that goes on from it.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use snap_api::{ErrorCode, ErrorReport};
use snap_store::{Namespace, SnapshotId};

use crate::{
    blocking,
    containerd::NewProcess,
    error::{Result, in_full},
    files,
    host::Host,
    memory,
};

/// How long it may take each time.
const LIMIT: Duration = Duration::from_secs(30);
const LOG: &str = "output.log";
/// What it may print: it is kept in memory.
const MAX_LOG_BYTES: u64 = 1 << 20;
/// What is told of its output at most, in bytes.
const MAX_TOLD_BYTES: u64 = 300;

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Everything is about to stand still.
    Checkpoint,
    /// It has stood still, and goes on.
    Resume,
    /// It goes on as somebody else.
    Restore,
}

impl Moment {
    fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Resume => "resume",
            Self::Restore => "restore",
        }
    }
}

/// Runs the hook of a container and waits for its end.
///
/// # Errors
/// `hook-failed` when it cannot be run, says that it failed, or takes too long: it is killed then.
pub(crate) async fn run(
    host: &Host,
    namespace: &Namespace,
    container: &str,
    hook: &str,
    moment: Moment,
) -> Result<()> {
    let spec = host
        .containerd
        .container(namespace, container)
        .await?
        .config
        .spec;
    let process = process(&spec, hook, moment);
    let state = host.config.state.clone();
    let folder = blocking(move || memory::limited_folder(&state, MAX_LOG_BYTES)).await?;
    let log = folder.join(LOG);
    let name = format!("hook-{}", SnapshotId::random());
    let running = host.containerd.run_process(
        namespace,
        NewProcess {
            container,
            name: &name,
            spec: &process,
            log: &log,
            limit: LIMIT,
        },
    );
    let ran = running.await;
    let said = blocking(move || -> Result<_> {
        let log = folder.join(LOG);
        let is_full = fs::metadata(&log).is_ok_and(|about| about.len() >= MAX_LOG_BYTES);
        let said = last_words(&log);
        memory::remove_folder(&folder)?;
        Ok((said, is_full))
    });
    let (said, is_full) = said.await?;
    let why = match ran {
        Ok(Some(0)) => return Ok(()),
        Ok(_) if is_full => {
            format!("it printed more than {MAX_LOG_BYTES} bytes, for which there is no room{said}")
        }
        Ok(Some(code)) => format!("it ended with {code}{said}"),
        Ok(None) => format!(
            "it took more than {} s and was killed{said}",
            LIMIT.as_secs()
        ),
        Err(fault) => in_full(&fault),
    };
    let message = format!(
        "The hook `{hook} {}` of container {container} has failed: {why}",
        moment.word()
    );
    Err(
        ErrorReport::new(ErrorCode::Unavailable, "hook-failed", message)
            .hint("It is a program of the container, which ends with 0 when all is well")
            .into(),
    )
}

/// The process of the hook: the first process of the container, as which another program runs.
fn process(spec: &Value, hook: &str, moment: Moment) -> Value {
    let mut process = spec.get("process").cloned().unwrap_or_default();
    process["args"] = json!([hook, moment.word()]);
    process["terminal"] = Value::Bool(false);
    if let Some(fields) = process.as_object_mut() {
        fields.remove("consoleSize");
        fields.remove("commandLine");
    }
    process
}

/// The last line of a log, for an error.
fn last_words(log: &Path) -> String {
    let end = files::tail(log, MAX_TOLD_BYTES);
    let end = String::from_utf8_lossy(&end);
    let line = end.trim_end().lines().last().unwrap_or_default();
    let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
    let line = line.trim_end();
    match line.is_empty() {
        true => String::new(),
        false => format!(", and said: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_runs_as_the_first_process_does() {
        let spec = json!({ "process": {
            "terminal": true, "consoleSize": { "height": 1 }, "args": ["sleep"], "cwd": "/srv", "user": { "uid": 7 },
        }});
        let expected = json!({
            "terminal": false, "args": ["/bin/hook", "resume"], "cwd": "/srv", "user": { "uid": 7 },
        });
        assert_eq!(process(&spec, "/bin/hook", Moment::Resume), expected);
    }

    #[test]
    fn its_last_line_is_told_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(last_words(&log), "");
        fs::write(&log, "one\ntwo\u{1b}[1m \n\n").unwrap();
        assert_eq!(last_words(&log), ", and said: two[1m");
        fs::write(&log, vec![0xff; 10_000]).unwrap();
        assert!(last_words(&log).chars().count() < 400);
    }
}
