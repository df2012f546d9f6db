//! Somebody who is neither root nor one of the daemon's group.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use anyhow::{Context, Result};

use crate::{Answer, Host};

impl Host {
    /// Lets everybody use the socket, as its group may.
    ///
    /// # Errors
    /// When modes cannot be changed.
    pub fn let_everybody_in(&self) -> Result<()> {
        for path in [self.folder(), self.socket()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777))
                .with_context(|| format!("Open {} to all", path.display()))?;
        }
        Ok(())
    }

    /// Runs `snapctl` as user and group 65534.
    ///
    /// # Errors
    /// When it cannot be run; its own failure is in the answer.
    pub fn snapctl_as_nobody(&self, arguments: &[&str]) -> Result<Answer> {
        let program = self.folder().join("snapctl");
        fs::copy(self.snapctl_command()?.get_program(), &program).context("Copy snapctl")?;
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("--socket")
            .arg(self.socket())
            .args(arguments)
            .env("CONTAINERD_NAMESPACE", self.namespace())
            .output()
            .context("Run setpriv")?;
        let command = format!("snapctl {}, as nobody", arguments.join(" "));
        Ok(Answer::new(command, &output))
    }
}
