use snap_api::DiskPressure;
use snap_store::{BaseLayer, BaseRecord, LinkTable, Meta, SnapshotId, TreeRef};
use tempfile::TempDir;

use super::{relief::Usage, *};
use crate::{clock, config::Config, fixture, removal};

fn asked(dry_run: bool) -> CollectPlan {
    CollectPlan {
        reason: Reason::Asked,
        dry_run,
        grace: Duration::ZERO,
    }
}

async fn collected(host: &Arc<Host>, plan: CollectPlan) -> Collected {
    let started = start(host, "default".parse().unwrap(), plan).unwrap();
    match host.jobs.outcome(&started.job).await.unwrap() {
        JobOutcome::Collected(collected) => *collected,
        other => panic!("{other:?}"),
    }
}

fn packs(host: &Host) -> u64 {
    host.store.stats().unwrap().packs
}

/// Remembers a base of that root and returns its key; `is_layered` when containerd can be asked for its layer.
fn remember(host: &Host, root: TreeRef, is_layered: bool, last_used_at: i64) -> String {
    let key = root.digest.to_string();
    let base = BaseRecord {
        root,
        root_meta: Meta::default(),
        links: LinkTable::default(),
        logical_bytes: 0,
    };
    let layer = BaseLayer {
        namespace: "default".parse().unwrap(),
        snapshotter: "overlayfs".to_owned(),
        name: "sha256:1".to_owned(),
        created: "1.0".to_owned(),
    };
    let layer = is_layered.then_some(&layer);
    host.catalogue
        .put_base(&key, &base, layer, last_used_at)
        .unwrap();
    key
}

fn base(host: &Host, text: &str, last_used_at: i64) -> String {
    let draft = host.store.begin(SnapshotId::random()).unwrap();
    let root = fixture::tree(&draft, text);
    draft.publish_chunks().unwrap();
    remember(host, root, true, last_used_at)
}

fn keys(host: &Host) -> Vec<String> {
    let bases = host.catalogue.bases().unwrap();
    bases.into_iter().map(|base| base.key).collect()
}

/// **C1** What a snapshot alone had needed that was removed and is not in the trash is given back by a collection; what another snapshot
/// or a capture under way needs stays.
#[tokio::test]
async fn the_space_of_removed_snapshots_is_given_back() {
    let (host, _folder) = fixture::host(|_| {});
    let gone = fixture::unlike_others(&host, "gone");
    let kept = fixture::unlike_others(&host, "kept");
    removal::remove(&host, &[gone]).await.unwrap();
    let before = packs(&host);
    let done = collected(&host, asked(false)).await;
    assert_eq!((done.snapshots, done.removed_packs), (1, 1));
    assert!(done.freed_bytes > 0 && done.waiting_packs == 0);
    assert_eq!(packs(&host), before - 1);
    let root = host.store.manifest(&kept).unwrap().root.digest;
    host.store.check(&root, true).unwrap();
    removal::remove(&host, &[kept]).await.unwrap();
    collected(&host, asked(false)).await;
    assert_eq!(packs(&host), 0);
}

/// **C2** With `--dry-run` it is only looked and counted.
#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (host, _folder) = fixture::host(|_| {});
    let gone = fixture::unlike_others(&host, "gone");
    let idle = base(&host, "idle", 0);
    removal::remove(&host, &[gone]).await.unwrap();
    let before = packs(&host);
    let said = collected(&host, asked(true)).await;
    assert_eq!((said.removed_packs, said.forgotten_bases), (2, 1));
    assert_eq!((packs(&host), keys(&host)), (before, vec![idle]));
    assert!(host.past.last().is_none());
    let done = collected(&host, asked(false)).await;
    assert_eq!(
        (done.removed_packs, done.freed_bytes, done.forgotten_bases),
        (said.removed_packs, said.freed_bytes, 1)
    );
}

#[tokio::test]
async fn the_last_collection_is_remembered_beyond_the_daemon() {
    let (host, _folder) = fixture::host(|_| {});
    let gone = fixture::unlike_others(&host, "gone");
    removal::remove(&host, &[gone]).await.unwrap();
    let done = collected(&host, asked(false)).await;
    let last = host.past.last().unwrap();
    assert_eq!((last.freed_bytes, last.dead_bytes), (done.freed_bytes, 0));
    let config = host.config.clone();
    drop(host);
    let host = Host::open(config).unwrap();
    assert_eq!(host.past.last().unwrap(), last);
    let status = host.past.status(&host);
    assert_eq!(status.last.unwrap().ended_at, clock::rfc3339(last.ended_at));
}

/// Bases of layers nobody can be asked for: unknown means keep, and only age makes them go.
#[tokio::test]
async fn bases_stay_while_containerd_is_silent_and_go_when_nobody_uses_them() {
    let (host, _folder) = fixture::host(|_| {});
    let now = clock::now();
    let day = 24 * 60 * 60;
    let recent = base(&host, "recent", now);
    let older = base(&host, "older", now - 2 * day);
    base(&host, "idle", now - 31 * day);
    let done = collected(&host, asked(false)).await;
    assert_eq!((done.forgotten_bases, done.removed_packs), (1, 1));
    let mut expected = vec![recent.clone(), older];
    expected.sort();
    assert_eq!(keys(&host), expected);
    by_itself(&host, Reason::Pressure).await.unwrap();
    assert_eq!((keys(&host), packs(&host)), (vec![recent], 1));
}

#[tokio::test]
async fn a_base_that_cannot_be_read_does_not_keep_the_rest_from_being_collected() {
    let (host, _folder) = fixture::host(|_| {});
    let gone = fixture::unlike_others(&host, "gone");
    let root = host.store.manifest(&gone).unwrap().root;
    removal::remove(&host, &[gone]).await.unwrap();
    collected(&host, asked(false)).await;
    // As in a catalogue that was edited by hand.
    remember(&host, root, false, clock::now());
    let dead = fixture::unlike_others(&host, "dead");
    removal::remove(&host, &[dead]).await.unwrap();
    let done = collected(&host, asked(false)).await;
    assert_eq!((done.incomplete, done.forgotten_bases), (false, 1));
    assert_eq!((packs(&host), keys(&host)), (0, Vec::new()));
}

/// **C3** When it is not known what all snapshots need, nothing is removed.
#[tokio::test]
async fn a_manifest_that_cannot_be_read_keeps_everything() {
    let (host, _folder) = fixture::host(|_| {});
    let torn = fixture::unlike_others(&host, "torn");
    let gone = fixture::unlike_others(&host, "gone");
    removal::remove(&host, &[gone]).await.unwrap();
    let manifest = host.config.root.join(format!("manifests/{torn}.manifest"));
    std::fs::write(manifest, "torn").unwrap();
    let before = packs(&host);
    let done = collected(&host, asked(false)).await;
    assert!(done.incomplete && done.removed_packs == 0);
    assert_eq!(done.unreadable[0].holder, format!("snapshot {torn}"));
    assert_eq!(packs(&host), before);
}

#[tokio::test]
async fn removals_that_were_collected_count_no_more() {
    let (host, _folder) = fixture::host(|_| {});
    let gone = fixture::unlike_others(&host, "gone");
    let mut record = host.catalogue.get(&gone).unwrap();
    record.stored_bytes = 5;
    host.past.removed(&record);
    let died = host.past.died();
    host.past.removed(&record);
    host.past.note(&host, died, &CollectReport::default());
    assert_eq!((host.past.died_bytes(), host.past.removals()), (5, 2));
}

/// A host whose disk is above the mark however full it is; nothing can bring it below.
fn pressed() -> (Arc<Host>, TempDir) {
    fixture::host(|config| {
        config.disk_high_percent = 0;
        config.disk_low_percent = 0;
    })
}

#[tokio::test]
async fn a_full_disk_is_collected_once_and_then_refused_until_something_is_removed() {
    let (host, _folder) = pressed();
    let stat = host.config.root.join("cache/stat");
    std::fs::create_dir_all(&stat).unwrap();
    let gone = fixture::unlike_others(&host, "gone");
    let other = fixture::unlike_others(&host, "other");
    removal::remove(&host, &[gone]).await.unwrap();
    relief::admit(&host).await.unwrap();
    assert_eq!(relief::status(&host).unwrap().pressure, DiskPressure::High);

    let job = JobHandle::new();
    let refused = relief::make_room(&host, &job).await.unwrap_err();
    let report = snap_api::ErrorReport::from(refused);
    assert_eq!(report.code, snap_api::ErrorCode::Limit);
    assert_eq!(report.reason, "disk-pressure");
    assert!(report.hint.unwrap().contains("disk_high_percent"));
    assert_eq!(packs(&host), 1, "what could be given back was");
    assert!(!stat.exists());
    assert_eq!(relief::status(&host).unwrap().pressure, DiskPressure::Full);
    assert!(relief::admit(&host).await.is_err());
    assert!(relief::make_room(&host, &job).await.is_err());
    assert_eq!(
        host.jobs.list(None, None, 10).len(),
        1,
        "not again for nothing"
    );

    removal::remove(&host, &[other]).await.unwrap();
    relief::admit(&host).await.unwrap();
    relief::make_room(&host, &job).await.unwrap_err();
    assert_eq!((packs(&host), host.jobs.list(None, None, 10).len()), (0, 2));
}

#[tokio::test]
async fn a_capture_that_waits_for_room_can_be_cancelled() {
    let (host, _folder) = pressed();
    let job = JobHandle::new();
    job.cancel();
    assert!(relief::make_room(&host, &job).await.is_err());
}

#[test]
fn a_disk_is_as_full_as_df_says() {
    let usage = |used_bytes, total_bytes| Usage {
        used_bytes,
        total_bytes,
    };
    assert_eq!(usage(949, 1000).percent(), 94);
    assert_eq!(usage(950, 1000).percent(), 95);
    assert_eq!(usage(u64::MAX, u64::MAX).percent(), 100);
    assert_eq!(usage(0, 0).percent(), 0);
    let config = Config::default();
    assert!(usage(950, 1000).is_above_high(&config) && !usage(949, 1000).is_above_high(&config));
    assert!(usage(849, 1000).is_below_low(&config) && !usage(850, 1000).is_below_low(&config));
    let off = Config {
        disk_high_percent: 100,
        ..config
    };
    assert!(!usage(1000, 1000).is_above_high(&off));
}

#[tokio::test]
async fn the_store_is_collected_by_itself() {
    let (host, _folder) = fixture::host(|config| {
        config.collect_interval = Some(Duration::from_secs(1));
        config.collect_grace = Duration::ZERO;
    });
    let gone = fixture::unlike_others(&host, "gone");
    removal::remove(&host, &[gone]).await.unwrap();
    let collecting = tokio::spawn(run(Arc::clone(&host)));
    let until = Instant::now() + Duration::from_secs(20);
    while packs(&host) > 0 {
        assert!(Instant::now() < until, "nothing was collected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    collecting.abort();
}
