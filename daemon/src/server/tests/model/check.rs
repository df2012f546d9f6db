//! Whether product and model agree, and what must hold whatever the model says.

use std::collections::{BTreeMap, BTreeSet};

use snap_api::{HistoryRequest, ListRequest, MovesRequest, PolicyListRequest, SnapshotState};
use snap_store::{SnapshotRecord, SnapshotState as Stored, TrashRecord};

use super::{
    calls::{Call, NAMES, NAMESPACES},
    plain::{Plain, User},
    real::Real,
};
use crate::clock;

const YEAR: u64 = 366 * 86_400;
/// Longer than the longest time to live and every set back of the clock together.
const CENTURIES: u64 = 300 * YEAR;

/// Does a step on both sides, and compares what is answered.
pub(super) async fn step(real: &mut Real, plain: &mut Plain, call: &Call) {
    let before = match call {
        Call::Look => Some(Before::of(real)),
        _ => None,
    };
    let (answer, noted) = real.apply(call).await;
    let expected = plain.answer(call, &noted);
    let expected = expected.map_err(|(code, reason)| (code, reason.to_owned()));
    assert!(
        answer == expected,
        "{call:?}\nanswered {answer:#?}\nexpected {expected:#?}"
    );
    match call {
        Call::Look => before.unwrap().check(real),
        Call::Collect => collected(real, plain),
        _ => {}
    }
}

/// Compares everything there is.
pub(super) async fn everything(real: &mut Real, plain: &mut Plain) {
    let mut calls = vec![
        Call::List(ListRequest::default()),
        Call::TrashList(ListRequest::default()),
        Call::AutoList(ListRequest::default()),
        Call::PolicyList(PolicyListRequest {
            namespace: None,
            name: None,
            cursor: None,
            limit: 0,
        }),
    ];
    for namespace in NAMESPACES.map(str::to_owned) {
        for name in NAMES.map(str::to_owned) {
            let (of, asked) = (namespace.clone(), name.clone());
            calls.push(Call::History(HistoryRequest {
                namespace: of.clone(),
                name: asked.clone(),
                cursor: None,
                limit: 0,
            }));
            calls.push(Call::Moves(MovesRequest {
                namespace: of,
                name: asked,
            }));
        }
    }
    for call in calls {
        step(real, plain, &call).await;
    }
    assert_eq!(real.users(), plain.users, "who uses what");
    assert_eq!(real.manifests(), holding(plain), "what is in the store");
}

/// Everything that is not held goes in the end, and nothing of it is left.
pub(super) async fn end(real: &mut Real, plain: &mut Plain) {
    everything(real, plain).await;
    let users: Vec<User> = plain.users.keys().cloned().collect();
    for user in users {
        step(real, plain, &Call::Release(user)).await;
    }
    // The clock may have been set before the first look, what expires goes to the trash first, and where it was set back some
    // versions are from times to come, which a policy does not count from.
    for seconds in [0, 1, CENTURIES, YEAR, YEAR] {
        step(real, plain, &Call::Pass(seconds)).await;
        step(real, plain, &Call::Look).await;
    }
    everything(real, plain).await;
    let mut left = plain
        .snapshots
        .iter()
        .filter(|(_, one)| one.trash.is_some());
    assert!(left.next().is_none(), "the trash is empty in the end");
    step(real, plain, &Call::Collect).await;
}

/// Snapshots that hold something, by their ids.
fn holding(plain: &Plain) -> BTreeSet<String> {
    let holds = |state| matches!(state, SnapshotState::Active | SnapshotState::Deleting);
    let holding = plain.snapshots.iter();
    let holding = holding.filter(|(_, one)| holds(one.state));
    holding.map(|(id, _)| id.clone()).collect()
}

/// What is needed is there and can be read, and nothing else is.
fn collected(real: &Real, plain: &Plain) {
    let ids = holding(plain);
    let contents: BTreeMap<&String, usize> = ids
        .iter()
        .map(|id| (id, plain.snapshots[id].content))
        .collect();
    for id in contents.keys() {
        real.read(id);
    }
    let different: BTreeSet<usize> = contents.into_values().collect();
    let chunks = usize::try_from(real.chunks()).unwrap();
    assert_eq!(chunks, different.len(), "chunks in the store");
}

/// What there was before a look.
struct Before {
    snapshots: Vec<SnapshotRecord>,
    trash: Vec<TrashRecord>,
    clock_was_set: bool,
}

impl Before {
    fn of(real: &Real) -> Self {
        let host = real.host();
        Self {
            snapshots: host.catalogue.list(None, None, usize::MAX).unwrap(),
            trash: host.catalogue.trash(None, None, usize::MAX).unwrap(),
            clock_was_set: host.steady.now().is_none(),
        }
    }

    /// Without the model: what is protected is there, and what has expired is not.
    fn check(self, real: &Real) {
        let after = Self::of(real);
        let states = |all: &[SnapshotRecord]| -> BTreeMap<String, Stored> {
            let states = all.iter().map(|one| (one.id.to_string(), one.state));
            states.collect()
        };
        let ids = |all: &[TrashRecord]| -> BTreeSet<String> {
            all.iter().map(|one| one.snapshot.id.to_string()).collect()
        };
        let (there, in_trash) = (states(&after.snapshots), ids(&after.trash));
        if self.clock_was_set {
            assert_eq!(states(&self.snapshots), there, "the clock was set");
            assert_eq!(ids(&self.trash), in_trash, "the clock was set");
            return;
        }
        let now = clock::now();
        for one in self.snapshots.iter().filter(|one| is_protected(one)) {
            let state = there.get(&one.id.to_string());
            assert_eq!(state, Some(&one.state), "{one:?} is protected");
        }
        let stays = |one: &&TrashRecord| one.snapshot.is_used || one.goes_at > now;
        for one in self.trash.iter().filter(stays) {
            assert!(in_trash.contains(&one.snapshot.id.to_string()), "{one:?}");
        }
        for one in &after.snapshots {
            let is_over = one.has_expired(now) && !is_protected(one);
            assert!(!is_over, "{one:?} has expired");
        }
        let is_over = |one: &&TrashRecord| one.goes_at <= now && !one.snapshot.is_used;
        assert_eq!(after.trash.iter().find(is_over), None);
    }
}

fn is_protected(one: &SnapshotRecord) -> bool {
    let is_settled = matches!(one.state, Stored::Active | Stored::Failed);
    one.is_pinned || one.is_used || !one.immutable.is_empty() || !is_settled
}
