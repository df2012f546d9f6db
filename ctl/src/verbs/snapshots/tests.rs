//! Lists and details of snapshots, letter by letter.

use std::time::Duration;

use super::*;

fn new_year() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800)
}

fn snapshot() -> SnapshotView {
    SnapshotView {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        namespace: "default".to_owned(),
        state: SnapshotState::Active,
        reason: None,
        names: vec!["web:latest".to_owned()],
        immutable: Vec::new(),
        versions: Vec::new(),
        pinned: false,
        labels: BTreeMap::new(),
        source: "web".to_owned(),
        is_container: true,
        container_folder: None,
        image: Some("example.org/web:1".to_owned()),
        created_at: "2019-12-31T22:00:00Z".to_owned(),
        expires_at: Some("2020-01-14T22:00:00Z".to_owned()),
        expires_by: None,
        unused_seconds: None,
        in_use: false,
        expired: false,
        last_used_at: None,
        nodes: 2,
        logical_bytes: 3 << 20,
        stored_bytes: 1 << 20,
        pause_us: 900,
        damage: None,
        memory: None,
    }
}

fn failed() -> SnapshotView {
    SnapshotView {
        id: "f".repeat(32),
        namespace: "k8s.io".to_owned(),
        state: SnapshotState::Failed,
        reason: Some("The daemon was restarted".to_owned()),
        names: Vec::new(),
        source: "/srv/data".to_owned(),
        is_container: false,
        container_folder: None,
        image: None,
        expired: true,
        ..snapshot()
    }
}

#[test]
fn a_list_has_a_row_a_snapshot() {
    assert_eq!(
        render(&[snapshot(), failed()], true, new_year()),
        "\
NAMESPACE  ID            NAME        STATE   SOURCE     CREATED  EXPIRES        SIZE   STORED
default    0123456789ab  web:latest  active  web        2h ago   in 13d 22h  3.0 MiB  1.0 MiB
k8s.io     ffffffffffff  -           failed  /srv/data  2h ago   expired     3.0 MiB  1.0 MiB
"
    );
}

#[test]
fn a_snapshot_that_never_expires_says_so() {
    let kept = SnapshotView {
        expires_at: None,
        ..snapshot()
    };
    assert_eq!(expires_in(&kept, new_year()), "never");
    assert_eq!(expiry(&kept, new_year()), "never");
}

#[test]
fn what_expires_when_it_is_unused_says_so() {
    let unused = SnapshotView {
        expires_by: Some(ExpiryCause::Unused),
        unused_seconds: Some(86_400),
        ..snapshot()
    };
    assert_eq!(expires_in(&unused, new_year()), "in 13d 22h if unused");
    assert_eq!(
        expiry(&unused, new_year()),
        "2020-01-14T22:00:00Z (in 13d 22h) if unused"
    );
    let told = render_view(&unused, new_year());
    assert!(told.contains("Unused for  1d at most\n"), "{told}");
    let used = SnapshotView {
        expires_at: None,
        expires_by: None,
        in_use: true,
        ..unused
    };
    assert_eq!(expires_in(&used, new_year()), "when unused");
    assert_eq!(expiry(&used, new_year()), "1d after its use has ended");
}

#[test]
fn pins_versions_and_immutable_names_are_told() {
    let pinned = SnapshotView {
        pinned: true,
        names: vec!["web:latest".to_owned(), "web:v1".to_owned()],
        immutable: vec!["web:v1".to_owned()],
        versions: vec!["web:3".to_owned()],
        ..snapshot()
    };
    assert_eq!(expires_in(&pinned, new_year()), "pinned");
    let told = render_view(&pinned, new_year());
    assert!(
        told.contains("Names       web:latest\n            web:v1 (immutable)\n"),
        "{told}"
    );
    assert!(told.contains("Version     web:3\n"), "{told}");
    assert!(
        told.contains("Expires     pinned; unpinned 2020-01-14T22:00:00Z (in 13d 22h)\n"),
        "{told}"
    );
}

#[test]
fn the_reason_of_a_failure_is_shown_and_sizes_it_never_had_are_not() {
    assert_eq!(
        render_view(&failed(), new_year()),
        "\
Snapshot   ffffffffffffffffffffffffffffffff
Namespace  k8s.io
State      failed
Reason     The daemon was restarted
Names      -
Labels     -
Source     folder /srv/data
Created    2019-12-31T22:00:00Z (2h ago)
Expires    2020-01-14T22:00:00Z (expired)
"
    );
}

#[test]
fn a_list_says_which_snapshots_hold_memory_and_whether_that_is_encrypted() {
    let with = |captured, encrypted| SnapshotView {
        memory: Some(MemoryView {
            captured,
            bytes: 1 << 20,
            encrypted,
            reason: None,
        }),
        ..snapshot()
    };
    assert_eq!(state(&snapshot()), "active");
    assert_eq!(state(&with(false, false)), "active, memory failed");
    assert_eq!(state(&with(true, false)), "active, with memory");
    assert_eq!(state(&with(true, true)), "active, with encrypted memory");
    let told = render_view(&with(true, true), new_year());
    let line = "Memory      captured, 1.0 MiB, encrypted; for root alone\n";
    assert!(told.contains(line), "{told}");
    let told = render_view(&with(true, false), new_year());
    assert!(told.contains("1.0 MiB, in clear; for root alone"), "{told}");
}
