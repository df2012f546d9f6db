//! Usage agrees with sets of digests, whatever is shared.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

/// Every chunk a snapshot needs, found the plain way.
fn needs(store: &Store, ids: &[SnapshotId]) -> BTreeSet<Digest> {
    struct All<'a>(&'a Store, BTreeSet<Digest>, BTreeSet<Digest>);
    impl mark::Finder for All<'_> {
        fn chunk(&mut self, digest: &Digest) -> Result<()> {
            self.1.insert(*digest);
            Ok(())
        }
        fn page(&mut self, digest: &Digest) -> Result<mark::Page> {
            self.1.insert(*digest);
            assert!(self.0.index().lookup(digest)?.is_some());
            Ok(match self.2.insert(*digest) {
                true => mark::Page::New,
                false => mark::Page::Known,
            })
        }
    }
    let mut all = All(store, BTreeSet::new(), BTreeSet::new());
    for id in ids {
        let root = store.manifest(id).unwrap().root.digest;
        walk(store, &root, &mut all, &Silent).unwrap();
    }
    all.1
}

/// What these chunks come to.
fn amount(store: &Store, chunks: &BTreeSet<Digest>) -> Amount {
    let mut amount = Amount {
        chunks: chunks.len() as u64,
        ..Amount::default()
    };
    for digest in chunks {
        let frame = store.index().lookup(digest).unwrap().unwrap().frame;
        amount.raw_bytes += u64::from(frame.raw_bytes);
        amount.stored_bytes += u64::from(frame.stored_bytes);
    }
    amount
}

/// The usage of groups, counted from sets.
fn expected(store: &Store, groups: &[Vec<SnapshotId>]) -> Vec<GroupUsage> {
    let everybody = store.manifests().unwrap();
    let of_group = |group: &Vec<SnapshotId>| {
        let needed = needs(store, group);
        let mut others = everybody.clone();
        others.retain(|id| !group.contains(id));
        let others = needs(store, &others);
        let unique = needed.difference(&others).copied().collect();
        GroupUsage {
            needed: Some(amount(store, &needed)),
            unique: amount(store, &unique),
        }
    };
    groups.iter().map(of_group).collect()
}

/// The bytes of a file: of one chunk, or of more in a list of their own.
fn content(file: usize) -> Vec<u8> {
    match file {
        5 => noise(5, 1 << 20),
        file => text(file as u64, 3000 * (file + 1)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_counted_is_what_sets_of_digests_say(
        snapshots in vec(vec(0_usize..6, 0..5), 1..6),
        group_of in vec(0_usize..4, 6),
    ) {
        let store = store_on(&MemoryDisk::default());
        let mut groups = vec![Vec::new(); 3];
        for (number, files) in snapshots.iter().enumerate() {
            let files: Vec<Vec<u8>> = files.iter().map(|file| content(*file)).collect();
            let id = snapshot(&store, &files).unwrap();
            // Those of the fourth are in no group.
            if let Some(group) = groups.get_mut(group_of[number]) {
                group.push(id);
            }
        }
        let usage = store.usage(&groups, true, &Silent).unwrap();
        prop_assert_eq!(usage.unreadable, 0);
        prop_assert_eq!(&usage.groups, &expected(&store, &groups));
        let quick = store.usage(&groups, false, &Silent).unwrap();
        for (quick, full) in quick.groups.iter().zip(&usage.groups) {
            prop_assert_eq!(quick.unique, full.unique);
            prop_assert_eq!(quick.needed, None);
        }
    }
}
