//! Identities that cannot be mixed up or constructed wrong.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// Identity of a chunk: blake3 of its raw bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Self::LEN]);

/// Identity of a snapshot: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId([u8; Self::LEN]);

/// Identity of a pack: the first 128 bits of its footer's blake3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId([u8; Self::LEN]);

/// Public name of a key: derived from it, and of no use to find it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; Self::LEN]);

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The digest of `raw`.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        Self(*blake3::hash(raw).as_bytes())
    }
}

impl SnapshotId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; Self::LEN];
        getrandom::fill(&mut bytes)
            .expect("the kernel's random source does not fail once it is seeded");
        Self(bytes)
    }
}

impl KeyId {
    /// Length in bytes.
    pub const LEN: usize = 8;
}

impl PackId {
    /// Length in bytes.
    pub const LEN: usize = 16;
}

macro_rules! bytes_as_hex {
    ($type:ident, $what:literal) => {
        impl $type {
            /// The id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let invalid = || Error::Invalid {
                    what: $what,
                    why: format!(
                        "`{text}` is not {} lower-case hexadecimal digits",
                        Self::LEN * 2
                    ),
                };
                let mut bytes = [0; Self::LEN];
                if text.len() != Self::LEN * 2 {
                    return Err(invalid());
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    *byte = nibble(pair[0])
                        .zip(nibble(pair[1]))
                        .map(|(h, l)| h << 4 | l)
                        .ok_or_else(invalid)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

bytes_as_hex!(Digest, "digest");
bytes_as_hex!(SnapshotId, "snapshot id");
bytes_as_hex!(PackId, "pack id");
bytes_as_hex!(KeyId, "key id");

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trips_and_nothing_else_parses() {
        let id = SnapshotId::random();
        assert_eq!(id.to_string().parse::<SnapshotId>().unwrap(), id);
        for bad in ["", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
        }
    }
}
