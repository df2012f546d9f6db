//! Peers that are too many, too slow, too early gone, or no clients at all.

use snap_api::ConnectError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::jobs::JobKind;

/// A request as tarpc frames it, with a deadline no client of ours would ask for.
async fn raw_list(stream: &mut UnixStream, deadline_seconds: u64) {
    let json = format!(
        r#"{{"Request":{{"context":{{"deadline":{{"secs":{deadline_seconds},"nanos":0}},"trace_context":{{"trace_id":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"span_id":0,"sampling_decision":"Unsampled"}}}},"id":0,"message":{{"List":{{"request":{{}}}}}}}}}}"#
    );
    stream
        .write_u32(u32::try_from(json.len()).unwrap())
        .await
        .unwrap();
    stream.write_all(json.as_bytes()).await.unwrap();
}

/// The next frame, or `None` when the connection ended.
async fn raw_answer(stream: &mut UnixStream) -> Option<String> {
    let length = stream.read_u32().await.ok()?;
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.ok()?;
    Some(String::from_utf8(answer).unwrap())
}

/// **Y11** Who is not root can build a template whose steps are commands alone; what copies files of the host, clones a repository, uses
/// the host's network or captures memory is denied.
#[tokio::test]
async fn templates_of_others_than_root_do_not_reach_into_the_host() {
    let fixture = Fixture::start();
    let peer = Peer {
        uid: 1000,
        pid: None,
    };
    let refused = async |first: &str, last: &str| {
        let text = format!("name = \"a\"\n{first}\n[base]\nimage = \"b\"\n{last}\n");
        let request = snap_api::TemplateBuildRequest {
            namespace: "default".to_owned(),
            template: snap_api::Template::parse(&text, "a.toml").unwrap(),
            sources: Vec::new(),
            reason: None,
            no_cache: false,
        };
        let api = || Api::new(Arc::clone(&fixture.host), peer, None);
        let plan = api().template_plan(context(), request.clone()).await;
        let build = api().template_build_start(context(), request).await;
        let codes = (plan.unwrap_err().code, build.unwrap_err().code);
        assert_eq!(codes.0, codes.1, "{text}");
        codes.0
    };
    let steps = [
        (
            "",
            "[[steps]]\ncopy = { from = \"/etc/shadow\", to = \"/x\" }",
        ),
        ("", "[[steps]]\ngit = { repository = \"/r\", to = \"/x\" }"),
        ("network = \"host\"", ""),
        ("memory = true\ncommand = \"x\"", "[probe]\nrun = \"x\""),
    ];
    for (first, last) in steps {
        assert_eq!(
            refused(first, last).await,
            ErrorCode::Denied,
            "{first}{last}"
        );
    }
    let commands = refused("", "[[steps]]\nrun = \"true\"").await;
    assert_eq!(commands, ErrorCode::Unavailable, "containerd is not there");
}

#[tokio::test]
async fn others_than_root_do_not_reach_into_the_host() {
    let fixture = Fixture::start();
    fixture.snapshot("app");
    let peer = Peer {
        uid: 1000,
        pid: None,
    };
    let api = || Api::new(Arc::clone(&fixture.host), peer, None);
    let path = || WirePath::from(fixture.folder.path());
    let request = create(CreateSource::Path(path()));
    let refused = api().create_start(context(), request).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Denied);
    let request = snap_api::PutRequest {
        namespace: "default".to_owned(),
        source: path(),
        name: "app".to_owned(),
        path: WirePath::new("/x"),
    };
    let refused = api().put_start(context(), request).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Denied);
    let request = snap_api::UnmountRequest { path: path() };
    assert_eq!(
        api().unmount(context(), request).await.unwrap_err().code,
        ErrorCode::Denied
    );
    let request = snap_api::BackupRequest { path: path() };
    assert_eq!(
        api().backup(context(), request).await.unwrap_err().code,
        ErrorCode::Denied
    );
    let request = snap_api::UpgradeMountsRequest {};
    let refused = api().upgrade_mounts(context(), request).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Denied);
    let request = RestoreRequest {
        namespace: "default".to_owned(),
        reference: "app".to_owned(),
        id: None,
        count: 1,
        force: false,
        no_start: false,
        no_memory: false,
        fallback: false,
        tcp_established: false,
        hook: None,
        network: snap_api::NetworkChoice::Host,
        keep_mounts: Vec::new(),
        drop_mounts: Vec::new(),
        from_trash: false,
        command: Vec::new(),
        attach: Vec::new(),
        idempotency_key: None,
    };
    assert_eq!(
        api()
            .restore_start(context(), request)
            .await
            .unwrap_err()
            .code,
        ErrorCode::Denied
    );
    api().show(context(), reference("app")).await.unwrap();
}

#[tokio::test]
async fn a_deadline_of_a_hundred_years_is_cut_and_an_impossible_one_ends_its_connection_alone() {
    let fixture = Fixture::start();
    let witness = fixture.client().await;
    let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
    raw_list(&mut stream, 3_153_600_000).await;
    let answer = raw_answer(&mut stream).await.unwrap();
    assert!(answer.contains("items"), "{answer}");
    let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
    raw_list(&mut stream, u64::MAX).await;
    assert_eq!(raw_answer(&mut stream).await, None);
    witness
        .list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
    fixture.client().await;
}

#[tokio::test]
async fn frames_that_are_too_long_or_no_request_end_their_connection_alone() {
    let fixture = Fixture::start();
    let witness = fixture.client().await;
    for bytes in [
        &u32::MAX.to_be_bytes()[..],
        b"\0\0\0\x04nope",
        b"\0\0\0\x02{}",
    ] {
        let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(raw_answer(&mut stream).await, None);
    }
    witness
        .list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_no_job() {
    let fixture = Fixture::start();
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    let request = crate::jobs::JobRequest {
        kind: JobKind::Verify,
        namespace: "default".parse().unwrap(),
        subject: "all".to_owned(),
        snapshot: None,
        key: None,
    };
    let work = |_| async move {
        let _ = held.await;
        Err(snap_store::Error::Cancelled.into())
    };
    let job = fixture.host.jobs.start(request, work).unwrap().job;
    let wait = JobWaitRequest {
        job: job.clone(),
        since_seq: u64::MAX,
        max_wait_ms: 30_000,
    };
    let client = fixture.client().await;
    let waiting = tokio::spawn(async move { client.job_wait(context(), wait).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    waiting.abort();
    fixture.client().await;
    assert_eq!(
        fixture.host.jobs.view(&job).unwrap().state,
        JobState::Running
    );
    release.send(()).unwrap();
}

#[tokio::test]
async fn waiting_for_jobs_keeps_no_other_call_waiting() {
    let fixture = Fixture::start();
    let request = crate::jobs::JobRequest {
        kind: JobKind::Verify,
        namespace: "default".parse().unwrap(),
        subject: "all".to_owned(),
        snapshot: None,
        key: None,
    };
    let work = |job: crate::jobs::JobHandle| async move {
        job.cancelled().await;
        Err(snap_store::Error::Cancelled.into())
    };
    let job = fixture.host.jobs.start(request, work).unwrap().job;
    let client = fixture.client().await;
    for _ in 0..100 {
        let (client, job) = (client.clone(), job.clone());
        let request = JobWaitRequest {
            job,
            since_seq: u64::MAX,
            max_wait_ms: 30_000,
        };
        tokio::spawn(async move { client.job_wait(context(), request).await });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let limit = Client::within(Duration::from_secs(2));
    client
        .list(limit, ListRequest::default())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_user_with_too_many_connections_is_told_so() {
    let fixture = Fixture::start_with(|config| config.connections_per_user = 2);
    let held = (fixture.client().await, fixture.client().await);
    let refused = Client::connect(&fixture.socket(), "third")
        .await
        .unwrap_err();
    let ConnectError::Refused(report) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(report.reason, "too-many-connections");
    held.0
        .list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stopping_server_takes_nobody_and_hangs_up() {
    let fixture = Fixture::start();
    let client = fixture.client().await;
    fixture.stop.cancel();
    client
        .list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
    fixture.server.hang_up(PATIENCE).await;
    assert!(
        client
            .list(context(), ListRequest::default())
            .await
            .is_err()
    );
    assert!(Client::connect(&fixture.socket(), "late").await.is_err());
}
