//! `ttl`, `tag`, `untag` and `label`: what a snapshot is called and how long it stays.

use std::time::SystemTime;

use clap::Args;
use snap_api::{LabelRequest, SnapshotView, TagRequest, Ttl, TtlRequest};

use crate::{
    failure::Failure,
    session::{Session, answer},
    values::{self, Label},
    verbs::snapshots,
};

/// Sets how long a snapshot is kept, counted from now.
///
/// `never` (or 0) keeps it until it is removed; `default` asks for the daemon's default. An expired snapshot that has not
/// been removed yet is usable again afterwards.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl ttl web:v1 30d
  snapctl ttl web:v1 never")]
pub(crate) struct TtlArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// As in 14d, 2h30m, never or default
    #[arg(value_name = "DURATION", value_parser = values::ttl)]
    ttl: Ttl,
}

/// Gives a snapshot a name.
///
/// The name is NAME:TAG; without a tag it is NAME:latest. When another snapshot of the namespace has that name, the name is
/// moved. A snapshot may have any number of names.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl tag 3f2a web:stable
  snapctl tag web:v2 web:latest")]
pub(crate) struct TagArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// The name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// Takes a name away.
///
/// The snapshot itself stays, under its id and its other names.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  snapctl untag web:stable")]
pub(crate) struct UntagArgs {
    /// The name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
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
    };
    let changed = answer(session.client.ttl_set(session.soon(), request).await)?;
    show_changed(session, &changed)
}

/// Runs `tag`.
pub(crate) async fn tag(session: &Session, args: TagArgs) -> Result<(), Failure> {
    let request = TagRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
        name: args.name,
        remove: false,
    };
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
    };
    let changed = answer(session.client.tag_set(session.soon(), request).await)?;
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
