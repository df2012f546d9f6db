//! What a command said: exit code, output, and the output read as JSON.

use std::process::Output;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

/// A finished command.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Answer {
    /// The answer in `output` of `command`.
    #[must_use]
    pub fn new(command: String, output: &Output) -> Self {
        Self {
            command,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed, without the line's end.
    ///
    /// # Errors
    /// When it failed.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!(
                "`{}` ended with {}: {}{}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stdout.trim_end().to_owned())
    }

    /// What it printed, read as JSON.
    ///
    /// # Errors
    /// When it failed, or printed something else.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let command = self.command.clone();
        let text = self.ok()?;
        serde_json::from_str(&text).with_context(|| format!("`{command}` printed: {text}"))
    }
}
