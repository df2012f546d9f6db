use proptest::prelude::*;

use super::*;
use crate::disk::doubles::MemoryDisk;

const PATH: &str = "golden.pack";
/// The zstd frame of [`COMPRESSED`], as bytes, so that the golden pack does not depend on the compressor's release.
const FRAME: &[u8] = include_bytes!("../../tests/golden/chunk-v1.zst");
const GOLDEN: &[u8] = include_bytes!("../../tests/golden/pack-v1.pack");
const PLAIN: &[u8] = b"a chunk as it is";

fn compressed() -> Vec<u8> {
    b"a chunk that shrinks ".repeat(200)
}

/// Writes the golden pack.
fn write(disk: &MemoryDisk) -> SealedPack {
    let mut pack = PackWriter::create(disk, Path::new(PATH), 0).unwrap();
    let raw = compressed();
    pack.append(Digest::of(PLAIN), PLAIN, PLAIN.len(), true)
        .unwrap();
    pack.append(Digest::of(&raw), FRAME, raw.len(), false)
        .unwrap();
    pack.seal().unwrap()
}

fn bytes(disk: &MemoryDisk) -> Vec<u8> {
    let file = disk.open(Path::new(PATH)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_bytes_of_a_pack_are_for_ever() {
    let disk = MemoryDisk::default();
    let sealed = write(&disk);
    assert_eq!(bytes(&disk), GOLDEN);
    assert_eq!(sealed.id.to_string(), "924face657ef7618fd14af61a455291b");
}

#[test]
fn a_released_pack_is_read() {
    let disk = MemoryDisk::default();
    let mut sink = disk.create(Path::new(PATH)).unwrap();
    sink.append(GOLDEN).unwrap();
    let footer = Footer::read(&disk, Path::new(PATH)).unwrap();
    let file = disk.open(Path::new(PATH)).unwrap();
    let chunks = footer
        .records
        .iter()
        .map(|(digest, frame)| unframe(&*file, frame, digest, &footer.id).unwrap());
    let mut chunks: Vec<_> = chunks.collect();
    chunks.sort();
    assert_eq!(chunks, [PLAIN.to_vec(), compressed()]);
}

#[test]
fn what_shrinks_by_less_than_a_sixteenth_is_stored_as_it_is() {
    let mut framer = Framer::new().unwrap();
    let noise = crate::store::tests::noise(1, 5000);
    assert_eq!(framer.frame(&noise).unwrap(), (&noise[..], true));
    let (stored, is_plain) = framer.frame(&[7; 5000]).map(|(s, p)| (s.len(), p)).unwrap();
    assert!(stored < 100 && !is_plain);
    assert_eq!(framer.frame(b"").unwrap(), (&b""[..], true));
}

#[test]
fn any_flipped_byte_outside_the_frames_is_noticed() {
    let disk = MemoryDisk::default();
    write(&disk);
    let frames_end = GOLDEN.len() - TRAILER_BYTES - 2 * RECORD_BYTES;
    let places = (0..HEADER_BYTES as usize).chain(frames_end..GOLDEN.len());
    for at in places {
        disk.damage(Path::new(PATH), |bytes| bytes[at] ^= 0x21);
        let footer = Footer::read(&disk, Path::new(PATH));
        assert!(footer.is_err(), "byte {at}");
        disk.damage(Path::new(PATH), |bytes| bytes[at] ^= 0x21);
    }
    Footer::read(&disk, Path::new(PATH)).unwrap();
}

#[test]
fn a_pack_cut_anywhere_has_no_footer() {
    for length in 0..GOLDEN.len() {
        let disk = MemoryDisk::default();
        let mut sink = disk.create(Path::new(PATH)).unwrap();
        sink.append(&GOLDEN[..length]).unwrap();
        assert!(Footer::read(&disk, Path::new(PATH)).is_err());
    }
}

#[test]
fn a_newer_pack_is_incompatible() {
    let disk = MemoryDisk::default();
    write(&disk);
    disk.damage(Path::new(PATH), |bytes| bytes[8] = 2);
    let footer = Footer::read(&disk, Path::new(PATH));
    assert!(matches!(footer, Err(Error::Incompatible { found: 2, .. })));
}

#[test]
fn a_frame_that_claims_too_much_is_refused_before_it_is_read() {
    let disk = MemoryDisk::default();
    write(&disk);
    let file = disk.open(Path::new(PATH)).unwrap();
    let frame = Frame {
        offset: 16,
        stored_bytes: u32::MAX,
        raw_bytes: u32::MAX,
        is_plain: true,
    };
    let raw = unframe(&*file, &frame, &Digest::of(PLAIN), &"0");
    assert!(matches!(raw, Err(Error::Corrupt { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), count in 0u32..4) {
        let check = Digest::of(&bytes);
        let trailer = Trailer { footer_at: 1000, count, check };
        let _any = decode_footer(&bytes, &trailer);
        bytes.resize(TRAILER_BYTES, 0);
        let _any = Trailer::decode(bytes.as_slice().try_into().unwrap(), 1000);
    }

    #[test]
    fn records_round_trip(offsets in proptest::collection::vec((16u32..1000, 1u32..500, any::<bool>()), 0..50)) {
        let record = |(number, (offset, raw_bytes, is_plain)): (usize, (u32, u32, bool))| {
            let stored_bytes = if is_plain { raw_bytes } else { raw_bytes - 1 };
            (Digest::of(&number.to_le_bytes()), Frame { offset, stored_bytes, raw_bytes, is_plain })
        };
        let mut records: Vec<_> = offsets.into_iter().enumerate().map(record).collect();
        let (bytes, id) = encode_footer(&mut records, 2000);
        let (footer, trailer) = bytes.split_at(bytes.len() - TRAILER_BYTES);
        let trailer = Trailer::decode(trailer.try_into().unwrap(), 2000 + footer.len() as u64).unwrap();
        let decoded = decode_footer(footer, &trailer).unwrap();
        prop_assert_eq!(decoded.id, id);
        prop_assert_eq!(decoded.records, records);
    }
}
