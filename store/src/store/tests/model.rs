//! Any sequence of what callers do agrees with a plain map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put { seed: u64, length: usize },
    Publish,
    Drop,
    Reopen,
    PowerCut,
    LoseSegment,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40u64, 0..3000usize).prop_map(|(seed, length)| Step::Put { seed, length }),
        3 => Just(Step::Publish),
        1 => Just(Step::Drop),
        1 => Just(Step::Reopen),
        1 => Just(Step::PowerCut),
        1 => Just(Step::LoseSegment),
        1 => Just(Step::Rebuild),
    ]
}

/// The store under test, and what it must answer.
struct Model {
    disk: MemoryDisk,
    store: Option<Store>,
    draft: Option<Draft>,
    drafted: HashMap<Digest, Vec<u8>>,
    published: HashMap<Digest, Vec<u8>>,
}

impl Model {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        Self {
            store: Some(store_on(&disk)),
            disk,
            draft: None,
            drafted: HashMap::new(),
            published: HashMap::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put { seed, length } => self.put(text(*seed, *length)),
            Step::Publish => {
                if let Some(draft) = &self.draft {
                    draft.publish_chunks().unwrap();
                }
                self.published.extend(self.drafted.drain());
            }
            Step::Drop => self.drop_draft(),
            Step::Reopen => self.reopen(self.disk.clone()),
            Step::PowerCut => self.reopen(self.disk.after_power_cut()),
            Step::LoseSegment => {
                if let Some(segment) = self.disk.files(".seg").first() {
                    self.disk.remove(segment).unwrap();
                }
                self.reopen(self.disk.clone());
            }
            Step::Rebuild => self.store().rebuild_index(&Silent).unwrap(),
        }
    }

    fn put(&mut self, raw: Vec<u8>) {
        if self.draft.is_none() {
            self.draft = Some(self.store().begin(SnapshotId::random()).unwrap());
        }
        let digest = self.draft.as_ref().unwrap().put_data(raw.clone()).unwrap();
        self.drafted.insert(digest, raw);
    }

    fn drop_draft(&mut self) {
        self.draft = None;
        self.drafted.clear();
    }

    fn reopen(&mut self, disk: MemoryDisk) {
        self.drop_draft();
        self.store = None;
        self.disk = disk;
        self.store = Some(open(&self.disk, Access::ReadWrite));
    }

    fn check(&self) {
        let reader = open(&self.disk, Access::ReadOnly);
        for (digest, raw) in &self.published {
            assert_eq!(&self.store().get(digest).unwrap(), raw);
            assert_eq!(&reader.get(digest).unwrap(), raw);
        }
        for (digest, raw) in &self.drafted {
            let draft = self.draft.as_ref().unwrap();
            assert!(draft.has(digest).unwrap());
            assert_eq!(&draft.get(digest).unwrap(), raw);
            let is_published = self.published.contains_key(digest);
            assert_eq!(self.store().has(digest).unwrap(), is_published);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_store_agrees_with_a_map(steps in proptest::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
        }
        model.check();
    }
}
