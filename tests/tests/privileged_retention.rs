//! Which versions are kept and what goes, by `snapctl` against a real daemon.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use snap_api::{
    ExpiryCause, ForgetVerdict, ForgetView, HoldKind, KeepRule, PolicyView, SnapshotState,
    VersionView,
};
use snap_tests::{Host, Image, noise, text, wait_for};

const SOON: Duration = Duration::from_secs(20);
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const LIMIT: i32 = 5;

/// A host without containerd, and a folder to capture.
fn host_with_folder(config: &str) -> Result<(Host, PathBuf)> {
    let host = Host::start_without_containerd(config)?;
    let folder = host.make_folder("data")?;
    fs::write(folder.join("file"), "content")?;
    Ok((host, folder))
}

/// The same with so many versions of `data`.
fn host_with_versions(count: usize) -> Result<(Host, PathBuf)> {
    let (host, folder) = host_with_folder("")?;
    for _ in 0..count {
        host.capture(&folder, &["--name", "data"])?;
    }
    Ok((host, folder))
}

fn numbers(host: &Host, name: &str) -> Result<Vec<u64>> {
    let versions: Vec<VersionView> = host.snap_json(&["history", name])?;
    Ok(versions.iter().map(|one| one.version).collect())
}

/// The numbers with this verdict.
fn with_verdict(versions: &[ForgetView], verdict: ForgetVerdict) -> Vec<u64> {
    let found = versions.iter().filter(|one| one.verdict == verdict);
    found.map(|one| one.version).collect()
}

/// **G1** `snapctl forget NAME` keeps every version that a rule names and removes the others: the last N, the newest of each of
/// the last N hours, days, weeks, months or years that have one, and those made within a time before the newest.
/// **G5** Without a rule nothing is forgotten: that is a usage error. With `--dry-run` nothing is changed.
#[test]
fn what_no_rule_keeps_goes_and_a_dry_run_foretells_it() -> Result<()> {
    let (host, folder) = host_with_versions(5)?;
    host.capture(&folder, &["--name", "other"])?;
    let before = host.snap(&["list", "-o", "json"])?;
    let foretold: Vec<ForgetView> =
        host.snap_json(&["forget", "data", "--keep-last", "2", "--dry-run"])?;
    assert_eq!(with_verdict(&foretold, ForgetVerdict::Keep), [5, 4]);
    assert_eq!(with_verdict(&foretold, ForgetVerdict::Remove), [3, 2, 1]);
    assert_eq!(foretold[0].kept_by, [KeepRule::Last]);
    for arguments in [&["forget", "data"][..], &["forget", "--keep-last", "2"]] {
        assert_eq!(host.snapctl(arguments)?.code, USAGE);
    }
    assert_eq!(host.snap(&["list", "-o", "json"])?, before);
    let done: Vec<ForgetView> = host.snap_json(&["forget", "data", "--keep-last", "2"])?;
    assert_eq!(done, foretold);
    assert_eq!(numbers(&host, "data")?, [5, 4]);
    assert_eq!(numbers(&host, "other")?, [1]);
    host.capture(&folder, &["--name", "data"])?;
    let said = host.snap(&["forget", "--all-names", "--keep-within", "30d"])?;
    assert!(said.ends_with("Removed 0 of 4 versions"), "{said}");
    host.snap(&["forget", "--all-names", "--keep-last", "1"])?;
    assert_eq!(numbers(&host, "data")?, [6]);
    assert_eq!(numbers(&host, "other")?, [1]);
    Ok(())
}

/// **G4** What is pinned, what a container or a folder uses, what a name points to and what is not active is never removed by a
/// rule; the answer says of each version which rules keep it, or what holds it.
#[test]
fn what_is_held_stays_and_the_answer_says_by_what() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    for _ in 0..6 {
        host.snap(&["create", "one", "--name", "site"])?;
    }
    host.snap(&["pin", "site:1"])?;
    host.snap(&["restore", "site:2", "--id", "user"])?;
    let folder = host.mount("site:3", "mounted", &[])?;
    host.snap(&["tag", "site:4", "else:v1"])?;
    let done: Vec<ForgetView> = host.snap_json(&["forget", "site", "--keep-last", "1"])?;
    assert_eq!(with_verdict(&done, ForgetVerdict::Remove), [5]);
    assert_eq!(with_verdict(&done, ForgetVerdict::Held), [4, 3, 2, 1]);
    let held: Vec<_> = done
        .iter()
        .flat_map(|one| one.held_by.iter().map(|by| (by.kind, by.name.as_deref())))
        .collect();
    let user = format!("{}/user", host.namespace());
    let expected = [
        (HoldKind::Tag, Some("site:latest")),
        (HoldKind::Tag, Some("else:v1")),
        (HoldKind::Folder, Some(text(&folder)?)),
        (HoldKind::Container, Some(user.as_str())),
        (HoldKind::Pinned, None),
    ];
    assert_eq!(held, expected);
    assert_eq!(numbers(&host, "site")?, [6, 4, 3, 2, 1]);
    host.snap(&["container", "remove", "user"])?;
    host.snap(&["unmount", text(&folder)?])?;
    host.snap(&["unpin", "site:1"])?;
    host.snap(&["untag", "else:v1"])?;
    host.snap(&["rollback", "site", "2"])?;
    host.snap(&["forget", "site", "--keep-last", "1"])?;
    assert_eq!(numbers(&host, "site")?, [6, 2]);
    Ok(())
}

/// What `latest` pointed to is not a rule's business: it neither falls back nor comes again.
#[test]
fn forgetting_moves_no_latest() -> Result<()> {
    let (host, _) = host_with_versions(3)?;
    host.snap(&["untag", "data:latest"])?;
    host.snap(&["forget", "data", "--keep-last", "1"])?;
    assert_eq!(numbers(&host, "data")?, [3]);
    assert_eq!(host.snapctl(["show", "data"])?.code, 3);
    Ok(())
}

/// **G6** `snapctl policy set NAME` stores rules for a name, also before it has versions: what `snapctl forget` would remove by
/// them goes after each create under the name and with each look for expired snapshots.
#[test]
fn a_policy_is_applied_after_a_create_and_with_each_look() -> Result<()> {
    let (mut host, folder) = host_with_folder("expiry_interval = \"1s\"")?;
    host.snap(&["policy", "set", "data", "--keep-last", "2"])?;
    for made in 1..=3 {
        let created = host.capture(&folder, &["--name", "data"])?;
        assert_eq!(created.snapshot.versions, [format!("data:{made}")]);
        host.capture(&folder, &["--name", "other"])?;
    }
    assert_eq!(numbers(&host, "data")?, [3, 2]);
    assert_eq!(numbers(&host, "other")?, [3, 2, 1]);
    host.take_daemon()?.kill()?;
    host.start_daemon()?;
    let policies: Vec<PolicyView> = host.snap_json(&["policy", "show"])?;
    assert_eq!(policies.len(), 1);
    assert_eq!((&*policies[0].name, policies[0].keep.last), ("data", 2));
    host.snap(&["policy", "set", "data", "--keep-last", "1"])?;
    host.snap(&["policy", "set", "other", "--keep-last", "1"])?;
    wait_for("a look at the policies", SOON, || {
        let left = (numbers(&host, "data")?, numbers(&host, "other")?);
        Ok((left == (vec![3], vec![3])).then_some(()))
    })?;
    host.snap(&["policy", "remove", "data"])?;
    assert_eq!(host.snapctl(["policy", "show", "data"])?.code, NOT_FOUND);
    host.capture(&folder, &["--name", "data"])?;
    assert_eq!(numbers(&host, "data")?, [4, 3]);
    Ok(())
}

/// The answer of a create says what went for it.
#[test]
fn a_create_says_what_was_forgotten_for_it() -> Result<()> {
    let (host, folder) = host_with_versions(2)?;
    host.snap(&["policy", "set", "data", "--keep-last", "2"])?;
    assert_eq!(numbers(&host, "data")?, [2, 1]);
    let created = host.capture(&folder, &["--name", "data"])?;
    assert_eq!(created.forgotten, ["data:1"]);
    assert_eq!(numbers(&host, "data")?, [3, 2]);
    Ok(())
}

/// **T11** With `--ttl-unused` a snapshot expires that time after its last use, or after its creation when there was none. A use is a
/// restore or a mount; while a container or a folder stands on the snapshot, it is in use. With a time to live as well, what comes
/// first counts.
/// **T12** `snapctl ttl --unused` sets it anew, counted from now at the earliest, and `never` takes it away; the time to live stays as
/// it is.
#[test]
fn a_snapshot_expires_when_nobody_uses_it() -> Result<()> {
    let (host, folder) = host_with_folder("expiry_interval = \"1s\"")?;
    host.capture(&folder, &["--name", "used", "--ttl-unused", "3s"])?;
    let mounted = host.mount("used", "mounted", &[])?;
    host.capture(&folder, &["--name", "idle", "--ttl-unused", "1s"])?;
    host.capture(
        &folder,
        &["--name", "both", "--ttl-unused", "30d", "--ttl", "1s"],
    )?;
    host.capture(&folder, &["--name", "kept", "--ttl-unused", "1h"])?;
    host.snap(&["ttl", "kept", "--unused", "never"])?;
    wait_for("what is unused to go", SOON, || {
        let left = host.snap(&["list", "--quiet"])?.lines().count();
        Ok((left == 2).then_some(()))
    })?;
    let used = host.show("used")?.snapshot;
    assert!(used.in_use && !used.expired && used.expires_at.is_none());
    let kept = host.show("kept")?.snapshot;
    assert_eq!((kept.expires_at, kept.unused_seconds), (None, None));
    host.snap(&["unmount", text(&mounted)?])?;
    wait_for("what is let go of to go", SOON, || {
        Ok((host.snapctl(["show", "used"])?.code == NOT_FOUND).then_some(()))
    })?;
    host.snap(&["ttl", "kept", "--unused", "1h"])?;
    let kept = host.show("kept")?.snapshot;
    assert_eq!(kept.expires_by, Some(ExpiryCause::Unused));
    host.snap(&["ttl", "kept", "10m"])?;
    let kept = host.show("kept")?.snapshot;
    assert_eq!(kept.expires_by, Some(ExpiryCause::Ttl));
    assert_eq!(kept.unused_seconds, Some(3600));
    Ok(())
}

/// **L4** With `stored_bytes_per_namespace`, what the snapshots of a namespace have added to the store comes to that at most: the create
/// that would exceed it fails with `limit`, its snapshot is `failed` and holds nothing; once it is reached, the next is refused
/// before anything is read.
/// **L5** From 80 % of such a limit on, the answer of each create carries a warning that says how much is held.
#[test]
fn a_namespace_stores_no_more_than_it_may() -> Result<()> {
    let (host, folder) =
        host_with_folder("stored_bytes_per_namespace = \"1MiB\"\nsnapshots_per_namespace = \"5\"")?;
    noise(&folder.join("first"), 600 << 10)?;
    let first = host.capture(&folder, &["--name", "data"])?;
    assert_eq!(first.warnings, [""; 0]);
    noise(&folder.join("second"), 600 << 10)?;
    let create = ["create", "--path", text(&folder)?, "--name", "data"];
    let refused = host.snapctl(create)?;
    assert!(
        refused.code == LIMIT && refused.stderr.contains("stored_bytes_per_namespace"),
        "{refused:?}"
    );
    assert_eq!(numbers(&host, "data")?, [1]);
    let failed = host.snap(&["list", "--filter", "state=failed", "-q"])?;
    assert_eq!(host.state_of(&failed)?.0, SnapshotState::Failed);
    assert_eq!(
        host.snapctl(create)?.code,
        LIMIT,
        "nothing was stored before"
    );
    let elsewhere = host.capture(&folder, &["--namespace", "other"])?;
    fs::remove_file(folder.join("second"))?;
    noise(&folder.join("third"), 300 << 10)?;
    let third = host.capture(&folder, &["--name", "data"])?;
    assert!(third.warnings[0].contains("stored bytes"), "{third:?}");
    assert_eq!(host.show("data")?.snapshot.versions, ["data:2"]);
    assert!(elsewhere.warnings.is_empty());
    for _ in 0..2 {
        host.capture(&folder, &["--name", "data"])?;
    }
    let told = host.capture(&folder, &["--name", "data"])?.warnings;
    assert!(
        told.iter().any(|text| text.contains("5 snapshots")),
        "{told:?}"
    );
    assert_eq!(host.snapctl(create)?.code, LIMIT);
    Ok(())
}
