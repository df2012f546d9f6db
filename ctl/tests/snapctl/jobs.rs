//! Long work: waiting, detaching, cancelling, losing the daemon.

use std::process::{Child, Output};

use rustix::process::{Pid, Signal, kill_process};
use snap_api::{
    Collected, Copied, Damage, ErrorCode, ErrorReport, JobOutcome, PackDamage, Repaired, Restored,
    Unreadable, Verified, WirePath,
};

use crate::{
    fake::{Daemon, Script},
    fixtures::{self, stderr, stdout},
};

fn ending_with(job: snap_api::JobView) -> Daemon {
    Daemon::start(Script {
        waits: [fixtures::running_job(2), job].into(),
        ..Script::default()
    })
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

fn expired_restore() -> JobOutcome {
    JobOutcome::Restored(Restored {
        restored_from_snapshot: false,
        ttl_expired: true,
        ..fixtures::restored()
    })
}

fn damage() -> JobOutcome {
    JobOutcome::Verified(Verified {
        snapshots: 1,
        chunks: 10,
        bytes: 1 << 20,
        damage: vec![Damage {
            snapshot: fixtures::ID.to_owned(),
            path: Some(WirePath::new("/etc/passwd")),
            offset_bytes: Some(100),
            length_bytes: Some(50),
            digest: Some("beef".to_owned()),
            pack: Some("cafe".to_owned()),
            problem: "its bytes do not match its digest".to_owned(),
        }],
        packs: vec![PackDamage {
            pack: "cafe".to_owned(),
            problem: None,
            chunks: 1,
        }],
        truncated: false,
    })
}

fn unreadable() -> JobOutcome {
    let holder = format!("snapshot {}", fixtures::ID);
    JobOutcome::Collected(Box::new(Collected {
        unreadable: vec![Unreadable {
            holder,
            problem: "Manifest is corrupt".to_owned(),
        }],
        incomplete: true,
        ..fixtures::collected()
    }))
}

#[test]
fn collect_shows_what_it_found_and_did() {
    let done = JobOutcome::Collected(Box::new(fixtures::collected()));
    let output = ending_with(fixtures::done_job(done)).run(&["collect"]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    for line in [
        "Needed      5.0 MiB in 100 chunks by 3 snapshots\n",
        "Removed     4 of 10 packs, 2.0 MiB\n",
        "Waiting     2 packs, 1.0 MiB\n",
    ] {
        assert!(stdout(&output).contains(line), "{}", stdout(&output));
    }
}

#[test]
fn collect_ends_with_corrupt_when_something_in_use_cannot_be_read() {
    let output = ending_with(fixtures::done_job(unreadable())).run(&["collect"]);
    assert_eq!(code(&output), Some(8));
    assert!(stderr(&output).contains("Manifest is corrupt"));
    assert!(stderr(&output).contains("nothing was removed"));
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn create_waits_for_the_end_and_shows_when_the_snapshot_expires() {
    let daemon = ending_with(fixtures::done_job(fixtures::created()));
    let output = daemon.run(&["create", "web"]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("Expires     never\n"),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).contains("Paused for  12.3 ms\n"));
    assert_eq!(stderr(&output), "warning: A socket vanished\n");
}

#[test]
fn each_wait_asks_for_what_is_newer_than_the_last_answer_and_each_pause_for_the_end() {
    let done = fixtures::done_job(fixtures::created());
    let daemon = Daemon::start(Script {
        waits: [fixtures::running_job(2), fixtures::running_job(3), done].into(),
        ..Script::default()
    });
    daemon.run(&["create", "web"]);
    let seen = daemon.seen("job_wait");
    let since: Vec<u64> = seen
        .iter()
        .map(|request| request["since_seq"].as_u64().unwrap())
        .collect();
    assert_eq!(since, [0, u64::MAX, 3]);
    assert!(seen[1]["max_wait_ms"].as_u64().unwrap() <= 100);
}

#[test]
fn quiet_create_prints_the_id_alone() {
    let daemon = ending_with(fixtures::done_job(fixtures::created()));
    let output = daemon.run(&["create", "-q", "web"]);
    assert_eq!(stdout(&output), format!("{}\n", fixtures::ID));
}

#[test]
fn json_of_create_is_the_answer_itself() {
    let daemon = ending_with(fixtures::done_job(fixtures::created()));
    let output = daemon.run(&["create", "web", "-o", "json"]);
    let answer: snap_api::Created = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer.snapshot.logical_bytes, 3 << 30);
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_detached_create_prints_the_job_and_does_not_wait() {
    let daemon = Daemon::start(Script::default());
    let output = daemon.run(&["create", "web", "--detach"]);
    assert_eq!(code(&output), Some(0));
    assert!(stdout(&output).contains("snapctl jobs wait 7c1e"));
    let quiet = daemon.run(&["create", "web", "--detach", "-q"]);
    assert_eq!(stdout(&quiet), "7c1e\n");
    assert!(daemon.seen("job_wait").is_empty());
}

#[test]
fn a_failed_job_ends_with_its_error_and_code() {
    let error = ErrorReport::new(
        ErrorCode::Conflict,
        "not-running",
        "Container web is stopped",
    )
    .hint("start it first");
    let daemon = ending_with(fixtures::failed_job(error));
    let output = daemon.run(&["create", "web"]);
    assert_eq!(code(&output), Some(4));
    assert_eq!(
        stderr(&output),
        "error: Container web is stopped\nhint: start it first\n"
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn quiet_restore_prints_ids_one_a_line() {
    let daemon = ending_with(fixtures::done_job(JobOutcome::Restored(
        fixtures::restored(),
    )));
    let output = daemon.run(&["restore", "web", "-q", "--count", "2"]);
    assert_eq!(stdout(&output), "web-1\nweb-2\n");
}

#[test]
fn a_fresh_container_instead_of_an_expired_snapshot_is_warned_of() {
    let daemon = ending_with(fixtures::done_job(expired_restore()));
    let output = daemon.run(&["restore", "web"]);
    assert_eq!(code(&output), Some(0));
    assert!(stderr(&output).starts_with("warning: the snapshot has expired"));
    assert!(stdout(&output).contains("from the original image"));
}

#[test]
fn copy_says_how_much_it_copied() {
    let copied = Copied {
        files: 2,
        bytes: 1536,
    };
    let daemon = ending_with(fixtures::done_job(JobOutcome::Copied(copied)));
    let output = daemon.run(&["copy", "web:/etc", "/tmp/x"]);
    assert_eq!(stdout(&output), "Copied 2 nodes, 1.5 KiB\n");
}

#[test]
fn verify_that_finds_damage_lists_it_and_ends_with_corrupt() {
    let daemon = ending_with(fixtures::done_job(damage()));
    let output = daemon.run(&["verify"]);
    assert_eq!(code(&output), Some(8));
    let lost = "0123456789ab  /etc/passwd  100-149  its bytes do not match its digest";
    assert!(stdout(&output).contains(lost), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("cafe  1               -"),
        "{}",
        stdout(&output)
    );
    assert_eq!(stderr(&output), "");
}

#[test]
fn repair_that_loses_something_names_it_and_ends_with_corrupt() {
    let JobOutcome::Verified(verified) = damage() else {
        panic!("it is a verification");
    };
    let repaired = Repaired {
        snapshots: 1,
        packs: verified.packs,
        regained_chunks: 3,
        regained_from: [("container default/web".to_owned(), 2)].into(),
        lost: verified.damage,
        ..Repaired::default()
    };
    let outcome = JobOutcome::Repaired(Box::new(repaired));
    let daemon = ending_with(fixtures::done_job(outcome));
    let output = daemon.run(&["repair"]);
    assert_eq!(code(&output), Some(8));
    for line in [
        "0123456789ab  /etc/passwd  100-149  its bytes do not match its digest\n",
        "Regained   3 chunks, 2 from container default/web\n",
        "Lost       1 place of snapshots\n",
    ] {
        assert!(stdout(&output).contains(line), "{}", stdout(&output));
    }
}

#[test]
fn repair_of_a_sound_store_has_nothing_to_do() {
    let outcome = JobOutcome::Repaired(Box::default());
    let daemon = ending_with(fixtures::done_job(outcome));
    let output = daemon.run(&["repair", "--dry-run"]);
    assert_eq!(code(&output), Some(0));
    assert!(stdout(&output).starts_with("Nothing to repair in 0 snapshots"));
    assert_eq!(daemon.seen("repair_start")[0]["dry_run"], true);
}

#[test]
fn the_first_interrupt_cancels_the_job() {
    let daemon = Daemon::start(Script::default());
    let child = daemon.spawn(&["create", "web"]);
    daemon.await_calls("job_wait", 1);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(10));
    assert_eq!(daemon.seen("job_cancel").len(), 1);
    assert!(stderr(&output).ends_with("error: Job 7c1e was cancelled\n"));
}

#[test]
fn the_second_interrupt_leaves_at_once() {
    let mut script = Script::default();
    script.waits.push_back(fixtures::running_job(1));
    script.ignores_cancel = true;
    let daemon = Daemon::start(script);
    let child = daemon.spawn(&["create", "web"]);
    daemon.await_calls("job_wait", 2);
    interrupt(&child);
    daemon.await_calls("job_cancel", 1);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(10));
    assert!(stderr(&output).contains("error: Left before the end of the job"));
}

#[test]
fn an_interrupted_wait_for_somebody_elses_job_leaves_it_alone() {
    let daemon = Daemon::start(Script::default());
    let child = daemon.spawn(&["jobs", "wait", "7c1e"]);
    daemon.await_calls("job_wait", 1);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(10));
    assert!(daemon.seen("job_cancel").is_empty());
}

#[test]
fn a_lost_connection_says_that_the_job_goes_on() {
    let daemon = Daemon::start(Script::default());
    let child = daemon.spawn(&["create", "web"]);
    daemon.await_calls("job_wait", 1);
    daemon.vanish();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(7));
    assert!(stderr(&output).starts_with("error: The connection to the daemon was lost\n"));
    assert!(stderr(&output).contains("`snapctl jobs wait 7c1e` follows it"));
}

#[test]
fn waiting_for_a_job_shows_what_came_of_it() {
    let daemon = ending_with(fixtures::done_job(fixtures::created()));
    let output = daemon.run(&["jobs", "wait", "7c1e", "-q"]);
    assert_eq!(stdout(&output), format!("{}\n", fixtures::ID));
}

#[test]
fn json_of_a_failed_job_is_the_job_and_the_code_is_its_errors() {
    let daemon = ending_with(fixtures::cancelled_job());
    let output = daemon.run(&["jobs", "wait", "7c1e", "-o", "json"]);
    assert_eq!(code(&output), Some(10));
    let job: snap_api::JobView = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(job.error.unwrap().reason, "cancelled");
}
