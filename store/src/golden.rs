//! The bytes of every kind of page and record, as this version writes them for ever.
//!
//! A test that fails here says that stores written before can no longer be read, or dedupe no longer.

use std::{collections::HashMap, fs, path::PathBuf};

use crate::{
    catalogue::BaseRecord,
    entry::{Entry, EntryName, Meta, Node, Timestamp, TreeRef, Xattr},
    error::Result,
    ids::{Digest, KeyId, SnapshotId},
    links::{LinkGroup, LinkTable},
    list::ListWriter,
    manifest::{ContainerConfig, HostFacts, Manifest, Memory, MemoryFacts, MemoryImages, Origin},
    seal::Seal,
    tree::tests::{one_of_each, write_pages},
};

/// Compares `bytes` with the golden file, which is written when the environment asks for it.
fn matches(name: &str, bytes: &[u8]) -> bool {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/golden");
    let path = path.join(name);
    if std::env::var_os("SNAPSHOTD_WRITE_GOLDEN").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    fs::read(&path).unwrap() == bytes
}

/// Collects pages in the order they are written.
fn collect(write: impl FnOnce(&mut dyn FnMut(Vec<u8>) -> Result<Digest>)) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    write(&mut |page| {
        let digest = Digest::of(&page);
        pages.push(page);
        Ok(digest)
    });
    pages
}

#[test]
fn a_tree_leaf_page_with_an_entry_of_every_kind_keeps_its_bytes() {
    let pages = collect(|put| {
        write_pages(&one_of_each(), put);
    });
    assert_eq!(pages.len(), 1);
    assert!(matches("tree-leaf.page", &pages[0]));
}

#[test]
fn a_tree_branch_page_and_its_cuts_keep_their_bytes() {
    let entries: Vec<_> = (0..2000)
        .map(|number| Entry {
            name: EntryName::new(format!("{number:05}").into_bytes()).unwrap(),
            meta: Meta::default(),
            node: Node::Fifo,
        })
        .collect();
    let pages = collect(|put| {
        write_pages(&entries, put);
    });
    assert!(pages.len() > 3);
    assert!(matches("tree-branch.page", pages.last().unwrap()));
}

#[test]
fn list_pages_and_their_cuts_keep_their_bytes() {
    let pages = |chunks: u32| {
        collect(|put| {
            let mut writer = ListWriter::new(put);
            for number in 0..chunks {
                writer.push_hole(u64::from(number) % 2 * 4096).unwrap();
                let digest = Digest::of(&number.to_le_bytes());
                writer.push_chunk(digest, 65_536 + number).unwrap();
            }
            writer.finish().unwrap();
        })
    };
    assert!(matches("list-leaf.page", &pages(5)[0]));
    let many = pages(4000);
    assert!(many.len() > 3);
    assert!(matches("list-branch.page", many.last().unwrap()));
}

fn links() -> LinkTable {
    LinkTable::new(&[
        LinkGroup(vec![3, 900, 40_000]),
        LinkGroup(vec![4, 5]),
        LinkGroup(vec![901, 1 << 20]),
    ])
}

fn meta() -> Meta {
    Meta {
        mode: 0o1777,
        uid: 7,
        gid: 8,
        modified: Timestamp {
            seconds: -2,
            nanoseconds: 5,
        },
        xattrs: vec![Xattr {
            name: (*b"user.\xff").into(),
            value: (*b"\x00\xfe").into(),
        }],
    }
}

/// A manifest with every field set but the version, which came later.
pub(crate) fn manifest() -> Manifest {
    let text = |text: &str| text.to_owned();
    let labels: HashMap<_, _> = [(text("team"), text("web"))].into();
    Manifest {
        id: SnapshotId::from_bytes([0xab; 16]),
        namespace: "k8s.io".parse().unwrap(),
        created_at: 1_700_000_000,
        name: Some("team/app:v1".parse().unwrap()),
        version: None,
        expires_at: Some(1_800_000_000),
        labels: labels.into_iter().collect(),
        root: TreeRef {
            digest: Digest::from_bytes([9; 32]),
            nodes: (1 << 20) + 1,
        },
        root_meta: meta(),
        links: links(),
        logical_bytes: 1 << 40,
        stored_bytes: 12_345,
        pause_us: 678,
        memory: None,
        origin: Origin::Container(Box::new(ContainerConfig {
            id: text("web-1"),
            image: text("docker.io/library/web:1"),
            snapshotter: text("overlayfs"),
            parent: text("sha256:00"),
            runtime: text("io.containerd.runc.v2"),
            runtime_options_type: text("containerd.runc.v1.Options"),
            runtime_options: vec![1, 2, 255],
            spec: serde_json::json!({"process": {"args": ["sh"]}, "linux": {}}),
            labels: [(text("a"), text("b"))].into(),
            included_mounts: vec![text("/data")],
        })),
        host: HostFacts {
            architecture: text("x86_64"),
            kernel: text("6.12.0"),
            hostname: text("host"),
            version: text("0.1.0"),
        },
    }
}

#[test]
fn a_manifest_keeps_its_bytes() {
    let bytes = manifest().encode();
    assert!(matches("full.manifest", &bytes));
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
}

#[test]
fn a_manifest_of_a_version_keeps_its_bytes() {
    let manifest = Manifest {
        version: Some(7),
        ..manifest()
    };
    let bytes = manifest.encode();
    assert!(matches("version.manifest", &bytes));
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
}

#[test]
fn a_manifest_with_memory_keeps_its_bytes() {
    let facts = MemoryFacts {
        criu: "4.2.1".to_owned(),
        cgroup_version: 2,
        cpu_flags: vec!["fpu".to_owned(), "sse2".to_owned()],
    };
    let captured = Memory::Captured(Box::new(MemoryImages {
        root: TreeRef {
            digest: Digest::from_bytes([7; 32]),
            nodes: 12,
        },
        bytes: 1 << 33,
        facts: facts.clone(),
        seal: None,
    }));
    let sealed = Memory::Captured(Box::new(MemoryImages {
        root: TreeRef {
            digest: Digest::from_bytes([7; 32]),
            nodes: 12,
        },
        bytes: 1 << 33,
        facts,
        seal: Some(Seal {
            key: KeyId::from_bytes([8; 8]),
            mark: Digest::from_bytes([9; 32]),
        }),
    }));
    let failed = Memory::Failed {
        reason: "net: Locking network failed".to_owned(),
    };
    for (name, memory) in [
        ("memory.manifest", captured),
        ("memory-sealed.manifest", sealed),
        ("memory-failed.manifest", failed),
    ] {
        let manifest = Manifest {
            memory: Some(memory),
            ..manifest()
        };
        let bytes = manifest.encode();
        assert!(matches(name, &bytes));
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    }
}

#[test]
fn a_base_keeps_its_bytes() {
    let base = BaseRecord {
        root: manifest().root,
        root_meta: meta(),
        links: links(),
        logical_bytes: 0,
    };
    assert!(matches("root.meta", &base.root_meta.encode().unwrap()));
    assert!(matches("base.links", &base.links.encode()));
}
