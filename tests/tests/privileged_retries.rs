//! Jobs that fail for a passing reason are tried again, and say so.

use std::time::Duration;

use anyhow::Result;
use snap_api::{JobState, JobView, SnapshotState};
use snap_tests::{Host, HostOptions, Image, wait_for};

const SOON: Duration = Duration::from_secs(60);

fn job(host: &Host, id: &str) -> Result<JobView> {
    host.snap_json(&["jobs", "show", id])
}

/// **I12** A create, and a restore that has made nothing yet, that fail because containerd does not answer or something is busy are tried again,
/// after two seconds, then after twice as long each time and half a minute at most, six times in all. `snapctl jobs` says which attempt it is,
/// why the last one has failed and when the next begins. Anything else ends them at once.
#[test]
fn i2_a_create_waits_for_containerd_to_come_back() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "concurrent_captures = 1\n".to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("web", Image::Busybox)?;
    // It is accepted while containerd answers, and gets its turn when nobody does any more.
    let held = host.begin_held(&[])?;
    let id = host.snap(&["create", "web", "--name", "web", "--detach", "--quiet"])?;
    host.kill_containerd()?;
    held.finish(&host)?.ok()?;
    let waiting = wait_for("an attempt to fail", SOON, || {
        let job = job(&host, &id)?;
        Ok(job.retry.clone().map(|retry| (job, retry)))
    })?;
    let (job_then, retry) = waiting;
    assert_eq!(job_then.state, JobState::Running, "{job_then:?}");
    assert!(retry.attempt >= 2 && retry.max_attempts == 6, "{retry:?}");
    assert!(retry.reason.contains("containerd"), "{retry:?}");
    let listed = host.snap(&["jobs"])?;
    assert!(
        listed.contains(" of 6 ") && listed.contains("containerd at"),
        "{listed}"
    );
    let shown = host.snap(&["jobs", "show", &id])?;
    assert!(shown.contains("Failed before"), "{shown}");
    host.start_containerd()?;
    host.snap(&["jobs", "wait", &id])?;
    let ended = job(&host, &id)?;
    assert_eq!(ended.state, JobState::Done);
    assert!(ended.retry.is_some_and(|retry| retry.next_at.is_none()));
    assert_eq!(host.state_of("web")?.0, SnapshotState::Active);
    // What does not pass is no reason to try again.
    host.kill_task("web")?;
    assert_eq!(host.snapctl(["create", "web"])?.code, 4);
    Ok(())
}
