//! The calls about snapshots that are made by themselves.

use std::sync::Arc;

use snap_api::{
    AutoRequest, AutoSetRequest, AutoView, CreateSource, ErrorCode, ErrorReport, ListRequest, Page,
    TriggerView, WirePath,
};
use snap_store::{AutoRecord, AutoSource};

use super::{
    page::{self, PageBuilder},
    parse,
    peer::Peer,
};
use crate::{
    auto, blocking, clock,
    error::{Error, Result},
    events::Event,
    host::Host,
    triggers,
};

/// Names of one namespace that have them.
const MAX_AUTOS: u64 = 1000;

pub(super) async fn set(host: &Arc<Host>, peer: Peer, request: AutoSetRequest) -> Result<AutoView> {
    let next_at = auto::first_after(&request.schedule, clock::now()).map_err(|why| {
        let message = format!(
            "`{}` is no schedule: {why}",
            request.schedule.escape_debug()
        );
        parse::usage("invalid-schedule", message)
    })?;
    if next_at.is_none() {
        let message = format!("`{}` is never", request.schedule.escape_debug());
        return Err(parse::usage("invalid-schedule", message));
    }
    let record = AutoRecord {
        namespace: parse::namespace(&request.namespace)?,
        name: parse::bare_name(&request.name)?,
        source: match &request.source {
            CreateSource::Container(id) => AutoSource::Container(parse::container_id(id)?),
            CreateSource::Path(path) => {
                peer.require_root("capture folders of the host")?;
                AutoSource::Path(parse::host_path(path)?)
            }
            CreateSource::Folder { container, path } => {
                return Err(no_folder(&parse::container_id(container)?, path));
            }
        },
        schedule: request.schedule,
        with_memory: request.memory,
        next_at,
        last: None,
        failures: 0,
    };
    if record.with_memory && matches!(record.source, AutoSource::Path(_)) {
        let message = "A folder has no memory to capture";
        return Err(parse::usage("invalid-memory", message));
    }
    let (catalogue, stored) = (Arc::clone(&host.catalogue), record.clone());
    blocking(move || catalogue.set_auto(&stored, MAX_AUTOS)).await?;
    tell(host, "auto-set", &record);
    Ok(view(&record))
}

/// A folder of a container is captured when somebody asks for it, and by no calendar.
fn no_folder(container: &str, path: &WirePath) -> Error {
    let message = format!(
        "Folder {path} of container {container} is not captured by the calendar, only whole containers and folders of the host are"
    );
    let hint = format!(
        "name the container alone, or have a timer of systemd call `snapctl create {container}:{path} --name NAME`"
    );
    ErrorReport::new(ErrorCode::Usage, "invalid-source", message)
        .hint(hint)
        .into()
}

pub(super) async fn list(host: &Arc<Host>, request: &ListRequest) -> Result<Page<AutoView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let catalogue = Arc::clone(&host.catalogue);
    let mut found = blocking(move || catalogue.autos(namespace.as_ref())).await?;
    if let Some(cursor) = &request.cursor {
        let (namespace, name) = cursor.split_once(' ').ok_or_else(page::invalid)?;
        found.retain(|one| (one.namespace.as_str(), one.name.name()) > (namespace, name));
    }
    let mut page = PageBuilder::new(parse::page_limit(request.limit));
    for one in &found {
        if page.is_full() {
            break;
        }
        page.push(view(one), format!("{} {}", one.namespace, one.name.name()));
    }
    Ok(page.finish())
}

pub(super) async fn triggers(host: &Arc<Host>, request: &ListRequest) -> Result<Page<TriggerView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let mut found = triggers::views(host, namespace.as_ref()).await?;
    if let Some(cursor) = &request.cursor {
        let (namespace, container) = cursor.split_once(' ').ok_or_else(page::invalid)?;
        found.retain(|one| (&*one.namespace, &*one.container) > (namespace, container));
    }
    let mut page = PageBuilder::new(parse::page_limit(request.limit));
    for one in found {
        if page.is_full() {
            break;
        }
        let cursor = format!("{} {}", one.namespace, one.container);
        page.push(one, cursor);
    }
    Ok(page.finish())
}

pub(super) async fn remove(host: &Arc<Host>, request: &AutoRequest) -> Result<AutoView> {
    let namespace = parse::namespace(&request.namespace)?;
    let name = parse::bare_name(&request.name)?;
    let catalogue = Arc::clone(&host.catalogue);
    let removed = blocking(move || catalogue.remove_auto(&namespace, &name)).await?;
    tell(host, "auto-remove", &removed);
    Ok(view(&removed))
}

fn tell(host: &Host, action: &'static str, record: &AutoRecord) {
    let event = Event::new(action, record.name.name());
    host.events.tell(event.of(&record.namespace));
}

fn view(record: &AutoRecord) -> AutoView {
    let last = record.last.as_ref();
    let result = last.map(|last| last.result.as_ref());
    AutoView {
        namespace: record.namespace.to_string(),
        name: record.name.name().to_owned(),
        source: match &record.source {
            AutoSource::Container(id) => CreateSource::Container(id.clone()),
            AutoSource::Path(path) => CreateSource::Path(WirePath::from(&**path)),
        },
        schedule: record.schedule.clone(),
        memory: record.with_memory,
        next_at: record.next_at.map(clock::rfc3339),
        last_at: last.map(|last| clock::rfc3339(last.at)),
        last_snapshot: result.and_then(Result::ok).map(ToString::to_string),
        failure: result.and_then(Result::err).cloned(),
        failures: record.failures,
    }
}
