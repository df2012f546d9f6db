//! Any sequence of commits, removals, drafts, leases, collections and restarts agrees with a plain model: every snapshot there
//! should be is whole after every step, and nothing is left once the last one is gone.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A snapshot of some of the few files there are, so that most of it is there already.
    Commit(Vec<u8>),
    Remove(usize),
    BeginDraft,
    PutIntoDraft(Vec<u8>),
    CommitDraft,
    DropDraft,
    /// A draft over the tree of a snapshot.
    TakeUp(usize),
    Lease,
    EndLease,
    Pass(i64),
    Collect {
        grace: i64,
        percent: u8,
    },
    Rebuild,
    Reopen,
    PowerCut,
}

fn files() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..24u8, 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => files().prop_map(Step::Commit),
        5 => (0..20usize).prop_map(Step::Remove),
        2 => Just(Step::BeginDraft),
        3 => files().prop_map(Step::PutIntoDraft),
        2 => Just(Step::CommitDraft),
        1 => Just(Step::DropDraft),
        2 => (0..20usize).prop_map(Step::TakeUp),
        1 => Just(Step::Lease),
        1 => Just(Step::EndLease),
        2 => (1..200i64).prop_map(Step::Pass),
        6 => (prop_oneof![Just(0i64), Just(100)], 0..90u8)
            .prop_map(|(grace, percent)| Step::Collect { grace, percent }),
        1 => Just(Step::Rebuild),
        1 => Just(Step::Reopen),
        1 => Just(Step::PowerCut),
    ]
}

/// A file by its number: most are a chunk, some a list, some larger than they are worth.
fn raw(number: u8) -> Vec<u8> {
    match number % 6 {
        0 => noise(u64::from(number), 90_000),
        1 => text(u64::from(number), 3000),
        _ => noise(u64::from(number), 700 + usize::from(number)),
    }
}

struct DraftUnderWay {
    draft: Draft,
    id: SnapshotId,
    root: Option<TreeRef>,
    files: Vec<u8>,
}

struct Model {
    disk: MemoryDisk,
    store: Option<Store>,
    reader: Store,
    draft: Option<DraftUnderWay>,
    leases: Vec<Lease>,
    snapshots: BTreeMap<SnapshotId, Vec<u8>>,
    now: i64,
}

impl Model {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let store = Some(store_on(&disk));
        Self {
            reader: open(&disk, Access::ReadOnly),
            disk,
            store,
            draft: None,
            leases: Vec::new(),
            snapshots: BTreeMap::new(),
            now: 0,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Commit(files) => {
                let raws: Vec<_> = files.iter().map(|number| raw(*number)).collect();
                let id = snapshot(self.store(), &raws).unwrap();
                self.snapshots.insert(id, files.clone());
            }
            Step::Remove(number) => self.remove(*number),
            Step::BeginDraft => self.begin(),
            Step::PutIntoDraft(files) => self.put(files),
            Step::CommitDraft => self.commit(),
            Step::DropDraft => self.draft = None,
            Step::TakeUp(number) => self.take_up(*number),
            Step::Lease => self.leases.push(self.store().lease()),
            Step::EndLease => drop(self.leases.pop()),
            Step::Pass(seconds) => self.now += seconds,
            Step::Collect { grace, percent } => self.collect(*grace, *percent),
            Step::Rebuild => self.store().rebuild_index(&Silent).unwrap(),
            Step::Reopen => self.reopen(self.disk.clone()),
            Step::PowerCut => self.reopen(self.disk.after_power_cut()),
        }
    }

    fn remove(&mut self, number: usize) {
        let id = self.snapshots.keys().nth(number).copied();
        if let Some(id) = id {
            self.store().remove_manifest(&id).unwrap();
            self.snapshots.remove(&id);
        }
    }

    fn begin(&mut self) {
        let id = SnapshotId::random();
        self.draft = Some(DraftUnderWay {
            draft: self.store().begin(id).unwrap(),
            id,
            root: None,
            files: Vec::new(),
        });
    }

    fn put(&mut self, files: &[u8]) {
        if let Some(under_way) = &mut self.draft {
            let raws: Vec<_> = files.iter().map(|number| raw(*number)).collect();
            under_way.root = Some(put_files(&under_way.draft, &raws).unwrap());
            under_way.files = files.to_vec();
        }
    }

    fn take_up(&mut self, number: usize) {
        let snapshot = self.snapshots.iter().nth(number);
        if let (Some((id, files)), Some(under_way)) = (snapshot, &mut self.draft) {
            under_way.root = Some(self.store.as_ref().unwrap().manifest(id).unwrap().root);
            under_way.files = files.clone();
        }
    }

    fn commit(&mut self) {
        let Some(under_way) = self.draft.take() else {
            return;
        };
        if let Some(root) = under_way.root {
            commit(under_way.draft, under_way.id, root).unwrap();
            self.snapshots.insert(under_way.id, under_way.files);
        }
    }

    fn collect(&self, grace: i64, percent: u8) {
        let options = CollectOptions {
            grace: Duration::from_secs(grace.unsigned_abs()),
            rewrite_below_percent: percent,
            dry_run: false,
        };
        let roots = || Ok(Vec::new());
        let report = self.store().collect_at(self.now, &options, &roots, &Silent);
        let report = report.unwrap();
        assert!(!report.is_incomplete, "{report:?}");
        assert_eq!((report.damaged_packs, report.missing_chunks), (0, 0));
    }

    fn reopen(&mut self, disk: MemoryDisk) {
        self.draft = None;
        self.leases.clear();
        self.store = None;
        self.disk = disk;
        self.store = Some(open(&self.disk, Access::ReadWrite));
        self.reader = open(&self.disk, Access::ReadOnly);
    }

    /// Everybody reads everything, also those who opened the store long ago.
    fn check(&self) {
        self.store().set_cache_bytes(0);
        self.reader.set_cache_bytes(0);
        for (id, files) in &self.snapshots {
            let expected: Vec<_> = files.iter().map(|number| raw(*number)).collect();
            for store in [self.store(), &self.reader] {
                assert!(files_of(store, id).unwrap() == expected, "{id}");
            }
        }
        assert_eq!(
            self.store().manifests().unwrap().len(),
            self.snapshots.len()
        );
    }

    fn end(mut self) {
        self.draft = None;
        self.leases.clear();
        while !self.snapshots.is_empty() {
            self.remove(0);
        }
        self.collect(0, 50);
        assert!(self.disk.files(".pack").is_empty());
        assert_eq!(self.store().stats().unwrap().chunks, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds()))]

    #[test]
    fn collections_agree_with_a_plain_model(steps in proptest::collection::vec(step(), 1..40)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
            model.check();
        }
        model.end();
    }
}

fn rounds() -> u32 {
    match std::env::var("SNAP_ROUNDS").as_deref() {
        Ok("long") => 1000,
        _ => 24,
    }
}
