//! When a snapshot is made after a container has ended: decided by what is stored and by the time alone, and stored before it is made.
//!
//! The first end is captured at once. After that it is quiet for a minute, and twice as long each time one is made within as long again
//! as it was quiet: a container in a crash loop is captured ever more rarely, every hour in the end. What ends meanwhile waits, and is
//! made up for once.

use snap_store::{AutoEnd, EndCause, Namespace, SnapshotId, TriggerRecord};

/// How long it is quiet after a snapshot, in seconds; twice as long for each strike.
const FIRST_QUIET_SECONDS: i64 = 60;
const LONGEST_QUIET_SECONDS: i64 = 60 * 60;
/// Attempts for one end.
const MAX_ATTEMPTS: u64 = 3;
/// A signal ends a process with this and its number.
const SIGNALLED: u32 = 128;

/// An end of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) cause: EndCause,
    /// When, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

/// Why a task has ended, as far as its status tells.
pub(super) fn cause(status: u32) -> EndCause {
    match status > SIGNALLED {
        true => EndCause::Stop,
        false => EndCause::Exit,
    }
}

/// What is known once an end was met at `now`, in seconds since 1970; `None` when it was met before.
pub(super) fn met(
    seen: Option<&TriggerRecord>,
    of: (&Namespace, &str),
    end: End,
    now: i64,
) -> Option<TriggerRecord> {
    let Some(seen) = seen else {
        return Some(TriggerRecord {
            namespace: of.0.clone(),
            container: of.1.to_owned(),
            cause: end.cause,
            ended_ms: end.at_ms,
            due_at: Some(now),
            quiet_until: now,
            strikes: 0,
            held_back: 0,
            last: None,
            failures: 0,
        });
    };
    if was_met(seen, end, now) {
        return None;
    }
    // When the clock went back, nothing is quiet for longer than it ever is.
    let quiet_until = seen
        .quiet_until
        .min(now.saturating_add(LONGEST_QUIET_SECONDS));
    let is_waiting = seen.due_at.is_some() || now < quiet_until;
    Some(TriggerRecord {
        cause: end.cause,
        ended_ms: end.at_ms,
        due_at: Some(seen.due_at.unwrap_or(quiet_until).min(quiet_until).max(now)),
        quiet_until,
        held_back: seen.held_back.saturating_add(u64::from(is_waiting)),
        failures: 0,
        ..seen.clone()
    })
}

/// True for an end that was met, and for one before that. When the last that was met lies ahead of the clock, the clock was set back, and
/// what comes first is not known any more: then only that same end was met.
fn was_met(seen: &TriggerRecord, end: End, now: i64) -> bool {
    // `now` is the beginning of its second.
    let is_ahead = seen.ended_ms >= now.saturating_add(1).saturating_mul(1000);
    end.at_ms == seen.ended_ms || (end.at_ms < seen.ended_ms && !is_ahead)
}

/// What is known once an attempt begins at `now`; `None` when nothing is due. Nothing is ever due later than it is quiet at the longest: what
/// is later by the clock was so before the clock was set.
pub(super) fn begun(seen: &TriggerRecord, now: i64) -> Option<TriggerRecord> {
    let latest = now.saturating_add(LONGEST_QUIET_SECONDS);
    seen.due_at.filter(|due| *due <= now || *due > latest)?;
    let was_quiet = quiet_seconds(seen.strikes);
    let is_soon = seen.last.is_some() && now < seen.quiet_until.saturating_add(was_quiet);
    let strikes = match is_soon {
        true => seen.strikes.saturating_add(1),
        false => 0,
    };
    Some(TriggerRecord {
        due_at: None,
        held_back: 0,
        strikes,
        quiet_until: now.saturating_add(quiet_seconds(strikes)),
        ..seen.clone()
    })
}

/// What is known once an attempt has ended at `now`. One that failed is made again when it is no longer quiet, a few times; an end that
/// was met meanwhile stays due.
pub(super) fn ended(
    seen: &TriggerRecord,
    result: Result<SnapshotId, String>,
    now: i64,
) -> TriggerRecord {
    let failures = match &result {
        Ok(_) => 0,
        Err(_) => seen.failures.saturating_add(1),
    };
    let again = (1..MAX_ATTEMPTS).contains(&failures);
    TriggerRecord {
        due_at: seen.due_at.or(again.then_some(seen.quiet_until)),
        last: Some(AutoEnd { at: now, result }),
        failures,
        ..seen.clone()
    }
}

/// True when an attempt has begun and nothing is known of its end: asked at the start, the daemon ended during it.
pub(super) fn was_cut_off(seen: &TriggerRecord) -> bool {
    let begun_at = seen.quiet_until.saturating_sub(quiet_seconds(seen.strikes));
    seen.due_at.is_none() && seen.last.as_ref().is_none_or(|last| last.at < begun_at)
}

/// How long it is quiet after so many strikes.
fn quiet_seconds(strikes: u64) -> i64 {
    let doublings = u32::try_from(strikes).unwrap_or(u32::MAX);
    let quiet = FIRST_QUIET_SECONDS.saturating_mul(2_i64.saturating_pow(doublings));
    quiet.min(LONGEST_QUIET_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T22:35:35Z.
    const NOW: i64 = 1_795_300_535;

    /// When snapshots are made of a container that ends at these times, looked at each second until `until`.
    fn made_at(ends: &[i64], until: i64) -> Vec<i64> {
        let namespace: Namespace = "default".parse().unwrap();
        let (mut record, mut made) = (None::<TriggerRecord>, Vec::new());
        let mut ends = ends.iter().copied().peekable();
        for second in 0..until {
            let now = NOW + second;
            while let Some(at) = ends.next_if(|at| *at <= second) {
                let end = End {
                    cause: EndCause::Exit,
                    at_ms: (NOW + at) * 1000,
                };
                let next = met(record.as_ref(), (&namespace, "web"), end, now);
                record = next.or(record);
            }
            if let Some(begun) = record.as_ref().and_then(|seen| begun(seen, now)) {
                made.push(second);
                record = Some(ended(&begun, Ok(SnapshotId::from_bytes([1; 16])), now));
            }
        }
        made
    }

    /// **I9** A container that ends again and again is captured at once the first time, then not before a minute has passed, and each further
    /// time not before twice as long, an hour in the end; what ended meanwhile is made up for once. After it has not ended for as long
    /// again, it begins anew.
    #[test]
    fn a_crash_loop_is_captured_ever_more_rarely() {
        let every_second: Vec<i64> = (0..12_000).collect();
        let made = made_at(&every_second, 12_000);
        let waits: Vec<i64> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(
            made_at(&[0, 10, 20], 1000),
            [0, 60],
            "what is held back is made up for once"
        );
        assert_eq!(
            made_at(&[0, 500, 1000], 2000),
            [0, 500, 1000],
            "that is no loop"
        );
    }

    #[test]
    fn no_end_is_met_twice() {
        assert_eq!(made_at(&[5, 5], 200), [5]);
        let namespace: Namespace = "default".parse().unwrap();
        let end = End {
            cause: EndCause::Stop,
            at_ms: 7,
        };
        let first = met(None, (&namespace, "web"), end, NOW).unwrap();
        assert_eq!(met(Some(&first), (&namespace, "web"), end, NOW), None);
    }

    #[test]
    fn a_failure_is_tried_again_a_few_times() {
        let namespace: Namespace = "default".parse().unwrap();
        let end = End {
            cause: EndCause::Oom,
            at_ms: 7,
        };
        let mut record = met(None, (&namespace, "web"), end, NOW).unwrap();
        let mut attempts = 0;
        for second in 0..10_000 {
            if let Some(begun) = begun(&record, NOW + second) {
                attempts += 1;
                record = ended(&begun, Err("it is away".to_owned()), NOW + second);
            }
        }
        assert_eq!((attempts, record.failures, record.due_at), (3, 3, None));
    }

    #[test]
    fn a_clock_that_goes_back_holds_nothing_up_for_long() {
        let namespace: Namespace = "default".parse().unwrap();
        let end = |at_ms| End {
            cause: EndCause::Exit,
            at_ms,
        };
        let first = met(None, (&namespace, "web"), end(1), NOW).unwrap();
        let made = begun(&first, NOW).unwrap();
        let back = NOW - 365 * 24 * 3600;
        let next = met(Some(&made), (&namespace, "web"), end(2), back).unwrap();
        assert_eq!(next.due_at, Some(back + LONGEST_QUIET_SECONDS));
    }

    /// The clock goes back by a year: an end that comes then is before the last one by its date, and what was due would be so in a year.
    #[test]
    fn an_end_after_the_clock_went_back_is_met_and_captured() {
        let namespace: Namespace = "default".parse().unwrap();
        let back = NOW - 365 * 24 * 3600;
        let end = |at: i64| End {
            cause: EndCause::Exit,
            at_ms: at * 1000,
        };
        let first = met(None, (&namespace, "web"), end(NOW), NOW).unwrap();
        let made = ended(
            &begun(&first, NOW).unwrap(),
            Ok(SnapshotId::from_bytes([1; 16])),
            NOW,
        );
        let waits = met(Some(&made), (&namespace, "web"), end(NOW + 1), NOW + 1).unwrap();
        assert_eq!(begun(&waits, NOW + 2), None, "it is quiet");
        assert!(begun(&waits, back).is_some());
        let of = (&namespace, "web");
        assert_eq!(met(Some(&made), of, end(NOW), back), None, "that one was");
        let later = met(Some(&made), of, end(back + 5), back + 5).unwrap();
        assert!(begun(&later, later.due_at.unwrap()).is_some());
        assert_eq!(met(Some(&later), of, end(back + 4), back + 6), None);
    }

    #[test]
    fn an_attempt_that_was_cut_off_is_told_from_one_that_has_ended() {
        let namespace: Namespace = "default".parse().unwrap();
        let mut record = None;
        for (at, strikes) in [(NOW, 0), (NOW + 70, 1), (NOW + 4000, 0)] {
            let end = End {
                cause: EndCause::Exit,
                at_ms: at * 1000,
            };
            let waits = met(record.as_ref(), (&namespace, "web"), end, at).unwrap();
            assert!(!was_cut_off(&waits), "it has not begun");
            let under_way = begun(&waits, at).unwrap();
            assert_eq!(under_way.strikes, strikes);
            assert!(was_cut_off(&under_way));
            let again = ended(&under_way, Err("the daemon ended".to_owned()), at + 5);
            assert_eq!(again.due_at, Some(under_way.quiet_until));
            let done = ended(&under_way, Ok(SnapshotId::from_bytes([1; 16])), at);
            assert!(!was_cut_off(&done));
            record = Some(done);
        }
    }

    #[test]
    fn a_status_tells_signals_from_the_rest() {
        for (status, expected) in [
            (0, EndCause::Exit),
            (1, EndCause::Exit),
            (128, EndCause::Exit),
            (137, EndCause::Stop),
            (143, EndCause::Stop),
        ] {
            assert_eq!(cause(status), expected, "{status}");
        }
    }
}
