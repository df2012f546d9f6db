//! `verify`, `status` and `doctor`: is all well?

use std::time::SystemTime;

use clap::Args;
use snap_api::{
    BackupStatus, Check, CheckResult, CollectionStatus, DiskPressure, DiskStatus, DoctorReport,
    ErrorCode, MountStatus, ScrubStatus, Status, StatusRequest, VerifyRequest,
};

use crate::{
    failure::Failure,
    follow,
    screen::{Form, Paint, Stream, facts, table},
    session::{Session, answer},
    verbs::outcome,
    words::{clean, count, moment, relative, short_id, size},
};

/// A request that is in flight for so long is shown to people.
const SLOW_MS: u64 = 1000;

/// Reads stored data back and compares it with its digests.
///
/// One snapshot; without REF every pack of the store and every snapshot of every namespace. Damage does not end it: it
/// goes on and lists every damaged file with the bytes that are lost, once for each snapshot and path. The exit code
/// is 8 when there was damage. Data is read once, whoever shares it, in the order in which it lies on disk.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl verify web:v1
  snapctl verify --quick || echo damaged")]
pub(crate) struct VerifyArgs {
    /// The snapshot [default: everything in the store]
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// Check manifests, trees, the ends of packs and that all data is present, without reading the data back
    #[arg(long)]
    quick: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// Shows the daemon at a glance.
///
/// Versions, the size of the store, snapshots by state, what is served now and which requests of it are slow, when expired
/// snapshots are next looked for, the last collection and the last copy of the catalogue and when the next are due, how full the disk is, how
/// far the scrub is, and how many snapshots are damaged.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl status -o json | jq .free_bytes

With --quiet it prints nothing: the exit code says whether the daemon answers.")]
pub(crate) struct StatusArgs {}

/// Says what is missing on this host, and what to do about it.
///
/// Looks at the kernel, FUSE, overlayfs, containerd, runc, CRIU, space, reflinks, limits and the store. A warning is
/// something that works less well than it could. The exit code is 7 when something does not work at all.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl doctor

With --quiet it prints problems alone.")]
pub(crate) struct DoctorArgs {}

/// Runs `verify`.
pub(crate) async fn verify(session: &Session, args: VerifyArgs) -> Result<(), Failure> {
    let request = VerifyRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        quick: args.quick,
    };
    let start = session.client.verify_start(session.soon(), request);
    let followed = follow::run(session, args.detach.into(), start).await?;
    outcome::show_followed(&session.screen, &followed)
}

/// Runs `status`.
pub(crate) async fn status(session: &Session) -> Result<(), Failure> {
    let called = session
        .client
        .status(session.soon(), StatusRequest {})
        .await;
    let status = answer(called)?;
    session
        .screen
        .show(&status, &[], || render_status(&status, SystemTime::now()))
}

/// Runs `doctor`.
pub(crate) async fn doctor(session: &Session) -> Result<(), Failure> {
    let called = session
        .client
        .doctor(session.soon(), StatusRequest {})
        .await;
    let report = answer(called)?;
    let screen = &session.screen;
    let paint = Paint::of(Stream::Stdout);
    match screen.form() {
        Form::Json => screen.json(&report)?,
        Form::Table => screen.text(&render_doctor(&report, CheckResult::Ok, paint))?,
        Form::Quiet => screen.text(&render_doctor(&report, CheckResult::Problem, paint))?,
    }
    let is_problem = |check: &Check| check.result == CheckResult::Problem;
    if report.checks.iter().any(is_problem) {
        return Err(Failure::Found(ErrorCode::Unavailable));
    }
    Ok(())
}

fn render_status(status: &Status, now: SystemTime) -> String {
    let by_state: Vec<String> = status
        .snapshots
        .iter()
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    let mut lines = vec![
        (
            "Daemon",
            format!("version {}, process {}", status.version, status.pid),
        ),
        ("Started", moment(&status.started_at, now)),
        ("containerd", status.containerd.clone()),
        ("Root", status.root.to_string()),
        (
            "Store",
            format!(
                "{} in {}, {}; {} free",
                size(status.store_bytes),
                count(status.packs, "pack"),
                count(status.chunks, "chunk"),
                size(status.free_bytes)
            ),
        ),
        (
            "Snapshots",
            if by_state.is_empty() {
                "none".to_owned()
            } else {
                by_state.join(", ")
            },
        ),
        ("Containers", status.containers.to_string()),
        ("Jobs", format!("{} under way", status.running_jobs)),
    ];
    if let Some(time) = &status.next_expiry_at {
        lines.push(("Next expiry", moment(time, now)));
    }
    lines.push(("Collection", collection(&status.collection, now)));
    lines.push(("Disk", disk(&status.disk)));
    lines.push(("Backup", backup(&status.backup, now)));
    lines.push(("Scrub", scrub(&status.scrub, now)));
    if status.trash.snapshots > 0 {
        let snapshots = count(status.trash.snapshots, "snapshot");
        let bytes = size(status.trash.stored_bytes);
        lines.push(("Trash", format!("{snapshots}, {bytes}")));
    }
    if status.damaged_snapshots > 0 {
        let snapshots = count(status.damaged_snapshots, "snapshot");
        let what = format!("{snapshots}; `snapctl repair --dry-run` names the files");
        lines.push(("Damaged", what));
    }
    let mut text = facts(&lines);
    if !status.mounts.is_empty() {
        text.push('\n');
        text.push_str(&render_mounts(status));
    }
    text
}

/// What the last collection found, and when the next one is due.
fn collection(collection: &CollectionStatus, now: SystemTime) -> String {
    let mut text = match &collection.last {
        Some(last) => format!(
            "{}: {} needed, {} not, {} given back",
            relative(&last.ended_at, now),
            size(last.live_bytes),
            size(last.dead_bytes),
            size(last.freed_bytes)
        ),
        None => "none yet".to_owned(),
    };
    match &collection.next_at {
        Some(time) => text.push_str(&format!("; next {}", relative(time, now))),
        None => text.push_str("; turned off"),
    }
    if let Some(failure) = &collection.failure {
        text.push_str(&format!("\nfailed: {failure}"));
    }
    text
}

/// How full the disk is, and what that means.
fn disk(disk: &DiskStatus) -> String {
    let used = format!("{} % used", disk.used_percent);
    match disk.pressure {
        DiskPressure::None => used,
        DiskPressure::High => format!(
            "{used}: nearly full, space is made until it is below {} %",
            disk.low_percent
        ),
        DiskPressure::Full => format!(
            "{used}: full, captures are refused from {} % on",
            disk.high_percent
        ),
    }
}

/// How far the regular reading of everything is, and what it found.
fn scrub(scrub: &ScrubStatus, now: SystemTime) -> String {
    let mut text = match (&scrub.begun_at, &scrub.completed_at) {
        _ if scrub.bytes_per_day == 0 => "turned off".to_owned(),
        (Some(begun), completed) if completed.as_ref().is_none_or(|done| done < begun) => format!(
            "{} of {} read since {}",
            size(scrub.read_bytes),
            size(scrub.total_bytes),
            relative(begun, now)
        ),
        (_, Some(completed)) => format!("everything read {}", relative(completed, now)),
        (..) => "not begun".to_owned(),
    };
    if scrub.damaged_packs > 0 {
        let packs = count(scrub.damaged_packs, "damaged pack");
        text.push_str(&format!("; found {packs}"));
    }
    if let Some(failure) = &scrub.failure {
        text.push_str(&format!("\ninterrupted: {}", clean(failure)));
    }
    text
}

/// The newest copy of the catalogue, the next one, and what keeps it from being made.
fn backup(backup: &BackupStatus, now: SystemTime) -> String {
    let mut text = match &backup.last_at {
        Some(time) => format!("{} ({} kept)", relative(time, now), backup.kept),
        None => "none yet".to_owned(),
    };
    match &backup.next_at {
        Some(time) => text.push_str(&format!("; next {}", relative(time, now))),
        None => text.push_str("; turned off"),
    }
    if let Some(failure) = &backup.failure {
        text.push_str(&format!("\nfailed: {failure}"));
    }
    text
}

fn render_mounts(status: &Status) -> String {
    let rows: Vec<Vec<String>> = status
        .mounts
        .iter()
        .map(|mount| {
            let pid = mount.server_pid.map(|pid| pid.to_string());
            vec![
                short_id(&mount.snapshot).to_owned(),
                pid.unwrap_or_else(|| "none".to_owned()),
                mount.users.to_string(),
                mount.restarts.to_string(),
                mount.in_flight.to_string(),
                foreseen(mount),
                trouble(mount),
            ]
        })
        .collect();
    let mut text = table(
        &[
            "SERVED SNAPSHOT",
            "SERVER PID",
            "USERS",
            "RESTARTS",
            "IN FLIGHT",
            "READ AHEAD",
            "TROUBLE",
        ],
        &rows,
        &[],
    );
    text.push_str(&render_slow_requests(status));
    text
}

/// What was read ahead of need, and how much of what was needed that was.
fn foreseen(mount: &MountStatus) -> String {
    let needed = mount.met_bytes + mount.late_bytes;
    match mount.foreseen_bytes {
        0 => "-".to_owned(),
        bytes => format!(
            "{}; {} of {} needed",
            size(bytes),
            size(mount.met_bytes),
            size(needed)
        ),
    }
}

/// What is wrong with a mount, if anything is.
fn trouble(mount: &MountStatus) -> String {
    let mut found: Vec<String> = mount.failure.iter().map(|failure| clean(failure)).collect();
    if mount.lingers {
        found.push("unmounted here, held elsewhere".to_owned());
    }
    if mount.refused > 0 {
        found.push(format!(
            "{} not answered in time",
            count(mount.refused, "request")
        ));
    }
    if mount.lost_threads > 0 {
        found.push(format!("{} held up", count(mount.lost_threads, "thread")));
    }
    found.join("; ")
}

/// Requests that should have been answered long ago.
fn render_slow_requests(status: &Status) -> String {
    let mut rows = Vec::new();
    for mount in &status.mounts {
        let slow = mount
            .requests
            .iter()
            .filter(|request| request.age_ms >= SLOW_MS);
        rows.extend(slow.map(|request| {
            let path = request.path.clone();
            vec![
                short_id(&mount.snapshot).to_owned(),
                request.kind.clone(),
                path.unwrap_or_else(|| format!("node {}", request.node)),
                request.offset.to_string(),
                format!(
                    "{}.{} s",
                    request.age_ms / 1000,
                    request.age_ms % 1000 / 100
                ),
                if request.refused { "refused" } else { "waits" }.to_owned(),
            ]
        }));
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = ["SLOW REQUEST OF", "KIND", "PATH", "OFFSET", "AGE", "STATE"];
    format!("\n{}", table(&head, &rows, &[3, 4]))
}

/// The checks that are at least as bad as `least`, each with its hint below it.
fn render_doctor(report: &DoctorReport, least: CheckResult, paint: Paint) -> String {
    let shown = |check: &&Check| severity(check.result) >= severity(least);
    let checks: Vec<&Check> = report.checks.iter().filter(shown).collect();
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let mark = match check.result {
            CheckResult::Ok => paint.good("ok     "),
            CheckResult::Warning => paint.warn("warning"),
            CheckResult::Problem => paint.bad("problem"),
        };
        text.push_str(&format!(
            "{mark}  {:width$}  {}\n",
            clean(&check.name),
            clean(&check.found)
        ));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("{:9}{:width$}  hint: {}\n", "", "", clean(hint)));
        }
    }
    text
}

fn severity(result: CheckResult) -> u8 {
    match result {
        CheckResult::Ok => 0,
        CheckResult::Warning => 1,
        CheckResult::Problem => 2,
    }
}
