//! Kills and replaces processes. In the storm whichever; later neither the daemon nor the watched mount server.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use snap_api::{MountStatus, Status};
use snap_tests::{Dice, wait_for};

use crate::{
    client::{Said, unexpected},
    stage::Stage,
};

/// A mount server that dies younger counts as one that keeps dying, and comes back ever later.
const GROWN_UP_MS: u64 = 1100;

const SOON: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Killer {
    dice: Dice,
    watched: String,
}

impl Killer {
    pub(crate) fn new(seed: u64, watched: &str) -> Self {
        Self {
            dice: Dice::from_seed(seed ^ 0x0dea_d000),
            watched: watched.to_owned(),
        }
    }

    /// Kills or replaces something; returns how long to wait before the next.
    pub(crate) fn round(&mut self, stage: &Stage) -> Result<Duration> {
        let choice = match stage.is_storm() {
            true => self.dice.below(12),
            false => 0,
        };
        match choice {
            0..4 => self.kill_server(stage),
            4..9 => kill_daemon(stage),
            9 => reload(stage),
            _ => upgrade(stage),
        }
        .with_context(|| format!("The killer at {:.3} of the run", stage.progress()))?;
        Ok(Duration::from_millis(GROWN_UP_MS + self.dice.below(6000)))
    }

    fn kill_server(&mut self, stage: &Stage) -> Result<()> {
        let servers = self.servers(stage)?;
        let chosen = self.dice.below(servers.len() as u64) as usize;
        match servers.get(chosen) {
            Some(server) => kill_server(stage, *server),
            None => Ok(()),
        }
    }

    /// The process ids of those that may be killed.
    fn servers(&self, stage: &Stage) -> Result<Vec<u32>> {
        let status: Status = stage.read(&["status"])?;
        let may_go = |snapshot: &str| stage.is_storm() || snapshot != self.watched;
        let mounts = status.mounts.iter().filter(|mount| may_go(&mount.snapshot));
        Ok(mounts.filter_map(|mount| mount.server_pid).collect())
    }
}

/// Kills the daemon while every mount is served. A process that is started while files of a mount without a server are open here waits
/// in its `exec` for that server, and if it is the daemon nobody would ever start one; `tests/tests/privileged_takeover.rs` kills
/// both at once.
fn kill_daemon(stage: &Stage) -> Result<()> {
    wait_for("every mount to be served", SOON, || {
        let status: Status = stage.read(&["status"])?;
        let is_served = |mount: &MountStatus| mount.server_pid.is_some() && mount.failure.is_none();
        Ok(status.mounts.iter().all(is_served).then_some(()))
    })?;
    stage.kill_daemon()?;
    stage.count("killed: daemon");
    Ok(())
}

fn kill_server(stage: &Stage, server: u32) -> Result<()> {
    // Gone already when its mount was ended meanwhile; the number may be anybody's then.
    if stage.host().mount_servers()?.contains(&server) {
        let _ = kill(pid(server), Signal::SIGKILL);
        stage.count("killed: mount server");
    }
    Ok(())
}

fn reload(stage: &Stage) -> Result<()> {
    kill(pid(stage.daemon_pid()), Signal::SIGHUP).context("Reload the daemon")?;
    stage.count("reload");
    Ok(())
}

/// Replaces every mount server.
pub(crate) fn upgrade(stage: &Stage) -> Result<()> {
    match stage.insist(&["--output", "json", "upgrade-mounts"])? {
        Said::Refused(answer) => Err(unexpected(&answer).context(answer.stdout)),
        _ => {
            stage.count("upgrade-mounts");
            Ok(())
        }
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed())
}
