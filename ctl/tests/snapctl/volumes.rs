//! What arrives at the daemon of volumes, and how they are shown.

use serde_json::json;
use snap_api::JobOutcome;

use crate::{
    fake::{Daemon, Script},
    fixtures,
};

fn daemon() -> Daemon {
    let changed = || {
        let changed = Box::new(fixtures::changed_volume());
        fixtures::done_job(JobOutcome::Volume(changed))
    };
    Daemon::start(Script {
        waits: std::iter::repeat_with(changed).take(8).collect(),
        ..Script::default()
    })
}

#[test]
fn volumes_are_listed_and_removed() {
    let daemon = daemon();
    let output = daemon.run(&["volume", "list", "-q"]);
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(names, "cache\ndata\nmodels\n");
    let output = daemon.run(&["volume", "list"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("MOUNTED IN") && table.contains("web-1"),
        "{table}"
    );
    let output = daemon.run(&["volume", "remove", "data"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(daemon.seen("volume_remove").is_empty());
    daemon.run(&["volume", "remove", "data", "--yes"]);
    let removed = &daemon.seen("volume_remove")[0];
    assert_eq!(*removed, json!({"namespace": "default", "name": "data"}));
}

#[test]
fn changes_of_a_volume_arrive_as_they_were_meant() {
    let daemon = daemon();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().canonicalize().unwrap().join("file");
    let path = file.to_str().unwrap();
    for arguments in [
        &["volume", "create", "models"][..],
        &[
            "volume", "put", "models", path, "--to", "llm", "--owner", "33:34",
        ],
        &["volume", "remove", "models", "/a", "b"],
        &["volume", "commit", "models", "--container", "w1"],
        &[
            "volume",
            "reload",
            "models",
            "--container",
            "w1",
            "--discard",
        ],
    ] {
        let output = daemon.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("3, together with what others had changed"),
            "{said}"
        );
    }
    let asked: Vec<_> = daemon.seen("volume_change_start");
    let asked: Vec<_> = asked.iter().map(|one| one["change"].clone()).collect();
    let expected = [
        json!("create"),
        json!({"put": {"sources": [path], "to": "/llm", "owner": {"uid": 33, "gid": 34}}}),
        json!({"remove": {"paths": ["/a", "/b"]}}),
        json!({"commit": {"container": "w1"}}),
        json!({"reload": {"container": "w1", "discard": true}}),
    ];
    assert_eq!(asked, expected);
}

#[test]
fn the_files_of_a_volume_are_those_of_its_newest_version() {
    let daemon = daemon();
    daemon.run(&["volume", "list", "models", "/llm", "-r"]);
    let tree = &daemon.seen("tree")[0];
    assert_eq!(
        (&tree["reference"], &tree["path"]),
        (&json!(fixtures::ID), &json!("/llm"))
    );
    daemon.run(&["volume", "mount", "models", "/tmp", "--writable"]);
    let mount = &daemon.seen("mount")[0];
    assert_eq!(
        (&mount["reference"], &mount["writable"]),
        (&json!(fixtures::ID), &json!(true))
    );
    daemon.run(&["volume", "get", "models", "a", "/tmp/there"]);
    let copy = &daemon.seen("copy_start")[0];
    assert_eq!(
        (&copy["reference"], &copy["path"]),
        (&json!(fixtures::ID), &json!("/a"))
    );
}

#[test]
fn what_is_mounted_into_containers_is_read_from_one_word() {
    let daemon = daemon();
    let arguments = [
        "restore",
        "web",
        "--volume",
        "models:/srv/models",
        "--volume",
        "cache:/cache:ro",
        "--mount",
        "data:v1:/train/set:/data:ro",
        "--mount",
        "data:/all",
    ];
    daemon.run(&arguments);
    let attach = &daemon.seen("restore_start")[0]["attach"];
    let snapshot =
        |reference: &str, path: &str| json!({"snapshot": {"reference": reference, "path": path}});
    let expected = json!([
        {"source": {"volume": "models"}, "destination": "/srv/models", "read_only": false},
        {"source": {"volume": "cache"}, "destination": "/cache", "read_only": true},
        {"source": snapshot("data:v1", "/train/set"), "destination": "/data", "read_only": true},
        {"source": snapshot("data", "/"), "destination": "/all", "read_only": false},
    ]);
    assert_eq!(*attach, expected);
    for wrong in ["models", "models:", ":/x", "models:x"] {
        let output = daemon.run(&["restore", "web", "--volume", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    let old = Daemon::start(Script {
        minor: Some(7),
        ..Script::default()
    });
    let output = old.run(&["restore", "web", "--volume", "models:/m"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}
