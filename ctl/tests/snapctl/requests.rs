//! What arrives at the daemon for what was typed.

use serde_json::{Value, json};

use crate::fake::{Daemon, Script};

/// What the daemon was asked when this was typed.
pub(crate) fn asked(method: &str, arguments: &[&str]) -> Value {
    let daemon = Daemon::start(Script::default());
    daemon.run(arguments);
    let seen = daemon.seen(method);
    assert_eq!(seen.len(), 1, "{arguments:?} does not call {method} once");
    seen[0].clone()
}

#[test]
fn every_option_of_create_arrives() {
    let typed = "create web -t web:v1 --ttl 14d --ttl-unused 1h --label a=b --label c=d=e --exclude *.tmp \
                 --include-mount /data --stop --memory=required --hook /bin/h --verify --detach -n k8s.io";
    let arguments: Vec<&str> = typed.split_whitespace().collect();
    let expected = json!({
        "namespace": "k8s.io", "source": {"container": "web"}, "name": "web:v1",
        "ttl": {"seconds": 1_209_600}, "unused_seconds": 3600, "labels": {"a": "b", "c": "d=e"}, "exclude": ["*.tmp"],
        "include_mounts": ["/data"], "stop": true, "memory": "required", "hook": "/bin/h", "verify": true, "idempotency_key": null,
    });
    assert_eq!(asked("create_start", &arguments), expected);
}

#[test]
fn memory_is_wanted_or_required_and_left_out_when_asked() {
    let wish = |flags: &[&str]| {
        let request = asked(
            "create_start",
            &[&["create", "web", "--detach"], flags].concat(),
        );
        request["memory"].clone()
    };
    assert_eq!(wish(&[]), "none");
    assert_eq!(wish(&["--memory"]), "wanted");
    assert_eq!(wish(&["--memory=required"]), "required");
    let request = asked(
        "restore_start",
        &["restore", "web", "--no-memory", "--detach"],
    );
    assert_eq!(
        (&request["no_memory"], &request["fallback"]),
        (&json!(true), &json!(false))
    );
}

#[test]
fn a_folder_arrives_as_an_absolute_path() {
    let daemon = Daemon::start(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let mut command = daemon.command(&["create", "--path", ".", "--ttl", "0", "--detach"]);
    command.current_dir(folder.path()).output().unwrap();
    let request = &daemon.seen("create_start")[0];
    let expected = folder.path().canonicalize().unwrap();
    assert_eq!(request["source"]["path"], expected.to_str().unwrap());
    assert_eq!(request["ttl"], "never");
}

#[test]
fn every_option_of_restore_arrives() {
    let typed = "restore web --id new -c 3 --force --no-start --network /run/netns/x \
                 --keep-mount /a --drop-mount /b --fallback --tcp-established --hook /bin/h --from-trash --volume v:/v --detach";
    let arguments: Vec<&str> = typed.split_whitespace().collect();
    let expected = json!({
        "attach": [{"source": {"volume": "v"}, "destination": "/v", "read_only": false}],
        "namespace": "default", "reference": "web", "id": "new", "count": 3, "force": true,
        "no_start": true, "network": {"path": "/run/netns/x"}, "keep_mounts": ["/a"],
        "drop_mounts": ["/b"], "command": [], "no_memory": false, "fallback": true, "tcp_established": true,
        "hook": "/bin/h", "from_trash": true, "idempotency_key": null,
    });
    assert_eq!(asked("restore_start", &arguments), expected);
}

#[test]
fn the_network_is_none_unless_said_otherwise() {
    let request = asked("restore_start", &["restore", "web", "--detach"]);
    assert_eq!(request["network"], "none");
    assert_eq!(request["count"], 1);
}

#[test]
fn the_namespace_comes_from_containerds_variable() {
    let daemon = Daemon::start(Script::default());
    let mut command = daemon.command(&["show", "web"]);
    command
        .env("CONTAINERD_NAMESPACE", "team")
        .output()
        .unwrap();
    assert_eq!(daemon.seen("show")[0]["namespace"], "team");
}

#[test]
fn the_socket_is_found_in_the_daemons_variable_too() {
    let daemon = Daemon::start(Script::default());
    let mut command = crate::fixtures::snapctl(&["status"]);
    let output = command.env("SNAPSHOTD_SOCKET", daemon.socket()).output();
    assert!(output.unwrap().status.success());
}

#[test]
fn copy_splits_reference_and_path_and_completes_the_destination() {
    let daemon = Daemon::start(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let mut command = daemon.command(&["copy", "web:v1:/etc/a:/b", "out", "--detach"]);
    command.current_dir(folder.path()).output().unwrap();
    let request = &daemon.seen("copy_start")[0];
    assert_eq!(request["reference"], "web:v1");
    assert_eq!(request["path"], "/etc/a:/b");
    let expected = folder.path().canonicalize().unwrap().join("out");
    assert_eq!(request["destination"], expected.to_str().unwrap());
}

#[test]
fn what_is_put_in_arrives_as_an_absolute_path() {
    let daemon = Daemon::start(Script::default());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let mut command = daemon.command(&["copy", "file", "web:/etc/file", "--detach"]);
    command.current_dir(folder.path()).output().unwrap();
    let request = &daemon.seen("put_start")[0];
    let expected = folder.path().canonicalize().unwrap().join("file");
    assert_eq!(request["source"], expected.to_str().unwrap());
    assert_eq!(
        (&request["name"], &request["path"]),
        (&json!("web"), &json!("/etc/file"))
    );
}

#[test]
fn a_folder_of_a_container_arrives_as_one() {
    let asked = asked("create_start", &["create", "web:/srv/data", "--detach"]);
    let expected = json!({"folder": {"container": "web", "path": "/srv/data"}});
    assert_eq!(asked["source"], expected);
}

#[test]
fn every_option_of_collect_arrives() {
    let plain = asked("collect_start", &["collect", "--detach"]);
    let expected = json!({"namespace": "default", "dry_run": false, "grace_seconds": null});
    assert_eq!(plain, expected);
    let typed = ["collect", "--dry-run", "--grace", "1h 30m", "--detach"];
    let expected = json!({"namespace": "default", "dry_run": true, "grace_seconds": 5400});
    assert_eq!(asked("collect_start", &typed), expected);
    let at_once = asked("collect_start", &["collect", "--grace", "0", "--detach"]);
    assert_eq!(at_once["grace_seconds"], 0);
}

#[test]
fn the_file_of_a_backup_arrives_as_an_absolute_path() {
    let daemon = Daemon::start(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let mut command = daemon.command(&["backup", "copy.db", "--quiet"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let expected = folder.path().canonicalize().unwrap().join("copy.db");
    let expected = expected.to_str().unwrap();
    assert_eq!(daemon.seen("backup")[0]["path"], expected);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{expected}\n")
    );
}

#[test]
fn names_and_labels_arrive() {
    let tag = asked("tag_set", &["tag", "3f2a", "web:v2"]);
    assert_eq!(
        (&tag["name"], &tag["remove"]),
        (&json!("web:v2"), &json!(false))
    );
    let untag = asked("tag_set", &["untag", "web:v2"]);
    assert_eq!(
        (&untag["reference"], &untag["remove"]),
        (&json!("web:v2"), &json!(true))
    );
    let label = asked("label_set", &["label", "web", "a=b", "--remove", "c"]);
    assert_eq!(
        (&label["set"], &label["remove"]),
        (&json!({"a": "b"}), &json!(["c"]))
    );
    assert_eq!(
        asked("ttl_set", &["ttl", "web", "default"])["ttl"],
        "default"
    );
    let unused = asked("ttl_set", &["ttl", "web", "--unused", "7d"]);
    assert_eq!(
        (&unused["ttl"], &unused["unused"]),
        (&Value::Null, &json!({"seconds": 604_800}))
    );
}

#[test]
fn several_names_immutable_tags_and_force_arrive() {
    let tag = asked(
        "tag_set",
        &["tag", "web:2", "web:a", "b", "c:d", "--immutable"],
    );
    let expected = json!({
        "namespace": "default", "reference": "web:2", "name": "web:a", "remove": false,
        "more": ["b", "c:d"], "immutable": true, "force": false,
    });
    assert_eq!(tag, expected);
    assert_eq!(
        asked("tag_set", &["untag", "web:a", "--force"])["force"],
        true
    );
    let remove = asked("remove", &["remove", "web:a", "--force"]);
    assert_eq!(
        (&remove["references"], &remove["force"]),
        (&json!(["web:a"]), &json!(true))
    );
}

#[test]
fn filters_and_the_order_of_a_list_arrive() {
    let plain = asked("list", &["list"]);
    assert_eq!(
        (&plain["filters"], &plain["sort"]),
        (&json!([]), &Value::Null)
    );
    let typed = [
        "list",
        "--source",
        "web",
        "--label",
        "a,b=c",
        "--label",
        "d",
        "--filter",
        "state=active,size>1G",
        "-f",
        "name=x*",
        "--sort",
        "size:desc",
    ];
    let list = asked("list", &typed);
    let expected = json!([
        "source=web",
        "label=a,b=c",
        "label=d",
        "state=active",
        "size>1G",
        "name=x*"
    ]);
    assert_eq!(
        (&list["filters"], &list["sort"]),
        (&expected, &json!("size:desc"))
    );
}

#[test]
fn every_rule_of_forget_arrives_with_every_page() {
    let daemon = Daemon::start(Script::default());
    let typed = "forget web db --keep-last 1 --keep-hourly 2 --keep-daily 3 --keep-weekly 4 --keep-monthly 5 \
                 --keep-yearly unlimited --keep-within 1h --dry-run -q";
    let output = daemon.run(&typed.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{}\n", "1".repeat(32))
    );
    let keep = json!({
        "last": 1, "hourly": 2, "daily": 3, "weekly": 4, "monthly": 5, "yearly": u32::MAX, "within_seconds": 3600,
    });
    let mut expected = json!({
        "namespace": "default", "names": ["web", "db"], "all_names": false, "keep": keep, "dry_run": true,
        "cursor": null, "limit": 0,
    });
    assert_eq!(daemon.seen("forget")[0], expected);
    expected["cursor"] = json!("2");
    assert_eq!(daemon.seen("forget")[1], expected);
    assert_eq!(daemon.seen("forget").len(), 2);
    daemon.run(&["forget", "--all-names", "--keep-last", "2"]);
    assert_eq!(daemon.seen("forget")[2]["all_names"], true);
}

#[test]
fn policies_arrive_and_are_shown() {
    let set = asked("policy_set", &["policy", "set", "web", "--keep-last", "3"]);
    let expected = json!({"namespace": "default", "name": "web", "keep": {"last": 3}});
    assert_eq!(set, expected);
    let remove = asked("policy_remove", &["policy", "remove", "web"]);
    assert_eq!(remove, json!({"namespace": "default", "name": "web"}));
    let daemon = Daemon::start(Script::default());
    let output = daemon.run(&["policy", "show", "-q"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "app\ndb\nweb\n");
    assert_eq!(daemon.seen("policy_list").len(), 2);
    daemon.run(&["policy", "show", "web"]);
    assert_eq!(daemon.seen("policy_list")[2]["name"], "web");
}

#[test]
fn rollbacks_and_pins_arrive() {
    let rollback = |arguments: &[&str]| {
        let asked = asked("rollback", arguments);
        (asked["version"].clone(), asked["undo"].clone())
    };
    let none = Value::Null;
    assert_eq!(rollback(&["rollback", "web"]), (none.clone(), json!(false)));
    assert_eq!(
        rollback(&["rollback", "web", "3"]),
        (json!(3), json!(false))
    );
    assert_eq!(
        rollback(&["rollback", "web", "--undo"]),
        (none, json!(true))
    );
    assert_eq!(asked("history", &["history", "web"])["name"], "web");
    assert_eq!(
        asked("moves", &["history", "web", "--moves"])["name"],
        "web"
    );
    for (verb, remove) in [("pin", false), ("unpin", true)] {
        let expected = json!({"namespace": "default", "reference": "web:2", "remove": remove});
        assert_eq!(asked("pin_set", &[verb, "web:2"]), expected);
    }
}

/// A daemon passes over what it does not know, and a snapshot that is not pinned would look as if it were.
#[test]
fn an_older_daemon_is_not_asked_for_what_it_does_not_know() {
    let daemon = Daemon::start(Script {
        minor: Some(0),
        ..Script::default()
    });
    for arguments in [
        &["pin", "web"][..],
        &["rollback", "web"],
        &["history", "web"],
        &["tag", "web", "a:b", "--immutable"],
        &["tag", "web", "a:b", "c:d"],
        &["list", "--filter", "state=failed"],
        &["list", "--label", "a"],
        &["list", "--sort", "size"],
        &["create", "web", "--memory=required"],
        &["restore", "web", "--no-memory"],
        &["restore", "web", "--fallback"],
        &["restore", "web", "--tcp-established"],
        &["create", "web", "--hook", "/h"],
        &["create", "web", "--dry-run"],
        &["check", "web"],
        &["forget", "web", "--keep-last", "1"],
        &["policy", "set", "web", "--keep-last", "1"],
        &["ttl", "web", "--unused", "1d"],
        &["create", "web", "--ttl-unused", "1d"],
        &["restore", "web", "--from-trash"],
        &["undelete", "web"],
        &["trash", "list"],
        &["trash", "empty"],
        &["stats"],
        &["auto", "list"],
        &["template", "list"],
        &["run", "web"],
    ] {
        let output = daemon.run(arguments);
        assert_eq!(output.status.code(), Some(7), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("too old"));
    }
    assert_eq!(daemon.run(&["tag", "web", "a:b"]).status.code(), Some(0));
    for method in [
        "pin_set",
        "rollback",
        "history",
        "list",
        "create_start",
        "restore_start",
        "forget",
    ] {
        assert!(daemon.seen(method).is_empty(), "{method}");
    }
}

#[test]
fn a_tree_starts_at_the_root_whether_the_path_has_a_slash_or_not() {
    assert_eq!(asked("tree", &["tree", "web"])["path"], "/");
    assert_eq!(asked("tree", &["tree", "web", "etc"])["path"], "/etc");
}

#[test]
fn start_and_stop_have_short_forms() {
    assert_eq!(asked("container_start", &["start", "web-1"])["id"], "web-1");
    assert_eq!(asked("container_stop", &["stop", "web-1"])["id"], "web-1");
    let removed = asked("container_remove", &["container", "rm", "web-1"]);
    assert_eq!(removed["id"], "web-1");
}

#[test]
fn a_path_that_is_no_text_arrives_byte_for_byte() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let daemon = Daemon::start(Script::default());
    let mut command = daemon.command(&["tree", "web"]);
    command
        .arg(OsStr::from_bytes(b"/a\xff\\b"))
        .output()
        .unwrap();
    assert_eq!(daemon.seen("tree")[0]["path"], "/a\\xff\\\\b");
}

#[test]
fn upgrade_mounts_names_nothing() {
    assert_eq!(asked("upgrade_mounts", &["upgrade-mounts"]), json!({}));
}
