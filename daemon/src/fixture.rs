//! A host for tests: folders of its own, and a containerd that does not exist.

use std::{collections::BTreeMap, fs, sync::Arc};

use snap_store::{
    HostFacts, LinkTable, Manifest, Meta, Origin, SnapshotId, SnapshotRecord, SnapshotState,
    TreeWriter,
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

/// The same, all of it stored, but Creating still.
pub(crate) fn committed(host: &Host, name: &str, expires_at: Option<i64>) -> Manifest {
    let record = SnapshotRecord {
        id: SnapshotId::random(),
        namespace: "default".parse().unwrap(),
        state: SnapshotState::Creating,
        reason: None,
        names: Vec::new(),
        labels: BTreeMap::new(),
        source: "/srv".to_owned(),
        is_container: false,
        image: None,
        created_at: 1000,
        expires_at,
        last_used_at: None,
        nodes: 0,
        logical_bytes: 0,
        stored_bytes: 0,
        pause_us: 0,
    };
    host.catalogue.insert(&record, 100).unwrap();
    let draft = host.store.begin(record.id).unwrap();
    let manifest = Manifest {
        id: record.id,
        namespace: record.namespace,
        created_at: record.created_at,
        name: Some(name.parse().unwrap()),
        expires_at,
        labels: BTreeMap::new(),
        root: TreeWriter::new(&draft).finish().unwrap(),
        root_meta: Meta::default(),
        links: LinkTable::default(),
        logical_bytes: 0,
        stored_bytes: 0,
        pause_us: 0,
        origin: Origin::Path("/srv".to_owned()),
        host: HostFacts::default(),
    };
    draft.commit(manifest).unwrap().0
}
