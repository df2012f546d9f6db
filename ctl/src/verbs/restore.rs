//! `restore`: a snapshot becomes new containers.

use clap::{Args, value_parser};
use snap_api::{AttachRequest, NetworkChoice, RestoreRequest};

use crate::{
    failure::Failure,
    follow,
    session::{HOOKS, MEMORY, Session, TRASH, VOLUMES},
    values,
    verbs::outcome,
};

/// Restores a snapshot as one new container or several.
///
/// The new container has its own id, host name and cgroup, a writable layer of its own over the snapshot, and the captured
/// configuration. Its data is read when it is touched, so that it runs at once whatever the snapshot's size. Containers
/// restored from one snapshot share what they read. With --count all of them are made or none.
///
/// When the snapshot holds memory, the processes go on from where they were captured, with the process ids and the open files
/// they had; `snapctl create --memory` makes such snapshots. Their host name is the new id, and /run/snapshotd/identity.json says in each
/// container who it is. A hook runs last, in each of them: when it fails within its 30 seconds none of them is restored. Their memory is read from the store while they are restored.
/// Nothing is restored when CRIU, the processor or the control groups here do not suit; --fallback restores the files alone then,
/// --no-memory always. Memory is for root alone to restore.
///
/// The network is a fresh namespace with nothing but loopback unless --network says otherwise. A bind mount is kept when its
/// source is a system path; otherwise it is refused unless it was captured, or --keep-mount or --drop-mount names it.
///
/// --volume mounts the newest version of a volume, --mount a snapshot or a folder of it; what a container writes there is its own, until
/// `snapctl volume commit` makes it a version of the volume. Processes that go on from memory have never seen such a mount: that is a conflict.
///
/// A snapshot whose time to live is over makes a fresh container from the original image and configuration, with a warning,
/// unless --force is given. A folder's snapshot cannot be restored: mount it or copy from it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl restore web:v1 --id web-copy
  snapctl restore web:v1 --count 8 --network host
  snapctl restore notebook:warm --count 3 --fallback
  snapctl restore worker --volume models:/models --mount data:v1:/train:/data:ro
  for id in $(snapctl restore -q web -c 3); do ctr task exec --exec-id sh $id true; done

With --quiet it prints the ids of the new containers, one a line (with --detach, the job's).")]
pub(crate) struct RestoreArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// Id of the new container; with --count above one, ID-1, ID-2 and so on [default: made up]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many containers to make
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    count: u32,
    /// Restore the snapshot even when it has expired
    #[arg(long)]
    force: bool,
    /// Create the containers without starting them
    #[arg(long)]
    no_start: bool,
    /// Restore the files alone of a snapshot with memory: its processes begin anew
    #[arg(long, conflicts_with = "fallback")]
    no_memory: bool,
    /// Restore the files alone, with a warning, when memory cannot be restored
    #[arg(long)]
    fallback: bool,
    /// Have established connections go on rather than be closed, where both ends are in the container
    #[arg(long, conflicts_with = "no_memory")]
    tcp_established: bool,
    /// A program of each new container that is run as `PATH restore` once its processes go on from their memory
    #[arg(long, value_name = "PATH", conflicts_with = "no_memory")]
    hook: Option<String>,
    /// `none` (loopback alone), `host`, or the path of a network namespace
    #[arg(long, value_name = "none|host|PATH", default_value = "none", value_parser = values::network)]
    network: NetworkChoice,
    /// Keep the bind mount at this path of the container; may be repeated
    #[arg(long = "keep-mount", value_name = "DEST")]
    keep_mounts: Vec<String>,
    /// Leave out the bind mount at this path of the container; may be repeated
    #[arg(long = "drop-mount", value_name = "DEST")]
    drop_mounts: Vec<String>,
    /// Mount the newest version of a volume in each new container; `:ro` behind the path keeps it from being written to; may be repeated
    #[arg(long = "volume", value_name = "NAME:/PATH[:ro]", value_parser = values::volume_at)]
    volumes: Vec<AttachRequest>,
    /// Mount a snapshot, or a folder of it, in each new container; may be repeated
    #[arg(long = "mount", value_name = "REF[:/FOLDER]:/PATH[:ro]", value_parser = values::snapshot_at)]
    mounts: Vec<AttachRequest>,
    /// Restore what is in the trash, and leave it there; it does not go while the containers stand on it
    #[arg(long)]
    from_trash: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// Runs `restore`.
pub(crate) async fn restore(session: &Session, args: RestoreArgs) -> Result<(), Failure> {
    let waiting = args.detach.into();
    if args.no_memory || args.fallback {
        session.require(MEMORY)?;
    }
    if args.from_trash {
        session.require(TRASH)?;
    }
    if args.tcp_established || args.hook.is_some() {
        session.require(HOOKS)?;
    }
    let attach: Vec<_> = args.volumes.into_iter().chain(args.mounts).collect();
    if !attach.is_empty() {
        session.require(VOLUMES)?;
    }
    let request = RestoreRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        id: args.id,
        count: args.count,
        force: args.force,
        no_start: args.no_start,
        no_memory: args.no_memory,
        fallback: args.fallback,
        tcp_established: args.tcp_established,
        hook: args.hook,
        network: args.network,
        keep_mounts: args.keep_mounts,
        drop_mounts: args.drop_mounts,
        from_trash: args.from_trash,
        command: Vec::new(),
        attach,
        idempotency_key: None,
    };
    let start = session.client.restore_start(session.soon(), request);
    let followed = follow::run(session, waiting, start).await?;
    outcome::show_followed(&session.screen, &followed)
}
