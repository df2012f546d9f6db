//! `ttl`, `tag`, `untag`, `pin`, `unpin` and `label`: what a snapshot is called and how long it stays.

use std::time::SystemTime;

use clap::Args;
use snap_api::{LabelRequest, PinRequest, SnapshotView, TagRequest, Ttl, TtlRequest};

use crate::{
    failure::Failure,
    session::{RETENTION, Session, VERSIONS, answer},
    values::{self, Label},
    verbs::snapshots,
};

/// Sets how long a snapshot is kept, counted from now, or without a use.
///
/// `never` (or 0) keeps it until it is removed; `default` asks for the daemon's default. An expired snapshot that has not
/// been removed yet is usable again afterwards.
///
/// With --unused it expires that time after its last use, or from now when that is later: a use is a restore or a mount, and lasts as long as a container or a folder
/// stands on the snapshot. `never` ends that. With both, whatever comes first counts; what is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl ttl web:v1 30d
  snapctl ttl web:v1 never --unused 7d
  snapctl ttl web:v1 never")]
pub(crate) struct TtlArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// As in 14d, 2h30m, never or default
    #[arg(value_name = "DURATION", value_parser = values::ttl, required_unless_present = "unused")]
    ttl: Option<Ttl>,
    /// How long it may go without a use, as in 7d, or never
    #[arg(long, value_name = "DURATION", value_parser = values::ttl)]
    unused: Option<Ttl>,
}

/// Gives a snapshot names.
///
/// A name is NAME:TAG; without a tag it is NAME:latest. When another snapshot of the namespace has that name, the name is
/// moved. A snapshot may have any number of names. All of them are given or none. A tag of digits alone is the number of a
/// version and cannot be given.
///
/// With --immutable the names stay where they are: they are neither moved nor taken away, by `create` or anything else, and the
/// snapshot is neither removed nor removed when it expires, until `untag --force` takes the name away. NAME:latest cannot be immutable.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl tag 3f2a web:stable web:tested
  snapctl tag web:2 web:latest
  snapctl tag web:2 web:v1.0 --immutable")]
pub(crate) struct TagArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// The names
    #[arg(value_name = "NAME[:TAG]", required = true)]
    names: Vec<String>,
    /// Let the names neither move nor go
    #[arg(long)]
    immutable: bool,
}

/// Takes a name away.
///
/// The snapshot itself stays, under its id, its number and its other names.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl untag web:stable
  snapctl untag web:v1.0 --force")]
pub(crate) struct UntagArgs {
    /// The name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    /// Also when it is immutable
    #[arg(long)]
    force: bool,
}

/// Lets a snapshot stay until it is unpinned.
///
/// A pinned snapshot does not expire and cannot be removed. Its time to live goes on: it is over or not when the snapshot is
/// unpinned.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl pin web:v1")]
pub(crate) struct PinArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
}

/// Lets a snapshot expire and be removed again.
///
/// When its time to live is over already, the daemon's next look removes it: `snapctl ttl` before gives it a new one.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl unpin web:v1")]
pub(crate) struct UnpinArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
}

/// Sets and removes labels of a snapshot.
///
/// A label that is there already gets the new value. Removing one that is not there is no error.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl label web:v1 branch=main reviewed=yes
  snapctl label web:v1 --remove reviewed")]
pub(crate) struct LabelArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// Labels to set
    #[arg(value_name = "KEY=VALUE", required_unless_present = "remove")]
    set: Vec<Label>,
    /// A label to remove; may be repeated
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

/// Runs `ttl`.
pub(crate) async fn ttl(session: &Session, args: TtlArgs) -> Result<(), Failure> {
    let request = TtlRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        ttl: args.ttl,
        unused: args.unused,
    };
    if request.unused.is_some() {
        session.require(RETENTION)?;
    }
    let changed = answer(session.client.ttl_set(session.soon(), request).await)?;
    show_changed(session, &changed)
}

/// Runs `tag`.
pub(crate) async fn tag(session: &Session, args: TagArgs) -> Result<(), Failure> {
    let mut names = args.names.into_iter();
    let request = TagRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        name: names.next().unwrap_or_default(),
        remove: false,
        more: names.collect(),
        immutable: args.immutable,
        force: false,
    };
    if request.immutable || !request.more.is_empty() {
        session.require(VERSIONS)?;
    }
    let changed = answer(session.client.tag_set(session.soon(), request).await)?;
    show_changed(session, &changed)
}

/// Runs `untag`.
pub(crate) async fn untag(session: &Session, args: UntagArgs) -> Result<(), Failure> {
    let request = TagRequest {
        namespace: session.namespace.clone(),
        reference: args.name.clone(),
        name: args.name,
        remove: true,
        more: Vec::new(),
        immutable: false,
        force: args.force,
    };
    let changed = answer(session.client.tag_set(session.soon(), request).await)?;
    show_changed(session, &changed)
}

/// Runs `pin`.
pub(crate) async fn pin(session: &Session, args: PinArgs) -> Result<(), Failure> {
    set_pin(session, args.reference, false).await
}

/// Runs `unpin`.
pub(crate) async fn unpin(session: &Session, args: UnpinArgs) -> Result<(), Failure> {
    set_pin(session, args.reference, true).await
}

async fn set_pin(session: &Session, reference: String, remove: bool) -> Result<(), Failure> {
    session.require(VERSIONS)?;
    let request = PinRequest {
        namespace: session.namespace.clone(),
        reference,
        remove,
    };
    let changed = answer(session.client.pin_set(session.soon(), request).await)?;
    show_changed(session, &changed)
}

/// Runs `label`.
pub(crate) async fn label(session: &Session, args: LabelArgs) -> Result<(), Failure> {
    let request = LabelRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        set: values::label_map(args.set),
        remove: args.remove,
    };
    let changed = answer(session.client.label_set(session.soon(), request).await)?;
    show_changed(session, &changed)
}

fn show_changed(session: &Session, changed: &SnapshotView) -> Result<(), Failure> {
    session.screen.show(changed, &[&changed.id], || {
        snapshots::render_view(changed, SystemTime::now())
    })
}
