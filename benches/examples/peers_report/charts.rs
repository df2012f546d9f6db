//! Which charts there are, and what each shows.

use crate::{
    drawings::{Bar, Group, Line, bars, lines},
    figures::{Figures, OURS, shown},
    sections::{MOUNTS, STEPS},
};

/// Names and drawings.
pub(crate) fn all(figures: &Figures) -> Vec<(&'static str, String)> {
    let capture = |name: &'static str, title: &str| {
        (
            name,
            bars(title, "shorter is better", &[of_case(figures, name, "")]),
        )
    };
    let mut charts = vec![
        capture("first-capture", "First capture of the corpus"),
        capture("second-capture", "Second capture, after a day's work"),
        capture("unchanged-capture", "A capture after nothing has changed"),
        capture("full-restore", "Everything written to a new folder"),
        (
            "stored",
            bars(
                "Bytes stored",
                "shorter is better",
                &[
                    titled(figures, "stored-first", "first capture"),
                    titled(figures, "stored-added", "added by the second"),
                ],
            ),
        ),
    ];
    charts.extend(read(figures));
    charts.extend(growths(figures));
    charts
}

/// What is read through a mount.
fn read(figures: &Figures) -> Vec<(&'static str, String)> {
    vec![
        (
            "cold-tree",
            steps(
                figures,
                "The whole tree, cold",
                "cold",
                &["find-stat", "tar"],
            ),
        ),
        (
            "cold-programs",
            steps(
                figures,
                "Programs that start cold",
                "cold",
                &["python", "git", "node", "gcc"],
            ),
        ),
        (
            "warm-programs",
            steps(
                figures,
                "Programs that start warm",
                "warm",
                &["python", "git", "node", "gcc"],
            ),
        ),
        (
            "random",
            bars(
                "Random reads of 4 KiB a second",
                "longer is better",
                &[
                    mounts(figures, "random-cold", "cold"),
                    mounts(figures, "random-warm", "warm"),
                ],
            ),
        ),
    ]
}

/// What grows with what.
fn growths(figures: &Figures) -> Vec<(&'static str, String)> {
    let chart = |name, title, axis, sides: &[_]| (name, growth(figures, title, axis, sides));
    vec![
        chart(
            "pause",
            "Pause of a container",
            "megabytes in its writable layer",
            &[("pause", OURS, "snapshotd")],
        ),
        chart(
            "restore",
            "Until a process runs",
            "megabytes in the image",
            &[
                ("restore", OURS, "snapctl restore"),
                ("restore", "ctr-run", "ctr run"),
            ],
        ),
        chart(
            "clones",
            "Until all run",
            "containers",
            &[
                ("clones", OURS, "snapctl restore --count"),
                ("clones", "ctr-run", "ctr run, 8 at once"),
            ],
        ),
        chart(
            "files",
            "By the number of files",
            "thousands of files",
            &[
                ("files-capture", OURS, "capture"),
                ("files-capture", "mksquashfs", "mksquashfs"),
                ("files-unchanged", OURS, "nothing changed"),
                ("files-first-ls", OURS, "mount and first ls"),
            ],
        ),
        chart(
            "snapshots",
            "By the number of snapshots",
            "snapshots in the store",
            &[
                ("snapshots-create", OURS, "one more"),
                ("snapshots-mount", OURS, "mount and first ls"),
                ("snapshots-list", OURS, "list"),
            ],
        ),
    ]
}

/// Every side of a case, the best first.
fn of_case(figures: &Figures, case: &str, title: &str) -> Group {
    let of = figures.iter().filter(|(key, _)| key.case == case);
    let mut bars: Vec<Bar> = of
        .map(|(key, figure)| {
            bar(
                figures,
                (case, &key.size, &key.side),
                &key.side,
                figure.median,
            )
        })
        .collect();
    bars.sort_by(|one, other| one.value.total_cmp(&other.value));
    Group {
        title: title.to_owned(),
        bars,
    }
}

fn titled(figures: &Figures, case: &str, title: &str) -> Group {
    of_case(figures, case, title)
}

/// Every kind of mount, in their order.
fn mounts(figures: &Figures, case: &str, title: &str) -> Group {
    let bars = MOUNTS.iter().filter_map(|(side, name)| {
        let value = figures.median(case, "", side)?;
        Some(bar(
            figures,
            (case, "", side),
            &name.replace('*', ""),
            value,
        ))
    });
    Group {
        title: title.to_owned(),
        bars: bars.collect(),
    }
}

fn steps(figures: &Figures, title: &str, heat: &str, names: &[&str]) -> String {
    let of = STEPS.iter().filter(|(step, _)| names.contains(step));
    let groups: Vec<Group> = of
        .map(|(step, says)| mounts(figures, &format!("{step}-{heat}"), &says.replace('`', "")))
        .collect();
    bars(title, "shorter is better", &groups)
}

fn bar(figures: &Figures, (case, size, side): (&str, &str, &str), name: &str, value: f64) -> Bar {
    let unit = figures
        .get(case, size, side)
        .map_or("", |figure| figure.unit.as_str());
    let factor = figures.factor(case, size, side).filter(|_| side != OURS);
    let factor = factor
        .map(|factor| format!("  ×{factor:.1}"))
        .unwrap_or_default();
    Bar {
        name: name.to_owned(),
        value,
        label: format!("{}{factor}", shown(value, unit)),
        is_ours: side == OURS,
    }
}

/// Cases and sides by their sizes.
fn growth(figures: &Figures, title: &str, below: &str, of: &[(&str, &str, &str)]) -> String {
    let all = of.iter().map(|(case, side, name)| Line {
        name: (*name).to_owned(),
        points: figures
            .sizes(case, side)
            .iter()
            .map(|(size, figure)| (*size, figure.median))
            .collect(),
        is_ours: *side == OURS,
    });
    lines(
        title,
        below,
        &all.filter(|line| !line.points.is_empty())
            .collect::<Vec<_>>(),
    )
}
