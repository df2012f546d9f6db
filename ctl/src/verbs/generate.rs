//! `completions`, `man` and `version`: what the command says of itself.

use std::{fs, path::Path, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;
use snap_api::{Client, PROTOCOL_MAJOR, PROTOCOL_MINOR};

use crate::{
    cli::Cli,
    failure::Failure,
    screen::{Screen, facts},
};

/// Prints a completion script for a shell.
///
/// The script is made from the command line's own definition, so that it fits this version.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl completions bash > /etc/bash_completion.d/snapctl
  snapctl completions fish > ~/.config/fish/completions/snapctl.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Writes the manual pages into a folder.
///
/// One page a verb, snapctl.1, snapctl-create.1 and so on. The folder is made when it is not there.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints the versions of this command and of the daemon.
///
/// A daemon that does not answer is no error here.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl version -o json

With --quiet it prints this command's version alone.")]
pub(crate) struct VersionArgs {}

/// The answer of `version`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Versions {
    /// Version of this command.
    client: &'static str,
    /// The protocol it speaks.
    protocol: String,
    /// Version of the daemon; absent when it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<String>,
}

/// Runs `completions`.
pub(crate) fn completions(screen: &Screen, args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "snapctl", &mut script);
    screen.text(&String::from_utf8_lossy(&script))
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let folder = args.folder.as_path();
    fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, &error))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Failure::io("write manual pages to", folder, &error))
}

/// Runs `version`.
pub(crate) async fn version(screen: Screen, socket: &Path) -> Result<(), Failure> {
    let connected = Client::connect(socket, "snapctl version").await;
    let versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        protocol: format!("{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}"),
        daemon: connected.ok().map(|client| client.hello().version.clone()),
    };
    screen.show(&versions, &[versions.client], || {
        let daemon = versions.daemon.clone();
        facts(&[
            ("snapctl", versions.client.to_owned()),
            ("protocol", versions.protocol.clone()),
            (
                "snapshotd",
                daemon.unwrap_or_else(|| "does not answer".to_owned()),
            ),
        ])
    })?;
    screen.flush()
}
