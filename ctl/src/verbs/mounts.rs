//! `mount` and `unmount`: a snapshot as a folder of the host.

use std::path::PathBuf;

use clap::Args;
use snap_api::{MountRequest, MountView, UnmountRequest};

use crate::{
    failure::Failure,
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

/// Runs `mount`.
pub(crate) async fn mount(session: &Session, args: MountArgs) -> Result<(), Failure> {
    let request = MountRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        path: values::folder(&args.folder),
        writable: args.writable,
        force: args.force,
    };
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
