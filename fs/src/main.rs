//! `snapshotd-mount`: the mount server, the holder, and a mount without a daemon; and the hook that restored processes need.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use snap_store::SnapshotId;
use tracing::error;

mod commands;
mod loopback;
mod upkeep;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Serves snapshots as file systems.
///
/// The daemon starts `serve` and `hold` itself; `mount` is for people, benchmarks and rescue: it needs the store
/// alone, no daemon.
#[derive(Debug, Parser)]
#[command(name = "snapshotd-mount", version, max_term_width = 100)]
struct Cli {
    /// Form of the log lines on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers the kernel's requests for a snapshot that is already mounted.
    ///
    /// The open /dev/fuse of the mount is standard input. Prints `ready` when it serves and ends with success when
    /// the mount is gone.
    Serve {
        #[command(flatten)]
        serving: Serving,
        /// Go on in the place of an earlier server, whose unanswered requests are answered again.
        #[arg(long)]
        resume: bool,
        /// A socket to be made; whoever connects is told what is in flight, as JSON.
        #[arg(long)]
        pulse: Option<PathBuf>,
    },
    /// Mounts a snapshot at a folder and serves it until it is unmounted, or until interrupted.
    ///
    /// Prints `ready` when it serves.
    Mount {
        #[command(flatten)]
        serving: Serving,
        /// The folder; it must exist.
        folder: PathBuf,
    },
    /// Keeps descriptors by name for other processes of the same user.
    ///
    /// Prints `ready` when it can be asked and ends when it has held nothing for a minute.
    Hold {
        /// The socket to be asked through; made here.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Brings up the loopback interface of a container whose processes go on from their memory.
    ///
    /// A hook of runc's: the container's state is standard input.
    Loopback,
}

#[derive(Debug, Args)]
struct Serving {
    /// The store's folder.
    #[arg(long)]
    root: PathBuf,
    /// The full id of the snapshot.
    #[arg(long)]
    snapshot: SnapshotId,
    /// Bytes of decoded chunks kept in memory.
    #[arg(long, default_value_t = 64 << 20)]
    cache_bytes: u64,
    /// Requests answered at once; more while some of them hang.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// After so many milliseconds a request is refused with an input/output error, if the store does not answer.
    #[arg(long, default_value_t = 30_000)]
    read_deadline_ms: u64,
    /// Serve the memory of the snapshot's processes in place of its files.
    #[arg(long)]
    memory: bool,
    /// The folder of the keys that encrypted memory takes.
    #[arg(long, default_value = "/etc/snapshotd/keys")]
    keys: PathBuf,
    /// The folder of traces: what an earlier mount needed first is read ahead, and what this one needs is noted. Without it
    /// neither is done.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Most bytes that are read ahead because of a trace, and that are noted.
    #[arg(long, default_value_t = 64 << 20)]
    prefetch_bytes: u64,
    /// Most bytes a second that reading ahead because of a trace asks the disk for.
    #[arg(long, default_value_t = 256 << 20)]
    prefetch_rate: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.log_format);
    let done = match cli.command {
        Command::Serve {
            serving,
            resume,
            pulse,
        } => commands::serve(&serving, resume, pulse),
        Command::Mount { serving, folder } => commands::mount(&serving, &folder),
        Command::Hold { socket } => commands::hold(&socket),
        Command::Loopback => loopback::raise(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(format: LogFormat) {
    // fuser complains of answers that came too late, which a take-over and a deadline bring about on purpose.
    let lines = tracing_subscriber::fmt()
        .with_env_filter("info,fuser=off")
        .with_writer(std::io::stderr)
        .with_ansi(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
