//! The command line: global options, the verbs, and who does them.

use std::{env, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use snap_api::{DEFAULT_SOCKET, ErrorCode, ErrorReport};

use crate::{
    failure::{Failure, exit_codes_help},
    screen::{Output, Screen},
    session::Session,
    verbs::{
        auto, backup, browse, check, collect, containers, create, events, forget, generate,
        history, jobs, mounts, naming, policy, repair, restore, run, snapshots, stats, template,
        trash, upkeep, volume,
    },
};

/// Snapshots running containers and restores them lazily.
///
/// A snapshot holds the complete file system of a running containerd container, or of a folder, in deduplicated,
/// compressed chunks. Restoring one makes a new container that runs before its data is read. The work is done by the
/// daemon `snapshotd`; this command asks it over a Unix socket.
///
/// Wherever a verb takes a REF, it may be a snapshot's id, the first digits of the id (at least 4, and enough to tell it
/// from others), NAME, NAME:TAG or NAME:NUMBER, a version. NAME alone means NAME:latest, which every `create --name NAME` moves
/// to its snapshot, the next version of NAME.
#[derive(Debug, Parser)]
#[command(name = "snapctl", version, after_help = exit_codes_help(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What holds for every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The daemon's socket; SNAPSHOTD_SOCKET is looked at as well [default: /run/snapshotd/snapshotd.sock]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "SNAPCTL_SOCKET",
        hide_env_values = true
    )]
    socket: Option<PathBuf>,
    /// The namespace of containerd that containers and snapshots are looked for in
    #[arg(
        long,
        short,
        global = true,
        value_name = "NS",
        env = "CONTAINERD_NAMESPACE",
        hide_env_values = true,
        default_value = "default"
    )]
    namespace: String,
    /// The form of the output
    #[arg(
        long,
        short,
        global = true,
        value_name = "FORM",
        value_enum,
        default_value = "table"
    )]
    output: Output,
    /// Print ids or paths alone, one a line, whatever the output form
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::CreateArgs),
    Check(check::CheckArgs),
    Restore(restore::RestoreArgs),
    Template(template::TemplateArgs),
    Run(run::RunArgs),
    Volume(volume::VolumeArgs),
    #[command(visible_alias = "ls")]
    List(snapshots::ListArgs),
    Show(snapshots::ShowArgs),
    #[command(visible_alias = "rm")]
    Remove(snapshots::RemoveArgs),
    Undelete(trash::UndeleteArgs),
    Trash(trash::TrashArgs),
    Ttl(naming::TtlArgs),
    Tag(naming::TagArgs),
    Untag(naming::UntagArgs),
    History(history::HistoryArgs),
    Rollback(history::RollbackArgs),
    Forget(forget::ForgetArgs),
    Policy(policy::PolicyArgs),
    Auto(auto::AutoArgs),
    Pin(naming::PinArgs),
    Unpin(naming::UnpinArgs),
    Label(naming::LabelArgs),
    Mount(mounts::MountArgs),
    #[command(visible_alias = "umount")]
    Unmount(mounts::UnmountArgs),
    UpgradeMounts(mounts::UpgradeMountsArgs),
    Tree(browse::TreeArgs),
    Diff(browse::DiffArgs),
    #[command(visible_alias = "cp")]
    Copy(browse::CopyArgs),
    Container(containers::ContainerArgs),
    Start(containers::StartArgs),
    Stop(containers::StopArgs),
    #[command(visible_alias = "usage")]
    Stats(stats::StatsArgs),
    Verify(upkeep::VerifyArgs),
    Collect(collect::CollectArgs),
    Repair(repair::RepairArgs),
    Backup(backup::BackupArgs),
    Status(upkeep::StatusArgs),
    Doctor(upkeep::DoctorArgs),
    Jobs(jobs::JobsArgs),
    Events(events::EventsArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
    Version(generate::VersionArgs),
}

impl Global {
    fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .or_else(|| env::var_os("SNAPSHOTD_SOCKET").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }
}

/// Parses the command line and does what it says. Malformed ones end the process with clap's own message and code 2.
pub(crate) fn run() -> Result<(), Failure> {
    let Cli { global, verb } = Cli::parse();
    let screen = Screen::new(global.output, global.quiet);
    match verb {
        Verb::Completions(args) => generate::completions(&screen, &args)?,
        Verb::Man(args) => generate::man(&args)?,
        verb => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| {
                    ErrorReport::new(ErrorCode::Internal, "runtime", "Cannot start the runtime")
                        .caused_by(&error)
                })?;
            return runtime.block_on(ask(&global, screen, verb));
        }
    }
    screen.flush()
}

async fn ask(global: &Global, screen: Screen, verb: Verb) -> Result<(), Failure> {
    let socket = global.socket();
    if let Verb::Version(_) = verb {
        return generate::version(screen, &socket).await;
    }
    if let Verb::Copy(args) = &verb {
        args.clone().copying()?;
    }
    let session = Session::open(&socket, global.namespace.clone(), screen).await?;
    let done = dispatch(&session, verb).await;
    session.screen.flush()?;
    done
}

async fn dispatch(session: &Session, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(args) => create::create(session, args).await,
        Verb::Check(args) => check::check(session, args).await,
        Verb::Restore(args) => restore::restore(session, args).await,
        Verb::Template(args) => template::template(session, args).await,
        Verb::Run(args) => run::run(session, args).await,
        Verb::Volume(args) => volume::volume(session, args).await,
        Verb::List(args) => snapshots::list(session, args).await,
        Verb::Show(args) => snapshots::show(session, args).await,
        Verb::Remove(args) => snapshots::remove(session, args).await,
        Verb::Undelete(args) => trash::undelete(session, args).await,
        Verb::Trash(args) => trash::trash(session, args).await,
        Verb::Ttl(args) => naming::ttl(session, args).await,
        Verb::Tag(args) => naming::tag(session, args).await,
        Verb::Untag(args) => naming::untag(session, args).await,
        Verb::History(args) => history::history(session, args).await,
        Verb::Rollback(args) => history::rollback(session, args).await,
        Verb::Forget(args) => forget::forget(session, args).await,
        Verb::Policy(args) => policy::policy(session, args).await,
        Verb::Auto(args) => auto::auto(session, args).await,
        Verb::Pin(args) => naming::pin(session, args).await,
        Verb::Unpin(args) => naming::unpin(session, args).await,
        Verb::Label(args) => naming::label(session, args).await,
        Verb::Mount(args) => mounts::mount(session, args).await,
        Verb::Unmount(args) => mounts::unmount(session, args).await,
        Verb::UpgradeMounts(_) => mounts::upgrade(session).await,
        Verb::Tree(args) => browse::tree(session, args).await,
        Verb::Diff(args) => browse::diff(session, args).await,
        Verb::Copy(args) => browse::copy(session, args).await,
        Verb::Container(args) => containers::container(session, args).await,
        Verb::Start(args) => containers::start(session, args).await,
        Verb::Stop(args) => containers::stop(session, args).await,
        Verb::Stats(args) => stats::stats(session, args).await,
        Verb::Verify(args) => upkeep::verify(session, args).await,
        Verb::Collect(args) => collect::collect(session, args).await,
        Verb::Repair(args) => repair::repair(session, args).await,
        Verb::Backup(args) => backup::backup(session, args).await,
        Verb::Status(_) => upkeep::status(session).await,
        Verb::Doctor(_) => upkeep::doctor(session).await,
        Verb::Jobs(args) => jobs::jobs(session, args).await,
        Verb::Events(args) => events::events(session, args).await,
        Verb::Completions(_) | Verb::Man(_) | Verb::Version(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
