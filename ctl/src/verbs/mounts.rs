//! `mount` and `unmount`: a snapshot as a folder of the host. `upgrade-mounts`: new servers under mounts in use.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use snap_api::{
    ErrorCode, MountRequest, MountUpgrade, MountView, MountsUpgraded, UnmountRequest,
    UpgradeMountsRequest, UpgradeResult,
};

use crate::{
    failure::Failure,
    screen::table,
    session::{Session, answer},
    values,
    words::{clean, short_id},
};

/// Mounts a snapshot at a folder.
///
/// The folder must exist. Files are read when they are touched, each checked against its digest. The mount is read-only
/// unless --writable is given: then changes go to a layer of its own, which is thrown away when the folder is unmounted. The
/// mount stays until `snapctl unmount`, also when the daemon is restarted; a mounted snapshot is neither removed nor expired.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl mount web:v1 /mnt
  snapctl mount --writable data /srv/scratch

With --quiet it prints the folder's path alone.")]
pub(crate) struct MountArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Take writes, which last until the folder is unmounted
    #[arg(long)]
    writable: bool,
    /// Mount although the snapshot has expired
    #[arg(long)]
    force: bool,
}

/// Unmounts a folder that `snapctl mount` mounted.
///
/// A writable mount's changes are gone afterwards. A folder that is in use (a shell stands in it) is a conflict.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl unmount /mnt")]
pub(crate) struct UnmountArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Replaces every mount server with the installed binary.
///
/// For use after an upgrade of the package; `systemctl reload snapshotd` does the same. Containers and mounted folders
/// stay in use: their reads wait a moment and none fails. A new server that does not become ready leaves the old one
/// serving, and the others are replaced all the same; the exit code is 7 then. Needs Linux 6.9 or later, and root.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl upgrade-mounts -o json | jq '.mounts[] | select(.result == \"failed\")'

With --quiet it prints the snapshots alone whose server could not be replaced.")]
pub(crate) struct UpgradeMountsArgs {}

/// Runs `mount`.
pub(crate) async fn mount(session: &Session, args: MountArgs) -> Result<(), Failure> {
    let request = MountRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        path: values::folder(&args.folder),
        writable: args.writable,
        force: args.force,
    };
    ask(session, request).await
}

/// Has the daemon mount something, and shows where.
pub(crate) async fn ask(session: &Session, request: MountRequest) -> Result<(), Failure> {
    let view = answer(session.client.mount(session.soon(), request).await)?;
    show(session, &view, "Mounted")
}

/// Runs `unmount`.
pub(crate) async fn unmount(session: &Session, args: UnmountArgs) -> Result<(), Failure> {
    let request = UnmountRequest {
        path: values::folder(&args.folder),
    };
    let view = answer(session.client.unmount(session.soon(), request).await)?;
    show(session, &view, "Unmounted")
}

/// Runs `upgrade-mounts`.
pub(crate) async fn upgrade(session: &Session) -> Result<(), Failure> {
    let called = session
        .client
        .upgrade_mounts(session.at_last(), UpgradeMountsRequest {})
        .await;
    let upgraded = answer(called)?;
    let has_failed = |mount: &&MountUpgrade| mount.result == UpgradeResult::Failed;
    let failed: Vec<&str> = upgraded
        .mounts
        .iter()
        .filter(has_failed)
        .map(|mount| mount.snapshot.as_str())
        .collect();
    session
        .screen
        .show(&upgraded, &failed, || render_upgrades(&upgraded))?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Found(ErrorCode::Unavailable)),
    }
}

fn render_upgrades(upgraded: &MountsUpgraded) -> String {
    let pid = |pid: Option<u32>| pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    let rows: Vec<Vec<String>> = upgraded
        .mounts
        .iter()
        .map(|mount| {
            let result = match mount.result {
                UpgradeResult::Upgraded => "upgraded",
                UpgradeResult::Started => "started",
                UpgradeResult::Failed => "failed",
            };
            let why = mount.error.as_ref();
            vec![
                short_id(&mount.snapshot).to_owned(),
                pid(mount.old_pid),
                pid(mount.new_pid),
                mount.elapsed_ms.to_string(),
                result.to_owned(),
                why.map(ToString::to_string).unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No snapshot is served\n".to_owned();
    }
    let head = [
        "SERVED SNAPSHOT",
        "OLD PID",
        "NEW PID",
        "MS",
        "RESULT",
        "TROUBLE",
    ];
    table(&head, &rows, &[3]) + &hints(upgraded)
}

/// What can be done about what failed: each hint once, since every mount has its line and most fail for one reason.
fn hints(upgraded: &MountsUpgraded) -> String {
    let errors = upgraded
        .mounts
        .iter()
        .filter_map(|mount| mount.error.as_ref());
    let hints: BTreeSet<&str> = errors.filter_map(|error| error.hint.as_deref()).collect();
    hints
        .into_iter()
        .map(|hint| format!("hint: {}\n", clean(hint)))
        .collect()
}

fn show(session: &Session, view: &MountView, verb: &str) -> Result<(), Failure> {
    let path = clean(&view.path.to_string());
    session
        .screen
        .show(view, &[&path], || render(view, &path, verb))
}

fn render(view: &MountView, path: &str, verb: &str) -> String {
    let kind = if view.writable {
        "writable"
    } else {
        "read-only"
    };
    format!("{verb} {} at {path} ({kind})\n", short_id(&view.snapshot))
}
