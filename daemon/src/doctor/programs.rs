//! The programs the daemon depends on: containerd, runc, CRIU, its own mount server.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use snap_api::{Check, ErrorReport};

use super::{ok, problem, warning};
use crate::{
    error::Result,
    memory::Criu,
    programs::{Ran, first_line, run, version},
};

/// The oldest containerd whose API has everything that is used.
const LEAST_CONTAINERD: (u32, u32) = (1, 6);
/// The oldest runc that pauses reliably on both cgroup versions.
const LEAST_RUNC: (u32, u32) = (1, 1);

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
    judge_criu(&Criu::look().await)
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

pub(super) fn judge_criu(criu: &Criu) -> Check {
    let name = "criu";
    match criu {
        Criu::Missing(why) => warning(
            name,
            why,
            "only snapshots of memory need it; files are captured without. Install it where containerd and the daemon find it in their PATH",
        ),
        Criu::Untold(found) => ok(
            name,
            format!("{found}; whether it fits this kernel, `criu check` as root tells"),
        ),
        Criu::Unfit { found, why } => warning(
            name,
            format!("{found}, unfit for this kernel: `criu check`: {why}"),
            "install a newer release, 4.2 at least on new kernels (3.17 fails on 6.18); until then snapshots are of files alone",
        ),
        Criu::Silent { found, why } => warning(
            name,
            format!("{found}; `criu check`: {why}"),
            "run `criu check` by hand as root; until it ends well, expect snapshots to be of files alone",
        ),
        Criu::Fit(found) => ok(name, format!("{found}, fit for this kernel")),
    }
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
