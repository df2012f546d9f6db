//! A real socket, the real client, and a host whose containerd does not exist.

mod model;
mod wire;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use snap_api::{
    Client, CopyRequest, CreateRequest, CreateSource, DiffRequest, ErrorCode, JobState,
    JobWaitRequest, LabelRequest, ListRequest, MountRequest, ReferenceRequest, RemoveRequest,
    RestoreRequest, StatusRequest, TagRequest, TreeRequest, Ttl, TtlRequest, VerifyRequest,
    WirePath,
};
use snap_store::{Force, SnapshotId};
use tempfile::TempDir;

use super::*;
use crate::{clock, config::Config, fixture};

const PATIENCE: Duration = Duration::from_secs(10);

struct Fixture {
    host: Arc<Host>,
    server: Server,
    stop: CancellationToken,
    folder: TempDir,
}

impl Fixture {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (host, folder) = fixture::host(change);
        let listening = listen(&host.config).unwrap();
        let (server, stop) = (Server::new(Arc::clone(&host)), CancellationToken::new());
        let (accepting, until) = (server.clone(), stop.clone());
        tokio::spawn(async move { accepting.accept(listening.listener, until).await });
        // The socket's file lives as long as its folder here.
        std::mem::forget(listening.own);
        Self {
            host,
            server,
            stop,
            folder,
        }
    }

    fn socket(&self) -> PathBuf {
        self.host.config.socket.clone()
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket(), "test").await.unwrap()
    }

    fn snapshot(&self, name: &str) -> SnapshotId {
        fixture::snapshot(&self.host, name, None)
    }
}

fn context() -> tarpc::context::Context {
    Client::within(PATIENCE)
}

fn reference(reference: &str) -> ReferenceRequest {
    ReferenceRequest {
        namespace: "default".to_owned(),
        reference: reference.to_owned(),
    }
}

fn create(source: CreateSource) -> CreateRequest {
    CreateRequest {
        namespace: "default".to_owned(),
        source,
        name: None,
        ttl: Ttl::Default,
        unused_seconds: None,
        labels: BTreeMap::new(),
        exclude: Vec::new(),
        include_mounts: Vec::new(),
        stop: false,
        memory: Default::default(),
        hook: None,
        verify: false,
        idempotency_key: None,
    }
}

#[tokio::test]
async fn a_new_daemon_says_hello_and_has_nothing() {
    let fixture = Fixture::start();
    let client = fixture.client().await;
    assert_eq!(client.hello().version, env!("CARGO_PKG_VERSION"));
    let page = client
        .list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    let page = client
        .job_list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
    assert!(page.items.is_empty());
    let page = client
        .container_list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
    assert!(page.items.is_empty());
}

#[tokio::test]
async fn another_major_version_is_refused_with_what_to_do() {
    let fixture = Fixture::start();
    let client = fixture.client().await;
    let request = snap_api::HelloRequest {
        major: 2,
        minor: 0,
        client: "later".to_owned(),
    };
    let error = (*client)
        .hello(context(), request)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason, "protocol-version");
    assert!(error.hint.unwrap().contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_daemon_has_a_status_without_containerd() {
    let fixture = Fixture::start();
    fixture.snapshot("app");
    let client = fixture.client().await;
    let status = client
        .status(context(), StatusRequest {})
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.snapshots["active"], 1);
    assert_eq!(status.snapshots["creating"], 0);
    assert!(
        status.containerd.contains("no-containerd"),
        "{}",
        status.containerd
    );
    assert!(status.free_bytes > 0 && status.pid == std::process::id());
}

#[tokio::test]
async fn bad_names_are_usage_errors_and_missing_things_are_not_found() {
    let fixture = Fixture::start();
    let client = fixture.client().await;
    for (text, code, reason) in [
        ("no such", ErrorCode::Usage, "invalid-snapshot-name"),
        ("", ErrorCode::Usage, "invalid-snapshot-name"),
        ("app:", ErrorCode::Usage, "invalid-tag"),
        ("app", ErrorCode::NotFound, "snapshot-not-found"),
        (
            "0123456789abcdef0123456789abcdef",
            ErrorCode::NotFound,
            "snapshot-not-found",
        ),
    ] {
        let error = client
            .show(context(), reference(text))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!((error.code, &*error.reason), (code, reason), "{text}");
    }
    let request = ListRequest {
        namespace: Some("a/b".to_owned()),
        ..ListRequest::default()
    };
    let error = client.list(context(), request).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code, &*error.reason),
        (ErrorCode::Usage, "invalid-namespace")
    );
    let bad_filter = || ListRequest {
        filters: vec!["colour=red".to_owned()],
        ..ListRequest::default()
    };
    for answer in [
        client.list(context(), bad_filter()).await.unwrap().err(),
        client
            .job_list(context(), bad_filter())
            .await
            .unwrap()
            .err(),
        client
            .container_list(context(), bad_filter())
            .await
            .unwrap()
            .err(),
    ] {
        assert_eq!(answer.unwrap().reason, "invalid-filter");
    }
    let request = ListRequest {
        cursor: Some("x".to_owned()),
        ..ListRequest::default()
    };
    let error = client.list(context(), request).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code, &*error.reason),
        (ErrorCode::Usage, "invalid-cursor")
    );
}

#[tokio::test]
async fn a_snapshot_is_listed_shown_changed_and_removed() {
    let fixture = Fixture::start();
    let id = fixture.snapshot("app:v1").to_string();
    let client = fixture.client().await;
    let detail = client
        .show(context(), reference("app"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (detail.snapshot.id, detail.snapshot.created_at),
        (id.clone(), "1970-01-01T00:16:40Z".into())
    );
    let request = LabelRequest {
        namespace: "default".to_owned(),
        reference: "app".to_owned(),
        set: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        remove: Vec::new(),
    };
    let view = client.label_set(context(), request).await.unwrap().unwrap();
    assert_eq!(view.labels["team"], "blue");
    let request = TtlRequest {
        namespace: "default".to_owned(),
        reference: id[..8].to_owned(),
        ttl: Some(Ttl::Seconds(60)),
        unused: Some(Ttl::Seconds(30)),
    };
    let view = client.ttl_set(context(), request).await.unwrap().unwrap();
    assert!(view.expires_at.is_some() && !view.expired);
    assert_eq!(view.expires_by, Some(snap_api::ExpiryCause::Unused));
    let request = TagRequest {
        namespace: "default".to_owned(),
        reference: "app".to_owned(),
        name: "app:stable".to_owned(),
        remove: false,
        more: Vec::new(),
        immutable: false,
        force: false,
    };
    let view = client.tag_set(context(), request).await.unwrap().unwrap();
    assert_eq!(view.names, ["app:latest", "app:stable", "app:v1"]);
    let request = RemoveRequest {
        namespace: "default".to_owned(),
        references: vec!["app".to_owned(), id.clone()],
        force: false,
        permanent: false,
    };
    let removed = client.remove(context(), request).await.unwrap().unwrap();
    assert_eq!(removed.ids, [id]);
    assert!(fixture.host.store.manifests().unwrap().is_empty());
}

#[tokio::test]
async fn removal_of_something_missing_removes_nothing() {
    let fixture = Fixture::start();
    fixture.snapshot("app");
    let client = fixture.client().await;
    let request = RemoveRequest {
        namespace: "default".to_owned(),
        references: vec!["app".to_owned(), "missing".to_owned()],
        force: false,
        permanent: false,
    };
    let error = client
        .remove(context(), request)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    client
        .show(context(), reference("app"))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_empty_snapshot_has_an_empty_tree() {
    let fixture = Fixture::start();
    fixture.snapshot("app");
    let client = fixture.client().await;
    let mut request = TreeRequest {
        namespace: "default".to_owned(),
        reference: "app".to_owned(),
        path: WirePath::new(&b"/"[..]),
        recursive: true,
        cursor: None,
        limit: 0,
    };
    let page = client
        .tree(context(), request.clone())
        .await
        .unwrap()
        .unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    request.path = WirePath::new(&b"/etc"[..]);
    let error = client
        .tree(context(), request.clone())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound, "{error}");
    request.path = WirePath::new(&b"etc"[..]);
    let error = client.tree(context(), request).await.unwrap().unwrap_err();
    assert_eq!(error.reason, "invalid-path");
    let request = DiffRequest {
        namespace: "default".to_owned(),
        from: "app".to_owned(),
        to: "app".to_owned(),
        cursor: Some("not-absolute".to_owned()),
        limit: 0,
    };
    let error = client.diff(context(), request).await.unwrap().unwrap_err();
    assert_eq!(error.reason, "invalid-cursor");
}

#[tokio::test]
async fn a_container_cannot_be_captured_without_containerd() {
    let fixture = Fixture::start();
    let client = fixture.client().await;
    let request = create(CreateSource::Container("web".to_owned()));
    let error = client
        .create_start(context(), request)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(
        (error.code, &*error.reason),
        (ErrorCode::Unavailable, "containerd-away")
    );
    assert!(
        fixture
            .host
            .catalogue
            .list(None, None, 10)
            .unwrap()
            .is_empty()
    );
    let mut request = create(CreateSource::Container("web".to_owned()));
    request.ttl = Ttl::Seconds(u64::MAX);
    let error = client
        .create_start(context(), request)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason, "invalid-ttl");
}

/// **S4** Only an `active` snapshot can be restored, mounted, looked into or copied from; any other is a conflict.
#[tokio::test]
async fn only_an_active_snapshot_is_restored_mounted_or_copied() {
    let fixture = Fixture::start();
    let id = fixture.snapshot("app");
    let catalogue = &fixture.host.catalogue;
    catalogue.begin_removal(&[id], Force::No, 0).unwrap();
    let client = fixture.client().await;
    let (namespace, reference) = ("default".to_owned(), id.to_string());
    let request = MountRequest {
        namespace: namespace.clone(),
        reference: reference.clone(),
        path: WirePath::from(fixture.folder.path()),
        writable: false,
        force: false,
    };
    let error = client.mount(context(), request).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code, &*error.reason),
        (ErrorCode::Conflict, "not-active")
    );
    let request = CopyRequest {
        namespace,
        reference,
        path: WirePath::new(&b"/"[..]),
        destination: WirePath::from(&*fixture.folder.path().join("copy")),
    };
    let error = client
        .copy_start(context(), request)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason, "not-active");
}

#[tokio::test]
async fn a_verification_is_a_job_that_can_be_followed() {
    let fixture = Fixture::start();
    let client = fixture.client().await;
    let request = VerifyRequest {
        namespace: "default".to_owned(),
        reference: None,
        quick: false,
    };
    let job = client
        .verify_start(context(), request)
        .await
        .unwrap()
        .unwrap()
        .job;
    let mut since_seq = 0;
    let view = loop {
        let request = JobWaitRequest {
            job: job.clone(),
            since_seq,
            max_wait_ms: 5000,
        };
        let view = client.job_wait(context(), request).await.unwrap().unwrap();
        if view.state != JobState::Running {
            break view;
        }
        since_seq = view.seq;
    };
    assert_eq!((view.state, &*view.kind), (JobState::Done, "verify"));
    let page = client
        .job_list(context(), ListRequest::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.items[0].job, job);
}

#[tokio::test]
async fn a_lost_catalogue_comes_back_from_the_manifests() {
    let fixture = Fixture::start();
    let id = fixture::snapshot(&fixture.host, "app:v1", Some(2000));
    let config = fixture.host.config.clone();
    fixture.stop.cancel();
    fixture.server.hang_up(PATIENCE).await;
    let folder = fixture.folder;
    drop((fixture.host, fixture.server));
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(folder.path().join(format!("root/catalogue.db{suffix}")));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let host = Host::open(config).unwrap();
    let found = host
        .catalogue
        .resolve(&"default".parse().unwrap(), &"app".parse().unwrap());
    let found = found.unwrap();
    assert_eq!(found.id, id);
    assert!(
        found.expires_at.unwrap() > clock::now(),
        "it would expire before anybody could look"
    );
}
