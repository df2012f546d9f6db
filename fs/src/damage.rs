//! The damage matrix: every kind of file of a store, damaged in every way, and then everything that is done with a store.
//!
//! Whatever happens: no byte is ever wrong, nothing panics, what cannot be had is told as such, snapshots that are
//! not hit stay whole, and nothing that could be read before some operation cannot be read after it.

mod ground;
mod operations;
mod reading;

use ground::{Case, Damage, Ground, Place};
pub(crate) use operations::Tally;

/// How many snapshots the ground has; the first is damaged, the second lends files to swap with, the last must stay whole.
const SNAPSHOTS: usize = 3;

/// Tries all damages at all places, and writes down how much that was.
fn try_all(kind: &str, ground: &mut Ground, places: Vec<Place>) {
    let mut tally = Tally::default();
    for place in places {
        for damage in Damage::ALL {
            let Some(case) = Case::new(ground, &place, damage) else {
                continue;
            };
            eprintln!("{kind}: {case}");
            operations::try_everything(ground, &case, &mut tally);
        }
    }
    assert!(tally.cells > 50, "{tally:?}");
    tally.note(kind);
}

/// The places of a file at these offsets.
fn places(
    ground: &Ground,
    path: &str,
    offsets: &[(&'static str, usize)],
    swap: Option<&str>,
) -> Vec<Place> {
    let place = |(name, at): &(&'static str, usize)| Place {
        file: path.into(),
        name,
        at: *at,
        swap: swap.map(Into::into),
    };
    assert!(ground.bytes(path).len() > 10, "{path} is empty");
    offsets.iter().map(place).collect()
}

/// The beginning, the middle and the end.
fn anywhere(ground: &Ground, path: &str, swap: Option<&str>) -> Vec<Place> {
    let length = ground.bytes(path).len();
    let offsets = [("begin", 3), ("middle", length / 2), ("end", length - 2)];
    places(ground, path, &offsets, swap)
}

#[test]
fn packs_may_be_damaged() {
    let mut ground = Ground::new();
    let mut all = Vec::new();
    let others = ground.files_of(1, ".pack");
    for (number, pack) in ground.files_of(0, ".pack").iter().enumerate() {
        let bytes = ground.bytes(pack);
        let trailer = bytes.len() - 64;
        let records = u64::from_le_bytes(bytes[trailer..trailer + 8].try_into().unwrap());
        let records = usize::try_from(records).unwrap();
        let offsets = [
            ("header", 3),
            ("frame", 16 + (records - 16) / 2),
            ("records", records + 40),
            ("trailer", trailer + 30),
        ];
        all.extend(places(
            &ground,
            pack,
            &offsets,
            others.get(number).map(|other| &**other),
        ));
    }
    try_all("packs", &mut ground, all);
}

#[test]
fn index_segments_may_be_damaged() {
    let mut ground = Ground::new();
    let (own, other) = (ground.files_of(0, ".seg"), ground.files_of(1, ".seg"));
    let offsets = [
        ("header", 9),
        ("rows", 16 + 48 + 5),
        ("pack number", 16 + 33),
        ("trailer", ground.bytes(&own[0]).len() - 100),
    ];
    let all = places(&ground, &own[0], &offsets, Some(&other[0]));
    try_all("segments", &mut ground, all);
}

#[test]
fn manifests_may_be_damaged() {
    let mut ground = Ground::new();
    let (own, other) = (
        ground.files_of(0, ".manifest"),
        ground.files_of(1, ".manifest"),
    );
    let mut all = anywhere(&ground, &own[0], Some(&other[0]));
    all.extend(places(&ground, &own[0], &[("lengths", 25)], None));
    try_all("manifests", &mut ground, all);
}

#[test]
fn the_list_of_condemned_packs_may_be_damaged() {
    let mut ground = Ground::new();
    ground.condemn();
    let all = anywhere(&ground, "tombstones", None);
    try_all("tombstones", &mut ground, all);
}

#[test]
fn the_format_file_may_be_damaged() {
    let mut ground = Ground::new();
    let all = anywhere(&ground, "store.format", None);
    let mut tally = Tally::default();
    for place in all {
        for damage in Damage::ALL {
            let Some(case) = Case::new(&ground, &place, damage) else {
                continue;
            };
            eprintln!("format: {case}");
            operations::try_opening(&mut ground, &case, &mut tally);
        }
    }
    tally.note("format");
}
