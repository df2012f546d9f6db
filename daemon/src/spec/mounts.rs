//! The mounts of an OCI spec, and which of them belong to the system rather than to the container.

use std::path::{Component, Path};

use serde_json::Value;
use snap_store::{Error, Result};

/// Most mounts a spec may have.
const MAX_MOUNTS: usize = 4096;

/// One mount of a spec, its types checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpecMount {
    /// Where it is mounted in the container; absolute, without `.` and `..`.
    pub(crate) destination: String,
    /// Type of its file system; `bind` for a folder or file of the host.
    pub(crate) kind: String,
    /// What is mounted.
    pub(crate) source: String,
    /// Options.
    pub(crate) options: Vec<String>,
}

impl SpecMount {
    /// The mounts of `spec`, in their order.
    ///
    /// # Errors
    /// `Corrupt` when they are not what the OCI specification says.
    pub(crate) fn read_all(spec: &Value) -> Result<Vec<Self>> {
        let mounts = match spec.get("mounts") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(mounts)) if mounts.len() <= MAX_MOUNTS => mounts,
            Some(_) => return Err(corrupt("it is not a list of at most 4096 mounts")),
        };
        mounts.iter().map(Self::read).collect()
    }

    fn read(mount: &Value) -> Result<Self> {
        let text = |name: &str| match mount.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) if !text.contains('\0') => Ok(text.clone()),
            Some(_) => Err(corrupt(&format!("the {name} of a mount is not text"))),
        };
        let destination = text("destination")?;
        if !is_plain(&destination) {
            return Err(corrupt(&format!("`{destination}` is not an absolute path")));
        }
        let options = match mount.get("options") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(options)) => options
                .iter()
                .map(|option| option.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| corrupt("an option of a mount is not text"))?,
            Some(_) => return Err(corrupt("the options of a mount are not a list")),
        };
        Ok(Self {
            destination,
            kind: text("type")?,
            source: text("source")?,
            options,
        })
    }

    /// True when a folder or file of the host appears in the container.
    pub(crate) fn is_bind(&self) -> bool {
        let binds = |option: &String| matches!(option.as_str(), "bind" | "rbind");
        self.kind == "bind" || self.options.iter().any(binds)
    }

    /// True when what is bound belongs to the system: it is neither the container's data nor anybody's secret.
    pub(crate) fn has_system_source(&self) -> bool {
        is_system_path(&self.source)
    }

    /// True when the place is one that every container has mounted by whoever runs it.
    pub(crate) fn has_system_destination(&self) -> bool {
        is_system_path(&self.destination)
    }

    /// True when `destination`, as a user writes it, is this mount's.
    pub(crate) fn is_at(&self, destination: &str) -> bool {
        Path::new(&self.destination)
            .components()
            .eq(Path::new(destination).components())
    }
}

/// Files and folders that a host keeps for all its containers alike.
fn is_system_path(path: &str) -> bool {
    const FILES: [&str; 5] = [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/localtime",
        "/etc/timezone",
    ];
    const FOLDERS: [&str; 3] = ["/dev", "/proc", "/sys"];
    let path = Path::new(path);
    is_plain(&path.to_string_lossy())
        && (FILES.iter().any(|file| path == Path::new(file))
            || FOLDERS.iter().any(|folder| path.starts_with(folder)))
}

fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

fn corrupt(why: &str) -> Error {
    Error::Corrupt {
        what: "The OCI spec",
        name: "mounts".to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(mount: &Value) -> Result<SpecMount> {
        SpecMount::read_all(&json!({ "mounts": [mount] })).map(|mut mounts| mounts.remove(0))
    }

    #[test]
    fn a_bind_is_known_by_type_or_option() {
        for bind in [
            json!({"destination": "/d", "type": "bind", "source": "/s"}),
            json!({"destination": "/d", "source": "/s", "options": ["rbind", "ro"]}),
            json!({"destination": "/d", "type": "tmpfs", "source": "/s", "options": ["bind"]}),
        ] {
            assert!(one(&bind).unwrap().is_bind());
        }
        assert!(
            !one(&json!({"destination": "/d", "type": "tmpfs"}))
                .unwrap()
                .is_bind()
        );
    }

    #[test]
    fn only_plain_paths_are_the_systems() {
        for (source, is_system) in [
            ("/etc/hosts", true),
            ("/dev/null", true),
            ("/device", false),
            ("/etc/shadow", false),
            ("/dev/../etc/shadow", false),
            ("dev/null", false),
        ] {
            let mount = json!({"destination": "/d", "type": "bind", "source": source});
            assert_eq!(
                one(&mount).unwrap().has_system_source(),
                is_system,
                "{source}"
            );
        }
    }

    #[test]
    fn mounts_of_other_types_are_corrupt() {
        for mounts in [
            json!(7),
            json!([7]),
            json!([{}]),
            json!([{"destination": "relative"}]),
            json!([{"destination": "/a/../b"}]),
            json!([{"destination": "/a", "source": 7}]),
            json!([{"destination": "/a", "options": "ro"}]),
            json!([{"destination": "/a", "options": [7]}]),
        ] {
            let read = SpecMount::read_all(&json!({ "mounts": mounts }));
            assert!(matches!(read, Err(Error::Corrupt { .. })), "{mounts}");
        }
        assert_eq!(SpecMount::read_all(&json!({})).unwrap(), []);
    }
}
