//! What else of a captured configuration reaches containerd: the runtime, its options and the labels.

use std::collections::BTreeMap;

use containerd_client::to_any;
use prost::Message;
use snap_api::{ErrorCode, ErrorReport};
use snap_store::ContainerConfig;

use crate::error::Result;

/// Options of the runc shim that change how a container is set up. The others name files and programs of the host
/// and are not taken over.
#[derive(Clone, PartialEq, Message)]
struct RuncOptions {
    #[prost(bool, tag = "1")]
    no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    no_new_keyring: bool,
    #[prost(bool, tag = "9")]
    systemd_cgroup: bool,
}

impl prost::Name for RuncOptions {
    const NAME: &'static str = "Options";
    const PACKAGE: &'static str = "containerd.runc.v1";
}

/// Labels that others act upon: they would take the new container for the original, down to deleting its files.
const OTHERS_LABELS: [&str; 6] = [
    "containerd.io/",
    "io.cri-containerd",
    "io.kubernetes.",
    "nerdctl/",
    "com.docker.",
    "snapshotd.io/",
];
/// The longest label containerd takes, name and value together.
const MAX_LABEL_BYTES: usize = 4096;

/// The captured configuration with a runtime and options that can be trusted.
///
/// # Errors
/// A runtime that is a program's path rather than a name is refused: it would be run as root.
pub(crate) fn runtime(captured: &ContainerConfig) -> Result<ContainerConfig> {
    let name = &captured.runtime;
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !part.is_empty() && part.bytes().all(plain)
    };
    if !name.contains('.') || !name.split('.').all(is_part) {
        let message = format!("The snapshot's runtime `{name}` is not the name of one");
        return Err(ErrorReport::new(ErrorCode::Corrupt, "runtime", message).into());
    }
    let is_runc = captured
        .runtime_options_type
        .ends_with("containerd.runc.v1.Options");
    let options = is_runc.then(|| RuncOptions::decode(&*captured.runtime_options));
    let options = options.and_then(Result::ok).map(|options| to_any(&options));
    let options = options.unwrap_or_default();
    Ok(ContainerConfig {
        runtime_options_type: options.type_url,
        runtime_options: options.value,
        ..captured.clone()
    })
}

/// The captured labels that are the container's own.
pub(crate) fn labels(captured: &ContainerConfig) -> BTreeMap<String, String> {
    let own = captured.labels.iter().filter(|(name, value)| {
        name.len() + value.len() <= MAX_LABEL_BYTES
            && !OTHERS_LABELS.iter().any(|prefix| name.starts_with(prefix))
    });
    own.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn config(runtime: &str, options: &[u8]) -> ContainerConfig {
        ContainerConfig {
            id: "web".to_owned(),
            image: String::new(),
            snapshotter: String::new(),
            parent: String::new(),
            runtime: runtime.to_owned(),
            runtime_options_type: "containerd.runc.v1.Options".to_owned(),
            runtime_options: options.to_vec(),
            spec: Value::Null,
            labels: [
                ("own", "1"),
                ("nerdctl/state-dir", "/etc"),
                ("containerd.io/gc.root", ""),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            included_mounts: Vec::new(),
        }
    }

    #[test]
    fn a_program_of_the_host_is_no_runtime() {
        for bad in ["/bin/sh", "../x.y", "", "runc", "a..b", "io.containerd/x"] {
            assert!(runtime(&config(bad, &[])).is_err(), "{bad}");
        }
        assert!(runtime(&config("io.containerd.runc.v2", &[])).is_ok());
    }

    #[test]
    fn of_the_options_only_the_harmless_ones_pass() {
        #[derive(Clone, PartialEq, Message)]
        struct Hostile {
            #[prost(string, tag = "6")]
            binary_name: String,
            #[prost(bool, tag = "9")]
            systemd_cgroup: bool,
        }
        let hostile = Hostile {
            binary_name: "/tmp/evil".to_owned(),
            systemd_cgroup: true,
        };
        let passed = runtime(&config("io.containerd.runc.v2", &hostile.encode_to_vec())).unwrap();
        let passed = Hostile::decode(&*passed.runtime_options).unwrap();
        assert_eq!(passed.binary_name, "");
        assert!(passed.systemd_cgroup);
        let passed = runtime(&config("io.containerd.runc.v2", b"\xff\xff")).unwrap();
        assert!(passed.runtime_options.is_empty());
    }

    #[test]
    fn labels_that_others_act_upon_stay_behind() {
        let kept = labels(&config("io.containerd.runc.v2", &[]));
        assert_eq!(kept, BTreeMap::from([("own".to_owned(), "1".to_owned())]));
    }
}
