//! A catalogue that is made anew from the manifests.

use snap_api::{MoveCause, SnapshotState};

use super::Plain;

/// Nobody loses a snapshot to a time to live that was made longer and is forgotten.
const GRACE_SECONDS: i64 = 7 * 86_400;

impl Plain {
    /// What the manifests hold is active again, as it was made; nothing else is known.
    pub(super) fn rebuild(&mut self) {
        let holds = |state| matches!(state, SnapshotState::Active | SnapshotState::Deleting);
        self.snapshots.retain(|_, one| holds(one.state));
        self.lines.clear();
        self.policies.clear();
        self.users.clear();
        self.autos.clear();
        self.last_look = (self.now, self.passed);
        for one in self.snapshots.values_mut() {
            let (labels, expires_at) = one.at_birth.clone();
            let earliest = self.now + GRACE_SECONDS;
            one.state = SnapshotState::Active;
            one.labels = labels;
            one.expires_at = expires_at.map(|at| at.max(earliest));
            one.unused_seconds = None;
            one.unused_since = None;
            one.last_used_at = None;
            one.is_pinned = false;
            one.trash = None;
        }
        let born = |(id, one): (&String, &super::Snapshot)| (one.created_at, id.clone());
        let mut ids: Vec<_> = self.snapshots.iter().map(born).collect();
        ids.sort();
        for (created_at, id) in ids {
            self.name_as_born(&id, created_at);
        }
    }

    /// The version it was made as, and the name unless one with a greater number has it.
    fn name_as_born(&mut self, id: &str, created_at: i64) {
        let one = &self.snapshots[id];
        let (Some(text), Some(number)) = (&one.wanted_name, one.number) else {
            return;
        };
        let (name, tag) = Self::name(text).unwrap();
        let namespace = one.namespace.clone();
        let key = (namespace.clone(), name.clone());
        let line = self.lines.entry(key).or_default();
        line.versions.insert(number, id.to_owned());
        line.last = line.last.max(number);
        let is_older = |held: &str| {
            let theirs = line.versions.iter().find(|(_, of)| *of == held);
            theirs.is_none_or(|(theirs, _)| *theirs < number)
        };
        let takes = |tag: &str| line.tags.get(tag).is_none_or(|(held, _)| is_older(held));
        let (takes_tag, takes_latest) = (takes(&tag), takes("latest"));
        if tag != "latest" && takes_tag {
            line.tags.insert(tag, (id.to_owned(), false));
        }
        if takes_latest {
            let now = std::mem::replace(&mut self.now, created_at);
            self.move_latest(&namespace, &name, MoveCause::Create, Some(id));
            self.now = now;
        }
    }
}
