//! Requests to values that cannot be wrong: every string, number and path of a request comes through here.

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;

use std::{
    collections::BTreeMap,
    path::{Component, PathBuf},
    time::Duration,
};

use snap_api::{
    CollectRequest, ErrorCode, ErrorReport, ListRequest, MAX_PAGE_ITEMS, NetworkChoice, Ttl,
    WirePath,
};
use snap_store::{
    EntryName, Namespace, Reference, STEP_LABEL, SnapshotName, VOLUME_LABEL, VOLUME_VERSION_LABEL,
};

use crate::{
    collect::{CollectPlan, Reason},
    config::Config,
    error::{Error, Result},
};

const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY_BYTES: usize = 128;
const MAX_LABEL_VALUE_BYTES: usize = 4096;
/// containerd's own limit on identifiers.
const MAX_CONTAINER_ID_BYTES: usize = 76;
const MAX_CLONES: u32 = 1000;
/// Longest path the kernel takes, without its NUL.
const MAX_PATH_BYTES: usize = 4095;
/// Longest path inside a snapshot: trees are deeper than the kernel's longest path allows, but not without end.
const MAX_INNER_PATH_BYTES: usize = 64 * 1024;
const MAX_PATTERNS: usize = 1000;
const MAX_KEY_BYTES: usize = 128;
const MAX_WORDS: usize = 1000;
const MAX_WORD_BYTES: usize = 64 * 1024;
const MAX_REFERENCES: usize = 1000;
const MAX_TAGS: usize = 100;
/// A year.
const MAX_GRACE_SECONDS: u64 = 365 * 24 * 60 * 60;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::fuzz;

/// A malformed request.
pub(super) fn usage(reason: &str, message: impl Into<String>) -> Error {
    ErrorReport::new(ErrorCode::Usage, reason, message).into()
}

pub(super) fn namespace(text: &str) -> Result<Namespace> {
    Ok(text.parse()?)
}

pub(super) fn optional_namespace(text: Option<&str>) -> Result<Option<Namespace>> {
    text.map(namespace).transpose()
}

pub(super) fn reference(text: &str) -> Result<Reference> {
    Ok(text.parse()?)
}

/// `NAME:TAG`, whatever the tag.
pub(super) fn name(text: &str) -> Result<SnapshotName> {
    Ok(text.parse()?)
}

/// A name that a new snapshot is to have.
pub(super) fn new_name(text: Option<&str>) -> Result<Option<SnapshotName>> {
    let tag = |text: &str| -> Result<_> { Ok(name(text)?.require_tag()?) };
    text.map(tag).transpose()
}

/// Names that are to be given, all of them to one snapshot.
pub(super) fn tags(first: &str, more: &[String]) -> Result<Vec<SnapshotName>> {
    if more.len() >= MAX_TAGS {
        let message = format!("At most {MAX_TAGS} names are given at once");
        return Err(usage("invalid-names", message));
    }
    let all = std::iter::once(first).chain(more.iter().map(String::as_str));
    all.map(|text| Ok(name(text)?.require_tag()?)).collect()
}

/// A name without a tag.
pub(super) fn bare_name(text: &str) -> Result<SnapshotName> {
    let name = name(text)?;
    if text == name.name() {
        return Ok(name);
    }
    let message = format!(
        "`{name}` is one of {}'s tags: give the name alone",
        name.name()
    );
    Err(usage("invalid-name", message))
}

/// At least one reference and not more than can be removed in one transaction.
pub(super) fn references(texts: &[String]) -> Result<Vec<Reference>> {
    if texts.is_empty() || texts.len() > MAX_REFERENCES {
        let message = format!("Name at least one snapshot and at most {MAX_REFERENCES}");
        return Err(usage("invalid-references", message));
    }
    texts.iter().map(|text| reference(text)).collect()
}

/// Labels to set on a snapshot that has `present` others.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        let message = format!("A snapshot has at most {MAX_LABELS} labels");
        return Err(usage("invalid-labels", message));
    }
    for (key, value) in labels {
        label_key(key)?;
        if value.len() > MAX_LABEL_VALUE_BYTES {
            let message =
                format!("The value of label `{key}` is longer than {MAX_LABEL_VALUE_BYTES} bytes");
            return Err(usage("invalid-labels", message));
        }
    }
    Ok(())
}

pub(super) fn label_key(key: &str) -> Result<()> {
    let is_key =
        (1..=MAX_LABEL_KEY_BYTES).contains(&key.len()) && !key.chars().any(char::is_control);
    if [STEP_LABEL, VOLUME_LABEL, VOLUME_VERSION_LABEL].contains(&key) {
        let message = format!(
            "`{key}` is the daemon's own label, for the results of steps of templates and for volumes"
        );
        return Err(usage("invalid-labels", message));
    }
    if is_key {
        return Ok(());
    }
    let shown = key
        .escape_debug()
        .take(MAX_LABEL_KEY_BYTES)
        .collect::<String>();
    let message = format!(
        "`{shown}` is no label key: 1 to {MAX_LABEL_KEY_BYTES} bytes without control characters"
    );
    Err(usage("invalid-labels", message))
}

/// A container's id, as containerd allows it.
pub(super) fn container_id(text: &str) -> Result<String> {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if text.len() <= MAX_CONTAINER_ID_BYTES && text.split(['.', '_', '-']).all(is_word) {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(MAX_CONTAINER_ID_BYTES + 4).collect();
    let message = format!(
        "`{shown}` is no container id: letters and digits with single `.`, `_` or `-` between them, {MAX_CONTAINER_ID_BYTES} at most"
    );
    Err(usage("invalid-container-id", message))
}

/// How a client wants the store collected.
pub(super) fn collection(request: &CollectRequest, config: &Config) -> Result<CollectPlan> {
    let by_itself = CollectPlan::by_itself(Reason::Asked, config);
    let grace = match request.grace_seconds {
        None => by_itself.grace,
        Some(seconds) if seconds <= MAX_GRACE_SECONDS => Duration::from_secs(seconds),
        Some(_) => {
            let message = format!("The grace period is {MAX_GRACE_SECONDS} seconds at most");
            return Err(usage("invalid-grace", message));
        }
    };
    Ok(CollectPlan {
        dry_run: request.dry_run,
        grace,
        ..by_itself
    })
}

/// The ids of `count` new containers: `id` itself, or `id-1`, `id-2` and so on.
pub(super) fn container_ids(id: &str, count: u32) -> Result<Vec<String>> {
    match count {
        1 => Ok(vec![container_id(id)?]),
        2..=MAX_CLONES => (1..=count)
            .map(|number| container_id(&format!("{id}-{number}")))
            .collect(),
        _ => {
            let message = format!("The count must be between 1 and {MAX_CLONES}");
            Err(usage("invalid-count", message))
        }
    }
}

/// An id for containers made of `source`, when their user has none in mind.
pub(super) fn made_up_id(source: &str, random: &str, count: u32) -> String {
    let suffix = format!("-{random}-{count}");
    let room = MAX_CONTAINER_ID_BYTES.saturating_sub(suffix.len());
    let base = source.get(..room.min(source.len())).unwrap_or_default();
    let base = base.trim_end_matches(['.', '_', '-']);
    match container_id(base) {
        Ok(base) => format!("{base}-{random}"),
        Err(_) => format!("restored-{random}"),
    }
}

/// When a snapshot made or changed at `now` expires.
pub(super) fn expiry(ttl: Ttl, default: Option<Duration>, now: i64) -> Result<Option<i64>> {
    let seconds = match ttl {
        Ttl::Never => None,
        Ttl::Default => default.map(|ttl| ttl.as_secs()),
        Ttl::Seconds(seconds) if (1..=Config::MAX_TTL_SECONDS).contains(&seconds) => Some(seconds),
        Ttl::Seconds(seconds) => {
            let message = format!("A time to live of {seconds} s is not between 1 s and 100 years");
            return Err(usage("invalid-ttl", message));
        }
    };
    Ok(seconds.map(|seconds| now.saturating_add_unsigned(seconds)))
}

/// How long a snapshot may go without a use, in seconds; `None` for ever.
pub(super) fn unused(ttl: Ttl) -> Result<Option<u64>> {
    match ttl {
        Ttl::Never => Ok(None),
        Ttl::Seconds(seconds) if (1..=Config::MAX_TTL_SECONDS).contains(&seconds) => {
            Ok(Some(seconds))
        }
        Ttl::Seconds(seconds) => {
            let message = format!("{seconds} s without a use are not between 1 s and 100 years");
            Err(usage("invalid-ttl", message))
        }
        Ttl::Default => {
            let message = "There is no default for how long a snapshot may go without a use";
            Err(usage("invalid-ttl", message))
        }
    }
}

/// How many items a page may have; 0 asks for as many as there may be.
pub(super) fn page_limit(limit: u32) -> usize {
    let limit = match limit {
        0 => MAX_PAGE_ITEMS,
        asked => asked.min(MAX_PAGE_ITEMS),
    };
    limit as usize
}

/// A listing that has neither filters nor an order.
pub(super) fn plain_list(request: &ListRequest) -> Result<()> {
    match (request.filters.first(), &request.sort) {
        (None, None) => Ok(()),
        _ => Err(usage(
            "invalid-filter",
            "This listing has neither filters nor orders",
        )),
    }
}

/// A path of the host: absolute, and normal afterwards.
pub(super) fn host_path(path: &WirePath) -> Result<PathBuf> {
    let bytes = path.as_bytes();
    let parts = path.as_path().components();
    let is_normal = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let is_path = path.as_path().is_absolute()
        && bytes.len() <= MAX_PATH_BYTES
        && !bytes.contains(&0)
        && parts.clone().all(is_normal);
    if is_path {
        return Ok(parts.collect());
    }
    let message = format!(
        "`{path}` is no path of the host: absolute, without `..`, {MAX_PATH_BYTES} bytes at most"
    );
    Err(usage("invalid-path", message))
}

/// A folder of a container, as the container sees it: absolute, and normal afterwards.
pub(super) fn container_path(path: &WirePath) -> Result<PathBuf> {
    host_path(path).map_err(|_| {
        let message = format!(
            "`{path}` is no folder of a container: absolute, without `..`, {MAX_PATH_BYTES} bytes at most"
        );
        usage("invalid-path", message)
    })
}

/// A path inside a snapshot as its names; none for the root.
pub(super) fn inner_path(path: &WirePath) -> Result<Vec<EntryName>> {
    let invalid = || {
        let message =
            format!("`{path}` is no path inside a snapshot: absolute, without `.` and `..`");
        usage("invalid-path", message)
    };
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') || bytes.len() > MAX_INNER_PATH_BYTES {
        return Err(invalid());
    }
    let names = bytes
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty());
    names
        .map(|name| EntryName::new(name).map_err(|_| invalid()))
        .collect()
}

/// Destinations of bind mounts.
pub(super) fn destinations(paths: Vec<String>) -> Result<Vec<String>> {
    let is_destination = |path: &String| {
        path.starts_with('/') && path.len() <= MAX_PATH_BYTES && !path.contains('\0')
    };
    if paths.len() <= MAX_PATTERNS && paths.iter().all(is_destination) {
        return Ok(paths);
    }
    let message = "Bind mounts are named by their destination: an absolute path in the container";
    Err(usage("invalid-mount", message))
}

/// Where something is mounted in a container: below its root, and not among what the kernel shows it.
pub(super) fn mount_point(path: &str) -> Result<String> {
    const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];
    let point = PathBuf::from(path);
    let is_normal = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let is_point = path.starts_with('/')
        && path.len() <= MAX_PATH_BYTES
        && !path.contains(char::is_control)
        && point.file_name().is_some()
        && point.components().all(is_normal)
        && !KERNELS.iter().any(|folder| point.starts_with(folder));
    let text = point.components().collect::<PathBuf>().into_os_string();
    match text.into_string() {
        Ok(text) if is_point => Ok(text),
        _ => {
            let shown: String = path.escape_debug().take(200).collect();
            let message = format!(
                "`{shown}` is no place to mount something: an absolute path without `.` and `..`, not `/`, and not below /proc, /sys or /dev"
            );
            Err(usage("invalid-mount", message))
        }
    }
}

/// A program of a container, as the container sees it.
pub(super) fn hook(path: String) -> Result<String> {
    let is_path = path.starts_with('/') && path.len() <= MAX_PATH_BYTES;
    if is_path && !path.contains(char::is_control) {
        return Ok(path);
    }
    let message = "A hook is an absolute path in the container";
    Err(usage("invalid-hook", message))
}

/// What is run instead of what was captured; nothing when there is nothing.
pub(super) fn command(words: Vec<String>) -> Result<Vec<String>> {
    let is_word = |word: &String| word.len() <= MAX_WORD_BYTES && !word.contains('\0');
    let has_program = words.first().is_none_or(|program| !program.is_empty());
    if has_program && words.len() <= MAX_WORDS && words.iter().all(is_word) {
        return Ok(words);
    }
    let message = format!(
        "A command is a program and its arguments, {MAX_WORDS} words of {MAX_WORD_BYTES} bytes at most"
    );
    Err(usage("invalid-command", message))
}

/// Patterns of what is left out; whether each is a pattern is for the capture to say.
pub(super) fn patterns(patterns: Vec<String>) -> Result<Vec<String>> {
    let is_short = |pattern: &String| pattern.len() <= MAX_PATH_BYTES;
    if patterns.len() <= MAX_PATTERNS && patterns.iter().all(is_short) {
        return Ok(patterns);
    }
    let message = format!("At most {MAX_PATTERNS} patterns of {MAX_PATH_BYTES} bytes each");
    Err(usage("invalid-pattern", message))
}

pub(super) fn network(choice: NetworkChoice) -> Result<NetworkChoice> {
    if let NetworkChoice::Path(path) = &choice {
        host_path(&WirePath::new(path.as_bytes()))?;
    }
    Ok(choice)
}

/// A key chosen by a client.
pub(super) fn idempotency_key(key: Option<String>) -> Result<Option<String>> {
    let is_key = |key: &str| (1..=MAX_KEY_BYTES).contains(&key.len());
    if key.as_deref().is_none_or(is_key) {
        return Ok(key);
    }
    let message = format!("An idempotency key has 1 to {MAX_KEY_BYTES} bytes");
    Err(usage("invalid-key", message))
}

#[cfg(test)]
mod tests;
