//! What `check` prints, and when it fails.

use snap_api::{Blocker, Verdict};

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
