use snap_store::SnapshotState;

use super::*;
use crate::{fixture, settle};

fn numbers(host: &Host) -> Vec<u64> {
    let kept = kept(&host.config.backups()).unwrap();
    kept.iter().map(|kept| kept.number).collect()
}

/// **K2** Of the regular copies of the catalogue `backup_keep` are kept: the oldest go, the newest never does.
#[tokio::test]
async fn the_oldest_copies_go_whatever_the_clock_says() {
    let (host, _folder) = fixture::host(|config| config.backup_keep = 2);
    make(&host).await.unwrap();
    // As a clock that was far ahead has named it.
    let ahead = host.config.backups().join(name(2, i64::MAX));
    fs::copy(newest(&host.config).unwrap().path, ahead).unwrap();
    make(&host).await.unwrap();
    assert_eq!(numbers(&host), [2, 3]);
    make(&host).await.unwrap();
    assert_eq!(numbers(&host), [3, 4]);
    let status = status(&host);
    assert_eq!(status.kept, 2);
    assert!(status.last_path.unwrap().to_string().contains("-4-"));
}

#[tokio::test]
async fn what_a_killed_daemon_left_half_made_is_cleared_and_other_files_are_left_alone() {
    let (host, _folder) = fixture::host(|_| {});
    let folder = host.config.backups();
    fs::create_dir(&folder).unwrap();
    for name in [".catalogue-1.part", "note.txt", "catalogue-x-y.db"] {
        fs::write(folder.join(name), "").unwrap();
    }
    make(&host).await.unwrap();
    let mut names: Vec<_> = entries(&folder).unwrap();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(!folder.join(".catalogue-1.part").exists());
    assert_eq!(numbers(&host), [1]);
}

#[tokio::test]
async fn copies_are_made_by_themselves() {
    let (host, _folder) = fixture::host(|config| {
        config.backup_interval = Some(Duration::from_secs(1));
    });
    let making = tokio::spawn(run(Arc::clone(&host)));
    let until = Instant::now() + Duration::from_secs(20);
    while numbers(&host).is_empty() {
        assert!(Instant::now() < until, "no copy was made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(status(&host).next_at.is_some());
    making.abort();
}

#[tokio::test]
async fn turned_off_there_is_no_next_one() {
    let (host, _folder) = fixture::host(|config| config.backup_interval = None);
    run(Arc::clone(&host)).await;
    assert!(status(&host).next_at.is_none());
}

#[tokio::test]
async fn a_copy_among_the_daemons_own_files_is_refused() {
    let (host, folder) = fixture::host(|_| {});
    fs::create_dir(&host.config.state).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(host.config.root.join("packs"), &link).unwrap();
    for path in [host.config.catalogue(), link.join("copy.db")] {
        let refused = to_file(&host, path).await.unwrap_err();
        assert!(refused.to_string().contains("own files"), "{refused}");
    }
    let missing = to_file(&host, folder.path().join("no/copy.db")).await;
    let report = ErrorReport::from(missing.unwrap_err());
    assert_eq!(report.code, ErrorCode::NotFound);
    let copy = folder.path().join("copy.db");
    assert!(to_file(&host, copy.clone()).await.unwrap().bytes > 0);
    assert!(copy.exists());
}

/// **K3** After a copy was put back, snapshots made after it are found again by their manifests, and those removed after
/// it are `failed`: none is `active` with nothing behind it.
#[tokio::test]
async fn a_catalogue_that_was_put_back_knows_what_is_there_and_no_more() {
    let (host, folder) = fixture::host(|_| {});
    let kept = fixture::snapshot(&host, "kept", Some(2000));
    let removed = fixture::snapshot(&host, "removed", None);
    let under_way = fixture::committed(&host, "under-way", None);
    let copy = folder.path().join("copy.db");
    host.catalogue.back_up(&copy).unwrap();
    crate::removal::remove(&host, &[removed]).await.unwrap();
    host.catalogue.activate(&under_way).unwrap();
    let later = fixture::snapshot(&host, "later", None);
    let config = host.config.clone();
    let busy = put_back(&config, &copy).unwrap_err();
    assert!(busy.to_string().contains("another process"), "{busy}");
    drop(host);

    assert_eq!(put_back(&config, &copy).unwrap().snapshots, 3);
    let host = Host::open(config).unwrap();
    settle::settle(&host).await.unwrap();
    for id in [kept, under_way.id, later] {
        assert_eq!(
            host.catalogue.get(&id).unwrap().state,
            SnapshotState::Active
        );
    }
    let gone = host.catalogue.get(&removed).unwrap();
    assert_eq!(gone.state, SnapshotState::Failed);
    assert!(gone.reason.unwrap().contains("manifest"), "says why");
    let expires_at = host.catalogue.get(&kept).unwrap().expires_at.unwrap();
    assert!(expires_at > clock::now(), "nobody loses it unseen");
    crate::removal::remove(&host, &[removed]).await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_comes_back_brings_its_snapshot_back() {
    let (host, folder) = fixture::host(|_| {});
    let id = fixture::snapshot(&host, "moved", None);
    let manifest = host.config.root.join(format!("manifests/{id}.manifest"));
    let aside = folder.path().join("aside");
    fs::rename(&manifest, &aside).unwrap();
    settle::settle(&host).await.unwrap();
    assert_eq!(
        host.catalogue.get(&id).unwrap().state,
        SnapshotState::Failed
    );
    fs::rename(&aside, &manifest).unwrap();
    let config = host.config.clone();
    drop(host);
    let host = Host::open(config).unwrap();
    assert_eq!(
        host.catalogue.get(&id).unwrap().state,
        SnapshotState::Active
    );
}
