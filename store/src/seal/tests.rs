use proptest::prelude::*;

use super::*;
use crate::store::tests::noise;

const GOLDEN_TEXT: &[u8] = b"a chunk as it is";

fn key(number: u8) -> SealKey {
    let mut secret = [number; 32];
    secret[0] = !number;
    SealKey::new(&secret)
}

fn sealed(key: &SealKey, raw: &[u8]) -> Vec<u8> {
    Sealer::new(key).unwrap().seal(raw).unwrap()
}

fn opened(key: &SealKey, envelope: &[u8]) -> Result<Vec<u8>> {
    key.open(&Digest::of(envelope), envelope)
}

#[test]
fn the_bytes_of_an_envelope_and_the_names_of_keys_are_for_ever() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden/chunk.sealed");
    let key = key(1);
    let envelope = seal_body(&key, GOLDEN_TEXT, GOLDEN_TEXT.len(), true).unwrap();
    if std::env::var_os("SNAPSHOTD_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &envelope).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(envelope, golden);
    assert_eq!(opened(&key, &golden).unwrap(), GOLDEN_TEXT);
    assert_eq!(golden[8..16], *key.id().as_bytes());
}

#[test]
fn equal_bytes_are_one_chunk_under_a_key_and_two_under_two() {
    let raw = noise(3, 100_000);
    assert_eq!(sealed(&key(1), &raw), sealed(&key(1), &raw));
    assert_ne!(
        sealed(&key(1), &raw)[FACTS_BYTES..],
        sealed(&key(2), &raw)[FACTS_BYTES..]
    );
}

/// Were nonces of the raw bytes, a release that compresses otherwise would encrypt two texts under one.
#[test]
fn the_same_bytes_compressed_otherwise_have_another_nonce() {
    let raw = vec![7; 5000];
    let (one, other) = (&raw[..100], &raw[..90]);
    let nonce = |body: &[u8]| {
        let envelope = seal_body(&key(1), body, raw.len(), false).unwrap();
        envelope[FACTS_BYTES..HEADER_BYTES].to_vec()
    };
    assert_ne!(nonce(one), nonce(other));
    assert_eq!(nonce(one), nonce(one));
}

#[test]
fn nothing_of_the_bytes_is_seen_and_they_are_compressed_first() {
    let raw = b"a secret that is repeated ".repeat(1000);
    let envelope = sealed(&key(1), &raw);
    assert!(envelope.len() < raw.len() / 10);
    let noise = noise(9, 4096);
    let envelope = sealed(&key(1), &noise);
    assert_eq!(envelope.len(), noise.len() + HEADER_BYTES + TAG_BYTES);
    let seen = envelope
        .windows(8)
        .any(|window| noise.windows(8).any(|part| part == window));
    assert!(!seen);
}

#[test]
fn any_flipped_bit_and_any_other_key_is_noticed() {
    let envelope = sealed(&key(1), b"a short secret");
    for at in 0..envelope.len() * 8 {
        let mut damaged = envelope.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(opened(&key(1), &damaged).is_err(), "bit {at}");
    }
    for length in 0..envelope.len() {
        assert!(opened(&key(1), &envelope[..length]).is_err(), "{length}");
    }
    assert!(opened(&key(2), &envelope).is_err());
}

#[test]
fn a_later_envelope_is_refused_in_words() {
    let mut envelope = sealed(&key(1), b"text");
    envelope[4] = 2;
    let error = opened(&key(1), &envelope).unwrap_err().to_string();
    assert!(error.contains("a later release"), "{error}");
}

#[test]
fn a_tree_is_vouched_for_by_its_key_alone() {
    let root = TreeRef {
        digest: Digest::of(b"tree"),
        nodes: 3,
    };
    let other = TreeRef { nodes: 4, ..root };
    let seal = key(1).seal(&root, 10);
    assert!(key(1).vouches_for(&seal, &root, 10));
    assert!(!key(1).vouches_for(&seal, &other, 10));
    assert!(!key(1).vouches_for(&seal, &root, 11));
    let forged = Seal {
        key: key(2).id(),
        ..seal
    };
    assert!(!key(2).vouches_for(&forged, &root, 10));
    assert!(!key(2).vouches_for(&seal, &root, 10));
}

#[test]
fn a_key_shows_its_name_alone() {
    assert_eq!(format!("{:?}", key(1)), format!("SealKey({})", key(1).id()));
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened(raw in proptest::collection::vec(any::<u8>(), 0..5000), repeat in 1..20_usize) {
        let raw = raw.repeat(repeat);
        prop_assert_eq!(opened(&key(1), &sealed(&key(1), &raw)).unwrap(), raw);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz::envelope(&bytes);
        fuzz::envelope(&[b"SEAL\x01\0\0\0", &bytes[..]].concat());
        fuzz::keys(&bytes);
    }
}
