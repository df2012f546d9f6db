//! Goals of mounts.

use super::{Bound, Goal, absolute, goal, part};
use crate::figures::{Figures, OURS};

/// What is looked at, read and started through a mount.
pub(super) fn goals(figures: &Figures) -> Vec<Goal> {
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
