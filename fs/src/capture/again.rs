//! A scan that finds what the one before it found, over the same base, comes to the same trees: they are in the store already.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use snap_store::{BaseRecord, Digest, Draft, LinkTable, Progress, Result, TreeRef};

use super::{
    CapturedTree, Scan, StatCache, build,
    scanned::{ScannedEntry, ScannedNode},
};

/// Statements are digested when there are so many bytes of them.
const AT_ONCE_BYTES: usize = 1 << 20;

/// What a scan came to, for as long as the store loses nothing. To be kept once the draft it was made with is committed.
#[derive(Clone, Debug)]
pub struct Built {
    /// Stands for everything the trees were made of.
    of: Digest,
    /// What the store had lost before the draft relied on anything in it.
    losses: u64,
    root: TreeRef,
    links: LinkTable,
    logical_bytes: u64,
}

/// As [`super::build_after`] says.
pub(super) fn build_after(
    draft: &Draft,
    scan: Scan,
    (base, last): (Option<&BaseRecord>, Option<Built>),
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<(CapturedTree, Option<Built>)> {
    let Some(of) = fingerprint(&scan, base) else {
        return Ok((build::build(draft, scan, base, cache, progress)?, None));
    };
    let last = last.filter(|last| last.of == of && draft.may_rely_since(last.losses));
    if let Some(last) = last {
        return Ok((last.tree(scan, cache), Some(last)));
    }
    let tree = build::build(draft, scan, base, cache, progress)?;
    let built = Built {
        of,
        losses: draft.losses_before(),
        root: tree.root,
        links: tree.links.clone(),
        logical_bytes: tree.logical_bytes,
    };
    Ok((tree, Some(built)))
}

impl Built {
    /// The tree, with what else the scan has to tell.
    fn tree(&self, scan: Scan, cache: &mut StatCache) -> CapturedTree {
        for (id, known) in scan.learnt {
            cache.put(id, known);
        }
        CapturedTree {
            root: self.root,
            root_meta: scan.folders[0].meta.clone(),
            links: self.links.clone(),
            logical_bytes: self.logical_bytes,
            warnings: scan.warnings.into_told(),
        }
    }
}

/// Stands for everything that decides what the trees will be, whatever order it was met in; `None` while bytes have yet to be put.
fn fingerprint(scan: &Scan, base: Option<&BaseRecord>) -> Option<Digest> {
    let mut stated = Stated::default();
    let mut groups = HashMap::new();
    stated.add(&base.map(|base| (base.root, &base.links, base.logical_bytes)));
    let mut waiting = vec![0];
    while let Some(number) = waiting.pop() {
        let folder = &scan.folders[number];
        stated.add(&(&folder.meta, folder.is_opaque, folder.entries.len()));
        let mut entries: Vec<&ScannedEntry> = folder.entries.iter().collect();
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        for entry in entries {
            let next = groups.len();
            let group = entry
                .group
                .map(|group| *groups.entry(group).or_insert(next));
            stated.add(&(&entry.name, group));
            match &entry.node {
                ScannedNode::Ready(node) => stated.add(&(0_u8, &entry.meta, node)),
                ScannedNode::Kept { .. } => return None,
                ScannedNode::Folder(child) => {
                    waiting.push(*child);
                    stated.add(&1_u8);
                }
                ScannedNode::Whiteout => stated.add(&2_u8),
            }
        }
    }
    Some(Digest::of(&stated.0))
}

/// What was stated so far, or its digest and what came after.
#[derive(Default)]
struct Stated(Vec<u8>);

impl Stated {
    fn add(&mut self, what: &impl Hash) {
        what.hash(self);
        if self.0.len() >= AT_ONCE_BYTES {
            self.0 = Digest::of(&self.0).as_bytes().to_vec();
        }
    }
}

/// Takes down every byte: a sum of 64 bits could be met on purpose.
impl Hasher for Stated {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::fd::AsFd,
        time::Duration,
    };

    use snap_store::{CollectOptions, Content, EntryName, Meta, Node, Silent, SnapshotId};

    use super::{
        super::{Exclude, Source, SourceKind, read, scanned::ScannedFolder},
        *,
    };
    use crate::sample::{Sample, folder, manifest};

    /// Captures a folder and commits it; says whether a page of a tree was asked for or written.
    fn capture(sample: &Sample, last: Option<Built>) -> (Built, bool) {
        let id = SnapshotId::random();
        let draft = sample.store.begin(id).unwrap();
        let top = File::open(sample.folder.path().join("top")).unwrap();
        let source = Source {
            folder: top.as_fd(),
            kind: SourceKind::Plain,
            exclude: &Exclude::default(),
        };
        let mut cache = StatCache::default();
        let scan = read(&draft, &source, &mut cache, &Silent).unwrap();
        let before = draft.stats();
        let (tree, built) = build_after(&draft, scan, (None, last), &mut cache, &Silent).unwrap();
        let is_built = draft.stats() != before;
        let manifest = manifest(id, (tree.root, tree.root_meta), tree.links);
        draft.commit(manifest).unwrap();
        (built.unwrap(), is_built)
    }

    #[test]
    fn what_is_found_again_is_built_again_only_after_a_loss() {
        let sample = Sample::new();
        let top = sample.folder.path().join("top");
        fs::create_dir_all(top.join("below")).unwrap();
        fs::write(top.join("below/file"), b"bytes").unwrap();
        let (first, is_built) = capture(&sample, None);
        assert!(is_built);
        let (second, is_built) = capture(&sample, Some(first.clone()));
        assert!(!is_built);
        assert_eq!((second.root, second.losses), (first.root, first.losses));
        fs::write(top.join("below/other"), b"bytes").unwrap();
        let (third, is_built) = capture(&sample, Some(second));
        assert!(is_built && third.root != first.root);
        let other = sample.snapshot(&folder([]), LinkTable::default());
        sample.store.remove_manifest(&other.id).unwrap();
        let options = CollectOptions {
            grace: Duration::ZERO,
            rewrite_below_percent: 0,
            dry_run: false,
        };
        let none = || Ok(Vec::new());
        sample.store.collect(&options, &none, &Silent).unwrap();
        let (fourth, is_built) = capture(&sample, Some(third.clone()));
        assert!(is_built && fourth.root == third.root);
    }

    fn entry(name: &str, node: ScannedNode, group: Option<u32>) -> ScannedEntry {
        ScannedEntry {
            name: EntryName::new(name.as_bytes()).unwrap(),
            meta: Meta::default(),
            node,
            group,
        }
    }

    fn file(of: &[u8]) -> ScannedNode {
        ScannedNode::Ready(Node::File {
            size: of.len() as u64,
            content: Content::Chunk(Digest::of(of)),
            linked: false,
        })
    }

    fn scan(folders: Vec<Vec<ScannedEntry>>) -> Scan {
        let folder = |entries| ScannedFolder {
            meta: Meta::default(),
            is_opaque: false,
            holds_file_whiteouts: false,
            entries,
        };
        Scan {
            folders: folders.into_iter().map(folder).collect(),
            ..Scan::default()
        }
    }

    fn of(folders: Vec<Vec<ScannedEntry>>) -> Digest {
        fingerprint(&scan(folders), None).unwrap()
    }

    /// Two folders with a file in each, which are two names of one inode when they have a group.
    fn sample(group: Option<u32>) -> Vec<Vec<ScannedEntry>> {
        vec![
            vec![
                entry("a", ScannedNode::Folder(1), None),
                entry("b", ScannedNode::Folder(2), None),
            ],
            vec![entry("x", file(b"1"), group)],
            vec![entry("y", file(b"1"), group)],
        ]
    }

    #[test]
    fn the_order_in_which_names_are_met_is_no_difference() {
        let mut other = sample(Some(7));
        other.swap(1, 2);
        other[0] = vec![
            entry("b", ScannedNode::Folder(1), None),
            entry("a", ScannedNode::Folder(2), None),
        ];
        assert_eq!(of(sample(Some(0))), of(other));
    }

    #[test]
    fn every_change_is_a_difference() {
        let plain = of(sample(None));
        assert_eq!(plain, of(sample(None)));
        assert_ne!(plain, of(sample(Some(0))));
        let changed = |change: &dyn Fn(&mut Scan)| {
            let mut scan = scan(sample(None));
            change(&mut scan);
            fingerprint(&scan, None)
        };
        let changes: [&dyn Fn(&mut Scan); 7] = [
            &|scan| scan.folders[1].is_opaque = true,
            &|scan| scan.folders[1].meta.mode = 0o700,
            &|scan| scan.folders[1].entries[0].meta.uid = 1,
            &|scan| scan.folders[1].entries[0].node = file(b"2"),
            &|scan| scan.folders[1].entries[0].node = ScannedNode::Whiteout,
            &|scan| scan.folders[1].entries[0] = entry("z", file(b"1"), None),
            &|scan| drop(scan.folders[1].entries.pop()),
        ];
        for change in changes {
            assert_ne!(changed(change), Some(plain));
        }
        let base = BaseRecord {
            root: TreeRef {
                digest: Digest::of(b"base"),
                nodes: 1,
            },
            root_meta: Meta::default(),
            links: LinkTable::default(),
            logical_bytes: 0,
        };
        assert_ne!(fingerprint(&scan(sample(None)), Some(&base)), Some(plain));
        let is_kept = |scan: &mut Scan| {
            let linked = false;
            scan.folders[1].entries[0].node = ScannedNode::Kept { number: 0, linked };
        };
        assert_eq!(changed(&is_kept), None);
    }
}
