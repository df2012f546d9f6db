//! The tables: what was asked, a line a side or a line a question, and how many times better we are.

use std::fmt::Write as _;

use crate::{
    figures::{Figures, OURS, shown},
    growth, limits, processes,
};

/// Sides of captures with what they are called.
const CAPTURES: [(&str, &str); 10] = [
    (OURS, "**snapshotd**"),
    ("restic", "restic"),
    ("rustic", "rustic"),
    ("borg-lz4", "borg, lz4"),
    ("borg-zstd", "borg, zstd 3"),
    ("casync", "casync, zstd"),
    ("mksquashfs", "mksquashfs, zstd 3"),
    ("mkfs.erofs", "mkfs.erofs, lz4hc, 64 KiB"),
    ("tar-zstd", "tar, zstd -3 -T2"),
    ("tar-nothing", "tar to nothing: the reading alone"),
];

/// Sides of mounts.
pub(crate) const MOUNTS: [(&str, &str); 5] = [
    (OURS, "**snapshotd**"),
    ("native", "ext4, the folder itself"),
    ("squashfs", "squashfs, kernel, zstd"),
    ("erofs", "EROFS, kernel, lz4hc"),
    ("squashfuse", "squashfuse, zstd"),
];

pub(crate) const STEPS: [(&str, &str); 8] = [
    ("find", "`find`"),
    ("find-stat", "`find` with stat"),
    ("file", "a file of 100 MiB"),
    ("python", "python, five imports"),
    ("git", "`git status`"),
    ("node", "node, six modules"),
    ("gcc", "gcc, one file"),
    ("tar", "`tar` of everything"),
];

/// Every section.
pub(crate) fn all(figures: &Figures) -> String {
    [
        captures(figures),
        containers(figures),
        pauses(figures),
        mounts(figures),
        restores(figures),
        processes::section(figures),
        growth::section(figures),
        limits::section(figures),
        processor(figures),
    ]
    .concat()
}

/// A cell's place: case, size, side.
pub(crate) type Place = (String, String, String);

/// A table whose cells are figures with their factors.
pub(crate) fn table(figures: &Figures, head: &[&str], lines: &[(String, Vec<Place>)]) -> String {
    let mut text = format!(
        "\n| {} |\n|{}\n",
        head.join(" | "),
        "---|".repeat(head.len())
    );
    for (title, places) in lines {
        let cells: Vec<String> = places.iter().map(|place| cell(figures, place)).collect();
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    }
    text
}

fn cell(figures: &Figures, (case, size, side): &Place) -> String {
    let Some(figure) = figures.get(case, size, side) else {
        return "–".to_owned();
    };
    let value = shown(figure.median, &figure.unit);
    match figures.factor(case, size, side) {
        Some(factor) if side != OURS => format!("{value} ×{factor:.2}"),
        _ => value,
    }
}

pub(crate) fn place(case: &str, size: &str, side: &str) -> Place {
    (case.to_owned(), size.to_owned(), side.to_owned())
}

pub(crate) fn chart(name: &str, says: &str) -> String {
    format!("\n![{says}](benchmarks/{name}.svg)\n")
}

fn captures(figures: &Figures) -> String {
    let cases = [
        "first-capture",
        "second-capture",
        "unchanged-capture",
        "stored-first",
        "stored-added",
        "full-restore",
    ];
    let lines = capture_lines(figures, &cases);
    let mut text = "\n## Captures of a folder\n\nThe corpus as a folder on ext4 in the page cache: the first capture, one after a day's work, one after nothing; what they \
        store; and everything written to a new folder. *Restored the same*: names, kinds, modes, owners, sizes, times to the second and contents of what came back are \
        what was captured. Images (squashfs, EROFS, tar) are written \
        whole each time. rustic takes part where it is installed (`cargo install --locked rustic-rs`, a quarter of an hour); bookworm has no package of it.\n"
        .to_owned();
    text.push_str(&table(
        figures,
        &[
            "program",
            "first",
            "second",
            "nothing changed",
            "stored, first",
            "added by the second",
            "full restore",
        ],
        &lines,
    ));
    let _ = writeln!(
        text,
        "\nThe changes alone as `tar | zstd -3 -T2`, for whoever knows where they lie: {}, {}.",
        cell(figures, &place("second-capture", "", "tar-zstd-upper")),
        cell(figures, &place("stored-added", "", "tar-zstd-upper"))
    );
    text.push_str(&chart("first-capture", "Seconds of the first capture"));
    text.push_str(&chart("second-capture", "Seconds of the second capture"));
    text.push_str(&chart(
        "unchanged-capture",
        "Seconds of a capture after nothing",
    ));
    text.push_str(&chart(
        "stored",
        "Bytes stored by the first capture and added by the second",
    ));
    text.push_str(&chart("full-restore", "Seconds of a full restore"));
    text
}

/// A line for each program, with whether it gave back what it was given.
fn capture_lines(figures: &Figures, cases: &[&'static str]) -> Vec<(String, Vec<Place>)> {
    CAPTURES
        .iter()
        .map(|(side, title)| {
            let is_there = cases
                .iter()
                .any(|case| figures.get(case, "", side).is_some());
            let same = match figures.is_same("full-restore", side) {
                Some(true) => ", restored the same",
                Some(false) => ", **not restored the same**",
                None if is_there => "",
                None if is_missing(figures, side) => ": not installed",
                None => ": not measured",
            };
            let places = cases.iter().map(|case| place(case, "", side)).collect();
            (format!("{title}{same}"), places)
        })
        .collect()
}

/// True when the side was not there to be measured.
fn is_missing(figures: &Figures, side: &str) -> bool {
    let mut facts = figures.facts().iter();
    facts.any(|(name, value)| side.starts_with(name.as_str()) && value == "not installed")
}

fn containers(figures: &Figures) -> String {
    let lines: Vec<_> = [
        ("first", "first, with the image below it"),
        ("second", "second, a day's work in the writable layer"),
        ("unchanged", "nothing changed"),
    ]
    .iter()
    .map(|(size, title)| {
        let places = [OURS, "tar-zstd-upper"].map(|side| place("container-capture", size, side));
        ((*title).to_owned(), places.to_vec())
    })
    .collect();
    let mut text =
        "\n## Captures of a running container\n\nA container of the corpus, through containerd.\n"
            .to_owned();
    text.push_str(&table(
        figures,
        &[
            "capture",
            "snapshotd",
            "`tar \\| zstd -3 -T2` of the writable layer",
        ],
        &lines,
    ));
    text
}

fn pauses(figures: &Figures) -> String {
    let mut text = "\n## Pause\n\nHow long the container stands still, as the daemon reports it, for megabytes in its writable layer of which one has changed. Beside it \
        `ctr task pause` and `resume`, which keep nothing.\n\n| disk and MB | median | p99 | from, to | taken | ctr pause and resume |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for (key, figure) in figures
        .iter()
        .filter(|(key, _)| key.case == "pause" && key.side == OURS)
    {
        let value = |value| shown(value, "s");
        let ctr = figures.median("pause", &key.size, "ctr-pause-resume");
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}, {} | {} | {} |",
            key.size,
            value(figure.median),
            value(figure.p99),
            value(figure.least),
            value(figure.most),
            figure.taken,
            ctr.map_or("–".to_owned(), value)
        );
    }
    text.push_str(&chart("pause", "Pause by megabytes in the writable layer"));
    text
}

fn mounts(figures: &Figures) -> String {
    let mut text = "\n## Mounts\n\nThe corpus after a day's work. Cold: mounted afresh, and the kernel has forgotten everything. Warm: the same once more. Random reads are of \
        4 KiB from the database, by one reader. Compressed kernel file systems keep decoded blocks, so their random figures say little.\n"
        .to_owned();
    if let Some(is_same) = figures.is_same("mount", OURS) {
        let says = if is_same {
            "the same as"
        } else {
            "**not the same as**"
        };
        let _ = writeln!(
            text,
            "\nWhat our mount shows is {says} the folder that was captured, content by content."
        );
    }
    let head: Vec<&str> = std::iter::once("what")
        .chain(MOUNTS.map(|(_, title)| title))
        .collect();
    for heat in ["cold", "warm"] {
        let _ = writeln!(text, "\n### {heat}");
        let mut lines: Vec<(String, Vec<Place>)> = Vec::new();
        for (step, title) in STEPS
            .iter()
            .filter(|(step, _)| heat == "cold" || *step != "tar")
        {
            lines.push(((*title).to_owned(), row(&format!("{step}-{heat}"), "")));
        }
        lines.push((
            "random 4 KiB".to_owned(),
            row(&format!("random-{heat}"), ""),
        ));
        if heat == "cold" {
            // The second start of programs: ours alone learns.
            lines.extend(STEPS[3..7].iter().map(|(step, title)| {
                let places = row(&format!("{step}-learned"), "");
                (format!("{title}, the second time"), places)
            }));
            let sizes: Vec<&str> = figures
                .iter()
                .filter(|(key, _)| key.case == "first-ls")
                .map(|(key, _)| key.size.as_str())
                .collect();
            let names = sizes.first().copied().unwrap_or_default();
            lines.push((
                format!("mount and first `ls`, {names} names"),
                row("first-ls", names),
            ));
        }
        text.push_str(&table(figures, &head, &lines));
    }
    for (name, says) in [
        ("cold-tree", "Seconds over the whole tree, cold"),
        ("cold-programs", "Seconds of programs that start cold"),
        ("warm-programs", "Seconds of programs that start warm"),
        ("random", "Random reads a second"),
    ] {
        text.push_str(&chart(name, says));
    }
    text
}

fn row(case: &str, size: &str) -> Vec<Place> {
    MOUNTS
        .iter()
        .map(|(side, _)| place(case, size, side))
        .collect()
}

fn restores(figures: &Figures) -> String {
    let line = |case: &str, size: &str, title: String| {
        (
            title,
            [OURS, "ctr-run"]
                .map(|side| place(case, size, side))
                .to_vec(),
        )
    };
    let mut lines = Vec::new();
    for megabytes in ["1", "100", "2000", "10000"] {
        lines.push(line(
            "restore",
            megabytes,
            format!("one, image of {megabytes} MB"),
        ));
    }
    for how in ["100, one by one", "100, 8 at once"] {
        lines.push(line("restore-many", how, how.to_owned()));
    }
    let mut text = "\n## Restore to a running process\n\nFrom the command to its answer; `ctr run --detach` starts the same image, which has its layers unpacked already.\n".to_owned();
    text.push_str(&table(
        figures,
        &["containers", "snapctl restore", "ctr run"],
        &lines,
    ));
    text.push_str(&memory(figures));
    text.push_str(&chart(
        "restore",
        "Seconds until a process runs, by megabytes in the image",
    ));
    text.push_str(&chart("clones", "Seconds until so many clones run"));
    text
}

fn memory(figures: &Figures) -> String {
    let mut text = "\n| memory | resident |\n|---|---|\n".to_owned();
    for (key, figure) in figures.iter().filter(|(key, _)| key.case == "memory") {
        let what = match key.size.as_str() {
            "idle" => "the daemon, idle".to_owned(),
            size if size.ends_with("restored") => {
                format!("the daemon and the mount server: how much more than before, {size}")
            }
            size => format!("the mount {size}"),
        };
        let _ = writeln!(text, "| {what} | {} |", shown(figure.median, &figure.unit));
    }
    text
}

/// What a busy machine changes least.
fn processor(figures: &Figures) -> String {
    let cases = [
        "first-capture",
        "second-capture",
        "unchanged-capture",
        "full-restore",
    ];
    let of = |case: &str, side: &str| place(&format!("cpu {case}"), "", side);
    let lines: Vec<_> = CAPTURES
        .iter()
        .map(|(side, title)| {
            let places = cases.iter().map(|case| of(case, side)).collect();
            ((*title).to_owned(), places)
        })
        .collect();
    let mut text = "\n## Processor time\n\nSeconds of all processors, of the command and of what serves it: what the work costs, whatever else the machine does \
        meanwhile. Of kernel file systems it is what the reader pays for them.\n"
        .to_owned();
    let head = [
        "program",
        "first",
        "second",
        "nothing changed",
        "full restore",
    ];
    text.push_str(&table(figures, &head, &lines));
    let head: Vec<&str> = std::iter::once("cold")
        .chain(MOUNTS.map(|(_, title)| title))
        .collect();
    let lines: Vec<_> = STEPS
        .iter()
        .map(|(step, title)| ((*title).to_owned(), row(&format!("cpu {step}-cold"), "")))
        .collect();
    text.push_str(&table(figures, &head, &lines));
    text
}
