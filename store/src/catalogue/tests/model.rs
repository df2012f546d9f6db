//! Any sequence of calls leaves the catalogue in the state of a plain map, before and after it is opened again.

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
    Attach(u8),
    Detach(u8),
}

#[derive(Default)]
struct Model {
    states: BTreeMap<u8, SnapshotState>,
    names: BTreeMap<&'static str, u8>,
    users: BTreeMap<u8, ()>,
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
                    self.names.insert(NAMES[name], id);
                }
                accepted
            }
            Call::RemoveName(name) => self.names.remove(NAMES[name]).is_some(),
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
        if let Some(name) = name.map(|name| NAMES[name]) {
            self.names.insert(name, id);
            let latest = if name.starts_with("app") {
                "app:latest"
            } else {
                "beef:latest"
            };
            self.names.insert(latest, id);
        }
        true
    }

    fn begin_removal(&mut self, ids: [u8; 2]) -> bool {
        let accepted = ids.iter().all(|id| {
            let state = self.states.get(id);
            state.is_some_and(|state| *state != SnapshotState::Creating)
                && !self.users.contains_key(id)
        });
        if accepted {
            for id in ids {
                self.states.insert(id, SnapshotState::Deleting);
                self.names.retain(|_, holder| *holder != id);
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
        2 => name.prop_map(Call::RemoveName),
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
        Call::BeginRemoval(a, b) => catalogue.begin_removal(&[id(a), id(b)]),
        Call::FinishRemoval(number) => catalogue.finish_removal(&id(number)),
        Call::SetName(number, name) => {
            catalogue.set_name(&id(number), &NAMES[name].parse().unwrap())
        }
        Call::RemoveName(name) => catalogue
            .remove_name(&namespace(), &NAMES[name].parse().unwrap())
            .map(drop),
        Call::Attach(number) => catalogue.insert_container(&container(&user(number), id(number))),
        Call::Detach(number) => catalogue.remove_container(&namespace(), &user(number)),
    }
}

/// In the model's words: states by snapshot, snapshots by name, and snapshots with users.
type Observed = (Vec<(u8, SnapshotState)>, Vec<(String, u8)>, Vec<u8>);

fn observe(catalogue: &Catalogue) -> Observed {
    let number = |id: &SnapshotId| id.as_bytes()[0];
    let mut records = catalogue.list(None, None, 100).unwrap();
    records.reverse();
    let states = records
        .iter()
        .map(|record| (number(&record.id), record.state))
        .collect();
    let mut names: Vec<_> = records
        .iter()
        .flat_map(|record| {
            record
                .names
                .iter()
                .map(|name| (name.to_string(), number(&record.id)))
        })
        .collect();
    names.sort_unstable();
    let containers = catalogue.containers().unwrap();
    let users = containers
        .iter()
        .map(|user| number(&user.snapshot.unwrap()))
        .collect();
    (states, names, users)
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
            let names = model.names.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
            let states = model.states.iter().map(|(id, state)| (*id, *state)).collect();
            let users = model.users.keys().copied().collect();
            prop_assert_eq!(observe(&catalogue), (states, names, users));
        }
        let before = observe(&catalogue);
        drop(catalogue);
        let (catalogue, _) = Catalogue::open(&folder.path().join("catalogue.db")).unwrap();
        prop_assert_eq!(observe(&catalogue), before);
    }
}
