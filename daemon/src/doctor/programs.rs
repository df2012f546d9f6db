//! The programs the daemon depends on: containerd, runc, CRIU, its own mount server.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio, time::Duration};

use snap_api::{Check, ErrorReport};
use tokio::{process::Command, time::timeout};

use super::{ok, problem, version, warning};
use crate::error::Result;

/// A version is printed in milliseconds; a program that takes longer is stuck.
const PROGRAM_LIMIT: Duration = Duration::from_secs(5);
/// The oldest containerd whose API has everything that is used.
const LEAST_CONTAINERD: (u32, u32) = (1, 6);
/// The oldest runc that pauses reliably on both cgroup versions.
const LEAST_RUNC: (u32, u32) = (1, 1);

/// The oldest CRIU seen to work on a new kernel; 3.17.1 fails on 6.18 (`Unexpected rt vDSO area bounds`).
const LEAST_CRIU: (u32, u32) = (4, 2);

/// What a program printed, and how it ended.
pub(super) enum Ran {
    /// It ended well.
    Well(String),
    /// It ended badly.
    Badly(String),
    /// It could not be run at all.
    NotAtAll(String),
}

pub(super) fn containerd(answered: Result<String>) -> Check {
    let name = "containerd";
    let hint = "start it, or point `containerd` in the configuration at its socket; folders can be captured without it";
    match answered {
        Ok(found) if version(&found).is_none_or(|found| found >= LEAST_CONTAINERD) => {
            ok(name, found)
        }
        Ok(found) => warning(name, found, "1.6 is the oldest version this is tested with"),
        Err(error) => problem(name, ErrorReport::from(error).to_string(), hint),
    }
}

pub(super) async fn runc() -> Check {
    judge_runc(
        &run("runc", &["--version"]).await,
        &run("runc", &["features"]).await,
    )
}

pub(super) async fn criu() -> Check {
    judge_criu(&run("criu", &["--version"]).await)
}

pub(super) fn judge_runc(printed: &Ran, features: &Ran) -> Check {
    let name = "runc";
    let hint =
        "install runc 1.1 or newer where containerd finds it (Debian: `apt-get install runc`)";
    let found = match printed {
        Ran::Well(text) => first_line(text),
        Ran::Badly(why) | Ran::NotAtAll(why) => return problem(name, why, hint),
    };
    if version(found).is_none_or(|found| found < LEAST_RUNC) {
        return warning(name, found, hint);
    }
    match features {
        Ran::Well(_) => ok(name, found),
        Ran::Badly(why) | Ran::NotAtAll(why) => {
            warning(name, format!("{found}; `runc features`: {why}"), hint)
        }
    }
}

/// `criu check` is not run: it needs rights that the daemon has no other use for.
pub(super) fn judge_criu(printed: &Ran) -> Check {
    let name = "criu";
    let found = match printed {
        Ran::Well(text) => first_line(text),
        Ran::Badly(why) | Ran::NotAtAll(why) => {
            let hint = "only snapshots of memory need it; files are captured without";
            return warning(name, why, hint);
        }
    };
    if version(found).is_none_or(|found| found < LEAST_CRIU) {
        return warning(
            name,
            found,
            "old releases fail on new kernels (3.17 on 6.18): install 4.2 or newer; only snapshots of memory need it",
        );
    }
    ok(name, found)
}

pub(super) fn mount_server(path: &Path) -> Check {
    let name = "mount server";
    let hint = "install `snapshotd-mount` beside `snapshotd`, or name it with `mount_server` in the configuration";
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
            ok(name, path.display().to_string())
        }
        Ok(_) => problem(
            name,
            format!("{} is not an executable file", path.display()),
            hint,
        ),
        Err(error) => problem(name, format!("{}: {error}", path.display()), hint),
    }
}

async fn run(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(PROGRAM_LIMIT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Ran::NotAtAll(format!("{program}: {error}")),
        Err(_) => return Ran::NotAtAll(format!("{program}: no answer in five seconds")),
    };
    if output.status.success() {
        return Ran::Well(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Ran::Badly(format!("{}: {}", output.status, last.unwrap_or("").trim()))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("").trim()
}
