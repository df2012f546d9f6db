use proptest::{collection::vec, prelude::*};

use super::*;

const HOUR: i64 = HOUR_SECONDS;
const DAY: i64 = DAY_SECONDS;
/// A Monday, 2026-11-16T00:00:00Z.
const MONDAY: i64 = 20_773 * DAY;
const NOW: i64 = MONDAY + 100 * DAY;

/// Versions of these times, the oldest first, numbered from 1.
fn versions(times: &[i64]) -> Vec<Dated> {
    let numbered = (1..).zip(times);
    let dated = |(number, created_at): (u64, &i64)| Dated {
        number,
        created_at: *created_at,
    };
    numbered.map(dated).collect()
}

/// The numbers that are kept of versions of these times.
fn kept(rules: KeepRules, times: &[i64]) -> Vec<u64> {
    rules.choose(&versions(times), NOW).into_keys().collect()
}

/// **G1** `snapctl forget NAME` keeps every version that a rule names and removes the others: the last N, the newest of each of
/// the last N hours, days, weeks, months or years that have one, and those made within a time before the newest.
#[test]
fn rules_keep_the_last_and_the_newest_of_each_period() {
    let daily: Vec<i64> = (0..10).map(|day| MONDAY + day * DAY).collect();
    let rules = KeepRules::default();
    assert_eq!(kept(KeepRules { last: 3, ..rules }, &daily), [8, 9, 10]);
    assert_eq!(kept(KeepRules { daily: 2, ..rules }, &daily), [9, 10]);
    assert_eq!(kept(KeepRules { weekly: 1, ..rules }, &daily), [10]);
    // A Sunday is the last day of a week, not the first of the next.
    assert_eq!(kept(KeepRules { weekly: 2, ..rules }, &daily), [7, 10]);
    let hours = [0, 1800, HOUR, HOUR + 1, HOUR + 3599, 2 * HOUR].map(|time| MONDAY + time);
    assert_eq!(kept(KeepRules { hourly: 3, ..rules }, &hours), [2, 5, 6]);
    let within = KeepRules {
        within_seconds: 2 * 86_400,
        ..rules
    };
    assert_eq!(kept(within, &daily), [8, 9, 10]);
    let both = KeepRules {
        last: 1,
        weekly: 2,
        ..rules
    };
    let reasons = both.choose(&versions(&daily), NOW);
    assert_eq!(
        reasons[&10],
        BTreeSet::from([KeepRule::Last, KeepRule::Weekly])
    );
    assert_eq!(reasons[&7], BTreeSet::from([KeepRule::Weekly]));
}

/// **G2** Hours, days, weeks from Monday on, months and years are those of UTC, wherever the host is.
#[test]
fn periods_are_those_of_utc() {
    let end_of_year = 20_819 * DAY;
    let times = [end_of_year - 1, end_of_year];
    let rules = KeepRules::default();
    for rules in [
        KeepRules { hourly: 2, ..rules },
        KeepRules { daily: 2, ..rules },
        KeepRules {
            monthly: 2,
            ..rules
        },
        KeepRules { yearly: 2, ..rules },
    ] {
        assert_eq!(kept(rules, &times), [1, 2], "{rules:?}");
        assert_eq!(
            rules.choose(&versions(&times), NOW)[&2].len(),
            1,
            "{rules:?}"
        );
    }
    assert_eq!(calendar::date(20_819), (2027, 1, 1));
    assert_eq!(calendar::date(20_773), (2026, 11, 16));
}

/// **G3** The newest version is kept by every rule. While a rule has not kept as many as it may, it keeps the oldest version too.
#[test]
fn the_oldest_is_kept_while_a_rule_has_room() {
    let same_day = [0, 1, 2, 3].map(|hour| MONDAY + hour * HOUR);
    let daily = KeepRules {
        daily: 2,
        ..KeepRules::default()
    };
    assert_eq!(kept(daily, &same_day), [1, 4]);
    let daily = KeepRules { daily: 1, ..daily };
    assert_eq!(kept(daily, &same_day), [4]);
}

/// A clock that was wrong for a while has given one version a time in the future: the others are not old for that.
#[test]
fn a_version_from_the_future_makes_no_other_one_old() {
    let within = KeepRules {
        within_seconds: 86_400,
        ..KeepRules::default()
    };
    let times = [NOW - 3 * DAY, NOW - HOUR, NOW + 4000 * DAY];
    assert_eq!(kept(within, &times), [2, 3]);
    let back = [NOW - HOUR, NOW, 0];
    assert_eq!(
        kept(within, &back),
        [1, 2, 3],
        "the last one that was made is the newest whatever its time"
    );
}

fn rules() -> impl Strategy<Value = KeepRules> {
    let few = || prop_oneof![3 => Just(0_u32), 4 => 1_u32..5, 1 => Just(u32::MAX)];
    let within = prop_oneof![Just(0_u64), 1_u64..40 * 86_400, Just(u64::MAX)];
    (few(), few(), few(), few(), few(), few(), within).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, within_seconds)| KeepRules {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within_seconds,
        },
    )
}

/// Times of versions, mostly in their order; a clock may have been anywhere.
fn times() -> impl Strategy<Value = Vec<i64>> {
    let usual = vec(0..90 * DAY, 0..30).prop_map(|mut offsets| {
        offsets.sort_unstable();
        offsets.iter().map(|offset| MONDAY + offset).collect()
    });
    prop_oneof![3 => usual, 1 => vec(any::<i64>(), 0..30)]
}

/// Each rule of one and the other, the greater of both.
fn united(one: KeepRules, other: KeepRules) -> KeepRules {
    KeepRules {
        last: one.last.max(other.last),
        hourly: one.hourly.max(other.hourly),
        daily: one.daily.max(other.daily),
        weekly: one.weekly.max(other.weekly),
        monthly: one.monthly.max(other.monthly),
        yearly: one.yearly.max(other.yearly),
        within_seconds: one.within_seconds.max(other.within_seconds),
    }
}

proptest! {
    #[test]
    fn keeping_more_never_removes_more(one in rules(), other in rules(), times in times(), now in any::<i64>()) {
        let versions = versions(&times);
        let few = one.choose(&versions, now);
        let many = united(one, other).choose(&versions, now);
        for (number, rules) in few {
            prop_assert!(many.get(&number).is_some_and(|more| more.is_superset(&rules)), "{number}");
        }
    }

    /// **G3** The newest version is kept by every rule. While a rule has not kept as many as it may, it keeps the oldest version too.
    #[test]
    fn the_newest_is_kept_by_every_rule(rules in rules(), times in times(), now in any::<i64>()) {
        let kept = rules.choose(&versions(&times), now);
        let given = [rules.last, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
        let given = given.iter().filter(|most| **most > 0).count() + usize::from(rules.within_seconds > 0);
        if given > 0 && !times.is_empty() {
            prop_assert_eq!(kept[&(times.len() as u64)].len(), given);
        }
        prop_assert!(given > 0 || kept.is_empty());
    }

    #[test]
    fn the_answer_does_not_depend_on_the_order(
        rules in rules(),
        (times, shuffled) in times().prop_flat_map(|times| {
            let shuffled = Just(versions(&times)).prop_shuffle();
            (Just(times), shuffled)
        }),
        now in any::<i64>(),
    ) {
        prop_assert_eq!(rules.choose(&versions(&times), now), rules.choose(&shuffled, now));
    }

    /// A removal is done page by page, and may end half way.
    #[test]
    fn what_is_forgotten_in_part_changes_no_choice(
        rules in rules(), times in times(), now in any::<i64>(), gone in vec(any::<bool>(), 30),
    ) {
        let mut versions = versions(&times);
        let kept = rules.choose(&versions, now);
        versions.retain(|one| kept.contains_key(&one.number) || !gone[one.number as usize - 1]);
        prop_assert_eq!(rules.choose(&versions, now).into_keys().collect::<Vec<_>>(), kept.into_keys().collect::<Vec<_>>());
    }

    /// Each rule by itself keeps as many as it may, or all periods and the oldest.
    #[test]
    fn a_rule_keeps_no_more_than_it_may(most in 1_u32..6, times in times(), now in any::<i64>()) {
        let rules = KeepRules { daily: most, ..KeepRules::default() };
        let versions = versions(&times);
        let days: BTreeSet<i64> = versions.iter().map(day).collect();
        let kept = rules.choose(&versions, now).len();
        prop_assert!(kept <= most as usize);
        prop_assert!(kept >= days.len().min(most as usize));
    }
}
