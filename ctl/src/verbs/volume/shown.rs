//! Volumes as people see them.

use std::time::SystemTime;

use snap_api::{TreeEntry, VolumeChanged, VolumeView};

use crate::{
    failure::Failure,
    screen::{Form, Screen, facts, table},
    verbs::browse,
    words::{count, micros, moment, short_id, size},
};

/// Shows what came of a change.
pub(crate) fn show_changed(screen: &Screen, done: &VolumeChanged) -> Result<(), Failure> {
    done.warnings.iter().for_each(|text| screen.warning(text));
    let version = done.volume.version.to_string();
    screen.show(done, &[&version], || told(done))
}

fn told(done: &VolumeChanged) -> String {
    let volume = &done.volume;
    let mut lines = vec![("Volume", volume.name.clone())];
    let version = match (done.changed, done.merged) {
        (false, _) => format!("{}, nothing has changed", volume.version),
        (true, true) => format!("{}, together with what others had changed", volume.version),
        (true, false) => volume.version.to_string(),
    };
    lines.push(("Version", version));
    if done.reloaded {
        lines.push(("Container", "stands on this version".to_owned()));
    }
    if done.files > 0 {
        let files = format!("{}, {}", count(done.files, "node"), size(done.bytes));
        lines.push(("Files", files));
    }
    lines.push((
        "New",
        format!(
            "{}, stored in {}",
            size(done.new_bytes),
            size(done.stored_bytes)
        ),
    ));
    lines.push(("Took", micros(done.elapsed_us)));
    facts(&lines)
}

pub(super) fn listed(volumes: &[VolumeView], now: SystemTime) -> String {
    let row = |one: &VolumeView| {
        vec![
            one.namespace.clone(),
            one.name.clone(),
            one.version.to_string(),
            one.nodes.to_string(),
            size(one.logical_bytes),
            moment(&one.changed_at, now),
            match one.containers.is_empty() {
                true => "-".to_owned(),
                false => one.containers.join(", "),
            },
        ]
    };
    let rows: Vec<_> = volumes.iter().map(row).collect();
    let head = [
        "NAMESPACE",
        "NAME",
        "VERSION",
        "NODES",
        "SIZE",
        "CHANGED",
        "MOUNTED IN",
    ];
    table(&head, &rows, &[2, 3, 4])
}

/// A file of a volume, with the beginning of its digest.
pub(super) fn entry_line(form: Form, entry: &TreeEntry) -> String {
    let line = browse::tree_line(form, entry);
    if form == Form::Quiet {
        return line;
    }
    let digest = entry.digest.as_deref().map_or("-", short_id);
    format!("{digest:<12} {line}")
}
