//! Asking through `snapctl`, while the daemon and `snapctl` itself are killed.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use snap_tests::{Answer, schemas};

use crate::stage::Stage;

/// The thing is not there.
pub(crate) const NOT_FOUND: i32 = 3;
/// The thing is there, but not in a state that allows this.
pub(crate) const CONFLICT: i32 = 4;
/// The daemon is not there, or something it needs.
const UNAVAILABLE: i32 = 7;
/// Longer than anything takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(300);

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Said {
    /// It was done, and this was printed.
    Done(String),
    /// It was refused.
    Refused(Answer),
    /// The daemon or the client was killed meanwhile: it is not known whether it was done.
    Cut,
}

/// Which client asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// One that lives.
    Patient,
    /// One that is killed after so long, unless it has its answer by then.
    KilledAfter(Duration),
}

impl Stage {
    /// Runs `snapctl` once the daemon is up.
    pub(crate) fn ask(&self, arguments: &[&str], client: Client) -> Result<Said> {
        let life = self.when_up()?;
        let Some(answer) = self.run(arguments, client)? else {
            self.count("killed: snapctl");
            return Ok(Said::Cut);
        };
        let is_cut = answer.code == UNAVAILABLE && self.life() != life;
        Ok(match answer.code {
            0 => Said::Done(answer.ok()?),
            _ if is_cut => Said::Cut,
            _ => Said::Refused(answer),
        })
    }

    /// Asks until an answer comes; for what may be asked twice.
    pub(crate) fn insist(&self, arguments: &[&str]) -> Result<Said> {
        loop {
            match self.ask(arguments, Client::Patient)? {
                Said::Cut => {}
                said => return Ok(said),
            }
        }
    }

    /// Asks for something that is there until it is printed, as JSON.
    pub(crate) fn read<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let all = [&["--output", "json"], arguments].concat();
        match self.insist(&all)? {
            Said::Done(text) => parsed(&text),
            Said::Refused(answer) => answer.json(),
            Said::Cut => bail!("`snapctl {}` was cut", arguments.join(" ")),
        }
    }

    /// None when the client was killed before its end, as it should be.
    fn run(&self, arguments: &[&str], client: Client) -> Result<Option<Answer>> {
        let shown = format!("snapctl {}", arguments.join(" "));
        let limit = match client {
            Client::Patient => LIMIT,
            Client::KilledAfter(time) => time,
        };
        let snapctl = self.host().snapctl_command()?;
        let output = Command::new("timeout")
            .args(["--signal", "KILL", &limit.as_secs_f64().to_string()])
            .arg(snapctl.get_program())
            .args(snapctl.get_args())
            .args(arguments)
            .envs(
                snapctl
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .stdin(std::process::Stdio::null())
            .output()
            .context("Run snapctl")?;
        let answer = Answer::new(shown, &output);
        let is_killed = matches!(answer.code, -1 | 137);
        match client {
            Client::KilledAfter(_) if is_killed => Ok(None),
            Client::Patient if is_killed => {
                bail!("`{}` took longer than {LIMIT:?}", answer.command)
            }
            _ => {
                let words: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
                schemas::check(&words, answer.code, &answer.stdout)?;
                Ok(Some(answer))
            }
        }
    }
}

/// What `snapctl --output json` printed.
pub(crate) fn parsed<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("snapctl printed: {text}"))
}

/// An end that nothing explains.
pub(crate) fn unexpected(answer: &Answer) -> anyhow::Error {
    let Answer {
        command,
        code,
        stderr,
        ..
    } = answer;
    anyhow::anyhow!("`{command}` ended with {code}: {stderr}")
}
