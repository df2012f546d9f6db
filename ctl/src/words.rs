//! Numbers and times in words, and text that cannot harm a terminal.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use bytesize::ByteSize;

/// How many digits of an id a table shows.
pub(crate) const SHORT_ID: usize = 12;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The text with control characters spelled out: names in a snapshot are anybody's, and a terminal obeys them.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            let _ = write!(out, "\\x{:02x}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

/// The first digits of an id.
pub(crate) fn short_id(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// A size in binary units: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A short stretch of time, three digits of it: `12.3 ms`.
pub(crate) fn micros(us: u64) -> String {
    let precise = Duration::from_micros(us).as_secs_f64();
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", precise * 1e3),
        1_000_000..60_000_000 => format!("{precise:.2} s"),
        _ => span(us / 1_000_000),
    }
}

/// A stretch of time in its two largest units: `2h 30m`.
pub(crate) fn span(seconds: u64) -> String {
    let (major, major_name, minor, minor_name) = match seconds {
        0..MINUTE => return format!("{seconds}s"),
        MINUTE..HOUR => (seconds / MINUTE, "m", seconds % MINUTE, "s"),
        HOUR..DAY => (seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        _ => (seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    };
    if minor == 0 {
        format!("{major}{major_name}")
    } else {
        format!("{major}{major_name} {minor}{minor_name}")
    }
}

/// How a time lies to now: `3m ago`, `in 13d 23h`; the text itself when it is no time.
pub(crate) fn relative(rfc3339: &str, now: SystemTime) -> String {
    let Ok(time) = humantime::parse_rfc3339_weak(rfc3339) else {
        return rfc3339.to_owned();
    };
    match time.duration_since(now) {
        Ok(ahead) => format!("in {}", span(rounded_up(ahead.as_secs()))),
        Err(behind) => format!("{} ago", span(behind.duration().as_secs())),
    }
}

/// What is more than an hour ahead, in whole minutes: a moment after it was set, 14 days are still 14 days.
const fn rounded_up(seconds: u64) -> u64 {
    if seconds < HOUR {
        seconds
    } else {
        seconds.next_multiple_of(MINUTE)
    }
}

/// A time, and how it lies to now.
pub(crate) fn moment(rfc3339: &str, now: SystemTime) -> String {
    format!("{rfc3339} ({})", relative(rfc3339, now))
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// The word an API enumeration has on the wire, so that tables and JSON use the same one.
pub(crate) fn wire_word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
