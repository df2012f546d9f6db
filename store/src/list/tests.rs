//! Extent lists against plain bytes, and against bytes nobody vouches for.

use proptest::prelude::*;

use super::*;
use crate::tree::tests::Memory;

/// A run of bytes as the writer takes it.
#[derive(Clone, Debug)]
enum Run {
    Data(Vec<u8>),
    Hole(u16),
}

fn runs(most: usize) -> impl Strategy<Value = Vec<Run>> {
    let run = prop_oneof![
        4 => prop::collection::vec(1u8.., 1..20).prop_map(Run::Data),
        1 => (0u16..300).prop_map(Run::Hole),
    ];
    prop::collection::vec(run, 0..most)
}

fn write(memory: &Memory, runs: &[Run]) -> (Content, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut put = |page| memory.put(page);
    let mut writer = ListWriter::new(&mut put);
    for run in runs {
        match run {
            Run::Data(data) => {
                let digest = memory.put(data.clone()).unwrap();
                writer.push_chunk(digest, data.len() as u32).unwrap();
                bytes.extend(data);
            }
            Run::Hole(length) => {
                writer.push_hole(u64::from(*length)).unwrap();
                bytes.resize(bytes.len() + usize::from(*length), 0);
            }
        }
    }
    (writer.finish().unwrap(), bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reads_agree_with_plain_bytes(
        runs in runs(3000),
        reads in prop::collection::vec((any::<prop::sample::Index>(), 0usize..5000), 1..20),
    ) {
        let memory = Memory::default();
        let (content, bytes) = write(&memory, &runs);
        let reader = ContentReader::new(&memory, content, bytes.len() as u64);
        for (offset, length) in reads {
            let offset = offset.index(bytes.len() + 2);
            let mut buffer = vec![0xee; 3];
            reader.read_into(offset as u64, length, &mut buffer).unwrap();
            let expected = bytes.get(offset..).unwrap_or_default();
            let expected = &expected[..length.min(expected.len())];
            prop_assert_eq!(&buffer[3..], expected);
        }
    }

    #[test]
    fn extents_are_exactly_the_data(runs in runs(500)) {
        let memory = Memory::default();
        let (content, bytes) = write(&memory, &runs);
        let reader = ContentReader::new(&memory, content, bytes.len() as u64);
        let mut rebuilt = vec![0; bytes.len()];
        for (offset, length) in reader.extents().unwrap() {
            let range = offset as usize..(offset + length) as usize;
            prop_assert!(bytes[range.clone()].iter().all(|byte| *byte != 0));
            prop_assert_eq!(reader.next_data(offset).unwrap().map(|data| data.0), Some(offset));
            rebuilt[range.clone()].copy_from_slice(&bytes[range]);
        }
        prop_assert_eq!(rebuilt, bytes);
    }

    #[test]
    fn damaged_lists_are_refused_or_read_but_never_panic(
        runs in runs(200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        size in prop_oneof![Just(u64::MAX), 0u64..5000],
    ) {
        let memory = Memory::default();
        let (content, bytes) = write(&memory, &runs);
        let (Content::List(digest) | Content::SparseList(digest)) = content else { return Ok(()); };
        let mut page = (&memory).page(&digest).unwrap().to_vec();
        for (at, value) in flips {
            let at = at.index(page.len());
            page[at] ^= value;
        }
        let content = Content::List(memory.put(page).unwrap());
        for size in [size, bytes.len() as u64] {
            let reader = ContentReader::new(&memory, content, size);
            for offset in [0, 700] {
                let _ = reader.read_into(offset, 3000, &mut Vec::new());
            }
            let _ = (reader.chunks(0, size), reader.walk(&mut |_| Ok(())), reader.next_data(9));
        }
    }

    #[test]
    fn random_bytes_are_no_list(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ListPage::decode(&bytes);
    }
}

#[test]
fn the_simplest_form_is_chosen() {
    let memory = Memory::default();
    let data = Run::Data(vec![1; 9]);
    let is = |runs: &[Run]| write(&memory, runs).0;
    assert_eq!(is(&[]), Content::Hole);
    assert_eq!(is(&[Run::Hole(4), Run::Hole(5)]), Content::Hole);
    let chunk = Content::Chunk(Digest::of(&[1; 9]));
    assert_eq!(is(std::slice::from_ref(&data)), chunk);
    assert!(matches!(
        is(&[data.clone(), Run::Hole(1)]),
        Content::SparseList(_)
    ));
    assert!(matches!(is(&[data.clone(), data]), Content::List(_)));
}

#[test]
fn a_long_list_has_levels_and_a_change_leaves_most_pages_as_they_were() {
    let memory = Memory::default();
    let mut put = |page| memory.put(page);
    let list = |changed: u32, put: &mut dyn FnMut(Vec<u8>) -> Result<Digest>| {
        let mut pages = HashSet::new();
        let mut noted = |page: Vec<u8>| {
            pages.insert(Digest::of(&page));
            put(page)
        };
        let mut writer = ListWriter::new(&mut noted);
        for number in 0..40_000u32 {
            let number = if number == 20_000 { changed } else { number };
            let digest = Digest::of(&number.to_le_bytes());
            writer.push_chunk(digest, 65_536).unwrap();
        }
        (writer.finish().unwrap(), pages)
    };
    let (content, before) = list(20_000, &mut put);
    let (_, after) = list(1 << 30, &mut put);
    assert!(before.len() > 30 && after.difference(&before).count() <= 3);
    let reader = ContentReader::new(&memory, content, 40_000 * 65_536);
    let chunk = reader.chunks(30_000 * 65_536 + 5, 1).unwrap();
    assert_eq!(chunk, [Digest::of(&30_000u32.to_le_bytes())]);
    assert_eq!(reader.extents().unwrap(), [(0, 40_000 * 65_536)]);
}

#[test]
fn files_beyond_the_limit_are_refused() {
    let mut put = |page: Vec<u8>| Ok(Digest::of(&page));
    let mut writer = ListWriter::new(&mut put);
    writer.push_hole(i64::MAX as u64).unwrap();
    assert!(writer.push_hole(1).is_err());
    assert!(writer.push_chunk(Digest::of(b""), 0).is_err());
}
