//! What the spec of a container has beside what every spec has, when its processes go on from their memory.
//!
//! - An annotation that names a file in the container's folder: what CRIU is told beside what runc tells it. It stays as long as
//!   the container, because runc has CRIU read it whenever it works on the container, also for the next snapshot.
//! - A hook that brings up the loopback interface before there is a process: runc does so only for those that begin anew.

use std::{fs, path::Path};

use serde_json::{Value, json};
use snap_api::NetworkChoice;

use crate::error::{Error, Result};

/// The annotation by which runc finds the file.
const ANNOTATION: &str = "org.criu.config";
const FILE: &str = "criu.conf";
/// Connections had another end, which goes on with the original alone: they are closed in what is restored, unless somebody knows
/// better. Locks of files are taken again.
const CLOSING: &str = "tcp-close\nfile-locks\n";
const KEEPING: &str = "tcp-established\nfile-locks\n";
/// With cgroups of version 2 runc puts CRIU into the container's own, and CRIU would put the processes into those they were captured in. With
/// version 1 runc tells CRIU where they belong.
const IN_OWN_CGROUP: &str = "manage-cgroups=ignore\n";
/// What the hook's program calls itself, and is told to do.
const HOOK: [&str; 2] = ["snapshotd-mount", "loopback"];
/// Seconds.
const HOOK_LIMIT: u32 = 10;

/// For whom they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Additions<'a> {
    /// The container's folder.
    pub(crate) folder: &'a Path,
    /// Its network.
    pub(crate) network: &'a NetworkChoice,
    /// Its host name, where it has a namespace for one.
    pub(crate) hostname: &'a str,
    /// The mount server.
    pub(crate) program: &'a Path,
    /// Established connections go on.
    pub(crate) keeps_connections: bool,
    /// Of this host's cgroups.
    pub(crate) cgroup_version: u32,
}

/// Adds them to the spec.
pub(crate) fn add(spec: &mut Value, of: &Additions<'_>) -> Result<()> {
    let path = of.folder.join(FILE);
    let connections = if of.keeps_connections {
        KEEPING
    } else {
        CLOSING
    };
    let cgroups = if of.cgroup_version == 2 {
        IN_OWN_CGROUP
    } else {
        ""
    };
    fs::write(&path, format!("{connections}{cgroups}")).map_err(Error::io("write", &path))?;
    spec["annotations"][ANNOTATION] = Value::String(path.to_string_lossy().into_owned());
    let namespaces = spec.pointer("/linux/namespaces").and_then(Value::as_array);
    if namespaces.is_some_and(|all| all.iter().any(|one| one["type"] == "uts")) {
        // Also for a task that is started anew later on.
        spec["hostname"] = Value::String(of.hostname.to_owned());
    }
    if *of.network == NetworkChoice::None {
        let path = of.program.to_string_lossy();
        spec["hooks"] = json!({
            "createRuntime": [{ "path": path, "args": HOOK, "timeout": HOOK_LIMIT }],
        });
    }
    Ok(())
}

/// Takes them out of a spec that was captured: they are made anew where they are needed.
pub(crate) fn remove(spec: &mut Value) {
    let is_ours = |found: &Value| {
        let path = found.as_str().map(Path::new);
        path.is_some_and(|path| path.ends_with(FILE))
    };
    if spec
        .pointer("/annotations/org.criu.config")
        .is_some_and(is_ours)
        && let Some(annotations) = spec["annotations"].as_object_mut()
    {
        annotations.remove(ANNOTATION);
    }
    let hook = spec.pointer("/hooks/createRuntime/0/args");
    if hook.is_some_and(|arguments| *arguments == json!(HOOK))
        && let Some(hooks) = spec["hooks"]["createRuntime"].as_array_mut()
    {
        hooks.remove(0);
        if hooks.is_empty()
            && let Some(hooks) = spec["hooks"].as_object_mut()
        {
            hooks.remove("createRuntime");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_taken_out_again_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let program = Path::new("/usr/bin/snapshotd-mount");
        let other = json!({
            "annotations": { "org.criu.config": "/etc/x" },
            "hooks": { "prestart": [{ "path": "/x" }], "createRuntime": [{ "path": "/y" }] },
        });
        let mut kept = other.clone();
        remove(&mut kept);
        assert_eq!(kept, other);
        let mut spec = json!({ "annotations": { "a": "b" } });
        let additions = Additions {
            folder: folder.path(),
            network: &NetworkChoice::None,
            hostname: "clone",
            program,
            keeps_connections: false,
            cgroup_version: 1,
        };
        add(&mut spec, &additions).unwrap();
        let path = spec["annotations"][ANNOTATION].as_str().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), CLOSING);
        assert_eq!(
            spec["hooks"]["createRuntime"][0]["path"],
            "/usr/bin/snapshotd-mount"
        );
        remove(&mut spec);
        assert_eq!(spec, json!({ "annotations": { "a": "b" }, "hooks": {} }));
    }

    #[test]
    fn a_network_of_others_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = json!({ "linux": { "namespaces": [{ "type": "uts" }] } });
        let additions = Additions {
            folder: folder.path(),
            network: &NetworkChoice::Host,
            hostname: "clone",
            program: Path::new("/x"),
            keeps_connections: true,
            cgroup_version: 1,
        };
        add(&mut spec, &additions).unwrap();
        assert!(spec.get("hooks").is_none());
        assert_eq!(spec["hostname"], "clone");
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text, KEEPING);
    }
}
