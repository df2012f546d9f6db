//! Little-endian fields out of bytes nobody vouches for: every read is checked, nothing is allocated.
//!
//! Decoders built on it are pure: `&[u8]` to a value, or a sentence that says what is wrong.
//! The caller, who knows which thing the bytes belong to, turns the sentence into an error.

use std::fmt;

use crate::error::Error;

/// What a decoder returns: the value, or what is wrong with the bytes.
pub(crate) type Decoded<T> = Result<T, &'static str>;

const SHORT: &str = "it ends too early";

/// Turns what is wrong with the bytes of `name` into an error.
pub(crate) fn corrupt<'a>(
    what: &'static str,
    name: &'a dyn fmt::Display,
) -> impl FnOnce(&'static str) -> Error + 'a {
    move |why| Error::Corrupt {
        what,
        name: name.to_string(),
        why: why.to_owned(),
    }
}

/// The bytes that have not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Decoded<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Decoded<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Seven bits a byte, lowest first, in the shortest form: one number has one encoding.
    pub(crate) fn varint(&mut self) -> Decoded<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err("a number in it is too large");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err("a number in it is longer than it must be")
                } else {
                    Ok(value)
                };
            }
        }
        Err("a number in it is too large")
    }

    /// The end of what must not go on.
    pub(crate) fn end(self) -> Decoded<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("it goes on after its end")
        }
    }
}

/// Appends `value` as [`Fields::varint`] reads it.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number of `N` bytes at `at`; zero bytes beyond the end never happen, because the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Decoded<u64> {
    Fields::new(bytes.get(at..).ok_or(SHORT)?).u64()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Decoded<u32> {
    Fields::new(bytes.get(at..).ok_or(SHORT)?).u32()
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Decoded<[u8; N]> {
    Fields::new(bytes.get(at..).ok_or(SHORT)?).array()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_has_one_encoding() {
        assert_eq!(Fields::new(&[0x80, 0x00]).varint().ok(), None);
        assert_eq!(Fields::new(&[0xff; 10]).varint().ok(), None);
        assert_eq!(Fields::new(&[0x80]).varint().ok(), None);
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.varint(), Ok(value));
            prop_assert_eq!(fields.end(), Ok(()));
        }
    }
}
