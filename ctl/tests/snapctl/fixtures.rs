//! Answers a daemon might give.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

use snap_api::{
    BackupStatus, Blocker, Collected, CollectionStatus, ContainerView, Created, DiskPressure,
    DiskStatus, ErrorCode, ErrorReport, Forecast, ForgetVerdict, ForgetView, JobOutcome, JobState,
    JobView, KeepRules, LastCollection, MappingView, MemoryContents, MountStatus, MoveCause,
    MoveEnd, MoveView, OpenView, PolicyView, ProcessView, ProgressView, RequestInFlight, Restored,
    RolledBack, ScrubStatus, SnapshotDetail, SnapshotState, SnapshotView, Status, TrashStatus,
    Verdict, VersionView, WirePath,
};

mod lasting;

pub(crate) use lasting::{
    auto, built, changed_volume, emptied, plan, template, trashed, trigger, undeleted, volume,
};

pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const JOB: &str = "7c1e";
pub(crate) const THEN: &str = "2020-01-02T03:04:05Z";

pub(crate) fn snapshot() -> SnapshotView {
    SnapshotView {
        id: ID.to_owned(),
        namespace: "default".to_owned(),
        state: SnapshotState::Active,
        reason: None,
        names: vec!["web:latest".to_owned(), "web:v1".to_owned()],
        immutable: Vec::new(),
        versions: Vec::new(),
        pinned: false,
        labels: BTreeMap::from([("branch".to_owned(), "main".to_owned())]),
        source: "web".to_owned(),
        is_container: true,
        container_folder: None,
        image: Some("example.org/web:1".to_owned()),
        created_at: THEN.to_owned(),
        expires_at: None,
        expires_by: None,
        unused_seconds: None,
        in_use: false,
        expired: false,
        last_used_at: None,
        nodes: 4711,
        logical_bytes: 3 << 30,
        stored_bytes: 5 << 20,
        pause_us: 12_345,
        damage: None,
        memory: None,
    }
}

pub(crate) fn snapshot_of(source: &str, id: &str) -> SnapshotView {
    SnapshotView {
        id: id.repeat(32),
        source: source.to_owned(),
        ..snapshot()
    }
}

pub(crate) fn version(version: u64, tags: &[&str]) -> VersionView {
    VersionView {
        version,
        current: tags.contains(&"latest"),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        snapshot: snapshot(),
    }
}

fn end(version: Option<u64>) -> MoveEnd {
    MoveEnd {
        snapshot: ID.to_owned(),
        version,
    }
}

pub(crate) fn moves() -> Vec<MoveView> {
    vec![
        MoveView {
            moved_at: THEN.to_owned(),
            cause: MoveCause::Rollback,
            from: Some(end(Some(3))),
            to: Some(end(Some(2))),
        },
        MoveView {
            moved_at: THEN.to_owned(),
            cause: MoveCause::Create,
            from: None,
            to: Some(end(Some(3))),
        },
    ]
}

pub(crate) fn rolled_back() -> RolledBack {
    RolledBack {
        name: "web:latest".to_owned(),
        from: Some(end(Some(3))),
        to: end(Some(2)),
        moved: true,
    }
}

/// Three versions, the oldest of which is removed.
pub(crate) fn forgotten() -> Vec<ForgetView> {
    let verdicts = [
        (3, ForgetVerdict::Keep),
        (2, ForgetVerdict::Held),
        (1, ForgetVerdict::Remove),
    ];
    let view = |(version, verdict): (u64, ForgetVerdict)| ForgetView {
        name: "web".to_owned(),
        version,
        snapshot: version.to_string().repeat(32),
        created_at: THEN.to_owned(),
        verdict,
        kept_by: Vec::new(),
        held_by: Vec::new(),
    };
    verdicts.map(view).into()
}

pub(crate) fn policy(name: &str) -> PolicyView {
    PolicyView {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        keep: KeepRules {
            last: 3,
            ..KeepRules::default()
        },
        rests_until: None,
    }
}

pub(crate) fn detail() -> SnapshotDetail {
    SnapshotDetail {
        snapshot: snapshot(),
        root: "beef".to_owned(),
        snapshotter: Some("overlayfs".to_owned()),
        runtime: Some("io.containerd.runc.v2".to_owned()),
        spec: Some(serde_json::json!({"process": {"args": ["sh"]}})),
        host: BTreeMap::from([("kernel".to_owned(), "6.18.5".to_owned())]),
        used_by: vec!["default/web-1".to_owned()],
        mounted_at: vec![WirePath::new("/mnt")],
        memory_key: Some("00112233aabbccdd".to_owned()),
    }
}

pub(crate) fn container(id: &str) -> ContainerView {
    ContainerView {
        volumes: Vec::new(),
        id: id.to_owned(),
        namespace: "default".to_owned(),
        snapshot: Some(ID.to_owned()),
        status: "running".to_owned(),
        pid: Some(42),
        created_at: THEN.to_owned(),
    }
}

pub(crate) fn running_job(seq: u64) -> JobView {
    JobView {
        retry: None,
        job: JOB.to_owned(),
        kind: "create".to_owned(),
        namespace: "default".to_owned(),
        subject: "web".to_owned(),
        state: JobState::Running,
        seq,
        started_at: THEN.to_owned(),
        ended_at: None,
        progress: ProgressView {
            phase: "reading".to_owned(),
            files: 3,
            bytes: 2048,
            total_bytes: None,
        },
        outcome: None,
        error: None,
    }
}

pub(crate) fn done_job(outcome: JobOutcome) -> JobView {
    JobView {
        state: JobState::Done,
        ended_at: Some(THEN.to_owned()),
        outcome: Some(outcome),
        ..running_job(5)
    }
}

pub(crate) fn failed_job(error: ErrorReport) -> JobView {
    JobView {
        state: JobState::Failed,
        error: Some(error),
        ..running_job(5)
    }
}

pub(crate) fn cancelled_job() -> JobView {
    failed_job(ErrorReport::new(
        ErrorCode::Cancelled,
        "cancelled",
        "Job 7c1e was cancelled",
    ))
}

pub(crate) fn created() -> JobOutcome {
    JobOutcome::Created(Box::new(Created {
        snapshot: snapshot(),
        pause_us: 12_345,
        elapsed_us: 2_500_000,
        read_bytes: 6 << 20,
        new_bytes: 6 << 20,
        stored_bytes: 5 << 20,
        new_chunks: 100,
        deduplicated_chunks: 4000,
        forgotten: vec!["web:1".to_owned()],
        warnings: vec!["A socket vanished".to_owned()],
    }))
}

pub(crate) fn collected() -> Collected {
    Collected {
        dry_run: false,
        snapshots: 3,
        packs: 10,
        live_chunks: 100,
        live_bytes: 5 << 20,
        dead_chunks: 50,
        dead_bytes: 3 << 20,
        removed_packs: 4,
        freed_bytes: 2 << 20,
        rewritten_packs: 1,
        written_bytes: 1 << 20,
        waiting_packs: 2,
        waiting_bytes: 1 << 20,
        damaged_packs: 0,
        missing_chunks: 0,
        forgotten_bases: 0,
        unreadable: Vec::new(),
        incomplete: false,
        stopped: None,
        elapsed_us: 250_000,
    }
}

pub(crate) fn restored() -> Restored {
    Restored {
        containers: vec![container("web-1"), container("web-2")],
        snapshot: ID.to_owned(),
        restored_from_snapshot: true,
        with_memory: false,
        ttl_expired: false,
        elapsed_us: 150_000,
        warnings: Vec::new(),
    }
}

fn mount_status() -> MountStatus {
    MountStatus {
        snapshot: ID.to_owned(),
        server_pid: Some(88),
        users: 2,
        restarts: 3,
        failure: None,
        lingers: true,
        in_flight: 5,
        refused: 2,
        lost_threads: 1,
        foreseen_bytes: 9 << 20,
        met_bytes: 6 << 20,
        late_bytes: 2 << 20,
        requests: vec![RequestInFlight {
            kind: "read".to_owned(),
            node: 7,
            path: Some("/data".to_owned()),
            offset: 4096,
            size: 131_072,
            age_ms: 2345,
            refused: false,
        }],
    }
}

pub(crate) fn status() -> Status {
    Status {
        version: "9.9.9".to_owned(),
        pid: 77,
        started_at: THEN.to_owned(),
        root: WirePath::new("/var/lib/snapshotd"),
        containerd: "1.6.20".to_owned(),
        snapshots: BTreeMap::from([("active".to_owned(), 3)]),
        containers: 2,
        packs: 4,
        chunks: 5,
        store_bytes: 6 << 20,
        free_bytes: 7 << 30,
        running_jobs: 1,
        mounts: vec![mount_status()],
        next_expiry_at: None,
        backup: BackupStatus {
            kept: 7,
            last_path: Some(WirePath::new("/var/lib/snapshotd/backups/catalogue-9.db")),
            last_at: Some(THEN.to_owned()),
            next_at: None,
            failure: Some("Cannot write".to_owned()),
        },
        collection: CollectionStatus {
            last: Some(LastCollection {
                ended_at: THEN.to_owned(),
                live_bytes: 5 << 20,
                dead_bytes: 1 << 20,
                waiting_bytes: 0,
                freed_bytes: 2 << 20,
            }),
            next_at: None,
            failure: None,
        },
        disk: disk(),
        damaged_snapshots: 1,
        scrub: scrub(),
        trash: TrashStatus {
            snapshots: 2,
            stored_bytes: 3 << 20,
        },
    }
}

fn disk() -> DiskStatus {
    DiskStatus {
        used_percent: 96,
        high_percent: 95,
        low_percent: 85,
        pressure: DiskPressure::Full,
    }
}

fn scrub() -> ScrubStatus {
    ScrubStatus {
        bytes_per_day: 1 << 30,
        read_bytes: 3 << 20,
        total_bytes: 6 << 20,
        begun_at: Some(THEN.to_owned()),
        ..ScrubStatus::default()
    }
}

pub(crate) fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

pub(crate) fn verdict(container: &str, blockers: Vec<Blocker>) -> Verdict {
    Verdict {
        container: container.to_owned(),
        processes: 2,
        memory_bytes: 3 << 20,
        blockers,
    }
}

/// `snapctl` with nothing of the caller's environment that would change what it does.
pub(crate) fn snapctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapctl"));
    for name in ["SNAPCTL_SOCKET", "SNAPSHOTD_SOCKET", "CONTAINERD_NAMESPACE"] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

pub(crate) fn forecast(blockers: Vec<Blocker>) -> Forecast {
    Forecast {
        source: "web".to_owned(),
        images_bytes: blockers.is_empty().then_some(5 << 20),
        verdict: Some(verdict("web", blockers)),
        nodes: 7,
        files_bytes: 3 << 20,
        partial: false,
        pause_us: 81_000,
        rests_on: vec!["Pause: snapshot 12\u{1b}".to_owned()],
        warnings: Vec::new(),
    }
}

pub(crate) fn contents() -> MemoryContents {
    let mapping = MappingView {
        start: "0x1000".to_owned(),
        bytes: 1 << 20,
        access: "rw-".to_owned(),
        what: "heap".to_owned(),
        stored_bytes: 1 << 19,
    };
    let open = OpenView {
        descriptor: 3,
        kind: "file".to_owned(),
        what: Some("/etc/x\u{1b}".to_owned()),
    };
    MemoryContents {
        processes: vec![ProcessView {
            pid: 1,
            parent: 0,
            name: "shell\u{1b}".to_owned(),
            threads: 2,
            stored_bytes: 3 << 20,
            mappings: vec![mapping],
            open: vec![open],
        }],
        partial: true,
    }
}
