//! What is remembered of base layers.

use super::*;
use crate::entry::{Timestamp, Xattr};

pub(in crate::catalogue) fn layer() -> BaseLayer {
    BaseLayer {
        namespace: namespace(),
        snapshotter: "overlayfs".to_owned(),
        name: "sha256:1".to_owned(),
        created: "7.5".to_owned(),
    }
}

pub(in crate::catalogue) fn base() -> BaseRecord {
    BaseRecord {
        root: TreeRef {
            digest: Digest::of(b"base"),
            nodes: 99,
        },
        root_meta: Meta {
            mode: 0o755,
            uid: u32::MAX,
            gid: 3,
            modified: Timestamp {
                seconds: -4,
                nanoseconds: 999_999_999,
            },
            xattrs: vec![Xattr {
                name: b"user.a"[..].into(),
                value: [][..].into(),
            }],
        },
        links: LinkTable::new(&[LinkGroup(vec![1, 8, 9]), LinkGroup(vec![2, u64::MAX])]),
        logical_bytes: 12,
    }
}

#[test]
fn a_base_comes_back_as_it_was_put() {
    let (catalogue, _folder) = catalogue();
    assert_eq!(catalogue.use_base("one", 1).unwrap(), None);
    catalogue
        .put_base("one", &base(), Some(&layer()), 2)
        .unwrap();
    catalogue
        .put_base("one", &base(), Some(&layer()), 3)
        .unwrap();
    assert_eq!(catalogue.use_base("one", 4).unwrap(), Some(base()));
    assert_eq!(catalogue.bases().unwrap()[0].last_used_at, 3);
    let later = 3 + 60 * 60;
    assert_eq!(catalogue.use_base("one", later).unwrap(), Some(base()));
    let remembered = RememberedBase {
        key: "one".to_owned(),
        root: base().root,
        layer: Some(layer()),
        last_used_at: later,
    };
    assert_eq!(catalogue.bases().unwrap(), [remembered]);
}

#[test]
fn a_base_that_was_used_meanwhile_is_not_forgotten() {
    let (catalogue, _folder) = catalogue();
    for key in ["idle", "used"] {
        catalogue.put_base(key, &base(), Some(&layer()), 1).unwrap();
    }
    let seen = catalogue.bases().unwrap();
    catalogue.use_base("used", 4000).unwrap();
    assert_eq!(catalogue.forget_unused_bases(&seen).unwrap(), 1);
    assert_eq!(catalogue.use_base("idle", 3).unwrap(), None);
    assert!(catalogue.use_base("used", 3).unwrap().is_some());
}

#[test]
fn a_base_that_cannot_be_decoded_is_captured_again() {
    let (catalogue, _folder) = catalogue();
    catalogue.put_base("one", &base(), None, 1).unwrap();
    let sql = "UPDATE bases SET links = x'0102'";
    catalogue.lock().execute(sql, []).unwrap();
    assert_eq!(catalogue.use_base("one", 2).unwrap(), None);
    assert_eq!(catalogue.bases().unwrap(), []);
}
