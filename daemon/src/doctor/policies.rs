//! The files that say which containers are captured when they end.

use snap_api::Check;

use super::{ok, warning};
use crate::triggers::Policies;

/// Whether all of them are understood.
pub(super) fn check(policies: &Policies) -> Check {
    let name = "automatic snapshots";
    if policies.bad.is_empty() {
        return ok(name, format!("{} policy files", policies.files.len()));
    }
    let bad: Vec<_> = policies
        .bad
        .iter()
        .map(|bad| format!("{}: {}", bad.path.display(), bad.why))
        .collect();
    warning(
        name,
        format!("left out: {}", bad.join("; ")),
        "correct the file, then `systemctl reload snapshotd`",
    )
}
