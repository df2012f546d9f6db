//! Templates and builds as people see them.

use std::time::SystemTime;

use snap_api::{Built, TemplatePlan, TemplateView};

use crate::{
    failure::Failure,
    screen::{Screen, facts, table},
    verbs::snapshots,
    words::{clean, count, micros, moment},
};

/// Shows what came of a build.
pub(crate) fn show_built(screen: &Screen, built: &Built) -> Result<(), Failure> {
    built.warnings.iter().for_each(|text| screen.warning(text));
    screen.show(built, &[&built.snapshot.id], || told(built))
}

fn told(built: &Built) -> String {
    let snapshot = &built.snapshot;
    let mut lines = vec![("Template", built.template.clone())];
    if let Some(reason) = &built.reason {
        lines.push(("Because", reason.clone()));
    }
    lines.push(("Snapshot", snapshot.id.clone()));
    lines.push(("Version", snapshot.versions.join(", ")));
    lines.push(("Names", snapshot.names.join(", ")));
    let cached = built.steps.iter().filter(|step| step.cached).count();
    let steps = match (built.unchanged, built.steps.len()) {
        (true, _) => "nothing has changed".to_owned(),
        (false, all) => format!("{}, {cached} of them cached", count(all as u64, "step")),
    };
    lines.push(("Steps", steps));
    if !built.forgotten.is_empty() {
        lines.push(("Forgotten", built.forgotten.join(", ")));
    }
    lines.push(("Took", micros(built.elapsed_us)));
    facts(&lines)
}

pub(super) fn planned(plan: &TemplatePlan) -> String {
    let rows = plan.steps.iter().enumerate().map(|(index, step)| {
        let does = if step.cached { "cached" } else { "run" };
        vec![(index + 1).to_string(), does.to_owned(), step.step.clone()]
    });
    let rows: Vec<_> = rows.collect();
    let mut text = table(&["STEP", "WOULD BE", "DOES"], &rows, &[0]);
    if plan.unchanged {
        text.push_str("Nothing has changed since the last build\n");
    }
    text
}

pub(super) fn listed(templates: &[TemplateView], now: SystemTime) -> String {
    let row = |one: &TemplateView| {
        let version = one
            .snapshot
            .as_ref()
            .and_then(|found| found.versions.first().cloned());
        vec![
            one.namespace.clone(),
            one.name.clone(),
            version.unwrap_or_else(|| "-".to_owned()),
            moment(&one.built_at, now),
            one.unusable
                .clone()
                .map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
        ]
    };
    let rows: Vec<_> = templates.iter().map(row).collect();
    table(
        &["NAMESPACE", "NAME", "VERSION", "BUILT", "USABLE"],
        &rows,
        &[],
    )
}

pub(super) fn shown(view: &TemplateView, now: SystemTime) -> String {
    let template = &view.template;
    let base = template
        .base
        .image
        .as_ref()
        .or(template.base.snapshot.as_ref());
    let steps: Vec<_> = template.steps.iter().map(snap_api::Step::shown).collect();
    let mut lines = vec![
        ("Template", view.name.clone()),
        ("Namespace", view.namespace.clone()),
        ("Base", base.cloned().unwrap_or_default()),
        (
            "Steps",
            steps
                .iter()
                .map(|step| clean(step))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ("Built", moment(&view.built_at, now)),
    ];
    if let Some(snapshot) = &view.snapshot {
        lines.push(("Snapshot", snapshot.id.clone()));
        lines.push(("Version", snapshot.versions.join(", ")));
        lines.push(("Expires", snapshots::expiry(snapshot, now)));
    }
    let usable = view
        .unusable
        .clone()
        .map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
    lines.push(("Usable", usable));
    facts(&lines)
}
