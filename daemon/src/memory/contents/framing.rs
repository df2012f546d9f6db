//! The frame of CRIU's images: words that say what it is, then messages, each after its length.

/// One image.
#[derive(Debug)]
pub(super) struct Image(Vec<u8>);

/// What every image of this kind begins with; a word of its own kind follows.
const MAGIC: u32 = 0x5456_4319;
const WORD: usize = 4;
/// More messages than the images of any container have.
const MAX_MESSAGES: usize = 1 << 20;

impl Image {
    /// The image in `bytes`; none when it does not begin as one.
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        (word(&bytes)? == MAGIC).then_some(Self(bytes))
    }

    /// Its messages; the last is `None` when it is cut short.
    pub(super) fn messages(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = self.0.get(2 * WORD..).unwrap_or_default();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let message = word(rest).and_then(|length| rest.get(WORD..)?.get(..length as usize));
            rest = match message {
                Some(message) => &rest[WORD + message.len()..],
                None => &[],
            };
            Some(message)
        })
        .take(MAX_MESSAGES)
    }
}

/// A message; none when it is none.
pub(super) fn decode<M: prost::Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

fn word(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.get(..WORD)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_up_to_where_the_image_is_cut() {
        let bytes = b"\x19\x43\x56\x54\0\0\0\0\x01\0\0\0a\x02\0\0\0bc\xff\0\0\0d";
        let image = Image::new(bytes.to_vec()).unwrap();
        let found: Vec<_> = image.messages().collect();
        assert_eq!(found, [Some(&b"a"[..]), Some(b"bc"), None]);
        for length in 0..bytes.len() {
            if let Some(image) = Image::new(bytes[..length].to_vec()) {
                assert!(image.messages().count() <= 3);
            }
        }
        assert!(Image::new(b"nothing at all".to_vec()).is_none());
    }
}
