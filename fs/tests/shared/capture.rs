//! A folder as a snapshot, without a daemon.

use std::{fs::File, os::fd::AsFd, path::Path};

use snap_fs::capture::{Exclude, Source, SourceKind, StatCache, build, read};
use snap_store::{HostFacts, Manifest, Origin, Silent, SnapshotId, Store};

/// Captures `folder` into the store at `root`, which is made if it is not there.
pub(crate) fn capture(root: &Path, folder: &Path) -> SnapshotId {
    let store = Store::ensure(root).unwrap();
    let id = SnapshotId::random();
    let draft = store.begin(id).unwrap();
    let top = File::open(folder).unwrap();
    let (exclude, mut cache) = (Exclude::default(), StatCache::default());
    let source = Source {
        folder: top.as_fd(),
        kind: SourceKind::Plain,
        exclude: &exclude,
    };
    let scanned = read(&draft, &source, &mut cache, &Silent).unwrap();
    let tree = build(&draft, scanned, None, &mut cache, &Silent).unwrap();
    let manifest = Manifest {
        id,
        namespace: "default".parse().unwrap(),
        created_at: 0,
        name: None,
        version: None,
        expires_at: None,
        labels: Default::default(),
        root: tree.root,
        root_meta: tree.root_meta,
        links: tree.links,
        logical_bytes: tree.logical_bytes,
        stored_bytes: 0,
        pause_us: 0,
        memory: None,
        origin: Origin::Path(folder.display().to_string()),
        host: HostFacts::default(),
    };
    draft.commit(manifest).unwrap();
    id
}
