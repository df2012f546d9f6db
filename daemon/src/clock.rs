//! Wall-clock time: seconds since 1970, and RFC 3339 in UTC for everything that leaves the daemon.
//!
//! Stored times are not trusted to be sensible: whatever the number, the text is a valid date between the
//! years 0 and 9999.

#[cfg(test)]
pub(crate) mod fake;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use snap_store::{Timestamp, calendar};

const DAY: i64 = 24 * 60 * 60;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const PRINTABLE: (i64, i64) = (-62_167_219_200, 253_402_300_799);

/// Seconds since 1970 by the wall clock.
#[must_use]
pub fn now() -> i64 {
    #[cfg(test)]
    if let Some(now) = fake::now() {
        return now;
    }
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |secs| -secs),
    }
}

/// The monotonic clock: it goes on whatever is done to the wall clock.
#[must_use]
pub fn steady() -> Instant {
    #[cfg(test)]
    if let Some(steady) = fake::steady() {
        return steady;
    }
    Instant::now()
}

/// A time as RFC 3339 in UTC, in whole seconds.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    format!("{}Z", date_and_time(seconds))
}

/// A time as RFC 3339 in UTC, with nanoseconds.
#[must_use]
pub fn rfc3339_nanos(time: Timestamp) -> String {
    let nanos = time.nanoseconds.min(999_999_999);
    format!("{}.{nanos:09}Z", date_and_time(time.seconds))
}

fn date_and_time(seconds: i64) -> String {
    let seconds = seconds.clamp(PRINTABLE.0, PRINTABLE.1);
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = calendar::date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_whatever_the_number() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_132_799, "2026-11-19T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn nanoseconds_are_kept() {
        let time = Timestamp {
            seconds: -1,
            nanoseconds: 5,
        };
        assert_eq!(rfc3339_nanos(time), "1969-12-31T23:59:59.000000005Z");
    }
}
