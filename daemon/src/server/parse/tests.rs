use super::*;

fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    let report = ErrorReport::from(result.unwrap_err());
    assert_eq!(report.code, ErrorCode::Usage, "{report}");
    report.reason
}

#[test]
fn names_that_are_none_are_usage_errors() {
    for bad in ["", "a b", "-a", "a/b", "a..b", "ä", &"x".repeat(77)] {
        assert_eq!(reason(namespace(bad)), "invalid-namespace", "{bad}");
        assert_eq!(reason(container_id(bad)), "invalid-container-id", "{bad}");
    }
    for bad in ["", "A", ":", "a:", "a b", "../a", "a:b:c"] {
        reason(reference(bad));
    }
    assert_eq!(container_id("k8s.io_web-1").unwrap(), "k8s.io_web-1");
}

#[test]
fn removal_names_at_least_one_snapshot() {
    assert_eq!(reason(references(&[])), "invalid-references");
    assert_eq!(
        reason(references(&vec!["a".to_owned(); 1001])),
        "invalid-references"
    );
    assert_eq!(
        references(&["a".to_owned(), "beef".to_owned()])
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn labels_are_bounded_in_number_and_size() {
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    assert!(labels(&one(&"k".repeat(128), &"v".repeat(4096))).is_ok());
    for bad in [
        one("", "v"),
        one(&"k".repeat(129), "v"),
        one("a\nb", "v"),
        one("a\0b", "v"),
        one("k", &"v".repeat(4097)),
        (0..65)
            .map(|number| (number.to_string(), String::new()))
            .collect(),
    ] {
        assert_eq!(reason(labels(&bad)), "invalid-labels");
    }
}

#[test]
fn clones_are_numbered_from_one() {
    assert_eq!(container_ids("web", 1).unwrap(), ["web"]);
    assert_eq!(
        container_ids("web", 3).unwrap(),
        ["web-1", "web-2", "web-3"]
    );
    for bad in [0, 1001, u32::MAX] {
        assert_eq!(reason(container_ids("web", bad)), "invalid-count");
    }
    assert_eq!(
        reason(container_ids(&"x".repeat(75), 2)),
        "invalid-container-id"
    );
}

#[test]
fn made_up_ids_are_always_ids() {
    for source in [
        "web",
        "/srv/data",
        "",
        "a.",
        &"x".repeat(76),
        "ünï",
        &"a-".repeat(38),
    ] {
        let id = made_up_id(source, "0123abcd", 1000);
        assert!(container_ids(&id, 1000).is_ok(), "{source} {id}");
    }
    assert_eq!(made_up_id("web", "0123abcd", 1), "web-0123abcd");
}

#[test]
fn a_time_to_live_is_a_second_to_a_hundred_years() {
    let default = Some(Duration::from_secs(60));
    assert_eq!(expiry(Ttl::Default, default, 1000).unwrap(), Some(1060));
    assert_eq!(expiry(Ttl::Default, None, 1000).unwrap(), None);
    assert_eq!(expiry(Ttl::Never, default, 1000).unwrap(), None);
    assert_eq!(expiry(Ttl::Seconds(1), default, 1000).unwrap(), Some(1001));
    assert_eq!(
        expiry(Ttl::Seconds(3_153_600_000), None, i64::MAX).unwrap(),
        Some(i64::MAX)
    );
    for bad in [0, 3_153_600_001, u64::MAX] {
        assert_eq!(
            reason(expiry(Ttl::Seconds(bad), default, 1000)),
            "invalid-ttl"
        );
    }
}

#[test]
fn pages_have_at_most_a_thousand_items() {
    assert_eq!(
        [0, 1, 1000, u32::MAX].map(page_limit),
        [1000, 1, 1000, 1000]
    );
}

#[test]
fn host_paths_are_absolute_and_come_out_normal() {
    let path = |bytes: &[u8]| host_path(&WirePath::new(bytes));
    assert_eq!(
        path(b"/srv//data/./x/").unwrap(),
        PathBuf::from("/srv/data/x")
    );
    assert_eq!(path(b"/").unwrap(), PathBuf::from("/"));
    assert!(path(b"/\xff").is_ok());
    for bad in [
        &b""[..],
        b"srv",
        b"./a",
        b"/a/../b",
        b"/a\0b",
        &[b'/'; 4096],
    ] {
        assert_eq!(reason(path(bad)), "invalid-path");
    }
}

#[test]
fn inner_paths_are_names_that_can_be_in_a_folder() {
    let path = |bytes: &[u8]| inner_path(&WirePath::new(bytes));
    assert!(path(b"/").unwrap().is_empty());
    assert_eq!(path(b"/a//b\xff/").unwrap().len(), 2);
    let long = [&b"/"[..], &[b'x'; 256]].concat();
    for bad in [&b""[..], b"a", b"/a/..", b"/.", b"/a\0", &long] {
        assert_eq!(reason(path(bad)), "invalid-path");
    }
}

#[test]
fn other_lists_and_words_are_bounded() {
    let many = |text: &str, count| vec![text.to_owned(); count];
    assert_eq!(reason(destinations(many("data", 1))), "invalid-mount");
    assert_eq!(reason(destinations(many("/data", 1001))), "invalid-mount");
    assert_eq!(reason(patterns(many("*", 1001))), "invalid-pattern");
    assert_eq!(
        reason(patterns(many(&"*".repeat(4096), 1))),
        "invalid-pattern"
    );
    assert_eq!(reason(idempotency_key(Some(String::new()))), "invalid-key");
    assert_eq!(
        reason(idempotency_key(Some("k".repeat(129)))),
        "invalid-key"
    );
    assert_eq!(
        reason(network(NetworkChoice::Path("ns".to_owned()))),
        "invalid-path"
    );
    assert!(network(NetworkChoice::Path("/proc/1/ns/net".to_owned())).is_ok());
}
