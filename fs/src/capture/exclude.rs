//! Patterns of paths that are left out.
//!
//! The rules are those of gitignore without negation: `*` and `?` match within a name, `[a-z]`, `[!a-z]` one byte of
//! a set, `\` takes the next byte as it is, `**` as a whole component any number of components. A pattern with a `/`
//! at its beginning or within it is anchored at the top; any other matches a name at every depth. A `/` at the end
//! matches folders alone. What is below a folder that matches is left out with it.
//!
//! Matching takes time proportional to pattern times path at most: neither stars nor `**` branch.

use snap_store::{Error, Result};

use super::Exclude;

/// One pattern, by components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    folders_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`
    AnyDepth,
    Name(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    /// `*`
    AnyRun,
    Set {
        ranges: Vec<(u8, u8)>,
        negated: bool,
    },
}

impl Exclude {
    /// Compiles the patterns; `Invalid` names the one that is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a pattern is empty or a `[` or `\` is not completed.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let patterns = patterns.iter().map(|text| Pattern::new(text));
        Ok(Self {
            patterns: patterns.collect::<Result<_>>()?,
            only: Vec::new(),
        })
    }

    /// The same, with everything left out but what is at the path of these names. No names leave nothing out.
    #[must_use]
    pub fn all_but(mut self, names: &[&[u8]]) -> Self {
        self.only = names.join(&b'/');
        self
    }

    /// True when a pattern matches `path`, components joined by `/`. What leads to what alone is wanted matches none.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        let Some(path) = self.below(path).filter(|_| !self.patterns.is_empty()) else {
            return false;
        };
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        self.patterns
            .iter()
            .any(|pattern| (is_folder || !pattern.folders_only) && pattern.matches(&names))
    }

    /// Of the folder at `path` that leads to what alone is wanted: the only name in it to look at. `None` where all of them are.
    pub(super) fn only_name(&self, path: &[u8]) -> Option<&[u8]> {
        let rest = match path {
            b"" => &self.only[..],
            path => self.only.strip_prefix(path)?.strip_prefix(b"/")?,
        };
        let end = rest.iter().position(|byte| *byte == b'/');
        let name = &rest[..end.unwrap_or(rest.len())];
        (!name.is_empty()).then_some(name)
    }

    /// The path from where patterns begin to apply; `None` before that.
    fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match &self.only[..] {
            b"" => Some(path),
            only => path.strip_prefix(only)?.strip_prefix(b"/"),
        }
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::Invalid {
            what: "exclude pattern",
            why: format!("`{text}` {why}"),
        };
        let (body, folders_only) = match text.strip_suffix('/') {
            Some(body) => (body, true),
            None => (text, false),
        };
        let is_anchored = body.contains('/');
        let body = body.strip_prefix('/').unwrap_or(body);
        let mut parts = Vec::new();
        if !is_anchored {
            parts.push(Part::AnyDepth);
        }
        for component in body.split('/') {
            parts.push(match component {
                "" => return Err(invalid("has an empty component")),
                "." | ".." => return Err(invalid("has a component `.` or `..`")),
                "**" => Part::AnyDepth,
                name => Part::Name(tokens(name.as_bytes()).map_err(invalid)?),
            });
        }
        Ok(Self {
            parts,
            folders_only,
        })
    }

    fn matches(&self, names: &[&[u8]]) -> bool {
        wildcard(
            &self.parts,
            names,
            |part| *part == Part::AnyDepth,
            |part, name| match part {
                Part::AnyDepth => true,
                Part::Name(tokens) => wildcard(
                    tokens,
                    name,
                    |token| *token == Token::AnyRun,
                    Token::matches,
                ),
            },
        )
    }
}

impl Token {
    fn matches(&self, byte: &u8) -> bool {
        match self {
            Self::Byte(own) => own == byte,
            Self::AnyByte | Self::AnyRun => true,
            Self::Set { ranges, negated } => {
                let within = |(first, last): &(u8, u8)| (first..=last).contains(&byte);
                ranges.iter().any(within) != *negated
            }
        }
    }
}

/// Matches all of `items` against `pattern`, in which what `is_star` matches any run. A later star never needs an
/// earlier one to give back what it took, so one point to fall back to is enough.
fn wildcard<P, I>(
    pattern: &[P],
    items: &[I],
    is_star: impl Fn(&P) -> bool,
    matches: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut at, mut item, mut fallback) = (0, 0, None);
    while item < items.len() {
        match pattern.get(at) {
            Some(star) if is_star(star) => {
                fallback = Some((at + 1, item));
                at += 1;
            }
            Some(one) if matches(one, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => {
                let Some((after_star, taken)) = fallback else {
                    return false;
                };
                fallback = Some((after_star, taken + 1));
                (at, item) = (after_star, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(is_star)
}

fn tokens(name: &[u8]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = name;
    while let [byte, after @ ..] = rest {
        rest = after;
        tokens.push(match byte {
            b'*' => Token::AnyRun,
            b'?' => Token::AnyByte,
            b'[' => {
                let (set, after) = set(rest)?;
                rest = after;
                set
            }
            b'\\' => {
                let (escaped, after) = rest
                    .split_first()
                    .ok_or("ends with a `\\` that has nothing to take as it is")?;
                rest = after;
                Token::Byte(*escaped)
            }
            byte => Token::Byte(*byte),
        });
    }
    Ok(tokens)
}

/// Reads a set after its `[` and returns what follows its `]`.
fn set(text: &[u8]) -> Result<(Token, &[u8]), &'static str> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    loop {
        rest = match rest {
            // A `]` at the beginning is a member.
            [b']', after @ ..] if !ranges.is_empty() => {
                return Ok((Token::Set { ranges, negated }, after));
            }
            [first, b'-', last, after @ ..] if *last != b']' => {
                ranges.push((*first, *last));
                after
            }
            [byte, after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
            [] => return Err("has a `[` without its `]`"),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excludes(pattern: &str, path: &str, is_folder: bool) -> bool {
        Exclude::new(&[pattern.to_owned()])
            .unwrap()
            .matches(path.as_bytes(), is_folder)
    }

    #[test]
    fn patterns_match_what_is_documented() {
        for (pattern, path) in [
            ("*.log", "a.log"),
            ("*.log", "var/log/a.log"),
            ("/a.log", "a.log"),
            ("var/*", "var/x"),
            ("/var/**/x", "var/x"),
            ("/var/**/x", "var/a/b/x"),
            ("**/x", "a/x"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("\\*", "*"),
            ("a*b*c", "aXbYbZc"),
            ("node_modules/", "src/node_modules"),
        ] {
            assert!(excludes(pattern, path, true), "{pattern} {path}");
        }
    }

    #[test]
    fn with_one_path_alone_patterns_count_from_there() {
        let patterns = ["/x".to_owned(), "*.log".to_owned()];
        let only = Exclude::new(&patterns).unwrap().all_but(&[b"srv", b"a"]);
        for (path, is_out) in [
            ("srv", false),
            ("srv/a", false),
            ("x", false),
            ("srv/ab/x", false),
            ("srv/a/x", true),
            ("srv/a/b/x", false),
            ("srv/a/b/c.log", true),
        ] {
            assert_eq!(only.matches(path.as_bytes(), true), is_out, "{path}");
        }
        for (folder, name) in [
            ("", Some("srv")),
            ("srv", Some("a")),
            ("srv/a", None),
            ("srv/a/b", None),
            ("sr", None),
        ] {
            let found = only.only_name(folder.as_bytes());
            assert_eq!(found, name.map(str::as_bytes), "{folder}");
        }
        assert_eq!(Exclude::default().all_but(&[]).only_name(b""), None);
    }

    #[test]
    fn patterns_match_nothing_else() {
        for (pattern, path) in [
            ("*.log", "a.logs"),
            ("/a.log", "b/a.log"),
            ("var/*", "usr/var/x"),
            ("var/*", "var/x/y"),
            ("a?c", "a/c"),
            ("[a-c]x", "dx"),
            ("\\*", "x"),
            ("a*b*c", "abcX"),
            ("cache/", "cache"),
        ] {
            assert!(!excludes(pattern, path, false), "{pattern} {path}");
        }
    }

    #[test]
    fn incomplete_patterns_are_invalid() {
        for pattern in ["", "/", "a//b", "[a", "a\\", "../x", "./x", "[]"] {
            assert!(Exclude::new(&[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_they_must() {
        let pattern = "a*".repeat(1000);
        assert!(!excludes(
            &format!("{pattern}b"),
            &"a".repeat(20_000),
            false
        ));
    }

    proptest! {
        #[test]
        fn escaped_names_match_themselves(name in "[a-z*?\\[\\]\\\\]{1,12}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(excludes(&escaped, &name, false));
        }
    }
}
