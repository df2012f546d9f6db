//! Rows and manifests are brought together, and a catalogue that cannot be read is made anew.

use std::fs;

use snap_store::{Force, SnapshotState};

use super::*;
use crate::fixture;

fn state(host: &Host, id: &SnapshotId) -> (SnapshotState, Option<String>) {
    let record = host.catalogue.get(id).unwrap();
    (record.state, record.reason)
}

async fn repaired(host: &Arc<Host>, extent: Extent) -> Repaired {
    repair(host, extent, &JobHandle::new()).await.unwrap()
}

#[tokio::test]
async fn a_store_that_is_whole_needs_nothing() {
    let (host, _folder) = fixture::host(|_| {});
    fixture::snapshot(&host, "whole", None);
    let report = repaired(&host, Extent::Full).await;
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.snapshots, 1);
}

#[tokio::test]
async fn rows_and_manifests_agree_afterwards() {
    let (host, _folder) = fixture::host(|_| {});
    let whole = fixture::snapshot(&host, "whole", None);
    let bare = fixture::snapshot(&host, "bare", None);
    host.store.remove_manifest(&bare).unwrap();
    let broken = fixture::snapshot(&host, "broken", None);
    let manifest = host
        .config
        .root
        .join(format!("manifests/{broken}.manifest"));
    fs::write(&manifest, "no manifest").unwrap();
    let unknown = fixture::snapshot(&host, "unknown", None);
    host.catalogue
        .begin_removal(&[unknown], Force::No, 0)
        .unwrap();
    host.catalogue.finish_removal(&unknown).unwrap();

    let foretold = repaired(&host, Extent::DryRun).await;
    assert_eq!(state(&host, &bare).0, SnapshotState::Active);
    assert!(manifest.exists() && host.catalogue.get(&unknown).is_err());
    let report = repaired(&host, Extent::Full).await;
    assert_eq!(report.found_again, foretold.found_again);
    assert_eq!(report.given_up.len(), foretold.given_up.len());

    assert_eq!(report.found_again, [unknown.to_string()]);
    assert_eq!(state(&host, &unknown).0, SnapshotState::Active);
    assert_eq!(state(&host, &whole).0, SnapshotState::Active);
    for id in [bare, broken] {
        let (state, reason) = state(&host, &id);
        assert_eq!(state, SnapshotState::Failed);
        assert!(reason.is_some_and(|reason| reason.starts_with("Its manifest ")));
    }
    let kept = host
        .config
        .root
        .join(format!("quarantine/{broken}.manifest"));
    assert_eq!(fs::read(kept).unwrap(), b"no manifest");
    assert!(repaired(&host, Extent::Full).await.is_whole());
}

#[tokio::test]
async fn a_damaged_catalogue_is_kept_and_made_anew() {
    let (host, _folder) = fixture::host(|_| {});
    let id = fixture::snapshot(&host, "app:v1", None);
    let config = host.config.clone();
    drop(host);
    assert!(make_catalogue_anew(&config).unwrap().is_none());
    fs::write(config.catalogue(), [b'x'; 8192]).unwrap();
    assert!(Host::open(config.clone()).is_err());
    let made = make_catalogue_anew(&config).unwrap().unwrap();
    assert_eq!(made.snapshots, 1);
    assert_eq!(fs::read(made.kept).unwrap(), [b'x'; 8192]);
    let host = Host::open(config).unwrap();
    assert_eq!(state(&host, &id).0, SnapshotState::Active);
}

#[tokio::test]
async fn a_base_that_lost_something_is_forgotten_so_that_it_is_captured_again() {
    let (host, _folder) = fixture::host(|_| {});
    let manifest = fixture::committed(&host, "whole", None);
    host.catalogue.activate(&manifest).unwrap();
    let base = |root| snap_store::BaseRecord {
        root,
        root_meta: manifest.root_meta.clone(),
        links: manifest.links.clone(),
        logical_bytes: 0,
    };
    let lost = snap_store::TreeRef {
        digest: Digest::of(b"lost"),
        nodes: 1,
    };
    for (key, root) in [("sound", manifest.root), ("damaged", lost)] {
        host.catalogue.put_base(key, &base(root), None, 1).unwrap();
    }
    // A sound store is left alone; one that was damaged is looked over.
    let keys = |host: &Host| -> Vec<String> {
        let bases = host.catalogue.bases().unwrap();
        bases.into_iter().map(|base| base.key).collect()
    };
    repaired(&host, Extent::Full).await;
    assert_eq!(keys(&host), ["damaged", "sound"]);
    let bare = fixture::snapshot(&host, "bare", None);
    host.store.remove_manifest(&bare).unwrap();
    repaired(&host, Extent::Full).await;
    assert_eq!(keys(&host), ["sound"]);
}
