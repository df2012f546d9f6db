//! The trash.

use serde_json::json;
use snap_api::{
    ErrorCode, ListRequest, MoveCause, SnapshotState, TrashCause, TrashEmptyRequest, TrashView,
    UndeleteRequest, UndeletedView,
};

use super::{
    Answer, Plain, Refusal, Trashed,
    naming::{is_beginning, is_id},
};
use crate::clock::rfc3339;

impl Plain {
    /// Lets a snapshot go, to the trash when it holds anything and there is one. Returns whether it is there now.
    pub(super) fn put_away(&mut self, id: &str, cause: TrashCause, grace: u64) -> bool {
        if grace == 0 || self.snapshots[id].state != SnapshotState::Active {
            self.unname(id);
            self.snapshots.remove(id);
            return false;
        }
        let trashed = Trashed {
            cause,
            at: self.now,
            goes_at: self.now.saturating_add_unsigned(grace),
            grace,
            names: self.names_of(id),
            immutable: self.immutable_of(id),
            versions: self.versions_of(id),
        };
        self.unname(id);
        let one = self.snapshots.get_mut(id).unwrap();
        one.state = SnapshotState::Deleting;
        one.trash = Some(trashed);
        true
    }

    /// What was there for long enough and is not used goes.
    pub(super) fn let_trash_go(&mut self) {
        let ids: Vec<String> = self.snapshots.keys().cloned().collect();
        for id in ids {
            let trashed = &self.snapshots[&id].trash;
            let is_due = trashed.as_ref().is_some_and(|one| one.goes_at <= self.now);
            if is_due && !self.is_used(&id) {
                self.snapshots.remove(&id);
            }
        }
    }

    /// What may be meant of the trash: by its id or the beginning of it, or by a name or version that it had.
    pub(super) fn trashed_alike(&self, namespace: &str, text: &str) -> Vec<String> {
        if is_id(text) {
            return self.alike(namespace, text, true);
        }
        let Ok((name, tag)) = Self::name(text) else {
            return Vec::new();
        };
        let wanted = (name.clone(), tag.clone());
        let number = tag.parse().map_or(u64::MAX, |number| number);
        let is_called = |trashed: &Trashed| {
            trashed.names.contains(&wanted) || trashed.versions.contains(&(name.clone(), number))
        };
        let called = self.snapshots.iter().filter(|(_, one)| {
            one.namespace == namespace && one.trash.as_ref().is_some_and(is_called)
        });
        let called: Vec<String> = called.map(|(id, _)| id.clone()).collect();
        match called.is_empty() && is_beginning(text) {
            true => self.alike(namespace, text, true),
            false => called,
        }
    }

    pub(super) fn resolve_trashed(&self, namespace: &str, text: &str) -> Result<String, Refusal> {
        Self::references(&[text.to_owned()])?;
        let found = self.trashed_alike(namespace, text);
        match found.len() {
            0 => Err((ErrorCode::NotFound, "snapshot-in-the-trash-not-found")),
            1 => Ok(found[0].clone()),
            _ => Err((ErrorCode::Usage, "ambiguous")),
        }
    }

    fn all_trashed(&self, namespace: &str, texts: &[String]) -> Result<Vec<String>, Refusal> {
        let mut ids = Vec::new();
        for text in Self::references(texts)? {
            let id = self.resolve_trashed(namespace, &text)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    pub(super) fn undelete(&mut self, request: &UndeleteRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let ids = self.all_trashed(&namespace, &request.references)?;
        let (snapshots, _) = self.held(&namespace);
        let more = u64::try_from(ids.len()).unwrap();
        if snapshots + more > self.limits.snapshots {
            return Err((ErrorCode::Limit, "limit-exceeded"));
        }
        let back: Vec<_> = ids.iter().map(|id| self.take_back(id)).collect();
        Ok(json!({ "snapshots": back }))
    }

    fn take_back(&mut self, id: &str) -> UndeletedView {
        let (now, default_ttl) = (self.now, self.limits.default_ttl);
        let one = self.snapshots.get_mut(id).unwrap();
        let was = one.trash.take().unwrap();
        one.state = SnapshotState::Active;
        let ttl_renewed = one.expires_at.is_some_and(|at| at <= now);
        if ttl_renewed {
            one.expires_at = default_ttl.map(|ttl| now.saturating_add_unsigned(ttl));
        }
        if one.unused_seconds.is_some() {
            one.unused_since = Some(now);
        }
        let namespace = one.namespace.clone();
        for (name, number) in &was.versions {
            let line = self.lines.get_mut(&(namespace.clone(), name.clone()));
            line.unwrap().versions.insert(*number, id.to_owned());
        }
        let mut lost = Vec::new();
        for (name, tag) in was.names {
            let is_immutable = was.immutable.contains(&(name.clone(), tag.clone()));
            if !self.name_again(id, &name, &tag, is_immutable) {
                lost.push(format!("{name}:{tag}"));
            }
        }
        UndeletedView {
            snapshot: self.view(id),
            lost,
            ttl_renewed,
        }
    }

    /// Gives a name back that is nobody's; `latest` only when nothing has moved it since.
    fn name_again(&mut self, id: &str, name: &str, tag: &str, is_immutable: bool) -> bool {
        let key = (self.snapshots[id].namespace.clone(), name.to_owned());
        let line = self.lines.entry(key).or_default();
        if line.tags.contains_key(tag) {
            return false;
        }
        if tag == "latest" {
            let is_undone = line.moves.last().is_some_and(|last| {
                let from = last.from.as_ref();
                last.cause == MoveCause::Removal && from.is_some_and(|from| from.snapshot == id)
            });
            if !is_undone {
                return false;
            }
            line.moves.pop();
        }
        line.tags
            .insert(tag.to_owned(), (id.to_owned(), is_immutable));
        true
    }

    pub(super) fn empty_trash(&mut self, request: &TrashEmptyRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let (mut ids, mut in_use) = (Vec::new(), Vec::new());
        if request.references.is_empty() {
            for view in self.trash_of(Some(&namespace)) {
                match view.snapshot.in_use {
                    true => in_use.push(view.snapshot.id),
                    false => ids.push(view.snapshot.id),
                }
            }
        } else {
            ids = self.all_trashed(&namespace, &request.references)?;
            if ids.iter().any(|id| self.is_used(id)) {
                return Err((ErrorCode::Conflict, "busy"));
            }
        }
        ids.sort();
        let gone: Vec<_> = ids.iter().map(|id| self.snapshots.remove(id)).collect();
        let bytes = gone.iter().flatten().map(|one| one.facts.stored_bytes);
        let stored_bytes: u64 = bytes.sum();
        Ok(json!({ "ids": ids, "stored_bytes": stored_bytes, "in_use": in_use }))
    }

    /// By when it goes.
    pub(in super::super) fn trash_of(&self, namespace: Option<&str>) -> Vec<TrashView> {
        let of_it = self.snapshots.iter().filter_map(|(id, one)| {
            let is_of_it = namespace.is_none_or(|wanted| one.namespace == wanted);
            let trashed = one.trash.as_ref().filter(|_| is_of_it)?;
            Some((trashed.goes_at, id, trashed))
        });
        let mut found: Vec<_> = of_it.collect();
        found.sort_by_key(|(goes_at, id, _)| (*goes_at, *id));
        let view = |(_, id, trashed): (i64, &String, &Trashed)| TrashView {
            snapshot: self.view(id),
            cause: trashed.cause,
            trashed_at: rfc3339(trashed.at),
            goes_at: rfc3339(trashed.goes_at),
        };
        found.into_iter().map(view).collect()
    }

    pub(super) fn list_trash(&self, request: &ListRequest) -> Answer {
        if let Some(namespace) = &request.namespace {
            Self::namespace(namespace)?;
        }
        let found = self.trash_of(request.namespace.as_deref());
        Ok(serde_json::to_value(found).unwrap())
    }
}
