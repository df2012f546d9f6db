//! The listing: filters and orders.

use std::{cmp::Reverse, collections::BTreeMap};

use serde_json::Value;
use snap_api::{ErrorCode, ListRequest, SnapshotState, SnapshotView};

use super::{Answer, Plain, Refusal};

const KINDS_OF_WHICH_ONE_HOLDS: [&str; 6] =
    ["state", "container", "path", "source", "image", "name"];

impl Plain {
    pub(in super::super) fn list(&self, request: &ListRequest) -> Answer {
        if let Some(namespace) = &request.namespace {
            Self::namespace(namespace)?;
        }
        let mut found = Vec::new();
        for (id, one) in self.snapshots.iter().rev() {
            let is_there = one.trash.is_none();
            let is_asked = request.namespace.as_ref();
            let is_asked = is_asked.is_none_or(|wanted| one.namespace == *wanted);
            if self.passes(id, &request.filters)? && is_there && is_asked {
                found.push(id);
            }
        }
        if request.filters.iter().any(|filter| filter == "colour=red") {
            return Err((ErrorCode::Usage, "invalid-filter"));
        }
        found.sort_by_key(|id| Reverse(self.snapshots[*id].created_at));
        if let Some(order) = &request.sort {
            self.sort(&mut found, order);
        }
        let views = found.iter().map(|id| self.view(id));
        let views = views.map(|view| serde_json::to_value(view).unwrap());
        Ok(Value::Array(views.collect()))
    }

    fn sort(&self, found: &mut [&String], order: &str) {
        let (by, is_descending) = match order.strip_suffix(":desc") {
            Some(by) => (by, true),
            None => (order, false),
        };
        found.sort_by_cached_key(|id| {
            let one = &self.snapshots[*id];
            let number = match by {
                "created" => one.created_at,
                "size" => i64::try_from(one.facts.logical_bytes).unwrap(),
                "stored" => i64::try_from(one.facts.stored_bytes).unwrap(),
                "expires" => self.expires_at(id),
                _ => i64::from(self.first_name(id).is_none()),
            };
            let name = match by {
                "name" => self.first_name(id).unwrap_or_default(),
                _ => String::new(),
            };
            (number, name, (*id).clone())
        });
        if is_descending {
            found.reverse();
        }
    }

    /// The last time there is when it does not expire.
    fn expires_at(&self, id: &str) -> i64 {
        let expiry = self.expiry(id).filter(|_| !self.snapshots[id].is_pinned);
        expiry.map_or(i64::MAX, |(at, _)| at)
    }

    fn first_name(&self, id: &str) -> Option<String> {
        let view = self.view(id);
        view.names.into_iter().chain(view.versions).next()
    }

    /// Of several filters of one kind that ask for a word one must hold, of all others each.
    fn passes(&self, id: &str, filters: &[String]) -> Result<bool, Refusal> {
        let view = self.view(id);
        let mut words: BTreeMap<&str, bool> = BTreeMap::new();
        let mut holds_all = true;
        for filter in filters {
            let Some(at) = filter.find(['=', '<', '>']) else {
                return Err((ErrorCode::Usage, "invalid-filter"));
            };
            let (kind, value) = (&filter[..at], &filter[at + 1..]);
            let holds = match &filter[at..=at] {
                "=" => has_word(&view, kind, value),
                ">" => self.measure(id, kind) > number(value),
                _ => self.measure(id, kind) < number(value),
            };
            match KINDS_OF_WHICH_ONE_HOLDS.contains(&kind) {
                true => *words.entry(kind).or_default() |= holds,
                false => holds_all &= holds,
            }
        }
        Ok(holds_all && words.values().all(|holds| *holds))
    }

    fn measure(&self, id: &str, kind: &str) -> i64 {
        let one = &self.snapshots[id];
        match kind {
            "created" => self.now - one.created_at,
            "expires" => match self.expires_at(id) {
                i64::MAX => i64::MAX,
                at => at - self.now,
            },
            "size" => i64::try_from(one.facts.logical_bytes).unwrap(),
            _ => i64::try_from(one.facts.stored_bytes).unwrap(),
        }
    }
}

fn has_word(view: &SnapshotView, kind: &str, value: &str) -> bool {
    let state = match view.state {
        SnapshotState::Creating => "creating",
        SnapshotState::Active => "active",
        SnapshotState::Failed => "failed",
        SnapshotState::Deleting => "deleting",
    };
    match kind {
        "state" => state == value,
        "pinned" => view.pinned == (value == "true"),
        "label" => match value.split_once('=') {
            Some((key, value)) => view.labels.get(key).is_some_and(|found| found == value),
            None => view.labels.contains_key(value),
        },
        "container" => view.is_container && is_like(value, &view.source),
        "path" => !view.is_container && is_like(value, &view.source),
        "source" => is_like(value, &view.source),
        "image" => view
            .image
            .as_ref()
            .is_some_and(|found| is_like(value, found)),
        "name" => {
            let mut names = view.names.iter().chain(&view.versions);
            names.any(|name| {
                let bare = name.split(':').next().unwrap();
                is_like(value, bare) || is_like(value, name)
            })
        }
        _ => false,
    }
}

/// The numbers that are asked for in this test.
fn number(text: &str) -> i64 {
    match text {
        "1h" => 3600,
        "1h 30m" => 5400,
        "2days" => 2 * 86_400,
        "10days" => 10 * 86_400,
        "2K" => 2048,
        _ => text.parse().unwrap(),
    }
}

/// `*` stands for any letters, `?` for one.
fn is_like(glob: &str, text: &str) -> bool {
    match (glob.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let is_like_rest = is_like(&glob[1..], text);
            is_like_rest || (!text.is_empty() && is_like(glob, &text[1..]))
        }
        (Some('?'), Some(_)) => is_like(&glob[1..], &text[1..]),
        (Some(one), Some(other)) if one == other => is_like(&glob[1..], &text[1..]),
        _ => false,
    }
}
