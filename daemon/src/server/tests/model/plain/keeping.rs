//! Rules and policies: which versions of a name stay.

use serde_json::{Value, json};
use snap_api::{
    ErrorCode, ForgetRequest, ForgetVerdict, ForgetView, HeldBy, HoldKind, KeepRule, KeepRules,
    PolicyListRequest, PolicyRequest, PolicySetRequest, SnapshotState, TrashCause,
};

use super::{Answer, CENTURY, Plain, Refusal, User};
use crate::clock::rfc3339;

const DAY: i64 = 86_400;
/// 1970 began on a Thursday.
const DAYS_SINCE_MONDAY: i64 = 3;

/// The number of the period of a version, by its number and time.
type Period = fn(u64, i64) -> i64;

impl Plain {
    fn rules(rules: &KeepRules) -> Result<(), Refusal> {
        if *rules == KeepRules::default() {
            return Err((ErrorCode::Usage, "no-rule"));
        }
        match rules.within_seconds > CENTURY {
            true => Err((ErrorCode::Usage, "invalid-rule")),
            false => Ok(()),
        }
    }

    /// What becomes of each version of a name, the newest first.
    fn judge(&self, namespace: &str, name: &str, rules: &KeepRules) -> Vec<ForgetView> {
        let line = &self.lines[&(namespace.to_owned(), name.to_owned())];
        let versions: Vec<(u64, &String)> =
            line.versions.iter().rev().map(|(n, id)| (*n, id)).collect();
        let dated: Vec<(u64, i64)> = versions
            .iter()
            .map(|(number, id)| (*number, &self.snapshots[*id]))
            .filter(|(_, one)| one.state == SnapshotState::Active)
            .map(|(number, one)| (number, one.created_at))
            .collect();
        let verdict = |(number, id): (u64, &String)| {
            let kept_by = kept_by(rules, &dated, number, self.now);
            let held_by = self.held_by(id);
            ForgetView {
                name: name.to_owned(),
                version: number,
                snapshot: id.clone(),
                created_at: rfc3339(self.snapshots[id].created_at),
                verdict: match (kept_by.is_empty(), held_by.is_empty()) {
                    (false, _) => ForgetVerdict::Keep,
                    (true, false) => ForgetVerdict::Held,
                    (true, true) => ForgetVerdict::Remove,
                },
                kept_by,
                held_by,
            }
        };
        versions.into_iter().map(verdict).collect()
    }

    fn held_by(&self, id: &str) -> Vec<HeldBy> {
        let mut held = Vec::new();
        let mut hold = |kind, name| held.push(HeldBy { kind, name });
        if self.snapshots[id].is_pinned {
            hold(HoldKind::Pinned, None);
        }
        for (name, tag) in self.names_of(id) {
            hold(HoldKind::Tag, Some(format!("{name}:{tag}")));
        }
        for user in self.users_of(id) {
            match user {
                User::Container(namespace, id) => {
                    hold(HoldKind::Container, Some(format!("{namespace}/{id}")));
                }
                User::Folder(number) => hold(HoldKind::Folder, Some(super::super::folder(*number))),
            }
        }
        held
    }

    /// Removes what nothing keeps; returns what became of each version.
    fn thin_out(&mut self, namespace: &str, name: &str, rules: &KeepRules) -> Vec<ForgetView> {
        let verdicts = self.judge(namespace, name, rules);
        for one in &verdicts {
            if one.verdict == ForgetVerdict::Remove {
                self.put_away(&one.snapshot, TrashCause::Forget, self.limits.grace);
            }
        }
        verdicts
    }

    pub(super) fn forget(&mut self, request: &ForgetRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        Self::rules(&request.keep)?;
        if request.all_names != request.names.is_empty() {
            return Err((ErrorCode::Usage, "invalid-names"));
        }
        let mut names = request.names.clone();
        names.sort();
        names.dedup();
        for name in &names {
            self.known(&namespace, name)?;
        }
        if request.all_names {
            let all = self.lines.iter();
            let all = all.filter(|((of, _), line)| *of == namespace && !line.versions.is_empty());
            names = all.map(|((_, name), _)| name.clone()).collect();
        }
        let mut verdicts = Vec::new();
        for name in &names {
            verdicts.extend(match request.dry_run {
                true => self.judge(&namespace, name, &request.keep),
                false => self.thin_out(&namespace, name, &request.keep),
            });
        }
        Ok(serde_json::to_value(verdicts).unwrap())
    }

    /// After a create; not while the clock is not to be believed. Returns the versions that went.
    pub(super) fn apply_policy_after_create(&mut self, id: &str) -> Vec<String> {
        let one = &self.snapshots[id];
        let Some(name) = &one.wanted_name else {
            return Vec::new();
        };
        let (name, _) = Self::name(name).unwrap();
        let namespace = one.namespace.clone();
        match self.clock_was_set() {
            true => Vec::new(),
            false => self.apply_policy(&namespace, &name),
        }
    }

    pub(super) fn apply_policies(&mut self) {
        let keys: Vec<_> = self.policies.keys().cloned().collect();
        for (namespace, name) in keys {
            self.apply_policy(&namespace, &name);
        }
    }

    fn apply_policy(&mut self, namespace: &str, name: &str) -> Vec<String> {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(rules) = self.policies.get(&key).copied() else {
            return Vec::new();
        };
        if self.known(namespace, name).is_err() {
            return Vec::new();
        }
        let verdicts = self.thin_out(namespace, name, &rules);
        let gone = verdicts.iter();
        let gone = gone.filter(|one| one.verdict == ForgetVerdict::Remove);
        gone.map(|one| format!("{name}:{}", one.version)).collect()
    }

    pub(super) fn set_policy(&mut self, request: &PolicySetRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        Self::rules(&request.keep)?;
        let key = (namespace, request.name.clone());
        let view = policy(&key, &request.keep);
        self.policies.insert(key, request.keep);
        Ok(view)
    }

    pub(super) fn remove_policy(&mut self, request: &PolicyRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let key = (namespace, request.name.clone());
        match self.policies.remove(&key) {
            Some(rules) => Ok(policy(&key, &rules)),
            None => Err((ErrorCode::NotFound, "policy-not-found")),
        }
    }

    /// One that is asked for by namespace and name must be there.
    pub(super) fn list_policies(&self, request: &PolicyListRequest) -> Answer {
        let namespace = match &request.namespace {
            Some(namespace) => Some(Self::namespace(namespace)?),
            None => None,
        };
        let is_wanted = |(of, name): &(String, String)| {
            namespace.as_ref().is_none_or(|wanted| wanted == of)
                && request.name.as_ref().is_none_or(|wanted| wanted == name)
        };
        let found = self.policies.iter().filter(|(key, _)| is_wanted(key));
        let found: Vec<Value> = found.map(|(key, rules)| policy(key, rules)).collect();
        match found.is_empty() && namespace.is_some() && request.name.is_some() {
            true => Err((ErrorCode::NotFound, "policy-not-found")),
            false => Ok(Value::Array(found)),
        }
    }
}

fn policy((namespace, name): &(String, String), rules: &KeepRules) -> Value {
    json!({ "namespace": namespace, "name": name, "keep": rules })
}

/// The rules that keep a version, of all that are looked at (number and time, the newest first).
fn kept_by(rules: &KeepRules, dated: &[(u64, i64)], number: u64, now: i64) -> Vec<KeepRule> {
    let counted: [(KeepRule, u32, Period); 6] = [
        (KeepRule::Last, rules.last, |number, _| {
            i64::try_from(number).unwrap()
        }),
        (KeepRule::Hourly, rules.hourly, |_, at| at.div_euclid(3600)),
        (KeepRule::Daily, rules.daily, |_, at| at.div_euclid(DAY)),
        (KeepRule::Weekly, rules.weekly, |_, at| {
            (at.div_euclid(DAY) + DAYS_SINCE_MONDAY).div_euclid(7)
        }),
        (KeepRule::Monthly, rules.monthly, |_, at| {
            let (year, month) = year_and_month(at);
            year * 12 + month
        }),
        (KeepRule::Yearly, rules.yearly, |_, at| year_and_month(at).0),
    ];
    let mut kept = Vec::new();
    for (rule, most, period) in counted {
        if newest_of(dated, most, period).contains(&number) {
            kept.push(rule);
        }
    }
    let own = dated.iter().find(|(one, _)| *one == number);
    if let (Some((_, own)), Some((_, newest)), 1..) = (own, dated.first(), rules.within_seconds) {
        let since = newest
            .min(&now)
            .saturating_sub_unsigned(rules.within_seconds);
        if *own >= since {
            kept.push(KeepRule::Within);
        }
    }
    kept
}

/// The newest of each of so many periods, and the oldest of all while there are fewer.
fn newest_of(dated: &[(u64, i64)], most: u32, period: Period) -> Vec<u64> {
    let most = usize::try_from(most).unwrap();
    let (mut periods, mut kept) = (Vec::new(), Vec::new());
    for (number, at) in dated {
        let own = period(*number, *at);
        if kept.len() < most && !periods.contains(&own) {
            periods.push(own);
            kept.push(*number);
        }
    }
    if kept.len() < most {
        kept.extend(dated.last().map(|(number, _)| *number));
    }
    kept
}

/// Year by year, and month by month.
fn year_and_month(at: i64) -> (i64, i64) {
    let mut day = at.div_euclid(DAY);
    let mut year = 1970;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |year: i64| 365 + i64::from(is_leap(year));
    while day < 0 {
        year -= 1;
        day += length(year);
    }
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month)
}
