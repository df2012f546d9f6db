//! What arrives at the daemon of templates, and how they are shown.

use serde_json::json;
use snap_api::JobOutcome;

use crate::{
    fake::{Daemon, Script},
    fixtures,
};

#[test]
fn templates_are_listed_and_removed() {
    let daemon = Daemon::start(Script::default());
    daemon.run(&["template", "remove", "web"]);
    let removed = &daemon.seen("template_remove")[0];
    assert_eq!(*removed, json!({"namespace": "default", "name": "web"}));
    let output = daemon.run(&["template", "list", "-q"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "app\ndb\nweb\n");
    let output = daemon.run(&["template", "list"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("no: it is damaged"), "{table}");
    let output = daemon.run(&["template", "show", "web"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("Base       example.org/web:1\nSteps      run true\n"),
        "{shown}"
    );
}

#[test]
fn a_template_is_planned_and_built_as_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.toml");
    let text = "name = \"web\"\nsteps = [{ copy = { from = \"../x/data\", to = \"/data\" } }]\n[base]\nimage = \"a\"\n";
    std::fs::write(&file, text).unwrap();
    let daemon = Daemon::start(Script {
        waits: [fixtures::done_job(JobOutcome::Built(Box::new(
            fixtures::built(),
        )))]
        .into(),
        ..Script::default()
    });
    let file = file.to_str().unwrap();
    let arguments = [
        "template",
        "build",
        file,
        "--base-image",
        "b",
        "--version",
        "v2",
    ];
    let output = daemon.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("Step 1 of 1: run true") && said.contains("worth knowing"),
        "{said}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 step, 1 of them cached"));
    let asked = &daemon.seen("template_build_start")[0];
    assert_eq!(asked["template"]["base"], json!({"image": "b"}));
    assert_eq!(asked["template"]["version"], "v2");
    let from = asked["template"]["steps"][0]["copy"]["from"]
        .as_str()
        .unwrap();
    assert!(
        from.starts_with('/') && from.ends_with("/x/data") && !from.contains(".."),
        "{from}"
    );
    daemon.run(&["template", "build", file, "--dry-run"]);
    assert_eq!(daemon.seen("template_build_start").len(), 1);
    assert_eq!(daemon.seen("template_plan").len(), 2);
}

#[test]
fn a_run_restores_what_the_name_points_to() {
    let daemon = Daemon::start(Script {
        waits: [fixtures::done_job(JobOutcome::Built(Box::new(
            fixtures::built(),
        )))]
        .into(),
        ..Script::default()
    });
    daemon.run(&["run", "web", "--id", "one", "--", "sh", "-c", "true"]);
    let asked = &daemon.seen("restore_start")[0];
    assert_eq!(
        (&asked["reference"], &asked["id"]),
        (&json!("web:latest"), &json!("one"))
    );
    assert_eq!(asked["command"], json!(["sh", "-c", "true"]));
    let daemon = Daemon::start(Script::default());
    let output = daemon.run(&["run", "db", "--no-build"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(daemon.seen("restore_start").is_empty());
}
