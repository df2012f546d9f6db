//! `volume`: named trees beside containers.

mod shown;

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, Subcommand};
use snap_api::{
    CopyRequest, ListRequest, MountRequest, Owner, TreeEntry, TreeRequest, VolumeChange,
    VolumeChangeRequest, VolumeRequest, VolumeView, WirePath,
};

use crate::{
    failure::Failure,
    follow,
    screen::{Form, JsonArray},
    session::{Session, VOLUMES, answer},
    values,
    verbs::{mounts, outcome},
};

pub(crate) use shown::show_changed;
use shown::{entry_line, listed};

/// Looks after volumes: named trees of files beside containers.
///
/// A volume has versions. `put` and `remove` make the next one; so does `commit`, of what a container has written to it. A container gets
/// the newest version when it is restored with --volume, writes in a layer of its own, and sees what others have committed after a
/// `reload`. Each version is stored as snapshots are: the same content once. The newest versions are kept, and those that are mounted.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl volume create models
  snapctl volume put models ./weights ./vocabulary.txt --to /llm
  snapctl restore worker --id w1 --volume models:/models
  snapctl volume commit models --container w1
  snapctl volume reload models --container w2")]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    verb: VolumeVerb,
}

#[derive(Debug, Subcommand)]
enum VolumeVerb {
    Create(CreateArgs),
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Put(PutArgs),
    Get(GetArgs),
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
    Mount(MountArgs),
    Commit(CommitArgs),
    Reload(ReloadArgs),
}

/// Makes a volume, without a file.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl volume create models

With --quiet it prints the name.")]
struct CreateArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
}

/// Lists volumes; with a NAME, the files in the newest version of that one.
///
/// Files are shown as `snapctl tree` shows them, with the beginning of the digest of their content; with --output json all of it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl volume list
  snapctl volume list models /llm --recursive
  snapctl volume list models -r -o json | jq -r '.[] | [.digest, .path] | @tsv'

With --quiet it prints names, or paths, alone; with --output json an array.")]
struct ListArgs {
    /// The volume whose files are listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Where to start
    #[arg(value_name = "PATH", default_value = "/")]
    path: PathBuf,
    /// Descend into folders
    #[arg(long, short, requires = "name")]
    recursive: bool,
    /// The volumes of every namespace
    #[arg(long, short = 'A', conflicts_with = "name")]
    all_namespaces: bool,
}

/// Puts files and folders of the host into a volume.
///
/// Each keeps its name and its modes; a folder that is there takes up what is put into it, a file is replaced. All of it is the next version
/// of the volume, or nothing is. The daemon reads the files, so this needs root.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl volume put models ./weights ./vocabulary.txt --to /llm
  snapctl volume put www site/index.html --owner 33:33

With --quiet it prints the number of the version.")]
struct PutArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
    /// What is put into it
    #[arg(value_name = "SRC", required = true)]
    sources: Vec<PathBuf>,
    /// The folder of the volume that it comes into, made when it is not there
    #[arg(long, value_name = "PATH", default_value = "/")]
    to: PathBuf,
    /// Whose the files are, by numbers
    #[arg(long, value_name = "UID:GID", default_value = "0:0", value_parser = values::owner)]
    owner: Owner,
}

/// Copies a file or a folder out of a volume.
///
/// As `snapctl copy` does it: the destination must not exist, unless it is an empty folder; its parent must. Needs root.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl volume get models /llm/weights /tmp/weights")]
struct GetArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
    /// The path in it
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Where to put it
    #[arg(value_name = "DEST")]
    destination: PathBuf,
}

/// Removes paths of a volume, or a volume.
///
/// With PATHs the next version of the volume is without them, all of them or none. Without, the volume goes with all its versions, for good:
/// --yes says that this is meant. A volume that a container or a folder has mounted is a conflict.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl volume remove models /llm/old
  snapctl volume remove models --yes

With --quiet it prints the number of the version, or the name of the volume.")]
struct RemoveArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
    /// What goes
    #[arg(
        value_name = "PATH",
        required_unless_present = "yes",
        conflicts_with = "yes"
    )]
    paths: Vec<PathBuf>,
    /// Remove the volume itself
    #[arg(long)]
    yes: bool,
}

/// Mounts the newest version of a volume at a folder.
///
/// As `snapctl mount` does it: read-only, or with a layer that is thrown away when the folder is unmounted; `snapctl unmount` ends it. The
/// folder goes on showing the version that it was mounted with. Needs root.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl volume mount models /mnt && ls /mnt; snapctl unmount /mnt

With --quiet it prints the folder's path alone.")]
struct MountArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Take writes, which last until the folder is unmounted
    #[arg(long)]
    writable: bool,
}

/// Makes what a container has written to a volume its next version.
///
/// A container that runs stands still for it, as for a create. When others have changed the volume since the container got it, both are put
/// together; what both have changed, and not in the same way, is a conflict that names the paths: nothing is changed then, and the container keeps
/// what it has written. Afterwards the container stands on the new version, unless it has files of the volume open: then it goes on with what
/// it has, and `reload` shows it the rest later.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl volume commit models --container w1

With --quiet it prints the number of the version.")]
struct CommitArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
    /// The container
    #[arg(long, value_name = "ID")]
    container: String,
}

/// Shows a container the newest version of a volume.
///
/// Changes of the container that are not committed are a conflict, unless --discard lets them go. So is a file of the volume, or a working
/// folder in it, that one of its processes has open.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl volume reload models --container w2

With --quiet it prints the number of the version.")]
struct ReloadArgs {
    /// The volume
    #[arg(value_name = "NAME")]
    name: String,
    /// The container
    #[arg(long, value_name = "ID")]
    container: String,
    /// Let go what the container has written and not committed
    #[arg(long)]
    discard: bool,
}

/// Runs `volume`.
pub(crate) async fn volume(session: &Session, args: VolumeArgs) -> Result<(), Failure> {
    session.require(VOLUMES)?;
    match args.verb {
        VolumeVerb::Create(args) => change(session, args.name, VolumeChange::Create).await,
        VolumeVerb::List(args) => match &args.name {
            Some(name) => files(session, name, &args).await,
            None => list(session, &args).await,
        },
        VolumeVerb::Put(args) => put(session, args).await,
        VolumeVerb::Get(args) => get(session, &args).await,
        VolumeVerb::Remove(args) => remove(session, args).await,
        VolumeVerb::Mount(args) => mount(session, &args).await,
        VolumeVerb::Commit(args) => {
            let container = args.container;
            change(session, args.name, VolumeChange::Commit { container }).await
        }
        VolumeVerb::Reload(args) => {
            let (container, discard) = (args.container, args.discard);
            let reload = VolumeChange::Reload { container, discard };
            change(session, args.name, reload).await
        }
    }
}

async fn change(session: &Session, name: String, change: VolumeChange) -> Result<(), Failure> {
    let request = VolumeChangeRequest {
        namespace: session.namespace.clone(),
        name,
        change,
    };
    let start = session.client.volume_change_start(session.soon(), request);
    let followed = follow::run(session, follow::Waiting::Wait, start).await?;
    outcome::show_followed(&session.screen, &followed)
}

async fn put(session: &Session, args: PutArgs) -> Result<(), Failure> {
    let sources = args.sources.iter().map(|source| values::existing(source));
    let put = VolumeChange::Put {
        sources: sources.collect::<Result<_, _>>()?,
        to: values::from_root(&args.to),
        owner: args.owner,
    };
    change(session, args.name, put).await
}

/// A volume by its name.
async fn known(session: &Session, name: &str) -> Result<VolumeView, Failure> {
    let request = VolumeRequest {
        namespace: session.namespace.clone(),
        name: name.to_owned(),
    };
    answer(session.client.volume_show(session.soon(), request).await)
}

async fn get(session: &Session, args: &GetArgs) -> Result<(), Failure> {
    let request = CopyRequest {
        namespace: session.namespace.clone(),
        reference: known(session, &args.name).await?.snapshot,
        path: values::from_root(&args.path),
        destination: values::destination(&args.destination),
    };
    let start = session.client.copy_start(session.soon(), request);
    let followed = follow::run(session, follow::Waiting::Wait, start).await?;
    outcome::show_followed(&session.screen, &followed)
}

async fn mount(session: &Session, args: &MountArgs) -> Result<(), Failure> {
    let request = MountRequest {
        namespace: session.namespace.clone(),
        reference: known(session, &args.name).await?.snapshot,
        path: values::folder(&args.folder),
        writable: args.writable,
        force: false,
    };
    mounts::ask(session, request).await
}

async fn remove(session: &Session, args: RemoveArgs) -> Result<(), Failure> {
    if !args.yes {
        let paths: Vec<WirePath> = args
            .paths
            .iter()
            .map(|path| values::from_root(path))
            .collect();
        return change(session, args.name, VolumeChange::Remove { paths }).await;
    }
    let request = VolumeRequest {
        namespace: session.namespace.clone(),
        name: args.name,
    };
    let removed = answer(session.client.volume_remove(session.soon(), request).await)?;
    let screen = &session.screen;
    screen.show(&removed, &[&removed.name], || {
        format!("Volume {} is gone with all its versions\n", removed.name)
    })
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let volumes: Vec<VolumeView> = session
        .collect(async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                ..ListRequest::default()
            };
            answer(session.client.volume_list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => volumes.iter().try_for_each(|one| screen.line(&one.name)),
        Form::Table => screen.text(&listed(&volumes, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            volumes.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

async fn files(session: &Session, name: &str, args: &ListArgs) -> Result<(), Failure> {
    let reference = known(session, name).await?.snapshot;
    let path = values::from_root(&args.path);
    let fetch = async |cursor| {
        let request = TreeRequest {
            namespace: session.namespace.clone(),
            reference: reference.clone(),
            path: path.clone(),
            recursive: args.recursive,
            cursor,
            limit: 0,
        };
        answer(session.client.tree(session.soon(), request).await)
    };
    let line = |form, entry: &TreeEntry| entry_line(form, entry);
    session.stream(fetch, line).await
}
