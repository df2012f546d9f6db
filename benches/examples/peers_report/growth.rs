//! The section about what grows with what.

use crate::{
    figures::{Figures, OURS},
    sections::{chart, place, table},
};

/// The section.
pub(crate) fn section(figures: &Figures) -> String {
    let mut text = "\n## Growth\n\nWhat grows with the number of files (in thousands; every tenth holds a few bytes), of snapshots in the store, and of clones. Millions of chunks are in \
        [scale.md](scale.md).\n"
        .to_owned();
    let sides = [OURS, "mksquashfs", "squashfs", "squashfuse"];
    let mut lines = Vec::new();
    for (case, title) in [
        ("files-capture", "capture"),
        ("files-unchanged", "nothing changed"),
        ("files-first-ls", "mount and first `ls`"),
        ("files-find-stat", "`find` with stat over the mount"),
    ] {
        for thousands in ["10", "100", "1000"] {
            let places = sides
                .iter()
                .map(|side| place(case, thousands, side))
                .collect();
            lines.push((format!("{title}, {thousands},000 files"), places));
        }
    }
    text.push_str(&table(
        figures,
        &[
            "what",
            "snapshotd",
            "mksquashfs",
            "squashfs, kernel",
            "squashfuse",
        ],
        &lines,
    ));
    let mut lines = Vec::new();
    for number in ["1", "10", "100", "1000"] {
        let places = ["create", "mount", "list"]
            .iter()
            .map(|what| place(&format!("snapshots-{what}"), number, OURS))
            .collect();
        lines.push((number.to_owned(), places));
    }
    text.push_str(&table(
        figures,
        &[
            "snapshots in the store",
            "one more, of 1000 files",
            "mount and first `ls`",
            "list",
        ],
        &lines,
    ));
    for (name, says) in [
        ("files", "Seconds by the number of files"),
        ("snapshots", "Seconds by the number of snapshots"),
    ] {
        text.push_str(&chart(name, says));
    }
    text
}
