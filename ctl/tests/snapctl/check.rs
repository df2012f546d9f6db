//! What `check` prints, and when it fails.

use snap_api::{Blocker, Forecast, MemoryContents, Verdict};

use crate::{
    fake::{Daemon, Script},
    fixtures::{stderr, stdout},
};

#[test]
fn check_says_what_stands_in_the_way_and_fails_when_memory_is_wanted() {
    let fine = Daemon::start(Script::default());
    let output = fine.run(&["check", "web", "--memory"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("files and memory can be captured"));
    assert!(stdout(&output).contains("3.0 MiB of 2 processes"));
    let blocked = Daemon::start(Script {
        blockers: vec![Blocker {
            kind: "io-uring".to_owned(),
            pid: Some(7),
            found: "process 7 (x\u{1b}) uses io_uring".to_owned(),
            hint: Some("Do not".to_owned()),
        }],
        ..Script::default()
    });
    let output = blocked.run(&["check", "web"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(
        said.contains("files can be captured, memory cannot"),
        "{said}"
    );
    assert!(said.contains("io-uring  process 7 (x"), "{said}");
    assert!(said.contains("  hint: Do not"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    let quiet = blocked.run(&["check", "-q", "--memory", "web"]);
    assert_eq!(quiet.status.code(), Some(7));
    assert_eq!(stdout(&quiet), "");
    let json = blocked.run(&["check", "web", "-o", "json"]);
    let verdict: Verdict = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(verdict.blockers[0].pid, Some(7));
}

#[test]
fn a_dry_run_prints_the_verdict_and_the_estimates_and_starts_nothing() {
    let fine = Daemon::start(Script::default());
    let typed = ["create", "web", "--memory=required", "--dry-run"];
    let output = fine.run(&typed);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for part in [
        "files and memory can be captured",
        "3.0 MiB in 7 nodes",
        "about 5.0 MiB",
        "about 81.0 ms",
        "Pause: snapshot 12\\x1b",
        "Nothing was changed",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(fine.seen("create_forecast")[0]["memory"], "required");
    assert!(fine.seen("create_start").is_empty());
    let blocked = Daemon::start(Script {
        blockers: vec![Blocker {
            kind: "terminal".to_owned(),
            pid: None,
            found: "It has a terminal".to_owned(),
            hint: None,
        }],
        ..Script::default()
    });
    let output = blocked.run(&typed);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(!stdout(&output).contains("Images"), "{}", stdout(&output));
    let json = blocked.run(&["create", "web", "--memory", "--dry-run", "-o", "json"]);
    assert_eq!(json.status.code(), Some(0), "{}", stderr(&json));
    let forecast: Forecast = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(forecast.verdict.unwrap().blockers[0].kind, "terminal");
}

#[test]
fn what_memory_holds_is_shown_and_harms_no_terminal() {
    let daemon = Daemon::start(Script::default());
    let output = daemon.run(&["show", "web", "--memory"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for part in [
        "PARENT",
        "shell\\x1b",
        "512.0 KiB stored  heap",
        "/etc/x\\x1b",
        "more than is shown",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");
    let json = daemon.run(&["show", "web", "--memory", "-o", "json"]);
    let contents: MemoryContents = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(contents.processes[0].threads, 2);
}
