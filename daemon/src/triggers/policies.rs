//! Which containers are captured when they end: labels of theirs, and files of a folder. A label wins over files, and of files the
//! first by name that fits.
//!
//! A file that cannot be understood is left out and told; the others hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use snap_fs::capture::Exclude;
use snap_store::{EndCause, Namespace, SnapshotName};

use crate::config::Config;

/// Labels of a container.
const ON_LABEL: &str = "snapshotd.io/auto-on";
const NAME_LABEL: &str = "snapshotd.io/auto-name";
const TTL_LABEL: &str = "snapshotd.io/auto-ttl";
/// Most files that are read, and most bytes of one.
const MAX_FILES: usize = 1000;
const MAX_FILE_BYTES: u64 = 64 << 10;
/// The namespace of a file that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// The files of the folder.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Those that hold, by name.
    pub(crate) files: Vec<Policy>,
    /// Those that cannot be understood.
    pub(crate) bad: Vec<Bad>,
}

/// A file that cannot be understood, or the folder when it cannot be read.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

/// A file that holds.
#[derive(Debug)]
pub(crate) struct Policy {
    path: PathBuf,
    namespace: Namespace,
    container: Exclude,
    on: BTreeSet<EndCause>,
    name: Option<SnapshotName>,
    ttl: Ttl,
}

/// How long what is made is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    /// As the daemon is configured.
    Default,
    /// So long; `None` for ever.
    Set(Option<Duration>),
}

/// What holds for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Upon which ends it is captured.
    pub(crate) on: BTreeSet<EndCause>,
    /// Under which name.
    pub(crate) name: SnapshotName,
    /// How long what is made is kept.
    pub(crate) ttl: Ttl,
    /// Who says so: `label`, or the path of a file.
    pub(crate) from: String,
}

/// A file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    namespace: Option<String>,
    container: String,
    on: Vec<String>,
    name: Option<String>,
    ttl: Option<String>,
}

impl Policies {
    /// Reads the files of `folder` whose names end in `.toml`; none when there is no such folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut policies = Self::default();
        let bad = |path: &Path, why: String| Bad {
            path: path.to_owned(),
            why,
        };
        let paths = match list(folder) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return policies,
            Err(error) => {
                policies.bad.push(bad(folder, error.to_string()));
                return policies;
            }
        };
        if paths.len() > MAX_FILES {
            let why = format!("it has more than {MAX_FILES} files");
            policies.bad.push(bad(folder, why));
        }
        for path in paths.into_iter().take(MAX_FILES) {
            match text_of(&path).and_then(|text| Policy::parse(&path, &text)) {
                Ok(policy) => policies.files.push(policy),
                Err(why) => policies.bad.push(bad(&path, why)),
            }
        }
        policies
    }

    /// What holds for a container; `None` when nothing does.
    ///
    /// # Errors
    /// What is wrong with its labels, or why its id is no name.
    pub(crate) fn of(
        &self,
        namespace: &Namespace,
        id: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Option<Wish>, String> {
        if let Some(on) = labels.get(ON_LABEL) {
            let words: Vec<_> = on.split(',').map(|word| word.trim().to_owned()).collect();
            return Ok(Some(Wish {
                on: causes(&words)?,
                name: name(labels.get(NAME_LABEL).map_or(id, String::as_str))?,
                ttl: ttl(labels.get(TTL_LABEL).map(String::as_str))?,
                from: "label".to_owned(),
            }));
        }
        let fits = |policy: &&Policy| {
            policy.namespace == *namespace && policy.container.matches(id.as_bytes(), false)
        };
        let Some(policy) = self.files.iter().find(fits) else {
            return Ok(None);
        };
        Ok(Some(Wish {
            on: policy.on.clone(),
            name: policy.name.clone().map_or_else(|| name(id), Ok)?,
            ttl: policy.ttl,
            from: policy.path.display().to_string(),
        }))
    }
}

impl Policy {
    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let namespace = written.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        if written.container.contains('/') {
            return Err(format!(
                "`{}` is no pattern of ids: it holds a `/`",
                written.container
            ));
        }
        let said = |error: snap_store::Error| error.to_string();
        Ok(Self {
            path: path.to_owned(),
            namespace: namespace.parse().map_err(said)?,
            container: Exclude::new(&[written.container]).map_err(said)?,
            on: causes(&written.on)?,
            name: written.name.as_deref().map(name).transpose()?,
            ttl: ttl(written.ttl.as_deref())?,
        })
    }
}

/// The files there are, by name.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn text_of(path: &Path) -> Result<String, String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    if about.len() > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn causes(words: &[String]) -> Result<BTreeSet<EndCause>, String> {
    let causes: BTreeSet<_> = words
        .iter()
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    match causes.is_empty() {
        true => Err("it names none of exit, stop and oom".to_owned()),
        false => Ok(causes),
    }
}

/// A name without a tag.
fn name(text: &str) -> Result<SnapshotName, String> {
    let name: SnapshotName = text
        .parse()
        .map_err(|error: snap_store::Error| error.to_string())?;
    match name.name() == text {
        true => Ok(name),
        false => Err(format!("`{text}` has a tag: give the name alone")),
    }
}

fn ttl(text: Option<&str>) -> Result<Ttl, String> {
    let length = match text {
        None => return Ok(Ttl::Default),
        Some("never" | "0") => return Ok(Ttl::Set(None)),
        Some(text) => humantime::parse_duration(text)
            .map_err(|error| format!("`{text}` is no time to live: {error}"))?,
    };
    match (1..=Config::MAX_TTL_SECONDS).contains(&length.as_secs()) {
        true => Ok(Ttl::Set(Some(length))),
        false => Err("a time to live is between one second and 100 years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn folder(files: &[(&str, &str)]) -> (Policies, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        (Policies::read(folder.path()), folder)
    }

    #[test]
    fn the_first_file_that_fits_holds_and_a_label_wins() {
        let (policies, _folder) = folder(&[
            ("20-all.toml", "container = \"*\"\non = [\"oom\"]"),
            (
                "10-web.toml",
                "container = \"web-*\"\non = [\"exit\", \"stop\"]\nname = \"web\"\nttl = \"7days\"",
            ),
            (
                "30-other.toml",
                "namespace = \"other\"\ncontainer = \"x\"\non = [\"exit\"]",
            ),
            ("notes.txt", "not one of them"),
        ]);
        assert!(policies.bad.is_empty(), "{policies:?}");
        let namespace: Namespace = "default".parse().unwrap();
        let of = |id: &str, pairs: &[(&str, &str)]| policies.of(&namespace, id, &labels(pairs));
        let web = of("web-1", &[]).unwrap().unwrap();
        assert_eq!((web.name.name(), web.on.len()), ("web", 2));
        assert_eq!(web.ttl, Ttl::Set(Some(Duration::from_secs(7 * 24 * 3600))));
        assert!(web.from.ends_with("10-web.toml"));
        let any = of("db", &[]).unwrap().unwrap();
        assert_eq!((any.name.name(), any.ttl), ("db", Ttl::Default));
        let own = [
            (ON_LABEL, "stop, exit"),
            (NAME_LABEL, "last"),
            (TTL_LABEL, "never"),
        ];
        let own = of("web-1", &own).unwrap().unwrap();
        assert_eq!(
            (own.name.name(), own.ttl, &*own.from),
            ("last", Ttl::Set(None), "label")
        );
        let elsewhere = policies.of(&"third".parse().unwrap(), "web-1", &labels(&[]));
        assert_eq!(elsewhere, Ok(None));
        assert!(of("Upper", &[]).is_err(), "it is no name");
        assert!(of("a", &[(ON_LABEL, "start")]).is_err());
        assert!(of("a", &[(ON_LABEL, "exit"), (NAME_LABEL, "a:b")]).is_err());
        assert!(of("a", &[(ON_LABEL, "exit"), (TTL_LABEL, "soon")]).is_err());
    }

    #[test]
    fn what_cannot_be_understood_is_left_out_and_told() {
        let good = "container = \"a\"\non = [\"exit\"]";
        let bad = [
            ("a.toml", "container = 7"),
            ("b.toml", "on = [\"exit\"]"),
            ("c.toml", "container = \"a\"\non = []"),
            ("d.toml", "container = \"a\"\non = [\"start\"]"),
            (
                "e.toml",
                "container = \"a\"\non = [\"exit\"]\ncolour = \"red\"",
            ),
            ("f.toml", "container = \"a/b\"\non = [\"exit\"]"),
            ("g.toml", "container = \"[a\"\non = [\"exit\"]"),
            (
                "h.toml",
                "container = \"a\"\non = [\"exit\"]\nttl = \"500years\"",
            ),
            (
                "i.toml",
                "container = \"a\"\non = [\"exit\"]\nnamespace = \"a..b\"",
            ),
            ("j.toml", "not toml"),
        ];
        let (policies, _folder) = folder(&[&bad[..], &[("z.toml", good)]].concat());
        let told: Vec<_> = policies
            .bad
            .iter()
            .map(|bad| bad.path.file_name().unwrap())
            .collect();
        assert_eq!(told, bad.map(|(name, _)| name));
        assert_eq!(policies.files.len(), 1);
        let missing = Policies::read(Path::new("/no/such/folder"));
        assert!(missing.bad.is_empty() && missing.files.is_empty());
    }
}
