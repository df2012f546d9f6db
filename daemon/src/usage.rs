//! Usage: what snapshots, names and namespaces need of the store, and what they were used for.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use snap_api::{Stats, StatsBy, UsageView};
use snap_store::{
    Amount, GroupUsage, MemoryMark, Namespace, Restores, SnapshotId, SnapshotRecord, SnapshotState,
};

use crate::{clock, error::Result, host::Host, jobs::JobHandle};

/// Groups of one answer; a thousand bytes each at most.
const MAX_GROUPS: usize = 3000;
/// How fast a copy would be that a restore is compared with, in bytes a second: a disk of the ordinary kind.
const COPY_BYTES_PER_SECOND: u64 = 200 << 20;

/// What a group is called: its namespace, and its name or its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    namespace: String,
    name: Option<String>,
    snapshot: Option<SnapshotId>,
}

/// The Active snapshots of one namespace or of all.
pub(crate) fn active(host: &Host, namespace: Option<&Namespace>) -> Result<Vec<SnapshotRecord>> {
    let mut all = host.catalogue.in_state(SnapshotState::Active)?;
    all.retain(|one| namespace.is_none_or(|namespace| one.namespace == *namespace));
    Ok(all)
}

/// Adds up what these snapshots need; without what takes a walk over each of them when it is to be `quick`.
///
/// # Errors
/// When somebody cancels, or the store or the catalogue cannot be read.
pub(crate) fn stats(
    host: &Arc<Host>,
    records: Vec<SnapshotRecord>,
    (by, quick): (StatsBy, bool),
    job: &JobHandle,
) -> Result<Stats> {
    let begun = Instant::now();
    let mut groups: BTreeMap<Key, Vec<SnapshotRecord>> = BTreeMap::new();
    for record in records {
        groups.entry(Key::of(&record, by)).or_default().push(record);
    }
    let ids: Vec<Vec<SnapshotId>> = groups
        .values()
        .map(|group| group.iter().map(|one| one.id).collect())
        .collect();
    let restores = host.catalogue.restores()?;
    let counted = host.store.usage(&ids, !quick, job)?;
    let views = groups.iter().zip(&counted.groups);
    let mut usage: Vec<UsageView> = views
        .map(|((key, group), counted)| view(key, group, counted, &restores))
        .collect();
    usage.sort_by_key(|one| std::cmp::Reverse(one.unique_bytes));
    let truncated = usage.len() > MAX_GROUPS;
    usage.truncate(MAX_GROUPS);
    Ok(Stats {
        by,
        usage,
        truncated,
        unreadable: counted.unreadable,
        elapsed_us: micros(begun.elapsed()),
    })
}

/// What a restore that took so long has saved, in microseconds: the time that copying so many bytes for each container would have taken, less its own.
pub(crate) fn saved_us(bytes: u64, containers: u64, elapsed: Duration) -> u64 {
    let copied = u128::from(bytes) * u128::from(containers);
    let copying_us = copied.saturating_mul(1_000_000) / u128::from(COPY_BYTES_PER_SECOND);
    let copying_us = u64::try_from(copying_us).unwrap_or(u64::MAX);
    copying_us.saturating_sub(micros(elapsed))
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

impl Key {
    fn of(record: &SnapshotRecord, by: StatsBy) -> Self {
        let version = record.versions.first().or(record.names.first());
        Self {
            namespace: record.namespace.to_string(),
            name: version
                .filter(|_| by == StatsBy::Name)
                .map(|name| name.name().to_owned()),
            snapshot: (by == StatsBy::Snapshot).then_some(record.id),
        }
    }
}

fn view(
    key: &Key,
    group: &[SnapshotRecord],
    counted: &GroupUsage,
    restores: &BTreeMap<SnapshotId, Restores>,
) -> UsageView {
    let sum = |of: &dyn Fn(&SnapshotRecord) -> u64| {
        let all = group.iter().map(of);
        all.fold(0, u64::saturating_add)
    };
    let restored = |of: &dyn Fn(&Restores) -> u64| sum(&|one| restores.get(&one.id).map_or(0, of));
    let logical_bytes = sum(&|one| one.logical_bytes.saturating_add(memory_bytes(one)));
    let needed = counted.needed;
    let ratio = |more: u64, less: u64| (less > 0).then(|| rounded(more as f64 / less as f64));
    let single = group.first().filter(|_| key.snapshot.is_some());
    let version = single.and_then(|one| one.versions.first().or(one.names.first()));
    UsageView {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        snapshot: key.snapshot.map(|id| id.to_string()),
        version: version.map(ToString::to_string),
        snapshots: group.len() as u64,
        logical_bytes,
        stored_bytes: sum(&|one| one.stored_bytes),
        needed_bytes: needed.map(|it| it.stored_bytes),
        unique_bytes: counted.unique.stored_bytes,
        shared_bytes: needed.map(|it| it.stored_bytes.saturating_sub(counted.unique.stored_bytes)),
        needed_chunks: needed.map(|it| it.chunks),
        unique_chunks: counted.unique.chunks,
        dedup_ratio: needed.and_then(|it: Amount| ratio(logical_bytes, it.raw_bytes)),
        compression_ratio: needed.and_then(|it: Amount| ratio(it.raw_bytes, it.stored_bytes)),
        restores: restored(&|it| it.restores),
        containers: restored(&|it| it.containers),
        last_used_at: group
            .iter()
            .filter_map(|one| one.last_used_at)
            .max()
            .map(clock::rfc3339),
        time_saved_ms: restored(&|it| it.saved_us) / 1000,
    }
}

/// Two digits behind the point.
fn rounded(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

fn memory_bytes(record: &SnapshotRecord) -> u64 {
    match record.memory {
        Some(MemoryMark::Captured { bytes, .. }) => bytes,
        Some(MemoryMark::Failed(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn counted(host: &Arc<Host>, by: StatsBy) -> Vec<UsageView> {
        let all = active(host, None).unwrap();
        let full = stats(host, all.clone(), (by, false), &JobHandle::new()).unwrap();
        let quick = stats(host, all, (by, true), &JobHandle::new()).unwrap();
        for (full, quick) in full.usage.iter().zip(&quick.usage) {
            assert_eq!(full.unique_bytes, quick.unique_bytes);
            assert_eq!((quick.needed_bytes, quick.dedup_ratio), (None, None));
            let shared = full.shared_bytes.unwrap();
            assert_eq!(full.needed_bytes, Some(full.unique_bytes + shared));
        }
        full.usage
    }

    #[tokio::test]
    async fn groups_have_what_they_need_and_what_they_were_used_for() {
        let (host, _folder) = fixture::host(|_| {});
        let web = fixture::unlike_others(&host, "web");
        fixture::unlike_others(&host, "db");
        for _ in 0..2 {
            fixture::snapshot(&host, "empty", None);
        }
        for _ in 0..2 {
            host.catalogue.note_restore(&web, 3, 5_000, 77).unwrap();
        }
        let by_snapshot = counted(&host, StatsBy::Snapshot);
        assert_eq!(by_snapshot.len(), 4);
        let of = |version: &str| {
            let found = by_snapshot
                .iter()
                .find(|one| one.version.as_deref() == Some(version));
            found.unwrap()
        };
        assert!(of("web:1").unique_bytes > 0);
        assert_eq!(
            of("empty:1").unique_bytes,
            0,
            "both have the same empty tree"
        );
        assert!(of("empty:1").shared_bytes > Some(0));
        let used = of("web:1");
        assert_eq!(
            (used.restores, used.containers, used.time_saved_ms),
            (2, 6, 10)
        );
        assert_eq!(used.last_used_at.as_deref(), Some("1970-01-01T00:01:17Z"));
        let by_name = counted(&host, StatsBy::Name);
        assert_eq!(by_name.len(), 3);
        let empty = by_name
            .iter()
            .find(|one| one.name.as_deref() == Some("empty"));
        let empty = empty.unwrap();
        assert_eq!((empty.snapshots, empty.shared_bytes), (2, Some(0)));
        let all = counted(&host, StatsBy::Namespace);
        assert_eq!(
            (all.len(), all[0].snapshots, all[0].shared_bytes),
            (1, 4, Some(0))
        );
    }

    /// What is in the trash needs its data still.
    #[tokio::test]
    async fn what_the_trash_needs_too_is_not_unique() {
        let (host, _folder) = fixture::host(|config| {
            config.trash_grace = Duration::from_secs(60);
        });
        let [one, other] = ["a", "b"].map(|name| fixture::snapshot(&host, name, None));
        crate::removal::remove(&host, &[other]).await.unwrap();
        let found = counted(&host, StatsBy::Snapshot);
        assert_eq!((found.len(), found[0].unique_bytes), (1, 0));
        crate::trash::let_go(&host, &[other], None).await.unwrap();
        assert!(counted(&host, StatsBy::Snapshot)[0].unique_bytes > 0);
        assert_eq!(found[0].snapshot, Some(one.to_string()));
    }

    #[test]
    fn a_restore_saves_what_copying_would_have_taken_longer() {
        let second = Duration::from_secs(1);
        assert_eq!(saved_us(400 << 20, 1, second), 1_000_000);
        assert_eq!(saved_us(400 << 20, 3, second), 5_000_000);
        assert_eq!(saved_us(1 << 20, 1, second), 0);
        assert_eq!(saved_us(u64::MAX, u64::MAX, second), u64::MAX - 1_000_000);
    }
}
