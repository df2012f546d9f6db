//! Messages, and the one table of exit codes.

use super::*;

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

#[test]
fn a_report_has_its_causes_indented_and_its_hint_last() {
    let mut report =
        ErrorReport::new(ErrorCode::Corrupt, "x", "Chunk \x1b is corrupt").hint("verify");
    report.causes = vec!["One".to_owned(), "Two".to_owned()];
    assert_eq!(
        render(&report, Paint::Plain),
        "error: Chunk \\x1b is corrupt\n  caused by: One\n  caused by: Two\nhint: verify\n"
    );
}

#[test]
fn help_lists_every_exit_code_once() {
    let help = exit_codes_help();
    for code in ErrorCode::ALL {
        let start = format!("\n  {:>2}  ", code.exit_code());
        assert_eq!(help.matches(&start).count(), 1, "{code:?}");
    }
}

#[test]
fn the_manual_has_the_same_exit_codes_as_the_code() {
    for code in ErrorCode::ALL {
        let (name, text) = meaning(code).split_once(": ").unwrap();
        let row = format!("| {} | {name} | {text} |", code.exit_code());
        assert!(OPERATIONS.contains(&row), "docs/operations.md lacks {row}");
    }
}

#[test]
fn a_socket_that_may_not_be_used_is_denied() {
    let error = ConnectError::Socket {
        path: "/run/x".into(),
        source: io::ErrorKind::PermissionDenied.into(),
    };
    let failure = Failure::from(error);
    assert_eq!(failure.exit_code(), ErrorCode::Denied.exit_code());
    let Failure::Report(report) = failure else {
        panic!("no report")
    };
    assert!(report.hint.unwrap().contains("usermod -aG snapshotd"));
}

#[test]
fn an_answer_that_does_not_come_is_timed_out() {
    let failure = Failure::call(&RpcError::DeadlineExceeded, "look again");
    assert_eq!(failure.exit_code(), ErrorCode::TimedOut.exit_code());
}
