//! Names, versions, pins and where `latest` goes.

use serde_json::{Value, json};
use snap_api::{
    ErrorCode, MoveCause, MoveView, PinRequest, RollbackRequest, SnapshotState, TagRequest,
    VersionView,
};

use super::{Answer, Line, Plain, Refusal, end};
use crate::clock::rfc3339;

/// Moves of a name that are kept.
const KEPT_MOVES: usize = 100;

impl Plain {
    pub(super) fn namespace(text: &str) -> Result<String, Refusal> {
        match text.contains('/') {
            true => Err((ErrorCode::Usage, "invalid-namespace")),
            false => Ok(text.to_owned()),
        }
    }

    /// A name and a tag, `latest` unless it is given.
    pub(super) fn name(text: &str) -> Result<(String, String), Refusal> {
        let (name, tag) = text.split_once(':').unwrap_or((text, "latest"));
        if name.is_empty() || name.contains(char::is_uppercase) {
            return Err((ErrorCode::Usage, "invalid-snapshot-name"));
        }
        if tag.is_empty() {
            return Err((ErrorCode::Usage, "invalid-tag"));
        }
        Ok((name.to_owned(), tag.to_owned()))
    }

    /// One that may be given: a tag of digits alone may not.
    pub(super) fn new_name(text: &str) -> Result<(String, String), Refusal> {
        let (name, tag) = Self::name(text)?;
        match is_number(&tag) {
            true => Err((ErrorCode::Usage, "invalid-tag")),
            false => Ok((name, tag)),
        }
    }

    /// What can be meant by them.
    pub(super) fn references(texts: &[String]) -> Result<Vec<String>, Refusal> {
        if texts.is_empty() {
            return Err((ErrorCode::Usage, "invalid-references"));
        }
        for text in texts {
            Self::reference(text)?;
        }
        Ok(texts.to_vec())
    }

    fn reference(text: &str) -> Result<(), Refusal> {
        match is_id(text) {
            true => Ok(()),
            false => Self::name(text).map(drop),
        }
    }

    /// What somebody means: an id, then a name, then a version, then the beginning of an id.
    pub(super) fn resolve(&self, namespace: &str, text: &str) -> Result<String, Refusal> {
        Self::reference(text)?;
        let found = match is_id(text) {
            true => self.alike(namespace, text, false),
            false => match self.named(namespace, text) {
                Some(id) => vec![id],
                None if is_beginning(text) => self.alike(namespace, text, false),
                None => Vec::new(),
            },
        };
        match found.len() {
            0 => Err(self.why_not(namespace, text)),
            1 => Ok(found[0].clone()),
            _ => Err((ErrorCode::Usage, "ambiguous")),
        }
    }

    /// The same of what is whole.
    pub(super) fn active(&self, namespace: &str, text: &str) -> Result<String, Refusal> {
        let id = self.resolve(namespace, text)?;
        match self.snapshots[&id].state {
            SnapshotState::Active => Ok(id),
            _ => Err((ErrorCode::Conflict, "not-active")),
        }
    }

    /// Snapshots of a namespace whose ids begin so.
    pub(super) fn alike(&self, namespace: &str, beginning: &str, is_in_trash: bool) -> Vec<String> {
        let alike = self.snapshots.iter().filter(|(id, one)| {
            let is_there = one.trash.is_some() == is_in_trash;
            is_there && one.namespace == namespace && id.starts_with(beginning)
        });
        alike.map(|(id, _)| id.clone()).collect()
    }

    fn named(&self, namespace: &str, text: &str) -> Option<String> {
        let (name, tag) = Self::name(text).ok()?;
        let line = self.lines.get(&(namespace.to_owned(), name))?;
        if let Some((id, _)) = line.tags.get(&tag) {
            return Some(id.clone());
        }
        let number: u64 = tag.parse().ok()?;
        line.versions.get(&number).cloned()
    }

    fn why_not(&self, namespace: &str, text: &str) -> Refusal {
        if !self.trashed_alike(namespace, text).is_empty() {
            return (ErrorCode::NotFound, "in-trash");
        }
        let missing = (ErrorCode::NotFound, "snapshot-not-found");
        if is_id(text) {
            return missing;
        }
        let Ok((name, tag)) = Self::name(text) else {
            return missing;
        };
        match self.lines.get(&(namespace.to_owned(), name)) {
            Some(line) if is_number(&tag) && line.last > 0 => {
                (ErrorCode::NotFound, "version-not-found")
            }
            Some(line) if tag == "latest" && !line.moves.is_empty() => {
                (ErrorCode::NotFound, "latest-gone")
            }
            _ => missing,
        }
    }

    /// A name that there is or was, without a tag.
    pub(super) fn known(&self, namespace: &str, name: &str) -> Result<&Line, Refusal> {
        let line = self.lines.get(&(namespace.to_owned(), name.to_owned()));
        let is_known =
            |line: &&Line| line.last > 0 || !line.tags.is_empty() || !line.moves.is_empty();
        line.filter(is_known)
            .ok_or((ErrorCode::NotFound, "name-not-found"))
    }

    pub(super) fn names_of(&self, id: &str) -> Vec<(String, String)> {
        self.tags_of(id, |_| true)
    }

    pub(super) fn immutable_of(&self, id: &str) -> Vec<(String, String)> {
        self.tags_of(id, |is_immutable| is_immutable)
    }

    fn tags_of(&self, id: &str, is_wanted: impl Fn(bool) -> bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for ((_, name), line) in &self.lines {
            for (tag, (of, is_immutable)) in &line.tags {
                if of == id && is_wanted(*is_immutable) {
                    found.push((name.clone(), tag.clone()));
                }
            }
        }
        found
    }

    pub(super) fn versions_of(&self, id: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for ((_, name), line) in &self.lines {
            let of_it = line.versions.iter().filter(|(_, of)| *of == id);
            found.extend(of_it.map(|(number, _)| (name.clone(), *number)));
        }
        found
    }

    /// Moves `latest` and notes it; nothing when it is there already.
    pub(super) fn move_latest(
        &mut self,
        namespace: &str,
        name: &str,
        cause: MoveCause,
        to: Option<&str>,
    ) {
        let key = (namespace.to_owned(), name.to_owned());
        let line = self.lines.entry(key).or_default();
        let from = line.tags.get("latest").map(|(id, _)| id.clone());
        if from.as_deref() == to {
            return;
        }
        line.moves.push(MoveView {
            moved_at: rfc3339(self.now),
            cause,
            from: from.map(|id| end(line, &id)),
            to: to.map(|id| end(line, id)),
        });
        if line.moves.len() > KEPT_MOVES {
            line.moves.remove(0);
        }
        match to {
            Some(id) => line
                .tags
                .insert("latest".to_owned(), (id.to_owned(), false)),
            None => line.tags.remove("latest"),
        };
    }

    /// Takes every name and version of a snapshot.
    pub(super) fn unname(&mut self, id: &str) {
        let namespace = self.snapshots[id].namespace.clone();
        for (name, tag) in self.names_of(id) {
            if tag == "latest" {
                self.move_latest(&namespace, &name, MoveCause::Removal, None);
            }
        }
        for line in self.lines.values_mut() {
            line.tags.retain(|_, (of, _)| of != id);
            line.versions.retain(|_, of| of != id);
        }
    }

    pub(super) fn tag(&mut self, request: &TagRequest) -> Answer {
        let texts = std::iter::once(&request.name).chain(&request.more);
        let names: Result<Vec<_>, _> = texts.map(|text| Self::new_name(text)).collect();
        let names = names?;
        let namespace = Self::namespace(&request.namespace)?;
        let id = self.active(&namespace, &request.reference)?;
        for (name, tag) in &names {
            let line = self.lines.get(&(namespace.clone(), name.clone()));
            let held = line.and_then(|line| line.tags.get(tag));
            if held.is_some_and(|(of, is_immutable)| *is_immutable && *of != id) {
                return Err((ErrorCode::Conflict, "immutable-tag"));
            }
            if request.immutable && tag == "latest" {
                return Err((ErrorCode::Usage, "invalid-tag"));
            }
        }
        for (name, tag) in names {
            if tag == "latest" {
                self.move_latest(&namespace, &name, MoveCause::Tag, Some(&id));
                continue;
            }
            let line = self.lines.entry((namespace.clone(), name)).or_default();
            let was_immutable = line.tags.get(&tag).is_some_and(|(_, is)| *is);
            let is_immutable = was_immutable || request.immutable;
            line.tags.insert(tag, (id.clone(), is_immutable));
        }
        self.shown(&id)
    }

    pub(super) fn untag(&mut self, request: &TagRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let (name, tag) = Self::name(&request.name)?;
        let Some(line) = self.lines.get_mut(&(namespace.clone(), name.clone())) else {
            return Err((ErrorCode::NotFound, "name-not-found"));
        };
        let Some((id, is_immutable)) = line.tags.get(&tag).cloned() else {
            let number: Option<u64> = tag.parse().ok();
            let is_version = number.is_some_and(|number| line.versions.contains_key(&number));
            return Err(match is_version {
                true => (ErrorCode::Usage, "invalid-tag"),
                false => (ErrorCode::NotFound, "name-not-found"),
            });
        };
        if is_immutable && !request.force {
            return Err((ErrorCode::Conflict, "immutable-tag"));
        }
        match tag == "latest" {
            true => self.move_latest(&namespace, &name, MoveCause::Untag, None),
            false => drop(line.tags.remove(&tag)),
        }
        self.shown(&id)
    }

    pub(super) fn pin(&mut self, request: &PinRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let id = match request.remove {
            true => self.resolve(&namespace, &request.reference)?,
            false => self.active(&namespace, &request.reference)?,
        };
        self.snapshots.get_mut(&id).unwrap().is_pinned = !request.remove;
        self.shown(&id)
    }

    pub(super) fn rollback(&mut self, request: &RollbackRequest) -> Answer {
        let namespace = Self::namespace(&request.namespace)?;
        let (name, cause) = (&request.name, MoveCause::Rollback);
        let cause = match request.undo {
            true if request.version.is_some() => {
                return Err((ErrorCode::Usage, "invalid-rollback"));
            }
            true => MoveCause::Undo,
            false => cause,
        };
        let line = self.known(&namespace, name)?;
        let from = line.tags.get("latest").map(|(id, _)| end(line, id));
        let target = match (request.version, request.undo) {
            (Some(version), _) => self.version(line, version)?,
            (None, true) => self.before_rollback(line)?,
            (None, false) => self.older(line)?,
        };
        let to = end(line, &target);
        let moved = from.as_ref() != Some(&to);
        self.move_latest(&namespace, name, cause, Some(&target));
        let mut answer = json!({ "name": format!("{name}:latest"), "to": to, "moved": moved });
        if let Some(from) = from {
            answer["from"] = serde_json::to_value(from).unwrap();
        }
        Ok(answer)
    }

    fn is_active(&self, id: &str) -> bool {
        let found = self.snapshots.get(id);
        found.is_some_and(|one| one.state == SnapshotState::Active)
    }

    fn version(&self, line: &Line, number: u64) -> Result<String, Refusal> {
        match line.versions.get(&number) {
            None => Err((ErrorCode::NotFound, "version-not-found")),
            Some(id) if self.is_active(id) => Ok(id.clone()),
            Some(_) => Err((ErrorCode::Conflict, "not-active")),
        }
    }

    /// The greatest active version below the one `latest` points to, or pointed to last.
    fn older(&self, line: &Line) -> Result<String, Refusal> {
        let current = match line.tags.get("latest") {
            Some((id, _)) => end(line, id).version,
            None => line
                .moves
                .last()
                .and_then(|last| last.from.as_ref())
                .and_then(|from| from.version),
        };
        let mut below = line.versions.iter().rev();
        let found = below.find(|(number, id)| {
            current.is_none_or(|current| **number < current) && self.is_active(id)
        });
        let none = (ErrorCode::Conflict, "no-older-version");
        found.map(|(_, id)| id.clone()).ok_or(none)
    }

    /// Where `latest` was before the last rollback that was not undone; a create or a tag since makes that a conflict.
    fn before_rollback(&self, line: &Line) -> Result<String, Refusal> {
        let conflict = (ErrorCode::Conflict, "nothing-to-undo");
        let mut rollbacks: Vec<(Option<String>, bool)> = Vec::new();
        for one in &line.moves {
            match one.cause {
                MoveCause::Rollback => {
                    let from = one.from.as_ref().map(|from| from.snapshot.clone());
                    rollbacks.push((from, true));
                }
                MoveCause::Undo => drop(rollbacks.pop()),
                MoveCause::Create | MoveCause::Tag => {
                    let all = rollbacks.iter_mut();
                    all.for_each(|(_, can_be_undone)| *can_be_undone = false);
                }
                MoveCause::Untag | MoveCause::Removal => {}
            }
        }
        match rollbacks.pop() {
            Some((Some(id), true)) if self.is_active(&id) => Ok(id),
            _ => Err(conflict),
        }
    }

    pub(in super::super) fn history(&self, namespace: &str, name: &str) -> Answer {
        let namespace = Self::namespace(namespace)?;
        let line = self.known(&namespace, name)?;
        let latest = line.tags.get("latest").map(|(id, _)| id);
        let version = |(number, id): (&u64, &String)| VersionView {
            version: *number,
            current: latest == Some(id),
            tags: line
                .tags
                .iter()
                .filter(|(_, (of, _))| of == id)
                .map(|(tag, _)| tag.clone())
                .collect(),
            snapshot: self.view(id),
        };
        let versions: Vec<_> = line.versions.iter().rev().map(version).collect();
        Ok(serde_json::to_value(versions).unwrap())
    }

    pub(in super::super) fn moves(&self, namespace: &str, name: &str) -> Answer {
        let namespace = Self::namespace(namespace)?;
        let line = self.known(&namespace, name)?;
        let moves: Vec<&MoveView> = line.moves.iter().rev().collect();
        Ok(Value::Array(
            moves
                .into_iter()
                .map(|one| serde_json::to_value(one).unwrap())
                .collect(),
        ))
    }
}

pub(super) fn is_number(tag: &str) -> bool {
    tag.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && is_hexadecimal(text)
}

/// Four digits are enough.
pub(super) fn is_beginning(text: &str) -> bool {
    (4..32).contains(&text.len()) && is_hexadecimal(text)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
