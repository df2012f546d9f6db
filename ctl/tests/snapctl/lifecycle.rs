//! What is asked about the trash, about usage and about automatic snapshots.

use serde_json::json;

use crate::{
    fake::{Daemon, Script},
    fixtures::stdout,
    requests::asked,
};

#[test]
fn the_trash_is_asked_for_as_it_was_typed() {
    let request = asked("remove", &["remove", "web", "--permanent"]);
    assert_eq!(
        (&request["permanent"], &request["force"]),
        (&json!(true), &json!(false))
    );
    let request = asked("undelete", &["undelete", "web:7", "3f2a"]);
    assert_eq!(request["references"], json!(["web:7", "3f2a"]));
    assert_eq!(
        asked("trash_empty", &["trash", "empty"])["references"],
        json!([])
    );
    let request = asked("trash_empty", &["trash", "empty", "web"]);
    assert_eq!(request["references"], json!(["web"]));
    assert_eq!(
        asked("trash_list", &["trash", "list", "-A"])["namespace"],
        json!(null)
    );
}

#[test]
fn stats_are_asked_for_as_typed() {
    let request = asked("stats_start", &["stats", "web", "db:2", "--detach"]);
    let expected = json!({
        "namespace": "default", "references": ["web", "db:2"], "by": "snapshot", "quick": false,
    });
    assert_eq!(request, expected);
    let request = asked(
        "stats_start",
        &["usage", "-A", "--by", "name", "--quick", "--detach"],
    );
    let expected = json!({"namespace": null, "references": [], "by": "name", "quick": true});
    assert_eq!(request, expected);
}

#[test]
fn automatic_snapshots_are_stored_as_typed() {
    let arguments = [
        "auto",
        "set",
        "web",
        "--container",
        "web-1",
        "--schedule",
        "*:0/15",
        "--memory",
    ];
    let expected = json!({
        "namespace": "default", "name": "web", "source": {"container": "web-1"}, "schedule": "*:0/15", "memory": true,
    });
    assert_eq!(asked("auto_set", &arguments), expected);
    let request = asked("auto_remove", &["auto", "remove", "web"]);
    assert_eq!(request, json!({"namespace": "default", "name": "web"}));
    let daemon = Daemon::start(Script::default());
    let triggers = daemon.run(&["auto", "triggers"]);
    let triggers = String::from_utf8(triggers.stdout).unwrap();
    for told in ["exit,oom", "label", "3 held back", "last"] {
        assert!(triggers.contains(told), "{triggers}");
    }
    let listed = daemon.run(&["auto", "list"]);
    let listed = stdout(&listed);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(
        listed.contains("container web, with memory  hourly"),
        "{listed}"
    );
    assert!(listed.contains("failed 2x: it does not run"), "{listed}");
}

#[test]
fn the_trash_is_shown_with_when_each_goes() {
    let daemon = Daemon::start(Script::default());
    let listed = daemon.run(&["trash", "list"]);
    let listed = stdout(&listed);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("  expire  "), "{listed}");
    let emptied = daemon.run(&["trash", "empty"]);
    let expected = "1 snapshot gone for good, which had added 3.0 MiB\nSnapshot used stays: a restored container uses it\n";
    assert_eq!(stdout(&emptied), expected);
    let back = daemon.run(&["undelete", "web"]);
    assert!(stdout(&back).starts_with("Took back "));
    assert!(String::from_utf8_lossy(&back.stderr).contains("web:latest"));
}
