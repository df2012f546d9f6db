//! Paths on the wire: any bytes a Linux path may hold, as one readable string.
//!
//! Valid UTF-8 stands as it is; a backslash is doubled and every byte that is not UTF-8 becomes `\xNN`,
//! so that the text can be read, printed and turned back without loss.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A path of arbitrary bytes that serialises as an escaped string.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WirePath(Vec<u8>);

impl WirePath {
    /// The path of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes as a path of the standard library.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The same bytes as an owned path.
    #[must_use]
    pub fn into_path(self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.0))
    }
}

impl From<&Path> for WirePath {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl fmt::Display for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.utf8_chunks() {
            f.write_str(&part.valid().replace('\\', "\\\\"))?;
            for byte in part.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for WirePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` has a backslash that is neither `\\\\` nor `\\xNN`");
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            match rest {
                [b'\\', tail @ ..] => {
                    bytes.push(b'\\');
                    rest = tail;
                }
                [b'x', high, low, tail @ ..] => {
                    let digits = [*high, *low];
                    let digits = str::from_utf8(&digits).map_err(|_| bad())?;
                    bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
                    rest = tail;
                }
                _ => return Err(bad()),
            }
        }
        Ok(Self(bytes))
    }
}

impl Serialize for WirePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WirePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for WirePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A path of Linux, which is bytes: UTF-8 stands as it is, a backslash is doubled, and each other byte is `\\xNN`.",
            "pattern": r"^([^\\]|\\\\|\\x[0-9a-f]{2})*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::WirePath;

    #[test]
    fn any_bytes_survive_the_round_trip_as_text() {
        let all: Vec<u8> = (1..=255).collect();
        for bytes in [
            b"plain".to_vec(),
            b"back\\slash\\x41".to_vec(),
            b"\xff\xfe/\xc3\xa9".to_vec(),
            all,
        ] {
            let path = WirePath::new(bytes.clone());
            let text = path.to_string();
            assert_eq!(
                text.parse::<WirePath>().unwrap().as_bytes(),
                bytes,
                "{text}"
            );
        }
    }

    #[test]
    fn a_lone_backslash_is_refused() {
        assert!("a\\b".parse::<WirePath>().is_err());
        assert!("a\\x4".parse::<WirePath>().is_err());
    }
}
