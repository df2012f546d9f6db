//! Makes docs/benchmarks.md and its charts of the rows that `scripts/bench-peers` has kept; measures nothing.
//!
//! ```text
//! rows (target/peers/*.csv) ──► figures ──► sections, goals ──► docs/benchmarks.md
//!                                  └──────► charts ───────────► docs/benchmarks/*.svg
//! ```
//!
//! A figure is the median of its rows. What was not measured is a dash, never a guess.

mod charts;
mod drawings;
mod figures;
mod goals;
mod growth;
mod limits;
mod processes;
mod sections;

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};
use figures::Figures;

const INTRODUCTION: &str = "# Benchmarks

snapshotd beside the programs people would use otherwise, on the same data, in turn, on one machine. `make bench-peers` measures again and writes this
document; `scripts/bench-peers-report` only writes it. How each figure is taken is a few lines of shell in `benches/peers/`, with the commands
as one would type them. Where the time goes is in [performance.md](performance.md).

Every figure is a median; the factor behind it says **how many times better snapshotd is** (×2.0: the other takes twice as long, twice
the space, or reads half as much in the same time; below ×1 the other is better). Times of other machines differ, factors less so.
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, documents] = arguments.as_slice() else {
        anyhow::bail!("usage: peers_report ROWS-FOLDER DOCUMENTS-FOLDER");
    };
    let (rows, documents) = (Path::new(rows), Path::new(documents));
    let figures = Figures::read(rows)?;
    ensure!(
        !figures.is_empty(),
        "There are no rows in {}; run scripts/bench-peers first",
        rows.display()
    );
    let pictures = documents.join("benchmarks");
    fs::create_dir_all(&pictures).context("Make the folder of charts")?;
    for (name, drawing) in charts::all(&figures) {
        let path = pictures.join(format!("{name}.svg"));
        fs::write(&path, drawing).with_context(|| format!("Write {}", path.display()))?;
    }
    let path = documents.join("benchmarks.md");
    fs::write(&path, document(&figures)).with_context(|| format!("Write {}", path.display()))
}

fn document(figures: &Figures) -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str(&machine(figures));
    text.push_str(&goals::section(figures));
    text.push_str(&sections::all(figures));
    text.push_str(&every_figure(figures));
    text
}

fn machine(figures: &Figures) -> String {
    let mut text = "\n## Machine and versions\n\n| what | which |\n|---|---|\n".to_owned();
    for (name, value) in figures
        .facts()
        .iter()
        .filter(|(_, value)| !value.is_empty())
    {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    let (least, most) = figures.loads();
    let _ = writeln!(
        text,
        "| load average while measuring | {least:.1} to {most:.1}; of each figure in the last table |"
    );
    text
}

/// Whoever doubts a factor finds here what it is made of.
fn every_figure(figures: &Figures) -> String {
    let mut text = "\n## Every figure\n\nSmallest and largest, how often it was taken, and the mean load average while it was.\n\n\
        | case | size | side | median | from | to | taken | load |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (key, figure) in figures.iter() {
        let shown = |value| figures::shown(value, &figure.unit);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            key.case,
            key.size,
            key.side,
            shown(figure.median),
            shown(figure.least),
            shown(figure.most),
            figure.taken,
            figure.load
        );
    }
    text
}
