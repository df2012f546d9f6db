//! Any sequence of calls leaves the catalogue in the state of a plain map, before and after it is opened again.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

const MODEL_LIMIT: usize = 4;
const NAMES: [&str; 3] = ["app:v1", "app:latest", "beef:latest"];

#[derive(Clone, Debug)]
enum Call {
    Insert(u8),
    Activate(u8, Option<usize>),
    Fail(u8),
    BeginRemoval(u8, u8),
    FinishRemoval(u8),
    SetName(u8, usize),
    RemoveName(usize),
    RollBack(usize),
    Undo(usize),
    Forget(usize, u32),
    Pin(u8),
    Unpin(u8),
    Attach(u8),
    Detach(u8),
}

/// What a name without its tag has given and gone through.
#[derive(Clone, Default)]
struct Course {
    last: u64,
    /// True once `latest` has moved.
    has_moved: bool,
    versions: BTreeMap<u64, u8>,
    /// Which version `latest` last pointed to.
    pointed: Option<u64>,
    /// What `latest` pointed to before each rollback that can be undone.
    before: Vec<Option<u8>>,
}

#[derive(Default)]
struct Model {
    states: BTreeMap<u8, SnapshotState>,
    names: BTreeMap<&'static str, u8>,
    courses: [Course; 2],
    users: BTreeMap<u8, ()>,
    pinned: BTreeSet<u8>,
}

/// The number of the name without its tag, and its `latest`.
fn course_of(name: usize) -> (usize, &'static str) {
    match name {
        0 | 1 => (0, NAMES[1]),
        _ => (1, NAMES[2]),
    }
}

impl Model {
    /// Applies the call and returns whether it must have been accepted.
    fn apply(&mut self, call: &Call) -> bool {
        use SnapshotState::{Active, Creating, Deleting, Failed};
        match *call {
            Call::Insert(id) => {
                let held = self
                    .states
                    .values()
                    .filter(|state| matches!(state, Creating | Active));
                let accepted = held.count() < MODEL_LIMIT && !self.states.contains_key(&id);
                if accepted {
                    self.states.insert(id, Creating);
                }
                accepted
            }
            Call::Activate(id, name) => self.step(id, Creating, Active) && self.name(id, name),
            Call::Fail(id) => self.step(id, Creating, Failed),
            Call::BeginRemoval(a, b) => self.begin_removal([a, b]),
            Call::FinishRemoval(id) => {
                let accepted = self.states.get(&id) == Some(&Deleting);
                accepted && self.states.remove(&id).is_some()
            }
            Call::SetName(id, name) => {
                let accepted = self.states.get(&id) == Some(&Active);
                if accepted {
                    self.tag(id, name);
                }
                accepted
            }
            Call::RemoveName(name) => self.names.remove(NAMES[name]).is_some(),
            Call::RollBack(name) => self.roll_back(name),
            Call::Undo(name) => self.undo(name),
            Call::Forget(name, last) => self.forget(name, last),
            Call::Pin(id) => {
                let accepted = self.states.get(&id) == Some(&Active);
                if accepted {
                    self.pinned.insert(id);
                }
                accepted
            }
            Call::Unpin(id) => {
                self.pinned.remove(&id);
                let state = self.states.get(&id);
                state.is_some_and(|state| *state != Deleting)
            }
            Call::Attach(id) => {
                let accepted = self.states.get(&id) == Some(&Active);
                accepted && self.users.insert(id, ()).is_none()
            }
            Call::Detach(id) => self.users.remove(&id).is_some(),
        }
    }

    fn step(&mut self, id: u8, from: SnapshotState, to: SnapshotState) -> bool {
        let accepted = self.states.get(&id) == Some(&from);
        if accepted {
            self.states.insert(id, to);
        }
        accepted
    }

    fn name(&mut self, id: u8, name: Option<usize>) -> bool {
        if let Some(name) = name {
            let (number, latest) = course_of(name);
            let course = &mut self.courses[number];
            course.last += 1;
            course.versions.insert(course.last, id);
            self.names.insert(NAMES[name], id);
            self.names.insert(latest, id);
            self.pointed(name, id, true);
        }
        true
    }

    fn tag(&mut self, id: u8, name: usize) {
        let had = self.names.insert(NAMES[name], id);
        if NAMES[name] == course_of(name).1 && had != Some(id) {
            self.pointed(name, id, true);
        }
    }

    /// `latest` points to a snapshot now, by intent or by a rollback.
    fn pointed(&mut self, name: usize, id: u8, by_intent: bool) {
        let course = &mut self.courses[course_of(name).0];
        course.has_moved = true;
        let is_it = |(_, holder): &(&u64, &u8)| **holder == id;
        course.pointed = course
            .versions
            .iter()
            .find(is_it)
            .map(|(number, _)| *number);
        if by_intent {
            course.before.clear();
        }
    }

    fn roll_back(&mut self, name: usize) -> bool {
        let (number, latest) = course_of(name);
        let course = &self.courses[number];
        let below = course.pointed.unwrap_or(u64::MAX);
        let is_active = |id: &u8| self.states.get(id) == Some(&SnapshotState::Active);
        let older = course.versions.range(..below).rev();
        let Some(target) = older.map(|(_, id)| *id).find(is_active) else {
            return false;
        };
        let from = self.names.insert(latest, target);
        self.courses[number].before.push(from);
        self.pointed(name, target, false);
        true
    }

    fn undo(&mut self, name: usize) -> bool {
        let (number, latest) = course_of(name);
        let Some(Some(target)) = self.courses[number].before.last().copied() else {
            return false;
        };
        let accepted = self.states.get(&target) == Some(&SnapshotState::Active);
        if accepted {
            self.names.insert(latest, target);
            self.courses[number].before.pop();
            self.pointed(name, target, false);
        }
        accepted
    }

    /// All versions but the last active ones go, unless somebody holds them.
    fn forget(&mut self, name: usize, last: u32) -> bool {
        let course = &self.courses[course_of(name).0];
        let newest = course.versions.values().rev().copied();
        let active = newest.filter(|id| self.states[id] == SnapshotState::Active);
        let forgotten: Vec<u8> = active.skip(last as usize).collect();
        let mut named = (0..NAMES.len()).filter(|other| course_of(*other) == course_of(name));
        let is_named = named.any(|other| self.names.contains_key(NAMES[other]));
        let is_known = course.last > 0 || course.has_moved || is_named;
        for id in forgotten {
            let is_named = self.names.values().any(|holder| *holder == id);
            if !is_named && self.versions_of(id) < 2 {
                self.begin_removal([id, id]);
            }
        }
        is_known
    }

    fn versions_of(&self, id: u8) -> usize {
        let courses = self.courses.iter();
        let of_course = |course: &Course| course.versions.values().any(|holder| *holder == id);
        courses.filter(|course| of_course(course)).count()
    }

    fn begin_removal(&mut self, ids: [u8; 2]) -> bool {
        let accepted = ids.iter().all(|id| {
            let state = self.states.get(id);
            state.is_some_and(|state| *state != SnapshotState::Creating)
                && !self.users.contains_key(id)
                && !self.pinned.contains(id)
        });
        if accepted {
            for id in ids {
                self.states.insert(id, SnapshotState::Deleting);
                self.names.retain(|_, holder| *holder != id);
                for course in &mut self.courses {
                    course.versions.retain(|_, holder| *holder != id);
                }
            }
        }
        accepted
    }
}

fn call() -> impl Strategy<Value = Call> {
    let number = 1_u8..7;
    let name = 0..NAMES.len();
    prop_oneof![
        3 => number.clone().prop_map(Call::Insert),
        3 => (number.clone(), proptest::option::of(name.clone()))
            .prop_map(|(id, name)| Call::Activate(id, name)),
        2 => number.clone().prop_map(Call::Fail),
        2 => (number.clone(), number.clone()).prop_map(|(a, b)| Call::BeginRemoval(a, b)),
        2 => number.clone().prop_map(Call::FinishRemoval),
        2 => (number.clone(), name.clone()).prop_map(|(id, name)| Call::SetName(id, name)),
        2 => name.clone().prop_map(Call::RemoveName),
        3 => name.clone().prop_map(Call::RollBack),
        2 => name.clone().prop_map(Call::Undo),
        2 => (name, 1_u32..3).prop_map(|(name, last)| Call::Forget(name, last)),
        1 => number.clone().prop_map(Call::Pin),
        1 => number.clone().prop_map(Call::Unpin),
        2 => number.clone().prop_map(Call::Attach),
        2 => number.prop_map(Call::Detach),
    ]
}

fn run(catalogue: &Catalogue, call: &Call) -> Result<()> {
    let user = |number: u8| format!("c{number}");
    match *call {
        Call::Insert(number) => {
            catalogue.insert(&record(id(number), i64::from(number)), MODEL_LIMIT as u64)
        }
        Call::Activate(number, name) => {
            let name = name.map(|name| NAMES[name]);
            let manifest = manifest(id(number), i64::from(number), name);
            catalogue.activate(&manifest).map(drop)
        }
        Call::Fail(number) => catalogue.fail(&id(number), "because"),
        Call::BeginRemoval(a, b) => remove(catalogue, &[id(a), id(b)]),
        Call::FinishRemoval(number) => catalogue.finish_removal(&id(number)),
        Call::SetName(number, name) => tag(catalogue, id(number), NAMES[name]),
        Call::RemoveName(name) => catalogue
            .remove_name(&namespace(), &NAMES[name].parse().unwrap(), Force::No, NOW)
            .map(drop),
        Call::RollBack(name) | Call::Undo(name) => {
            let to = match call {
                Call::Undo(_) => RollbackTo::Undo,
                _ => RollbackTo::Older,
            };
            let name = NAMES[name].parse().unwrap();
            catalogue.roll_back(&namespace(), &name, to, NOW).map(drop)
        }
        Call::Forget(name, last) => {
            let mut thinning = forget::thinning(&NAMES[name].parse()?);
            thinning.rules.last = last;
            let judged = catalogue.judge(&thinning)?;
            let all = judged.iter().map(|one| one.snapshot.id).collect();
            catalogue.begin_forgetting(&thinning, &all).map(drop)
        }
        Call::Pin(number) => catalogue.pin(&id(number)),
        Call::Unpin(number) => catalogue.unpin(&id(number)),
        Call::Attach(number) => catalogue.insert_container(&container(&user(number), id(number))),
        Call::Detach(number) => catalogue.remove_container(&namespace(), &user(number), NOW),
    }
}

/// In the model's words: states by snapshot, snapshots by name, those by version, and snapshots with users and pinned ones.
type Observed = (
    Vec<(u8, SnapshotState)>,
    [Vec<(String, u8)>; 2],
    [Vec<u8>; 2],
);

fn observe(catalogue: &Catalogue) -> Observed {
    let number = |id: &SnapshotId| id.as_bytes()[0];
    let mut records = catalogue.list(None, None, 100).unwrap();
    records.reverse();
    let states = records
        .iter()
        .map(|record| (number(&record.id), record.state))
        .collect();
    let named = |names: fn(&SnapshotRecord) -> &[SnapshotName]| {
        let of_one = |record| {
            let names = names(record).iter();
            names.map(|name| (name.to_string(), number(&record.id)))
        };
        let mut all: Vec<_> = records.iter().flat_map(of_one).collect();
        all.sort_unstable();
        all
    };
    let names = [
        named(|record| &record.names),
        named(|record| &record.versions),
    ];
    let pinned = records.iter().filter(|record| record.is_pinned);
    let pinned = pinned.map(|record| number(&record.id)).collect();
    let containers = catalogue.containers().unwrap();
    let users = containers
        .iter()
        .map(|user| number(&user.snapshot.unwrap()))
        .collect();
    (states, names, [users, pinned])
}

impl Model {
    fn observed(&self) -> Observed {
        let names = self.names.iter();
        let names = names.map(|(name, id)| ((*name).to_owned(), *id)).collect();
        let mut versions = Vec::new();
        for (course, name) in self.courses.iter().zip(["app", "beef"]) {
            let given = course.versions.iter();
            versions.extend(given.map(|(number, id)| (format!("{name}:{number}"), *id)));
        }
        versions.sort_unstable();
        let states = self.states.iter().map(|(id, state)| (*id, *state));
        let users = self.users.keys().copied().collect();
        let pinned = self.pinned.iter().copied().collect();
        (states.collect(), [names, versions], [users, pinned])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_agree_with_a_plain_map(calls in vec(call(), 1..60)) {
        let (catalogue, folder) = catalogue();
        // The model asks for states, not for durability: without this each case waits for the disk.
        catalogue.lock().pragma_update(None, "synchronous", "off").unwrap();
        let mut model = Model::default();
        for call in &calls {
            let accepted = model.apply(call);
            let result = run(&catalogue, call);
            prop_assert_eq!(result.is_ok(), accepted, "{:?} {:?}", call, result);
            prop_assert_eq!(observe(&catalogue), model.observed());
        }
        let before = observe(&catalogue);
        drop(catalogue);
        let (catalogue, _) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
        prop_assert_eq!(observe(&catalogue), before);
    }
}
