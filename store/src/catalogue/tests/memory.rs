//! What a listing says of a snapshot's memory.

use super::*;
use crate::{
    ids::KeyId,
    manifest::{Memory, MemoryImages},
    seal::Seal,
};

fn captured(seal: Option<Seal>) -> Memory {
    Memory::Captured(Box::new(MemoryImages {
        root: TreeRef {
            digest: Digest::of(b"images"),
            nodes: 3,
        },
        bytes: 4096,
        facts: Default::default(),
        seal,
    }))
}

#[test]
fn whether_memory_is_sealed_is_told_by_what_was_made_and_by_what_is_imported() {
    let seal = Seal {
        key: KeyId::from_bytes([8; 8]),
        mark: Digest::from_bytes([9; 32]),
    };
    let reason = "CRIU is missing".to_owned();
    let mark = |is_sealed| {
        let bytes = 4096;
        Some(MemoryMark::Captured { bytes, is_sealed })
    };
    let (made, _made_folder) = catalogue();
    let (imported, _imported_folder) = catalogue();
    for (number, memory, expected) in [
        (1, None, None),
        (2, Some(captured(None)), mark(false)),
        (3, Some(captured(Some(seal))), mark(true)),
        (
            4,
            Some(Memory::Failed {
                reason: reason.clone(),
            }),
            Some(MemoryMark::Failed(reason)),
        ),
    ] {
        let manifest = Manifest {
            memory,
            ..manifest(id(number), NOW, None)
        };
        made.insert(&record(id(number), NOW), LIMIT).unwrap();
        assert_eq!(made.activate(&manifest).unwrap().memory, expected);
        imported.import(&manifest).unwrap();
        assert_eq!(imported.get(&id(number)).unwrap().memory, expected);
    }
}
