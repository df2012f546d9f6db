//! What is listed and shown, in each form.

use serde_json::Value;
use snap_api::{
    Check, CheckResult, DamageMark, DiffEntry, DiffKind, DoctorReport, ErrorCode, ErrorReport,
    EventResult, EventView, MountUpgrade, SnapshotView, TreeEntry, UpgradeResult, WirePath,
};

use crate::{
    fake::{Daemon, Script},
    fixtures::{self, stderr, stdout},
};

fn with_snapshots() -> Daemon {
    Daemon::start(Script {
        snapshots: vec![
            fixtures::snapshot_of("web", "a"),
            fixtures::snapshot_of("db", "b"),
            fixtures::snapshot_of("web", "c"),
        ],
        ..Script::default()
    })
}

fn entry(path: &[u8], kind: &str) -> TreeEntry {
    TreeEntry {
        digest: None,
        path: WirePath::new(path),
        kind: kind.to_owned(),
        mode: "4755".to_owned(),
        uid: 0,
        gid: 1000,
        size: 1536,
        modified_at: "2020-01-02T03:04:05.000000006Z".to_owned(),
        target: None,
        device: None,
        xattrs: Vec::new(),
    }
}

#[test]
fn list_follows_pages_to_the_end() {
    let daemon = with_snapshots();
    let output = daemon.run(&["list"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 4, "{}", stdout(&output));
    assert!(lines[0].starts_with("ID            NAME "));
    assert!(lines[1].starts_with("aaaaaaaaaaaa  web:latest, web:v1  active  web "));
    assert_eq!(daemon.seen("list")[1]["cursor"], "2");
}

#[test]
fn json_of_a_list_is_one_array_of_answers() {
    let output = with_snapshots().run(&["list", "-o", "json"]);
    let snapshots: Vec<SnapshotView> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(snapshots.len(), 3);
    assert_eq!(snapshots[1].source, "db");
}

#[test]
fn events_are_lines_and_following_goes_on_where_they_end() {
    let event = |seq: u64, action: &str| EventView {
        seq,
        at: "2026-01-31T12:00:00Z".to_owned(),
        action: action.to_owned(),
        result: EventResult::Done,
        namespace: Some("default".to_owned()),
        subject: "web".to_owned(),
        snapshot: None,
        job: None,
        error: None,
    };
    let actions = ["create", "mount", "unmount", "create"];
    let events = (1..).zip(actions).map(|(seq, action)| event(seq, action));
    let daemon = Daemon::start(Script {
        events: events.collect(),
        ..Script::default()
    });
    let output = daemon.run(&["events", "-o", "json", "--filter", "action=create"]);
    let lines: Vec<EventView> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.iter().map(|one| one.seq).collect::<Vec<_>>(), [1, 4]);
    let last = daemon.run(&["events", "--lines", "1"]);
    assert!(stdout(&last).starts_with("2026-01-31T12:00:00Z  create"));
    assert_eq!(stdout(&last).lines().count(), 1);
    let asked = daemon.seen("events").len();
    // The daemon that is played fails a wait, which ends it.
    let followed = daemon.run(&["events", "--follow", "--lines", "0"]);
    assert_eq!((followed.status.code(), stdout(&followed)), (Some(7), ""));
    let waited = &daemon.seen("events")[asked + 3];
    assert_eq!(
        (&waited["cursor"], &waited["max_wait_ms"]),
        (&"4".into(), &30_000.into())
    );
}

#[test]
fn an_empty_list_is_an_empty_array() {
    let output = Daemon::start(Script::default()).run(&["list", "-o", "json"]);
    assert_eq!(stdout(&output), "[]\n");
}

#[test]
fn a_list_ends_at_its_limit() {
    let daemon = with_snapshots();
    let output = daemon.run(&["list", "-q", "--limit", "1"]);
    assert_eq!(stdout(&output), format!("{}\n", "a".repeat(32)));
    assert_eq!(daemon.seen("list").len(), 1);
    assert_eq!(daemon.seen("list")[0]["limit"], 1);
    let output = daemon.run(&["list", "-q", "--limit", "3"]);
    assert_eq!(stdout(&output).lines().count(), 3);
}

#[test]
fn all_namespaces_are_listed_on_request() {
    let daemon = with_snapshots();
    let output = daemon.run(&["list", "-A"]);
    assert!(stdout(&output).starts_with("NAMESPACE  ID "));
    assert_eq!(daemon.seen("list")[0].get("namespace"), Some(&Value::Null));
}

#[test]
fn show_tells_who_uses_a_snapshot() {
    let output = Daemon::start(Script::default()).run(&["show", "web"]);
    assert!(stdout(&output).contains("Used by      default/web-1\n"));
    assert!(stdout(&output).contains("Mounted at   /mnt\n"));
}

#[test]
fn history_follows_pages_and_marks_the_current_version() {
    let daemon = Daemon::start(Script {
        versions: vec![
            fixtures::version(7, &[]),
            fixtures::version(3, &["latest", "stable"]),
            fixtures::version(1, &["v1"]),
        ],
        ..Script::default()
    });
    let output = daemon.run(&["history", "web"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert!(lines[0].starts_with("VERSION      ID            STATE   TAGS            CREATED"));
    assert!(lines[1].starts_with("7            0123456789ab  active  -  "));
    assert!(lines[2].starts_with("3 (current)  0123456789ab  active  latest, stable  "));
    assert_eq!(lines.len(), 4);
    assert_eq!(daemon.seen("history")[1]["cursor"], "2");
    let json = daemon.run(&["history", "web", "-o", "json"]);
    let versions: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(versions[1]["version"], 3);
    assert_eq!(versions[1]["current"], true);
    let moves = daemon.run(&["history", "web", "--moves"]);
    let lines: Vec<&str> = stdout(&moves).lines().collect();
    assert!(lines[1].contains("  rollback  version 3 (0123456789ab)  version 2 (0123456789ab)"));
    assert!(lines[2].contains("  create    nothing  "));
    let rolled_back = daemon.run(&["rollback", "web"]);
    let undo = "Undo with  snapctl rollback web --undo\n";
    assert!(stdout(&rolled_back).ends_with(undo));
    assert_eq!(
        stdout(&daemon.run(&["rollback", "web", "-q"])),
        format!("{}\n", fixtures::ID)
    );
}

#[test]
fn pins_and_immutable_tags_are_shown() {
    let pinned = SnapshotView {
        names: Vec::new(),
        versions: vec!["web:2".to_owned()],
        pinned: true,
        ..fixtures::snapshot()
    };
    let daemon = Daemon::start(Script {
        snapshots: vec![pinned],
        ..Script::default()
    });
    let output = daemon.run(&["list"]);
    let row = stdout(&output).lines().nth(1).unwrap();
    assert!(
        row.contains("  web:2  ") && row.contains("  pinned  "),
        "{row}"
    );
}

#[test]
fn tree_shows_modes_and_spells_out_what_a_terminal_would_obey() {
    let daemon = Daemon::start(Script {
        entries: vec![
            entry(b"/bin", "directory"),
            entry(b"/bin/\x1b[2J", "file"),
            entry(b"/bin/\xff", "file"),
        ],
        ..Script::default()
    });
    let output = daemon.run(&["tree", "web", "/bin", "--recursive"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(
        lines[0],
        "drwsr-xr-x      0  1000    1.5 KiB 2020-01-02 03:04:05 /bin"
    );
    assert!(lines[1].ends_with("/bin/\\x1b[2J"));
    assert!(lines[2].ends_with("/bin/\\xff"));
}

#[test]
fn json_of_a_tree_of_several_pages_is_one_array() {
    let entries = vec![entry(b"/a", "file"); 5];
    let daemon = Daemon::start(Script {
        entries,
        ..Script::default()
    });
    let output = daemon.run(&["tree", "web", "-o", "json"]);
    let entries: Vec<TreeEntry> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(entries.len(), 5);
}

#[test]
fn diff_marks_each_path() {
    let difference = |path: &str, kind| DiffEntry {
        path: WirePath::new(path),
        kind,
        old_size: Some(1024),
        new_size: Some(2048),
    };
    let daemon = Daemon::start(Script {
        differences: vec![
            difference("/a", DiffKind::Added),
            difference("/b", DiffKind::Removed),
            difference("/c", DiffKind::Modified),
            difference("/d", DiffKind::Metadata),
            difference("/e", DiffKind::Replaced),
        ],
        ..Script::default()
    });
    let output = daemon.run(&["diff", "web:v1", "web:v2"]);
    assert_eq!(
        stdout(&output),
        "+ /a\n- /b\nM /c (1.0 KiB -> 2.0 KiB)\n~ /d\nT /e\n"
    );
}

#[test]
fn status_shows_store_and_servers() {
    let output = Daemon::start(Script::default()).run(&["status"]);
    assert!(stdout(&output).contains("Daemon      version 9.9.9, process 77\n"));
    assert!(stdout(&output).contains("0123456789ab     88          2      3"));
    for line in [
        "5.0 MiB needed, 1.0 MiB not, 2.0 MiB given back; turned off",
        "Disk        96 % used: full, captures are refused from 95 % on",
    ] {
        assert!(stdout(&output).contains(line), "{}", stdout(&output));
    }
    let backup = stdout(&output)
        .lines()
        .skip_while(|line| !line.starts_with("Backup "));
    let backup: Vec<_> = backup.take(2).map(str::trim_end).collect();
    assert!(
        backup[0].ends_with(" ago (7 kept); turned off"),
        "{backup:?}"
    );
    assert_eq!(backup[1].trim(), "failed: Cannot write");
    let scrub = "Scrub       3.0 MiB of 6.0 MiB read since ";
    assert!(stdout(&output).contains(scrub), "{}", stdout(&output));
    let damaged = "Damaged     1 snapshot; `snapctl repair --dry-run` names the files\n";
    assert!(stdout(&output).contains(damaged), "{}", stdout(&output));
}

#[test]
fn a_damaged_snapshot_is_active_and_says_so() {
    let damaged = SnapshotView {
        damage: Some(DamageMark {
            files: 2,
            bytes: 2048,
            found_at: "2020-01-02T03:04:05Z".to_owned(),
            lost: true,
        }),
        ..fixtures::snapshot()
    };
    let daemon = Daemon::start(Script {
        snapshots: vec![damaged],
        ..Script::default()
    });
    let output = daemon.run(&["list"]);
    assert!(
        stdout(&output).contains("active, damaged"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn doctor_ends_with_unavailable_when_there_is_a_problem() {
    let check = |name: &str, result, hint: Option<&str>| Check {
        name: name.to_owned(),
        result,
        found: "found".to_owned(),
        hint: hint.map(str::to_owned),
    };
    let daemon = Daemon::start(Script {
        checks: vec![
            check("kernel", CheckResult::Ok, None),
            check("runc", CheckResult::Problem, Some("install runc")),
        ],
        ..Script::default()
    });
    let output = daemon.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "ok       kernel  found\nproblem  runc    found\n                 hint: install runc\n"
    );
    let json = daemon.run(&["doctor", "-o", "json"]);
    let report: DoctorReport = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report.checks.len(), 2);
}

#[test]
fn containers_and_jobs_are_listed() {
    let daemon = Daemon::start(Script::default());
    let containers = daemon.run(&["container", "list"]);
    assert!(stdout(&containers).contains("web-1  0123456789ab  running  42"));
    let jobs = daemon.run(&["jobs"]);
    assert!(stdout(&jobs).contains("reading: 3 files, 2.0 KiB"));
    assert!(stdout(&jobs).contains("Job 7c1e was cancelled"));
}

#[test]
fn status_shows_what_is_wrong_with_mounts_and_what_waits() {
    let output = Daemon::start(Script::default()).run(&["status"]);
    let said = stdout(&output);
    let trouble =
        "unmounted here, held elsewhere; 2 requests not answered in time; 1 thread held up";
    assert!(said.contains(trouble), "{said}");
    let slow = said.lines().last().unwrap();
    let words: Vec<&str> = slow.split_whitespace().collect();
    assert_eq!(words[1..], ["read", "/data", "4096", "2.3", "s", "waits"]);
}

fn upgrade(result: UpgradeResult, new_pid: Option<u32>) -> MountUpgrade {
    let failed = result == UpgradeResult::Failed;
    let error = || {
        ErrorReport::new(
            ErrorCode::Unavailable,
            "mount-server-failed",
            "It is broken",
        )
        .hint("Mend it")
    };
    MountUpgrade {
        snapshot: fixtures::ID.to_owned(),
        old_pid: Some(88),
        new_pid,
        elapsed_ms: 42,
        result,
        error: failed.then(error),
    }
}

#[test]
fn upgraded_mounts_are_listed_with_both_servers() {
    let upgrades = vec![upgrade(UpgradeResult::Upgraded, Some(99))];
    let daemon = Daemon::start(Script {
        upgrades,
        ..Script::default()
    });
    let output = daemon.run(&["upgrade-mounts"]);
    let words: Vec<&str> = stdout(&output)
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(words[1..], ["88", "99", "42", "upgraded"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&daemon.run(&["upgrade-mounts", "-q"])), "");
}

#[test]
fn a_mount_that_is_not_upgraded_is_bad_news() {
    let upgrades = vec![
        upgrade(UpgradeResult::Upgraded, Some(99)),
        upgrade(UpgradeResult::Failed, Some(88)),
        upgrade(UpgradeResult::Failed, Some(88)),
    ];
    let daemon = Daemon::start(Script {
        upgrades,
        ..Script::default()
    });
    let output = daemon.run(&["upgrade-mounts"]);
    assert_eq!(output.status.code(), Some(7));
    let lines: Vec<&str> = stdout(&output).lines().collect();
    let words: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(words[4..], ["failed", "It", "is", "broken"]);
    assert_eq!(lines[4..], ["hint: Mend it"], "once for all of them");
    let output = daemon.run(&["upgrade-mounts", "-q"]);
    assert_eq!(stdout(&output), format!("{0}\n{0}\n", fixtures::ID));
}
