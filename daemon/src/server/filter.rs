//! Which snapshots a listing is to have: filters, parsed as they come from a client, and asked of each snapshot.

use std::{collections::BTreeMap, time::Duration};

use snap_store::{SnapshotName, SnapshotRecord, SnapshotState};

use super::parse::usage;
use crate::{error::Result, views};

const MAX_FILTERS: usize = 64;
/// Room for the longest label.
const MAX_FILTER_BYTES: usize = 8 * 1024;
const MAX_GLOB_BYTES: usize = 512;
/// What there is, for those who asked for something else.
const FILTERS: &str = "label=KEY, label=KEY=VALUE, state=STATE, container=GLOB, path=GLOB, image=GLOB, source=GLOB, name=GLOB, \
    pinned=true, pinned=false, created>AGE, created<AGE, expires>TIME, expires<TIME, size>BYTES, size<BYTES, stored>BYTES, stored<BYTES";

/// Filters that a snapshot must pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    terms: Vec<Term>,
}

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Label(String, Option<String>),
    State(SnapshotState),
    Text(Text, String),
    Pinned(bool),
    Measure(Measure, Side, i64),
}

/// What is compared with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Container,
    Path,
    Image,
    Source,
    Name,
}

/// What is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// Seconds since it was made.
    Created,
    /// Seconds until it expires.
    Expires,
    /// Sum of the sizes of its files, in bytes.
    Size,
    /// What it added to the store, in bytes.
    Stored,
}

/// On which side of the number it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

impl Filters {
    /// Parses what a client sent.
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        if texts.len() > MAX_FILTERS {
            let message = format!("A listing has at most {MAX_FILTERS} filters");
            return Err(usage("invalid-filter", message));
        }
        let terms = texts.iter().map(|text| term(text));
        Ok(Self {
            terms: terms.collect::<Result<_>>()?,
        })
    }

    /// True when one of them is about this label.
    pub(super) fn ask_for(&self, label: &str) -> bool {
        let is_it = |term: &Term| matches!(term, Term::Label(key, _) if key == label);
        self.terms.iter().any(is_it)
    }

    /// Whether a snapshot passes at `now`, in seconds since 1970. Several filters of one kind that asks for a word are alternatives;
    /// everything else must hold.
    pub(super) fn pass(&self, record: &SnapshotRecord, now: i64) -> bool {
        let mut alternatives = BTreeMap::new();
        for term in &self.terms {
            let holds = term.holds(record, now);
            match term.alternatives() {
                Some(kind) => *alternatives.entry(kind).or_insert(false) |= holds,
                None if holds => {}
                None => return false,
            }
        }
        alternatives.into_values().all(|holds| holds)
    }
}

impl Term {
    /// The kind of those of which one must hold; `None` when it must hold by itself.
    fn alternatives(&self) -> Option<u8> {
        match self {
            Self::State(_) => Some(0),
            Self::Text(text, _) => Some(1 + *text as u8),
            Self::Label(..) | Self::Pinned(_) | Self::Measure(..) => None,
        }
    }

    fn holds(&self, record: &SnapshotRecord, now: i64) -> bool {
        match self {
            Self::Label(key, value) => record
                .labels
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|value| value == found)),
            Self::State(state) => record.state == *state,
            Self::Text(text, glob) => text.of(record, |found| matches(glob, found)),
            Self::Pinned(is_pinned) => record.is_pinned == *is_pinned,
            Self::Measure(measure, side, limit) => {
                let found = measure.of(record, now);
                match side {
                    Side::Above => found > *limit,
                    Side::Below => found < *limit,
                }
            }
        }
    }
}

impl Text {
    /// Whether one of the texts that a snapshot has of this kind is one that is looked for.
    fn of(self, record: &SnapshotRecord, is_wanted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Container => match views::container_folder(record) {
                Some((container, _)) => is_wanted(container),
                None => record.is_container && is_wanted(&record.source),
            },
            Self::Path => match views::container_folder(record) {
                Some((_, path)) => is_wanted(path),
                None => !record.is_container && is_wanted(&record.source),
            },
            Self::Source => is_wanted(&record.source),
            Self::Image => record.image.as_deref().is_some_and(is_wanted),
            Self::Name => {
                let is_named =
                    |name: &SnapshotName| is_wanted(name.name()) || is_wanted(&name.to_string());
                record.names.iter().chain(&record.versions).any(is_named)
            }
        }
    }
}

impl Measure {
    fn of(self, record: &SnapshotRecord, now: i64) -> i64 {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        match self {
            Self::Created => now.saturating_sub(record.created_at),
            Self::Expires => match record.expiry() {
                Some((at, _)) if !record.is_pinned => at.saturating_sub(now),
                _ => i64::MAX,
            },
            Self::Size => bytes(record.logical_bytes),
            Self::Stored => bytes(record.stored_bytes),
        }
    }
}

fn term(text: &str) -> Result<Term> {
    let unknown = || {
        let shown: String = text.chars().take(80).collect();
        let message = format!("`{shown}` is no filter; there are {FILTERS}");
        usage("invalid-filter", message)
    };
    if text.len() > MAX_FILTER_BYTES {
        return Err(unknown());
    }
    let at = text.find(['=', '<', '>']).ok_or_else(unknown)?;
    let (key, rest) = text.split_at(at);
    let (operator, value) = rest.split_at(1);
    let side = match operator {
        ">" => Side::Above,
        "<" => Side::Below,
        _ => return with_word(key, value, text)?.ok_or_else(unknown),
    };
    let (measure, limit) = match key {
        "created" => (Measure::Created, seconds(value)),
        "expires" => (Measure::Expires, seconds(value)),
        "size" => (Measure::Size, bytes(value)),
        "stored" => (Measure::Stored, bytes(value)),
        _ => return Err(unknown()),
    };
    let limit = limit.map_err(|why| wrong(text, &why))?;
    Ok(Term::Measure(measure, side, limit))
}

/// A filter that asks for a word; `None` when there is none of that key.
fn with_word(key: &str, value: &str, whole: &str) -> Result<Option<Term>> {
    let glob = |text: Text| match value.len() {
        1..=MAX_GLOB_BYTES => Ok(Some(Term::Text(text, value.to_owned()))),
        _ => {
            let why = format!("a pattern has 1 to {MAX_GLOB_BYTES} bytes");
            Err(wrong(whole, &why))
        }
    };
    match key {
        "container" => glob(Text::Container),
        "path" => glob(Text::Path),
        "image" => glob(Text::Image),
        "source" => glob(Text::Source),
        "name" => glob(Text::Name),
        "label" => label(value, whole).map(Some),
        "state" => state(value, whole).map(Some),
        "pinned" => match value {
            "true" => Ok(Some(Term::Pinned(true))),
            "false" => Ok(Some(Term::Pinned(false))),
            _ => Err(wrong(whole, "it is `true` or `false`")),
        },
        _ => Ok(None),
    }
}

fn label(value: &str, whole: &str) -> Result<Term> {
    let (key, value) = match value.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (value, None),
    };
    match key {
        "" => Err(wrong(whole, "the key of a label is not empty")),
        key => Ok(Term::Label(key.to_owned(), value)),
    }
}

fn state(value: &str, whole: &str) -> Result<Term> {
    let found = SnapshotState::ALL
        .into_iter()
        .find(|state| state.as_str() == value);
    found.map(Term::State).ok_or_else(|| {
        let all = SnapshotState::ALL.map(SnapshotState::as_str).join(", ");
        wrong(whole, &format!("the states are {all}"))
    })
}

fn wrong(filter: &str, why: &str) -> crate::Error {
    let shown: String = filter.chars().take(80).collect();
    usage("invalid-filter", format!("Filter `{shown}`: {why}"))
}

/// A stretch of time as people write it.
fn seconds(text: &str) -> Result<i64, String> {
    let length: Duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like `2d` or `1h 30m`"))?;
    Ok(i64::try_from(length.as_secs()).unwrap_or(i64::MAX))
}

/// Bytes as people write them: units are powers of 1024.
fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || "write it like `4096`, `64K`, `10MiB` or `1G`".to_owned();
    let digits = text.find(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let power = match unit {
        "" | "B" => 0,
        "K" | "KB" | "KiB" => 1,
        "M" | "MB" | "MiB" => 2,
        "G" | "GB" | "GiB" => 3,
        "T" | "TB" | "TiB" => 4,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    Ok(number.saturating_mul(1_i64 << (10 * power)))
}

/// True when the whole text is like the pattern: `*` stands for any letters, `?` for one.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star is, and up to where it stands for the text.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[read] => {
                (at, read) = (at + 1, read + 1);
            }
            _ => {
                let Some((place, covered)) = star else {
                    return false;
                };
                star = Some((place, covered + 1));
                (at, read) = (place + 1, covered + 1);
            }
        }
    }
    glob[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests;
