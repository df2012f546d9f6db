//! From a create to the end: times to live, labels, uses, removal, and what the daemon does by itself.

use serde_json::{Value, json};
use snap_api::{
    ErrorCode, LabelRequest, MoveCause, RemoveRequest, SnapshotState, TrashCause, Ttl, TtlRequest,
};

use super::{
    super::calls::{Creation, Ending},
    Answer, CENTURY, Facts, Plain, Refusal, Snapshot, User,
};
use crate::clock::rfc3339;

/// A clock that is set by more than this against the time that has passed was set.
const UNNOTICED_SECONDS: i64 = 30 * 60;

impl Plain {
    pub(super) fn create(&mut self, creation: &Creation, facts: Facts) -> Answer {
        let made = self.admitted(creation)?;
        self.snapshots.insert(creation.id.clone(), made);
        match creation.ending {
            Ending::Active => self.finish(&creation.id, facts),
            Ending::Failed => self.fail(&creation.id),
            Ending::Creating => Ok(Value::Null),
            Ending::Killed { is_whole } => {
                if is_whole {
                    self.activate(&creation.id, facts);
                }
                self.restart();
                Ok(Value::Null)
            }
        }
    }

    /// What has begun, when it may begin.
    fn admitted(&self, creation: &Creation) -> Result<Snapshot, Refusal> {
        let unused = match creation.unused_seconds {
            Some(seconds) => without_use(Ttl::Seconds(seconds))?,
            None => None,
        };
        let namespace = Self::namespace(&creation.namespace)?;
        let name = match &creation.name {
            Some(text) => Some(Self::new_name(text)?),
            None => None,
        };
        let ttl = match (creation.ttl, unused) {
            (Ttl::Default, Some(_)) => Ttl::Never,
            (ttl, _) => ttl,
        };
        let expires_at = self.lifetime(ttl)?;
        if let Some((name, tag)) = &name {
            let line = self.lines.get(&(namespace.clone(), name.clone()));
            let held = line.and_then(|line| line.tags.get(tag));
            if held.is_some_and(|(_, is_immutable)| *is_immutable) {
                return Err((ErrorCode::Conflict, "immutable-tag"));
            }
        }
        let (snapshots, bytes) = self.held(&namespace);
        let is_full = self.limits.stored_bytes > 0 && bytes >= self.limits.stored_bytes;
        if is_full || snapshots >= self.limits.snapshots {
            return Err((ErrorCode::Limit, "limit-exceeded"));
        }
        Ok(Snapshot {
            namespace,
            state: SnapshotState::Creating,
            created_at: self.now,
            expires_at,
            unused_seconds: unused,
            unused_since: None,
            last_used_at: None,
            is_pinned: false,
            labels: creation.labels.clone(),
            source: creation.source.clone(),
            facts: Facts::default(),
            wanted_name: creation.name.clone(),
            at_birth: (creation.labels.clone(), expires_at),
            number: None,
            content: creation.content,
            trash: None,
        })
    }

    pub(super) fn end_create(&mut self, id: &str, is_well: bool, facts: Facts) -> Answer {
        match is_well {
            true => self.finish(id, facts),
            false => self.fail(id),
        }
    }

    fn fail(&mut self, id: &str) -> Answer {
        self.snapshots.get_mut(id).unwrap().state = SnapshotState::Failed;
        Ok(Value::Null)
    }

    /// The end of a create that goes well, if there is room for what it stores.
    fn finish(&mut self, id: &str, facts: Facts) -> Answer {
        let namespace = self.snapshots[id].namespace.clone();
        let (_, bytes) = self.held(&namespace);
        let limit = self.limits.stored_bytes;
        if limit > 0 && bytes + facts.stored_bytes > limit {
            drop(self.fail(id));
            return Err((ErrorCode::Limit, "limit-exceeded"));
        }
        self.activate(id, facts);
        // As it is answered: what its policy forgets is told beside it.
        let view = self.view(id);
        let forgotten = self.apply_policy_after_create(id);
        let (snapshots, bytes) = self.held(&namespace);
        let near = |held: u64, limit: u64| limit > 0 && held * 100 >= limit * 80;
        let warnings = u64::from(near(snapshots, self.limits.snapshots));
        let warnings = warnings + u64::from(near(bytes, limit));
        Ok(json!({ "snapshot": view, "forgotten": forgotten, "warnings": warnings }))
    }

    fn activate(&mut self, id: &str, facts: Facts) {
        let one = self.snapshots.get_mut(id).unwrap();
        one.state = SnapshotState::Active;
        one.created_at = self.now;
        one.facts = facts;
        let namespace = one.namespace.clone();
        let Some(text) = one.wanted_name.clone() else {
            return;
        };
        let (name, tag) = Self::new_name(&text).unwrap();
        let line = self.lines.entry((namespace.clone(), name.clone()));
        let line = line.or_default();
        line.last += 1;
        line.versions.insert(line.last, id.to_owned());
        one.number = Some(line.last);
        let is_kept = line.tags.get(&tag).is_some_and(|(_, kept)| *kept);
        if tag != "latest" && !is_kept {
            line.tags.insert(tag, (id.to_owned(), false));
        }
        self.move_latest(&namespace, &name, MoveCause::Create, Some(id));
    }

    pub(super) fn remove(&mut self, request: &RemoveRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let mut ids = Vec::new();
        for reference in Self::references(&request.references)? {
            let id = self.resolve(&namespace, &reference)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        for id in &ids {
            self.require_removable(id, request.force)?;
        }
        let grace = match request.permanent {
            true => 0,
            false => self.limits.grace,
        };
        let mut until = None;
        for id in &ids {
            if self.put_away(id, TrashCause::Remove, grace) {
                until = Some(rfc3339(self.now.saturating_add_unsigned(grace)));
            }
        }
        Ok(match until {
            Some(until) => json!({ "ids": ids, "in_trash_until": until }),
            None => json!({ "ids": ids }),
        })
    }

    /// What is pinned, in use, being made, or bears an immutable name stays.
    fn require_removable(&self, id: &str, force: bool) -> Result<(), Refusal> {
        let one = &self.snapshots[id];
        if one.state == SnapshotState::Creating || self.is_used(id) {
            return Err((ErrorCode::Conflict, "busy"));
        }
        if one.is_pinned {
            return Err((ErrorCode::Conflict, "pinned"));
        }
        if !force && !self.immutable_of(id).is_empty() {
            return Err((ErrorCode::Conflict, "immutable-tag"));
        }
        Ok(())
    }

    /// The regular look: what has expired goes, what was in the trash for long enough too, and policies are applied; unless the clock was set.
    pub(super) fn look(&mut self) {
        let was_set = self.clock_was_set();
        self.last_look = (self.now, self.passed);
        if was_set {
            let now = self.now;
            let trashed = self.snapshots.values_mut();
            for trashed in trashed.filter_map(|one| one.trash.as_mut()) {
                trashed.goes_at = now.saturating_add_unsigned(trashed.grace);
            }
            return;
        }
        let ids: Vec<String> = self.snapshots.keys().cloned().collect();
        for id in &ids {
            let is_there = self.snapshots[id].trash.is_none();
            let may_go = is_there && self.require_removable(id, false).is_ok();
            if may_go && self.has_expired(id) {
                self.put_away(id, TrashCause::Expire, self.limits.grace);
            }
        }
        self.let_trash_go();
        self.apply_policies();
    }

    pub(super) fn clock_was_set(&self) -> bool {
        let expected = self.last_look.0 + (self.passed - self.last_look.1);
        (self.now - expected).abs() > UNNOTICED_SECONDS
    }

    /// The daemon ends and starts again, and nothing is mounted then.
    pub(super) fn restart(&mut self) {
        self.last_look = (self.now, self.passed);
        for one in self.snapshots.values_mut() {
            if one.state == SnapshotState::Creating {
                one.state = SnapshotState::Failed;
            }
        }
        let folders: Vec<User> = self.users.keys().cloned().collect();
        for folder in folders {
            if matches!(folder, User::Folder(_)) {
                drop(self.release(&folder));
            }
        }
    }

    pub(super) fn set_ttl(&mut self, request: &TtlRequest) -> Answer {
        if request.ttl.is_none() && request.unused.is_none() {
            return Err((ErrorCode::Usage, "invalid-ttl"));
        }
        let expires_at = match request.ttl {
            Some(ttl) => Some(self.lifetime(ttl)?),
            None => None,
        };
        let unused = match request.unused {
            Some(unused) => Some(without_use(unused)?),
            None => None,
        };
        let namespace = Self::namespace(&request.namespace)?;
        let id = self.resolve(&namespace, &request.reference)?;
        let now = self.now;
        let one = self.snapshots.get_mut(&id).unwrap();
        if let Some(expires_at) = expires_at {
            one.expires_at = expires_at;
        }
        if let Some(unused) = unused {
            one.unused_seconds = unused;
            one.unused_since = Some(now);
        }
        self.shown(&id)
    }

    fn lifetime(&self, ttl: Ttl) -> Result<Option<i64>, Refusal> {
        let seconds = match ttl {
            Ttl::Never => None,
            Ttl::Default => self.limits.default_ttl,
            Ttl::Seconds(seconds) if (1..=CENTURY).contains(&seconds) => Some(seconds),
            Ttl::Seconds(_) => return Err((ErrorCode::Usage, "invalid-ttl")),
        };
        Ok(seconds.map(|seconds| self.now.saturating_add_unsigned(seconds)))
    }

    pub(super) fn set_labels(&mut self, request: &LabelRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let id = self.resolve(&namespace, &request.reference)?;
        if request.set.contains_key("") {
            return Err((ErrorCode::Usage, "invalid-labels"));
        }
        let labels = &mut self.snapshots.get_mut(&id).unwrap().labels;
        labels.retain(|key, _| !request.remove.contains(key));
        labels.extend(request.set.clone());
        self.shown(&id)
    }

    pub(super) fn begin_use(
        &mut self,
        user: &User,
        namespace: &str,
        reference: &str,
        from_trash: bool,
    ) -> Answer {
        let namespace = Self::namespace(namespace)?;
        let id = match from_trash {
            true => self.resolve_trashed(&namespace, reference)?,
            false => self.active(&namespace, reference)?,
        };
        if self.users.contains_key(user) {
            return Err(match user {
                User::Container(..) => (ErrorCode::Conflict, "container-exists"),
                User::Folder(_) => (ErrorCode::Conflict, "mount-at-exists"),
            });
        }
        self.users.insert(user.clone(), id.clone());
        self.touch(&id);
        Ok(Value::Null)
    }

    pub(super) fn release(&mut self, user: &User) -> Answer {
        let Some(id) = self.users.remove(user) else {
            return Err(match user {
                User::Container(..) => (ErrorCode::NotFound, "restored-container-not-found"),
                User::Folder(_) => (ErrorCode::NotFound, "mount-at-not-found"),
            });
        };
        self.touch(&id);
        Ok(Value::Null)
    }

    /// A use; a clock that went back makes none older.
    fn touch(&mut self, id: &str) {
        let now = self.now;
        let used = &mut self.snapshots.get_mut(id).unwrap().last_used_at;
        *used = Some(used.map_or(now, |before| before.max(now)));
    }
}

/// How long something may go without a use.
fn without_use(ttl: Ttl) -> Result<Option<u64>, Refusal> {
    match ttl {
        Ttl::Never => Ok(None),
        Ttl::Seconds(seconds) if (1..=CENTURY).contains(&seconds) => Ok(Some(seconds)),
        Ttl::Seconds(_) | Ttl::Default => Err((ErrorCode::Usage, "invalid-ttl")),
    }
}
