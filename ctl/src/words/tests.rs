//! Numbers, times and dangerous text.

use std::time::{Duration, SystemTime};

use super::*;

fn after_2020(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800 + seconds)
}

#[test]
fn control_characters_are_spelled_out() {
    assert_eq!(clean("a\x1b[2J\n\u{9b}é"), "a\\x1b[2J\\x0a\\x9bé");
}

#[test]
fn times_stand_in_their_two_largest_units() {
    for (seconds, expected) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3_600, "1h"),
        (9_000, "2h 30m"),
        (1_209_599, "13d 23h"),
        (1_209_600, "14d"),
    ] {
        assert_eq!(span(seconds), expected);
    }
}

#[test]
fn times_lie_before_or_after_now() {
    assert_eq!(relative("2020-01-01T00:00:00Z", after_2020(180)), "3m ago");
    assert_eq!(relative("2020-01-15T00:00:00Z", after_2020(0)), "in 14d");
    assert_eq!(relative("2020-01-15T00:00:00Z", after_2020(2)), "in 14d");
    assert_eq!(relative("soon", after_2020(0)), "soon");
}

#[test]
fn short_times_have_three_digits() {
    for (us, expected) in [
        (999, "999 us"),
        (12_345, "12.3 ms"),
        (2_500_000, "2.50 s"),
        (150_000_000, "2m 30s"),
    ] {
        assert_eq!(micros(us), expected);
    }
}

#[test]
fn sizes_are_binary() {
    assert_eq!(size(0), "0 B");
    assert_eq!(size(1536), "1.5 KiB");
    assert_eq!(size(3 << 30), "3.0 GiB");
}

#[test]
fn ids_of_any_length_can_be_shortened() {
    assert_eq!(short_id("0123456789abcdef"), "0123456789ab");
    assert_eq!(short_id("abc"), "abc");
    assert_eq!(short_id("ééééééé"), "éééééé");
}

#[test]
fn nouns_agree_with_their_numbers() {
    assert_eq!(count(1, "file"), "1 file");
    assert_eq!(count(0, "file"), "0 files");
}
