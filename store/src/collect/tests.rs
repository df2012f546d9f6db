//! Collection in memory: what is needed stays under every circumstance, and what is not goes.

mod crash;
mod damage;
mod leases;
mod model;
mod sweep;
mod usage;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::*;
use crate::{
    Content, ContentReader, Draft, Entry, EntryName, Meta, Node, TreeReader, TreeRef, TreeWriter,
    disk::{Disk, doubles::MemoryDisk},
    layout,
    pack::{Framer, PackWriter},
    progress::Silent,
    store::{
        Access,
        tests::{manifest_of, noise, open, store_on, text},
    },
};

/// Collects at once whatever can be.
pub(crate) const AT_ONCE: CollectOptions = CollectOptions {
    grace: Duration::ZERO,
    rewrite_below_percent: 50,
    dry_run: false,
};

/// Collects without roots beside the manifests.
pub(crate) fn collect(store: &Store, options: CollectOptions) -> Result<CollectReport> {
    store.collect(&options, &|| Ok(Vec::new()), &Silent)
}

/// Collects at a time and with a grace period, both in seconds.
pub(crate) fn collect_at(store: &Store, now: i64, grace: i64) -> Result<CollectReport> {
    let options = CollectOptions {
        grace: Duration::from_secs(grace.unsigned_abs()),
        ..AT_ONCE
    };
    store.collect_at(now, &options, &|| Ok(Vec::new()), &Silent)
}

/// Publishes one pack of these chunks. A draft's threads would spread them over as many packs as happen to be open.
pub(crate) fn publish_pack(store: &Store, chunks: &[Vec<u8>]) {
    let scratch = store.scratch().unwrap();
    let path = layout::draft_pack(&scratch.path, 0);
    let mut pack = PackWriter::create(&*store.disk(), &path, 0).unwrap();
    let mut framer = Framer::new().unwrap();
    for raw in chunks {
        let (stored, is_plain) = framer.frame(raw).unwrap();
        let digest = Digest::of(raw);
        pack.append(digest, stored, raw.len(), is_plain).unwrap();
    }
    let sealed = pack.seal().unwrap();
    store.publish(&scratch.path, &[sealed], None).unwrap();
}

/// Removes every snapshot, collects, and says whether nothing is left.
pub(crate) fn leaves_nothing(store: &Store, disk: &MemoryDisk) -> bool {
    for id in store.manifests().unwrap() {
        store.remove_manifest(&id).unwrap();
    }
    // The clock of every test is before that.
    collect_at(store, i64::MAX, 0).unwrap();
    disk.files(".pack").is_empty() && store.stats().unwrap().chunks == 0
}

/// Puts a folder of files; the number is each file's name.
pub(crate) fn put_files(draft: &Draft, files: &[Vec<u8>]) -> Result<TreeRef> {
    let mut writer = TreeWriter::new(draft);
    for (number, raw) in files.iter().enumerate() {
        let (content, size) = draft.put_content(&mut raw.as_slice(), &Silent)?;
        writer.push(&file(number, content, size))?;
    }
    writer.finish()
}

pub(crate) fn file(number: usize, content: Content, size: u64) -> Entry {
    Entry {
        name: EntryName::new(format!("{number:06}").into_bytes()).unwrap(),
        meta: Meta::default(),
        node: Node::File {
            size,
            content,
            linked: false,
        },
    }
}

/// Commits a snapshot of one folder with these files.
pub(crate) fn snapshot(store: &Store, files: &[Vec<u8>]) -> Result<SnapshotId> {
    let id = SnapshotId::random();
    let draft = store.begin(id)?;
    let root = put_files(&draft, files)?;
    commit(draft, id, root)?;
    Ok(id)
}

pub(crate) fn commit(draft: Draft, id: SnapshotId, root: TreeRef) -> Result<()> {
    let mut manifest = manifest_of(id, root.digest);
    manifest.root = root;
    draft.commit(manifest).map(drop)
}

/// The files of a snapshot made by [`snapshot`].
pub(crate) fn files_of(store: &Store, id: &SnapshotId) -> Result<Vec<Vec<u8>>> {
    files_below(store, store.manifest(id)?.root)
}

pub(crate) fn files_below(store: &Store, root: TreeRef) -> Result<Vec<Vec<u8>>> {
    let reader = TreeReader::new(store.clone(), root);
    let mut files = Vec::new();
    for located in reader.entries(&root, 0, 0, usize::MAX)? {
        let Node::File { size, content, .. } = located.entry.node else {
            panic!("there are only files");
        };
        let (mut raw, length) = (Vec::new(), usize::try_from(size).unwrap());
        ContentReader::new(store.clone(), content, size).read_into(0, length, &mut raw)?;
        files.push(raw);
    }
    Ok(files)
}
