//! Which versions of a name are kept: restic's rules, as one function of what is there.
//!
//! The order is that of the numbers, which a clock cannot change; dates are those of UTC. Forgetting what was not kept, all of it or a
//! part, changes nothing of the choice.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar;

const HOUR_SECONDS: i64 = 60 * 60;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
/// 1970 began on the fourth day of a week.
const DAYS_INTO_WEEK: i64 = 3;

/// How many versions of a name are kept, and which; 0 means that there is no such rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// The last so many.
    pub last: u32,
    /// The newest of each of the last so many hours in which there is one.
    pub hourly: u32,
    /// The same of days.
    pub daily: u32,
    /// The same of weeks, which begin on Monday.
    pub weekly: u32,
    /// The same of months.
    pub monthly: u32,
    /// The same of years.
    pub yearly: u32,
    /// Those made within so many seconds before the newest.
    pub within_seconds: u64,
}

/// A rule that keeps a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepRule {
    /// It is among the last.
    Last,
    /// It is the newest of an hour.
    Hourly,
    /// Of a day.
    Daily,
    /// Of a week.
    Weekly,
    /// Of a month.
    Monthly,
    /// Of a year.
    Yearly,
    /// It is not much older than the newest.
    Within,
}

/// What the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    /// The number of the version.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
}

impl KeepRules {
    /// True when there is no rule, and therefore nothing that could be kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The numbers of the versions that are kept, and by which rules; the versions may come in any order.
    ///
    /// A period keeps its newest version. While a rule has not kept as many as it may, it keeps the oldest version too, so that the history
    /// is as long as it can be. The time of the newest version counts for `within`, or `now` when that is earlier.
    #[must_use]
    pub fn choose(&self, versions: &[Dated], now: i64) -> BTreeMap<u64, BTreeSet<KeepRule>> {
        let mut versions = versions.to_vec();
        versions.sort_unstable_by_key(|version| std::cmp::Reverse(version.number));
        let mut kept = BTreeMap::<u64, BTreeSet<KeepRule>>::new();
        for (rule, most, period) in self.counted() {
            for number in newest_of_periods(&versions, most, period) {
                kept.entry(number).or_default().insert(rule);
            }
        }
        for number in self.recent(&versions, now) {
            kept.entry(number).or_default().insert(KeepRule::Within);
        }
        kept
    }

    fn counted(&self) -> [(KeepRule, u32, Period); 6] {
        [
            (KeepRule::Last, self.last, |version| {
                i64::try_from(version.number).unwrap_or(i64::MAX)
            }),
            (KeepRule::Hourly, self.hourly, |version| {
                version.created_at.div_euclid(HOUR_SECONDS)
            }),
            (KeepRule::Daily, self.daily, day),
            (KeepRule::Weekly, self.weekly, |version| {
                (day(version) + DAYS_INTO_WEEK).div_euclid(7)
            }),
            (KeepRule::Monthly, self.monthly, |version| {
                let (year, month, _) = calendar::date(day(version));
                year * 12 + month
            }),
            (KeepRule::Yearly, self.yearly, |version| {
                calendar::date(day(version)).0
            }),
        ]
    }

    /// Those that are not older than the newest by more than the rule allows.
    fn recent(&self, versions: &[Dated], now: i64) -> Vec<u64> {
        let Some(newest) = versions.first().filter(|_| self.within_seconds > 0) else {
            return Vec::new();
        };
        let end = newest.created_at.min(now);
        let begin = end.saturating_sub_unsigned(self.within_seconds);
        let recent = versions.iter().filter(|one| one.created_at >= begin);
        recent.map(|one| one.number).collect()
    }
}

/// The number of the period that a version was made in.
type Period = fn(&Dated) -> i64;

fn day(version: &Dated) -> i64 {
    version.created_at.div_euclid(DAY_SECONDS)
}

/// The newest of each of the first `most` periods, of versions in their order, the newest first; and the oldest of all when there are fewer.
fn newest_of_periods(versions: &[Dated], most: u32, period: Period) -> Vec<u64> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for version in versions {
        if seen.len() < most && seen.insert(period(version)) {
            kept.push(version.number);
        }
    }
    let oldest = versions.last().filter(|_| kept.len() < most);
    kept.extend(oldest.map(|oldest| oldest.number));
    kept
}

#[cfg(test)]
mod tests;
