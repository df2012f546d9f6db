//! Snapshots by the calendar.

use std::collections::BTreeMap;

use serde_json::Value;
use snap_api::{AutoRequest, AutoSetRequest, AutoView, CreateSource, ErrorCode, Ttl};

use super::{
    super::calls::{Creation, Ending, REAL},
    Answer, Facts, Noted, Plain,
};
use crate::clock::rfc3339;

const DAY: i64 = 86_400;
const MINUTE: i64 = 60;
/// How often something that fails is tried again.
const RETRIES: u64 = 5;

/// What is made under a name, and when.
#[derive(Clone, Debug)]
pub(super) struct Auto {
    request: AutoSetRequest,
    next_at: i64,
    /// When it was tried last, and what was made then.
    last: Option<(i64, Option<String>)>,
    failures: u64,
}

impl Plain {
    pub(super) fn set_auto(&mut self, request: &AutoSetRequest) -> Answer {
        let Some(next_at) = next(&request.schedule, self.now) else {
            return Err((ErrorCode::Usage, "invalid-schedule"));
        };
        let namespace = Self::namespace(&request.namespace)?;
        let auto = Auto {
            request: request.clone(),
            next_at,
            last: None,
            failures: 0,
        };
        let shown = auto.view();
        self.autos.insert((namespace, request.name.clone()), auto);
        Ok(shown)
    }

    pub(super) fn remove_auto(&mut self, request: &AutoRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let removed = self.autos.remove(&(namespace, request.name.clone()));
        let missing = (ErrorCode::NotFound, "automatic-snapshot-not-found");
        removed.map(|auto| auto.view()).ok_or(missing)
    }

    pub(super) fn list_autos(&self, namespace: Option<&str>) -> Answer {
        if let Some(namespace) = namespace {
            Self::namespace(namespace)?;
        }
        let autos = self.autos.iter();
        let autos = autos.filter(|((of, _), _)| namespace.is_none_or(|wanted| wanted == of));
        Ok(Value::Array(autos.map(|(_, auto)| auto.view()).collect()))
    }

    /// What is due is made once, however often it was missed; what fails is tried again ever later, and not beyond its next time.
    pub(super) fn look_at_autos(&mut self, noted: &Noted) -> Answer {
        for key in self.autos.keys().cloned().collect::<Vec<_>>() {
            let mut auto = self.autos[&key].clone();
            let regular = next(&auto.request.schedule, self.now).unwrap();
            if auto.next_at > self.now {
                auto.next_at = auto.next_at.min(regular);
                self.autos.insert(key, auto);
                continue;
            }
            let made = noted.made.iter().find(|(of, _, _)| *of == key.0);
            let made = made.map(|(_, id, facts)| (id.clone(), *facts));
            let (id, facts) = made.unwrap_or_default();
            let is_made = self.make(&auto.request, &id, facts);
            auto.last = Some((self.now, is_made.then_some(id)));
            auto.failures = match is_made {
                true => 0,
                false => auto.failures + 1,
            };
            auto.next_at = match auto.failures {
                failures @ 1..=RETRIES => {
                    let wait = MINUTE << (failures - 1);
                    regular.min(self.now + wait)
                }
                _ => regular,
            };
            self.autos.insert(key, auto);
        }
        self.list_autos(None)
    }

    fn make(&mut self, request: &AutoSetRequest, id: &str, facts: Facts) -> bool {
        let CreateSource::Path(path) = &request.source else {
            return false;
        };
        let name = path.as_path().file_name().unwrap().to_str().unwrap();
        let Ok(content) = name.parse::<usize>() else {
            return false;
        };
        let label = ("snapshotd.io/auto".to_owned(), "schedule".to_owned());
        let creation = Creation {
            id: id.to_owned(),
            namespace: request.namespace.clone(),
            name: Some(request.name.clone()),
            ttl: Ttl::Default,
            unused_seconds: None,
            labels: BTreeMap::from([label]),
            source: path.to_string(),
            content: content + REAL,
            logical_bytes: 0,
            ending: Ending::Active,
            is_real: true,
        };
        self.create(&creation, facts).is_ok()
    }
}

impl Auto {
    fn view(&self) -> Value {
        let made = self.last.as_ref().map(|(_, made)| made.as_ref());
        let view = AutoView {
            namespace: self.request.namespace.clone(),
            name: self.request.name.clone(),
            source: self.request.source.clone(),
            schedule: self.request.schedule.clone(),
            memory: false,
            next_at: Some(rfc3339(self.next_at)),
            last_at: self.last.as_ref().map(|(at, _)| rfc3339(*at)),
            last_snapshot: made.flatten().cloned(),
            failure: matches!(made, Some(None)).then(|| "why".to_owned()),
            failures: self.failures,
        };
        serde_json::to_value(view).unwrap()
    }
}

/// The next time after `now`; `None` for what is no schedule.
fn next(schedule: &str, now: i64) -> Option<i64> {
    // Weeks begin on Monday, which 5 January 1970 was.
    let (period, first) = match schedule {
        "hourly" => (60 * MINUTE, 0),
        "daily" => (DAY, 0),
        "weekly" => (7 * DAY, 4 * DAY),
        "*:0/20" => (20 * MINUTE, 0),
        _ => return None,
    };
    Some(((now - first).div_euclid(period) + 1) * period + first)
}
