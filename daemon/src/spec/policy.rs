//! Which mounts a new container gets.
//!
//! File systems of the kernel's own are mounted afresh. A folder or file of the host is bound again when it is the
//! system's or when the user names it, left out when the user says so or when its content is in the snapshot, and
//! otherwise nothing is made: to guess either way would lose data or give it away.

use std::path::Path;

use serde_json::{Value, json};
use snap_api::{ErrorCode, ErrorReport};

use super::{SpecMount, SpecPlan};
use crate::error::Result;

/// File systems that hold nothing of the host but what the kernel shows every container.
const AFRESH: [&str; 7] = [
    "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2",
];

/// What becomes of a mount.
enum Verdict {
    /// It is mounted.
    Keep,
    /// It is not.
    Drop(Option<String>),
}

/// The mounts of the new container.
pub(super) fn mounts(plan: &SpecPlan<'_>, warnings: &mut Vec<String>) -> Result<Value> {
    let mounts = SpecMount::read_all(&plan.captured.spec)?;
    for named in plan.keep_mounts.iter().chain(plan.drop_mounts) {
        if !mounts.iter().any(|mount| mount.is_at(named)) {
            return Err(unknown(named, &mounts));
        }
    }
    let mut kept = Vec::new();
    for mount in &mounts {
        match judge(plan, mount)? {
            Verdict::Keep => kept.push(json!({
                "destination": mount.destination,
                "type": mount.kind,
                "source": mount.source,
                "options": mount.options,
            })),
            Verdict::Drop(why) => warnings.extend(why),
        }
    }
    Ok(Value::Array(kept))
}

fn judge(plan: &SpecPlan<'_>, mount: &SpecMount) -> Result<Verdict> {
    let at = &mount.destination;
    let is_named = |list: &[String]| list.iter().any(|named| mount.is_at(named));
    if is_named(plan.drop_mounts) {
        return Ok(Verdict::Drop(None));
    }
    if !mount.is_bind() && AFRESH.contains(&mount.kind.as_str()) {
        return Ok(Verdict::Keep);
    }
    if is_named(plan.keep_mounts) {
        return keep_named(mount);
    }
    if is_named(&plan.captured.included_mounts) {
        return Ok(Verdict::Drop(None));
    }
    if !mount.is_bind() || !(mount.has_system_source() || mount.has_system_destination()) {
        return Err(without_policy(mount));
    }
    if mount.has_system_source() && Path::new(&mount.source).exists() {
        return Ok(Verdict::Keep);
    }
    // A file that was made for the original, as its own /etc/hosts: the image's takes its place.
    let why = format!("The mount at {at} was left out, it was made for the original");
    Ok(Verdict::Drop(Some(why)))
}

fn keep_named(mount: &SpecMount) -> Result<Verdict> {
    if !mount.is_bind() || Path::new(&mount.source).exists() {
        return Ok(Verdict::Keep);
    }
    let message = format!(
        "The mount at {} needs {}, which this host does not have",
        mount.destination, mount.source
    );
    Err(
        ErrorReport::new(ErrorCode::NotFound, "mount-source", message)
            .hint(format!(
                "Make it, or leave the mount out with --drop-mount {}",
                mount.destination
            ))
            .into(),
    )
}

fn without_policy(mount: &SpecMount) -> crate::Error {
    let at = &mount.destination;
    let message = format!(
        "The original has {} of the host mounted at {at}",
        mount.source
    );
    ErrorReport::new(ErrorCode::Conflict, "mount-without-policy", message)
        .hint(format!(
            "Share it with --keep-mount {at}, or leave it out with --drop-mount {at}"
        ))
        .into()
}

fn unknown(named: &str, mounts: &[SpecMount]) -> crate::Error {
    let known: Vec<_> = mounts
        .iter()
        .map(|mount| mount.destination.as_str())
        .collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let message = format!("The snapshot has no mount at {named}; it has: {known}");
    ErrorReport::new(ErrorCode::Usage, "unknown-mount", message).into()
}
