//! Manifests and link tables that are not as they should be.

use proptest::prelude::*;

use super::*;
use crate::{
    error::Error,
    golden,
    ids::{Digest, KeyId},
    links::LinkGroup,
    seal::Seal,
};

/// Repairs the checksum after `change`, as somebody who means harm would.
fn forged(change: impl FnOnce(&mut Manifest)) -> crate::Result<Manifest> {
    let mut manifest = golden::manifest();
    change(&mut manifest);
    Manifest::decode(&manifest.encode())
}

#[test]
fn a_manifest_of_another_version_or_feature_is_incompatible() {
    for (at, value) in [(8, 2), (12, 4)] {
        let mut bytes = golden::manifest().encode();
        bytes[at] = value;
        let refused = Manifest::decode(&bytes);
        assert!(matches!(refused, Err(Error::Incompatible { .. })), "{at}");
    }
}

#[test]
fn memory_that_a_manifest_does_not_announce_is_refused() {
    let memory = |nodes| {
        let facts = Default::default();
        let root = TreeRef {
            nodes,
            ..golden::manifest().root
        };
        Some(Memory::Captured(Box::new(MemoryImages {
            root,
            bytes: 1,
            facts,
            seal: None,
        })))
    };
    assert!(forged(|manifest| manifest.memory = memory(1)).is_ok());
    assert!(forged(|manifest| manifest.memory = memory(0)).is_err());
    let reason = "x".repeat(5000);
    assert!(forged(|manifest| manifest.memory = Some(Memory::Failed { reason })).is_err());

    let mut manifest = golden::manifest();
    manifest.memory = memory(1);
    let bytes = manifest.encode();
    assert_eq!(bytes[12], 1);
    assert!(is_refused_as(bytes, 0));
}

/// A release that does not know of sealed memory knows bit 0 alone, and must not take it for memory in clear.
#[test]
fn memory_that_is_sealed_is_announced_as_such() {
    let mut manifest = golden::manifest();
    manifest.memory = Some(Memory::Captured(Box::new(MemoryImages {
        root: manifest.root,
        bytes: 1,
        facts: Default::default(),
        seal: Some(Seal {
            key: KeyId::from_bytes([1; 8]),
            mark: Digest::of(b"mark"),
        }),
    })));
    let bytes = manifest.encode();
    assert_eq!(bytes[12], 3);
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    for features in [0, 1, 2] {
        assert!(is_refused_as(bytes.clone(), features), "{features}");
    }
}

/// True when the manifest is corrupt once it announces these features.
fn is_refused_as(mut bytes: Vec<u8>, features: u8) -> bool {
    bytes[12] = features;
    let check = Digest::of(&[&bytes[..40], &bytes[72..]].concat());
    bytes[40..72].copy_from_slice(check.as_bytes());
    matches!(Manifest::decode(&bytes), Err(Error::Corrupt { .. }))
}

#[test]
fn every_cut_and_flipped_byte_of_a_manifest_is_noticed() {
    let bytes = golden::manifest().encode();
    for at in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..at]).is_err(), "{at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        assert!(Manifest::decode(&flipped).is_err(), "{at}");
    }
}

#[test]
fn a_manifest_that_exceeds_a_limit_is_refused() {
    assert!(forged(|_| ()).is_ok());
    assert!(forged(|manifest| manifest.root.nodes = 0).is_err());
    assert!(forged(|manifest| manifest.root.nodes = u64::MAX).is_err());
    assert!(forged(|manifest| manifest.root.nodes = 100).is_err());
    assert!(forged(|manifest| manifest.version = Some(MAX_VERSION)).is_ok());
    for bad in [0, MAX_VERSION + 1, u64::MAX] {
        assert!(forged(|manifest| manifest.version = Some(bad)).is_err());
    }
    assert!(forged(|manifest| manifest.root_meta.mode = 0o10000).is_err());
    assert!(forged(|manifest| manifest.root_meta.modified.nanoseconds = u32::MAX).is_err());
}

#[test]
fn a_million_hard_links_take_a_few_bytes_each() {
    let groups: Vec<_> = (0..500_000u64)
        .map(|number| LinkGroup(vec![number + 1, number * 3 + 1_000_000]))
        .collect();
    let table = LinkTable::new(&groups);
    let bytes = table.encode();
    assert!(bytes.len() < 3_000_000, "{}", bytes.len());
    assert_eq!(LinkTable::decode(&bytes).unwrap(), table);
}

proptest! {
    #[test]
    fn link_tables_round_trip(positions in prop::collection::btree_set(0u64..1 << 47, 2..200), size in 2usize..9) {
        let positions: Vec<_> = positions.into_iter().collect();
        let groups: Vec<_> = positions.chunks(size).map(|some| LinkGroup(some.to_vec())).collect();
        let table = LinkTable::new(&groups);
        prop_assert_eq!(LinkTable::decode(&table.encode()).unwrap(), table);
    }

    #[test]
    fn random_bytes_are_no_manifest(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = LinkTable::decode(&bytes);
        prop_assert!(Manifest::decode(&bytes).is_err());
        let mut file = golden::manifest().encode();
        file.splice(8.., bytes);
        prop_assert!(Manifest::decode(&file).is_err());
    }
}

#[test]
fn a_link_table_names_no_position_twice() {
    for bad in [
        &[1, 1, 2, 0][..],
        &[2, 1, 2, 1, 0, 2, 1],
        &[2, 1, 2, 2, 1, 2, 1],
        &[1, 1, 1],
        &[1, 1, 2],
        &[0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert!(LinkTable::decode(bad).is_err(), "{bad:?}");
    }
}
