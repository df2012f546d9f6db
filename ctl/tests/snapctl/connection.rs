//! Errors: no daemon, a silent one, one that refuses, a reader who leaves, words that are no command.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
};

use snap_api::{ErrorCode, ErrorReport};

use crate::{
    fake::{Daemon, Script},
    fixtures::{self, snapctl, stderr, stdout},
};

#[test]
fn a_missing_daemon_is_unavailable_and_the_hint_says_where_to_look() {
    let output = snapctl(&["list", "--socket", "/no/such/socket"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).starts_with("error: Cannot connect to /no/such/socket\n  caused by: "));
    assert!(stderr(&output).contains("hint: is snapshotd running? `systemctl status snapshotd`"));
}

#[test]
fn a_daemon_that_hangs_up_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let hang_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let output = snapctl(&["list"])
        .env("SNAPCTL_SOCKET", &socket)
        .output()
        .unwrap();
    hang_up.join().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(
        stderr(&output).contains("does not answer"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_daemon_of_another_version_says_so_itself() {
    let refusal = ErrorReport::new(ErrorCode::Unavailable, "version", "This daemon speaks 2.0")
        .hint("use its own snapctl");
    let daemon = Daemon::start(Script {
        hello_refusal: Some(refusal),
        ..Script::default()
    });
    let output = daemon.run(&["list"]);
    assert_eq!(
        stderr(&output),
        "error: This daemon speaks 2.0\nhint: use its own snapctl\n"
    );
}

#[test]
fn every_code_of_the_daemon_is_the_exit_code() {
    for code in ErrorCode::ALL {
        let mut refusal = ErrorReport::new(code, "reason", "It went wrong");
        refusal.causes = vec!["Because".to_owned()];
        let daemon = Daemon::start(Script {
            refusal: Some(refusal),
            ..Script::default()
        });
        let output = daemon.run(&["show", "web"]);
        assert_eq!(output.status.code(), Some(code.exit_code().into()));
        assert_eq!(
            stderr(&output),
            "error: It went wrong\n  caused by: Because\n"
        );
    }
}

#[test]
fn malformed_commands_are_usage_errors() {
    for typed in [
        "",
        "frobnicate",
        "create",
        "create web --path /x",
        "create web --ttl soon",
        "create web --label x",
        "create --path /x --stop",
        "restore web --count 0",
        "restore web --network bridge",
        "copy web /tmp/x",
        "copy web:etc /tmp/x",
        "copy :/etc /tmp/x",
        "label web",
        "ttl web 10ms",
        "list -o yaml",
        "remove",
        "container",
    ] {
        let arguments: Vec<&str> = typed.split_whitespace().collect();
        let output = snapctl(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{typed}");
        assert_eq!(stdout(&output), "", "{typed}");
    }
}

#[test]
fn a_reader_who_leaves_is_not_an_error() {
    let daemon = Daemon::start(Script {
        snapshots: vec![fixtures::snapshot(); 5000],
        ..Script::default()
    });
    let mut child = daemon.spawn(&["list", "-q"]);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_full_disk_under_the_output_is_an_error() {
    let daemon = Daemon::start(Script::default());
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = daemon.command(&["status"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: Cannot write to standard output\n"));
}

#[test]
fn version_does_not_need_the_daemon() {
    let output = snapctl(&["version", "-o", "json", "--socket", "/no/such"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!stdout(&output).contains("daemon"));
    let daemon = Daemon::start(Script::default());
    assert!(stdout(&daemon.run(&["version"])).contains("snapshotd  9.9.9\n"));
}

#[test]
fn there_is_a_manual_page_for_every_verb_and_a_script_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/man1");
    let man = snapctl(&["man", target.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(man.status.code(), Some(0), "{}", stderr(&man));
    assert!(target.join("snapctl-container-list.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let output = snapctl(&["completions", shell]).output().unwrap();
        assert!(stdout(&output).contains("unmount"), "{shell}");
    }
}

#[test]
fn nothing_is_coloured_outside_a_terminal() {
    let output = snapctl(&["list", "--socket", "/no/such"]).output().unwrap();
    assert!(!stderr(&output).contains('\x1b'));
}
