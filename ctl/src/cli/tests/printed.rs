//! What each command prints with `--output json`: the types that docs/schemas is made from.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use snap_api::{
    AutoView, BackedUp, Built, Collected, ContainerView, Copied, Created, DiffEntry, DoctorReport,
    EventView, Forecast, ForgetView, JobStarted, JobView, MemoryContents, MountView,
    MountsUpgraded, MoveView, PolicyView, Removed, Repaired, Restored, RolledBack, SnapshotDetail,
    SnapshotView, Stats, Status, TemplatePlan, TemplateView, TrashEmptied, TrashView, TreeEntry,
    TriggerView, Undeleted, Verdict, Verified, VersionView, VolumeChanged, VolumeView,
};

use crate::verbs::{generate::Versions, run::Ran};

/// What a command prints in one case of several.
pub(super) struct Case {
    /// In which case; empty when there is one alone.
    pub(super) when: &'static str,
    /// The schema of it.
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Commands that print no JSON, whatever the form of the output, and what they print instead.
pub(super) const NO_JSON: [(&str, &str); 2] =
    [("completions", "a script for a shell"), ("man", "files")];

/// Commands that print an object a line.
pub(super) const LINES: [&str; 1] = ["events"];

fn when<T: JsonSchema>(when: &'static str) -> Case {
    let schema = SchemaGenerator::subschema_for::<T>;
    Case { when, schema }
}

fn only<T: JsonSchema>() -> Vec<Case> {
    vec![when::<T>("")]
}

/// Of a job: what came of it, or that it was started.
fn job<T: JsonSchema>() -> Vec<Case> {
    vec![when::<T>("At its end"), detached()]
}

fn detached() -> Case {
    when::<JobStarted>("With --detach")
}

fn built() -> Vec<Case> {
    let plan = when::<TemplatePlan>("With --dry-run");
    vec![when::<Built>("At its end"), plan]
}

/// Every command that prints JSON, with what it prints.
pub(super) fn printed() -> Vec<(&'static str, Vec<Case>)> {
    let mut all = snapshots();
    all.extend(contents_and_upkeep());
    all.extend(groups());
    all.sort_by_key(|(command, _)| *command);
    all
}

fn snapshots() -> Vec<(&'static str, Vec<Case>)> {
    let history = vec![
        when::<Vec<VersionView>>("Without --moves"),
        when::<Vec<MoveView>>("With --moves"),
    ];
    let show = vec![
        when::<SnapshotDetail>("Without --memory"),
        when::<MemoryContents>("With --memory"),
    ];
    let mut create = job::<Created>();
    create.push(when::<Forecast>("With --dry-run"));
    vec![
        ("create", create),
        ("check", only::<Verdict>()),
        ("restore", job::<Restored>()),
        ("run", only::<Ran>()),
        ("list", only::<Vec<SnapshotView>>()),
        ("show", show),
        ("remove", only::<Removed>()),
        ("undelete", only::<Undeleted>()),
        ("ttl", only::<SnapshotView>()),
        ("tag", only::<SnapshotView>()),
        ("untag", only::<SnapshotView>()),
        ("pin", only::<SnapshotView>()),
        ("unpin", only::<SnapshotView>()),
        ("label", only::<SnapshotView>()),
        ("history", history),
        ("rollback", only::<RolledBack>()),
        ("forget", only::<Vec<ForgetView>>()),
    ]
}

fn contents_and_upkeep() -> Vec<(&'static str, Vec<Case>)> {
    let copy = vec![
        when::<Copied>("Out of a snapshot"),
        when::<Created>("Into the next version of a name"),
        detached(),
    ];
    vec![
        ("mount", only::<MountView>()),
        ("unmount", only::<MountView>()),
        ("upgrade-mounts", only::<MountsUpgraded>()),
        ("tree", only::<Vec<TreeEntry>>()),
        ("diff", only::<Vec<DiffEntry>>()),
        ("copy", copy),
        ("start", only::<Vec<ContainerView>>()),
        ("stop", only::<Vec<ContainerView>>()),
        ("stats", job::<Stats>()),
        ("verify", job::<Verified>()),
        ("collect", job::<Collected>()),
        ("repair", job::<Repaired>()),
        ("backup", only::<BackedUp>()),
        ("status", only::<Status>()),
        ("doctor", only::<DoctorReport>()),
        ("events", only::<EventView>()),
        ("version", only::<Versions>()),
    ]
}

/// Commands with commands below them.
fn groups() -> Vec<(&'static str, Vec<Case>)> {
    let volumes = vec![
        when::<Vec<VolumeView>>("Without a NAME"),
        when::<Vec<TreeEntry>>("With a NAME: the files of that volume"),
    ];
    let removed = vec![
        when::<VolumeChanged>("Of paths"),
        when::<VolumeView>("Of the volume itself, as it was"),
    ];
    vec![
        ("auto list", only::<Vec<AutoView>>()),
        ("auto remove", only::<AutoView>()),
        ("auto set", only::<AutoView>()),
        ("auto triggers", only::<Vec<TriggerView>>()),
        ("container list", only::<Vec<ContainerView>>()),
        ("container remove", only::<Vec<ContainerView>>()),
        ("container start", only::<Vec<ContainerView>>()),
        ("container stop", only::<Vec<ContainerView>>()),
        ("jobs", only::<Vec<JobView>>()),
        ("jobs cancel", only::<JobView>()),
        ("jobs list", only::<Vec<JobView>>()),
        ("jobs show", only::<JobView>()),
        ("jobs wait", only::<JobView>()),
        ("policy remove", only::<PolicyView>()),
        ("policy set", only::<PolicyView>()),
        ("policy show", only::<Vec<PolicyView>>()),
        ("template build", built()),
        ("template list", only::<Vec<TemplateView>>()),
        ("template refresh", built()),
        ("template remove", only::<TemplateView>()),
        ("template show", only::<TemplateView>()),
        ("trash empty", only::<TrashEmptied>()),
        ("trash list", only::<Vec<TrashView>>()),
        ("volume commit", only::<VolumeChanged>()),
        ("volume create", only::<VolumeChanged>()),
        ("volume get", only::<Copied>()),
        ("volume list", volumes),
        ("volume mount", only::<MountView>()),
        ("volume put", only::<VolumeChanged>()),
        ("volume reload", only::<VolumeChanged>()),
        ("volume remove", removed),
    ]
}
