//! Names people give: namespaces, `NAME:TAG`, and references to snapshots. Parsed at the edge, then trusted.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Result},
    ids::SnapshotId,
};

/// A namespace, as containerd allows it: letters and digits, with single `.`, `_`, `-` between them, at most 76 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Namespace(String);

/// `NAME:TAG`. A name is path-like: lower-case letters, digits and `._-/` between them, at most 128 bytes;
/// a tag is a word of letters, digits and `._-`, at most 128 bytes, `latest` unless given. A tag of digits alone is the number of a
/// version, which nobody may give ([`SnapshotName::require_tag`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotName {
    name: String,
    tag: String,
}

/// What a user may call a snapshot by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// A full id.
    Id(SnapshotId),
    /// Something that may be the beginning of an id (at least 4 hexadecimal digits) or a name.
    IdPrefixOrName(String, SnapshotName),
    /// A name and a tag.
    Name(SnapshotName),
}

impl Namespace {
    /// The namespace as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = text.split(['.', '_', '-']);
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if text.len() <= 76 && words.into_iter().all(is_word) {
            return Ok(Self(text.to_owned()));
        }
        let why = format!(
            "`{text}` is not letters and digits with single `.`, `_` or `-` between them, 76 at most"
        );
        Err(Error::Invalid {
            what: "namespace",
            why,
        })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SnapshotName {
    /// The tag that every create under a name moves.
    pub const LATEST: &str = "latest";

    /// The name without its tag.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The same name with the tag `latest`.
    #[must_use]
    pub fn latest(&self) -> Self {
        Self {
            name: self.name.clone(),
            tag: Self::LATEST.to_owned(),
        }
    }

    /// The same name with the number of a version.
    #[must_use]
    pub fn version(&self, number: u64) -> Self {
        Self {
            name: self.name.clone(),
            tag: number.to_string(),
        }
    }

    /// The number of the version it means, when its tag is digits alone; what is beyond every number is `u64::MAX`.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let is_number = self.tag.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| self.tag.parse().unwrap_or(u64::MAX))
    }

    /// Itself, when its tag is one that may be given; `Invalid` when it is the number of a version.
    pub fn require_tag(self) -> Result<Self> {
        match self.number() {
            None => Ok(self),
            Some(_) => Err(Error::Invalid {
                what: "tag",
                why: format!(
                    "`{}` is digits alone: {}:{} is a version, whose number is given when it is made; add a letter, as in `v{}`",
                    self.tag, self.name, self.tag, self.tag
                ),
            }),
        }
    }
}

impl FromStr for SnapshotName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, tag) = text.split_once(':').unwrap_or((text, Self::LATEST));
        let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = !name.is_empty()
            && name.len() <= 128
            && name.split('/').all(|part| {
                part.bytes().next().is_some_and(edge)
                    && part.bytes().last().is_some_and(edge)
                    && part
                        .bytes()
                        .all(|byte| edge(byte) || matches!(byte, b'.' | b'_' | b'-'))
            });
        if !is_name {
            let why = format!(
                "`{name}` is not a name of lower-case letters, digits and `._-` between them, parts set off by `/`, 128 bytes at most"
            );
            return Err(Error::Invalid {
                what: "snapshot name",
                why,
            });
        }
        let is_tag = tag.len() <= 128
            && tag
                .bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !is_tag {
            let why =
                format!("`{tag}` is not a word of letters, digits and `._-`, 128 bytes at most");
            return Err(Error::Invalid { what: "tag", why });
        }
        Ok(Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let name = text.parse()?;
        let is_prefix = (4..SnapshotId::LEN * 2).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        Ok(if is_prefix {
            Self::IdPrefixOrName(text.to_owned(), name)
        } else {
            Self::Name(name)
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::IdPrefixOrName(text, _) => f.write_str(text),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_with_their_tag() {
        let name: SnapshotName = "team/app.web:v1.2".parse().unwrap();
        assert_eq!((name.name(), name.tag()), ("team/app.web", "v1.2"));
        assert_eq!("app".parse::<SnapshotName>().unwrap().tag(), "latest");
        for bad in [
            "",
            ":",
            "a:",
            ":v1",
            "A",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a b",
            "a:b:c",
            "a:/",
            "ä",
            &"a".repeat(129),
        ] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_of_digits_alone_is_a_version_and_nobody_gives_it() {
        let name = |text: &str| text.parse::<SnapshotName>().unwrap();
        assert_eq!(name("app:12").number(), Some(12));
        assert_eq!(name("app:007").number(), Some(7));
        assert_eq!(
            name(&format!("app:{}", "9".repeat(128))).number(),
            Some(u64::MAX)
        );
        assert_eq!(name("app").version(3), name("app:3"));
        assert!(name("app:12").require_tag().is_err());
        for good in ["app", "app:v1", "app:1.2", "app:1_", "7"] {
            assert_eq!(name(good).number(), None, "{good}");
            assert_eq!(name(good).require_tag().unwrap(), name(good));
        }
    }

    #[test]
    fn namespaces_are_containerds() {
        for good in ["default", "k8s.io", "a-b_c.d9"] {
            assert!(good.parse::<Namespace>().is_ok(), "{good}");
        }
        for bad in ["", ".", "a..b", "-a", "a/b", "a b", &"a".repeat(77)] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_an_id_a_prefix_or_a_name() {
        assert!(matches!(
            "0123456789abcdef0123456789abcdef".parse().unwrap(),
            Reference::Id(_)
        ));
        assert!(matches!(
            "beef".parse().unwrap(),
            Reference::IdPrefixOrName(..)
        ));
        assert!(matches!("bee".parse().unwrap(), Reference::Name(_)));
        assert!(matches!("beef:v1".parse().unwrap(), Reference::Name(_)));
        assert!("no such".parse::<Reference>().is_err());
    }
}
