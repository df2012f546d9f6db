//! Values as people write them: paths, durations, sizes, numbers.

use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// Longest path the kernel takes, without its NUL.
const MAX_PATH_BYTES: usize = 4095;
/// Longest path of a Unix socket, without its NUL.
const MAX_SOCKET_BYTES: usize = 107;

const UNITS: [(&str, u64); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// An absolute path without `.`, `..` or doubled slashes.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("it is not an absolute path".to_owned());
    }
    if text.contains('\0') || text.len() > MAX_PATH_BYTES {
        return Err("it is longer than 4095 bytes or holds a NUL".to_owned());
    }
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.components().all(is_plain) {
        return Err("it holds `..`".to_owned());
    }
    Ok(path.components().collect())
}

/// A path that a socket can have.
pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    if text.len() > MAX_SOCKET_BYTES {
        return Err(format!(
            "a socket's path has at most {MAX_SOCKET_BYTES} bytes"
        ));
    }
    path(text)
}

/// A duration such as `1h 30m`.
pub(super) fn duration(text: &str, seconds: RangeInclusive<u64>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| {
        format!("it is not a duration such as `90s`, `1h 30m` or `14days`: {error}")
    })?;
    if seconds.contains(&duration.as_secs()) {
        return Ok(duration);
    }
    let bound = |seconds: u64| humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let (least, most) = (bound(*seconds.start()), bound(*seconds.end()));
    Err(format!("it must be between {least} and {most}"))
}

/// A duration as [`duration`] reads it.
pub(super) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A duration, or `never` for none.
pub(super) fn limit(text: &str, seconds: RangeInclusive<u64>) -> Result<Option<Duration>, String> {
    match text {
        "never" => Ok(None),
        text => duration(text, seconds).map(Some),
    }
}

/// A duration as [`limit`] reads it.
pub(super) fn limit_text(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "never".to_owned(), duration_text)
}

/// How often something is done: a duration of a year at most, or `never` or 0 for not at all.
pub(super) fn interval(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "0" | "0s" => Ok(None),
        text => limit(text, 1..=365 * 24 * 60 * 60),
    }
}

/// How long something that is removed stays: a duration of a year at most, or 0 for not at all.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => duration(text, 0..=365 * 24 * 60 * 60),
    }
}

/// A size in bytes, or with a unit: `64MiB`.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (text.trim_end_matches(unit).trim_end(), *factor),
        None => (text, 1),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "it is not a number of bytes or a size such as `64MiB`".to_owned())?;
    let bytes = number
        .checked_mul(factor)
        .filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| {
        let (least, most) = (size_text(*range.start()), size_text(*range.end()));
        format!("it must be between {least} and {most}")
    })
}

/// A size as [`size`] reads it, in the largest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .rfind(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// A whole number.
pub(super) fn number(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!(
            "it is not a whole number between {} and {}",
            range.start(),
            range.end()
        )
    })
}

/// A part in hundredths.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = number(text, 1..=100)?;
    u8::try_from(number).map_err(|error| error.to_string())
}

/// The same for a count of things in memory.
pub(super) fn count(text: &str, range: RangeInclusive<u64>) -> Result<usize, String> {
    let number = number(text, range)?;
    usize::try_from(number).map_err(|error| error.to_string())
}
