//! When something is due: systemd's calendar expressions, as `systemd.time(7)` has them, in UTC.
//!
//! `[WEEKDAYS] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]]`, or one of the short words. Each part is `*`, a number, a range `A..B`, either with a step `/N`, or
//! several of them with commas between. What systemd has beside (a zone other than UTC, the last day of a month, parts of a second) is refused.

use std::{fmt, str::FromStr};

use snap_store::calendar::date;

const DAY: i64 = 24 * 60 * 60;
/// An expression that is not due within so many years is never due: the calendar repeats itself by then, but for its weekdays.
const YEARS_AHEAD: i64 = 8;
const MAX_TEXT_BYTES: usize = 200;
/// The first and the last year that an expression may name.
const YEARS: (u32, u32) = (1970, 2199);
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const WORDS: [(&str, &str); 8] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
];

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    text: String,
    weekdays: Part,
    years: Part,
    months: Part,
    days: Part,
    hours: Part,
    minutes: Part,
    seconds: Part,
}

/// Numbers of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part(Vec<Numbers>);

/// Every `step`-th number from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    from: u32,
    to: u32,
    step: u32,
}

impl FromStr for Calendar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
            return Err(format!("it has at most {MAX_TEXT_BYTES} plain letters"));
        }
        let word = WORDS
            .iter()
            .find(|(word, _)| text.eq_ignore_ascii_case(word));
        let full = word.map_or(text, |(_, full)| full);
        let mut parts: Vec<&str> = full.split_ascii_whitespace().collect();
        if parts.last() == Some(&"UTC") {
            parts.pop();
        }
        let weekdays = parts
            .first()
            .filter(|part| part.starts_with(|letter: char| letter.is_ascii_alphabetic()));
        let weekdays = match weekdays.copied() {
            Some(names) => {
                parts.remove(0);
                Part::of_weekdays(names)?
            }
            None => Part::all((0, 6)),
        };
        let (day, time) = match parts.as_slice() {
            [] if word.is_none() && full.trim().is_empty() => return Err("it is empty".to_owned()),
            [] => ("*-*-*", "00:00:00"),
            [time] if time.contains(':') => ("*-*-*", *time),
            [day] => (*day, "00:00:00"),
            [day, time] => (*day, *time),
            _ => return Err("it is not `WEEKDAYS YEAR-MONTH-DAY HOUR:MINUTE:SECOND`".to_owned()),
        };
        let (years, months, days) = of_day(day)?;
        let (hours, minutes, seconds) = of_time(time)?;
        Ok(Self {
            text: text.to_owned(),
            weekdays,
            years,
            months,
            days,
            hours,
            minutes,
            seconds,
        })
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Calendar {
    /// The first time after `now` that it is due, both in seconds since 1970; `None` when it is never again.
    pub(crate) fn after(&self, now: i64) -> Option<i64> {
        let start = now.checked_add(1)?;
        let (first, second_of_day) = (start.div_euclid(DAY), start.rem_euclid(DAY));
        let mut from = u32::try_from(second_of_day).ok()?;
        for day in first..first.checked_add(YEARS_AHEAD * 366)? {
            if self.has_day(day)
                && let Some(second) = self.time_from(from)
            {
                return day.checked_mul(DAY)?.checked_add(i64::from(second));
            }
            from = 0;
        }
        None
    }

    fn has_day(&self, day: i64) -> bool {
        let (year, month, of_month) = date(day);
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7);
        let has = |part: &Part, number: i64| u32::try_from(number).is_ok_and(|it| part.has(it));
        has(&self.weekdays, weekday)
            && has(&self.years, year)
            && has(&self.months, month)
            && has(&self.days, of_month)
    }

    /// The first second of a day that it is due, from this one on.
    fn time_from(&self, from: u32) -> Option<u32> {
        let (hour, minute, second) = (from / 3600, from / 60 % 60, from % 60);
        let at = |hour: u32, minute: u32, second: u32| hour * 3600 + minute * 60 + second;
        let first = self.seconds.from(0)?;
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.from(second)
            {
                return Some(at(hour, minute, second));
            }
            if let Some(minute) = self.minutes.from(minute + 1) {
                return Some(at(hour, minute, first));
            }
        }
        let hour = self.hours.from(hour + 1)?;
        Some(at(hour, self.minutes.from(0)?, first))
    }
}

fn of_day(text: &str) -> Result<(Part, Part, Part), String> {
    let parts: Vec<&str> = text.split('-').collect();
    let (year, month, day) = match parts.as_slice() {
        [month, day] => ("*", *month, *day),
        [year, month, day] => (*year, *month, *day),
        _ => return Err(format!("`{text}` is not YEAR-MONTH-DAY or MONTH-DAY")),
    };
    Ok((
        Part::parse(year, YEARS)?,
        Part::parse(month, (1, 12))?,
        Part::parse(day, (1, 31))?,
    ))
}

fn of_time(text: &str) -> Result<(Part, Part, Part), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "00"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(format!("`{text}` is not HOUR:MINUTE or HOUR:MINUTE:SECOND")),
    };
    Ok((
        Part::parse(hour, (0, 23))?,
        Part::parse(minute, (0, 59))?,
        Part::parse(second, (0, 59))?,
    ))
}

impl Part {
    fn all((from, to): (u32, u32)) -> Self {
        Self(vec![Numbers { from, to, step: 1 }])
    }

    fn parse(text: &str, bounds: (u32, u32)) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text
                .parse()
                .ok()
                .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
            number
                .filter(|number| (bounds.0..=bounds.1).contains(number))
                .ok_or_else(|| {
                    format!("`{text}` is not a number from {} to {}", bounds.0, bounds.1)
                })
        };
        let one = |text: &str| Numbers::parse(text, bounds, &number);
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    fn of_weekdays(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let long = text.to_ascii_lowercase();
            let found = WEEKDAYS.iter().zip(0..);
            let mut found = found.filter(|(name, _)| {
                long == **name
                    || (long.len() > 5 && long.starts_with(**name) && long.ends_with("day"))
            });
            let number = found.next().map(|(_, number)| number);
            number.ok_or_else(|| format!("`{text}` is no weekday"))
        };
        let one = |text: &str| match text.contains('/') {
            true => Err(format!("`{text}`: weekdays have no steps")),
            false => Numbers::parse(text, (0, 6), &number),
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, number: u32) -> bool {
        self.0.iter().any(|one| one.has(number))
    }

    /// The first that is not below this one.
    fn from(&self, number: u32) -> Option<u32> {
        self.0.iter().filter_map(|one| one.from(number)).min()
    }
}

impl Numbers {
    fn parse(
        text: &str,
        (least, most): (u32, u32),
        number: &dyn Fn(&str) -> Result<u32, String>,
    ) -> Result<Self, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let step = step.parse().ok().filter(|step| (1..=most).contains(step));
                (
                    range,
                    Some(step.ok_or_else(|| format!("`{text}` has no step from 1 to {most}"))?),
                )
            }
            None => (text, None),
        };
        let (from, to) = match (range, range.split_once("..")) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            // A step goes on from a number to the end.
            (one, None) if step.is_some() => (number(one)?, most),
            (one, None) => (number(one)?, number(one)?),
        };
        match from <= to {
            true => Ok(Self {
                from,
                to,
                step: step.unwrap_or(1),
            }),
            false => Err(format!("`{range}` ends before it begins")),
        }
    }

    fn has(self, number: u32) -> bool {
        (self.from..=self.to).contains(&number) && (number - self.from).is_multiple_of(self.step)
    }

    fn from(self, number: u32) -> Option<u32> {
        let above = number.saturating_sub(self.from).div_ceil(self.step) * self.step;
        Some(self.from + above).filter(|found| *found <= self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::rfc3339;

    fn after(expression: &str, now: i64) -> String {
        let calendar: Calendar = expression.parse().unwrap();
        calendar
            .after(now)
            .map_or_else(|| "never".to_owned(), rfc3339)
    }

    /// 2026-11-21T22:35:35Z, a Saturday.
    const NOW: i64 = 1_795_300_535;

    #[test]
    fn expressions_are_due_as_systemd_analyze_says() {
        assert_eq!(rfc3339(NOW), "2026-11-21T22:35:35Z");
        for (expression, expected) in [
            ("minutely", "2026-11-21T22:36:00Z"),
            ("hourly", "2026-11-21T23:00:00Z"),
            ("daily", "2026-11-22T00:00:00Z"),
            ("Weekly", "2026-11-23T00:00:00Z"),
            ("monthly", "2026-12-01T00:00:00Z"),
            ("quarterly", "2027-01-01T00:00:00Z"),
            ("semiannually", "2027-01-01T00:00:00Z"),
            ("yearly", "2027-01-01T00:00:00Z"),
            ("03:30", "2026-11-22T03:30:00Z"),
            ("*-*-* 22:35:36", "2026-11-21T22:35:36Z"),
            ("*-*-* 22:35:35", "2026-11-22T22:35:35Z"),
            ("*:0/15", "2026-11-21T22:45:00Z"),
            ("*:*:*", "2026-11-21T22:35:36Z"),
            ("8..18/2:00", "2026-11-22T08:00:00Z"),
            ("Mon..Fri 06:00 UTC", "2026-11-23T06:00:00Z"),
            ("Sat,Sunday 20:00", "2026-11-22T20:00:00Z"),
            ("Tue", "2026-11-24T00:00:00Z"),
            ("*-02-29", "2028-02-29T00:00:00Z"),
            ("12-24 18:00", "2026-12-24T18:00:00Z"),
            ("2027-03-01", "2027-03-01T00:00:00Z"),
            ("2025-*-*", "never"),
            ("*-02-30", "never"),
        ] {
            assert_eq!(after(expression, NOW), expected, "{expression}");
        }
    }

    #[test]
    fn each_time_is_after_the_one_before() {
        for expression in ["*:0/7:13", "Mon,Thu *-*-1..20/3 1,5,23:59:59", "*-*-31"] {
            let calendar: Calendar = expression.parse().unwrap();
            let (mut now, mut seen) = (NOW, 0);
            while let Some(next) = calendar.after(now).filter(|_| seen < 500) {
                assert!(next > now, "{expression}");
                assert_eq!(calendar.after(next - 1), Some(next), "{expression}");
                (now, seen) = (next, seen + 1);
            }
            assert_eq!(seen, 500, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for bad in [
            "",
            " ",
            "sometimes",
            "25:00",
            "12:60",
            "1:2:3:4",
            "*-13-01",
            "*-*-32",
            "*-*-0",
            "5..3:00",
            "*/0:00",
            "Mon/2",
            "Noday",
            "1-2-3-4",
            "12:00 Europe/Berlin",
            "*-*~1",
            "12:00:00.5",
            "+1:00",
            "1,:00",
            "ü",
            "a b c d",
        ] {
            assert!(bad.parse::<Calendar>().is_err(), "{bad}");
        }
        assert!("0".repeat(500).parse::<Calendar>().is_err());
    }

    #[test]
    fn extremes_of_the_clock_are_no_panic() {
        let calendar: Calendar = "daily".parse().unwrap();
        assert_eq!(calendar.after(i64::MAX), None);
        let _never = (calendar.after(i64::MIN), calendar.after(i64::MAX - 1));
    }
}
