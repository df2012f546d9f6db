use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    disk::doubles::MemoryDisk,
    pack::{Frame, Record},
};

const FOLDER: &str = "drafts";

fn disk() -> Arc<MemoryDisk> {
    let disk = MemoryDisk::default();
    for folder in [layout::INDEX, layout::PACKS, FOLDER] {
        disk.create_folder(Path::new(folder)).unwrap();
    }
    Arc::new(disk)
}

fn footer(pack: u8, numbers: impl IntoIterator<Item = u32>) -> Footer {
    let mut records: Vec<_> = numbers
        .into_iter()
        .map(|number| record(pack, number))
        .collect();
    records.sort_unstable_by_key(|record| record.0);
    records.dedup_by_key(|record| record.0);
    Footer {
        id: PackId::from_bytes([pack; 16]),
        records,
    }
}

fn record(pack: u8, number: u32) -> Record {
    let frame = Frame {
        offset: 16 + number,
        stored_bytes: 10 + u32::from(pack),
        raw_bytes: 300,
        is_plain: false,
    };
    (Digest::of(&number.to_le_bytes()), frame)
}

fn install(index: &Index, footers: impl IntoIterator<Item = Footer>) {
    let mut build = index.begin(Path::new(FOLDER));
    for footer in footers {
        build.add_footer(footer).unwrap();
    }
    index.install(&build.write().unwrap()).unwrap();
}

fn find(index: &Index, number: u32) -> Option<(u8, Frame)> {
    let found = index.lookup(&Digest::of(&number.to_le_bytes())).unwrap();
    found.map(|location| (location.pack.as_bytes()[0], location.frame))
}

#[test]
fn a_large_segment_finds_every_row_and_nothing_else() {
    let index = Index::open(disk()).unwrap();
    install(
        &index,
        (0..20).map(|pack| footer(pack, (0..1000).map(|n| n * 20 + u32::from(pack)))),
    );
    for number in 0..20_000 {
        let pack = u8::try_from(number % 20).unwrap();
        assert_eq!(find(&index, number), Some((pack, record(pack, number).1)));
    }
    assert!((20_000..40_000).all(|number| find(&index, number).is_none()));
    assert_eq!(index.stats().chunks, 20_000);
    assert_eq!(index.stats().packs, 20);
}

#[test]
fn a_reader_finds_what_was_merged_while_it_was_open() {
    let disk = disk();
    let writer = Index::open(disk.clone()).unwrap();
    install(&writer, [footer(1, 0..10)]);
    let reader = Index::open(disk.clone()).unwrap();
    for pack in 2..5 {
        install(
            &writer,
            [footer(pack, u32::from(pack) * 10..u32::from(pack) * 10 + 5)],
        );
    }
    writer.tidy(Path::new(FOLDER)).unwrap();
    assert_eq!(disk.files(".seg").len(), 1);
    assert_eq!(find(&reader, 3), find(&writer, 3));
    assert_eq!(find(&reader, 42), None);
    reader.refresh().unwrap();
    assert_eq!(find(&reader, 42), find(&writer, 42));
}

#[test]
fn a_replaced_segment_that_was_not_removed_is_passed_over() {
    let disk = disk();
    let index = Index::open(disk.clone()).unwrap();
    for pack in 1..5 {
        install(&index, [footer(pack, [u32::from(pack)])]);
    }
    let before = disk.after_kill();
    index.tidy(Path::new(FOLDER)).unwrap();
    let merged = disk.files(".seg").pop().unwrap();
    let both = Arc::new(before);
    let mut copy = both.create(&merged).unwrap();
    let source = disk.open(&merged).unwrap();
    let mut bytes = vec![0; usize::try_from(source.length().unwrap()).unwrap()];
    source.read_at(0, &mut bytes).unwrap();
    copy.append(&bytes).unwrap();
    assert_eq!(Index::open(both).unwrap().stats().chunks, 4);
}

#[test]
fn rows_of_packs_that_are_gone_do_not_survive_a_merge() {
    let disk = disk();
    let index = Index::open(disk.clone()).unwrap();
    for pack in 1..5 {
        install(&index, [footer(pack, [u32::from(pack)])]);
    }
    let there: Vec<_> = (2..5).map(|pack| PackId::from_bytes([pack; 16])).collect();
    index
        .replace_view(|view, _| Ok(view.without_others(&there)))
        .unwrap();
    assert_eq!(find(&index, 1), None);
    index.tidy(Path::new(FOLDER)).unwrap();
    assert_eq!(Index::open(disk).unwrap().stats().chunks, 3);
}

#[test]
fn more_rows_than_are_held_become_segments_on_the_way() {
    let index = Index::open(disk()).unwrap();
    let packs = (0..9u8).map(|pack| {
        let first = u32::from(pack) * 140_000;
        footer(pack, first..first + 140_000)
    });
    install(&index, packs);
    assert_eq!(index.stats().chunks, 9 * 140_000);
    assert_eq!(find(&index, 0), Some((0, record(0, 0).1)));
    assert_eq!(find(&index, 9 * 140_000 - 1).map(|found| found.0), Some(8));
}

#[test]
fn names_of_segments_round_trip_and_nothing_else_parses() {
    let name = SegmentName {
        sequence: 7,
        check: u64::MAX,
    };
    assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    for bad in [
        "",
        ".seg",
        "7-7.seg",
        "x",
        "+000000000000007-0000000000000007.seg",
    ] {
        assert_eq!(SegmentName::parse(bad), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_agrees_with_a_map(commits in proptest::collection::vec(proptest::collection::vec(0u32..400, 1..60), 1..12)) {
        let index = Index::open(disk()).unwrap();
        let mut model = BTreeMap::new();
        for (pack, numbers) in (0u8..).zip(commits) {
            install(&index, [footer(pack, numbers.clone())]);
            index.tidy(Path::new(FOLDER)).unwrap();
            model.extend(numbers.into_iter().map(|number| (number, ())));
        }
        for number in 0..400 {
            prop_assert_eq!(find(&index, number).is_some(), model.contains_key(&number));
        }
    }
}
