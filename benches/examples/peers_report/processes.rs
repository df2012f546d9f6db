//! The section about processes that are captured while they run.

use std::fmt::Write as _;

use crate::{
    figures::{Figures, OURS, shown},
    sections::{Place, place, table},
};

/// Megabytes of noise that the process holds.
pub(crate) const SIZES: [&str; 2] = ["10 MB", "300 MB"];

/// The section.
pub(crate) fn section(figures: &Figures) -> String {
    let mut text = "\n## Processes, captured while they run\n\nA process that holds so much noise. The pause: `snapctl create --memory`, as the daemon reports it, and `runc checkpoint --leave-running` into a tmpfs. \
        Until it runs: `snapctl restore`, `ctr containers restore --live` of a checkpoint that containerd has, and `ctr run`, which begins anew. Taken by criterion (`benches/benches/memory.rs`).\n"
        .to_owned();
    let lines = |case: &str, sides: &[&str]| -> Vec<(String, Vec<Place>)> {
        let line = |size: &&str| {
            let places = sides.iter().map(|side| place(case, size, side)).collect();
            ((*size).to_owned(), places)
        };
        SIZES.iter().map(line).collect()
    };
    text.push_str(&table(
        figures,
        &["pause", "snapshotd", "runc checkpoint"],
        &lines("memory-pause_for_memory", &[OURS, "runc-checkpoint"]),
    ));
    text.push_str(&table(
        figures,
        &[
            "until it runs",
            "snapshotd",
            "ctr restore --live",
            "ctr run",
        ],
        &lines(
            "memory-restore_to_running",
            &[OURS, "ctr-restore---live", "ctr-run"],
        ),
    ));
    text.push_str("\n| of the process of 300 MB | |\n|---|---|\n");
    for (what, title) in [
        ("another snapshot", "stored by another snapshot of it"),
        ("32 clones", "32 clones at once, until all run"),
        (
            "each more clone",
            "memory that one of them takes, when one was there before",
        ),
    ] {
        if let Some(figure) = figures.get("memory-more", what, OURS) {
            let _ = writeln!(text, "| {title} | {} |", shown(figure.median, &figure.unit));
        }
    }
    text
}
