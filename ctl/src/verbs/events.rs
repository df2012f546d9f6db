//! `events`: what has happened, and what happens.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use clap::Args;
use snap_api::{Client, EventResult, EventView, Events, EventsRequest, MAX_WAIT_MS};

use crate::{
    failure::Failure,
    screen::{Form, note},
    session::{EVENTS, Session, answer},
    words::{clean, short_id, wire_word},
};

/// How much longer than the wait it asks for a call may take.
const WAIT_MARGIN: Duration = Duration::from_secs(30);

/// Lists what has happened, and with --follow what happens.
///
/// An event is told for each change of state: the end of every job (create, restore, copy, verify, collect, repair, stats, build, volume), what is
/// removed, expires or is kept by no rule (trash, or without one remove, expire, forget), what leaves the trash for good (remove) or comes
/// back (undelete), rules (policy-set, policy-remove, auto-set, auto-remove), volumes (volume-remove), what changes a snapshot
/// or a name (ttl, label, tag, untag, rollback, pin, unpin), folders (mount, unmount) and restored containers (start, stop,
/// remove-container, whoever removed it).
///
/// The daemon remembers the last 5000 since it started; its log has all of them.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl events --since 1h
  snapctl events --follow --lines 0 --filter action=expire,result=failed
  snapctl events -A -f -o json | jq -r 'select(.action == \"create\").snapshot'

Filters are KEY=VALUE; the keys are action, result (done, failed), subject, snapshot and job. Of several with one key one has
to fit, and of each key. A snapshot or a job is found by the beginning of its id. With --output json each event is an
object on a line of its own; with --quiet the id of its snapshot, or else its subject.")]
pub(crate) struct EventsArgs {
    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of what has happened
    #[arg(long, value_name = "N")]
    lines: Option<usize>,
    /// Leave out what happened longer ago, as in 90s or 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Leave out what does not fit; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    filter: Vec<Filter>,
    /// The events of every namespace
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Action,
    Result,
    Subject,
    Snapshot,
    Job,
}

/// Something an event must have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    key: Key,
    value: String,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
        let key = match key {
            "action" => Key::Action,
            "result" => Key::Result,
            "subject" => Key::Subject,
            "snapshot" => Key::Snapshot,
            "job" => Key::Job,
            _ => return Err("the keys are action, result, subject, snapshot and job".to_owned()),
        };
        let value = value.to_owned();
        Ok(Self { key, value })
    }
}

impl Filter {
    fn fits(&self, event: &EventView) -> bool {
        let begins =
            |id: &Option<String>| id.as_ref().is_some_and(|id| id.starts_with(&self.value));
        match self.key {
            Key::Action => event.action == self.value,
            Key::Result => wire_word(event.result) == self.value,
            Key::Subject => event.subject == self.value,
            Key::Snapshot => begins(&event.snapshot),
            Key::Job => begins(&event.job),
        }
    }
}

/// Runs `events`.
pub(crate) async fn events(session: &Session, args: EventsArgs) -> Result<(), Failure> {
    session.require(EVENTS)?;
    let cursor = show_past(session, &args).await?;
    match args.follow {
        true => follow(session, &args, cursor).await,
        false => Ok(()),
    }
}

/// Shows what the daemon remembers; returns where that ends.
async fn show_past(session: &Session, args: &EventsArgs) -> Result<Option<String>, Failure> {
    let (mut cursor, mut past) = (None, Vec::new());
    loop {
        let asked = ask(session, args, cursor, Duration::ZERO).await?;
        cursor = Some(asked.cursor);
        if asked.events.is_empty() {
            break;
        }
        past.extend(asked.events);
    }
    let oldest = args
        .since
        .and_then(|since| SystemTime::now().checked_sub(since));
    past.retain(|event| fits(&args.filter, event) && is_since(event, oldest));
    let shown = args.lines.unwrap_or(usize::MAX).min(past.len());
    show(session, &past[past.len() - shown..])?;
    Ok(cursor)
}

/// Shows what happens, until the daemon or the reader leaves.
async fn follow(
    session: &Session,
    args: &EventsArgs,
    mut cursor: Option<String>,
) -> Result<(), Failure> {
    loop {
        let wait = Duration::from_millis(MAX_WAIT_MS);
        let asked = ask(session, args, cursor, wait).await?;
        if asked.missed {
            note("Some events were not told: more came than the daemon remembers");
        }
        let mut events = asked.events;
        events.retain(|event| fits(&args.filter, event));
        show(session, &events)?;
        cursor = Some(asked.cursor);
    }
}

async fn ask(
    session: &Session,
    args: &EventsArgs,
    cursor: Option<String>,
    wait: Duration,
) -> Result<Events, Failure> {
    let request = EventsRequest {
        namespace: session.listed_namespace(args.all_namespaces),
        cursor,
        limit: 0,
        max_wait_ms: wait.as_millis() as u64,
    };
    let context = Client::within(wait + WAIT_MARGIN);
    answer(session.client.events(context, request).await)
}

/// Of the filters with one key one has to fit.
fn fits(filters: &[Filter], event: &EventView) -> bool {
    filters.iter().all(|filter| {
        let mut alike = filters.iter().filter(|other| other.key == filter.key);
        alike.any(|one| one.fits(event))
    })
}

/// An event whose time cannot be read is shown.
fn is_since(event: &EventView, oldest: Option<SystemTime>) -> bool {
    let at = humantime::parse_rfc3339(&event.at).ok();
    at.zip(oldest).is_none_or(|(at, oldest)| at >= oldest)
}

fn show(session: &Session, events: &[EventView]) -> Result<(), Failure> {
    let screen = &session.screen;
    for event in events {
        match screen.form() {
            Form::Quiet => screen.line(event.snapshot.as_ref().unwrap_or(&event.subject))?,
            Form::Table => screen.line(&render(event))?,
            Form::Json => screen.json_line(event)?,
        }
    }
    screen.flush()
}

/// `2026-01-31T12:00:00Z  create  done  default/web  snapshot 0123456789ab  job 0123456789abcdef`
fn render(event: &EventView) -> String {
    let subject = match &event.namespace {
        Some(namespace) => format!("{namespace}/{}", event.subject),
        None => event.subject.clone(),
    };
    let mut parts = vec![
        event.at.clone(),
        format!("{:<16}", event.action),
        format!("{:<6}", wire_word(event.result)),
        subject,
    ];
    let is_named = event.snapshot.as_ref() == Some(&event.subject);
    let snapshot = event.snapshot.as_ref().filter(|_| !is_named);
    parts.extend(snapshot.map(|id| format!("snapshot {}", short_id(id))));
    parts.extend(event.job.as_ref().map(|job| format!("job {job}")));
    if event.result == EventResult::Failed {
        parts.extend(event.error.as_ref().map(|error| error.message.clone()));
    }
    clean(&parts.join("  "))
}

#[cfg(test)]
mod tests {
    use snap_api::{ErrorCode, ErrorReport};

    use super::*;

    fn event() -> EventView {
        EventView {
            seq: 7,
            at: "2026-01-31T12:00:00Z".to_owned(),
            action: "create".to_owned(),
            result: EventResult::Done,
            namespace: Some("default".to_owned()),
            subject: "web".to_owned(),
            snapshot: Some("0123456789abcdef0123456789abcdef".to_owned()),
            job: Some("0011223344556677".to_owned()),
            error: None,
        }
    }

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_event_is_a_line() {
        assert_eq!(
            render(&event()),
            "2026-01-31T12:00:00Z  create            done    default/web  snapshot 0123456789ab  job 0011223344556677"
        );
        let error = ErrorReport::new(ErrorCode::Conflict, "busy", "It\nis in use");
        let failed = EventView {
            result: EventResult::Failed,
            error: Some(error),
            job: None,
            snapshot: None,
            ..event()
        };
        let line = render(&failed);
        assert!(line.contains("failed  default/web  It") && !line.contains('\n'));
    }

    #[test]
    fn one_filter_of_each_key_has_to_fit() {
        let fits = |texts: &[&str]| fits(&filters(texts), &event());
        assert!(fits(&[]) && fits(&["action=create"]) && fits(&["snapshot=0123", "job=00"]));
        assert!(fits(&["action=remove", "action=create", "result=done"]));
        assert!(!fits(&["action=create", "result=failed"]) && !fits(&["subject=we"]));
        for wrong in ["create", "colour=red", ""] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_older_is_left_out() {
        let at = humantime::parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        assert!(is_since(&event(), None) && is_since(&event(), Some(at)));
        assert!(!is_since(&event(), Some(at + Duration::from_secs(1))));
    }
}
