//! `list`, `show` and `remove`: snapshots as wholes.

use std::{collections::BTreeMap, time::SystemTime};

use clap::{Args, value_parser};
use snap_api::{
    ExpiryCause, ListRequest, MemoryView, ReferenceRequest, RemoveRequest, SnapshotDetail,
    SnapshotState, SnapshotView, WirePath,
};

use crate::{
    failure::Failure,
    screen::{Form, JsonArray, facts, table},
    session::{Session, VERSIONS, answer},
    values::LabelFilter,
    words::{clean, count, micros, moment, relative, short_id, size, span, wire_word},
};

mod contents;

/// Lists snapshots, newest first.
///
/// Filters: label=KEY, label=KEY=VALUE, state=STATE, container=GLOB, path=GLOB, image=GLOB, source=GLOB, name=GLOB (NAME or
/// NAME:TAG), pinned=true, pinned=false; and by age, time left or size created>2d, created<2d, expires<1d, expires>1d, size>1G,
/// size<1G, stored>1G, stored<1G. Of several state, container, path, image, source or name filters one has to hold, of all others
/// each. In a GLOB `*` stands for any letters and `?` for one.
///
/// STATE says as well which snapshots hold memory, whether that is encrypted, and which are known to be damaged.
///
/// SIZE is the sum of the sizes of the files in a snapshot; STORED is what it added to the store when it was made. An
/// expired snapshot stands in the list until the daemon's next look at expiry removes it. The reason why a snapshot failed
/// is in `snapctl show`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl list
  snapctl list -A --label branch=main
  snapctl list --filter 'name=web,created>2d' --sort size:desc --limit 10
  snapctl list --filter state=failed -q | xargs snapctl remove

With --quiet it prints ids alone; with --output json an array of snapshots.")]
pub(crate) struct ListArgs {
    /// The snapshots of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only those made from this container or folder
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Only those with this label, and this value when one is given; may be repeated
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<LabelFilter>,
    /// Only those that pass; several with commas between them, and may be repeated
    #[arg(long = "filter", short, value_name = "FILTER", value_delimiter = ',')]
    filters: Vec<String>,
    /// Another order; with `:desc` the other way round
    #[arg(long, value_name = "ORDER", value_parser = ORDERS)]
    sort: Option<String>,
    /// The first so many alone
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

const ORDERS: [&str; 10] = [
    "created",
    "created:desc",
    "name",
    "name:desc",
    "size",
    "size:desc",
    "stored",
    "stored:desc",
    "expires",
    "expires:desc",
];

/// Shows everything known of a snapshot.
///
/// Its names and labels, its times, its sizes, the container it was made from and the host that was on, and who uses it
/// now. With --output json the captured runtime specification is there as well.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl show web:v1
  snapctl show web:v1 -o json | jq .spec.process.args")]
pub(crate) struct ShowArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// Show what its memory holds: processes, mappings, open files and sockets; for root alone
    #[arg(long)]
    memory: bool,
}

/// Removes snapshots.
///
/// All of them or none: nothing is removed when one of them is not found, is still being made, is pinned, or is used by a
/// restored container or a mounted folder. Data that other snapshots share stays.
///
/// What is removed is in the trash for as long as the daemon's `trash_grace` says: `snapctl undelete` takes it back, `snapctl trash list`
/// shows it. With --permanent, when `trash_grace` is 0, and when a snapshot has failed, it is gone at once, and there is no way back.
///
/// A snapshot that bears an immutable tag is removed with --force alone. When NAME:latest pointed to what is removed, it points to
/// nothing afterwards, not to an older version: `snapctl rollback NAME` moves it there.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl remove web:v1
  snapctl remove 3f2a 91bc04
  snapctl remove web:v1.0 --force
  snapctl remove web:3 --permanent

With --quiet it prints the removed ids.")]
pub(crate) struct RemoveArgs {
    /// The snapshots
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
    /// Also those that bear immutable tags
    #[arg(long)]
    force: bool,
    /// Pass over the trash: there is no way back
    #[arg(long)]
    permanent: bool,
}

/// Runs `list`.
pub(crate) async fn list(session: &Session, args: ListArgs) -> Result<(), Failure> {
    let filters = filters(&args);
    if !filters.is_empty() || args.sort.is_some() {
        session.require(VERSIONS)?;
    }
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    let snapshots = session
        .collect_some(limit, async |cursor| {
            let request = ListRequest {
                namespace: session.listed_namespace(args.all_namespaces),
                cursor,
                limit: args.limit.unwrap_or(0),
                filters: filters.clone(),
                sort: args.sort.clone(),
            };
            answer(session.client.list(session.soon(), request).await)
        })
        .await?;
    let screen = &session.screen;
    match screen.form() {
        Form::Quiet => snapshots.iter().try_for_each(|one| screen.line(&one.id)),
        Form::Table => screen.text(&render(&snapshots, args.all_namespaces, SystemTime::now())),
        Form::Json => {
            let mut array = JsonArray::new(screen);
            snapshots.iter().try_for_each(|one| array.push(one))?;
            array.finish()
        }
    }
}

/// Runs `show`.
pub(crate) async fn show(session: &Session, args: ShowArgs) -> Result<(), Failure> {
    let request = ReferenceRequest {
        namespace: session.namespace.clone(),
        reference: args.reference,
    };
    if args.memory {
        return contents::show(session, request).await;
    }
    let detail = answer(session.client.show(session.soon(), request).await)?;
    session.screen.show(&detail, &[&detail.snapshot.id], || {
        render_detail(&detail, SystemTime::now())
    })
}

/// Runs `remove`.
pub(crate) async fn remove(session: &Session, args: RemoveArgs) -> Result<(), Failure> {
    let request = RemoveRequest {
        namespace: session.namespace.clone(),
        references: args.references,
        force: args.force,
        permanent: args.permanent,
    };
    let removed = answer(session.client.remove(session.soon(), request).await)?;
    let ids: Vec<&str> = removed.ids.iter().map(String::as_str).collect();
    session.screen.show(&removed, &ids, || {
        let mut text = String::new();
        for id in &ids {
            text.push_str(&format!("Removed {id}\n"));
        }
        if let Some(until) = &removed.in_trash_until {
            let until = moment(until, SystemTime::now());
            text.push_str(&format!(
                "In the trash until {until}; `snapctl undelete` takes it back\n"
            ));
        }
        text
    })
}

/// All filters as the daemon takes them.
fn filters(args: &ListArgs) -> Vec<String> {
    let source = args.source.iter().map(|source| format!("source={source}"));
    let labels = args.labels.iter().map(|label| format!("label={label}"));
    source.chain(labels).chain(args.filters.clone()).collect()
}

fn render(snapshots: &[SnapshotView], all_namespaces: bool, now: SystemTime) -> String {
    let mut head = vec![
        "ID", "NAME", "STATE", "SOURCE", "CREATED", "EXPIRES", "SIZE", "STORED",
    ];
    let mut right = vec![6, 7];
    if all_namespaces {
        head.insert(0, "NAMESPACE");
        right = vec![7, 8];
    }
    let rows: Vec<Vec<String>> = snapshots
        .iter()
        .map(|one| {
            let mut row = row(one, now);
            if all_namespaces {
                row.insert(0, one.namespace.clone());
            }
            row
        })
        .collect();
    table(&head, &rows, &right)
}

fn row(snapshot: &SnapshotView, now: SystemTime) -> Vec<String> {
    vec![
        short_id(&snapshot.id).to_owned(),
        names(snapshot),
        state(snapshot),
        snapshot.source.clone(),
        relative(&snapshot.created_at, now),
        expires_in(snapshot, now),
        size(snapshot.logical_bytes),
        size(snapshot.stored_bytes),
    ]
}

/// Its names; without any, what it is a version of.
fn names(snapshot: &SnapshotView) -> String {
    match (snapshot.names.is_empty(), snapshot.versions.is_empty()) {
        (false, _) => snapshot.names.join(", "),
        (true, false) => snapshot.versions.join(", "),
        (true, true) => "-".to_owned(),
    }
}

/// The state, whether there is memory and in clear or not, and whether something is known to be damaged.
pub(crate) fn state(snapshot: &SnapshotView) -> String {
    let mut words = wire_word(snapshot.state);
    match &snapshot.memory {
        Some(memory) if memory.encrypted => words.push_str(", with encrypted memory"),
        Some(memory) if memory.captured => words.push_str(", with memory"),
        Some(_) => words.push_str(", memory failed"),
        None => {}
    }
    if snapshot.damage.is_some() {
        words.push_str(", damaged");
    }
    words
}

/// What became of the memory of a snapshot's processes.
pub(crate) fn memory(memory: &MemoryView) -> String {
    match &memory.reason {
        Some(reason) => format!("failed, {}", clean(reason)),
        None => format!(
            "captured, {}, {}; for root alone",
            size(memory.bytes),
            if memory.encrypted {
                "encrypted"
            } else {
                "in clear"
            }
        ),
    }
}

/// When a snapshot expires, from now.
pub(crate) fn expires_in(snapshot: &SnapshotView, now: SystemTime) -> String {
    match &snapshot.expires_at {
        _ if snapshot.pinned => "pinned".to_owned(),
        None if snapshot.unused_seconds.is_some() => "when unused".to_owned(),
        None => "never".to_owned(),
        Some(_) if snapshot.expired => "expired".to_owned(),
        Some(time) => format!("{}{}", relative(time, now), condition(snapshot)),
    }
}

/// When a snapshot expires, in full.
pub(crate) fn expiry(snapshot: &SnapshotView, now: SystemTime) -> String {
    match &snapshot.expires_at {
        None if snapshot.pinned => "pinned".to_owned(),
        Some(time) if snapshot.pinned => format!("pinned; unpinned {}", moment(time, now)),
        Some(time) if snapshot.expired => format!("{time} (expired)"),
        Some(time) => format!("{}{}", moment(time, now), condition(snapshot)),
        None => match snapshot.unused_seconds {
            Some(seconds) => format!("{} after its use has ended", span(seconds)),
            None => "never".to_owned(),
        },
    }
}

/// On what it depends that a snapshot expires when it does.
fn condition(snapshot: &SnapshotView) -> &'static str {
    match snapshot.expires_by {
        Some(ExpiryCause::Unused) => " if unused",
        Some(ExpiryCause::Ttl) | None => "",
    }
}

/// What a snapshot was made from, in words.
pub(crate) fn source(snapshot: &SnapshotView) -> String {
    let kind = if snapshot.is_container {
        "container"
    } else {
        "folder"
    };
    if let Some(of) = &snapshot.container_folder {
        return format!("folder {} of container {}", of.path, of.container);
    }
    match &snapshot.image {
        Some(image) => format!("{kind} {} of image {image}", snapshot.source),
        None => format!("{kind} {}", snapshot.source),
    }
}

/// The facts of a snapshot that every answer about one carries.
pub(crate) fn render_view(snapshot: &SnapshotView, now: SystemTime) -> String {
    facts(&view_facts(snapshot, now))
}

fn view_facts(snapshot: &SnapshotView, now: SystemTime) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Snapshot", snapshot.id.clone()),
        ("Namespace", snapshot.namespace.clone()),
        ("State", wire_word(snapshot.state)),
    ];
    if let Some(reason) = &snapshot.reason {
        lines.push(("Reason", reason.clone()));
    }
    if let Some(mark) = &snapshot.damage {
        let what = if mark.lost { "lost" } else { "damaged" };
        lines.push((
            "Damage",
            format!(
                "{} of {} {what}, found {}; `snapctl repair --dry-run` names them",
                size(mark.bytes),
                count(mark.files, "file"),
                moment(&mark.found_at, now)
            ),
        ));
    }
    let names: Vec<String> = snapshot
        .names
        .iter()
        .map(|name| marked(snapshot, name))
        .collect();
    lines.push(("Names", or_dash(&names)));
    if !snapshot.versions.is_empty() {
        lines.push(("Version", or_dash(&snapshot.versions)));
    }
    lines.push(("Labels", or_dash(&pairs(&snapshot.labels))));
    lines.push(("Source", source(snapshot)));
    lines.push(("Created", moment(&snapshot.created_at, now)));
    lines.push(("Expires", expiry(snapshot, now)));
    if let Some(seconds) = snapshot.unused_seconds {
        lines.push(("Unused for", format!("{} at most", span(seconds))));
    }
    if let Some(time) = &snapshot.last_used_at {
        lines.push(("Last used", moment(time, now)));
    }
    if snapshot.state == SnapshotState::Active {
        let content = format!(
            "{} in {}",
            size(snapshot.logical_bytes),
            count(snapshot.nodes, "node")
        );
        lines.push(("Content", content));
        if let Some(found) = &snapshot.memory {
            lines.push(("Memory", memory(found)));
        }
        lines.push(("Stored", size(snapshot.stored_bytes)));
        if snapshot.is_container || snapshot.container_folder.is_some() {
            lines.push(("Paused for", micros(snapshot.pause_us)));
        }
    }
    lines
}

fn render_detail(detail: &SnapshotDetail, now: SystemTime) -> String {
    let mut lines = view_facts(&detail.snapshot, now);
    lines.push(("Root", detail.root.clone()));
    if let Some(key) = &detail.memory_key {
        lines.push(("Memory key", format!("{key}; encrypted at rest")));
    }
    if let Some(snapshotter) = &detail.snapshotter {
        lines.push(("Snapshotter", snapshotter.clone()));
    }
    if let Some(runtime) = &detail.runtime {
        lines.push(("Runtime", runtime.clone()));
    }
    lines.push(("Host", or_dash(&pairs(&detail.host))));
    lines.push(("Used by", or_dash(&detail.used_by)));
    let mounted: Vec<String> = detail.mounted_at.iter().map(WirePath::to_string).collect();
    lines.push(("Mounted at", or_dash(&mounted)));
    facts(&lines)
}

/// A name, and whether it is immutable.
fn marked(snapshot: &SnapshotView, name: &String) -> String {
    match snapshot.immutable.contains(name) {
        true => format!("{name} (immutable)"),
        false => name.clone(),
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<String> {
    map.iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// One value a line, a dash when there is none.
fn or_dash(values: &[String]) -> String {
    if values.is_empty() {
        "-".to_owned()
    } else {
        values.join("\n")
    }
}

#[cfg(test)]
mod tests;
