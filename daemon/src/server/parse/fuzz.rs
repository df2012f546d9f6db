//! What a fuzzer does with the texts and paths of a request.

use std::{collections::BTreeMap, path::Component};

use snap_api::{NetworkChoice, WirePath};

use super::{
    bare_name, container_id, container_ids, destinations, host_path, idempotency_key, inner_path,
    label_key, labels, made_up_id, namespace, network, new_name, patterns, reference, references,
    tags,
};

/// Takes the bytes for everything they could be.
pub(crate) fn fuzz(bytes: &[u8]) {
    let path = WirePath::new(bytes);
    if let Ok(path) = host_path(&path) {
        let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        assert!(path.is_absolute() && path.components().all(is_plain));
    }
    if let Ok(names) = inner_path(&path) {
        assert!(names.iter().all(|name| !name.as_bytes().contains(&b'/')));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let count = u32::from(bytes.first().copied().unwrap_or(0));
    let made_up = made_up_id(text, "0123abcd", count);
    assert!(container_id(&made_up).is_ok(), "{made_up}");
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let pairs: BTreeMap<_, _> = words
        .iter()
        .map(|word| (word.clone(), word.clone()))
        .collect();
    let _names = (namespace(text), reference(text), references(&words));
    if let Ok(tags) = tags(text, &words) {
        assert!(tags.iter().all(|tag| tag.number().is_none()));
    }
    let _filters = super::super::filter::Filters::parse(&words);
    let _bare = (bare_name(text), new_name(Some(text)));
    let _ids = (container_id(text), container_ids(text, count));
    let _labels = (labels(&pairs), label_key(text));
    let _lists = (destinations(words.clone()), patterns(words));
    let _others = (
        network(NetworkChoice::Path(text.to_owned())),
        idempotency_key(Some(text.to_owned())),
    );
}
