//! What snapshots need of the store, and what they were used for.

use std::fs;

use anyhow::{Context, Result};
use snap_api::{Collected, Stats, UsageView};
use snap_tests::{Host, noise};

fn of<'a>(stats: &'a Stats, version: &str) -> Result<&'a UsageView> {
    let mut all = stats.usage.iter();
    all.find(|one| one.version.as_deref() == Some(version))
        .with_context(|| format!("{version} is not there"))
}

/// What is unique to a snapshot is what nothing needs once it is removed; what two versions share is unique to their name.
#[test]
fn unique_bytes_are_what_nothing_needs_after_a_removal() -> Result<()> {
    let host = Host::start_without_containerd("collect_grace = \"0s\"\n")?;
    let folder = host.make_folder("data")?;
    noise(&folder.join("shared"), 1 << 20)?;
    noise(&folder.join("own"), 600 << 10)?;
    host.capture(&folder, &["--name", "web"])?;
    fs::remove_file(folder.join("own"))?;
    host.capture(&folder, &["--name", "web"])?;
    host.capture(
        &host.make_folder("empty")?,
        &["--name", "db", "--namespace", "other"],
    )?;
    let stats: Stats = host.snap_json(&["stats"])?;
    assert_eq!((stats.usage.len(), stats.unreadable), (2, 0));
    let (first, second) = (of(&stats, "web:1")?, of(&stats, "web:2")?);
    assert!(
        (600 << 10..700 << 10).contains(&first.unique_bytes),
        "{first:?}"
    );
    assert!(second.unique_bytes < 50 << 10, "{second:?}");
    assert!(first.shared_bytes >= Some(1 << 20), "{first:?}");
    assert_eq!(
        first.needed_bytes,
        Some(first.unique_bytes + first.shared_bytes.unwrap_or(0))
    );
    let by_name: Stats = host.snap_json(&["stats", "-A", "--by", "name"])?;
    let web = by_name.usage.first().context("There is no name")?;
    assert_eq!(
        (web.name.as_deref(), web.snapshots, web.shared_bytes),
        (Some("web"), 2, Some(0))
    );
    let quick: Stats = host.snap_json(&["usage", "web:1", "--quick"])?;
    assert_eq!(quick.usage[0].unique_bytes, first.unique_bytes);
    assert_eq!(quick.usage[0].needed_bytes, None);
    host.snap(&["remove", "web:1"])?;
    let collected: Collected = host.snap_json(&["collect"])?;
    assert!(collected.dead_bytes >= first.unique_bytes, "{collected:?}");
    Ok(())
}

#[test]
fn restores_are_counted() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.snap(&["create", "one", "--name", "web"])?;
    host.snap(&["restore", "web", "--count", "2"])?;
    host.snap(&["restore", "web"])?;
    let stats: Stats = host.snap_json(&["stats", "web"])?;
    let used = stats.usage.first().context("There is no snapshot")?;
    assert_eq!((used.restores, used.containers), (2, 3));
    assert!(
        used.last_used_at.is_some() && used.dedup_ratio > Some(0.1),
        "{used:?}"
    );
    let said = host.snap(&["stats", "--by", "namespace"])?;
    assert!(said.contains("1 snapshot, "), "{said}");
    Ok(())
}
