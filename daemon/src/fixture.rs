//! A host for tests: folders of its own, and a containerd that does not exist.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use snap_store::{
    ContainerConfig, Draft, Entry, EntryName, HostFacts, LinkTable, Manifest, Meta, Node, Origin,
    SnapshotId, SnapshotRecord, TreeRef, TreeWriter,
};
use tempfile::TempDir;

use crate::{config::Config, host::Host};

/// A host with an empty store; it lives as long as its folder.
pub(crate) fn host(change: impl FnOnce(&mut Config)) -> (Arc<Host>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut config = Config {
        root: path("root"),
        state: path("state"),
        socket: path("socket"),
        containerd: path("no-containerd"),
        trash_grace: Duration::ZERO,
        ..Config::default()
    };
    change(&mut config);
    fs::create_dir(&config.root).unwrap();
    (Host::open(config).unwrap(), folder)
}

/// An Active snapshot of an empty folder.
pub(crate) fn snapshot(host: &Host, name: &str, expires_at: Option<i64>) -> SnapshotId {
    let manifest = committed(host, name, expires_at);
    host.catalogue.activate(&manifest).unwrap().id
}

/// A folder that differs from others by `text`.
pub(crate) fn tree(draft: &Draft, text: &str) -> TreeRef {
    let mut writer = TreeWriter::new(draft);
    let entry = Entry {
        name: EntryName::new(*b"link").unwrap(),
        meta: Meta::default(),
        node: Node::Symlink(text.as_bytes().into()),
    };
    writer.push(&entry).unwrap();
    writer.finish().unwrap()
}

/// An Active snapshot whose content no other one has.
pub(crate) fn unlike_others(host: &Host, name: &str) -> SnapshotId {
    let manifest = commit(host, name, None, |draft| tree(draft, name));
    host.catalogue.activate(&manifest).unwrap().id
}

/// A snapshot of an empty folder, all of it stored, but Creating still.
pub(crate) fn committed(host: &Host, name: &str, expires_at: Option<i64>) -> Manifest {
    let empty = |draft: &Draft| TreeWriter::new(draft).finish().unwrap();
    commit(host, name, expires_at, empty)
}

fn commit(
    host: &Host,
    name: &str,
    expires_at: Option<i64>,
    fill: impl FnOnce(&Draft) -> TreeRef,
) -> Manifest {
    let record = SnapshotRecord {
        expires_at,
        ..SnapshotRecord::creating(
            SnapshotId::random(),
            "default".parse().unwrap(),
            "/srv".to_owned(),
            1000,
        )
    };
    host.catalogue.insert(&record, 100).unwrap();
    let draft = host.store.begin(record.id).unwrap();
    let manifest = Manifest {
        id: record.id,
        namespace: record.namespace,
        created_at: record.created_at,
        name: Some(name.parse().unwrap()),
        version: host
            .catalogue
            .next_version(&"default".parse().unwrap(), &name.parse().unwrap())
            .unwrap(),
        expires_at,
        labels: BTreeMap::new(),
        root: fill(&draft),
        root_meta: Meta::default(),
        links: LinkTable::default(),
        logical_bytes: 0,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        origin: Origin::Path("/srv".to_owned()),
        host: HostFacts::default(),
    };
    draft.commit(manifest).unwrap().0
}

/// A container's configuration with nothing in it.
pub(crate) fn container() -> ContainerConfig {
    ContainerConfig {
        id: "web".to_owned(),
        image: String::new(),
        snapshotter: "overlayfs".to_owned(),
        parent: String::new(),
        runtime: "io.containerd.runc.v2".to_owned(),
        runtime_options_type: String::new(),
        runtime_options: Vec::new(),
        spec: serde_json::Value::Null,
        labels: BTreeMap::new(),
        included_mounts: Vec::new(),
    }
}
