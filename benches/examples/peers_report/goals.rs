//! The goals, line by line: what was wanted, what came out, and the verdict.

use std::fmt::Write as _;

use crate::figures::{Figures, OURS, shown};

/// What a goal asks of its figure.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
struct Goal {
    figure: &'static str,
    /// What is wanted, in words.
    wanted: &'static str,
    bound: Bound,
    /// The unit of what came out; none for a factor.
    unit: Option<&'static str>,
    found: Option<f64>,
}

/// Goals of what is not there yet, or cannot be measured here.
const UNMEASURED: [(&str, &str, &str); 5] = [
    (
        "restore to a running process, 10 GB",
        "≤ 1.15 × `ctr run`",
        "needs 40 GB of disk",
    ),
    (
        "pause with memory",
        "≤ 1.1 × `runc checkpoint` to tmpfs",
        "not part of this run",
    ),
    (
        "restore with memory; 32 clones of 300 MB",
        "≤ 1.0 × `ctr container restore --live`",
        "not part of this run",
    ),
    (
        "both cores in zstd during the first capture",
        "≥ 90 %",
        "see [performance.md](performance.md)",
    ),
    (
        "index look-up at 10 M and 100 M chunks",
        "≤ 1 µs",
        "10 M: see [scale.md](scale.md); 100 M: not tried",
    ),
];

/// The section.
pub(crate) fn section(figures: &Figures) -> String {
    let mut text = "\n## Goals\n\nFactors are ours against theirs as each goal puts them, of one run on this machine. A goal that is missed has its cause in [performance.md](performance.md).\n\n\
        | figure | goal | found | verdict |\n|---|---|---|---|\n"
        .to_owned();
    let goals = [
        captures(figures),
        containers(figures),
        pauses(figures),
        mounts(figures),
        restores(figures),
        memory(figures),
    ]
    .concat();
    for goal in &goals {
        let found = goal.found.map_or("–".to_owned(), |value| match goal.unit {
            Some(unit) => shown(value, unit),
            None => format!("{value:.2} ×"),
        });
        let _ = writeln!(
            text,
            "| {} | {} | {found} | {} |",
            goal.figure,
            goal.wanted,
            goal.verdict()
        );
    }
    for (figure, goal, why) in UNMEASURED {
        let _ = writeln!(text, "| {figure} | {goal} | – | not measured: {why} |");
    }
    text
}

impl Goal {
    fn verdict(&self) -> &'static str {
        let Some(found) = self.found else {
            return "not measured";
        };
        let is_reached = match self.bound {
            Bound::AtLeast(bound) => found >= bound,
            Bound::AtMost(bound) => found <= bound,
        };
        if is_reached { "reached" } else { "**missed**" }
    }
}

fn goal(figure: &'static str, wanted: &'static str, bound: Bound, found: Option<f64>) -> Goal {
    Goal {
        figure,
        wanted,
        bound,
        unit: None,
        found,
    }
}

fn absolute(
    figure: &'static str,
    wanted: &'static str,
    (most, unit): (f64, &'static str),
    found: Option<f64>,
) -> Goal {
    Goal {
        figure,
        wanted,
        bound: Bound::AtMost(most),
        unit: Some(unit),
        found,
    }
}

/// The least factor over the sides that were measured.
fn against_best(figures: &Figures, case: &str, sides: &[&str]) -> Option<f64> {
    sides
        .iter()
        .filter_map(|side| figures.factor(case, "", side))
        .min_by(f64::total_cmp)
}

/// Ours as a part of theirs.
fn part(figures: &Figures, case: &str, size: &str, side: &str) -> Option<f64> {
    figures.factor(case, size, side).map(|factor| 1.0 / factor)
}

fn captures(figures: &Figures) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    let factor = |case, side| figures.factor(case, "", side);
    let tools = ["restic", "rustic", "borg-lz4", "borg-zstd"];
    vec![
        goal(
            "first capture",
            "≥ 3 × restic",
            AtLeast(3.0),
            factor("first-capture", "restic"),
        ),
        goal(
            "first capture",
            "≥ 1.3 × mksquashfs",
            AtLeast(1.3),
            factor("first-capture", "mksquashfs"),
        ),
        goal(
            "second capture, `--path`",
            "≥ 5 × the best of restic, rustic, borg",
            AtLeast(5.0),
            against_best(figures, "second-capture", &tools),
        ),
        goal(
            "second capture, `--path`",
            "≥ 2 × `tar \\| zstd` of the changes",
            AtLeast(2.0),
            factor("second-capture", "tar-zstd-upper"),
        ),
        goal(
            "nothing changed, `--path`",
            "≥ 8 × restic",
            AtLeast(8.0),
            factor("unchanged-capture", "restic"),
        ),
        goal(
            "stored, first",
            "≤ restic",
            AtMost(1.0),
            part(figures, "stored-first", "", "restic"),
        ),
        goal(
            "stored, added by the second",
            "≤ 0.55 × restic",
            AtMost(0.55),
            part(figures, "stored-added", "", "restic"),
        ),
        goal(
            "full restore to a folder",
            "≤ unsquashfs",
            AtMost(1.0),
            part(figures, "full-restore", "", "mksquashfs"),
        ),
    ]
}

fn containers(figures: &Figures) -> Vec<Goal> {
    let tools = ["restic", "rustic", "borg-lz4", "borg-zstd"];
    let best = tools
        .iter()
        .filter_map(|side| figures.median("second-capture", "", side))
        .min_by(f64::total_cmp);
    let ours = figures.median("container-capture", "second", OURS);
    vec![
        goal(
            "second capture, container",
            "≥ 5 × the best of restic, rustic, borg",
            Bound::AtLeast(5.0),
            best.zip(ours).map(|(best, ours)| best / ours),
        ),
        goal(
            "second capture, container",
            "≥ 2 × `tar \\| zstd` of the upper",
            Bound::AtLeast(2.0),
            figures.factor("container-capture", "second", "tar-zstd-upper"),
        ),
        absolute(
            "nothing changed, container",
            "≤ 0.1 s",
            (0.1, "s"),
            figures.median("container-capture", "unchanged", OURS),
        ),
    ]
}

fn pauses(figures: &Figures) -> Vec<Goal> {
    let of = |size| figures.get("pause", size, OURS);
    let mut goals = Vec::new();
    for (size, what) in [
        ("ext4 10", "pause, 10 MB, ext4"),
        ("ext4 1000", "pause, 1 GB, ext4"),
        ("ext4 10000", "pause, 10 GB, ext4"),
        ("xfs 10", "pause, 10 MB, xfs"),
        ("xfs 1000", "pause, 1 GB, xfs"),
    ] {
        goals.push(absolute(
            what,
            "median ≤ 50 ms",
            (0.05, "s"),
            of(size).map(|figure| figure.median),
        ));
        goals.push(absolute(
            what,
            "p99 ≤ 200 ms",
            (0.2, "s"),
            of(size).map(|figure| figure.p99),
        ));
    }
    goals
}

fn mounts(figures: &Figures) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    let corpus = figures
        .iter()
        .find(|(key, _)| key.case == "first-ls" && key.side == OURS);
    let mut goals = vec![
        absolute(
            "mount of the corpus to its first `ls`",
            "≤ 10 ms",
            (0.01, "s"),
            corpus.map(|(_, figure)| figure.median),
        ),
        absolute(
            "mount of 1 million files to its first `ls`",
            "≤ 30 ms",
            (0.03, "s"),
            figures.median("files-first-ls", "1000", OURS),
        ),
        goal(
            "full cold `tar` of the mount",
            "≥ 2 × squashfuse",
            AtLeast(2.0),
            figures.factor("tar-cold", "", "squashfuse"),
        ),
        goal(
            "full cold `tar` of the mount",
            "≥ 1.25 × squashfs",
            AtLeast(1.25),
            figures.factor("tar-cold", "", "squashfs"),
        ),
        goal(
            "cold `find` with stat",
            "≤ ext4 cold",
            AtMost(1.0),
            part(figures, "find-stat-cold", "", "native"),
        ),
    ];
    goals.extend(programs(figures));
    goals.push(goal(
        "random 4 KiB cold",
        "≥ 2 × squashfuse",
        AtLeast(2.0),
        figures.factor("random-cold", "", "squashfuse"),
    ));
    goals.push(goal(
        "random 4 KiB cold",
        "≥ 1.0 × ext4 cold",
        AtLeast(1.0),
        figures.factor("random-cold", "", "native"),
    ));
    goals
}

/// What is read and started through a mount, beside the folder itself.
fn programs(figures: &Figures) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    let mut goals = Vec::new();
    for (case, what) in [
        ("python-cold", "cold python imports"),
        ("node-cold", "cold node"),
        ("gcc-cold", "cold gcc"),
        ("git-cold", "cold `git status`"),
    ] {
        goals.push(goal(
            what,
            "≤ 1.3 × ext4 cold",
            AtMost(1.3),
            part(figures, case, "", "native"),
        ));
    }
    goals.extend(learned(figures));
    for (case, what) in [
        ("find-stat-warm", "warm `find` with stat"),
        ("file-warm", "warm file of 100 MiB"),
        ("random-warm", "warm random 4 KiB"),
        ("python-warm", "warm python imports"),
        ("node-warm", "warm node"),
        ("gcc-warm", "warm gcc"),
        ("git-warm", "warm `git status`"),
    ] {
        goals.push(goal(
            what,
            "≥ 0.95 × native",
            AtLeast(0.95),
            figures.factor(case, "", "native"),
        ));
    }
    goals
}

/// The second cold start with the trace of the first, against the first one of the folder itself, which learns nothing.
fn learned(figures: &Figures) -> Vec<Goal> {
    let programs = [
        ("python", "second cold python imports"),
        ("node", "second cold node"),
        ("gcc", "second cold gcc"),
        ("git", "second cold `git status`"),
    ];
    let goals = programs.map(|(step, what)| {
        let ours = figures.median(&format!("{step}-learned"), "", OURS);
        let native = figures.median(&format!("{step}-cold"), "", "native");
        let part = ours.zip(native).map(|(ours, native)| ours / native);
        goal(what, "≤ 1.0 × ext4 cold", Bound::AtMost(1.0), part)
    });
    goals.to_vec()
}

fn restores(figures: &Figures) -> Vec<Goal> {
    let most = Bound::AtMost(1.15);
    let of = |case, size| part(figures, case, size, "ctr-run");
    vec![
        goal(
            "restore to a running process, 1 MB",
            "≤ 1.15 × `ctr run`",
            most,
            of("restore", "1"),
        ),
        goal(
            "restore to a running process, 100 MB",
            "≤ 1.15 × `ctr run`",
            most,
            of("restore", "100"),
        ),
        goal(
            "restore to a running process, 2 GB",
            "≤ 1.15 × `ctr run`",
            most,
            of("restore", "2000"),
        ),
        goal(
            "100 restores, one by one",
            "≤ 1.15 × 100 × `ctr run`",
            most,
            of("restore-many", "100, one by one"),
        ),
        goal(
            "100 restores, 8 at once",
            "≤ 1.15 × 100 × `ctr run`, 8 at once",
            most,
            of("restore-many", "100, 8 at once"),
        ),
    ]
}

fn memory(figures: &Figures) -> Vec<Goal> {
    let of = |size| figures.median("memory", size, OURS);
    let mib = f64::from(1 << 20);
    vec![
        absolute(
            "100 restores: memory beyond the containers' own",
            "≤ 64 MiB",
            (64.0 * mib, "B"),
            of("100 restored"),
        ),
        absolute("daemon, idle", "≤ 30 MiB", (30.0 * mib, "B"), of("idle")),
        absolute(
            "mount server, 1 million files looked at",
            "≤ 32 MiB beside its cache of 64 MiB",
            (96.0 * mib, "B"),
            of("server, 1000,000 files"),
        ),
    ]
}
