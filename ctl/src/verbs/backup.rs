//! `backup`: a copy of the catalogue.

use std::path::PathBuf;

use clap::Args;
use snap_api::BackupRequest;

use crate::{
    failure::Failure,
    session::{Session, answer},
    values,
    words::{clean, micros, size},
};

/// Copies the catalogue to a file.
///
/// The catalogue knows names, labels, times to live and states of snapshots; what they hold is in packs and manifests, which
/// are not part of the copy. The copy is of one instant, checked and durable when the command ends, and nothing waits for
/// it. A copy that is there already is replaced, any other file is a conflict. For root alone.
///
/// `snapshotd --restore-catalogue FILE` puts it back while the daemon is stopped. The daemon makes such copies by itself as
/// well (`backup_interval`), on the disk of the store.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl backup /mnt/backup/catalogue.db

With --quiet it prints the file's path alone.")]
pub(crate) struct BackupArgs {
    /// The file; its folder must exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs `backup`.
pub(crate) async fn backup(session: &Session, args: BackupArgs) -> Result<(), Failure> {
    let request = BackupRequest {
        path: values::destination(&args.file),
    };
    let made = answer(session.client.backup(session.soon(), request).await)?;
    let path = clean(&made.path.to_string());
    session.screen.show(&made, &[&path], || {
        let (bytes, took) = (size(made.bytes), micros(made.elapsed_us));
        format!("Copied the catalogue to {path}, {bytes} in {took}\n")
    })
}
