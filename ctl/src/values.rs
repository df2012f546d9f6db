//! Arguments that are more than words, parsed where they come in.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf, absolute},
    str::FromStr,
    time::Duration,
};

use snap_api::{
    AttachRequest, AttachSource, ErrorCode, ErrorReport, MemoryWish, NetworkChoice, Owner, Ttl,
    WirePath,
};

/// Parses `14d`, `2h30m`, `never`, `0` (never) or `default`.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    match text {
        "never" => return Ok(Ttl::Never),
        "default" => return Ok(Ttl::Default),
        _ => {}
    }
    let length = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like `14d`, `2h30m` or `never`"))?;
    if length == Duration::ZERO {
        return Ok(Ttl::Never);
    }
    if length < Duration::from_secs(1) {
        return Err("a time to live below one second is none".to_owned());
    }
    Ok(Ttl::Seconds(length.as_secs()))
}

/// Parses `1h`, `90s`, or `0` for none.
pub(crate) fn grace(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write it like `1h`, `90s` or `0`")),
    }
}

/// Parses `wanted` or `required`.
pub(crate) fn memory(text: &str) -> Result<MemoryWish, String> {
    match text {
        "wanted" => Ok(MemoryWish::Wanted),
        "required" => Ok(MemoryWish::Required),
        _ => Err("it is `required`, or nothing".to_owned()),
    }
}

/// Parses how many versions a rule keeps: `3`, or `unlimited`.
pub(crate) fn kept(text: &str) -> Result<u32, String> {
    match text.parse() {
        _ if text == "unlimited" => Ok(u32::MAX),
        Ok(0) => Err("a rule that keeps none is none: leave it out".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it is a number from 1 on, or `unlimited`".to_owned()),
    }
}

/// Parses a time of at least one second, as in `30d`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let length = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like `30d` or `12h`"))?;
    match length.as_secs() {
        0 => Err("it is shorter than one second".to_owned()),
        seconds => Ok(seconds),
    }
}

/// Parses `none`, `host` or the absolute path of a network namespace.
pub(crate) fn network(text: &str) -> Result<NetworkChoice, String> {
    match text {
        "none" => Ok(NetworkChoice::None),
        "host" => Ok(NetworkChoice::Host),
        path if path.starts_with('/') => Ok(NetworkChoice::Path(path.to_owned())),
        _ => Err(
            "it is `none`, `host` or the absolute path of a network namespace, as in /run/netns/NAME"
                .to_owned(),
        ),
    }
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// What stands before the first `=`.
    pub(crate) key: String,
    /// What stands after it.
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("a label is KEY=VALUE".to_owned()),
        }
    }
}

/// `KEY`, or `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelFilter {
    key: String,
    value: Option<String>,
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl FromStr for LabelFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err("it is KEY or KEY=VALUE".to_owned());
        }
        Ok(Self {
            key: key.to_owned(),
            value,
        })
    }
}

/// Labels as a map; of a key that is given twice the last one counts.
pub(crate) fn label_map(labels: Vec<Label>) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .map(|label| (label.key, label.value))
        .collect()
}

/// `REF:PATH`: a snapshot and an absolute path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathInSnapshot {
    /// The snapshot.
    pub(crate) reference: String,
    /// The path.
    pub(crate) path: WirePath,
}

/// Parses `REF:PATH`. A reference never holds `:/`, so the first one is where the path begins.
pub(crate) fn path_in_snapshot(text: OsString) -> Result<PathInSnapshot, String> {
    let bytes = text.into_vec();
    let wrong = || "it is REF:PATH with an absolute path, as in `web:v1:/etc/hosts`".to_owned();
    let colon = bytes
        .windows(2)
        .position(|pair| pair == b":/")
        .ok_or_else(wrong)?;
    let reference = String::from_utf8(bytes[..colon].to_vec()).map_err(|_| wrong())?;
    if reference.is_empty() {
        return Err(wrong());
    }
    Ok(PathInSnapshot {
        reference,
        path: WirePath::new(&bytes[colon + 1..]),
    })
}

/// Parses `UID:GID`.
pub(crate) fn owner(text: &str) -> Result<Owner, String> {
    let wrong = || "it is UID:GID, two numbers".to_owned();
    let (uid, gid) = text.split_once(':').ok_or_else(wrong)?;
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok(Owner { uid, gid }),
        _ => Err(wrong()),
    }
}

/// Parses `NAME:/PATH`, with `:ro` behind it for a volume that is not written to.
pub(crate) fn volume_at(text: &str) -> Result<AttachRequest, String> {
    let wrong = || "it is NAME:/PATH or NAME:/PATH:ro, as in `models:/srv/models`".to_owned();
    let (parts, read_only) = parts(text);
    match parts[..] {
        [name, destination] if !name.is_empty() => Ok(AttachRequest {
            source: AttachSource::Volume(name.to_owned()),
            destination: format!("/{destination}"),
            read_only,
        }),
        _ => Err(wrong()),
    }
}

/// Parses `REF:/PATH`, with a folder of the snapshot before the path and `:ro` behind it where they are wanted.
pub(crate) fn snapshot_at(text: &str) -> Result<AttachRequest, String> {
    let wrong = || {
        "it is REF:/PATH or REF:/FOLDER:/PATH, with `:ro` behind it where it is not written to, as in `data:v1:/srv/data`".to_owned()
    };
    let (parts, read_only) = parts(text);
    let (reference, folder, destination) = match parts[..] {
        [reference, destination] => (reference, "", destination),
        [reference, folder, destination] => (reference, folder, destination),
        _ => return Err(wrong()),
    };
    if reference.is_empty() {
        return Err(wrong());
    }
    Ok(AttachRequest {
        source: AttachSource::Snapshot {
            reference: reference.to_owned(),
            path: WirePath::new(format!("/{folder}").as_bytes()),
        },
        destination: format!("/{destination}"),
        read_only,
    })
}

/// What stands between `:/`, and whether `:ro` stands at the end.
fn parts(text: &str) -> (Vec<&str>, bool) {
    let stripped = text.strip_suffix(":ro");
    let parts = stripped.unwrap_or(text).split(":/").collect();
    (parts, stripped.is_some())
}

/// The absolute path of something that is there: its parent is resolved, it itself is not.
pub(crate) fn existing(path: &Path) -> Result<WirePath, ErrorReport> {
    // A path that ends in `..` has no name of its own.
    let resolved = match path.file_name() {
        Some(_) => Ok(with_resolved_parent(path)),
        None => path.canonicalize(),
    };
    resolved
        .map(|path| WirePath::from(path.as_path()))
        .map_err(|error| {
            let message = format!("{} was not found", path.display());
            ErrorReport::new(ErrorCode::NotFound, "path-not-found", message).caused_by(&error)
        })
}

/// `CONTAINER` or `CONTAINER:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerSource {
    /// The container.
    pub(crate) id: String,
    /// The folder of it; all of it when absent.
    pub(crate) folder: Option<WirePath>,
}

/// Parses `CONTAINER` or `CONTAINER:/PATH`. The id of a container never holds a colon, so the first one is where the path begins.
pub(crate) fn container(text: OsString) -> Result<ContainerSource, String> {
    let bytes = text.into_vec();
    let colon = bytes.windows(2).position(|pair| pair == b":/");
    let end = colon.unwrap_or(bytes.len());
    let id = String::from_utf8(bytes[..end].to_vec());
    match id.ok().filter(|id| colon.is_none() || !id.is_empty()) {
        Some(id) => Ok(ContainerSource {
            id,
            folder: colon.map(|colon| WirePath::new(&bytes[colon + 1..])),
        }),
        None => Err("it is CONTAINER or CONTAINER:/PATH, as in `web:/var/lib/data`".to_owned()),
    }
}

/// What is copied, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Copying {
    /// Out of a snapshot to the host.
    Out(PathInSnapshot, PathBuf),
    /// Of the host into the next version of a name.
    In(PathBuf, PathInSnapshot),
}

/// Tells by the arguments which way is copied: one is in a snapshot, the other on the host. What begins with `/` or `.` is on the host,
/// whatever is in it.
pub(crate) fn copying(source: OsString, destination: OsString) -> Result<Copying, String> {
    let in_snapshot = |text: &OsString| match text.as_bytes().first() {
        None | Some(b'/' | b'.') => None,
        _ => path_in_snapshot(text.clone()).ok(),
    };
    match (in_snapshot(&source), in_snapshot(&destination)) {
        (Some(from), None) => Ok(Copying::Out(from, destination.into())),
        (None, Some(to)) => Ok(Copying::In(source.into(), to)),
        (None, None) => Err(
            "neither is in a snapshot: it is REF:/PATH DEST to copy out, as in `web:v1:/etc/hosts /tmp/hosts`, and SRC NAME:/PATH to put in"
                .to_owned(),
        ),
        (Some(_), Some(_)) => Err(
            "both are in snapshots; a path of the host begins with `/` or `./`".to_owned(),
        ),
    }
}

/// A path inside a snapshot, which counts from its root whether it begins with `/` or not.
pub(crate) fn from_root(path: &Path) -> WirePath {
    let bytes = path.as_os_str().as_bytes();
    if bytes.starts_with(b"/") {
        return WirePath::new(bytes);
    }
    WirePath::new([b"/", bytes].concat())
}

/// The absolute path of an existing folder, symbolic links resolved where the caller may look.
///
/// A folder whose mount server is gone cannot be looked at, only its parent can.
pub(crate) fn folder(path: &Path) -> WirePath {
    let resolved = path.canonicalize();
    let resolved = resolved.unwrap_or_else(|_| with_resolved_parent(path));
    WirePath::from(resolved.as_path())
}

/// The absolute path of something that is yet to be made: its parent is resolved, it itself is not.
pub(crate) fn destination(path: &Path) -> WirePath {
    WirePath::from(with_resolved_parent(path).as_path())
}

fn with_resolved_parent(path: &Path) -> PathBuf {
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    let resolved = whole.parent().and_then(|parent| parent.canonicalize().ok());
    match (resolved, whole.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => whole,
    }
}

#[cfg(test)]
mod tests;
