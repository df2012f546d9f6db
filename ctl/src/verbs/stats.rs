//! `stats`: what snapshots need of the store, and what they were used for.

use std::time::SystemTime;

use clap::{Args, ValueEnum};
use snap_api::{Stats, StatsBy, StatsRequest, UsageView};

use crate::{
    failure::Failure,
    follow,
    screen::{Screen, table},
    session::{Session, TRASH},
    verbs::outcome,
    words::{count, micros, relative, short_id, size, span},
};

/// Says how much of the store snapshots need, what they need alone, and what they were used for.
///
/// LOGICAL is the sum of the sizes of the files, and of the images of memory; NEEDED what is in the store for it, each chunk once; UNIQUE the part of it that no other
/// snapshot needs, which is what removing it gives back in the end; SHARED the rest of it. A snapshot in the trash is another one. DEDUP is LOGICAL for each byte of the
/// chunks that are needed before they were compressed, COMPR these bytes for each byte they take. SAVED is what its restores took less than copying the data of each
/// container at 200 MiB a second.
///
/// By snapshot what is listed is each snapshot, by name the versions of each name taken together, by namespace everything in it. What two versions of one name share is
/// unique to the name.
///
/// The daemon reads the metadata of every snapshot in the store for it, each page twice at most, and that of each listed group once more, which --quick leaves out.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl stats
  snapctl stats web:3 web:4
  snapctl stats --by namespace -A --quick
  snapctl stats --by name -o json | jq '.usage[] | {name, unique_bytes}'

With --quiet it prints ids, names or namespaces alone, those with the most unique bytes first.")]
pub(crate) struct StatsArgs {
    /// These snapshots alone [default: all that are active]
    #[arg(value_name = "REF")]
    references: Vec<String>,
    /// What is added up
    #[arg(long, value_name = "WHAT", value_enum, default_value = "snapshot")]
    by: By,
    /// The snapshots of every namespace
    #[arg(long, short = 'A', conflicts_with = "references")]
    all_namespaces: bool,
    /// Only what is unique, and nothing that takes a walk over each group
    #[arg(long)]
    quick: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Snapshot,
    Name,
    Namespace,
}

/// Runs `stats`.
pub(crate) async fn stats(session: &Session, args: StatsArgs) -> Result<(), Failure> {
    session.require(TRASH)?;
    let request = StatsRequest {
        namespace: session.listed_namespace(args.all_namespaces),
        references: args.references,
        by: match args.by {
            By::Snapshot => StatsBy::Snapshot,
            By::Name => StatsBy::Name,
            By::Namespace => StatsBy::Namespace,
        },
        quick: args.quick,
    };
    let start = session.client.stats_start(session.soon(), request);
    let followed = follow::run(session, args.detach.into(), start).await?;
    outcome::show_followed(&session.screen, &followed)
}

/// Shows what was added up.
pub(crate) fn show(screen: &Screen, stats: &Stats) -> Result<(), Failure> {
    if stats.unreadable > 0 {
        screen.warning(&format!(
            "{} could not be read whole, numbers are too small; `snapctl verify` says more",
            count(stats.unreadable, "snapshot")
        ));
    }
    if stats.truncated {
        screen.warning("there is more, with fewer unique bytes, than one answer holds");
    }
    let ids: Vec<&str> = stats.usage.iter().map(id).collect();
    screen.show(stats, &ids, || render(stats, SystemTime::now()))
}

/// What it is called, for those who want nothing else.
fn id(one: &UsageView) -> &str {
    let own = one.snapshot.as_deref().or(one.name.as_deref());
    own.unwrap_or(&one.namespace)
}

fn render(stats: &Stats, now: SystemTime) -> String {
    let head = [
        "NAMESPACE",
        "NAME",
        "SNAPSHOT",
        "LOGICAL",
        "NEEDED",
        "UNIQUE",
        "SHARED",
        "DEDUP",
        "COMPR",
        "RESTORES",
        "LAST USE",
        "SAVED",
    ];
    let rows: Vec<_> = stats.usage.iter().map(|one| row(one, now)).collect();
    let table = table(&head, &rows, &[3, 4, 5, 6, 7, 8, 9]);
    let unique: u64 = stats.usage.iter().map(|one| one.unique_bytes).sum();
    let snapshots: u64 = stats.usage.iter().map(|one| one.snapshots).sum();
    format!(
        "{table}{}, {} unique, added up in {}\n",
        count(snapshots, "snapshot"),
        size(unique),
        micros(stats.elapsed_us)
    )
}

fn row(one: &UsageView, now: SystemTime) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), size);
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let last_used = one.last_used_at.as_ref();
    vec![
        one.namespace.clone(),
        text(one.name.as_deref().or(one.version.as_deref())),
        match &one.snapshot {
            Some(id) => short_id(id).to_owned(),
            None => one.snapshots.to_string(),
        },
        size(one.logical_bytes),
        bytes(one.needed_bytes),
        size(one.unique_bytes),
        bytes(one.shared_bytes),
        ratio(one.dedup_ratio),
        ratio(one.compression_ratio),
        one.restores.to_string(),
        last_used.map_or_else(|| "-".to_owned(), |time| relative(time, now)),
        match one.time_saved_ms {
            0 => "-".to_owned(),
            saved => span(saved / 1000),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_is_a_dash() {
        let view = |name: Option<&str>, snapshot: Option<&str>, needed| UsageView {
            namespace: "default".to_owned(),
            name: name.map(str::to_owned),
            snapshot: snapshot.map(str::to_owned),
            version: snapshot.map(|_| "web:3".to_owned()),
            snapshots: if snapshot.is_some() { 1 } else { 4 },
            logical_bytes: 3 << 20,
            stored_bytes: 1 << 20,
            needed_bytes: needed,
            unique_bytes: 1 << 10,
            shared_bytes: needed,
            needed_chunks: needed,
            unique_chunks: 1,
            dedup_ratio: needed.map(|_| 1.5),
            compression_ratio: needed.map(|_| 2.0),
            restores: 2,
            containers: 6,
            last_used_at: needed.map(|_| "2019-12-31T22:00:00Z".to_owned()),
            time_saved_ms: needed.map_or(0, |_| 90_500),
        };
        let stats = Stats {
            by: StatsBy::Snapshot,
            usage: vec![
                view(
                    None,
                    Some("0123456789abcdef0123456789abcdef"),
                    Some(2 << 10),
                ),
                view(Some("web"), None, None),
                view(None, None, None),
            ],
            truncated: false,
            unreadable: 0,
            elapsed_us: 1500,
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        assert_eq!(
            render(&stats, now),
            "\
NAMESPACE  NAME   SNAPSHOT      LOGICAL   NEEDED   UNIQUE   SHARED  DEDUP  COMPR  RESTORES  LAST USE  SAVED
default    web:3  0123456789ab  3.0 MiB  2.0 KiB  1.0 KiB  2.0 KiB   1.50   2.00         2  2h ago    1m 30s
default    web    4             3.0 MiB        -  1.0 KiB        -      -      -         2  -         -
default    -      4             3.0 MiB        -  1.0 KiB        -      -      -         2  -         -
9 snapshots, 3.0 KiB unique, added up in 1.5 ms
"
        );
        let ids: Vec<_> = stats.usage.iter().map(id).collect();
        assert_eq!(ids[1..], ["web", "default"]);
    }
}
