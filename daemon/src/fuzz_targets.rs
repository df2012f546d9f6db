//! What the daemon reads of others, as a fuzzer sees it: bytes in, nothing out, and never a panic. There with the feature
//! `fuzz` alone, which `fuzz/` asks for, and in tests, which run each of these over its seeds.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use snap_api::NetworkChoice;
use snap_store::ContainerConfig;

use crate::spec::{SpecPlan, derive};

/// The configuration file.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        crate::config::fuzz(text);
    }
}

/// Every kind of text and path in a request.
pub fn arguments(bytes: &[u8]) {
    crate::server::fuzz(bytes);
}

/// The OCI spec of a captured container, and a new container's made of it.
pub fn spec(bytes: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let captured = ContainerConfig {
        id: "original".to_owned(),
        image: String::new(),
        snapshotter: "overlayfs".to_owned(),
        parent: String::new(),
        runtime: "io.containerd.runc.v2".to_owned(),
        runtime_options_type: String::new(),
        runtime_options: Vec::new(),
        spec,
        labels: BTreeMap::new(),
        included_mounts: Vec::new(),
    };
    for network in [NetworkChoice::None, NetworkChoice::Host] {
        let plan = SpecPlan {
            captured: &captured,
            namespace: "default",
            id: "clone",
            rootfs: Path::new("/root/fs"),
            network: &network,
            keep_mounts: &[],
            drop_mounts: &[],
        };
        if let Ok((new, _)) = derive(&plan) {
            assert_harmless(&new);
        }
    }
}

/// Images of memory: all of those that are read, one after the other, each after its name and a length of four bytes.
pub fn images(bytes: &[u8]) {
    let contents = crate::memory::contents::read(&Bundle(bytes));
    let mappings = contents.processes.iter().map(|one| one.mappings.len());
    assert!(mappings.sum::<usize>() <= 8192);
}

struct Bundle<'a>(&'a [u8]);

impl crate::memory::contents::Images for Bundle<'_> {
    fn image(&self, name: &str, limit: u32) -> Option<Vec<u8>> {
        let at = self
            .0
            .windows(name.len())
            .position(|found| found == name.as_bytes())?;
        let rest = &self.0[at + name.len()..];
        let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?).min(limit);
        let image = &rest[4..];
        Some(image[..image.len().min(length as usize)].to_vec())
    }
}

/// What no captured spec may bring about, whatever is in it.
fn assert_harmless(new: &Value) {
    assert_eq!(new["root"]["path"], "/root/fs");
    assert!(new.get("hooks").is_none());
    assert!(!new["process"]["terminal"].as_bool().unwrap_or(false));
    let namespaces = new["linux"]["namespaces"]
        .as_array()
        .expect("always a list");
    assert!(
        namespaces
            .iter()
            .all(|namespace| namespace.get("path").is_none())
    );
    let annotations = new.get("annotations").and_then(Value::as_object);
    let is_about_image = |name: &String| name.starts_with("org.opencontainers.image.");
    assert!(annotations.is_none_or(|all| all.keys().all(is_about_image)));
    let cgroup = new["linux"]["cgroupsPath"].as_str().expect("always text");
    assert!(
        cgroup == "/default/clone" || cgroup.ends_with(":clone"),
        "{cgroup}"
    );
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every target gets through its seeds.
    fn run(target: &str, run: impl Fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for file in fs::read_dir(seeds.join(target)).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
        }
        for bytes in [&b""[..], &[0; 200], &[255; 200]] {
            run(bytes);
        }
    }

    #[test]
    fn targets_get_through_their_seeds() {
        run("config", super::config);
        run("arguments", super::arguments);
        run("spec", super::spec);
        run("images", super::images);
    }
}
