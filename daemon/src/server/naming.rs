//! Names, versions and pins: what they are now, and how they are changed.

use std::sync::Arc;

use snap_api::{
    HistoryRequest, MoveCause as WireCause, MoveEnd as WireEnd, MoveView, Moves, MovesRequest,
    Page, PinRequest, RollbackRequest, RolledBack, SnapshotView, TagRequest, VersionView,
};
use snap_store::{
    Force, Hold, Move, MoveCause, MoveEnd, Namespace, RollbackTo, SnapshotName, VersionRecord,
};

use super::{
    browse::{active, resolve},
    changes::{changed, view},
    page::{self, PageBuilder},
    parse,
};
use crate::{blocking, clock, error::Result, events::Event, host::Host, views};

/// Gives a snapshot names, or takes one away.
pub(super) async fn set_name(host: &Arc<Host>, request: &TagRequest) -> Result<SnapshotView> {
    let (catalogue, now) = (Arc::clone(&host.catalogue), clock::now());
    let id = match request.remove {
        true => {
            let namespace = parse::namespace(&request.namespace)?;
            let name = parse::name(&request.name)?;
            let force = force(request.force);
            let of = namespace.clone();
            let id = blocking(move || catalogue.remove_name(&of, &name, force, now)).await?;
            let event = Event::new("untag", &request.name).of(&namespace);
            host.events.tell(event.about(Some(id)));
            id
        }
        false => {
            let names = parse::tags(&request.name, &request.more)?;
            let hold = match request.immutable {
                true => Hold::Immutable,
                false => Hold::Movable,
            };
            let found = active(host, &request.namespace, &request.reference).await?;
            let id = found.id;
            blocking(move || catalogue.set_names(&id, &names, hold, now)).await?;
            changed(host, "tag", &request.name, &found);
            id
        }
    };
    view(host, id).await
}

/// Whether immutable names stand in the way of a request.
pub(super) fn force(is_forced: bool) -> Force {
    match is_forced {
        true => Force::Yes,
        false => Force::No,
    }
}

pub(super) async fn history(host: &Host, request: &HistoryRequest) -> Result<Page<VersionView>> {
    let (namespace, name) = bare(&request.namespace, &request.name)?;
    let before = page::number_cursor(request.cursor.as_deref())?;
    let limit = parse::page_limit(request.limit);
    let catalogue = Arc::clone(&host.catalogue);
    let asked = name.clone();
    let found = blocking(move || catalogue.versions(&namespace, &asked, before, limit)).await?;
    let mut page = PageBuilder::new(limit);
    for version in &found {
        if page.is_full() {
            break;
        }
        page.push(
            version_view(host, &name, version),
            version.number.to_string(),
        );
    }
    Ok(page.finish())
}

pub(super) async fn moves(host: &Host, request: &MovesRequest) -> Result<Moves> {
    let (namespace, name) = bare(&request.namespace, &request.name)?;
    let catalogue = Arc::clone(&host.catalogue);
    let found = blocking(move || catalogue.moves(&namespace, &name)).await?;
    Ok(Moves {
        moves: found.iter().map(move_view).collect(),
    })
}

pub(super) async fn rollback(host: &Host, request: &RollbackRequest) -> Result<RolledBack> {
    let (namespace, name) = bare(&request.namespace, &request.name)?;
    let to = match (request.version, request.undo) {
        (None, false) => RollbackTo::Older,
        (Some(version), false) => RollbackTo::Version(version),
        (None, true) => RollbackTo::Undo,
        (Some(_), true) => {
            let message = "An undo goes to where `latest` was: it takes no version";
            return Err(parse::usage("invalid-rollback", message));
        }
    };
    let (catalogue, latest) = (Arc::clone(&host.catalogue), name.latest());
    let of = namespace.clone();
    let done = blocking(move || catalogue.roll_back(&of, &name, to, clock::now())).await?;
    let event = Event::new("rollback", &request.name).of(&namespace);
    host.events.tell(event.about(Some(done.to.snapshot)));
    Ok(RolledBack {
        name: latest.to_string(),
        from: done.from.map(end),
        to: end(done.to),
        moved: done.from != Some(done.to),
    })
}

pub(super) async fn set_pin(host: &Arc<Host>, request: &PinRequest) -> Result<SnapshotView> {
    let catalogue = Arc::clone(&host.catalogue);
    let (namespace, reference) = (&request.namespace, &request.reference);
    let (action, record) = match request.remove {
        true => ("unpin", resolve(host, namespace, reference).await?),
        false => ("pin", active(host, namespace, reference).await?),
    };
    let (id, pins) = (record.id, !request.remove);
    blocking(move || match pins {
        true => catalogue.pin(&id),
        false => catalogue.unpin(&id),
    })
    .await?;
    changed(host, action, reference, &record);
    view(host, id).await
}

/// A name without a tag, in its namespace.
fn bare(namespace: &str, name: &str) -> Result<(Namespace, SnapshotName)> {
    Ok((parse::namespace(namespace)?, parse::bare_name(name)?))
}

fn version_view(host: &Host, name: &SnapshotName, version: &VersionRecord) -> VersionView {
    let of_name = |one: &&SnapshotName| one.name() == name.name();
    let names = version.snapshot.names.iter().filter(of_name);
    let tags: Vec<String> = names.map(|one| one.tag().to_owned()).collect();
    VersionView {
        version: version.number,
        current: tags.iter().any(|tag| tag == SnapshotName::LATEST),
        tags,
        snapshot: views::snapshot_of(host, &version.snapshot),
    }
}

fn move_view(one: &Move) -> MoveView {
    MoveView {
        moved_at: clock::rfc3339(one.at),
        cause: match one.cause {
            MoveCause::Create => WireCause::Create,
            MoveCause::Tag => WireCause::Tag,
            MoveCause::Untag => WireCause::Untag,
            MoveCause::Rollback => WireCause::Rollback,
            MoveCause::Undo => WireCause::Undo,
            MoveCause::Removal => WireCause::Removal,
        },
        from: one.from.map(end),
        to: one.to.map(end),
    }
}

fn end(end: MoveEnd) -> WireEnd {
    WireEnd {
        snapshot: end.snapshot.to_string(),
        version: end.version,
    }
}
