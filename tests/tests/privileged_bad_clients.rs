//! Clients that leave, stammer or ask for nonsense, and daemons that must not start: nobody else is harmed.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::Result;
use snap_api::{SnapshotState, SnapshotView};
use snap_tests::{Host, HostOptions, noise, wait_for};

/// A request as tarpc frames it: our own client would not ask for such a deadline.
fn ask_with_deadline(host: &Host, seconds: u64) -> Result<Vec<u8>> {
    let trace = r#"{"trace_id":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"span_id":0,"sampling_decision":"Unsampled"}"#;
    let context =
        format!(r#"{{"deadline":{{"secs":{seconds},"nanos":0}},"trace_context":{trace}}}"#);
    let message = r#"{"Hello":{"request":{"major":1,"minor":0,"client":"test"}}}"#;
    let request = format!(r#"{{"Request":{{"context":{context},"id":0,"message":{message}}}}}"#);
    let mut stream = UnixStream::connect(host.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(request.as_bytes())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_deadline_of_a_hundred_years_is_answered() -> Result<()> {
    let host = Host::start()?;
    for years in [1, 3, 100] {
        let answer = ask_with_deadline(&host, years * 365 * 86_400)?;
        let answer = String::from_utf8(answer)?;
        assert!(answer.contains("Ok"), "{years}: {answer}");
    }
    let _ = ask_with_deadline(&host, u64::MAX);
    assert_eq!(host.snapctl(["status"])?.code, 0);
    Ok(())
}

#[test]
fn noise_on_the_socket_harms_nobody_else() -> Result<()> {
    let host = Host::start()?;
    for noise in [
        &b""[..],
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
        &[255; 100_000],
        b"\0\0\0\x02{}",
    ] {
        let mut stream = UnixStream::connect(host.socket())?;
        // The daemon may hang up while it is being written to.
        let _ = stream.write_all(noise);
    }
    let held: Vec<UnixStream> = (0..10)
        .map(|_| UnixStream::connect(host.socket()))
        .collect::<Result<_, _>>()?;
    assert_eq!(host.snapctl(["status"])?.code, 0);
    drop(held);
    Ok(())
}

/// **J1** A job goes on when the client that started it leaves or dies.
#[test]
fn a_client_that_leaves_cancels_nothing() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 100 << 20)?;
    let mut command = host.snapctl_command()?;
    let mut client = command.args(["create", "--path"]).arg(&data).spawn()?;
    wait_for("the capture to begin", Duration::from_secs(10), || {
        let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
        Ok((!all.is_empty()).then_some(()))
    })?;
    client.kill()?;
    client.wait()?;
    wait_for(
        "the snapshot to become active",
        Duration::from_secs(60),
        || {
            let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
            Ok(all
                .iter()
                .any(|one| one.state == SnapshotState::Active)
                .then_some(()))
        },
    )
}

/// **J2** A cancelled job undoes what it had half done, and ends with `cancelled`.
#[test]
fn a_cancelled_capture_leaves_no_snapshot_that_can_be_used() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 200 << 20)?;
    let job = host.snap(&[
        "create",
        "--path",
        &data.to_string_lossy(),
        "--detach",
        "--quiet",
    ])?;
    host.snap(&["jobs", "cancel", &job])?;
    let ended = host.snapctl(["jobs", "wait", &job])?;
    assert_eq!(ended.code, 10, "{ended:?}");
    let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert!(
        all.iter().all(|one| one.state == SnapshotState::Failed),
        "{all:?}"
    );
    Ok(())
}

#[test]
fn an_unknown_key_keeps_the_daemon_from_starting() -> Result<()> {
    let mut host = Host::start()?;
    host.take_daemon()?.stop()?;
    fs::write(host.config(), "no_such_key = 1\n")?;
    let refused = host.start_daemon().expect_err("the key is unknown");
    assert!(
        format!("{refused:#}").contains("no_such_key"),
        "{refused:#}"
    );
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() -> Result<()> {
    let host = Host::start()?;
    let refused = Host::start_with(&HostOptions {
        root: Some(host.root().to_owned()),
        without_containerd: true,
        ..HostOptions::default()
    });
    assert!(refused.is_err());
    assert_eq!(host.snapctl(["status"])?.code, 0);
    Ok(())
}
