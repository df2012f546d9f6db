//! The goals, line by line: what was wanted, what came out, and the verdict.

use std::fmt::Write as _;

use crate::figures::{Figures, OURS, shown};

mod mounts;

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
const UNMEASURED: [(&str, &str, &str); 2] = [
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
        mounts::goals(figures),
        restores(figures),
        processes(figures),
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
            "restore to a running process, 10 GB",
            "≤ 1.15 × `ctr run`",
            most,
            of("restore", "10000"),
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

fn processes(figures: &Figures) -> Vec<Goal> {
    let pause = |size| part(figures, "memory-pause_for_memory", size, "runc-checkpoint");
    let restore = |size| {
        let side = "ctr-restore---live";
        part(figures, "memory-restore_to_running", size, side)
    };
    let (most_pause, most_restore) = (Bound::AtMost(1.1), Bound::AtMost(1.0));
    let (than_runc, than_ctr) = (
        "≤ 1.1 × `runc checkpoint` to tmpfs",
        "≤ 1.0 × `ctr containers restore --live`",
    );
    vec![
        goal(
            "pause with 10 MB of memory",
            than_runc,
            most_pause,
            pause("10 MB"),
        ),
        goal(
            "pause with 300 MB of memory",
            than_runc,
            most_pause,
            pause("300 MB"),
        ),
        goal(
            "restore with 10 MB of memory",
            than_ctr,
            most_restore,
            restore("10 MB"),
        ),
        goal(
            "restore with 300 MB of memory",
            than_ctr,
            most_restore,
            restore("300 MB"),
        ),
        absolute(
            "32 clones of 300 MB: memory of each beyond one",
            "≤ what they wrote: nothing",
            (1e6, "B"),
            figures.median("memory-more", "each more clone", OURS),
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
