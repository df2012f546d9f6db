//! What cannot be captured or does not suit, and how that is told.

use anyhow::{Context, Result};
use snap_api::{Check, CheckResult, DoctorReport, Restored, SnapshotState, Verdict};
use snap_tests::Host;

use crate::{
    CONFLICT, UNAVAILABLE, create, goes_on, memory_of, nothing_is_left, run_counting, run_witness,
};

#[test]
fn the_doctor_finds_a_criu_that_fits_this_kernel() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let report = host.snapctl(["--output", "json", "doctor"])?;
    let report: DoctorReport = serde_json::from_str(&report.stdout)?;
    let criu: &Check = report
        .checks
        .iter()
        .find(|check| check.name == "criu")
        .context("No check of CRIU")?;
    assert_eq!(criu.result, CheckResult::Ok, "{criu:?}");
    assert!(criu.found.contains("fit for this kernel"), "{criu:?}");
    Ok(())
}

/// **P5** When memory cannot be captured, the snapshot is of files alone, and result, list and show say so with the reason; with
/// `--memory=required` there is no snapshot then. The container runs on either way.
#[test]
fn what_criu_cannot_capture_is_left_out_loudly_or_fails() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "linked")?;
    let answer = host.snapctl(["create", "one", "--memory", "--name", "cold"])?;
    assert!(
        answer.stderr.contains("memory could not be captured"),
        "{}",
        answer.stderr
    );
    assert!(host.snap(&["list"])?.contains("memory failed"));
    assert!(host.snap(&["show", "cold"])?.contains("failed, "));
    let shown = host
        .show("cold")?
        .snapshot
        .memory
        .context("It says nothing of memory")?;
    let reason = shown.reason.unwrap_or_default();
    assert!(!shown.captured && reason.contains("link remap"), "{reason}");
    goes_on(&host.rootfs("one"))?;

    let refused = host.snapctl(["create", "one", "--memory=required"])?;
    assert!(
        refused.stderr.contains("cannot be captured"),
        "{}",
        refused.stderr
    );
    goes_on(&host.rootfs("one"))?;
    nothing_is_left(&host)?;
    // What failed may be looked at, and holds nothing.
    let all: Vec<snap_api::SnapshotView> = host.snap_json(&["list"])?;
    let active = all
        .iter()
        .filter(|one| one.state == SnapshotState::Active)
        .count();
    assert_eq!(active, 1);

    // Processes that are not in the snapshot begin anew.
    let restored: Restored = host.snap_json(&["restore", "cold", "--id", "two"])?;
    assert!(!restored.with_memory);
    Ok(())
}

/// **P15** What is known to keep CRIU from capturing a process is told before anything stands still: by `snapctl check`, which
/// changes nothing, and by a create that wants memory.
#[test]
fn what_stands_in_the_way_is_told_while_the_processes_run() -> Result<()> {
    for (what, kind) in [("ring", "io-uring"), ("large", "large-deleted-file")] {
        let host = Host::start()?;
        run_witness(&host, "one", what)?;
        let verdict: Verdict = host.snap_json(&["check", "one"])?;
        assert_eq!(verdict.blockers.len(), 1, "{verdict:?}");
        assert_eq!(verdict.blockers[0].kind, kind);
        assert_eq!(verdict.blockers[0].pid, Some(host.task_pid("one")?));
        assert_eq!(
            host.snapctl(["check", "--memory", "one"])?.code,
            UNAVAILABLE
        );
        let refused = host.snapctl(["create", "one", "--memory=required"])?;
        assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
        assert!(
            refused.stderr.contains(&verdict.blockers[0].found),
            "{refused:?}"
        );
        assert!(!host.log_end().contains("Cannot capture the memory"));
        let created = create(&host, "one", &["--memory"])?;
        let reason = memory_of(&created)?.reason.as_deref();
        assert!(reason.is_some_and(|reason| reason.contains(&verdict.blockers[0].found)));
        goes_on(&host.rootfs("one"))?;
        nothing_is_left(&host)?;
    }
    let host = Host::start_with_idle("one")?;
    let verdict: Verdict = host.snap_json(&["check", "one", "--memory"])?;
    assert_eq!(verdict.blockers, []);
    assert!(
        verdict.processes >= 1 && verdict.memory_bytes > 0,
        "{verdict:?}"
    );
    Ok(())
}

/// **P11** Memory is not restored, and nothing is touched, where its network, its processor, its control groups or its CRIU are not
/// what they must be.
#[test]
fn a_host_that_does_not_suit_is_told_before_anything_is_made() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let refused = host.snapctl(["restore", "warm", "--network", "host"])?;
    assert_eq!(refused.code, CONFLICT, "{refused:?}");
    assert!(
        refused.stderr.contains("a network of their own"),
        "{refused:?}"
    );
    let flags = [
        "restore",
        "warm",
        "--id",
        "two",
        "--network",
        "host",
        "--fallback",
    ];
    let restored: Restored = host.snap_json(&flags)?;
    assert!(!restored.with_memory && !restored.warnings.is_empty());

    host.pretend("criu", UNFIT)?;
    let refused = host.snapctl(["restore", "warm"])?;
    assert_eq!(refused.code, CONFLICT, "{refused:?}");
    assert!(
        refused.stderr.contains("here CRIU is 3.17.1"),
        "{refused:?}"
    );
    let restored: Restored = host.snap_json(&["restore", "warm", "--id", "three", "--fallback"])?;
    assert!(!restored.with_memory);
    assert!(restored.warnings.join("").contains("3.17.1"));
    host.pretend_no_more("criu")?;
    let restored: Restored = host.snap_json(&["restore", "warm", "--id", "four"])?;
    assert!(restored.with_memory);
    nothing_is_left(&host)
}

/// What Debian 12's CRIU does on a new kernel.
const UNFIT: &str = "case $1 in
    --version) echo 'Version: 3.17.1';;
    *) echo '(00.01) Error (criu/vdso.c:1): vdso: Unexpected rt vDSO area bounds' >&2; exit 1;;
esac";

#[test]
fn a_criu_that_does_not_fit_the_kernel_is_told_before_anything_stands_still() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.pretend("criu", UNFIT)?;
    let created = create(&host, "one", &["--memory"])?;
    let memory = memory_of(&created)?;
    let reason = memory.reason.as_deref().unwrap_or_default();
    assert!(
        !memory.captured && reason.contains("Unexpected rt vDSO"),
        "{reason}"
    );
    let refused = host.snapctl(["create", "one", "--memory=required"])?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("snapctl doctor"), "{refused:?}");
    assert!(host.snap(&["doctor"])?.contains("unfit for this kernel"));
    nothing_is_left(&host)
}
