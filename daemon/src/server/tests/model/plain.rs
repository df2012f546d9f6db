//! The plain model: what docs/semantics.md, docs/operations.md and docs/configuration.md promise, written down the obvious way.
//!
//! It shares no code with the product but the types of the answers and the printing of times.

mod autos;
mod keeping;
mod life;
mod listing;
mod naming;
mod rebuild;
mod trash;

use std::collections::BTreeMap;

use serde_json::Value;
use snap_api::{
    ErrorCode, ExpiryCause, KeepRules, MoveEnd, MoveView, SnapshotState, SnapshotView, TrashCause,
};

use self::autos::Auto;
use super::calls::Call;
use crate::clock::rfc3339;

/// Code and reason of a refusal.
pub(super) type Refusal = (ErrorCode, &'static str);
pub(super) type Answer = Result<Value, Refusal>;

const CENTURY: u64 = 100 * 365 * 86_400;

/// What the daemon is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) snapshots: u64,
    /// 0 for no limit.
    pub(super) stored_bytes: u64,
    /// How long something stays in the trash, in seconds; 0 when there is none.
    pub(super) grace: u64,
    pub(super) default_ttl: Option<u64>,
}

/// What a capture came to; only whoever made it knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) nodes: u64,
    pub(super) logical_bytes: u64,
    pub(super) stored_bytes: u64,
}

/// What only whoever did a step knows of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    pub(super) facts: Facts,
    /// Snapshots that were made by the calendar: their namespace and id.
    pub(super) made: Vec<(String, String, Facts)>,
}

#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) namespace: String,
    pub(super) state: SnapshotState,
    pub(super) created_at: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) unused_seconds: Option<u64>,
    pub(super) unused_since: Option<i64>,
    pub(super) last_used_at: Option<i64>,
    pub(super) is_pinned: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) source: String,
    pub(super) facts: Facts,
    /// What it was asked to be called.
    pub(super) wanted_name: Option<String>,
    /// What its manifest says of its labels and its end, which stays when they are changed.
    at_birth: (BTreeMap<String, String>, Option<i64>),
    /// Which version of its name it was made as.
    number: Option<u64>,
    /// What it holds.
    pub(super) content: usize,
    pub(super) trash: Option<Trashed>,
}

/// What the trash knows of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Trashed {
    pub(super) cause: TrashCause,
    pub(super) at: i64,
    pub(super) goes_at: i64,
    pub(super) grace: u64,
    pub(super) names: Vec<(String, String)>,
    pub(super) immutable: Vec<(String, String)>,
    pub(super) versions: Vec<(String, u64)>,
}

/// A name of a namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The greatest number it has given.
    pub(super) last: u64,
    pub(super) versions: BTreeMap<u64, String>,
    /// What each tag points to, and whether it is immutable.
    pub(super) tags: BTreeMap<String, (String, bool)>,
    /// Of `latest`, the newest last.
    pub(super) moves: Vec<MoveView>,
}

/// Who uses a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    Container(String, String),
    /// One of the folders of the test.
    Folder(usize),
}

#[derive(Debug)]
pub(super) struct Plain {
    pub(super) limits: Limits,
    /// What the wall clock says, in seconds since 1970.
    pub(super) now: i64,
    /// Seconds that have passed.
    pub(super) passed: i64,
    /// Both at the last regular look.
    pub(super) last_look: (i64, i64),
    /// By their ids.
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    /// By namespace and name.
    pub(super) lines: BTreeMap<(String, String), Line>,
    pub(super) policies: BTreeMap<(String, String), KeepRules>,
    pub(super) users: BTreeMap<User, String>,
    autos: BTreeMap<(String, String), Auto>,
}

impl Plain {
    pub(super) fn new(limits: Limits, now: i64) -> Self {
        Self {
            limits,
            now,
            passed: 0,
            last_look: (now, 0),
            snapshots: BTreeMap::new(),
            lines: BTreeMap::new(),
            policies: BTreeMap::new(),
            users: BTreeMap::new(),
            autos: BTreeMap::new(),
        }
    }

    /// Does a step and says what must be answered.
    pub(super) fn answer(&mut self, call: &Call, noted: &Noted) -> Answer {
        let facts = noted.facts;
        match call {
            Call::Create(creation) => self.create(creation, facts),
            Call::EndCreate(id, is_well) => self.end_create(id, *is_well, facts),
            Call::Remove(request) => self.remove(request),
            Call::Ttl(request) => self.set_ttl(request),
            Call::Label(request) => self.set_labels(request),
            Call::Tag(request) => match request.remove {
                true => self.untag(request),
                false => self.tag(request),
            },
            Call::Pin(request) => self.pin(request),
            Call::Rollback(request) => self.rollback(request),
            Call::PolicySet(request) => self.set_policy(request),
            Call::PolicyRemove(request) => self.remove_policy(request),
            Call::PolicyList(request) => self.list_policies(request),
            Call::Forget(request) => self.forget(request),
            Call::Undelete(request) => self.undelete(request),
            Call::TrashEmpty(request) => self.empty_trash(request),
            Call::TrashList(request) => self.list_trash(request),
            Call::List(request) => self.list(request),
            Call::History(request) => self.history(&request.namespace, &request.name),
            Call::Moves(request) => self.moves(&request.namespace, &request.name),
            Call::Use {
                user,
                namespace,
                reference,
                from_trash,
            } => self.begin_use(user, namespace, reference, *from_trash),
            Call::Release(user) => self.release(user),
            Call::AutoSet(request) => self.set_auto(request),
            Call::AutoRemove(request) => self.remove_auto(request),
            Call::AutoList(request) => self.list_autos(request.namespace.as_deref()),
            Call::AutoLook => self.look_at_autos(noted),
            _ => {
                self.happen(call);
                Ok(Value::Null)
            }
        }
    }

    fn happen(&mut self, call: &Call) {
        match call {
            Call::Pass(seconds) => {
                let seconds = i64::try_from(*seconds).unwrap();
                self.now += seconds;
                self.passed += seconds;
            }
            Call::Jump(by) => self.now += by,
            Call::Look => self.look(),
            Call::Restart => self.restart(),
            Call::Rebuild => self.rebuild(),
            _ => {}
        }
    }

    pub(super) fn is_in_trash(&self, id: &str) -> bool {
        self.snapshots[id].trash.is_some()
    }

    pub(super) fn creating(&self) -> Vec<String> {
        let creating = self.snapshots.iter();
        let creating = creating.filter(|(_, one)| one.state == SnapshotState::Creating);
        creating.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn users_of(&self, id: &str) -> Vec<&User> {
        let of = |(user, used): (_, &String)| (used == id).then_some(user);
        self.users.iter().filter_map(of).collect()
    }

    fn is_used(&self, id: &str) -> bool {
        !self.users_of(id).is_empty()
    }

    /// When it expires as things are, and why; pins are not looked at.
    fn expiry(&self, id: &str) -> Option<(i64, ExpiryCause)> {
        let one = &self.snapshots[id];
        let by_ttl = one.expires_at.map(|at| (at, ExpiryCause::Ttl));
        let mut since = one.created_at;
        for later in [one.last_used_at, one.unused_since].into_iter().flatten() {
            since = since.max(later);
        }
        let unused = one.unused_seconds.filter(|_| !self.is_used(id));
        let unused = unused.map(|seconds| {
            let at = since.saturating_add_unsigned(seconds);
            (at, ExpiryCause::Unused)
        });
        match (by_ttl, unused) {
            (Some(ttl), Some(unused)) if unused.0 < ttl.0 => Some(unused),
            (Some(ttl), _) => Some(ttl),
            (None, unused) => unused,
        }
    }

    pub(super) fn has_expired(&self, id: &str) -> bool {
        let is_over = self.expiry(id).is_some_and(|(at, _)| at <= self.now);
        is_over && !self.snapshots[id].is_pinned
    }

    pub(super) fn view(&self, id: &str) -> SnapshotView {
        let one = &self.snapshots[id];
        let expiry = self.expiry(id);
        let (names, immutable, versions) = match &one.trash {
            Some(trashed) => (
                trashed.names.clone(),
                trashed.immutable.clone(),
                trashed.versions.clone(),
            ),
            None => (
                self.names_of(id),
                self.immutable_of(id),
                self.versions_of(id),
            ),
        };
        let join = |all: Vec<(String, String)>| {
            let joined = all.into_iter().map(|(name, tag)| format!("{name}:{tag}"));
            joined.collect()
        };
        let is_container = !one.source.starts_with('/');
        SnapshotView {
            id: id.to_owned(),
            namespace: one.namespace.clone(),
            state: one.state,
            reason: (one.state == SnapshotState::Failed).then(|| "why".to_owned()),
            names: join(names),
            immutable: join(immutable),
            versions: versions
                .iter()
                .map(|(name, number)| format!("{name}:{number}"))
                .collect(),
            pinned: one.is_pinned,
            labels: one.labels.clone(),
            source: one.source.clone(),
            is_container,
            container_folder: None,
            image: is_container.then(|| "busybox".to_owned()),
            created_at: rfc3339(one.created_at),
            expires_at: expiry.map(|(at, _)| rfc3339(at)),
            expires_by: expiry.map(|(_, cause)| cause),
            unused_seconds: one.unused_seconds,
            in_use: self.is_used(id),
            expired: self.has_expired(id),
            last_used_at: one.last_used_at.map(rfc3339),
            nodes: one.facts.nodes,
            logical_bytes: one.facts.logical_bytes,
            stored_bytes: one.facts.stored_bytes,
            pause_us: 0,
            damage: None,
            memory: None,
        }
    }

    pub(super) fn shown(&self, id: &str) -> Answer {
        Ok(serde_json::to_value(self.view(id)).unwrap())
    }

    /// Snapshots that count against the limit of their namespace, and the bytes that do.
    fn held(&self, namespace: &str) -> (u64, u64) {
        let (mut snapshots, mut bytes) = (0, 0);
        let of_it = self.snapshots.values();
        for one in of_it.filter(|one| one.namespace == namespace) {
            let is_alive = matches!(one.state, SnapshotState::Creating | SnapshotState::Active);
            snapshots += u64::from(is_alive);
            if is_alive || one.trash.is_some() {
                bytes += one.facts.stored_bytes;
            }
        }
        (snapshots, bytes)
    }
}

/// One end of a move.
fn end(line: &Line, id: &str) -> MoveEnd {
    let version = line.versions.iter().find(|(_, of)| *of == id);
    MoveEnd {
        snapshot: id.to_owned(),
        version: version.map(|(number, _)| *number),
    }
}
