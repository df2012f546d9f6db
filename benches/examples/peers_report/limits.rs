//! The section about what the machine takes for what cannot be left out, and what that makes of some goals.

use std::fmt::Write as _;

use crate::figures::{Figures, shown};

/// Names that `git status` asks for by themselves, by the kernel's count of requests (docs/performance.md).
const GIT_LOOK_UPS: f64 = 10_271.0;

/// The section.
pub(crate) fn section(figures: &Figures) -> String {
    let mut text = "\n## Limits of this machine\n\nWhat no server can leave out, whatever it does (`fs/examples/limits.rs`: one that does nothing, and one chunk of the corpus's database), and what a second capture cannot: \
        the changed files, each compressed by itself.\n\n| what | found |\n|---|---|\n"
        .to_owned();
    let limit = |what| figures.get("limit", what, "machine");
    for (what, title) in [
        ("look-up", "a name looked up, through the kernel and back"),
        ("read", "4 KiB read, through the kernel and back"),
        ("decode", "64 KiB decoded and compared with their digest"),
        (
            "changed files",
            "changed files of the second capture, without the database",
        ),
        (
            "changed files, each through zstd -3",
            "the same, each through `zstd -3`",
        ),
    ] {
        if let Some(figure) = limit(what) {
            let value = match figure.unit.as_str() {
                "s" => format!("{:.1} µs", figure.median * 1e6),
                unit => shown(figure.median, unit),
            };
            let _ = writeln!(text, "| {title} | {value} |");
        }
    }
    text.push_str(&ladder(figures));
    text.push_str(&consequences(figures));
    text
}

/// A first capture without all that makes it one.
fn ladder(figures: &Figures) -> String {
    let mut text = "\nThe lower part of the corpus, gone through by a thread for each processor that does this and nothing else (`store/examples/floor.rs`):\n\n\
        | what | seconds |\n|---|---|\n"
        .to_owned();
    for (what, title) in [
        ("read", "every file read, from the page cache"),
        ("cut and hash", "and cut and hashed"),
        ("compress", "and compressed, where it was not there before"),
        ("write", "and written and synced"),
    ] {
        if let Some(figure) = figures.get("floor", what, "machine") {
            let _ = writeln!(text, "| {title} | {} |", shown(figure.median, "s"));
        }
    }
    text
}

/// Sums of limits beside what was measured.
fn consequences(figures: &Figures) -> String {
    let mut text =
        "\n| goal | the least there can be | the goal asks for | found |\n|---|---|---|---|\n"
            .to_owned();
    let limit = |what| figures.median("limit", what, "machine");
    let side = |case, side| figures.median(case, "", side);
    let mut line =
        |what: &str, least: Option<f64>, goal: Option<f64>, found: Option<f64>, unit: &str| {
            let cell =
                |value: Option<f64>| value.map_or("–".to_owned(), |value| shown(value, unit));
            let _ = writeln!(
                text,
                "| {what} | {} | {} | {} |",
                cell(least),
                cell(goal),
                cell(found)
            );
        };
    line(
        "first capture: every file read, cut, hashed, compressed and written",
        figures.median("floor", "write", "machine"),
        side("first-capture", "restic").map(|restic| restic / 3.0),
        side("first-capture", "snapshotd"),
        "s",
    );
    let look_ups = limit("look-up").map(|each| each * GIT_LOOK_UPS);
    line(
        "cold `git status`: warm, and each name looked up once",
        add(look_ups, side("git-warm", "snapshotd")),
        side("git-cold", "native").map(|native| native * 1.3),
        side("git-cold", "snapshotd"),
        "s",
    );
    let disk = side("random-cold", "native").map(|rate| 1.0 / rate);
    line(
        "random 4 KiB, cold: ext4's own read, a request, a chunk decoded",
        add(disk, add(limit("read"), limit("decode"))),
        disk,
        side("random-cold", "snapshotd").map(|rate| 1.0 / rate),
        "s",
    );
    let restic = side("stored-added", "restic");
    line(
        "added by the second: the changed files alone, without the database",
        limit("changed files, each through zstd -3"),
        restic.map(|bytes| bytes * 0.55),
        side("stored-added", "snapshotd"),
        "B",
    );
    text
}

fn add(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? + other?)
}
