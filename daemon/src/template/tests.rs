//! What needs no container: digests and copies of files, users, keys.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use snap_api::ErrorReport;
use snap_fs::capture::Exclude;
use snap_store::TemplateRecord;

use super::{key, registry, users};
use crate::{fixture, jobs::JobHandle, repair::marks::Mark, transfer};

fn source(folder: &Path) {
    fs::create_dir_all(folder.join("a/b")).unwrap();
    fs::write(folder.join("a/file"), "content").unwrap();
    fs::write(folder.join("a/b/key"), "secret").unwrap();
    fs::set_permissions(folder.join("a/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("/etc/passwd", folder.join("a/link")).unwrap();
}

fn digest(folder: &Path, exclude: &[&str]) -> String {
    let exclude: Vec<_> = exclude.iter().map(|one| (*one).to_owned()).collect();
    let exclude = Exclude::new(&exclude).unwrap();
    transfer::digest(folder, &exclude, &JobHandle::new()).unwrap()
}

#[test]
fn a_digest_is_of_names_modes_and_contents_and_of_nothing_else() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    source(one.path());
    std::thread::sleep(std::time::Duration::from_millis(10));
    source(other.path());
    let first = digest(one.path(), &[]);
    assert_eq!(first, digest(other.path(), &[]));
    let without = digest(one.path(), &["key"]);
    assert_ne!(first, without);
    fs::write(other.path().join("a/b/key"), "changed").unwrap();
    assert_ne!(first, digest(other.path(), &[]));
    assert_eq!(without, digest(other.path(), &["key"]));
    fs::rename(other.path().join("a/file"), other.path().join("a/renamed")).unwrap();
    assert_ne!(without, digest(other.path(), &["key"]));
}

#[test]
fn what_is_copied_has_the_digest_and_nothing_of_the_hosts_rights() {
    let (from, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    source(from.path());
    fs::create_dir_all(root.path().join("srv/app/a")).unwrap();
    fs::write(root.path().join("srv/app/a/file"), "old").unwrap();
    fs::write(root.path().join("srv/app/a/mine"), "stays").unwrap();
    let job = JobHandle::new();
    let copied = transfer::copy(
        from.path(),
        &Exclude::default(),
        (root.path(), "/srv/app"),
        (7, 8),
        &job,
    );
    assert_eq!(copied.unwrap().digest, digest(from.path(), &[]));
    let app = root.path().join("srv/app");
    assert_eq!(fs::read_to_string(app.join("a/file")).unwrap(), "content");
    assert_eq!(fs::read_to_string(app.join("a/mine")).unwrap(), "stays");
    assert_eq!(
        fs::read_link(app.join("a/link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let about = fs::metadata(app.join("a/file")).unwrap();
    assert_eq!(
        (about.uid(), about.gid(), about.mode() & 0o7777),
        (7, 8, 0o755)
    );
    let original = fs::metadata(from.path().join("a/file")).unwrap();
    assert_eq!(about.mtime_nsec(), original.mtime_nsec());
}

#[test]
fn links_of_a_container_lead_nowhere_outside_of_it() {
    let (from, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = tempfile::tempdir().unwrap();
    fs::write(from.path().join("file"), "content").unwrap();
    symlink(outside.path(), root.path().join("absolute")).unwrap();
    symlink("../../../../../../..", root.path().join("up")).unwrap();
    let file = from.path().join("file");
    for to in ["/absolute/file", "/up/made/file", "/up"] {
        let to = (root.path(), to);
        let copied = transfer::copy(&file, &Exclude::default(), to, (0, 0), &JobHandle::new());
        assert!(
            copied.is_ok() || to.1.starts_with("/absolute"),
            "{to:?}: {copied:?}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(root.path().join("made/file").is_file());
    assert!(
        root.path().join("up").is_file(),
        "a link that is in the way is replaced"
    );
}

#[test]
fn what_is_no_file_is_named() {
    let from = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
    let told = transfer::digest(from.path(), &Exclude::default(), &JobHandle::new());
    let report = ErrorReport::from(told.unwrap_err());
    assert_eq!(report.reason, "not-a-file");
    assert!(report.message.contains("/socket is neither"), "{report}");
    let told = transfer::digest(
        &from.path().join("none"),
        &Exclude::default(),
        &JobHandle::new(),
    );
    assert_eq!(
        ErrorReport::from(told.unwrap_err()).reason,
        "path-not-found"
    );
}

#[test]
fn users_are_looked_up_in_the_containers_own_lists() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(
        root.path().join("etc/passwd"),
        "root:x:0:0::/:\nnode:x:1000:1001::/:\n",
    )
    .unwrap();
    fs::write(root.path().join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
    let resolve = |who: &str| users::resolve(root.path(), who);
    assert_eq!(resolve("node").unwrap(), (1000, 1001));
    assert_eq!(resolve("1000").unwrap(), (1000, 1001));
    assert_eq!(resolve("5").unwrap(), (5, 5));
    assert_eq!(resolve("node:web").unwrap(), (1000, 33));
    assert_eq!(resolve("5:6").unwrap(), (5, 6));
    for unknown in ["nobody", "node:none", "none:web"] {
        let report = ErrorReport::from(resolve(unknown).unwrap_err());
        assert_eq!(report.reason, "unknown-user", "{unknown}");
    }
    fs::remove_file(root.path().join("etc/passwd")).unwrap();
    symlink("/etc/passwd", root.path().join("etc/passwd")).unwrap();
    assert!(resolve("root").is_err(), "not in the lists of the host");
}

#[test]
fn keys_tell_lists_of_parts_apart() {
    assert_eq!(key::of(&["a", "b"]), key::of(&["a", "b"]));
    assert_ne!(key::of(&["a", "b"]), key::of(&["ab"]));
    assert_ne!(key::of(&["a", "b"]), key::of(&["a", "b", ""]));
}

/// A template of that name whose last build made this snapshot.
fn registered(name: &str, snapshot: snap_store::SnapshotId) -> TemplateRecord {
    TemplateRecord {
        namespace: "default".parse().unwrap(),
        name: name.parse().unwrap(),
        definition: format!("{{\"name\":\"{name}\",\"base\":{{\"image\":\"b\"}}}}"),
        key: String::new(),
        snapshot,
        built_at: 5,
    }
}

#[tokio::test]
async fn a_template_says_why_nothing_can_be_started_from_it() {
    let (host, _folder) = fixture::host(|_| {});
    let good = fixture::snapshot(&host, "good", None);
    let old = fixture::snapshot(&host, "old", Some(1));
    let damaged = fixture::snapshot(&host, "damaged", None);
    let marks = [(damaged, Mark::begin())].into();
    host.marks.replace(&host.catalogue, marks).unwrap();
    let cases = [
        ("good", good, None),
        ("old", old, Some("it has expired")),
        ("damaged", damaged, Some("it is damaged")),
        ("gone", good, Some("gone:latest points to nothing")),
    ];
    for (name, id, why) in cases {
        let view = registry::view(&host, &registered(name, id)).await.unwrap();
        assert_eq!(view.unusable.as_deref(), why, "{name}");
    }
}
