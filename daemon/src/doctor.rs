//! What is missing on this host, and what to do about it.
//!
//! Each check looks at one thing and judges it; looking and judging are apart, so that a test can judge what another
//! host would show. A check never fails: not being able to look is a finding too.

mod kernel;
mod keys;
mod policies;
mod programs;
mod storage;

use snap_api::{Check, CheckResult, DoctorReport};

use crate::{config::Config, host::Host};

/// Looks at kernel, FUSE, overlayfs, containerd, runc, CRIU, space, reflinks and keys.
pub async fn doctor(host: &Host) -> DoctorReport {
    let mut checks = kernel::checks();
    checks.push(programs::containerd(host.containerd.version().await));
    checks.push(programs::runc().await);
    checks.push(programs::criu().await);
    checks.push(storage::damage(
        host.marks.count(),
        host.scrub.damaged_packs(),
    ));
    checks.push(policies::check(&host.triggers.policies()));
    let (config, store) = (host.config.clone(), host.store.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let mut checks = on_disk(&config);
        checks.push(storage::store(&store));
        checks
    });
    match looked.await {
        Ok(more) => checks.extend(more),
        Err(panic) => checks.push(problem(
            "storage",
            format!("the look at it ended unexpectedly: {panic}"),
            "this is a bug; the daemon's log has more: `journalctl -u snapshotd`",
        )),
    }
    DoctorReport { checks }
}

fn on_disk(config: &Config) -> Vec<Check> {
    vec![
        programs::mount_server(&config.mount_server),
        storage::file_system(&config.root),
        storage::reflinks(&config.root),
        storage::space(&config.root, config.reserve_bytes),
        storage::pressure(config),
        storage::backups(config),
        keys::keys(config),
    ]
}

fn ok(name: &str, found: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        result: CheckResult::Ok,
        found: found.into(),
        hint: None,
    }
}

fn warning(name: &str, found: impl Into<String>, hint: &str) -> Check {
    Check {
        result: CheckResult::Warning,
        hint: Some(hint.to_owned()),
        ..ok(name, found)
    }
}

fn problem(name: &str, found: impl Into<String>, hint: &str) -> Check {
    Check {
        result: CheckResult::Problem,
        hint: Some(hint.to_owned()),
        ..ok(name, found)
    }
}

#[cfg(test)]
mod tests;
