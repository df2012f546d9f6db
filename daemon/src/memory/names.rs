//! The host name in CRIU's image of a UTS namespace: it is the original's, and each clone has one of its own.
//!
//! CRIU sets it before any process runs, so none of them ever sees the original's.

use prost::Message;

/// Two words begin each image: one of all of them, one of their kind.
const MAGIC: [u32; 2] = [0x5456_4319, 0x5447_3203];
/// The two words, and the length of the only message.
const HEADER_BYTES: usize = 12;
/// Longer ones are none of CRIU's: two names of 64 bytes are in it.
pub(super) const MAX_BYTES: u64 = 4096;

/// `utsns_entry` of CRIU's `images/utsns.proto`.
#[derive(Clone, PartialEq, Message)]
struct Names {
    #[prost(string, required, tag = "1")]
    host: String,
    #[prost(string, required, tag = "2")]
    domain: String,
}

/// True for the image of a UTS namespace.
pub(super) fn is_of_names(file: &str) -> bool {
    file.starts_with("utsns-") && file.ends_with(".img")
}

/// The image with another host name; `None` when it is none.
pub(super) fn renamed(image: &[u8], host: &str) -> Option<Vec<u8>> {
    let word = |at: usize| -> Option<u32> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    if [word(0)?, word(4)?] != MAGIC {
        return None;
    }
    let message = image.get(HEADER_BYTES..)?;
    if word(8)? as usize != message.len() {
        return None;
    }
    let names = Names {
        host: host.to_owned(),
        ..Names::decode(message).ok()?
    };
    let message = names.encode_to_vec();
    let mut new = image.get(..8)?.to_vec();
    new.extend(u32::try_from(message.len()).ok()?.to_le_bytes());
    new.extend(message);
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_name_changes() {
        let image = b"\x19\x43\x56\x54\x03\x32\x47\x54\x0b\0\0\0\x0a\x03web\x12\x04home";
        let new = renamed(image, "clone-1").unwrap();
        assert_eq!(
            new,
            b"\x19\x43\x56\x54\x03\x32\x47\x54\x0f\0\0\0\x0a\x07clone-1\x12\x04home"
        );
        assert!(is_of_names("utsns-10.img") && !is_of_names("uts.img"));
    }

    #[test]
    fn what_is_no_such_image_is_refused() {
        let image = b"\x19\x43\x56\x54\x03\x32\x47\x54\x0b\0\0\0\x0a\x03web\x12\x04home";
        for length in 0..image.len() {
            assert_eq!(renamed(&image[..length], "x"), None, "{length}");
        }
        let mut other = image.to_vec();
        other[4] = 0;
        assert_eq!(renamed(&other, "x"), None);
        other[4] = 3;
        other[8] = 255;
        assert_eq!(renamed(&other, "x"), None);
    }
}
